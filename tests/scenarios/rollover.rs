//! Rollovers: the new slot is healthy before the old one loses the traffic, and a failed one is never noticed.

use crate::configs::{With, kept, ms, proxied, secs};
use crate::script::{Script, code, killed_by};
use crate::world::World;
use infissi::api::{EventKind, ExitReason, Health, OtherPhase, RefusalCode, Slot, Status};
use infissi::config::AppConfig;
use infissi::supervisor::{Effect, Request, RequestId, RunId};
use std::collections::BTreeMap;

fn current() -> AppConfig {
    proxied("current", 3000)
}

fn up() -> World {
    World::up([current()])
}

/// The old slot serves as before, alone, and no request was ever held.
fn assert_untouched(world: &mut World, old: RunId) {
    world.advance(secs(40));
    assert_eq!(world.active("current"), [old], "{}", world.story());
    assert!(world.stops.len() <= 1, "{}", world.story());
    assert_eq!((world.living("current"), world.status("current")), (1, Status::Online), "{}", world.story());
    assert_eq!(world.app("current").restarts, 0);
    assert_eq!(world.phase("current"), None);
    assert_eq!(world.gaps, []);
}

#[test]
fn an_app_behind_the_proxy_is_published_when_it_is_online() {
    let mut world = World::of([current()]);
    world.advance(ms(400));
    assert_eq!(world.status("current"), Status::Starting);
    assert!(world.is_open("current") && world.active("current").is_empty(), "requests are held");
    world.advance(secs(1));
    assert_eq!(world.active("current"), [world.run("current")]);
}

#[test]
fn a_restart_swaps_to_a_healthy_slot_then_drains_then_stops_the_old_one() {
    let mut world = up();
    let old = world.run("current");
    world.rescript(old, |script| script.requests = secs(4));
    let asked = world.mono;
    let id = world.restart("current");
    world.until("the spawn", |world| world.living("current") == 2);
    let new = world.other_run("current");
    assert_eq!(world.phase("current"), Some(OtherPhase::Starting));
    world.until("the swap", |world| world.active("current") == [new]);
    let probes = world.probes.iter().filter(|(_, run)| *run == new).count();
    assert_eq!(probes, 3, "a bad one before it listens, then two good ones in a row");
    assert_eq!((world.app("current").slot, world.phase("current")), (Slot::Green, Some(OtherPhase::Draining)));
    let swapped = world.mono;
    assert_eq!(world.drain_of(old), swapped);
    assert!(world.stops.is_empty() && world.reply(id).is_none());
    assert_eq!(world.done(id), "restarted in 4.6 s, pid 4002");
    assert_eq!(world.stops, [(swapped + secs(4), "current".to_owned())]);
    assert_eq!(world.mono, swapped + secs(4) + ms(50), "replied when the old tree is empty");
    assert!(world.mono > asked);
    assert_eq!((world.phase("current"), world.app("current").swaps), (None, 1));
    assert_eq!(world.app("current").last_drain_ms, Some(4000));
    assert_eq!((world.cuts.len(), world.gaps.len(), world.app("current").restarts), (0, 0, 0));
}

#[test]
fn the_slot_is_on_the_disk_before_the_routes_are_swapped() {
    let mut world = up();
    let id = world.restart("current");
    world.done(id);
    assert_eq!(world.saves.last().unwrap()["current"].slot, Slot::Green);
    let id = world.restart("current");
    world.done(id);
    assert_eq!(world.saves.last().unwrap()["current"].slot, Slot::Blue);
    assert_eq!(world.spawns.iter().map(|spawn| spawn.slot).collect::<Vec<_>>(), [Slot::Blue, Slot::Green, Slot::Blue]);
}

#[test]
fn the_active_slot_is_taken_up_again_by_the_next_supervisor() {
    let green = infissi::supervisor::Kept { slot: Slot::Green, ..kept(true) };
    let kept = BTreeMap::from([("current".to_owned(), green)]);
    let mut world = World::unborn(crate::configs::config([current()]), &kept, "2026-06-01T12:00:00Z");
    world.tell(infissi::supervisor::Event::Began);
    world.advance(secs(3));
    assert_eq!((world.spawns[0].slot, world.app("current").slot), (Slot::Green, Slot::Green));
    assert_eq!(world.active("current").len(), 1);
}

