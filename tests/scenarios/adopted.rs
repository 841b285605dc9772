//! A supervisor that comes after a `kill -9` goes on with what runs.

use crate::configs::{With, proxied, release, released, secs, web, worker};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{EventKind, ExitReason, OtherPhase, Slot, Status};
use infissi::config::Autorestart;

#[test]
fn what_is_online_stays_so_with_its_process_its_time_and_its_counters() {
    let mut world = World::up([proxied("web", 3000), worker("mail")]);
    world.crash("web", code(1));
    world.advance(secs(30));
    let runs = [world.run("web"), world.run("mail")];
    let before = [world.app("web"), world.app("mail")];
    world.kill_supervisor();
    assert_eq!([world.run("web"), world.run("mail")], runs);
    for (before, after) in before.iter().zip([world.app("web"), world.app("mail")]) {
        assert_eq!(
            (after.status, after.restarts, after.uptime_ms),
            (Status::Online, before.restarts, before.uptime_ms)
        );
    }
    assert_eq!((world.app("web").restarts, world.active("web")), (1, vec![runs[0]]));
    let (_, exits, _) = world.core.view_app("web", world.now()).unwrap();
    assert_eq!(exits[0].code, Some(1));
    world.advance(secs(600));
    assert_eq!((world.spawns.len(), world.stops.len(), world.gaps.len()), (3, 1, 0));
}

#[test]
fn a_rollover_before_its_swap_is_finished() {
    let mut world = World::up([released("web", 3000)]);
    let old = world.run("web");
    world.script("web", [Script { ready: Some(secs(5)), ..Script::good() }]);
    world.activate("web", release("2"));
    world.advance(secs(2));
    assert_eq!(world.phase("web"), Some(OtherPhase::Starting));
    world.kill_supervisor();
    assert_eq!((world.active("web"), world.phase("web")), (vec![old], Some(OtherPhase::Starting)));
    world.until("the swap", |world| world.app("web").slot == Slot::Green);
    assert_eq!((world.app("web").release.as_deref(), world.warm("web")), (Some("2"), vec![old]));
    world.advance(secs(300));
    assert_eq!((world.living("web"), world.spawns.len(), world.gaps.len()), (1, 2, 0));
}

#[test]
fn a_warm_slot_stays_warm_as_long_as_it_was_to_and_takes_the_traffic_back() {
    let story = |crashes: bool| {
        let mut world = World::up([released("web", 3000)]);
        let old = world.run("web");
        world.activate("web", release("2"));
        world.until("the swap", |world| world.app("web").slot == Slot::Green);
        let new = world.run("web");
        world.advance(secs(20));
        world.kill_supervisor();
        assert_eq!((world.active("web"), world.warm("web")), (vec![new], vec![old]));
        if crashes {
            world.crash_run(new, code(1));
            world.advance(secs(1));
            assert_eq!((world.active("web"), world.app("web").slot), (vec![old], Slot::Blue));
            assert_eq!(world.saves.last().unwrap()["web"].bad, ["2"]);
        } else {
            world.advance(secs(39));
            assert_eq!(world.phase("web"), Some(OtherPhase::Warm));
            world.advance(secs(10));
            assert_eq!((world.active("web"), world.living("web")), (vec![new], 1));
        }
        assert_eq!(world.gaps, []);
    };
    story(false);
    story(true);
}

#[test]
fn what_is_staged_can_be_swapped_to() {
    let mut world = World::up([released("web", 3000)]);
    let id = world.stage("web", release("2"));
    world.done(id);
    let (old, staged) = (world.run("web"), world.other_run("web"));
    world.kill_supervisor();
    assert_eq!((world.phase("web"), world.active("web")), (Some(OtherPhase::Staged), vec![old]));
    let swap = world.swap("web");
    world.done(swap);
    assert_eq!((world.active("web"), world.app("web").release.as_deref()), (vec![staged], Some("2")));
}

#[test]
fn what_ended_unseen_is_counted_and_started_again() {
    let mut world = World::up([web("web", 3000), worker("once").with(|app| app.autorestart = Autorestart::Never)]);
    world.advance(secs(30));
    for app in ["web", "once"] {
        let run = world.run(app);
        world.vanish(run);
    }
    world.kill_supervisor();
    world.advance(secs(10));
    let (_, exits, _) = world.core.view_app("web", world.now()).unwrap();
    assert_eq!((exits[0].reason, exits[0].code, exits[0].signal.clone()), (ExitReason::Exit, None, None));
    assert_eq!((world.status("web"), world.app("web").restarts), (Status::Online, 1));
    assert_eq!(world.status("once"), Status::Errored);
    assert!(world.reason("once").contains("ended in an unknown way"), "{}", world.reason("once"));
}

