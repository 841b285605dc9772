//! Releases: bad ones that are never served or taken back, staged ones, and tabs that still run the old one.

use crate::ledger::{Kind, Outcome};
use crate::load::{ALL_KINDS, Load};
use crate::machine::get_with;
use crate::story::{LONG_DRAIN, Story, after_some, tell};
use std::time::Duration;

/// From release `one`, warm for so long after a swap.
fn deployed(warm: &str) -> Story {
    let more = format!(
        "command = \"npm start\"\ncwd = \".\"\nenv_file = \".env?\"\n\
         health = {{ http = \"/api/health\", interval = \"500ms\", healthy = 1, start_timeout = \"4s\" }}\n\
         deploy = {{ root = \"{{root}}\", warm = \"{warm}\" }}\n{LONG_DRAIN}"
    );
    let story = Story::prepare();
    story.build_release("one", "");
    story.configure(&more.replace("{root}", &story.server.path("").display().to_string()));
    let mut story = story;
    story.server.run();
    story.activate("one", false).unwrap();
    story.wait_public();
    story
}

#[test]
fn a_release_that_does_not_become_healthy_is_never_served_and_the_operator_is_told_why() {
    let story = deployed("1s");
    let faults = [
        ("crash-at-start", "exited with code 1", "crashed at its start"),
        ("never-listen", "nothing listens", "still not listening"),
        ("sick", "answered 500", "GET /api/health 500"),
    ];
    let load = Load::start(story.plan().span(Duration::from_millis(500)));
    load.releases().expect(&["one"]);
    for (fault, why, last_words) in faults {
        story.build_release(fault, fault);
        after_some(&load, 50);
        let refused = story.activate(fault, false).unwrap_err().into_body();
        assert!(refused.error.message.contains(why), "{refused:#?}");
        let told = refused.results[0].last_lines.iter().any(|line| line.line.contains(last_words));
        assert!(told, "{refused:#?}");
        let app = story.app();
        assert_eq!((&app["status"], &app["release"]), (&"online".into(), &"one".into()), "{app:#}");
    }
    load.wait_for_each(3);
    let ledger = load.end();
    tell("three bad releases", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert_eq!(ledger.answers().len(), 1, "{ledger}");
}

#[test]
fn a_restart_on_a_broken_build_leaves_the_old_one_serving_and_fails() {
    let story = Story::start(&format!("command = \"npm start\"\n{LONG_DRAIN}"));
    let load = Load::start(story.plan().span(Duration::from_millis(500)));
    after_some(&load, 100);
    story.server.write(
        "demo/package.json",
        r#"{ "name": "demo", "version": "1.0.0", "scripts": { "start": "DEMO_FAULT=crash-at-start node server.js" } }"#,
    );
    let failed = story.server.ctl(&["restart", "web"]);
    assert_eq!(failed.code, 1, "{failed:#?}");
    assert!(failed.said().contains("crashed at its start"), "with its last lines: {failed:#?}");
    assert_eq!(story.server.status("web"), "online");
    after_some(&load, 100);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("a broken build", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert_eq!(ledger.answers().len(), 1, "{ledger}");
}

#[test]
fn a_release_that_crashes_under_traffic_is_taken_back_while_the_old_one_is_warm() {
    let story = deployed("60s");
    story.build_release("two", "crash-after=40");
    let kinds = [Kind::Fresh, Kind::Kept, Kind::Post];
    let load = Load::start(story.plan().kinds(&kinds));
    after_some(&load, 100);
    let refused = story.activate("two", false).unwrap_err().to_string();
    assert!(refused.contains("has the traffic again"), "{refused}");
    assert_eq!(story.app()["release"], "one");
    after_some(&load, 200);
    let ledger = load.end();
    tell("a release that crashes under traffic", &ledger);
    // What it had claimed when it crashed, and no more.
    ledger.assert_only(|row| matches!(row.outcome, Outcome::ByProxy(502) | Outcome::EarlyEof | Outcome::Truncated));
    let clients = 6;
    assert!(ledger.failed().count() <= clients, "no client lost more than one request\n{ledger}");
    let told = story.server.events_of("web", "flipped-back");
    assert_eq!(told.len(), 1, "{:#?}", story.server.events());
    let message = told[0]["message"].as_str().unwrap();
    assert!(message.contains("has the traffic again") && message.contains("two is marked bad"), "{message}");
}

#[test]
fn a_release_that_answers_with_errors_is_taken_back_while_the_old_one_is_warm() {
    let story = deployed("60s");
    story.build_release("two", "errors-after=30");
    let load = Load::start(story.plan().kinds(&[Kind::Fresh, Kind::Kept]));
    after_some(&load, 100);
    let refused = story.activate("two", false).unwrap_err().to_string();
    assert!(refused.contains("of its last") && refused.contains("has the traffic again"), "{refused}");
    assert_eq!(story.app()["release"], "one");
    after_some(&load, 200);
    let ledger = load.end();
    tell("a release that answers with errors", &ledger);
    ledger.assert_only(|row| row.outcome == Outcome::ByApp(500) && row.by.as_ref().unwrap().release == "two");
    let last = ledger.rows.iter().rev().take(50).all(|row| row.by.as_ref().is_some_and(|by| by.release == "one"));
    assert!(last, "{ledger}");
}

#[test]
fn a_staged_release_is_made_active_and_taken_back_in_no_time() {
    let story = deployed("60s");
    story.build_release("two", "");
    let load = Load::start(story.plan().span(Duration::from_millis(500)));
    load.releases().expect(&["one"]);
    after_some(&load, 100);
    story.activate("two", true).unwrap();
    after_some(&load, 100);
    assert_eq!(story.app()["other"]["phase"], "staged", "{:#}", story.app());
    for release in ["two", "one", "two"] {
        load.releases().expect(&["one", "two"]);
        story.server.ctl(&["swap", "web"]).ok();
        load.releases().expect(&[release]);
        after_some(&load, 150);
        assert_eq!(story.app()["release"], release);
        assert_eq!(story.app()["other"]["phase"], "warm", "{:#}", story.app());
    }
    load.wait_for_each(3);
    let ledger = load.end();
    tell("swap, back and again", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert_eq!(ledger.answers().len(), 2, "two processes all the time\n{ledger}");
}

#[test]
fn a_tab_of_the_old_release_is_answered_by_it_while_it_is_warm() {
    let story = deployed("60s");
    story.build_release("two", "");
    story.activate("two", true).unwrap();
    story.server.ctl(&["swap", "web"]).ok();
    let release = |path: &str, header: &str| {
        let (status, page) = get_with(story.port, path, header).unwrap();
        assert_eq!(status, 200, "{page}");
        let answered = page.split("<tr><th>release<td>").nth(1).unwrap();
        answered.split('\n').next().unwrap().to_owned()
    };
    assert_eq!(release("/", ""), "two");
    assert_eq!(release("/?dpl=one", ""), "one");
    assert_eq!(release("/?a=b&dpl=one", ""), "one");
    assert_eq!(release("/", "x-deployment-id: one\r\n"), "one");
    assert_eq!(release("/?dpl=two", ""), "two");
    assert_eq!(release("/?dpl=three", ""), "two", "an id that nobody has is the active slot's");
}
