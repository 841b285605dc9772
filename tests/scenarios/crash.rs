//! Unplanned ends: restart, backoff, giving up, memory.

use crate::configs::{MIB, With, ms, secs, web, worker};
use crate::script::{Script, code, killed_by};
use crate::world::World;
use infissi::api::{EventKind, ExitReason, Status};
use infissi::config::Autorestart;
use infissi::supervisor::{Event, LeaderExit, Request, RunId};
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;

/// The times between an end and the next spawn, of a worker that lives so long each time.
fn delays(world: &World, life: Duration) -> Vec<Duration> {
    world.spawns.windows(2).map(|pair| pair[1].at - pair[0].at - life - ms(1)).collect()
}

#[test]
fn the_first_crash_after_a_healthy_spell_is_mended_at_once() {
    let mut world = World::up([web("current", 3000)]);
    let before = world.run("current");
    world.advance(secs(20));
    let crashed = world.mono;
    world.crash("current", killed_by("SIGKILL"));
    world.until("a new process", |world| world.core.runs("current").first().is_some_and(|(_, run)| *run != before));
    assert_eq!(world.mono - crashed, ms(1));
    assert_eq!(world.app("current").restarts, 1);
    let exit = world.app("current").last_exit.unwrap();
    assert_eq!((exit.reason, exit.signal.as_deref(), exit.code), (ExitReason::Signal, Some("SIGKILL"), None));
}

#[test]
fn later_crashes_wait_twice_as_long_each_time_up_to_the_maximum() {
    let mut world = World::of([worker("queue").with(|app| app.backoff.max = secs(2))]);
    world.script("queue", [Script::crashes(ms(200), code(1))]);
    world.until("many crashes", |world| world.spawns.len() == 9);
    let expected = [100, 200, 400, 800, 1600, 2000, 2000, 2000].map(ms);
    assert_eq!(delays(&world, ms(200)), expected);
    assert_eq!(world.app("queue").restarts, 8);
}

#[test]
fn a_healthy_spell_ends_the_backoff() {
    let mut world = World::of([worker("queue")]);
    let short = Script::crashes(ms(200), code(1));
    let long = Script::crashes(secs(11), code(1));
    world.script("queue", [short.clone(), short.clone(), long, short.clone(), short.clone(), short]);
    world.until("six spawns", |world| world.spawns.len() == 6);
    let gaps: Vec<_> = world.spawns.windows(2).map(|pair| pair[1].at - pair[0].at - ms(1)).collect();
    assert_eq!(gaps, [ms(300), ms(400), secs(11), ms(300), ms(400)]);
}

#[test]
fn backoff_shows_why_and_when_it_goes_on() {
    let mut world = World::of([worker("queue")]);
    world.script("queue", [Script::crashes(ms(200), code(7))]);
    world.until("backoff", |world| world.status("queue") == Status::Backoff);
    assert_eq!(world.reason("queue"), "exited with code 7; starts again after 100 ms");
    let next = world.app("queue").next_at.unwrap();
    assert_eq!(next.duration_since(world.wall).as_millis(), 100);
    assert_eq!(world.said("queue", EventKind::Exited), ["exited with code 7"]);
}

#[test]
fn after_max_restarts_it_gives_up_until_it_is_reset() {
    let mut world = World::of([worker("queue").with(|app| app.max_restarts = 3)]);
    world.script("queue", [Script::crashes(ms(200), code(1))]);
    world.advance(secs(60));
    assert_eq!(world.spawns.len(), 4);
    assert_eq!(world.status("queue"), Status::Errored);
    assert_eq!(world.reason("queue"), "gave up after 3 restarts in a row; the last time it exited with code 1");
    assert_eq!(world.app("queue").next_at, None);
    world.script("queue", [Script::good()]);
    let reset = world.ask("ann", Request::Reset { apps: vec!["queue".into()] });
    assert_eq!(world.done(reset), "counters and backoff are reset");
    world.until("online", |world| world.status("queue") == Status::Online);
    assert_eq!(world.app("queue").restarts, 0);
}

#[test]
fn a_reset_does_not_start_what_is_stopped_or_done() {
    let mut world = World::of([
        worker("stopped").with(|app| app.autostart = false),
        worker("done").with(|app| app.autorestart = Autorestart::OnFailure),
    ]);
    world.script("done", [Script::crashes(secs(2), code(0))]);
    world.advance(secs(5));
    world.ask("ann", Request::Reset { apps: vec!["stopped".into(), "done".into()] });
    world.advance(secs(5));
    assert_eq!(world.spawns.len(), 1);
}

