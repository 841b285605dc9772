//! `kill -9` of the worker and of the supervisor, under load.

use crate::ledger::{Outcome, Row};
use crate::load::{ALL_KINDS, Load};
use crate::machine::{PATIENCE, is_alive, signal};
use crate::story::{LONG_DRAIN, Story, after_some, tell};
use crate::wire::Connection;
use infissi::linux::proc::{ProcTable, command};
use nix::sys::signal::Signal;
use std::time::Duration;

/// The supervisor's child that is the proxy worker.
pub(crate) fn worker(story: &Story) -> i32 {
    story.server.wait_for("the worker", || {
        let table = ProcTable::new();
        let mut children = table.children(story.server.supervisor_pid()).map(|child| child.id.pid);
        children.find(|pid| command(*pid, 200).split(' ').any(|word| word == "proxy"))
    })
}

#[test]
fn kill_minus_nine_of_the_worker_refuses_nobody_and_costs_only_what_was_in_flight() {
    let story = Story::start(LONG_DRAIN);
    let load = Load::start(story.plan());
    let mut deaths = Vec::new();
    for _ in 0..3 {
        after_some(&load, 200);
        let pid = worker(&story);
        let killed = load.age();
        signal(pid, Signal::SIGKILL);
        story.server.wait_until("the worker to be gone", || !is_alive(pid));
        deaths.push((killed, load.age()));
        story.server.wait_until("another worker", || worker(&story) != pid);
    }
    after_some(&load, 300);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("three dead workers", &ledger);
    ledger.assert_only(|row| cost_by(&deaths, row));
    assert_eq!(story.app()["restarts"], 0, "the app is not concerned");
    assert_eq!(ledger.answers().len(), 1, "nor is it replaced\n{ledger}");
}

#[test]
fn a_worker_that_dies_in_the_middle_of_a_swap_does_not_spoil_it() {
    let story = Story::start(LONG_DRAIN);
    let load = Load::start(story.plan());
    let mut deaths = Vec::new();
    // Before the swap, about at it, and while the old slot drains.
    for phase in ["starting", "draining", "draining"] {
        after_some(&load, 150);
        let pid = worker(&story);
        let restart = story.server.follow(&["restart", "web"]);
        story.server.wait_until(phase, || story.app()["other"]["phase"] == phase);
        let killed = load.age();
        signal(pid, Signal::SIGKILL);
        story.server.wait_until("the worker to be gone", || !is_alive(pid));
        deaths.push((killed, load.age()));
        restart.end().ok();
        story.server.wait_until("another worker", || worker(&story) != pid);
    }
    after_some(&load, 200);
    let ledger = load.end();
    tell("workers that die in the middle of swaps", &ledger);
    ledger.assert_only(|row| cost_by(&deaths, row));
    assert_eq!((&story.app()["swaps"], &story.app()["restarts"]), (&3.into(), &0.into()));
    assert_eq!(ledger.answers().len(), 4, "{ledger}");
}

