//! After a swap to another release the old slot stays warm: going back is instant, and happens by itself.

use crate::configs::{With, config, kept, ms, release, released, secs};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{EventKind, ExitReason, OtherPhase, RefusalCode, Slot, Status};
use infissi::config::Autorestart;
use infissi::supervisor::{Event, Kept, Request, RequestId, RunId};
use std::collections::BTreeMap;

fn up() -> World {
    World::up([released("current", 3000)])
}

/// Release 2 is active beside the warm old slot: the request, the old run, the new one.
fn warm() -> (World, RequestId, RunId, RunId) {
    let mut world = up();
    let old = world.run("current");
    let id = world.activate("current", release("2"));
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    let new = world.run("current");
    (world, id, old, new)
}

fn assert_flipped_back(world: &mut World, id: RequestId, old: RunId, why: &str) {
    assert_eq!(world.active("current"), [old], "{}", world.story());
    assert_eq!((world.app("current").slot, world.app("current").release), (Slot::Blue, None));
    let last = &world.saves.last().unwrap()["current"];
    assert_eq!((last.slot, last.release.clone(), last.bad.clone()), (Slot::Blue, None, vec!["2".to_owned()]));
    let refusal = world.failure(id);
    let expected = format!("current is not activated: the new slot {why}; blue has the traffic again");
    assert_eq!(refusal.message, expected);
    assert_eq!(world.said("current", EventKind::FlippedBack).len(), 1);
    world.advance(secs(100));
    assert_eq!((world.living("current"), world.phase("current")), (1, None));
    assert_eq!((world.active("current"), world.spawns.len(), world.gaps.len()), (vec![old], 2, 0));
}

#[test]
fn an_activated_release_gets_the_traffic_and_the_old_slot_is_warm_then_drains_then_stops() {
    let (mut world, id, old, new) = warm();
    world.rescript(old, |script| script.requests = secs(5));
    let swapped = world.mono;
    assert_eq!((world.active("current"), world.warm("current")), (vec![new], vec![old]));
    assert_eq!(world.phase("current"), Some(OtherPhase::Warm));
    assert_eq!(world.spawns[1].release.as_deref(), Some("2"));
    let last = &world.saves.last().unwrap()["current"];
    assert_eq!((last.slot, last.release.clone()), (Slot::Green, Some(release("2"))));
    let message = world.done(id);
    assert!(message.starts_with("activated in 1 m 5 s") || message.starts_with("activated in 65"), "{message}");
    assert_eq!(world.drain_of(old), swapped + secs(60));
    assert_eq!(world.stops, [(swapped + secs(65), "current".to_owned())]);
    assert_eq!((world.living("current"), world.warm("current"), world.cuts.len()), (1, vec![], 0));
    let (_, exits, _) = world.core.view_app("current", world.now()).unwrap();
    assert_eq!(exits[0].reason, ExitReason::Deploy);
}

#[test]
fn a_staged_release_waits_until_it_is_swapped_in() {
    let mut world = up();
    let old = world.run("current");
    let id = world.stage("current", release("2"));
    let message = world.done(id);
    assert!(message.starts_with("staged in") && message.ends_with("infissi-ctl swap current makes it active"));
    world.advance(secs(3000));
    assert_eq!((world.active("current"), world.living("current")), (vec![old], 2));
    assert_eq!((world.phase("current"), world.app("current").release), (Some(OtherPhase::Staged), None));
    assert!(world.saves.iter().all(|saved| saved["current"].release.is_none()));
    let new = world.other_run("current");
    let at = world.mono;
    let swap = world.swap("current");
    assert_eq!(world.done(swap), "green is active; blue stays warm for 60 s");
    assert_eq!((world.mono, world.spawns.len()), (at, 2), "at once, with what is there");
    assert_eq!((world.active("current"), world.warm("current")), (vec![new], vec![old]));
    assert_eq!(world.app("current").release.as_deref(), Some("2"));
}

#[test]
fn a_swap_back_while_warm_is_instant() {
    let (mut world, id, old, new) = warm();
    world.advance(secs(50));
    let at = world.mono;
    let back = world.swap("current");
    assert_eq!(world.done(back), "blue is active; green stays warm for 60 s");
    assert_eq!((world.mono, world.active("current"), world.warm("current")), (at, vec![old], vec![new]));
    assert_eq!(world.failure(id).message, "current is not activated: the new slot was taken back by dan");
    assert_eq!(world.app("current").release, None);
    world.advance(secs(50));
    let forth = world.swap("current");
    world.done(forth);
    assert_eq!((world.active("current"), world.warm("current"), world.spawns.len()), (vec![new], vec![old], 2));
    assert!(world.saves.last().unwrap()["current"].bad.is_empty(), "taken back is not bad");
    world.advance(secs(100));
    assert_eq!((world.living("current"), world.active("current"), world.gaps.len()), (1, vec![new], 0));
}