#[test]
fn autorestart_decides_what_an_exit_means() {
    let on_failure = || worker("queue").with(|app| app.autorestart = Autorestart::OnFailure);
    let never = || worker("queue").with(|app| app.autorestart = Autorestart::Never);
    let stop_codes = || worker("queue").with(|app| app.stop_exit_codes = vec![3]);
    let table = [
        (worker("queue"), code(0), true, Status::Online),
        (worker("queue"), code(1), true, Status::Online),
        (on_failure(), code(0), false, Status::Stopped),
        (on_failure(), code(1), true, Status::Online),
        (on_failure(), killed_by("SIGSEGV"), true, Status::Online),
        (on_failure(), LeaderExit { code: None, signal: None, oom: false }, true, Status::Online),
        (never(), code(0), false, Status::Stopped),
        (never(), code(1), false, Status::Errored),
        (stop_codes(), code(3), false, Status::Stopped),
        (stop_codes(), code(0), true, Status::Online),
    ];
    for (app, exit, again, status) in table {
        let case = format!("{:?} {:?} {exit}", app.autorestart, app.stop_exit_codes);
        let mut world = World::of([app]);
        world.script("queue", [Script::crashes(secs(20), exit), Script::good()]);
        world.advance(secs(30));
        assert_eq!(world.spawns.len() == 2, again, "{case}");
        assert_eq!(world.status("queue"), status, "{case}");
        assert_eq!(world.app("queue").restarts, u64::from(again), "{case}");
    }
}

#[test]
fn with_autorestart_off_a_failure_shows_its_reason() {
    let mut world = World::of([worker("queue").with(|app| app.autorestart = Autorestart::Never)]);
    world.script("queue", [Script::crashes(secs(20), code(1))]);
    world.advance(secs(30));
    assert_eq!(world.reason("queue"), "exited with code 1, and autorestart is off");
}

#[test]
fn leftovers_of_a_dead_leader_end_before_it_runs_again() {
    let mut world = World::up([worker("queue")]);
    world.script("queue", [Script { leftovers: Some(None), ..Script::good() }, Script::good()]);
    let restart = world.restart("queue");
    world.done(restart);
    world.advance(secs(20));
    world.crash("queue", code(1));
    world.advance(secs(14));
    assert_eq!((world.spawns.len(), world.status("queue")), (2, Status::Stopping), "they ignore TERM");
    assert_eq!(world.reason("queue"), "its leader ended; what it left running is being ended");
    world.advance(secs(2));
    assert_eq!((world.spawns.len(), world.kills.len()), (3, 1));
}

#[test]
fn a_request_that_waits_for_a_crashing_app_fails_with_the_reason() {
    let mut world = World::of([web("current", 3000).with(|app| app.autostart = false)]);
    world.script("current", [Script::crashes(ms(100), code(1))]);
    let start = world.start("current");
    let failure = world.failure(start);
    assert_eq!(failure.message, "current is not up: it exited with code 1");
    assert_eq!(failure.hint.as_deref(), Some("infissi-ctl show current"));
}

#[test]
fn an_app_over_its_memory_limit_is_replaced() {
    let mut world = World::of([web("current", 3000).with(|app| app.max_memory_restart = Some(300 * MIB))]);
    world.script("current", [Script { leaks: 10 * MIB, ..Script::good() }, Script::good()]);
    world.until("a second process", |world| world.spawns.len() == 2);
    let exit = world.app("current").last_exit.unwrap();
    assert_eq!(exit.reason, ExitReason::Memory);
    assert_eq!(exit.detail.as_deref(), Some("used 310M, over its limit of 300M"));
    assert_eq!(world.said("current", EventKind::Breach), ["used 310M, over its limit of 300M"]);
    assert_eq!(world.app("current").restarts, 1);
    world.advance(secs(60));
    assert_eq!(world.spawns.len(), 2);
}

