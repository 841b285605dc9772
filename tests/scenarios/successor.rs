//! When another program may take the place of the supervisor.

use crate::configs::{With, proxied, release, released, secs, stop_first, worker};
use crate::script::Script;
use crate::world::World;
use infissi::api::{OtherPhase, RefusalCode};

/// What is in the way, if anything is.
fn in_the_way(world: &World) -> Option<String> {
    let refusal = world.core.in_the_way()?;
    assert_eq!(refusal.code, RefusalCode::Busy);
    Some(refusal.message)
}

#[test]
fn who_waits_for_an_answer_is_in_the_way_and_a_rollover_by_itself_is_not() {
    let mut world = World::up([proxied("web", 3000), worker("mail")]);
    assert_eq!(in_the_way(&world), None);
    world.script("web", [Script { ready: Some(secs(5)), ..Script::good() }]);
    let restart = world.restart("web");
    world.advance(secs(2));
    assert_eq!(in_the_way(&world).unwrap(), "somebody waits for what is done with web");
    world.abandon(restart);
    assert_eq!((world.phase("web"), in_the_way(&world)), (Some(OtherPhase::Starting), None));
    world.kill_supervisor();
    world.until("the rollover to be through", |world| world.phase("web").is_none());
}

#[test]
fn a_release_that_is_tried_in_the_place_of_another_is_in_the_way_until_it_is_up() {
    let deploy = released("current", 3000).deploy;
    let mut world = World::up([stop_first("current", 3000).with(|app| app.deploy = deploy)]);
    world.script("current", [Script { ready: Some(secs(5)), ..Script::good() }]);
    let activate = world.activate("current", release("1"));
    world.abandon(activate);
    for _ in 0..3 {
        assert!(in_the_way(&world).is_some_and(|what| what.contains("current")));
        world.advance(secs(1));
    }
    world.until("it to be up", |world| in_the_way(world).is_none());
    assert_eq!(world.app("current").release.as_deref(), Some("1"));
}
