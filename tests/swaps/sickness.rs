//! Instances that outgrow their limit, fail their probe or hang, under load.

use crate::ledger::{Outcome, Row};
use crate::load::{ALL_KINDS, Load};
use crate::machine::{get, signal};
use crate::story::{LONG_DRAIN, Story, after_some, tell};
use nix::sys::signal::Signal;
use std::time::Duration;

#[test]
fn an_app_over_its_limit_is_replaced_before_it_is_stopped_and_nobody_notices() {
    let story = Story::start(&format!("max_memory_restart = \"150M\"\n{LONG_DRAIN}"));
    let pid = story.server.pid("web");
    let load = Load::start(story.plan());
    after_some(&load, 200);
    assert_eq!(get(story.port, "/leak?mb=150&rate=50").unwrap().0, 200);
    story.server.wait_for_another("web", pid);
    story.server.wait_until("the old one to be gone", || story.app()["other"].is_null());
    after_some(&load, 200);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("a breach", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    let app = story.app();
    assert_eq!((&app["restarts"], &app["swaps"]), (&1.into(), &1.into()), "{app:#}");
    assert_eq!(app["last_exit"]["reason"], "memory", "{app:#}");
}

#[test]
fn an_instance_whose_probe_fails_while_it_still_serves_is_replaced_and_nobody_notices() {
    let story = Story::start(LONG_DRAIN);
    let pid = story.server.pid("web");
    let load = Load::start(story.plan());
    after_some(&load, 200);
    assert_eq!(get(story.port, "/sick").unwrap().0, 200);
    story.server.wait_for_another("web", pid);
    story.server.wait_until("the old one to be gone", || story.app()["other"].is_null());
    after_some(&load, 200);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("a sick instance", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    let app = story.app();
    assert_eq!((&app["restarts"], &app["health"]), (&1.into(), &"healthy".into()), "{app:#}");
    assert_eq!(app["last_exit"]["reason"], "unhealthy", "{app:#}");
}

#[test]
fn of_a_hung_instance_only_what_it_had_claimed_is_lost() {
    let story = Story::start(
        "health = { http = \"/api/health\", interval = \"300ms\", timeout = \"1s\", unhealthy = 2, healthy = 1 }\n\
         kill_timeout = \"500ms\"\ndrain = { requests = \"2s\", upgrades = \"2s\" }\n",
    );
    let pid = story.server.pid("web");
    let hung = pid.to_string();
    let load = Load::start(story.plan());
    after_some(&load, 200);
    assert_eq!(get(story.port, "/hang").unwrap().0, 200);
    story.server.wait_for_another("web", pid);
    story.server.wait_until("the hung one to be gone", || story.app()["other"].is_null());
    after_some(&load, 300);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("a hung instance", &ledger);
    let new = |row: &&Row| row.by.as_ref().is_some_and(|by| by.pid != hung);
    let swapped = ledger.rows.iter().filter(new).map(|row| row.at + row.took).min().unwrap();
    // Claimed before the swap, and ended by nobody's answer.
    ledger.assert_only(|row| {
        let unanswered = matches!(
            row.outcome,
            Outcome::ByProxy(502..=504) | Outcome::EarlyEof | Outcome::ResetAfterSend | Outcome::Truncated
        );
        row.at <= swapped && unanswered
    });
    assert!(ledger.failed().count() > 0, "what it had claimed cannot have been answered\n{ledger}");
    assert_eq!(story.app()["restarts"], 1);
}

#[test]
fn an_app_that_crashes_under_load_loses_what_it_had_claimed_and_nothing_else() {
    let story = Story::start(&format!("hold = \"20s\"\n{LONG_DRAIN}"));
    let pid = story.server.pid("web");
    let crashed = pid.to_string();
    let load = Load::start(story.plan());
    after_some(&load, 200);
    signal(pid, Signal::SIGKILL);
    story.server.wait_for_another("web", pid);
    after_some(&load, 300);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("a crash", &ledger);
    let of_old = |row: &&Row| row.by.as_ref().is_some_and(|by| by.pid == crashed) && row.outcome == Outcome::Ok;
    let last = ledger.rows.iter().filter(of_old).map(|row| row.at + row.took).max().unwrap();
    // Nobody is refused: what comes while nobody answers is held.
    ledger.assert_only(|row| {
        let broken = matches!(
            row.outcome,
            Outcome::ByProxy(502..=504) | Outcome::EarlyEof | Outcome::ResetAfterSend | Outcome::Truncated
        );
        row.at <= last + Duration::from_millis(200) && broken
    });
}