#[test]
fn a_new_slot_that_fails_is_never_noticed_and_the_reply_says_why() {
    let refused = Script::refused("there is no directory /srv/current");
    let cases = [
        (Script::crashes(ms(20), code(1)), "exited with code 1"),
        (Script::crashes(ms(20), code(0)), "exited with code 0"),
        (Script::crashes(ms(20), killed_by("SIGSEGV")), "was ended by SIGSEGV"),
        (Script::crashes(ms(450), code(1)), "exited with code 1"),
        (refused, "could not be started: there is no directory /srv/current"),
        (Script::never_ready(), "was not ready within 1 m: connection refused"),
        (Script { ready: Some(ms(300)), sick: Some(ms(500)), ..Script::good() }, "was not ready within 1 m"),
    ];
    for (script, why) in cases {
        let mut world = World::up([current().with(|app| app.health.start_timeout = secs(60))]);
        let old = world.run("current");
        world.script("current", [script]);
        let id = world.restart("current");
        let refusal = world.failure(id);
        assert_eq!(refusal.code, RefusalCode::Failed);
        let message = refusal.message.replace("60 s", "1 m");
        assert!(message.starts_with(&format!("current is not restarted: the new slot {why}")), "{message}");
        assert_eq!(world.said("current", EventKind::RolloverFailed).len(), 1);
        assert_untouched(&mut world, old);
    }
}

#[test]
fn a_slot_that_cannot_be_emptied_or_started_fails_the_rollover_in_the_end() {
    let mut world = up();
    let old = world.run("current");
    world.rescript(old, |script| (script.obeys, script.survives) = (None, u32::MAX));
    world.restart("current");
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    let second = world.restart("current");
    let refusal = world.failure(second);
    assert_eq!(refusal.message, "current is not restarted: the new slot could not be emptied within 85 s");
    world.rescript(old, |script| script.survives = 0);
    world.advance(secs(2));

    let hangs = Script { spawn_takes: secs(3600), ..Script::good() };
    world.script("current", [hangs, Script::good()]);
    let third = world.restart("current");
    let refusal = world.failure(third);
    assert_eq!(refusal.message, "current is not restarted: the new slot could not be started within 85 s");
    assert_eq!((world.app("current").slot, world.gaps.len()), (Slot::Green, 0));
    world.advance(secs(3600));
    assert_eq!((world.living("current"), world.phase("current")), (1, None));
    let fourth = world.restart("current");
    world.done(fourth);
}

#[test]
fn a_second_restart_before_the_swap_is_refused_with_who_and_since_when() {
    let mut world = up();
    world.script("current", [Script::never_ready()]);
    world.restart("current");
    world.advance(secs(12));
    let second = world.ask("dee", Request::Restart { apps: vec!["current".to_owned()], wait: true, hard: false });
    let refusal = world.failure(second);
    assert_eq!(refusal.code, RefusalCode::Busy);
    assert_eq!(refusal.message, "current is being rolled over (restart) by cyd, since 12 s");
    assert_eq!(world.living("current"), 2);
}

#[test]
fn a_restart_after_the_swap_ends_the_drain_at_once() {
    let mut world = up();
    let old = world.run("current");
    world.rescript(old, |script| script.requests = secs(60));
    let first = world.restart("current");
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    world.advance(secs(2));
    let at = world.mono;
    let second = world.restart("current");
    assert_eq!(world.cuts, [(at, old, (3, 0))]);
    assert_eq!(world.stops, [(at, "current".to_owned())]);
    assert!(world.done(first).starts_with("restarted in 2"));
    world.done(second);
    assert_eq!((world.app("current").slot, world.living("current"), world.spawns.len()), (Slot::Blue, 1, 3));
    assert_eq!(world.gaps, []);
}

