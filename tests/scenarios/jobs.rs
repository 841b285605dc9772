//! Schedules: jobs and `cron_restart`, on calendars that jump.

use crate::configs::{With, cron, job, ms, secs, web, worker};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{EventKind, ExitReason, Health, Status};
use infissi::supervisor::{Event, Request};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn takes(span: Duration) -> Script {
    Script::crashes(span, code(0))
}

#[test]
fn a_job_runs_at_its_time_and_exit_0_is_done() {
    let mut world = World::at("2026-06-01T01:59:00Z", [job("backup", "0 2 * * *")]);
    world.script("backup", [takes(secs(30))]);
    world.advance(secs(0));
    assert_eq!(world.status("backup"), Status::Waiting);
    assert_eq!(world.app("backup").next_at.unwrap().to_string(), "2026-06-01T02:00:00Z");
    world.until("a run", |world| !world.spawns.is_empty());
    assert_eq!(world.wall.to_string(), "2026-06-01T02:00:00Z");
    world.advance(secs(60));
    let app = world.app("backup");
    assert_eq!((app.status, app.health, app.restarts), (Status::Waiting, Health::Healthy, 0));
    assert_eq!(app.next_at.unwrap().to_string(), "2026-06-02T02:00:00Z");
    world.advance(24 * HOUR);
    assert_eq!(world.spawns.len(), 2);
}

#[test]
fn a_failed_run_shows_until_a_good_one_and_is_not_restarted() {
    let mut world = World::at("2026-06-01T01:59:00Z", [job("backup", "*/10 * * * *")]);
    world.script("backup", [Script::crashes(secs(5), code(1)), takes(secs(5))]);
    world.advance(secs(120));
    assert_eq!((world.spawns.len(), world.app("backup").health), (1, Health::Unhealthy));
    assert_eq!(world.status("backup"), Status::Waiting);
    world.advance(secs(600));
    assert_eq!((world.spawns.len(), world.app("backup").health), (2, Health::Healthy));
}

#[test]
fn a_tick_while_it_still_runs_is_skipped_and_told() {
    let mut world = World::at("2026-06-01T01:59:00Z", [job("backup", "*/10 * * * *")]);
    world.script("backup", [takes(secs(25 * 60))]);
    world.advance(secs(40 * 60));
    assert_eq!(world.spawns.len(), 2);
    assert_eq!(world.said("backup", EventKind::Skipped).len(), 2);
}

#[test]
fn a_run_over_its_timeout_is_ended() {
    let mut world =
        World::at("2026-06-01T01:59:00Z", [job("backup", "0 2 * * *").with(|app| app.timeout = Some(2 * HOUR))]);
    world.script("backup", [Script { obeys_with: code(0), ..Script::good() }]);
    world.advance(3 * HOUR);
    let app = world.app("backup");
    let exit = app.last_exit.unwrap();
    assert_eq!(exit.reason, ExitReason::Unhealthy);
    assert_eq!(exit.detail.as_deref(), Some("ran longer than its timeout of 2 h"));
    assert_eq!((app.status, app.health), (Status::Waiting, Health::Unhealthy), "exit 0 after our signal is no success");
}

#[test]
fn a_restart_runs_a_job_now() {
    let mut world = World::of([job("backup", "0 2 * * *")]);
    let restart = world.restart("backup");
    assert_eq!(world.done(restart), "runs now, pid 4001");
    let again = world.restart("backup");
    assert_eq!(world.done(again), "runs now, pid 4002", "one that runs is ended first");
    assert_eq!(world.living("backup"), 1);
}

#[test]
fn a_start_arms_a_job_without_running_it() {
    let mut world = World::of([job("backup", "0 2 * * *").with(|app| app.autostart = false)]);
    world.advance(secs(0));
    assert_eq!(world.status("backup"), Status::Stopped);
    world.advance(20 * HOUR);
    assert!(world.spawns.is_empty());
    let start = world.start("backup");
    assert_eq!(world.done(start), "is armed; its next time is 2026-06-03T02:00:00Z");
    assert_eq!(world.status("backup"), Status::Waiting);
}

