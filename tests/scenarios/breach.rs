//! Too large or sick behind the proxy: replaced before it is stopped, unless it endangers the machine.

use crate::configs::{MIB, With, ms, proxied, release, released, secs};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{EventKind, ExitReason, Health, OtherPhase, Slot, Status};
use infissi::config::AppConfig;
use infissi::supervisor::{Event, RunId};
use std::time::Duration;

fn current() -> AppConfig {
    proxied("current", 3000).with(|app| app.max_memory_restart = Some(300 * MIB))
}

fn up() -> World {
    World::up([current()])
}

fn last_exit(world: &World) -> (ExitReason, Option<String>) {
    let (_, exits, _) = world.core.view_app("current", world.now()).unwrap();
    (exits[0].reason, exits[0].detail.clone())
}

/// From now on it fails its probe.
fn sicken(world: &mut World, run: RunId) {
    world.rescript(run, |script| script.sick = Some(ms(0)));
}

fn recover(world: &mut World, run: RunId) {
    world.rescript(run, |script| script.sick = None);
}

/// The times between the spawns of the replacements.
fn between_attempts(world: &World) -> Vec<u64> {
    let spawns = world.spawns_of("current");
    spawns[1..].windows(2).map(|pair| (pair[1] - pair[0]).as_millis() as u64 / 100).collect()
}

#[test]
fn an_app_over_its_limit_is_replaced_before_it_is_stopped() {
    let mut world = up();
    let old = world.run("current");
    world.sample("current", 320 * MIB);
    assert_eq!((world.active("current"), world.stops.len()), (vec![old], 0));
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    world.advance(secs(1));
    assert_eq!((world.living("current"), world.gaps.len(), world.app("current").restarts), (1, 0, 1));
    assert_eq!(last_exit(&world).0, ExitReason::Memory);
    assert_eq!(
        world.said("current", EventKind::Breach),
        ["used 320M, over its limit of 300M: it is replaced while it goes on"]
    );
}

#[test]
fn a_breach_is_told_once_while_it_is_being_replaced() {
    let mut world = up();
    world.script("current", [Script { ready: Some(secs(20)), ..Script::good() }]);
    for _ in 0..10 {
        world.sample("current", 320 * MIB);
        world.advance(secs(1));
    }
    assert_eq!((world.said("current", EventKind::Breach).len(), world.spawns.len()), (1, 2));
}

#[test]
fn one_far_over_its_limit_is_ended_at_once() {
    let mut world = up();
    world.sample("current", 451 * MIB);
    assert_eq!((world.active("current"), world.stops.len()), (vec![], 1));
    assert!(world.is_open("current"), "requests are held");
    world.advance(secs(2));
    assert_eq!((world.app("current").slot, world.status("current")), (Slot::Blue, Status::Online));
    assert_eq!((world.spawns.len(), world.app("current").restarts), (2, 1));
    let (reason, detail) = last_exit(&world);
    assert_eq!(reason, ExitReason::Memory);
    let expected = "used 451M, over its limit of 300M, by more than half: ended at once, requests are held";
    assert_eq!(detail.as_deref(), Some(expected));
}

#[test]
fn one_far_over_its_limit_that_does_not_obey_is_gone_before_who_waits_is_refused() {
    let mut world = up();
    let run = world.run("current");
    world.rescript(run, |script| (script.streams, script.obeys) = (secs(200), None));
    let breached = world.mono;
    world.sample("current", 451 * MIB);
    assert_eq!(world.cuts, [(breached, run, (0, 2))], "a server may wait for its streams for ever");
    world.until("it serves", |world| !world.active("current").is_empty());
    assert!(world.mono < breached + secs(4), "{}", world.story());
}

#[test]
fn without_memory_for_a_second_copy_it_is_ended_at_once() {
    let mut world = up();
    let run = world.run("current");
    world.tell(Event::MemorySampled { run, bytes: 301 * MIB, available: 149 * MIB });
    assert_eq!((world.active("current"), world.stops.len()), (vec![], 1));
    world.advance(secs(2));
    assert_eq!((world.spawns.len(), world.status("current")), (2, Status::Online));
    let detail = last_exit(&world).1.unwrap();
    assert!(detail.contains("the machine has 149M left, too little for a second copy"), "{detail}");
}

