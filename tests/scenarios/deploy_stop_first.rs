//! A release that takes the place of what serves, because there is no memory for both.

use crate::configs::{MIB, With, kept, ms, release, released, secs};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{EventKind, OtherPhase, RefusalCode, Slot, Status};
use infissi::supervisor::Request;

/// Release 1 serves, alone.
fn one() -> World {
    let mut world = World::up([released("current", 3000)]);
    let id = world.activate("current", release("1"));
    world.done(id);
    world.until("release 1 to be alone", |world| world.phase("current").is_none());
    world
}

#[test]
fn the_old_one_is_gone_before_the_new_one_starts_and_requests_are_held() {
    let mut world = one();
    let (old, slot) = (world.run("current"), world.app("current").slot);
    world.rescript(old, |script| script.requests = secs(3));
    let id = world.activate_stop_first("current", release("2"));
    assert!(world.active("current").is_empty() && world.is_open("current"));
    world.until("the new one", |world| world.spawns.last().unwrap().release.as_deref() == Some("2"));
    assert_eq!((world.living("current"), world.app("current").slot), (0, slot));
    assert!(world.done(id).starts_with("activated in 3"), "{}", world.story());
    assert_eq!(world.active("current"), [world.run("current")]);
    assert_eq!((world.app("current").release.as_deref(), world.cuts.len()), (Some("2"), 0));
}

#[test]
fn until_it_is_healthy_what_is_kept_is_the_release_before() {
    let mut world = one();
    let id = world.activate_stop_first("current", release("2"));
    world.until("it to start", |world| world.spawns.last().unwrap().release.as_deref() == Some("2"));
    assert_eq!(
        world.core.kept()["current"].release,
        Some(release("1")),
        "a supervisor that dies now is followed by it"
    );
    world.done(id);
    assert_eq!(world.saves.last().unwrap()["current"].release, Some(release("2")));
}

#[test]
fn when_it_fails_the_one_before_is_started_again_and_the_new_one_is_bad() {
    for script in [Script::never_ready(), Script::crashes(ms(50), code(1)), Script::refused("no such directory")] {
        let mut world = one();
        world.script("current", [script, Script::good()]);
        let id = world.activate_stop_first("current", release("2"));
        let refusal = world.failure(id);
        assert!(refusal.message.ends_with("; release 1 is started again"), "{refusal}");
        world.until("it serves", |world| !world.active("current").is_empty());
        let kept = &world.core.kept()["current"];
        assert_eq!((kept.release.clone(), kept.bad.clone()), (Some(release("1")), vec!["2".to_owned()]));
        assert_eq!(kept.setback.as_ref().map(|setback| setback.release.as_str()), Some("2"));
        assert_eq!(world.living("current"), 1);
    }
}

#[test]
fn what_is_warm_or_staged_beside_it_is_gone_before_it_starts_too() {
    for staged in [false, true] {
        let mut world = one();
        let begun = if staged { world.stage("current", release("2")) } else { world.activate("current", release("2")) };
        let phase = if staged { OtherPhase::Staged } else { OtherPhase::Warm };
        world.until("another slot", |world| world.phase("current") == Some(phase));
        world.abandon(begun);
        assert_eq!(world.living("current"), 2);
        let other = world.other_run("current");
        world.rescript(other, |script| script.streams = secs(200));
        let id = world.activate_stop_first("current", release("3"));
        world.until("the new one", |world| world.spawns.last().unwrap().release.as_deref() == Some("3"));
        assert_eq!(world.living("current"), 0, "{}", world.story());
        world.done(id);
        assert_eq!((world.app("current").release.as_deref(), world.phase("current")), (Some("3"), None));
    }
}

#[test]
fn nothing_is_started_beside_it_while_it_starts() {
    let mut world = one();
    world.script("current", [Script::never_ready()]);
    let id = world.activate_stop_first("current", release("2"));
    world.until("it to start", |world| world.spawns.last().unwrap().release.as_deref() == Some("2"));
    let second = world.activate("current", release("3"));
    let refusal = world.failure(second);
    assert_eq!(refusal.code, RefusalCode::Busy);
    assert!(refusal.message.starts_with("current is being started with release 2 by dan, since"), "{refusal}");
    for ask in [World::restart, World::restart_hard] {
        let restart = ask(&mut world, "current");
        assert_eq!(world.failure(restart).code, RefusalCode::Busy);
    }
    world.script("current", [Script::good()]);
    assert!(world.failure(id).message.ends_with("; release 1 is started again"), "{}", world.story());
}

#[test]
fn one_that_is_called_off_while_it_starts_leaves_the_release_before_and_is_not_bad() {
    let mut world = one();
    world.script("current", [Script::never_ready(), Script::good()]);
    let id = world.activate_stop_first("current", release("2"));
    world.until("it to start", |world| world.spawns.last().unwrap().release.as_deref() == Some("2"));
    assert_eq!(world.core.trying("current"), Some(("2".to_owned(), Some("1".to_owned()))));
    let cancel = world.ask("ann", Request::Cancel { apps: vec!["current".to_owned()] });
    assert_eq!(world.done(cancel), "what ran before comes back");
    let refusal = world.failure(id);
    assert_eq!(refusal.message, "current is not up: it was called off by ann; release 1 is started again");
    world.until("it serves", |world| !world.active("current").is_empty());
    let kept = &world.core.kept()["current"];
    assert_eq!((kept.release.clone(), kept.bad.len()), (Some(release("1")), 0));
    assert_eq!((world.core.trying("current"), world.living("current")), (None, 1));
}

