//! From a configuration to online, and what can come in between.

use crate::configs::{With, config, kept, ms, probed, secs, web, worker};
use crate::script::Script;
use crate::world::World;
use infissi::api::{EventKind, ExitReason, Health, RefusalCode, Status};
use std::collections::BTreeMap;

#[test]
fn an_app_is_online_when_its_port_accepts() {
    let mut world = World::of([web("current", 3000)]);
    world.until("a process", |world| world.app("current").pid.is_some());
    assert_eq!(world.status("current"), Status::Starting);
    assert_eq!(world.app("current").health, Health::Unknown);
    world.until("online", |world| world.status("current") == Status::Online);
    assert_eq!(world.app("current").health, Health::Healthy);
    let asked = world.probes.len();
    world.advance(secs(60));
    assert_eq!(world.probes.len(), asked, "a port that accepted is not asked again and again");
    assert_eq!(world.app("current").uptime_ms, Some(60_000));
}

#[test]
fn a_probe_has_to_be_good_several_times_in_a_row() {
    let mut world = World::of([probed("current", 3000).with(|app| app.health.healthy = 3)]);
    world.until("online", |world| world.status("current") == Status::Online);
    let good = world.probes.iter().filter(|(at, _)| *at >= world.spawns[0].at + ms(301)).count();
    assert_eq!(good, 3);
}

#[test]
fn a_worker_is_online_when_it_has_run_a_second() {
    let mut world = World::of([worker("queue")]);
    world.advance(ms(999));
    assert_eq!(world.status("queue"), Status::Starting);
    world.advance(ms(3));
    assert_eq!(world.status("queue"), Status::Online);
    assert!(world.probes.is_empty());
    assert_eq!(world.app("queue").health, Health::Unknown, "nothing says how it is");
}

#[test]
fn what_was_wanted_before_counts_more_than_autostart() {
    let desired = BTreeMap::from([("current".to_owned(), kept(false)), ("gone".to_owned(), kept(true))]);
    let apps = [web("current", 3000), web("staging", 3002).with(|app| app.autostart = false)];
    let mut world = World::unborn(config(apps), &desired, "2026-06-01T12:00:00Z");
    world.tell(infissi::supervisor::Event::Began);
    world.advance(secs(5));
    assert_eq!(world.status("current"), Status::Stopped);
    assert_eq!(world.status("staging"), Status::Stopped);
    assert!(world.saves.is_empty(), "nothing changed, nothing to save");
}

#[test]
fn a_start_is_answered_when_it_is_online_and_says_how_long_it_took() {
    let mut world = World::of([web("current", 3000).with(|app| app.autostart = false)]);
    let start = world.start("current");
    assert_eq!(world.reply(start), None);
    assert_eq!(world.done(start), "started in 378 ms, pid 4001");
    let again = world.start("current");
    assert_eq!(world.done(again), "was already online");
    assert_eq!(world.saves.len(), 1, "saved only on change");
}

#[test]
fn what_cannot_be_spawned_is_errored_and_retried_but_is_no_crash() {
    let mut world = World::of([web("current", 3000).with(|app| app.max_restarts = 2)]);
    let reason = "\"npm\" is not in PATH (/usr/bin:/bin)";
    world.script("current", [Script::refused(reason)]);
    world.until("errored", |world| world.status("current") == Status::Errored);
    assert_eq!(world.reason("current"), reason);
    assert!(world.app("current").next_at.is_some());
    world.advance(secs(100));
    assert!(world.spawns.len() > 5, "it is tried again and again");
    let (status, exits, _) = world.core.view_app("current", world.now()).unwrap();
    assert_eq!((status.status, status.restarts), (Status::Errored, 0));
    assert_eq!(exits.len(), 1, "the same failure is recorded once");
    assert_eq!((exits[0].reason, exits[0].detail.as_deref()), (ExitReason::SpawnFailed, Some(reason)));
    assert_eq!(world.said("current", EventKind::Errored).len(), 1);
    world.script("current", [Script::good()]);
    world.until("online", |world| world.status("current") == Status::Online);
    assert_eq!(world.app("current").restarts, 0);
}

#[test]
fn a_start_that_cannot_spawn_says_why() {
    let mut world = World::of([web("current", 3000).with(|app| app.autostart = false)]);
    world.script("current", [Script::refused("there is no directory /srv/current")]);
    let start = world.start("current");
    let failure = world.failure(start);
    assert_eq!(failure.message, "current is not up: it could not be started: there is no directory /srv/current");
    assert_eq!(failure.code, RefusalCode::Failed);
}