#[test]
fn kill_minus_nine_of_the_supervisor_is_nothing_that_clients_notice() {
    let mut story = Story::start(LONG_DRAIN);
    let pid = story.server.pid("web");
    let load = Load::start(story.plan());
    for _ in 0..3 {
        after_some(&load, 200);
        story.server.kill_supervisor();
        after_some(&load, 200);
        story.server.run();
        assert_eq!((story.server.status("web").as_str(), story.server.pid("web")), ("online", pid));
    }
    story.server.ctl(&["restart", "web"]).ok();
    after_some(&load, 200);
    load.wait_for_each(4);
    let ledger = load.end();
    tell("three dead supervisors", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert_eq!(ledger.answers().len(), 2, "{ledger}");
}

#[test]
fn a_supervisor_that_is_killed_in_the_middle_of_a_rollover_has_a_successor_that_finishes_it() {
    let mut story = Story::start(LONG_DRAIN);
    let load = Load::start(story.plan());
    for phase in ["starting", "draining", "starting", "draining"] {
        after_some(&load, 100);
        let before = story.app()["pid"].clone();
        let restart = story.server.follow(&["restart", "web"]);
        story.server.wait_until(phase, || story.app()["other"]["phase"] == phase);
        // What is not noted yet would be undone.
        let noted = || std::fs::read_to_string(story.server.path("run/remembered.json")).unwrap_or_default();
        let word = if phase == "starting" { "\"Rising\"" } else { "\"Retiring\"" };
        story.server.wait_until("it to be noted", || noted().contains(word));
        story.server.kill_supervisor();
        // Who asked has lost sight of it.
        assert_ne!(restart.end().code, 0);
        after_some(&load, 50);
        story.server.run();
        story.server.wait_until("the rollover to be finished", || {
            let app = story.app();
            app["other"].is_null() && app["pid"] != before && app["status"] == "online"
        });
    }
    after_some(&load, 200);
    let ledger = load.end();
    tell("supervisors that die in the middle of rollovers", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert_eq!((ledger.answers().len(), &story.app()["restarts"]), (5, &0.into()), "{ledger}");
}

#[test]
fn an_updated_supervisor_replaces_the_worker_that_it_meets_and_clients_do_not_notice_that() {
    let mut story = Story::start(LONG_DRAIN);
    let old = worker(&story);
    let load = Load::start(story.plan());
    after_some(&load, 200);
    story.server.kill_supervisor();
    story.server.update();
    story.server.run();
    story.server.wait_status("web", "online");
    assert_ne!(worker(&story), old);
    after_some(&load, 300);
    load.wait_for_each(4);
    let ledger = load.end();
    tell("an updated supervisor", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    story.server.wait_until("the old worker to have left", || !is_alive(old));
}

/// The pid of the instance that answers.
#[track_caller]
fn answers(client: &mut Connection) -> String {
    client.begin();
    client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let head = client.head().unwrap();
    client.body(&head).unwrap();
    let by = head.signature();
    assert_eq!((head.status, by.is_some()), (200, true));
    by.unwrap().pid
}

#[test]
fn clients_of_a_worker_that_leaves_have_the_routes_of_whatever_supervisor_comes_next() {
    let mut story = Story::start(LONG_DRAIN);
    let old = worker(&story);
    // A connection of a worker that leaves ends with its next answer, which may come just before the swap.
    let mut clients: Vec<Connection> = (0..50).map(|_| Connection::open(story.port, PATIENCE).unwrap()).collect();
    let before: Vec<String> = clients.iter_mut().map(answers).collect();
    let mut socket = Connection::open(story.port, PATIENCE).unwrap();
    assert_eq!(socket.upgrade("/ws").unwrap().status, 101);
    story.server.kill_supervisor();
    story.server.update();
    story.server.run();
    story.server.wait_until("another worker", || story.server.worker().is_some_and(|worker| worker != old));
    let run = story.server.path("run");
    let aside = || {
        let names = std::fs::read_dir(&run).unwrap().flatten().map(|entry| entry.file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".worker-left-")).count()
    };
    story.server.wait_until("the old one to leave", || aside() == 1);
    story.server.kill_supervisor();
    story.server.run();
    story.server.wait_status("web", "online");

    let restart = story.server.follow(&["restart", "web"]);
    story.server.wait_until("the old slot to be waited for", || story.app()["other"]["phase"] == "draining");
    story.server.wait_until("connections that were open before to have the new slot", || {
        answers(&mut clients.pop().expect("one that has")) != before[0]
    });
    drop(clients);
    socket.say("still there").unwrap();
    assert_eq!(story.app()["other"]["phase"], "draining");
    socket.part().unwrap();
    drop(socket);
    restart.end().ok();
    assert!(story.app()["other"].is_null(), "it is drained");
    story.server.wait_until("the old worker to have left", || !is_alive(old) && aside() == 0);
}

/// What the death of a worker, between these two times, may cost.
pub(crate) fn cost_by(deaths: &[(Duration, Duration)], row: &Row) -> bool {
    let in_flight = deaths.iter().any(|(killed, gone)| row.at <= *gone && row.at + row.took >= *killed);
    // The client saw the end before it wrote: it lost a connection and no request.
    let only_the_connection = row.outcome == Outcome::ResetBeforeSend && row.kept;
    let broken = [Outcome::ResetAfterSend, Outcome::EarlyEof, Outcome::Truncated].contains(&row.outcome);
    only_the_connection || broken && in_flight
}
