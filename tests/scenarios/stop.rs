//! Stop and restart: what is done when, and what overtakes what.

use crate::configs::{With, ms, probed, secs, web, worker};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{EventKind, ExitReason, RefusalCode, Status};
use infissi::supervisor::Request;

#[test]
fn a_stop_is_done_when_the_tree_is_empty() {
    let mut world = World::of([web("current", 3000)]);
    world.script("current", [Script { leftovers: Some(Some(secs(2))), ..Script::good() }]);
    world.advance(secs(3));
    let stop = world.stop("current");
    world.advance(secs(1));
    assert_eq!((world.reply(stop), world.status("current")), (None, Status::Stopping), "its leader is gone, no more");
    assert_eq!(world.done(stop), "stopped in 2 s");
    assert_eq!(world.living("current"), 0);
    let exit = world.app("current").last_exit.unwrap();
    assert_eq!((exit.reason, exit.code), (ExitReason::Stop, Some(143)));
    assert_eq!(world.app("current").restarts, 0);
    let again = world.stop("current");
    assert_eq!(world.done(again), "was already stopped");
}

#[test]
fn what_ignores_the_signal_is_killed_after_kill_timeout() {
    let mut world = World::of([web("current", 3000).with(|app| app.kill_timeout = secs(5))]);
    world.script("current", [Script::stubborn()]);
    world.advance(secs(3));
    let asked = world.mono;
    let stop = world.stop("current");
    world.done(stop);
    assert_eq!(world.kills.len(), 1);
    assert_eq!(world.kills[0].0 - asked, secs(5));
    assert_eq!(world.app("current").last_exit.unwrap().reason, ExitReason::Stop);
}

#[test]
fn what_survives_a_kill_by_forking_is_killed_again() {
    let mut world = World::of([web("current", 3000).with(|app| app.kill_timeout = secs(5))]);
    world.script("current", [Script { survives: 2, ..Script::stubborn() }]);
    world.advance(secs(3));
    let stop = world.stop("current");
    assert_eq!(world.done(stop), "stopped in 7 s");
    assert_eq!(world.kills.len(), 3);
    assert_eq!(world.said("current", EventKind::Stopping), ["is asked to end (stop)"]);
    assert_eq!(world.said("current", EventKind::Killed), ["did not end within 5 s: killed"]);
}

#[test]
fn a_stopped_app_stays_stopped() {
    let mut world = World::up([web("current", 3000)]);
    let stop = world.stop("current");
    world.done(stop);
    world.advance(secs(600));
    assert_eq!((world.spawns.len(), world.status("current")), (1, Status::Stopped));
    assert!(!world.saves.last().unwrap()["current"].desired);
}

#[test]
fn a_restart_stops_then_starts() {
    let mut world = World::up([web("current", 3000)]);
    let before = world.app("current").pid;
    let restart = world.restart("current");
    let message = world.done(restart);
    assert_eq!(message, "restarted in 428 ms, pid 4002");
    assert_ne!(world.app("current").pid, before);
    assert_eq!(world.app("current").last_exit.unwrap().reason, ExitReason::Restart);
    assert_eq!(world.app("current").restarts, 0, "a planned one does not count");
    assert!(world.saves.is_empty(), "it was wanted before and is wanted now");
}