#[test]
fn exactly_the_limit_is_no_breach() {
    let mut world = World::up([web("current", 3000).with(|app| app.max_memory_restart = Some(300 * MIB))]);
    world.sample("current", 300 * MIB);
    assert_eq!(world.status("current"), Status::Online);
    world.sample("current", 300 * MIB + 1);
    assert_eq!(world.status("current"), Status::Stopping);
    world.sample("current", 900 * MIB);
    assert_eq!(world.said("current", EventKind::Breach).len(), 1, "a breach is told once");
}

#[test]
fn a_sample_of_an_old_run_says_nothing_about_the_new_one() {
    let mut world = World::up([web("current", 3000).with(|app| app.max_memory_restart = Some(300 * MIB))]);
    let old = world.run("current");
    let restart = world.restart("current");
    world.done(restart);
    world.tell(Event::MemorySampled { run: old, bytes: 900 * MIB, available: u64::MAX });
    world.tell(Event::Probed { run: old, outcome: Err("late".into()) });
    world.tell(Event::Exited { run: old, exit: code(1) });
    world.tell(Event::TreeEmpty { run: old });
    assert_eq!(world.status("current"), Status::Online);
    assert_eq!(world.app("current").restarts, 0);
}

#[test]
fn the_kernels_oom_kill_is_named() {
    let mut world = World::up([web("current", 3000)]);
    world.advance(secs(20));
    world.crash("current", LeaderExit { code: None, signal: Some("SIGKILL".into()), oom: true });
    world.advance(secs(1));
    assert_eq!(world.app("current").last_exit.unwrap().reason, ExitReason::Oom);
}

#[test]
fn an_instance_tells_its_own_reason_when_two_crash_together() {
    let mut world = World::of([worker("queue").with(|app| app.instances = 2)]);
    let slow = Script { leftovers: Some(Some(secs(1))), ..Script::crashes(ms(500), code(3)) };
    world.script("queue", [slow, Script::crashes(ms(700), code(4)), Script::good()]);
    world.advance(ms(750));
    world.until("both in backoff or back", |world| world.said("queue", EventKind::Backoff).len() == 2);
    let told = world.said("queue", EventKind::Backoff);
    assert_eq!(told[0], "exited with code 4; starts again after 100 ms");
    assert_eq!(told[1], "exited with code 3; starts again after 100 ms");
}

#[test]
fn a_process_that_the_core_does_not_know_is_killed() {
    let mut world = World::up([worker("queue")]);
    world.tell(Event::Spawned { run: RunId(99), pid: 1234 });
    assert_eq!(world.kills.last().unwrap().1, RunId(99));
}

#[test]
fn a_start_while_a_crashed_tree_still_ends_is_heeded() {
    for start in [true, false] {
        let mut world = World::of([worker("queue").with(|app| app.autorestart = Autorestart::Never)]);
        world.script("queue", [Script { leftovers: Some(None), ..Script::good() }, Script::good()]);
        world.advance(secs(3));
        world.crash("queue", code(1));
        let asked = if start { world.start("queue") } else { world.restart("queue") };
        world.done(asked);
        assert_eq!((world.status("queue"), world.spawns.len()), (Status::Online, 2));
    }
}

#[test]
fn the_first_word_on_how_it_ended_counts() {
    let mut world = World::of([worker("queue")]);
    world.script("queue", [Script { leftovers: Some(Some(secs(1))), ..Script::good() }]);
    world.advance(secs(3));
    let run = world.run("queue");
    world.crash("queue", code(7));
    world.tell(Event::Exited { run, exit: LeaderExit::UNKNOWN });
    world.advance(secs(2));
    assert_eq!(world.app("queue").last_exit.unwrap().code, Some(7));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn crashes_never_come_faster_than_the_backoff_nor_slower_than_its_maximum(
        lives in vec(0..9000u64, 2..20),
        initial in 1..1000u64,
        max in 1000..20_000u64,
    ) {
        let (initial, max) = (ms(initial), ms(max));
        let mut world = World::of([worker("queue").with(|app| {
            app.backoff.initial = initial;
            app.backoff.max = max;
        })]);
        world.script("queue", lives.iter().map(|life| Script::crashes(ms(*life), code(1))));
        world.until("all lives", |world| world.spawns.len() == lives.len());
        let mut expected = initial;
        for (pair, life) in world.spawns.windows(2).zip(&lives) {
            let delay: Duration = pair[1].at - pair[0].at - ms(*life) - ms(1);
            prop_assert_eq!(delay, expected.min(max));
            expected = (expected * 2).min(max);
        }
    }
}
