//! A release that is activated where nobody serves, or that stops who does: when it fails, what was there before comes back.

use crate::configs::{With, ms, release, released, secs, stop_first};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{EventKind, Slot, Status};

fn up() -> World {
    World::up([released("current", 3000)])
}

/// Release 1 is active in an app that cannot run twice.
fn once() -> World {
    let deploy = released("current", 3000).deploy;
    let mut world = World::up([stop_first("current", 3000).with(|app| app.deploy = deploy)]);
    let id = world.activate("current", release("1"));
    world.done(id);
    world
}

#[test]
fn what_ran_before_comes_back_when_a_release_that_stopped_it_fails() {
    for script in [Script::never_ready(), Script::crashes(ms(50), code(1)), Script::refused("no such directory")] {
        let mut world = once();
        world.script("current", [script, Script::good()]);
        let id = world.activate("current", release("2"));
        let refusal = world.failure(id);
        assert!(refusal.message.ends_with("; release 1 is started again"), "{refusal}");
        world.until("it serves", |world| !world.active("current").is_empty());
        assert_eq!(world.spawns.last().unwrap().release.as_deref(), Some("1"));
        let last = &world.saves.last().unwrap()["current"];
        assert_eq!((last.release.clone(), last.bad.clone()), (Some(release("1")), vec!["2".to_owned()]));
        assert_eq!(world.said("current", EventKind::FlippedBack).len(), 1);
        world.advance(secs(100));
        assert_eq!((world.living("current"), world.app("current").release.as_deref()), (1, Some("1")));
    }
}

#[test]
fn a_release_that_was_once_up_is_not_taken_back_by_a_later_crash() {
    let mut world = once();
    let id = world.activate("current", release("2"));
    world.done(id);
    world.crash("current", code(1));
    world.advance(secs(5));
    assert_eq!(world.spawns.last().unwrap().release.as_deref(), Some("2"));
    assert!(world.core.kept()["current"].bad.is_empty());
}

#[test]
fn a_release_of_a_stopped_app_is_started_and_cannot_be_staged() {
    let mut world = up();
    let stop = world.stop("current");
    world.done(stop);
    let stage = world.stage("current", release("2"));
    assert_eq!(world.failure(stage).message, "current has no active slot to stage beside");
    let activate = world.activate("current", release("2"));
    let message = world.done(activate);
    assert!(message.starts_with("activated in"), "{message}");
    let last = &world.saves.last().unwrap()["current"];
    assert_eq!((last.release.clone(), last.desired), (Some(release("2")), true));
    assert_eq!(world.spawns[1].release.as_deref(), Some("2"));
}

#[test]
fn an_app_that_was_stopped_is_stopped_again_when_the_release_it_is_started_with_fails() {
    let mut world = up();
    let stop = world.stop("current");
    world.done(stop);
    world.script("current", [Script::crashes(ms(50), code(1)), Script::good()]);
    let id = world.activate("current", release("2"));
    let refusal = world.failure(id);
    assert_eq!(refusal.message, "current is not up: it exited with code 1; it is stopped again");
    world.advance(secs(100));
    assert_eq!((world.status("current"), world.living("current")), (Status::Stopped, 0));
    let start = world.start("current");
    world.done(start);
    assert_eq!(world.spawns.last().unwrap().release, None);
}

#[test]
fn a_release_is_started_beside_one_that_is_about_to_run_again() {
    let mut world = up();
    world.script("current", [Script::never_ready(), Script::good()]);
    world.crash("current", code(1));
    world.advance(ms(10));
    assert_eq!(world.status("current"), Status::Backoff);
    let id = world.activate("current", release("2"));
    world.advance(secs(1));
    world.until("the old one serves", |world| !world.active("current").is_empty());
    assert!(world.failure(id).message.starts_with("current is not activated: the new slot"), "{}", world.story());
    assert_eq!((world.app("current").slot, world.app("current").release), (Slot::Blue, None));
    assert!(world.core.kept()["current"].release.is_none());
}

#[test]
fn a_restart_or_another_try_keeps_the_way_back_to_what_was_up() {
    for again in
        [|world: &mut World| world.restart("current"), |world: &mut World| world.activate("current", release("2"))]
    {
        let mut world = once();
        world.script("current", [Script::never_ready(), Script::crashes(ms(50), code(1)), Script::good()]);
        let id = world.activate("current", release("2"));
        world.until("it to start", |world| world.spawns.last().unwrap().release.as_deref() == Some("2"));
        let again = again(&mut world);
        assert!(world.failure(again).message.ends_with("; release 1 is started again"), "{}", world.story());
        world.abandon(id);
        world.until("it serves", |world| !world.active("current").is_empty());
        assert_eq!(world.core.kept()["current"].release, Some(release("1")));
    }
}