#[test]
fn one_that_has_failed_and_is_activated_again_is_not_bad_any_more() {
    let mut world = one();
    let bad = |world: &World| {
        let kept = &world.core.kept()["current"];
        (kept.bad.clone(), kept.setback.is_some())
    };
    for stop_first in [true, false] {
        world.script("current", [Script::crashes(ms(50), code(1)), Script::good()]);
        let id = world.activate_stop_first("current", release("2"));
        world.failure(id);
        world.until("it serves", |world| !world.active("current").is_empty());
        assert_eq!(bad(&world), (vec!["2".to_owned()], true));
        let again = match stop_first {
            true => world.activate_stop_first("current", release("2")),
            false => world.activate("current", release("2")),
        };
        assert_eq!(bad(&world), (Vec::new(), false));
        world.done(again);
        let back = world.activate("current", release("1"));
        world.done(back);
    }
}

#[test]
fn one_that_is_stopped_before_it_was_up_leaves_the_release_before() {
    let mut world = one();
    world.script("current", [Script::never_ready(), Script::good()]);
    let id = world.activate_stop_first("current", release("2"));
    world.until("it to start", |world| world.spawns.last().unwrap().release.as_deref() == Some("2"));
    let stop = world.stop("current");
    world.done(stop);
    assert_eq!(world.failure(id).code, RefusalCode::Busy);
    let kept = world.core.kept()["current"].clone();
    assert_eq!((kept.release, kept.desired, kept.bad), (Some(release("1")), false, Vec::new()));
    assert_eq!(kept.setback.unwrap().why, "was interrupted: it was stopped");
    let start = world.start("current");
    world.done(start);
    assert_eq!(world.spawns.last().unwrap().release.as_deref(), Some("1"));
}

#[test]
fn a_shutdown_meanwhile_is_followed_by_the_release_before() {
    let mut world = one();
    world.script("current", [Script::never_ready()]);
    world.activate_stop_first("current", release("2"));
    world.until("it to start", |world| world.spawns.last().unwrap().release.as_deref() == Some("2"));
    world.shutdown();
    world.until("the end", |world| world.exits == 1);
    let kept = &world.saves.last().unwrap()["current"];
    assert_eq!((kept.release.clone(), kept.desired), (Some(release("1")), true));
}

#[test]
fn the_next_supervisor_is_told_why_a_release_is_not_active() {
    let mut world = one();
    world.script("current", [Script::crashes(ms(50), code(1))]);
    let id = world.activate("current", release("2"));
    world.failure(id);
    let last = world.saves.last().unwrap()["current"].setback.clone().unwrap();
    assert_eq!((last.release.as_str(), last.why.as_str()), ("2", "exited with code 1"));
    assert_eq!(world.said("current", EventKind::RolloverFailed).len(), 1);

    let before = infissi::supervisor::Kept { setback: Some(last.clone()), ..kept(true) };
    let desired = std::iter::once(("current".to_owned(), before)).collect();
    let next = World::unborn(crate::configs::config([released("current", 3000)]), &desired, "2026-06-01T12:00:00Z");
    assert_eq!(next.core.setback("current"), Some(last));
}

#[test]
fn one_over_its_limit_while_it_is_tried_is_taken_back() {
    let app = released("current", 3000).with(|app| app.max_memory_restart = Some(300 * MIB));
    let mut world = World::up([app]);
    world.script("current", [Script::never_ready(), Script::good()]);
    let id = world.activate_stop_first("current", release("2"));
    world.until("it to start", |world| world.spawns.last().unwrap().release.as_deref() == Some("2"));
    world.until("it to be there", |world| world.living("current") == 1);
    world.sample("current", 320 * MIB);
    assert!(world.failure(id).message.ends_with("what ran before is started again"), "{}", world.story());
    world.until("it serves", |world| !world.active("current").is_empty());
    assert_eq!((world.status("current"), world.app("current").slot), (Status::Online, Slot::Blue));
}

#[test]
fn a_supervisor_that_is_killed_meanwhile_is_followed_by_the_release_before() {
    let mut world = one();
    world.script("current", [Script::never_ready(), Script::good()]);
    world.activate_stop_first("current", release("2"));
    world.until("it to be there", |world| {
        world.spawns.last().unwrap().release.as_deref() == Some("2") && world.living("current") == 1
    });
    world.kill_supervisor();
    world.until("it serves", |world| !world.active("current").is_empty());
    assert_eq!(world.spawns.last().unwrap().release.as_deref(), Some("1"), "{}", world.story());
    assert_eq!((world.living("current"), world.app("current").release.as_deref()), (1, Some("1")));
}
