//! `release_of`: a worker runs from another app's active release, and goes where that one goes.

use crate::configs::{With, config, following, job, kept, ms, release, release_in, released, secs, stop_first, worker};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{EventKind, ExitReason, Plan, PlanAction, RefusalCode, Slot, Status};
use infissi::config::AppConfig;
use infissi::supervisor::{Kept, Release, RequestId};
use std::collections::BTreeMap;
use std::path::Path;

fn apps() -> [AppConfig; 2] {
    [following("queue", "current"), released("current", 3000)]
}

/// Release 1 of `current` is active, its worker up.
fn up_with(apps: impl IntoIterator<Item = AppConfig>) -> World {
    let mut world = World::up(apps);
    let id = world.activate("current", release("1"));
    world.until("release 1", |world| world.app("current").release.as_deref() == Some("1"));
    world.advance(secs(70));
    world.done(id);
    world
}

fn up() -> World {
    up_with(apps())
}

/// Release 2 has just got the traffic, and release 1 is warm.
fn swapped() -> (World, RequestId) {
    let mut world = up();
    let id = world.activate("current", release("2"));
    world.until("the swap", |world| world.app("current").release.as_deref() == Some("2"));
    (world, id)
}

/// What each process of the worker was started from.
fn releases_of(world: &World, app: &str) -> Vec<String> {
    let spawns = world.spawns.iter().filter(|spawn| spawn.app == app);
    spawns.map(|spawn| spawn.release.clone().unwrap_or_default()).collect()
}

fn last_exit(world: &World, app: &str) -> ExitReason {
    world.app(app).last_exit.unwrap().reason
}

#[test]
fn a_worker_follows_a_swap_at_once_and_is_stopped_before_it_is_started() {
    let (mut world, _) = swapped();
    assert_eq!(world.status("queue"), Status::Stopping);
    let (at, _) = *world.stops.last().unwrap();
    assert_eq!(at, world.mono, "while the old slot is warm, not after it");
    world.advance(secs(3));
    assert_eq!(releases_of(&world, "queue"), ["1", "2"]);
    assert_eq!((world.status("queue"), world.living("queue")), (Status::Online, 1));
    assert_eq!(world.app("queue").release.as_deref(), Some("2"));
    assert_eq!((last_exit(&world, "queue"), world.app("queue").restarts), (ExitReason::Deploy, 0));
    assert_eq!(
        world.said("queue", EventKind::Requested),
        ["follows current to release 1", "follows current to release 2"]
    );
}

#[test]
fn it_goes_back_with_a_swap_back_and_with_a_flip_back() {
    let (mut world, _) = swapped();
    world.advance(secs(3));
    let back = world.swap("current");
    world.done(back);
    world.advance(secs(3));
    let forth = world.swap("current");
    world.done(forth);
    world.advance(secs(3));
    world.crash("current", code(1));
    assert_eq!((world.app("current").slot, world.status("queue")), (Slot::Green, Status::Stopping));
    world.advance(secs(3));
    assert_eq!(releases_of(&world, "queue"), ["1", "2", "1", "2", "1"]);
    assert_eq!((world.status("queue"), world.app("queue").restarts), (Status::Online, 0));
}

#[test]
fn what_is_taken_back_before_the_worker_has_ended_is_gone_back_to_all_the_same() {
    let mut world = up();
    let run = world.run("queue");
    world.rescript(run, |script| script.obeys = Some(secs(5)));
    world.activate("current", release("2"));
    world.until("the swap", |world| world.app("current").release.as_deref() == Some("2"));
    world.crash("current", code(1));
    world.advance(secs(10));
    assert_eq!(releases_of(&world, "queue"), ["1", "1"]);
    assert_eq!(world.status("queue"), Status::Online);
}

#[test]
fn a_staged_release_is_followed_when_it_is_swapped_to_and_a_restart_of_the_leader_is_not() {
    let mut world = up();
    let stage = world.stage("current", release("2"));
    world.done(stage);
    let restart = world.restart("current");
    world.done(restart);
    let stage = world.stage("current", release("2"));
    world.done(stage);
    assert_eq!(releases_of(&world, "queue"), ["1"]);
    let swap = world.swap("current");
    world.done(swap);
    world.advance(secs(3));
    assert_eq!(releases_of(&world, "queue"), ["1", "2"]);
}

