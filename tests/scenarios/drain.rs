//! What an old instance has claimed is let through, each kind for its time, and no longer.

use crate::configs::{MIB, With, ms, proxied, secs};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{EventKind, OtherPhase, Slot};
use infissi::supervisor::{Event, RunId};
use std::time::Duration;

/// A rollover has just swapped; the old run has this in flight.
fn swapped(requests: Duration, streams: Duration) -> (World, RunId) {
    let mut world = World::up([proxied("current", 3000)]);
    let old = world.run("current");
    world.rescript(old, |script| (script.requests, script.streams) = (requests, streams));
    world.restart("current");
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    (world, old)
}

/// How long after the swap it is asked to end, and what was cut off then.
fn asked_after(requests: Duration, streams: Duration) -> (Duration, Option<(u64, u64)>) {
    let (mut world, _) = swapped(requests, streams);
    let at = world.mono;
    world.until("it is asked", |world| !world.stops.is_empty());
    assert_eq!(world.gaps, []);
    (world.mono - at, world.cuts.first().map(|(_, _, left)| *left))
}

#[test]
fn an_old_slot_ends_as_soon_as_nothing_is_in_flight() {
    assert_eq!(asked_after(secs(0), secs(0)), (secs(0), None));
    assert_eq!(asked_after(secs(7), secs(0)), (secs(7), None));
    assert_eq!(asked_after(secs(0), secs(200)), (secs(200), None));
    assert_eq!(asked_after(secs(60), secs(30)), (secs(60), None));
}

#[test]
fn requests_and_streams_have_their_own_times() {
    assert_eq!(asked_after(secs(1000), secs(0)), (secs(90), Some((3, 0))));
    assert_eq!(asked_after(secs(1000), secs(30)), (secs(90), Some((3, 0))));
    assert_eq!(asked_after(secs(0), secs(1000)), (secs(300), Some((0, 2))));
    assert_eq!(asked_after(secs(80), secs(1000)), (secs(300), Some((0, 2))));
    assert_eq!(asked_after(secs(1000), secs(1000)), (secs(300), Some((3, 2))));
}

#[test]
fn the_last_drain_is_as_long_as_it_was_also_when_it_was_cut_short() {
    let (mut world, _) = swapped(secs(80), secs(0));
    world.advance(secs(12));
    world.restart("current");
    assert_eq!(world.app("current").last_drain_ms, Some(12_000));
}

#[test]
fn what_is_cut_off_is_told() {
    let (mut world, _) = swapped(secs(1000), secs(0));
    world.advance(secs(95));
    assert_eq!(world.said("current", EventKind::Killed), ["3 requests cut off after 90 s"]);
}

#[test]
fn a_restart_that_needs_the_slot_that_drains_says_what_it_cuts_off() {
    let (mut world, old) = swapped(secs(1000), secs(1000));
    world.advance(secs(12));
    let id = world.restart("current");
    assert_eq!(world.cuts.last().map(|(_, run, left)| (*run, *left)), Some((old, (3, 2))));
    assert_eq!(world.said("current", EventKind::Killed), ["3 requests and 2 streams cut off after 12 s"]);
    let message = world.done(id);
    assert!(message.ends_with("; 3 requests and 2 streams of the slot before cut off"), "{message}");
    let id = world.restart("current");
    assert!(!world.done(id).contains("cut off"), "nothing was in flight any more");
}

#[test]
fn a_proxy_that_says_nothing_does_not_keep_the_old_slot_for_ever() {
    let mut world = World::up([proxied("current", 3000)]);
    let old = world.run("current");
    world.rescript(old, |script| script.untold = true);
    let id = world.restart("current");
    world.advance(secs(200));
    assert_eq!(world.phase("current"), Some(OtherPhase::Draining));
    let message = world.done(id);
    assert!(message.starts_with("restarted in 5 m"), "{message}");
}

#[test]
fn a_stop_waits_for_requests_and_not_for_streams() {
    let mut world = World::up([proxied("current", 3000)]);
    let run = world.run("current");
    world.rescript(run, |script| (script.requests, script.streams) = (secs(4), secs(100)));
    let at = world.mono;
    let stop = world.stop("current");
    assert!(!world.is_open("current"), "its public port is closed at once");
    world.done(stop);
    assert_eq!(world.mono, at + secs(4) + ms(50));
    assert_eq!(world.cuts, [(at + secs(4), run, (0, 2))]);
}

