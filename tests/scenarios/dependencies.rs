//! `depends_on`: up in order, down in the reverse order.

use crate::configs::{With, config, job, ms, secs, web, worker};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{EventKind, Status};
use infissi::config::{AppConfig, Autorestart};
use infissi::supervisor::Request;

fn depending(app: AppConfig, on: &[&str]) -> AppConfig {
    app.with(|app| app.depends_on = on.iter().map(|name| (*name).to_owned()).collect())
}

/// Listed neither in the order in which they start nor in that in which they stop.
fn stack() -> [AppConfig; 3] {
    [depending(web("api", 4000), &["db"]), worker("db"), depending(web("front", 3000), &["api"])]
}

fn all() -> Vec<String> {
    vec!["api".to_owned(), "db".to_owned(), "front".to_owned()]
}

fn stop_order(world: &World) -> Vec<&str> {
    world.stops.iter().map(|(_, app)| app.as_str()).collect()
}

fn spawn_order(world: &World) -> Vec<&str> {
    world.spawns.iter().map(|spawn| spawn.app.as_str()).collect()
}

#[test]
fn an_app_starts_when_what_it_needs_is_ready() {
    let mut world = World::of(stack());
    world.advance(ms(500));
    assert_eq!(spawn_order(&world), ["db"]);
    assert_eq!(world.status("api"), Status::Waiting);
    assert_eq!(world.reason("api"), "waits for db to be ready");
    world.until("all online", |world| world.status("front") == Status::Online);
    assert_eq!(spawn_order(&world), ["db", "api", "front"]);
    assert_eq!(world.said("front", EventKind::Waiting).len(), 1, "told once");
}

#[test]
fn a_start_takes_along_what_it_needs() {
    let mut world = World::of(stack().map(|app| app.with(|app| app.autostart = false)));
    let start = world.start("front");
    world.done(start);
    assert_eq!(spawn_order(&world), ["db", "api", "front"]);
    assert!(world.saves.last().unwrap().values().all(|kept| kept.desired));
}

#[test]
fn a_start_revives_what_it_needs_and_what_gave_up() {
    let apps = || stack().map(|app| app.with(|app| app.max_restarts = 1));
    let mut world = World::of(apps());
    world.script("db", [Script::crashes(ms(10), code(1))]);
    world.advance(secs(10));
    assert_eq!((world.status("db"), world.status("front")), (Status::Errored, Status::Waiting));
    world.script("db", [Script::good()]);
    let start = world.start("front");
    world.done(start);
}

#[test]
fn stopping_all_ends_dependents_first() {
    let mut world = World::up(stack());
    let stop = world.ask("bob", Request::Stop { apps: all(), wait: true });
    let results = world.results(stop);
    assert!(results.iter().all(|result| result.error.is_none()));
    assert_eq!(stop_order(&world), ["front", "api", "db"]);
}

#[test]
fn restarting_all_goes_down_and_up_in_order() {
    let mut world = World::up(stack());
    let restart = world.ask("cyd", Request::Restart { apps: all(), wait: true, hard: false });
    assert!(world.results(restart).iter().all(|result| result.error.is_none()));
    assert_eq!(stop_order(&world), ["front", "api", "db"]);
    assert_eq!(spawn_order(&world)[3..], ["db", "api", "front"]);
}

#[test]
fn a_shutdown_ends_dependents_first() {
    let mut world = World::up(stack());
    world.shutdown();
    world.until("its end", |world| world.exits == 1);
    assert_eq!(stop_order(&world), ["front", "api", "db"]);
}

#[test]
fn stopping_what_others_need_leaves_them_running() {
    let mut world = World::up(stack());
    let stop = world.stop("db");
    world.done(stop);
    assert_eq!(world.status("api"), Status::Online);
    world.advance(secs(20));
    world.crash("api", code(1));
    world.advance(secs(1));
    assert_eq!((world.status("api"), world.reason("api").as_str()), (Status::Waiting, "waits for db to be ready"));
}

#[test]
fn what_is_needed_by_something_that_ends_slowly_is_still_probed_and_nothing_spins() {
    let mut apps = stack();
    apps[0] = depending(crate::configs::probed("api", 4000), &["db"]);
    let mut world = World::of(apps);
    world.script("front", [Script::stubborn()]);
    world.advance(secs(3));
    let stop = world.ask("bob", Request::Stop { apps: all(), wait: true });
    world.advance(secs(10));
    assert_eq!(world.status("api"), Status::Stopping);
    world.results(stop);
    assert_eq!(stop_order(&world), ["front", "api", "db"]);
}

#[test]
fn who_waits_for_an_app_whose_dependency_does_not_come_is_told() {
    let mut world = World::of(stack().map(|app| app.with(|app| app.autostart = false)));
    world.script("db", [Script::refused("no such command")]);
    let start = world.start("front");
    let failure = world.failure(start);
    assert_eq!(failure.message, "front is not up yet: it waits for api to be ready");
    world.script("db", [Script::good()]);
    world.until("front online", |world| world.status("front") == Status::Online);
}

#[test]
fn what_had_a_thing_to_do_and_has_done_it_is_enough_for_who_depends_on_it() {
    let once = |name| worker(name).with(|app| app.autorestart = Autorestart::OnFailure);
    let mut world = World::of([depending(web("front", 3000), &["migrate"]), once("migrate")]);
    world.script("migrate", [Script::crashes(ms(300), code(0))]);
    world.until("front online", |world| world.status("front") == Status::Online);
    assert_eq!((world.status("migrate"), spawn_order(&world)), (Status::Stopped, vec!["migrate", "front"]));
}

#[test]
fn an_armed_job_counts_as_ready() {
    let mut world = World::of([depending(web("front", 3000), &["backup"]), job("backup", "0 2 * * *")]);
    world.until("front online", |world| world.status("front") == Status::Online);
    assert_eq!(spawn_order(&world), ["front"]);
}

#[test]
fn a_dependency_that_joins_later_is_heeded_from_then_on() {
    let mut world = World::up([web("front", 3000)]);
    world.ask(
        "dee",
        Request::Apply { config: config([depending(web("front", 3000), &["db"]), worker("db")]), wait: true },
    );
    assert_eq!(world.status("front"), Status::Online);
    let stop = world.ask("bob", Request::Stop { apps: vec!["db".into(), "front".into()], wait: true });
    world.results(stop);
    assert_eq!(stop_order(&world), ["front", "db"]);
}

#[test]
fn what_crashes_while_it_waits_for_its_turn_to_be_restarted_is_restarted_all_the_same() {
    let mut world = World::of(stack());
    world.script("front", [Script { obeys: Some(secs(5)), ..Script::good() }, Script::good()]);
    world.advance(secs(5));
    let restart = world.ask("cyd", Request::Restart { apps: all(), wait: true, hard: false });
    world.advance(secs(1));
    world.crash("db", code(1));
    assert!(world.results(restart).iter().all(|result| result.error.is_none()));
    assert_eq!(world.app("db").restarts, 0, "it was to be a new one anyway");
}