#[test]
fn a_stop_interrupts_a_rollover_wherever_it_is() {
    for after in [0, 1, 200, 400, 560, 600, 640, 3000] {
        let mut world = up();
        let old = world.run("current");
        world.rescript(old, |script| script.requests = secs(2));
        let restart = world.restart("current");
        world.advance(ms(after));
        let stop = world.stop("current");
        world.done(stop);
        assert_eq!((world.living("current"), world.status("current")), (0, Status::Stopped), "after {after} ms");
        assert!(world.reply(restart).is_some(), "after {after} ms");
        world.advance(secs(100));
        assert_eq!((world.living("current"), world.is_open("current")), (0, false), "after {after} ms");
        assert_eq!(world.phase("current"), None, "after {after} ms");
        let start = world.start("current");
        world.done(start);
        assert_eq!(world.living("current"), 1, "after {after} ms");
    }
}

#[test]
fn a_shutdown_interrupts_a_rollover_wherever_it_is() {
    for after in [0, 1, 200, 400, 560, 600, 640, 3000] {
        let mut world = up();
        let old = world.run("current");
        world.rescript(old, |script| script.requests = secs(2));
        let restart = world.restart("current");
        world.advance(ms(after));
        let shutdown = world.shutdown();
        world.until("the end", |world| world.exits == 1);
        assert!(world.reply(restart).is_some() && world.reply(shutdown).is_some(), "after {after} ms");
        assert_eq!(world.kills, [], "after {after} ms");
    }
}

#[test]
fn a_crash_of_the_old_slot_hastens_the_new_one() {
    let mut world = up();
    let late = || Script { ready: Some(secs(4)), ..Script::good() };
    world.script("current", [late(), late()]);
    let id = world.restart("current");
    world.advance(secs(1));
    world.crash("current", code(1));
    world.advance(secs(2));
    assert_eq!((world.active("current"), world.spawns.len()), (vec![], 3));
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    let new = world.run("current");
    let good = world.probes.iter().filter(|(at, run)| *run == new && *at >= world.spawns[1].at + secs(4)).count();
    assert_eq!(good, 1, "the first good probe is enough");
    let message = world.done(id);
    assert!(message.starts_with("restarted in 4"), "{message}");
    world.advance(secs(20));
    assert_eq!((world.active("current"), world.living("current"), world.spawns.len()), (vec![new], 1, 3));
}

#[test]
fn an_old_slot_that_crashes_beside_a_hanging_successor_is_back_before_anybody_is_refused() {
    let mut world = up();
    world.script("current", [Script::never_ready(), Script::good()]);
    let id = world.restart("current");
    world.advance(secs(5));
    let crashed = world.mono;
    world.crash("current", code(1));
    world.until("it serves", |world| !world.active("current").is_empty());
    assert!(world.mono < crashed + secs(2), "{}", world.story());
    assert_eq!((world.app("current").slot, world.phase("current")), (Slot::Blue, Some(OtherPhase::Starting)));
    let refusal = world.failure(id);
    assert!(refusal.message.contains("the new slot was not ready within"), "{refusal}");
    assert_eq!((world.living("current"), world.gaps.len()), (2, 0));
    world.advance(secs(1));
    assert_eq!((world.living("current"), world.app("current").restarts), (1, 1));
}

#[test]
fn the_old_slot_comes_back_when_its_successor_fails_too() {
    let mut world = up();
    world.script("current", [Script::crashes(secs(3), code(7)), Script::good()]);
    world.rescript(world.run("current"), |_| {});
    let id = world.restart("current");
    world.until("the spawn", |world| world.living("current") == 2);
    let new = world.other_run("current");
    world.rescript(new, |script| script.ready = None);
    world.advance(ms(100));
    world.crash("current", code(1));
    let refusal = world.failure(id);
    assert_eq!(refusal.message, "current is not restarted: the new slot exited with code 7");
    world.advance(secs(2));
    assert_eq!((world.app("current").slot, world.living("current")), (Slot::Blue, 1));
    assert_eq!(world.active("current").len(), 1);
    assert_eq!(world.app("current").restarts, 1);
}