#[test]
fn an_exit_while_the_old_slot_is_warm_flips_back() {
    let (mut world, id, old, _) = warm();
    world.advance(secs(30));
    world.crash("current", code(1));
    assert_flipped_back(&mut world, id, old, "exited with code 1");
}

#[test]
fn an_exit_that_may_be_is_still_one_that_flips_back_while_the_old_slot_is_warm() {
    let gentle = [
        released("current", 3000).with(|app| app.autorestart = Autorestart::OnFailure),
        released("current", 3000).with(|app| app.autorestart = Autorestart::Never),
        released("current", 3000).with(|app| app.stop_exit_codes = vec![0]),
    ];
    for app in gentle {
        let mut world = World::up([app]);
        let old = world.run("current");
        let id = world.activate("current", release("2"));
        world.until("the swap", |world| world.app("current").slot == Slot::Green);
        world.advance(secs(30));
        world.crash("current", code(0));
        assert_flipped_back(&mut world, id, old, "exited with code 0");
    }
}

#[test]
fn failed_probes_while_the_old_slot_is_warm_flip_back() {
    let (mut world, id, old, new) = warm();
    world.rescript(new, |script| script.sick = Some(ms(0)));
    world.until("the flip", |world| world.app("current").slot == Slot::Blue);
    assert_flipped_back(&mut world, id, old, "failed 3 probes in a row: connection refused");
}

#[test]
fn a_burst_of_errors_while_the_old_slot_is_warm_flips_back() {
    let (mut world, id, old, new) = warm();
    world.advance(secs(1));
    world.answers(new, 100, 2);
    world.advance(secs(12));
    world.answers(new, 110, 4);
    assert_eq!(world.active("current"), [new]);
    world.advance(secs(1));
    world.answers(new, 140, 20);
    assert_flipped_back(&mut world, id, old, "failed 18 of its last 40 requests");
}

#[test]
fn as_many_errors_as_the_old_slot_had_are_no_burst() {
    let mut world = up();
    let old = world.run("current");
    world.answers(old, 1000, 400);
    world.activate("current", release("2"));
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    let new = world.run("current");
    for step in 1..40 {
        world.answers(new, step * 50, step * 25);
        world.advance(ms(250));
    }
    assert_eq!(world.active("current"), [new]);
}

#[test]
fn few_errors_are_no_burst() {
    let (mut world, _, _, new) = warm();
    world.answers(new, 9, 9);
    world.advance(secs(11));
    for step in 0..4 {
        world.answers(new, 9 + step * 100, 9 + step * 15);
        world.advance(secs(11));
    }
    assert_eq!(world.active("current"), [new]);
}

#[test]
fn without_a_warm_slot_errors_change_nothing() {
    let (mut world, id, _, new) = warm();
    world.done(id);
    world.answers(new, 1000, 1000);
    world.advance(secs(1));
    assert_eq!(world.active("current"), [new]);
}

#[test]
fn a_warm_slot_that_ends_is_not_gone_back_to() {
    let (mut world, _, old, new) = warm();
    world.advance(secs(20));
    assert_eq!(world.other_run("current"), old);
    world.crash_run(old, code(1));
    world.advance(secs(1));
    assert_eq!((world.phase("current"), world.living("current"), world.warm("current")), (None, 1, vec![]));
    world.crash_run(new, code(1));
    world.advance(secs(2));
    assert_eq!((world.app("current").slot, world.spawns.len()), (Slot::Green, 3));
    assert_eq!(world.spawns[2].release.as_deref(), Some("2"));
    assert!(world.saves.last().unwrap()["current"].bad.is_empty());
    let swap = world.swap("current");
    assert_eq!(world.failure(swap).code, RefusalCode::Busy);
}

#[test]
fn a_sick_warm_slot_is_let_go() {
    let (mut world, _, old, new) = warm();
    world.rescript(old, |script| script.sick = Some(ms(0)));
    world.advance(secs(30));
    assert_eq!((world.living("current"), world.active("current")), (1, vec![new]));
}

#[test]
fn a_restart_while_warm_ends_the_warm_slot_at_once() {
    let (mut world, activate, old, new) = warm();
    world.rescript(old, |script| script.requests = secs(50));
    world.advance(secs(5));
    let at = world.mono;
    let restart = world.restart("current");
    assert_eq!(world.warm("current"), []);
    assert_eq!(world.stops, [(at, "current".to_owned())]);
    let message = world.done(activate);
    assert!(message.starts_with("activated in 5"), "{message}");
    world.done(restart);
    assert_eq!((world.app("current").slot, world.spawns[2].release.as_deref()), (Slot::Blue, Some("2")));
    assert_eq!((world.gaps.len(), world.living("current")), (0, 1));
    assert_ne!(world.active("current"), [new]);
}