#[test]
fn without_a_release_it_waits_and_says_so_and_starts_with_the_first_one() {
    let mut world = World::up(apps());
    assert_eq!((world.status("queue"), world.living("queue")), (Status::Waiting, 0));
    assert_eq!(world.reason("queue"), "current has no release yet");
    let at = world.mono;
    let start = world.start("queue");
    let refusal = world.failure(start);
    assert_eq!(refusal.message, "queue is not up yet: current has no release yet");
    assert_eq!(refusal.hint.unwrap(), "infissi-ctl deploy current: queue starts with it");
    assert_eq!(world.mono, at, "nobody waits for somebody who has to deploy first");
    world.advance(secs(1000));
    assert_eq!(world.said("queue", EventKind::Waiting).len(), 1);
    world.activate("current", release("1"));
    world.advance(secs(5));
    assert_eq!(releases_of(&world, "queue"), ["1"]);
    assert_eq!((world.status("queue"), world.app("queue").release.as_deref()), (Status::Online, Some("1")));
}

#[test]
fn a_first_release_that_fails_where_nobody_served_is_left_again() {
    let mut world = World::of(apps());
    world.script("current", [Script::refused("no such directory")]);
    world.advance(secs(3));
    let stop = world.stop("current");
    world.done(stop);
    world.script("current", [Script { ready: None, ..Script::crashes(secs(2), code(1)) }]);
    let id = world.activate("current", release("1"));
    world.advance(secs(1));
    assert_eq!((world.living("queue"), world.app("queue").release.as_deref()), (1, Some("1")));
    world.failure(id);
    world.advance(secs(1));
    assert_eq!((world.status("queue"), world.living("queue")), (Status::Waiting, 0), "{}", world.story());
    let said = world.said("queue", EventKind::Requested);
    assert_eq!(said.last(), Some(&"follows current, which has no release any more"));
}

#[test]
fn it_goes_back_with_a_release_that_had_to_stop_its_leader_and_failed() {
    let deploy = released("current", 3000).deploy;
    let once = stop_first("current", 3000).with(|app| app.deploy = deploy);
    let mut world = up_with([following("queue", "current"), once]);
    world.script("current", [Script::never_ready(), Script::good()]);
    let id = world.activate("current", release("2"));
    world.advance(secs(30));
    assert_eq!(world.app("queue").release.as_deref(), Some("2"));
    world.failure(id);
    world.advance(secs(3));
    assert_eq!(releases_of(&world, "queue"), ["1", "2", "1"]);
    assert_eq!((world.status("queue"), world.app("queue").restarts), (Status::Online, 0));
}

#[test]
fn a_stopped_one_is_left_alone_and_has_the_new_release_when_it_is_started() {
    let mut world = up();
    let stop = world.stop("queue");
    world.done(stop);
    world.activate("current", release("2"));
    world.advance(secs(70));
    assert_eq!((world.living("queue"), releases_of(&world, "queue").len()), (0, 1));
    assert_eq!(world.said("queue", EventKind::Requested).len(), 2, "the first start and the stop: {}", world.story());
    let start = world.start("queue");
    world.done(start);
    assert_eq!(releases_of(&world, "queue"), ["1", "2"]);
}

#[test]
fn one_whose_new_code_crashes_backs_off_and_the_next_release_is_tried_at_once() {
    let mut world = up();
    world.script("queue", [Script::crashes(ms(10), code(1))]);
    world.activate("current", release("2"));
    world.advance(secs(30));
    assert_eq!((world.status("queue"), last_exit(&world, "queue")), (Status::Backoff, ExitReason::Exit));
    assert!(world.app("queue").restarts > 3, "those are unplanned");
    world.script("queue", [Script::good()]);
    let back = world.swap("current");
    world.done(back);
    world.advance(ms(10));
    assert_eq!((world.status("queue"), releases_of(&world, "queue").last().unwrap().as_str()), (Status::Starting, "1"));
}

#[test]
fn all_its_instances_follow() {
    let mut world = up_with([following("queue", "current").with(|app| app.instances = 3), released("current", 3000)]);
    world.activate("current", release("2"));
    world.advance(secs(10));
    assert_eq!(releases_of(&world, "queue"), ["1", "1", "1", "2", "2", "2"]);
    assert_eq!(world.living("queue"), 3);
}