#[test]
fn a_stop_while_an_old_slot_drains_cuts_its_streams() {
    let (mut world, old) = swapped(secs(0), secs(200));
    world.advance(secs(20));
    let at = world.mono;
    let stop = world.stop("current");
    world.done(stop);
    assert_eq!(world.cuts, [(at, old, (0, 2))]);
    assert_eq!(world.mono, at + ms(50));
}

#[test]
fn a_shutdown_waits_no_longer_than_its_timeout() {
    let mut world = World::up([proxied("current", 3000)]);
    let run = world.run("current");
    world.rescript(run, |script| (script.requests, script.obeys) = (secs(1000), None));
    let at = world.mono;
    world.shutdown();
    world.until("the end", |world| world.exits == 1);
    assert_eq!(world.cuts, [(at + secs(60), run, (3, 0))]);
    assert_eq!(world.mono, at + secs(60) + ms(1));
}

#[test]
fn one_that_ends_while_it_drains_is_gone_as_planned() {
    let (mut world, old) = swapped(secs(80), secs(0));
    world.advance(secs(3));
    world.crash_run(old, code(1));
    world.advance(secs(1));
    assert_eq!((world.living("current"), world.phase("current"), world.app("current").restarts), (1, None, 0));
    assert_eq!(world.spawns.len(), 2);
}

#[test]
fn one_that_does_not_obey_after_its_drain_is_killed_after_kill_timeout() {
    let (mut world, old) = swapped(secs(10), secs(0));
    world.rescript(old, |script| script.obeys = None);
    let at = world.mono;
    world.until("it is killed", |world| !world.kills.is_empty());
    assert_eq!(world.kills, [(at + secs(25), old)]);
}

#[test]
fn counts_of_one_that_does_not_drain_change_nothing() {
    let mut world = World::up([proxied("current", 3000)]);
    let run = world.run("current");
    world.tell(Event::InFlight { run, requests: 0, streams: 0 });
    world.tell(Event::InFlight { run: RunId(999), requests: 1, streams: 0 });
    world.rescript(run, |script| script.requests = secs(5));
    world.restart("current");
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    world.advance(secs(4));
    assert!(world.stops.is_empty());
}

#[test]
fn a_slot_that_never_served_ends_without_a_drain_of_any_length() {
    let mut world = World::up([proxied("current", 3000).with(|app| app.instances = 2)]);
    world.script("current", [Script::good(), Script::crashes(secs(5), code(1))]);
    let id = world.restart("current");
    world.until("spawned", |world| world.living("current") == 4);
    let slow = world.runs_in("current", Slot::Green)[1];
    world.rescript(slow, |script| script.ready = None);
    world.failure(id);
    world.advance(secs(1));
    assert_eq!(world.living("current"), 2);
}

#[test]
fn a_start_while_it_drains_for_a_stop_serves_again_before_the_hold_is_over() {
    let mut world = World::up([proxied("current", 3000)]);
    let run = world.run("current");
    world.rescript(run, |script| script.requests = secs(80));
    let stop = world.stop("current");
    world.advance(secs(5));
    let at = world.mono;
    let start = world.start("current");
    world.failure(stop);
    let message = world.done(start);
    assert!(message.starts_with("started in"), "{message}");
    assert!(world.mono < at + secs(10), "{}", world.story());
}

#[test]
fn one_that_endangers_the_machine_while_it_drains_is_ended_at_once() {
    let limited = || proxied("current", 3000).with(|app| app.max_memory_restart = Some(300 * MIB));
    let mut world = World::up([limited()]);
    let old = world.run("current");
    world.rescript(old, |script| script.streams = secs(250));
    world.restart("current");
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    world.tell(Event::MemorySampled { run: old, bytes: 400 * MIB, available: u64::MAX });
    assert!(world.stops.is_empty(), "over its limit it still may finish");
    world.advance(secs(9));
    world.tell(Event::MemorySampled { run: old, bytes: 500 * MIB, available: u64::MAX });
    assert_eq!((world.stops.len(), world.cuts.len()), (1, 1));
    world.advance(secs(1));
    assert_eq!((world.living("current"), world.gaps.len()), (1, 0));
}