#[test]
fn nobody_is_told_that_an_old_slot_serves_that_is_down() {
    let mut world = up();
    world.script("current", [Script::crashes(secs(2), code(7)), Script::never_ready()]);
    let id = world.restart("current");
    world.until("the spawn", |world| world.living("current") == 2);
    let new = world.other_run("current");
    world.rescript(new, |script| script.ready = None);
    world.crash("current", code(1));
    let refusal = world.failure(id);
    assert_eq!(refusal.hint.as_deref(), Some("infissi-ctl show current tells more"));
    let said = "the new slot (green) exited with code 7; blue does not serve either";
    assert_eq!(world.said("current", EventKind::RolloverFailed), [said]);
}

#[test]
fn a_crash_of_the_new_slot_after_the_swap_is_a_crash() {
    let mut world = up();
    let old = world.run("current");
    world.rescript(old, |script| script.requests = secs(30));
    let id = world.restart("current");
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    world.advance(secs(15));
    world.crash("current", code(1));
    world.advance(secs(1));
    assert_eq!((world.app("current").slot, world.app("current").restarts), (Slot::Green, 1));
    assert!(world.drain_of(old) + secs(16) <= world.mono && world.living("current") == 2);
    world.done(id);
    assert_eq!(world.active("current").len(), 1);
}

/// A restart has swapped, and the old slot drains for a minute.
fn swapped_and_draining() -> (World, RequestId) {
    let mut world = up();
    world.rescript(world.run("current"), |script| script.requests = secs(60));
    let id = world.restart("current");
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    (world, id)
}

#[test]
fn a_restart_is_not_done_while_its_new_slot_crashes_again_and_again() {
    let (mut world, id) = swapped_and_draining();
    world.script("current", [Script::crashes(ms(20), code(7))]);
    world.advance(secs(1));
    world.crash("current", code(7));
    let refusal = world.failure(id);
    assert_eq!(refusal.message, "current is not up: it exited with code 7");
    assert!(world.status("current") == Status::Backoff && world.living("current") == 0);
}

#[test]
fn a_restart_is_done_once_its_new_slot_is_up_again() {
    let (mut world, id) = swapped_and_draining();
    world.script("current", [Script { ready: Some(secs(20)), ..Script::good() }]);
    world.advance(secs(45));
    world.crash("current", code(7));
    let message = world.done(id);
    assert!(message.starts_with("restarted in 66"), "{message}");
    assert_eq!((world.status("current"), world.active("current").len()), (Status::Online, 1));
}

#[test]
fn a_spawn_that_was_refused_for_an_interrupted_rollover_is_nobody_elses_failure() {
    let mut world = up();
    world.script("current", [Script { spawn_takes: ms(500), ..Script::refused("no such command") }, Script::good()]);
    let rollover = world.restart("current");
    world.advance(ms(100));
    let hard = world.restart_hard("current");
    world.failure(rollover);
    assert!(world.done(hard).starts_with("restarted in"));
}

#[test]
fn a_dependent_does_not_notice_a_rollover_of_what_it_needs() {
    let needs = crate::configs::worker("queue").with(|app| app.depends_on = vec!["current".into()]);
    let mut world = World::up([current(), needs]);
    world.advance(secs(2));
    let id = world.restart("current");
    world.done(id);
    assert_eq!(world.spawns_of("queue").len(), 1);
    assert_eq!(world.status("queue"), Status::Online);
}

#[test]
fn a_restart_before_a_stop_has_come_to_it_is_a_rollover() {
    let needs = crate::configs::worker("queue").with(|app| app.depends_on = vec!["current".into()]);
    let mut world = World::of([current(), needs]);
    world.script("queue", [Script { obeys: Some(secs(5)), ..Script::good() }]);
    world.advance(secs(3));
    let both = || vec!["current".to_owned(), "queue".to_owned()];
    world.ask("bob", Request::Stop { apps: both(), wait: true });
    world.advance(secs(1));
    let restart = world.restart("current");
    world.done(restart);
    assert_eq!((world.app("current").slot, world.gaps.len(), world.living("current")), (Slot::Green, 0, 1));
}