#[test]
fn after_a_restart_of_the_supervisor_it_runs_from_what_its_leader_runs_from() {
    let (world, _) = swapped();
    let state = world.saves.last().unwrap().clone();
    assert_eq!((state["current"].release.clone(), state["queue"].release.clone()), (Some(release("2")), None));
    let mut next = World::unborn(config(apps()), &state, "2026-06-01T12:00:00Z");
    next.tell(infissi::supervisor::Event::Began);
    next.advance(secs(5));
    assert_eq!(releases_of(&next, "queue"), ["2"]);
    assert_eq!((next.status("queue"), next.said("queue", EventKind::Requested)), (Status::Online, vec![]));
}

#[test]
fn a_release_that_an_earlier_supervisor_kept_for_it_is_not_believed() {
    let mut state = BTreeMap::from([("queue".to_owned(), Kept { release: Some(release("old")), ..kept(true) })]);
    state.insert("current".to_owned(), Kept { release: Some(release("1")), ..kept(true) });
    let mut world = World::unborn(config(apps()), &state, "2026-06-01T12:00:00Z");
    world.tell(infissi::supervisor::Event::Began);
    world.advance(secs(5));
    assert_eq!(releases_of(&world, "queue"), ["1"]);
}

#[test]
fn a_run_of_a_job_is_let_finish_and_the_next_one_has_the_release_that_is_live_then() {
    let nightly = job("report", "*/10 * * * *").with(|app| app.release_of = following("x", "current").release_of);
    let mut world = up_with([nightly, released("current", 3000)]);
    world.script("report", [Script::crashes(secs(300), code(0)), Script::good()]);
    let run = world.restart("report");
    world.done(run);
    world.activate("current", release_in("current", "2"));
    world.advance(secs(100));
    assert_eq!((world.living("report"), world.app("report").release.as_deref()), (1, Some("1")));
    assert_eq!(world.app("current").release.as_deref(), Some("2"));
    world.advance(secs(200));
    assert_eq!((world.living("report"), last_exit(&world, "report")), (0, ExitReason::Exit));
    world.until("its next time", |world| world.living("report") == 1);
    assert_eq!(releases_of(&world, "report"), ["1", "2"]);
}

#[test]
fn a_release_is_in_use_until_the_last_process_that_runs_from_it_is_gone() {
    let nightly = job("report", "0 4 * * *").with(|app| app.release_of = following("x", "current").release_of);
    let mut world = World::up([following("queue", "current"), nightly, released("current", 3000)]);
    let used = |world: &World| world.core.releases_in_use(Path::new("/srv/current/releases")).join(" ");
    world.activate("current", release_in("current", "1"));
    world.advance(secs(70));
    let run = world.restart("report");
    world.done(run);
    assert_eq!(used(&world), "1");
    let stubborn = world.run("queue");
    world.rescript(stubborn, |script| script.obeys = None);
    world.activate("current", release_in("current", "2"));
    world.until("the swap", |world| world.app("current").release.as_deref() == Some("2"));
    let job = world.run("report");
    world.crash_run(job, code(0));
    let slot = world.other_run("current");
    world.crash_run(slot, code(1));
    world.advance(secs(5));
    assert_eq!(world.core.runs("current").len(), 1, "{}", world.story());
    assert_eq!(used(&world), "1 2", "it has its kill_timeout, and the release is needed so long");
    world.advance(secs(15));
    assert_eq!(used(&world), "2");
    assert_eq!(world.core.releases_in_use(Path::new("/srv/other/releases")), [""; 0]);
}

#[test]
fn a_release_is_in_use_from_when_a_process_is_about_to_run_from_it() {
    let nightly = job("report", "0 4 * * *").with(|app| app.release_of = following("x", "current").release_of);
    let mut world = World::up([nightly, released("current", 3000)]);
    let used = |world: &World| world.core.releases_in_use(Path::new("/srv/current/releases")).join(" ");
    world.activate("current", release_in("current", "1"));
    world.advance(secs(70));
    let stop = world.stop("current");
    world.done(stop);
    world.script("report", [Script { spawn_takes: secs(5), ..Script::good() }]);
    world.restart("report");
    world.advance(secs(1));
    assert_eq!((world.living("report"), used(&world).as_str()), (0, "1"));
}