#[test]
fn one_that_endangers_the_machine_while_it_is_replaced_does_not_wait_for_its_successor() {
    let mut world = up();
    world.script("current", [Script { ready: Some(secs(5)), ..Script::good() }, Script::good()]);
    world.sample("current", 320 * MIB);
    world.advance(secs(1));
    world.sample("current", 500 * MIB);
    assert_eq!((world.active("current"), world.stops.len()), (vec![], 1));
    world.advance(secs(2));
    assert_eq!(world.active("current").len(), 1, "a fresh copy of it serves until its successor is ready");
    world.advance(secs(8));
    assert_eq!((world.spawns.len(), world.app("current").slot), (3, Slot::Green), "{}", world.story());
    assert_eq!((world.active("current"), world.living("current")), (vec![world.run("current")], 1));
}

#[test]
fn a_successor_over_the_limit_is_not_made_active() {
    let mut world = up();
    let old = world.run("current");
    world.script("current", [Script { ready: Some(secs(5)), ..Script::good() }]);
    let id = world.restart("current");
    world.advance(secs(1));
    let new = world.other_run("current");
    world.tell(Event::MemorySampled { run: new, bytes: 400 * MIB, available: u64::MAX });
    let refusal = world.failure(id);
    assert!(refusal.message.ends_with("the new slot used 400M, over its limit of 300M"), "{refusal}");
    world.advance(secs(5));
    assert_eq!((world.active("current"), world.living("current")), (vec![old], 1));
}

#[test]
fn a_sick_app_is_replaced_and_serves_meanwhile() {
    let mut world = up();
    let old = world.run("current");
    world.script("current", [Script { ready: Some(secs(3)), ..Script::good() }]);
    sicken(&mut world, old);
    world.until("sick", |world| world.app("current").health == Health::Unhealthy);
    assert_eq!((world.active("current"), world.status("current")), (vec![old], Status::Online));
    assert_eq!(world.phase("current"), Some(OtherPhase::Starting));
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    world.advance(secs(1));
    assert_eq!((world.gaps.len(), world.app("current").restarts, world.living("current")), (0, 1, 1));
    assert_eq!(last_exit(&world).0, ExitReason::Unhealthy);
    assert_eq!(world.app("current").health, Health::Healthy);
}

/// A restart has just swapped, and the old slot drains this.
fn draining(requests: Duration, streams: Duration) -> (World, RunId) {
    let mut world = up();
    let old = world.run("current");
    world.rescript(old, |script| (script.requests, script.streams) = (requests, streams));
    world.restart("current");
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    (world, old)
}

#[test]
fn a_sick_app_is_not_kept_by_what_its_predecessor_still_drains() {
    for (requests, streams) in [(secs(80), secs(0)), (secs(0), secs(250))] {
        let (mut world, old) = draining(requests, streams);
        let hung = world.run("current");
        sicken(&mut world, hung);
        world.until("sick", |world| world.app("current").health == Health::Unhealthy);
        assert_eq!(world.cuts.iter().map(|(_, run, _)| *run).collect::<Vec<_>>(), [old]);
        world.advance(secs(2));
        assert_eq!((world.app("current").slot, world.gaps.len()), (Slot::Blue, 0), "{}", world.story());
        assert_ne!(world.active("current"), [hung]);
    }
}

#[test]
fn a_breach_waits_for_requests_that_drain_and_says_so_once() {
    let (mut world, old) = draining(secs(30), secs(250));
    let swapped = world.mono;
    while world.app("current").slot == Slot::Green {
        world.sample("current", 320 * MIB);
        world.advance(secs(1));
    }
    world.advance(secs(1));
    assert_eq!(world.cuts, [(swapped + secs(30), old, (0, 2))], "streams are opened again elsewhere");
    assert_eq!((world.app("current").slot, world.living("current"), world.gaps.len()), (Slot::Blue, 1, 0));
    assert_eq!(
        world.said("current", EventKind::Breach),
        [
            "used 320M, over its limit of 300M: it is replaced once blue makes room",
            "used 320M, over its limit of 300M: it is replaced while it goes on"
        ]
    );
}

#[test]
fn a_sick_app_whose_replacements_fail_too_stays_and_the_attempts_back_off() {
    let mut world = up();
    let old = world.run("current");
    world.script("current", [Script::crashes(ms(10), code(1))]);
    sicken(&mut world, old);
    world.advance(secs(2000));
    assert_eq!((world.active("current"), world.living("current")), (vec![old], 1));
    assert_eq!(between_attempts(&world)[..8], [10, 20, 40, 80, 160, 320, 640, 1280]);
    assert!(between_attempts(&world)[8..].iter().all(|tenths| *tenths == 2560 || *tenths == 3000));
    assert_eq!((world.stops.len(), world.gaps.len()), (world.spawns.len() - 1, 0));
    assert_eq!(world.app("current").restarts, 0);
}