#[test]
fn a_delay_and_a_surrender_go_on() {
    let mut world = World::of([
        web("web", 3000).with(|app| app.backoff.initial = secs(8)),
        worker("lost").with(|app| app.max_restarts = 1),
    ]);
    for app in ["web", "lost"] {
        world.script(app, [Script { ends: Some((secs(0), code(1))), ..Script::good() }]);
    }
    world.until("the delay", |world| world.status("web") == Status::Backoff);
    world.until("the surrender", |world| world.status("lost") == Status::Errored);
    let (at, restarts) = (world.app("web").next_at, world.app("web").restarts);
    world.kill_supervisor();
    assert_eq!(
        (world.status("web"), world.app("web").next_at, world.app("web").restarts),
        (Status::Backoff, at, restarts)
    );
    let spawned = world.spawns_of("lost").len();
    world.advance(secs(100));
    assert_eq!((world.status("lost"), world.spawns_of("lost").len()), (Status::Errored, spawned));
}

#[test]
fn a_stop_under_way_is_finished_and_a_hard_restart_too() {
    let mut world = World::up([worker("one"), worker("two")]);
    for app in ["one", "two"] {
        let run = world.run(app);
        world.rescript(run, |script| script.obeys = Some(secs(2)));
    }
    world.stop_soon("one");
    world.restart_soon("two");
    world.advance(secs(1));
    world.kill_supervisor();
    assert_eq!((world.status("one"), world.status("two")), (Status::Stopping, Status::Stopping));
    world.advance(secs(20));
    assert_eq!((world.status("one"), world.status("two")), (Status::Stopped, Status::Online));
    assert_eq!((world.living("one"), world.living("two"), world.kills.len()), (0, 1, 0));
    assert_eq!(world.said("two", EventKind::Adopted).len(), 1);
}

#[test]
fn a_restart_that_waits_for_dependents_is_not_forgotten() {
    let mut world = World::up([worker("db"), worker("api").with(|app| app.depends_on = vec!["db".to_owned()])]);
    let (db, api) = (world.run("db"), world.run("api"));
    world.rescript(api, |script| script.obeys = Some(secs(3)));
    let anew = |name: &str| worker(name).with(|app| app.command = vec!["anew".to_owned()]);
    world.apply([anew("db"), anew("api").with(|app| app.depends_on = vec!["db".to_owned()])]);
    world.advance(secs(1));
    assert_eq!((world.status("db"), world.status("api")), (Status::Online, Status::Stopping));
    world.kill_supervisor();
    assert_eq!((world.run("db"), world.run("api")), (db, api));
    world.advance(secs(20));
    assert_eq!((world.status("db"), world.status("api")), (Status::Online, Status::Online));
    assert!(world.run("db") != db && world.spawns.iter().skip(2).all(|spawn| spawn.command == ["anew"]));
    assert_eq!(world.kills, []);
}

#[test]
fn what_runs_by_another_configuration_than_what_was_applied_goes_over_to_it() {
    let mut world = World::up([proxied("web", 3000)]);
    let old = world.run("web");
    world.made_by_another(old);
    world.kill_supervisor();
    assert_eq!(world.active("web"), [old]);
    world.advance(secs(200));
    assert_ne!(world.active("web"), [old]);
    assert_eq!((world.living("web"), world.app("web").swaps, world.gaps.len()), (1, 1, 0));
}

#[test]
fn errors_that_were_there_before_flip_nothing_back() {
    let mut world = World::up([released("web", 3000)]);
    let old = world.run("web");
    world.answers(old, 400, 100);
    world.activate("web", release("2"));
    world.until("the swap", |world| world.app("web").slot == Slot::Green);
    let new = world.run("web");
    world.answers(new, 400, 100);
    world.kill_supervisor();
    world.answers(old, 400, 100);
    world.answers(new, 440, 110);
    world.advance(secs(1));
    world.answers(new, 480, 120);
    assert_eq!((world.active("web"), world.app("web").slot), (vec![new], Slot::Green));
}