#[test]
fn it_has_no_releases_that_could_be_swapped_or_activated() {
    let mut world = up();
    let asked = [world.swap("queue"), world.activate("queue", release("2")), world.stage("queue", release("2"))];
    for id in asked {
        let refusal = world.failure(id);
        assert_eq!(refusal.code, RefusalCode::Usage);
        assert_eq!(refusal.message, "queue runs from the live release of current and has none of its own");
        assert_eq!(refusal.hint.unwrap(), "name current instead: queue follows it");
    }
    world.advance(secs(100));
    assert_eq!((releases_of(&world, "queue"), world.status("queue")), (vec!["1".to_owned()], Status::Online));
}

fn step(plan: &Plan, app: &str) -> (PlanAction, Vec<String>) {
    let step = plan.steps.iter().find(|step| step.app == app).unwrap();
    (step.action, step.changed.clone())
}

fn two_leaders(more: AppConfig) -> [AppConfig; 3] {
    [more, released("current", 3000), released("other", 3001)]
}

/// The worker `queue` runs from release 1 of `current`; `other` has release 7.
fn up_with_two() -> World {
    let mut world = up_with(two_leaders(following("queue", "current")));
    let id = world.activate("other", release("7"));
    world.done(id);
    world
}

#[test]
fn an_apply_moves_it_to_another_leader() {
    let mut world = up_with_two();
    let id = world.apply(two_leaders(following("queue", "other")));
    let plan = world.plan(id);
    assert_eq!(step(&plan, "queue"), (PlanAction::Restart, vec!["release_of".to_owned()]));
    assert_eq!(releases_of(&world, "queue"), ["1", "7"]);
    assert_eq!((last_exit(&world, "queue"), world.status("queue")), (ExitReason::Restart, Status::Online));
    world.activate("current", release("2"));
    world.advance(secs(70));
    assert_eq!(releases_of(&world, "queue"), ["1", "7"], "it follows the one it was told to");
}

#[test]
fn an_apply_makes_it_an_app_without_releases_and_a_follower_again() {
    let mut world = up_with_two();
    let id = world.apply(two_leaders(worker("queue")));
    world.plan(id);
    let id = world.apply(two_leaders(following("queue", "current")));
    world.plan(id);
    assert_eq!(releases_of(&world, "queue"), ["1", "", "1"]);
    let stop = world.stop("queue");
    world.done(stop);
    world.apply(two_leaders(worker("queue")));
    let start = world.start("queue");
    world.done(start);
    assert_eq!(releases_of(&world, "queue"), ["1", "", "1", ""], "nor is any left from before it was stopped");
}

#[test]
fn one_that_gets_releases_of_its_own_does_not_take_its_leaders_along() {
    let mut world = up_with_two();
    let id = world.apply(two_leaders(released("queue", 3002)));
    world.results(id);
    assert_eq!(releases_of(&world, "queue"), ["1", ""]);
    assert_eq!(world.app("queue").release, None);
    assert!(world.saves.iter().all(|saved| saved["queue"].release.is_none()));
    let id = world.activate("queue", release("q1"));
    world.done(id);
    let id = world.apply(two_leaders(following("queue", "other")));
    world.results(id);
    assert_eq!(releases_of(&world, "queue"), ["1", "", "q1", "7"]);
}

#[test]
fn one_that_does_not_come_up_as_an_app_of_its_own_goes_on_as_it_was() {
    let mut world = up_with_two();
    world.script("queue", [Script::never_ready()]);
    let id = world.apply(two_leaders(released("queue", 3002)));
    world.failure(id);
    world.advance(secs(3));
    assert_eq!((releases_of(&world, "queue"), world.living("queue")), (vec!["1".to_owned(), String::new()], 1));
    world.script("queue", [Script::good()]);
    let found: Vec<Release> = world.core.release("queue").cloned().into_iter().collect();
    assert_eq!(found, [release("1")], "what it is started from should it crash now");
    assert!(world.saves.iter().all(|saved| saved["queue"].release.is_none()));
}
