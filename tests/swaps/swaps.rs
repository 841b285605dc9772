//! Swaps as they should be: restarts, instances, what cannot run twice, cold starts. Nobody notices any of them.

use crate::ledger::{Kind, Outcome, Row};
use crate::load::{ALL_KINDS, Load};
use crate::machine::{accepts, eventually, signal, skip};
use crate::story::{LONG_DRAIN, Story, after_some, is_soak, tell};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::time::Duration;

/// Without streams: a stop does not wait for them.
const REQUESTS: &[Kind] =
    &[Kind::Fresh, Kind::Kept, Kind::Thinking, Kind::Post, Kind::Slow, Kind::Upload, Kind::Chunked];

#[test]
fn twenty_restarts_in_a_row_lose_no_request_and_do_none_twice() {
    let story = Story::start(&format!("command = \"npm start\"\n{LONG_DRAIN}"));
    let load = Load::start(story.plan().span(Duration::from_millis(400)));
    restart_in_a_row(&story, load, 20);
}

#[test]
fn a_hundred_restarts_under_heavy_load_lose_no_request_and_do_none_twice() {
    if !is_soak() {
        return skip("the long run is for INFISSI_SOAK=1");
    }
    let story = Story::start(LONG_DRAIN);
    let load = Load::start(story.plan().span(Duration::from_millis(200)).weight(20));
    restart_in_a_row(&story, load, 100);
}

fn restart_in_a_row(story: &Story, load: Load, times: usize) {
    after_some(&load, 200);
    for _ in 0..times {
        story.server.ctl(&["restart", "web"]).ok();
        after_some(&load, 20);
    }
    after_some(&load, 200);
    load.wait_for_each(3);
    let ledger = load.end();
    tell(&format!("{times} restarts"), &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    let pids: BTreeSet<&str> = ledger.answers().keys().map(|by| by.pid.as_str()).collect();
    assert_eq!(pids.len(), times + 1, "each of the instances has answered\n{ledger}");
    assert_eq!((&story.app()["restarts"], &story.app()["swaps"]), (&0.into(), &times.into()));
}

#[test]
fn a_swap_waits_for_what_takes_longer_than_it_and_for_connections_that_think() {
    let story = Story::start(&format!("command = \"npm start\"\n{LONG_DRAIN}"));
    let load = Load::start(story.plan().span(Duration::from_secs(5)));
    after_some(&load, 300);
    story.server.ctl(&["restart", "web"]).ok();
    assert!(story.app()["last_drain_ms"].as_u64() > Some(1_000), "{:#}", story.app());
    load.wait_for_each(8);
    story.server.ctl(&["restart", "web"]).ok();
    load.wait_for_each(12);
    let ledger = load.end();
    tell("two restarts with slow clients", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
}

#[test]
fn three_instances_share_the_requests_and_are_replaced_together() {
    let story = Story::start(&format!("instances = 3\n{LONG_DRAIN}"));
    let load = Load::start(story.plan().kinds(&[Kind::Fresh, Kind::Kept, Kind::Post]));
    after_some(&load, 600);
    let before = load.end();
    before.assert_nothing_lost(&[Kind::Fresh, Kind::Kept, Kind::Post]);
    let answers: Vec<usize> = before.answers().into_values().collect();
    assert_eq!(answers.len(), 3, "{before}");
    assert!(answers.iter().all(|one| one * 100 / before.rows.len() >= 20), "each has its share\n{before}");

    let load = Load::start(story.plan().span(Duration::from_millis(500)));
    after_some(&load, 200);
    story.server.ctl(&["restart", "web"]).ok();
    after_some(&load, 200);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("a restart of three instances", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert_eq!(ledger.answers().len(), 6, "three old ones and three new ones\n{ledger}");
}

#[test]
fn what_cannot_run_twice_is_stopped_first_and_its_requests_are_held() {
    // A second one would fail on the lock.
    let once = "command = [\"flock\", \"--nonblock\", \"--conflict-exit-code\", \"9\", \"../lock\", \"node\", \"server.js\"]\n\
                strategy = \"stop-first\"\nhold = \"30s\"\nkill_timeout = \"10s\"\n";
    let story = Story::start(&format!("{once}{LONG_DRAIN}"));
    let load = Load::start(story.plan().kinds(REQUESTS).span(Duration::from_millis(500)));
    for _ in 0..3 {
        after_some(&load, 200);
        story.server.ctl(&["restart", "web"]).ok();
    }
    after_some(&load, 200);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("three restarts that stop first", &ledger);
    ledger.assert_nothing_lost(REQUESTS);
    assert_eq!(ledger.answers().len(), 4, "{ledger}");
    assert_eq!(story.app()["restarts"], 0);
}

#[test]
fn a_hard_restart_and_a_cold_start_hold_requests_and_lose_none() {
    let slow_start = "command = [\"sh\", \"-c\", \"sleep 1; exec node server.js\"]\nhold = \"30s\"\n";
    let story = Story::start(&format!("{slow_start}{LONG_DRAIN}"));
    let load = Load::start(story.plan().kinds(REQUESTS).span(Duration::from_millis(300)));
    after_some(&load, 200);
    story.server.ctl(&["restart", "web", "--hard"]).ok();
    after_some(&load, 200);
    let ledger = load.end();
    tell("a hard restart", &ledger);
    ledger.assert_nothing_lost(&[Kind::Fresh, Kind::Kept, Kind::Post]);
    let longest = ledger.rows.iter().map(|row| row.took).max();
    assert!(longest > Some(Duration::from_secs(1)), "some were held meanwhile\n{ledger}");

    story.server.ctl(&["stop", "web"]).ok();
    assert!(eventually(|| !accepts(story.port)), "a stop closes the public port");
    let starting = story.server.follow(&["start", "web"]);
    story.server.wait_until("the public port", || accepts(story.port));
    let load = Load::start(story.plan().kinds(REQUESTS).span(Duration::from_millis(300)));
    starting.end().ok();
    after_some(&load, 200);
    let ledger = load.end();
    tell("a cold start", &ledger);
    ledger.assert_nothing_lost(&[Kind::Fresh, Kind::Kept, Kind::Post]);
}

#[test]
fn what_is_held_in_vain_is_told_so_after_its_time() {
    let story = Story::start("hold = \"1s\"\nbackoff = { initial = \"1h\", max = \"1h\" }\nmin_uptime = \"1h\"\n");
    let load = Load::start(story.plan().kinds(&[Kind::Fresh]));
    after_some(&load, 20);
    // It crashes at its next start, too.
    story.server.write("demo/server.js", "throw new Error('a broken build')");
    let pid = story.server.pid("web");
    signal(pid, Signal::SIGKILL);
    assert!(eventually(|| load.failed() >= 3), "nobody is told");
    let ledger = load.end();
    tell("held in vain", &ledger);
    let by_proxy = |row: &Row| matches!(row.outcome, Outcome::ByProxy(502..=504));
    ledger.assert_only(by_proxy);
    let in_time = |row: &Row| (Duration::from_millis(900)..Duration::from_secs(5)).contains(&row.took);
    assert!(ledger.failed().filter(|row| row.outcome == Outcome::ByProxy(503)).all(in_time), "{ledger}");
    assert!(ledger.with(&Outcome::ByProxy(503)) >= 2, "{ledger}");
}