#[test]
fn all_of_several_instances_are_healthy_before_one_swap() {
    let mut world = World::up([current().with(|app| app.instances = 3)]);
    let old = world.active("current");
    assert_eq!(old.len(), 3);
    let late = Script { ready: Some(secs(5)), ..Script::good() };
    world.script("current", [Script::good(), late, Script::good()]);
    let id = world.restart("current");
    world.advance(secs(4));
    assert_eq!(world.active("current"), old);
    world.done(id);
    let publishes: Vec<_> = world.publishes.iter().skip_while(|(_, _, public)| public.active != old).skip(1).collect();
    assert_eq!(publishes.len(), 1, "{publishes:?}");
    assert_eq!((world.active("current").len(), world.living("current"), world.app("current").swaps), (3, 3, 1));
}

#[test]
fn one_failing_instance_of_three_fails_the_rollover() {
    let mut world = World::up([current().with(|app| app.instances = 3)]);
    let old = world.active("current");
    world.script("current", [Script::good(), Script::crashes(secs(2), code(1)), Script::good()]);
    world.until("settled", |world| world.active("current").len() == 3);
    let id = world.restart("current");
    world.until("all spawned", |world| world.living("current") == 6);
    let second = world.runs_in("current", Slot::Green)[1];
    world.rescript(second, |script| script.ready = None);
    let refusal = world.failure(id);
    assert!(refusal.message.ends_with("exited with code 1"), "{refusal}");
    world.advance(secs(10));
    assert_eq!((world.active("current"), world.living("current")), (old, 3));
    assert_eq!(world.phase("current"), None);
}

#[test]
fn a_sick_one_of_three_gets_no_requests_while_others_are_well() {
    let mut world = World::up([current().with(|app| app.instances = 3)]);
    let runs = world.active("current");
    world.script("current", [Script::never_ready()]);
    world.rescript(runs[1], |script| script.sick = Some(ms(0)));
    world.advance(secs(20));
    assert_eq!(world.active("current"), [runs[0], runs[2]]);
    world.rescript(runs[1], |script| script.sick = None);
    world.advance(secs(11));
    assert_eq!(world.active("current"), runs);
}

#[test]
fn a_reset_tries_a_failed_replacement_at_once() {
    let mut world = up();
    let old = world.run("current");
    world.script("current", [Script::crashes(ms(10), code(1))]);
    world.rescript(old, |script| script.sick = Some(ms(0)));
    world.until("a few attempts", |world| world.spawns.len() == 6);
    world.advance(secs(1));
    assert_eq!(world.spawns.len(), 6);
    world.ask("ann", Request::Reset { apps: vec!["current".to_owned()] });
    world.advance(ms(10));
    assert_eq!(world.spawns.len(), 7);
}

#[test]
fn an_exit_of_the_replaced_one_is_told_as_what_it_was() {
    let mut world = up();
    let id = world.restart("current");
    world.done(id);
    let (_, exits, _) = world.core.view_app("current", world.now()).unwrap();
    assert_eq!(exits[0].reason, ExitReason::Restart);
    assert_eq!(world.app("current").health, Health::Healthy);
}

#[test]
fn a_start_while_a_rollover_is_under_way_leaves_it_alone() {
    let mut world = up();
    let restart = world.restart("current");
    world.advance(ms(200));
    let start = world.start("current");
    assert_eq!(world.done(start), "was already online");
    world.done(restart);
    assert_eq!(world.spawns.len(), 2);
}

#[test]
fn a_public_port_stays_open_while_a_dependent_that_stops_needs_it() {
    let needs = proxied("front", 3001).with(|app| app.depends_on = vec!["current".into()]);
    let mut world = World::up([current(), needs]);
    world.advance(secs(2));
    let front = world.run("front");
    world.rescript(front, |script| script.requests = secs(5));
    world.shutdown();
    world.advance(secs(3));
    assert!(!world.is_open("front"));
    assert!(world.is_open("current"), "front still answers requests that need it");
    assert_eq!(world.active("current").len(), 1);
    world.until("the end", |world| world.exits == 1);
}

#[test]
fn nothing_is_published_before_the_supervisor_has_begun() {
    let mut world = World::unborn(crate::configs::config([current()]), &BTreeMap::new(), "2026-06-01T12:00:00Z");
    let now = world.now();
    let effects = world.core.handle(infissi::supervisor::Event::Tick, now);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Publish { .. })), "{effects:?}");
}