#[test]
fn a_restart_revives_from_every_state() {
    type Reach = fn(&mut World);
    let states: [(&str, Script, Reach, &str); 6] = [
        ("starting", Script::never_ready(), |world| world.advance(secs(3)), "restarted"),
        (
            "backoff",
            Script::crashes(ms(100), code(1)),
            |world| world.until("backoff", |world| world.status("current") == Status::Backoff),
            "started",
        ),
        ("errored", Script::refused("no"), |world| world.advance(secs(60)), "started"),
        (
            "stopped",
            Script::good(),
            |world| {
                let stop = world.stop("current");
                world.done(stop);
            },
            "started",
        ),
        (
            "stopping",
            Script::stubborn(),
            |world| {
                world.advance(secs(3));
                world.stop("current");
            },
            "restarted",
        ),
        ("spawning", Script { spawn_takes: secs(1), ..Script::good() }, |world| world.advance(ms(500)), "restarted"),
    ];
    for (name, script, reach, verb) in states {
        let mut world = World::of([web("current", 3000)]);
        world.script("current", [script]);
        reach(&mut world);
        world.script("current", [Script::good()]);
        let restart = world.restart("current");
        let message = world.done(restart);
        assert!(message.starts_with(verb), "{name}: {message}");
        assert_eq!(world.status("current"), Status::Online, "{name}");
    }
}

#[test]
fn a_restart_during_a_restart_makes_both_right() {
    let mut world = World::up([probed("current", 3000)]);
    let first = world.restart("current");
    world.advance(ms(200));
    let second = world.restart("current");
    let (first, second) = (world.done(first), world.done(second));
    assert!(first.starts_with("restarted") && second.starts_with("restarted"), "{first} {second}");
    assert_eq!(world.spawns.len(), 3);
}

#[test]
fn a_stop_during_a_start_wins_and_tells_who_waited() {
    for wait in [ms(0), ms(100)] {
        let mut world = World::of([web("current", 3000).with(|app| app.autostart = false)]);
        world.script("current", [Script { spawn_takes: ms(50), ..Script::good() }]);
        let start = world.start("current");
        world.advance(wait);
        let stop = world.stop("current");
        let busy = world.failure(start);
        assert_eq!((busy.code, busy.message.as_str()), (RefusalCode::Busy, "current was stopped by bob meanwhile"));
        world.done(stop);
        assert_eq!((world.status("current"), world.living("current")), (Status::Stopped, 0));
    }
}

#[test]
fn a_start_during_a_stop_starts_it_afresh() {
    let mut world = World::up([web("current", 3000)]);
    let stop = world.stop("current");
    world.advance(ms(10));
    let start = world.start("current");
    let busy = world.failure(stop);
    assert_eq!((busy.code, busy.message.as_str()), (RefusalCode::Busy, "current was started by ann meanwhile"));
    world.done(start);
    assert_eq!((world.spawns.len(), world.status("current")), (2, Status::Online));
}

#[test]
fn a_stop_of_what_waits_for_its_port_is_answered_at_once() {
    let mut world = World::of([web("current", 3000)]);
    world.hold_port(3000, "port 3000 is held by pid 77");
    world.script("current", [Script { spawn_takes: ms(500), ..Script::good() }]);
    world.advance(secs(100));
    world.until("a spawn under way", |world| world.core.runs("current").is_empty() && world.spawns.len() > 60);
    let stop = world.stop("current");
    world.done(stop);
    assert_eq!((world.status("current"), world.app("current").reason), (Status::Stopped, None));
}

#[test]
fn who_is_gone_gets_no_reply_and_the_work_goes_on() {
    let mut world = World::of([web("current", 3000).with(|app| app.autostart = false)]);
    let start = world.start("current");
    world.abandon(start);
    world.until("online", |world| world.status("current") == Status::Online);
    assert_eq!(world.reply(start), None);
}

#[test]
fn a_signal_reaches_every_tree_of_the_app() {
    let mut world =
        World::up([worker("queue").with(|app| app.instances = 2), worker("off").with(|app| app.autostart = false)]);
    let id = world
        .ask("ann", Request::Signal { apps: vec!["queue".into(), "off".into()], signal: 1, name: "SIGHUP".into() });
    let results = world.results(id);
    assert_eq!(world.signals.len(), 2);
    assert_eq!(results[0].message, "SIGHUP is sent");
    assert_eq!(results[1].error.as_ref().unwrap().message, "off does not run");
    assert_eq!(world.spawns.len(), 2);
}
