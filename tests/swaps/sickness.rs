//! Instances that outgrow their limit, fail their probe or hang, under load.

use crate::ledger::{Outcome, Row};
use crate::load::{ALL_KINDS, Load};
use crate::machine::{get, is_alive, signal};
use crate::story::{LONG_DRAIN, Story, after_some, is_unanswered, tell};
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
    ledger.assert_only(|row| is_unanswered(row) && row.at <= swapped);
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
    ledger.assert_only(|row| is_unanswered(row) && row.at <= last + Duration::from_millis(200));
}

#[test]
fn an_app_that_endangers_the_machine_is_ended_at_once_and_requests_are_held() {
    let story = Story::start(&format!("max_memory_restart = \"130M\"\n{LONG_DRAIN}"));
    let pid = story.server.pid("web");
    let load = Load::start(story.plan());
    after_some(&load, 200);
    assert_eq!(get(story.port, "/leak?mb=500&rate=2000").unwrap().0, 200);
    let asked = load.age();
    story.server.wait_for_another("web", pid);
    let replaced = load.age();
    after_some(&load, 300);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("a breach by far", &ledger);
    assert_eq!(story.app()["last_exit"]["reason"], "memory", "{:#}", story.app());
    ledger.assert_only(|row| is_unanswered(row) && row.at < replaced && row.at + row.took > asked);
}

#[test]
fn when_one_of_three_crashes_only_what_it_had_claimed_is_lost() {
    let story = Story::start(&format!("instances = 3\n{LONG_DRAIN}"));
    let load = Load::start(story.plan());
    after_some(&load, 200);
    let mut crashes = Vec::new();
    for _ in 0..3 {
        let instances = story.app()["instances"].clone();
        let pid = i32::try_from(instances[0]["pid"].as_i64().unwrap()).unwrap();
        let killed = load.age();
        signal(pid, Signal::SIGKILL);
        story.server.wait_until("it to be gone", || !is_alive(pid));
        crashes.push((killed, load.age(), pid.to_string()));
        story.server.wait_until("three again", || {
            let app = story.app();
            let all = app["instances"].as_array().unwrap();
            all.len() == 3 && all.iter().all(|one| one["status"] == "online" && one["pid"] != pid)
        });
        after_some(&load, 100);
    }
    load.wait_for_each(4);
    let ledger = load.end();
    tell("three crashes among three instances", &ledger);
    ledger.assert_only(|row| {
        let of_a_crash = crashes.iter().any(|(killed, gone, pid)| {
            let by_it = row.by.as_ref().is_none_or(|by| by.pid == *pid);
            row.at <= *gone && row.at + row.took >= *killed && by_it
        });
        is_unanswered(row) && of_a_crash
    });
    assert_eq!(ledger.answers().len(), 6, "{ledger}");
}
