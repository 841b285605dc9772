//! What cannot run twice, or is told not to, stops first: requests are held until its successor is there.

use crate::configs::{MIB, With, ms, proxied, secs, stop_first};
use crate::script::Script;
use crate::world::World;
use infissi::api::{ExitReason, Health, Slot, Status};
use infissi::supervisor::RunId;
use std::time::Duration;

fn last_exit(world: &World) -> ExitReason {
    world.core.view_app("current", world.now()).unwrap().1[0].reason
}

/// From now on it fails its probe.
fn sicken(world: &mut World, run: RunId) {
    world.rescript(run, |script| script.sick = Some(ms(0)));
}

#[test]
fn a_hard_restart_stops_first_and_requests_are_held_meanwhile() {
    let mut world = World::up([proxied("current", 3000)]);
    let old = world.run("current");
    world.rescript(old, |script| script.requests = secs(3));
    let id = world.restart_hard("current");
    assert_eq!(world.active("current"), []);
    assert!(world.is_open("current"));
    world.advance(secs(2));
    assert_eq!(world.spawns.len(), 1);
    assert!(world.done(id).starts_with("restarted in 3"));
    assert_eq!((world.app("current").slot, world.spawns.len(), world.cuts.len()), (Slot::Blue, 2, 0));
    assert_eq!(world.active("current"), [world.run("current")]);
}

#[test]
fn what_cannot_run_twice_stops_first_behind_the_proxy() {
    let mut world = World::up([stop_first("current", 3000)]);
    let old = world.run("current");
    world.rescript(old, |script| script.requests = secs(3));
    let id = world.restart("current");
    assert!(world.active("current").is_empty() && world.is_open("current"));
    assert_eq!(world.drain_of(old), world.mono);
    world.advance(secs(2));
    assert_eq!((world.stops.len(), world.spawns.len()), (0, 1));
    assert!(world.done(id).starts_with("restarted in 3"));
    assert_eq!((world.spawns.len(), world.app("current").slot), (2, Slot::Blue));
    assert_eq!(world.active("current"), [world.run("current")]);
}

#[test]
fn what_cannot_run_twice_drains_for_half_the_hold_so_that_who_waits_is_answered() {
    let mut world = World::up([stop_first("current", 3000)]);
    let old = world.run("current");
    world.rescript(old, |script| (script.requests, script.streams) = (secs(60), secs(200)));
    let asked = world.mono;
    let id = world.restart("current");
    world.done(id);
    assert_eq!(world.cuts, [(asked + secs(5), old, (3, 2))]);
    assert!(world.mono < asked + secs(10), "its successor has the other half to start in");
}

#[test]
fn what_cannot_run_twice_drains_before_it_is_ended_for_its_size() {
    let app = stop_first("current", 3000).with(|app| app.max_memory_restart = Some(300 * MIB));
    let mut world = World::up([app]);
    let run = world.run("current");
    world.rescript(run, |script| script.requests = secs(2));
    world.sample("current", 320 * MIB);
    let at = world.mono;
    world.until("it is asked", |world| !world.stops.is_empty());
    assert_eq!(world.mono, at + secs(2));
    world.advance(secs(2));
    assert_eq!((world.spawns.len(), world.status("current"), world.app("current").restarts), (2, Status::Online, 1));
    assert_eq!(last_exit(&world), ExitReason::Memory);
}

#[test]
fn what_cannot_run_twice_and_endangers_the_machine_is_ended_at_once() {
    let app = stop_first("current", 3000).with(|app| app.max_memory_restart = Some(300 * MIB));
    let mut world = World::up([app]);
    let run = world.run("current");
    world.rescript(run, |script| (script.requests, script.obeys) = (secs(60), None));
    let breached = world.mono;
    world.sample("current", 451 * MIB);
    assert_eq!(world.cuts, [(breached, run, (3, 0))]);
    world.until("it serves", |world| !world.active("current").is_empty());
    assert!(world.mono < breached + secs(4), "{}", world.story());
}

#[test]
fn what_cannot_run_twice_drains_before_it_is_ended_because_it_is_sick() {
    let mut world = World::up([stop_first("current", 3000)]);
    let run = world.run("current");
    world.rescript(run, |script| script.requests = secs(2));
    sicken(&mut world, run);
    world.until("it is asked", |world| !world.stops.is_empty());
    assert_eq!(world.mono, world.drain_of(run) + secs(2));
    world.advance(secs(2));
    assert_eq!((world.spawns.len(), world.status("current"), world.app("current").restarts), (2, Status::Online, 1));
    assert_eq!((last_exit(&world), world.cuts.len()), (ExitReason::Unhealthy, 0));
}

/// It has always failed its probe, and so will all that follow; it and they listen.
fn database_down() -> World {
    let mut world = World::up([stop_first("current", 3000)]);
    world.script("current", [Script { sick: Some(ms(0)), ..Script::good() }]);
    let run = world.run("current");
    sicken(&mut world, run);
    world
}

#[test]
fn what_cannot_run_twice_serves_on_though_every_successor_fails_its_probe_too() {
    let mut world = database_down();
    let mut dark = Duration::ZERO;
    for _ in 0..20_000 {
        world.advance(ms(100));
        if world.active("current").is_empty() {
            dark += ms(100);
        }
    }
    let spawns = world.spawns_of("current");
    let between: Vec<u64> = spawns[1..].windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!(between.is_sorted() && between[0] < 20 && between.last() > Some(&200), "{between:?}");
    assert!(dark < secs(20), "{dark:?}\n{}", world.story());
    assert_eq!((world.app("current").health, world.status("current")), (Health::Unhealthy, Status::Online));
}

#[test]
fn what_cannot_run_twice_is_left_alone_once_it_is_well_again() {
    let mut world = database_down();
    world.until("some attempts", |world| world.spawns.len() == 4);
    world.until("it serves", |world| !world.active("current").is_empty());
    let run = world.run("current");
    assert_eq!(world.app("current").health, Health::Unknown, "it listens, and that is all that is known");
    world.rescript(run, |script| script.sick = None);
    world.until("healthy", |world| world.app("current").health == Health::Healthy);
    world.advance(secs(3000));
    assert_eq!((world.spawns.len(), world.active("current")), (4, vec![run]));
    sicken(&mut world, run);
    world.advance(secs(30));
    assert_eq!(world.spawns.len(), 5, "at once, as the first time");
}

#[test]
fn a_restart_of_what_is_sick_and_cannot_run_twice_brings_it_back_as_it_was() {
    let mut world = database_down();
    world.until("an attempt", |world| world.spawns.len() == 2);
    world.advance(secs(30));
    let id = world.restart("current");
    world.done(id);
    assert_eq!(world.active("current").len(), 1);
}