#[test]
fn a_stop_while_warm_ends_both_slots() {
    let (mut world, activate, ..) = warm();
    world.advance(secs(5));
    let stop = world.stop("current");
    assert_eq!(world.done(stop), "stopped in 50 ms");
    assert_eq!(world.failure(activate).code, RefusalCode::Busy);
    assert_eq!((world.living("current"), world.is_open("current")), (0, false));
    let start = world.start("current");
    world.done(start);
    assert_eq!((world.spawns[2].slot, world.spawns[2].release.as_deref()), (Slot::Green, Some("2")));
    assert_eq!(world.phase("current"), None);
}

#[test]
fn a_shutdown_while_staged_or_warm_ends_both_slots() {
    let (mut world, ..) = warm();
    world.shutdown();
    world.until("the end", |world| world.exits == 1);
    let mut world = up();
    let stage = world.stage("current", release("2"));
    world.done(stage);
    world.shutdown();
    world.until("the end", |world| world.exits == 1);
    assert_eq!(world.core.kept()["current"].release, None);
}

#[test]
fn a_staged_slot_that_ends_is_told_and_is_not_swapped_to() {
    let mut world = up();
    let old = world.run("current");
    let stage = world.stage("current", release("2"));
    world.done(stage);
    let staged = world.other_run("current");
    world.crash_run(staged, code(1));
    world.advance(secs(5));
    assert_eq!(
        world.said("current", EventKind::RolloverFailed),
        ["the staged slot (green) exited with code 1; blue goes on untouched"]
    );
    let swap = world.swap("current");
    assert_eq!(world.failure(swap).message, "current has no staged or warm slot to swap to");
    assert_eq!((world.active("current"), world.living("current")), (vec![old], 1));
}

#[test]
fn a_swap_is_refused_before_the_new_slot_is_healthy() {
    let mut world = up();
    world.script("current", [Script::never_ready()]);
    world.stage("current", release("2"));
    world.advance(secs(3));
    let swap = world.swap("current");
    let refusal = world.failure(swap);
    assert_eq!(
        (refusal.code, refusal.message.as_str()),
        (RefusalCode::Busy, "current is being rolled over (deploy) by dan, since 3 s")
    );
}

#[test]
fn another_release_overtakes_a_staged_one() {
    let mut world = up();
    let stage = world.stage("current", release("2"));
    world.done(stage);
    let activate = world.activate("current", release("3"));
    world.done(activate);
    assert_eq!((world.app("current").release.as_deref(), world.living("current")), (Some("3"), 1));
    assert_eq!(world.gaps, []);
}

#[test]
fn an_old_slot_that_crashes_while_another_is_staged_starts_again() {
    let mut world = up();
    let stage = world.stage("current", release("2"));
    world.done(stage);
    world.advance(secs(20));
    world.crash("current", code(1));
    world.advance(secs(2));
    assert_eq!((world.app("current").slot, world.active("current").len()), (Slot::Blue, 1));
    assert_eq!((world.phase("current"), world.living("current")), (Some(OtherPhase::Staged), 2));
}

#[test]
fn an_activated_release_that_fails_leaves_the_old_one_on_the_disk() {
    let mut world = up();
    world.script("current", [Script::crashes(ms(50), code(1))]);
    let id = world.activate("current", release("2"));
    assert!(world.failure(id).message.contains("the new slot exited with code 1"));
    world.advance(secs(5));
    assert!(world.saves.iter().all(|kept| kept["current"].release.is_none()), "{:?}", world.saves);
    assert!(world.core.kept()["current"].bad.is_empty(), "it never was live");
}

#[test]
fn slot_release_and_bad_ones_are_taken_up_by_the_next_supervisor() {
    let before = Kept { slot: Slot::Green, release: Some(release("7")), bad: vec!["6".to_owned()], ..kept(true) };
    let kept = BTreeMap::from([("current".to_owned(), before.clone())]);
    let mut world = World::unborn(config([released("current", 3000)]), &kept, "2026-06-01T12:00:00Z");
    world.tell(Event::Began);
    world.advance(secs(3));
    assert_eq!((world.spawns[0].slot, world.spawns[0].release.as_deref()), (Slot::Green, Some("7")));
    assert_eq!((world.core.kept()["current"].clone(), world.saves.len()), (before, 0));
    let restart = world.restart("current");
    world.done(restart);
    assert_eq!((world.spawns[1].slot, world.spawns[1].release.as_deref()), (Slot::Blue, Some("7")));
    assert_eq!(world.saves.last().unwrap()["current"].bad, ["6"]);
}

