//! What an operator changes under load: configurations, the number of instances, drains, stops; and what that may cost.

use crate::ledger::{Kind, Outcome, Row};
use crate::load::{ALL_KINDS, Load};
use crate::machine::{accepts, eventually, free_port, signal};
use crate::story::{LONG_DRAIN, Story, after_some, tell};
use nix::sys::signal::Signal;
use std::time::Duration;

#[test]
fn a_changed_environment_comes_by_a_rollover() {
    let story = Story::start(LONG_DRAIN);
    let load = Load::start(story.plan().span(Duration::from_millis(500)));
    after_some(&load, 150);
    let env = format!("env = {{ DEMO_NONCES = \"{}\", MORE = \"1\" }}\n{LONG_DRAIN}", story.nonces().display());
    story.apply(&env);
    after_some(&load, 150);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("a changed environment", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert_eq!(ledger.answers().len(), 2, "{ledger}");
    assert_eq!((&story.app()["swaps"], &story.app()["restarts"]), (&1.into(), &0.into()));
}

#[test]
fn two_apps_exchange_their_ports_and_nobody_is_refused() {
    let mut story = Story::prepare();
    let (port, other_port) = (story.port, free_port());
    let both = |port: u16, other_port: u16| {
        let other = story.table(other_port, LONG_DRAIN).replace("[apps.web]", "[apps.other]");
        format!("{}{other}", story.table(port, LONG_DRAIN))
    };
    let (before, after) = (both(port, other_port), both(other_port, port));
    story.server.configure(&before);
    story.server.run();
    for app in ["web", "other"] {
        story.server.wait_status(app, "online");
    }
    story.wait_public();
    let load = Load::start(story.plan().span(Duration::from_millis(500)));
    after_some(&load, 150);
    story.server.configure(&after);
    let applied = story.server.ctl(&["apply"]);
    assert_eq!(applied.code, 0, "{applied:#?}");
    after_some(&load, 150);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("exchanged ports", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert_eq!(ledger.answers().len(), 2, "{ledger}");
    let waited = |event: &serde_json::Value| event["message"].as_str().unwrap_or_default().contains("is held by");
    assert!(!story.server.events().iter().any(waited), "{:#?}", story.server.events());
}

#[test]
fn an_address_takes_in_the_old_one_and_gives_it_back_without_a_gap() {
    let story = Story::start("listen = [\"127.0.0.1\"]\n");
    let load = Load::start(story.plan().span(Duration::from_millis(500)));
    after_some(&load, 150);
    for listen in ["[::]", "127.0.0.1", "0.0.0.0", "[::]", "127.0.0.1"] {
        story.apply(&format!("listen = [\"{listen}\"]\n"));
        after_some(&load, 80);
    }
    load.wait_for_each(3);
    let ledger = load.end();
    tell("addresses that overlap", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert_eq!(ledger.answers().len(), 1, "{ledger}");
}

#[test]
fn instances_are_added_and_taken_away_without_a_loss() {
    let story = Story::start(LONG_DRAIN);
    let load = Load::start(story.plan().span(Duration::from_millis(500)));
    after_some(&load, 150);
    let online = |count: usize| {
        let app = story.app();
        let all = app["instances"].as_array().unwrap();
        all.len() == count && all.iter().all(|one| one["status"] == "online")
    };
    story.apply(&format!("instances = 3\n{LONG_DRAIN}"));
    story.server.wait_until("three instances", || online(3));
    after_some(&load, 300);
    story.apply(&format!("instances = 1\n{LONG_DRAIN}"));
    story.server.wait_until("one instance", || online(1));
    after_some(&load, 150);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("from one to three and back", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert!(ledger.answers().len() >= 3, "each of the three was asked\n{ledger}");
}

#[test]
fn streams_have_their_own_time_to_drain_and_requests_theirs() {
    let story = Story::start("drain = { requests = \"60s\", upgrades = \"1s\" }\n");
    let (streams, requests) = ([Kind::Events, Kind::WebSocket], [Kind::Fresh, Kind::Slow, Kind::Upload, Kind::Chunked]);
    let long = Load::start(story.plan().kinds(&streams).span(Duration::from_secs(8)));
    let short = Load::start(story.plan().kinds(&requests).span(Duration::from_secs(3)));
    after_some(&short, 100);
    let restarted = long.age();
    story.server.ctl(&["restart", "web"]).ok();
    short.wait_for_each(5);
    let ledger = short.end();
    tell("a drain with little time for streams", &ledger);
    ledger.assert_nothing_lost(&requests);
    long.wait_for_each(5);
    let ledger = long.end();
    tell("its streams", &ledger);
    // Those of the old slot had their time and no less; those of the new one are not concerned.
    ledger.assert_only(|row: &Row| {
        let had_its_time = row.at + row.took >= restarted + Duration::from_secs(1);
        row.at < restarted + Duration::from_secs(5) && had_its_time && row.outcome == Outcome::Truncated
    });
    let (cut, slots) = (ledger.failed().count(), |row: &Row| row.by.as_ref().map(|by| by.slot.clone()));
    assert!(cut >= 2 && ledger.failed().all(|row| slots(row).as_deref() == Some("blue")), "{ledger}");
}

#[test]
fn a_second_restart_is_refused_while_one_is_before_its_swap_and_so_is_an_apply() {
    let slow = "command = [\"sh\", \"-c\", \"while test -e slow; do sleep 0.05; done; exec node server.js\"]\n";
    let story = Story::start(slow);
    story.server.write("demo/slow", "");
    let first = story.server.follow(&["restart", "web"]);
    story.server.wait_until("the first", || story.app()["other"]["phase"] == "starting");
    let second = story.server.ctl(&["restart", "web"]);
    assert_eq!(second.code, 5, "{second:#?}");
    assert!(second.stderr.contains("being rolled over"), "{second:#?}");
    let applied = || std::fs::read_to_string(story.server.path("state/applied.json")).unwrap();
    let before = applied();
    let added = "[apps.other]\ncommand = \"sleep 600\"\n";
    story.configure(&format!("{slow}inherit_env = [\"PATH\"]\n{added}"));
    let refused = story.server.ctl(&["apply"]);
    assert_eq!(refused.code, 5, "{refused:#?}");
    for part in ["web is being rolled over (restart) by ", "since", "nothing was changed"] {
        assert!(refused.stderr.contains(part), "{refused:#?}");
    }
    let plan = story.server.ctl(&["apply", "--dry-run"]).ok().stdout;
    assert!(plan.contains("it would be refused now: web is being rolled over"), "{plan}");
    signal(story.server.supervisor_pid(), Signal::SIGHUP);
    story
        .server
        .wait_until("the log to tell it", || story.server.has_warned("the configuration is not applied: web is"));
    assert!(story.server.ctl(&["list"]).ok().said().contains("is not applied"));
    assert_eq!((applied(), story.server.json(&["list"]).as_array().unwrap().len()), (before, 1));
    std::fs::remove_file(story.server.path("demo/slow")).unwrap();
    first.end().ok();
    assert_eq!(story.app()["swaps"], 1);
    story.server.ctl(&["apply"]).ok();
    assert_eq!((&story.app()["swaps"], story.server.status("other").as_str()), (&2.into(), "online"));
}

#[test]
fn a_stop_finishes_what_was_claimed_and_then_closes_the_port() {
    let story = Story::start(LONG_DRAIN);
    let kinds = [Kind::Fresh, Kind::Kept, Kind::Post, Kind::Slow, Kind::Upload, Kind::Chunked];
    let load = Load::start(story.plan().kinds(&kinds).span(Duration::from_millis(800)));
    after_some(&load, 150);
    load.wait_for_each(2);
    story.server.ctl(&["stop", "web"]).ok();
    assert!(eventually(|| !accepts(story.port)));
    after_some(&load, 20);
    let ledger = load.end();
    tell("a stop", &ledger);
    // Nothing that was begun breaks off: later ones find nobody, on connections that are open an answer that says so.
    ledger.assert_only(|row| {
        matches!(row.outcome, Outcome::Refused | Outcome::ByProxy(503)) || row.outcome == Outcome::ResetBeforeSend
    });
    assert!(ledger.with(&Outcome::Refused) > 0, "{ledger}");
}

#[test]
fn where_the_app_binds_its_port_itself_a_restart_is_dark_and_the_ledger_sees_it() {
    let story = Story::start("proxy = \"off\"\n");
    let load = Load::start(story.plan().span(Duration::from_millis(500)));
    after_some(&load, 150);
    story.server.ctl(&["restart", "web"]).ok();
    after_some(&load, 150);
    let ledger = load.end();
    tell("without the proxy", &ledger);
    assert!(ledger.with(&Outcome::Refused) > 0, "{ledger}");
    assert_eq!(ledger.with(&Outcome::ExecutedTwice), 0, "{ledger}");
}
