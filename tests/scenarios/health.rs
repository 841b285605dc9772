//! Probes of what is online.

use crate::configs::{With, http, probed, secs, worker};
use crate::script::Script;
use crate::world::World;
use infissi::api::{EventKind, ExitReason, Health, Status};
use infissi::supervisor::Event;

#[test]
fn after_so_many_bad_probes_in_a_row_it_is_replaced() {
    let mut world = World::of([probed("current", 3000)]);
    world.script("current", [Script { sick: Some(secs(60)), ..Script::good() }, Script::good()]);
    world.until("a second process", |world| world.spawns.len() == 2);
    let exit = world.app("current").last_exit.unwrap();
    assert_eq!(exit.reason, ExitReason::Unhealthy);
    assert_eq!(exit.detail.as_deref(), Some("failed 3 probes in a row: connection refused"));
    let sick_for = world.mono - world.spawns[0].at - secs(60);
    assert!(secs(10) < sick_for && sick_for < secs(16), "{sick_for:?}");
    assert_eq!(world.app("current").restarts, 1);
}

#[test]
fn a_good_probe_in_between_forgives_the_bad_ones() {
    let mut world = World::up([probed("current", 3000)]);
    let run = world.run("current");
    for _ in 0..5 {
        world.tell(Event::Probed { run, outcome: Err("timeout".into()) });
        world.tell(Event::Probed { run, outcome: Err("timeout".into()) });
        world.tell(Event::Probed { run, outcome: Ok(()) });
    }
    assert_eq!(world.status("current"), Status::Online);
    assert_eq!(world.core.view_app("current", world.now()).unwrap().2.as_deref(), Some("timeout"));
}

#[test]
fn one_probe_at_a_time() {
    let mut world = World::of([probed("current", 3000)]);
    world.script("current", [Script { probe_takes: secs(3), ..Script::good() }]);
    world.until("online", |world| world.status("current") == Status::Online);
    world.advance(secs(60));
    for pair in world.probes.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= secs(3));
    }
}

#[test]
fn a_worker_may_have_a_probe() {
    let mut world = World::of([worker("queue").with(|app| app.health.probe = Some(http()))]);
    world.until("online", |world| world.status("queue") == Status::Online);
    assert_eq!(world.app("queue").health, Health::Healthy);
}

#[test]
fn a_probe_added_to_what_runs_is_heeded_and_one_removed_is_forgotten() {
    let mut world = World::up([worker("queue")]);
    let apply = world.apply([worker("queue").with(|app| app.health.probe = Some(http()))]);
    assert_eq!(world.done(apply), "changed in place");
    world.advance(secs(20));
    assert_eq!(world.app("queue").health, Health::Healthy);
    assert_eq!(world.said("queue", EventKind::Health), ["is healthy"]);
    world.apply([worker("queue")]);
    assert_eq!(world.app("queue").health, Health::Unknown);
    let probes = world.probes.len();
    world.advance(secs(20));
    assert_eq!(world.probes.len(), probes);
    assert_eq!(world.spawns.len(), 1);
}

#[test]
fn a_probe_removed_while_it_starts_does_not_leave_it_waiting_for_answers() {
    let mut world = World::of([worker("queue").with(|app| app.health.probe = Some(http()))]);
    world.script("queue", [Script::never_ready()]);
    world.advance(secs(10));
    assert_eq!(world.status("queue"), Status::Starting);
    world.apply([worker("queue")]);
    world.advance(secs(2));
    assert_eq!((world.status("queue"), world.spawns.len()), (Status::Online, 1));
}

#[test]
fn a_bad_probe_in_between_starts_the_count_anew() {
    let mut world = World::of([probed("current", 3000)]);
    world.script("current", [Script::never_ready()]);
    world.advance(secs(2));
    let run = world.run("current");
    for outcome in [Ok(()), Err("not yet".to_owned()), Ok(())] {
        world.tell(Event::Probed { run, outcome });
    }
    assert_eq!(world.status("current"), Status::Starting);
    world.tell(Event::Probed { run, outcome: Ok(()) });
    assert_eq!(world.status("current"), Status::Online);
}