#[test]
fn a_job_that_was_stopped_before_it_could_run_does_not_run_when_it_is_armed_again() {
    let mut world =
        World::of([job("backup", "0 2 * * *").with(|app| app.depends_on = vec!["db".into()]), worker("db")]);
    world.restart("backup");
    world.stop("backup");
    world.advance(secs(10));
    world.start("backup");
    world.advance(secs(10));
    assert_eq!(world.spawns_of("backup").len(), 0);
}

#[test]
fn a_job_that_cannot_be_spawned_is_errored_and_tried_again() {
    let mut world = World::at("2026-06-01T01:59:00Z", [job("backup", "0 2 * * *")]);
    world.script("backup", [Script::refused("\"pg_dump\" is not in PATH")]);
    world.advance(secs(120));
    assert_eq!(world.status("backup"), Status::Errored);
    assert_eq!(world.app("backup").health, Health::Unhealthy);
    world.script("backup", [takes(secs(5))]);
    world.advance(secs(60));
    assert_eq!((world.status("backup"), world.app("backup").health), (Status::Waiting, Health::Healthy));
    world.advance(10 * HOUR);
    assert_eq!(world.app("backup").health, Health::Healthy);
}

#[test]
fn a_stopped_job_is_ended_and_stays_so() {
    let mut world = World::at("2026-06-01T01:59:00Z", [job("backup", "0 2 * * *")]);
    world.advance(secs(90));
    assert_eq!(world.status("backup"), Status::Online);
    let stop = world.stop("backup");
    world.done(stop);
    world.advance(48 * HOUR);
    assert_eq!((world.spawns.len(), world.status("backup")), (1, Status::Stopped));
    assert_eq!(world.app("backup").health, Health::Unknown, "it was not let finish");
}

#[test]
fn a_cron_restart_keeps_to_its_zone_when_the_clocks_go_forward() {
    // Kyiv goes from 03:00 to 04:00 on 29 March 2026: 04:00 is 02:00Z before and 01:00Z from then on.
    let app = web("current", 3000).with(|app| app.cron_restart = Some(cron("0 4 * * *", "Europe/Kyiv")));
    let mut world = World::at("2026-03-27T12:00:00Z", [app]);
    world.advance(3 * 24 * HOUR);
    assert_eq!(restarts(&world), ["2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"]);
    assert_eq!(world.app("current").restarts, 0);
    assert_eq!(world.app("current").last_exit.unwrap().reason, ExitReason::Restart);
}

#[test]
fn a_local_time_that_is_jumped_over_fires_right_after() {
    let app = web("current", 3000).with(|app| app.cron_restart = Some(cron("30 3 * * *", "Europe/Kyiv")));
    let mut world = World::at("2026-03-28T12:00:00Z", [app]);
    world.advance(2 * 24 * HOUR);
    let restarts = restarts(&world);
    assert_eq!(restarts.len(), 2, "{restarts:?}");
    assert!(restarts[0].starts_with("2026-03-29T01:"), "{restarts:?}");
    assert_eq!(restarts[1], "2026-03-30T00:30:00Z");
}

#[test]
fn a_local_time_that_comes_twice_fires_once() {
    // Kyiv goes from 04:00 back to 03:00 on 25 October 2026 at 01:00Z.
    let app = web("current", 3000).with(|app| app.cron_restart = Some(cron("30 3 * * *", "Europe/Kyiv")));
    let mut world = World::at("2026-10-24T12:00:00Z", [app]);
    world.advance(2 * 24 * HOUR);
    let restarts = restarts(&world);
    assert_eq!(restarts.len(), 2, "{restarts:?}");
    assert_eq!(restarts[1], "2026-10-26T01:30:00Z");
}

/// When it was spawned anew, to the second.
fn restarts(world: &World) -> Vec<String> {
    let at = |spawn: &crate::world::Spawned| {
        let ago = i64::try_from((world.mono - spawn.at).as_millis()).unwrap();
        let at = world.wall.checked_sub(jiff::SignedDuration::from_millis(ago)).unwrap();
        jiff::Timestamp::from_second(at.as_second()).unwrap().to_string()
    };
    world.spawns.iter().skip(1).map(at).collect()
}