#[test]
fn a_breach_whose_replacements_fail_too_backs_off() {
    let mut world = up();
    let old = world.run("current");
    world.script("current", [Script::crashes(ms(10), code(1))]);
    for _ in 0..120 {
        world.sample("current", 320 * MIB);
        world.advance(secs(1));
    }
    assert_eq!(world.active("current"), [old]);
    let attempts = world.spawns.len() - 1;
    assert!((5..=8).contains(&attempts), "{attempts}");
}

#[test]
fn what_recovers_meanwhile_is_not_replaced() {
    let mut world = up();
    let old = world.run("current");
    world.script("current", [Script::crashes(ms(10), code(1))]);
    sicken(&mut world, old);
    world.until("some attempts", |world| world.spawns.len() == 5);
    recover(&mut world, old);
    world.until("healthy", |world| world.app("current").health == Health::Healthy);
    let spawns = world.spawns.len();
    world.advance(secs(3000));
    assert_eq!((world.spawns.len(), world.active("current")), (spawns, vec![old]));
}

#[test]
fn a_restart_that_is_asked_for_does_not_wait_for_the_backoff() {
    let mut world = up();
    let old = world.run("current");
    world.script("current", [Script::crashes(ms(10), code(1))]);
    sicken(&mut world, old);
    world.until("some attempts", |world| world.spawns.len() == 8);
    world.advance(secs(1));
    world.script("current", [Script::good()]);
    let id = world.restart("current");
    world.done(id);
    assert_eq!(world.app("current").slot, Slot::Green);
}

#[test]
fn an_oom_kill_of_the_active_slot_is_a_crash_as_ever() {
    let mut world = up();
    world.advance(secs(20));
    world.crash("current", infissi::supervisor::LeaderExit { code: None, signal: Some("SIGKILL".into()), oom: true });
    world.advance(Duration::from_secs(2));
    assert_eq!((world.app("current").slot, world.app("current").restarts), (Slot::Blue, 1));
    assert_eq!(last_exit(&world).0, ExitReason::Oom);
    assert_eq!(world.active("current").len(), 1);
}

#[test]
fn one_that_endangers_the_machine_while_its_predecessor_is_warm_gives_it_the_traffic() {
    let app = released("current", 3000).with(|app| app.max_memory_restart = Some(300 * MIB));
    let mut world = World::up([app]);
    let old = world.run("current");
    world.activate("current", release("2"));
    world.until("warm", |world| world.phase("current") == Some(OtherPhase::Warm));
    world.advance(secs(5));
    world.sample("current", 500 * MIB);
    assert_eq!((world.active("current"), world.gaps.len()), (vec![old], 0));
    world.advance(secs(5));
    assert_eq!((world.living("current"), world.spawns.len()), (1, 2));
}

#[test]
fn a_staged_slot_does_not_keep_a_sick_one_from_being_replaced() {
    let mut world = World::up([released("current", 3000)]);
    let old = world.run("current");
    let id = world.stage("current", release("2"));
    world.done(id);
    sicken(&mut world, old);
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    assert_eq!(world.app("current").release, None, "nobody asked for the staged one");
    assert_eq!(world.gaps, []);
}

#[test]
fn an_old_slot_is_probed_as_it_was_started_when_an_apply_fails() {
    let mut world = up();
    let old = world.run("current");
    world.script("current", [Script::crashes(ms(10), code(1))]);
    let id = world.apply([current().with(|app| {
        app.command = vec!["broken".into()];
        app.health.probe = Some(infissi::config::ProbeKind::Tcp);
    })]);
    world.failure(id);
    world.checks.clear();
    world.advance(secs(20));
    let asked = |check: &infissi::supervisor::Check| {
        matches!(check, infissi::supervisor::Check::Probe { kind: infissi::config::ProbeKind::Http { .. }, .. })
    };
    assert!(world.checks.iter().all(|(run, check)| *run == old && asked(check)), "{:?}", world.checks);
}

#[test]
fn releases_that_failed_do_not_delay_the_replacement_of_one_that_is_too_large() {
    let app = released("current", 3000).with(|app| app.max_memory_restart = Some(300 * MIB));
    let mut world = World::up([app]);
    world.script("current", [Script::crashes(ms(10), code(1))]);
    for id in 0..10 {
        let id = world.activate("current", release(&id.to_string()));
        world.failure(id);
        world.advance(secs(1));
    }
    world.script("current", [Script::good()]);
    world.sample("current", 320 * MIB);
    world.advance(secs(2));
    assert_eq!((world.app("current").slot, world.gaps.len()), (Slot::Green, 0), "{}", world.story());
}
