//! The end of the supervisor.

use crate::configs::{With, secs, web, worker};
use crate::script::Script;
use crate::world::World;
use infissi::api::{EventKind, RefusalCode};
use infissi::supervisor::{Reply, Request};

#[test]
fn a_shutdown_stops_everything_answers_and_ends_once() {
    let mut world = World::up([web("current", 3000), worker("queue")]);
    let shutdown = world.shutdown();
    let second = world.shutdown();
    world.until("its end", |world| world.exits == 1);
    assert!(world.reply(shutdown).is_some() && world.reply(second).is_some());
    assert_eq!(world.living("current") + world.living("queue"), 0);
    assert!(world.saves.is_empty(), "what should run after the next start is not touched");
    let late = world.shutdown();
    assert!(world.reply(late).is_some(), "even who asks after the end is answered");
    let told = world.log.iter().filter(|(_, said)| said.kind == EventKind::Supervisor).count();
    assert_eq!(told, 1);
}

#[test]
fn with_nothing_running_it_ends_at_once() {
    let mut world = World::of([]);
    world.shutdown();
    assert_eq!(world.exits, 1);
}

#[test]
fn its_timeout_kills_what_is_left() {
    let apps = [
        worker("front").with(|app| {
            app.kill_timeout = secs(600);
            app.depends_on = vec!["db".into()];
        }),
        worker("db").with(|app| app.kill_timeout = secs(600)),
    ];
    let mut world = World::of(apps);
    world.script("front", [Script::stubborn()]);
    world.script("db", [Script::stubborn()]);
    world.advance(secs(5));
    let asked = world.mono;
    world.shutdown();
    world.until("its end", |world| world.exits == 1);
    assert_eq!((world.mono - asked).as_secs(), 60);
    assert_eq!(world.kills.len(), 2);
}

#[test]
fn who_asks_again_in_a_hurry_has_what_is_left_killed_at_once() {
    let mut world = World::of([worker("queue").with(|app| app.kill_timeout = secs(600))]);
    world.script("queue", [Script::stubborn()]);
    world.advance(secs(5));
    let asked = world.mono;
    world.shutdown();
    world.advance(secs(2));
    assert_eq!(world.exits, 0);
    world.ask("eve", Request::Shutdown { hurry: true });
    world.until("its end", |world| world.exits == 1);
    assert_eq!(((world.mono - asked).as_secs(), world.kills.len()), (2, 1));
}

#[test]
fn meanwhile_other_requests_are_refused() {
    let mut world = World::up([web("current", 3000)]);
    let waiting = world.restart("current");
    world.shutdown();
    let busy = world.failure(waiting);
    assert_eq!((busy.code, busy.message.as_str()), (RefusalCode::Busy, "the supervisor is shutting down"));
    for request in [
        Request::Start { apps: vec!["current".into()], wait: true },
        Request::Restart { apps: vec!["current".into()], wait: true, hard: false },
        Request::Reset { apps: vec!["current".into()] },
        Request::Apply { config: crate::configs::config([]), wait: true },
    ] {
        let id = world.ask("ann", request);
        let Some(Reply::Refused(refusal)) = world.reply(id) else { panic!("not refused") };
        assert_eq!(refusal.code, RefusalCode::Busy);
    }
    let stop = world.stop("current");
    world.done(stop);
    world.until("its end", |world| world.exits == 1);
    assert!(!world.saves.last().unwrap()["current"].desired, "a stop counts even now");
}

#[test]
fn a_spawn_under_way_is_waited_for_and_ended() {
    let mut world = World::of([web("current", 3000)]);
    world.script("current", [Script { spawn_takes: secs(2), ..Script::good() }]);
    world.shutdown();
    world.advance(secs(1));
    assert_eq!(world.exits, 0);
    world.until("its end", |world| world.exits == 1);
    assert_eq!(world.spawns.len(), 1);
}

#[test]
fn a_shutdown_whose_asker_is_gone_goes_on() {
    let mut world = World::up([web("current", 3000)]);
    let id = world.shutdown();
    world.abandon(id);
    world.until("its end", |world| world.exits == 1);
    assert_eq!(world.reply(id), None);
}