#[test]
fn what_does_not_run_is_not_started_by_cron_restart() {
    let app = web("current", 3000).with(|app| {
        app.autostart = false;
        app.cron_restart = Some(cron("0 4 * * *", "UTC"));
    });
    let mut world = World::of([app]);
    world.advance(48 * HOUR);
    assert!(world.spawns.is_empty());
}

#[test]
fn a_time_that_the_calendar_jumps_over_is_made_up_once() {
    let mut world = World::at("2026-06-01T12:00:00Z", [job("backup", "0 * * * *")]);
    world.script("backup", [takes(secs(5))]);
    world.set_wall("2026-06-03T12:30:00Z");
    world.advance(secs(40));
    assert_eq!(world.spawns.len(), 1);
    assert_eq!(world.app("backup").next_at.unwrap().to_string(), "2026-06-03T13:00:00Z");
}

#[test]
fn a_calendar_that_was_set_back_does_not_silence_a_job() {
    let mut world = World::at("2036-06-01T12:00:00Z", [job("backup", "0 * * * *")]);
    world.script("backup", [takes(secs(5))]);
    world.advance(secs(60));
    world.set_wall("2026-06-01T12:30:00Z");
    world.advance(secs(31 * 60));
    assert_eq!(world.spawns.len(), 1);
}

#[test]
fn a_calendar_that_steps_back_a_little_does_not_run_a_job_twice() {
    let mut world = World::at("2026-06-01T12:59:50Z", [job("backup", "0 * * * *")]);
    world.script("backup", [takes(ms(100))]);
    world.advance(secs(11));
    world.set_wall("2026-06-01T12:59:59Z");
    world.tell(Event::Tick);
    world.advance(secs(120));
    assert_eq!(world.spawns.len(), 1);
}

#[test]
fn a_running_job_is_not_ended_by_an_apply() {
    let mut world = World::at("2026-06-01T01:59:00Z", [job("backup", "0 2 * * *")]);
    world.script("backup", [takes(secs(600))]);
    world.advance(secs(90));
    let apply = world.apply([job("backup", "0 2 * * *").with(|app| app.command = vec!["new".into()])]);
    assert_eq!(world.done(apply), "changed; its next run has it");
    world.advance(24 * HOUR + secs(600));
    assert_eq!(world.spawns.len(), 2);
    assert_eq!(world.spawns[1].command, ["new"]);
    assert!(world.stops.iter().all(|(at, _)| *at > world.spawns[0].at + secs(599)));
}

#[test]
fn a_schedule_given_or_taken_turns_a_service_into_a_job_and_back() {
    let mut world = World::up([worker("queue")]);
    let apply = world.apply([job("queue", "0 2 * * *")]);
    world.results(apply);
    world.advance(secs(5));
    assert_eq!((world.status("queue"), world.living("queue")), (Status::Waiting, 0));
    world.apply([worker("queue")]);
    world.advance(secs(5));
    assert_eq!((world.status("queue"), world.living("queue")), (Status::Online, 1));
}

#[test]
fn a_job_may_be_run_without_waiting_for_the_reply() {
    let mut world = World::of([job("backup", "0 2 * * *")]);
    let id = world.ask("ann", Request::Restart { apps: vec!["backup".into()], wait: false, hard: false });
    assert!(world.reply(id).is_some());
    world.advance(secs(1));
    assert_eq!(world.spawns.len(), 1);
}

#[test]
fn a_job_whose_port_is_held_while_it_is_looked_at_slowly_is_answered_and_nothing_spins() {
    let mut world = World::of([job("backup", "0 2 * * *").with(|app| app.port = Some(3000))]);
    world.hold_port(3000, "port 3000 is held by pid 77");
    world.script("backup", [Script { spawn_takes: secs(6), ..Script::good() }]);
    let restart = world.restart("backup");
    assert_eq!(world.failure(restart).message, "backup is not up yet: port 3000 is held by pid 77");
}

#[test]
fn a_new_schedule_counts_from_the_apply_on() {
    let mut world = World::of([job("backup", "0 2 * * *")]);
    let apply = world.apply([job("backup", "0 15 * * *")]);
    world.done(apply);
    assert_eq!(world.app("backup").next_at.unwrap().to_string(), "2026-06-01T15:00:00Z");
}