#[test]
fn several_warm_instances_flip_back_together() {
    let mut world = World::up([released("current", 3000).with(|app| app.instances = 3)]);
    let old = world.active("current");
    let id = world.activate("current", release("2"));
    world.until("warm", |world| world.phase("current") == Some(OtherPhase::Warm));
    assert_eq!(world.warm("current"), old);
    let second = world.runs_in("current", Slot::Green)[1];
    world.crash_run(second, code(1));
    assert_eq!((world.active("current"), world.gaps.len()), (old, 0));
    world.failure(id);
    world.advance(secs(5));
    assert_eq!(world.living("current"), 3);
}

#[test]
fn a_status_says_what_is_warm() {
    let (world, ..) = warm();
    let other = world.app("current").other.unwrap();
    assert_eq!((other.slot, other.by.as_str(), other.release), (Slot::Blue, "dan", None));
    assert_eq!(world.status("current"), Status::Online);
}

#[test]
fn errors_before_a_swap_back_are_no_burst_after_it() {
    let mut world = up();
    let old = world.run("current");
    world.answers(old, 1000, 500);
    world.activate("current", release("2"));
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    let new = world.run("current");
    world.answers(new, 500, 0);
    world.advance(secs(20));
    world.answers(new, 1000, 0);
    let back = world.swap("current");
    world.done(back);
    world.answers(old, 1001, 500);
    world.advance(ms(250));
    world.answers(old, 1010, 501);
    assert_eq!(world.active("current"), [old]);
    assert!(world.saves.last().unwrap()["current"].bad.is_empty());
}

#[test]
fn counts_that_begin_anew_with_another_proxy_are_no_burst() {
    let (mut world, _, _, new) = warm();
    world.advance(secs(1));
    world.answers(new, 1000, 5);
    world.advance(secs(1));
    world.answers(new, 200, 18);
    assert_eq!(world.active("current"), [new]);
    world.advance(secs(1));
    world.answers(new, 240, 40);
    assert_ne!(world.active("current"), [new], "and from then on they count");
}

#[test]
fn who_loses_a_staged_slot_is_told() {
    let mut world = up();
    let stage = world.stage("current", release("2"));
    world.done(stage);
    let restart = world.restart("current");
    world.done(restart);
    assert_eq!(
        world.said("current", EventKind::RolloverFailed),
        ["the staged slot (green) was overtaken by another rollover"]
    );
    let stage = world.stage("current", release("3"));
    world.done(stage);
    let restart = world.restart_hard("current");
    world.done(restart);
    assert_eq!(
        world.said("current", EventKind::RolloverFailed)[1],
        "the staged slot (blue) was overtaken by a restart"
    );
}

#[test]
fn bad_releases_of_long_ago_are_forgotten() {
    let mut world = up();
    for id in 0..60 {
        let id = world.activate("current", release(&id.to_string()));
        world.until("warm", |world| world.phase("current") == Some(OtherPhase::Warm));
        world.crash("current", code(1));
        world.failure(id);
        world.advance(secs(1));
    }
    let bad = &world.saves.last().unwrap()["current"].bad;
    assert_eq!((bad.len(), bad[0].as_str(), bad[49].as_str()), (50, "10", "59"));
}

#[test]
fn a_release_that_is_called_off_never_becomes_active() {
    let mut world = up();
    let old = world.run("current");
    let cancel = |world: &mut World| world.ask("ann", Request::Cancel { apps: vec!["current".to_owned()] });
    world.script("current", [Script::never_ready(), Script::good(), Script::good()]);
    let asked = world.activate("current", release("2"));
    world.advance(secs(5));
    let id = cancel(&mut world);
    assert_eq!(world.done(id), "blue goes on untouched");
    assert_eq!(world.failure(asked).message, "current is not activated: the new slot was called off by ann");
    world.advance(secs(60));
    assert_eq!((world.active("current"), world.phase("current"), world.gaps.len()), (vec![old], None, 0));

    let staged = world.stage("current", release("3"));
    world.done(staged);
    let id = cancel(&mut world);
    world.done(id);
    world.advance(secs(60));
    assert_eq!((world.active("current"), world.phase("current")), (vec![old], None));

    world.activate("current", release("4"));
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    let id = cancel(&mut world);
    let refusal = world.failure(id);
    assert_eq!(
        (refusal.code, refusal.hint.as_deref()),
        (RefusalCode::Busy, Some("go back: infissi-ctl rollback current"))
    );
    // Nor is a restart a deploy.
    world.advance(secs(100));
    world.restart("current");
    let id = cancel(&mut world);
    assert_eq!(world.failure(id).code, RefusalCode::Busy);
}