#[test]
fn spawn_failures_do_not_lengthen_the_backoff_of_a_later_crash() {
    let mut world = World::of([worker("queue")]);
    world.script("queue", [Script::refused("no")]);
    world.advance(secs(60));
    world.script("queue", [Script::crashes(secs(2), crate::script::code(1)), Script::good()]);
    world.until("backoff", |world| world.status("queue") == Status::Backoff);
    let crashed = world.mono;
    let spawns = world.spawns.len();
    world.until("a new process", |world| world.spawns.len() > spawns);
    assert_eq!(world.mono - crashed, ms(100));
}

#[test]
fn a_spawn_that_worked_makes_the_next_refusal_a_first_one() {
    let mut world = World::of([worker("queue")]);
    let no = || Script::refused("no");
    world.script("queue", [no(), no(), no(), Script::crashes(secs(2), crate::script::code(1)), no(), Script::good()]);
    world.advance(secs(60));
    let gaps: Vec<_> = world.spawns.windows(2).map(|pair| pair[1].at - pair[0].at - ms(1)).collect();
    assert_eq!(gaps, [ms(100), ms(200), ms(400), ms(2100), ms(100)]);
}

#[test]
fn a_held_port_is_named_and_waited_for() {
    let mut world = World::of([web("current", 3000)]);
    world.hold_port(3000, "port 3000 is held by pid 77 (node old.js)");
    world.advance(ms(10_500));
    assert_eq!(world.status("current"), Status::Waiting);
    assert_eq!(world.reason("current"), "port 3000 is held by pid 77 (node old.js)");
    assert_eq!(world.spawns.len(), 11, "looked at each second");
    assert_eq!(world.said("current", EventKind::PortHeld).len(), 1, "but told once");
    world.hold_port(3000, "port 3000 is held by pid 78 (node older.js)");
    world.advance(secs(2));
    assert_eq!(world.said("current", EventKind::PortHeld).len(), 2, "another holder is news");
    world.free_port(3000);
    world.until("online", |world| world.status("current") == Status::Online);
    assert_eq!(world.app("current").reason, None);
    assert_eq!(world.app("current").restarts, 0);
}

#[test]
fn who_waits_for_an_app_whose_port_is_held_is_told_in_time_and_the_app_still_comes_up() {
    let mut world = World::of([web("current", 3000).with(|app| app.autostart = false)]);
    world.hold_port(3000, "port 3000 is held by pid 77 (node old.js)");
    let asked = world.mono;
    let start = world.start("current");
    let failure = world.failure(start);
    assert_eq!(failure.message, "current is not up yet: port 3000 is held by pid 77 (node old.js)");
    assert_eq!((world.mono - asked).as_secs(), 60);
    world.advance(secs(600));
    let asked = world.mono;
    let again = world.start("current");
    assert_eq!(world.mono, asked);
    assert_eq!(world.reply(again), None, "a new asker has their own patience");
    world.free_port(3000);
    let message = world.done(again);
    assert!(message.starts_with("started in"), "{message}");
    assert!(world.mono - asked < secs(3));
}

#[test]
fn an_app_that_does_not_become_ready_is_replaced_and_its_complaint_told() {
    let mut world = World::of([probed("current", 3000).with(|app| app.autostart = false)]);
    world.script("current", [Script::never_ready(), Script::good()]);
    let start = world.start("current");
    let failure = world.failure(start);
    assert_eq!(failure.message, "current is not up: it was not ready within 60 s: connection refused");
    world.until("online", |world| world.status("current") == Status::Online);
    let (status, exits, complaint) = world.core.view_app("current", world.now()).unwrap();
    assert_eq!((status.restarts, exits[0].reason), (1, ExitReason::Unhealthy));
    assert_eq!(complaint, None, "a new process starts with a clean sheet");
}

#[test]
fn a_start_that_ends_as_it_may_is_done() {
    let mut world = World::of([worker("seed").with(|app| {
        app.autostart = false;
        app.autorestart = infissi::config::Autorestart::OnFailure;
    })]);
    world.script("seed", [Script::crashes(ms(400), crate::script::code(0))]);
    let start = world.start("seed");
    assert_eq!(world.done(start), "ran and ended as it may, in 401 ms");
    assert_eq!(world.status("seed"), Status::Stopped);
}

#[test]
fn who_does_not_wait_is_answered_at_once() {
    let mut world = World::of([web("current", 3000).with(|app| app.autostart = false)]);
    let request = infissi::supervisor::Request::Start { apps: vec!["current".into(), "nope".into()], wait: false };
    let id = world.ask("ann", request);
    assert!(world.reply(id).is_some());
    let results = world.results(id);
    assert_eq!(results[0].message, "accepted; it goes on by itself");
    let error = results[1].error.as_ref().unwrap();
    assert_eq!((error.code, error.message.as_str()), (RefusalCode::NoSuchApp, "there is no app named nope"));
    world.until("online", |world| world.status("current") == Status::Online);
}
