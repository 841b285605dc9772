//! A changed app behind the proxy: it is rolled over, and what fails leaves the old slot as it was.

use crate::configs::{With, config, job, ms, proxied, release, released, secs, stop_first, worker};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{RefusalCode, Slot};
use infissi::config::AppConfig;
use infissi::supervisor::Request;

fn current() -> AppConfig {
    proxied("current", 3000)
}

fn up() -> World {
    World::up([current()])
}

#[test]
fn a_changed_app_is_rolled_over_by_an_apply() {
    let mut world = up();
    let id = world.apply([current().with(|app| app.command = vec!["node".into()])]);
    assert!(world.done(id).starts_with("restarted in"));
    assert_eq!((world.spawns[1].slot, world.spawns[1].command.as_slice()), (Slot::Green, &["node".to_owned()][..]));
    assert_eq!((world.gaps.len(), world.living("current")), (0, 1));
}

#[test]
fn an_apply_that_fails_keeps_the_old_slot_with_its_old_configuration() {
    let mut world = up();
    let old = world.run("current");
    world.script("current", [Script::crashes(ms(50), code(1)), Script::good()]);
    let id = world.apply([current().with(|app| app.command = vec!["broken".into()])]);
    let refusal = world.failure(id);
    assert_eq!(refusal.message, "current is not restarted: the new slot exited with code 1");
    world.advance(secs(40));
    assert_eq!(world.active("current"), [old]);
    world.crash("current", code(1));
    world.advance(secs(2));
    assert_eq!(world.spawns[2].command, ["npm", "start"]);
    assert_eq!(world.spawns[2].slot, Slot::Blue);
}

#[test]
fn a_change_in_place_after_an_apply_that_failed_brings_the_old_slot_along() {
    let broken = || current().with(|app| app.command = vec!["broken".into()]);
    let mut world = up();
    let old = world.run("current");
    world.script("current", [Script::crashes(ms(50), code(1)), Script::crashes(ms(50), code(1)), Script::good()]);
    let id = world.apply([broken()]);
    world.failure(id);
    world.advance(secs(1));
    let id = world.apply([broken().with(|app| app.kill_timeout = secs(3))]);
    let refusal = world.failure(id);
    assert_eq!(refusal.message, "current is not restarted: the new slot exited with code 1");
    world.advance(secs(20));
    assert_eq!(world.active("current"), [old]);
    world.crash("current", code(1));
    world.advance(secs(2));
    let commands: Vec<_> = world.spawns.iter().map(|spawn| spawn.command[0].as_str()).collect();
    assert_eq!(commands, ["npm", "broken", "broken", "npm"], "what was changed in place is not mixed with what failed");
}

#[test]
fn an_app_that_is_stopped_and_started_after_an_apply_that_failed_has_what_was_applied() {
    let mut world = up();
    world.script("current", [Script::crashes(ms(50), code(1)), Script::good()]);
    let id = world.apply([current().with(|app| app.command = vec!["node".into()])]);
    world.failure(id);
    let stop = world.stop("current");
    world.done(stop);
    let start = world.start("current");
    world.done(start);
    assert_eq!(world.spawns[2].command, ["node"]);
}

#[test]
fn an_apply_while_an_app_that_it_would_roll_over_is_before_its_swap_is_refused_whole() {
    let changed = |command: &str| current().with(|app| app.command = vec![command.into()]);
    let mut world = World::up([current(), worker("queue"), worker("old")]);
    world.script("current", [Script::ready_after(secs(20)), Script::good()]);
    let restart = world.restart("current");
    world.advance(secs(5));
    let spawned = world.spawns.len();
    let apply = |queue: AppConfig| [changed("node"), queue, worker("new")];
    let more = || worker("queue").with(|app| app.kill_timeout = secs(3));
    let (plan, busy) = world.core.plan(&config(apply(more())), world.now());
    assert_eq!((plan.steps.len(), busy.unwrap().code), (4, RefusalCode::Busy), "a dry run tells it");
    let refused = world.apply(apply(more()));
    let refusal = world.refusal(refused);
    assert_eq!(
        (refusal.code, refusal.message.as_str()),
        (RefusalCode::Busy, "current is being rolled over (restart) by cyd, since 5 s")
    );
    assert!(refusal.hint.unwrap().starts_with("nothing was changed; "));
    world.advance(secs(1));
    let names: Vec<_> = world.core.config().apps.iter().map(|app| app.name.as_str()).collect();
    assert_eq!((names, world.spawns.len()), (vec!["current", "queue", "old"], spawned));
    assert!(world.done(restart).starts_with("restarted in"));
    let (_, busy) = world.core.plan(&config(apply(more())), world.now());
    assert_eq!(busy, None);
    let applied = world.apply(apply(more()));
    assert!(world.results(applied).iter().all(|result| result.error.is_none()));
    let of_app: Vec<_> = world.spawns.iter().filter(|spawn| spawn.app == "current").collect();
    assert_eq!((of_app[2].command.as_slice(), world.gaps.len()), (&["node".to_owned()][..], 0));
}

#[test]
fn while_an_app_is_before_its_swap_others_are_changed_and_it_in_place_and_it_may_go() {
    for (what, apps) in [
        ("another app", vec![current(), worker("queue").with(|app| app.command = vec!["node".into()])]),
        ("in place", vec![current().with(|app| app.kill_timeout = secs(3)), worker("queue")]),
        ("without it", vec![worker("queue")]),
    ] {
        let mut world = World::up([current(), worker("queue")]);
        world.script("current", [Script::ready_after(secs(20))]);
        let restart = world.restart("current");
        world.advance(secs(5));
        let apply = world.apply(apps);
        assert!(world.results(apply).iter().all(|result| result.error.is_none()), "{what}");
        assert_eq!(world.results(restart)[0].error.is_none(), what != "without it");
        assert_eq!(world.spawns.iter().filter(|spawn| spawn.app == "current").count(), 2, "{what}");
    }
}

#[test]
fn what_would_change_in_place_is_refused_while_what_an_apply_changed_before_rises() {
    let changed = || current().with(|app| app.command = vec!["node".into()]);
    let mut world = up();
    world.script("current", [Script::ready_after(secs(20))]);
    let first = world.apply([changed()]);
    world.advance(secs(5));
    let second = world.apply([changed().with(|app| app.kill_timeout = secs(3))]);
    assert_eq!(world.refusal(second).message, "current is being rolled over (restart) by dee, since 5 s");
    world.done(first);
    let third = world.apply([changed().with(|app| app.kill_timeout = secs(3))]);
    assert_eq!(world.done(third), "changed in place");
}

#[test]
fn an_apply_overtakes_a_staged_slot_as_a_restart_does() {
    let mut world = World::up([released("current", 3000)]);
    let stage = world.stage("current", release("2"));
    world.done(stage);
    let apply = world.apply([released("current", 3000).with(|app| app.command = vec!["node".into()])]);
    assert!(world.done(apply).starts_with("restarted in"));
    assert_eq!(world.spawns[2].command, ["node"]);
}

#[test]
fn a_spawn_that_was_refused_for_an_overtaken_rollover_does_not_fail_the_next() {
    let mut world = up();
    world.script("current", [Script { spawn_takes: secs(2), ..Script::refused("no such command") }, Script::good()]);
    let restart = world.restart("current");
    world.advance(ms(100));
    // What is hard stops first, and is up again before that spawn is refused.
    let hard = world.restart_hard("current");
    world.done(hard);
    world.failure(restart);
    let next = world.restart("current");
    assert!(world.done(next).starts_with("restarted in"), "{}", world.story());
    assert_eq!(world.app("current").slot, Slot::Green);
}

#[test]
fn a_resize_in_place_publishes_the_new_instances_and_drains_those_too_many() {
    let sized = |count| current().with(|app| app.instances = count);
    let mut world = World::up([sized(1)]);
    let id = world.apply([sized(3)]);
    world.done(id);
    let runs = world.active("current");
    assert_eq!((runs.len(), world.spawns.len()), (3, 3));
    world.rescript(runs[2], |script| (script.requests, script.streams) = (secs(30), secs(100)));
    let asked = world.mono;
    let id = world.apply([sized(1)]);
    assert_eq!(world.active("current"), runs[..1]);
    world.done(id);
    assert_eq!(world.mono, asked + secs(100) + ms(50), "the others serve: what it has in flight gets its time");
    assert_eq!((world.cuts.len(), world.living("current")), (0, 1));
}

#[test]
fn who_waits_for_a_rollover_is_answered_however_many_others_followed() {
    let mut world = up();
    let old = world.run("current");
    world.rescript(old, |script| script.obeys = None);
    let restart = world.restart("current");
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    for _ in 0..12 {
        world.advance(ms(100));
        let another = world.restart("current");
        world.apply([stop_first("current", 3000)]);
        world.apply([current()]);
        assert!(world.failure(another).message.contains("may run only once"));
    }
    world.advance(secs(60));
    assert!(world.asked.iter().all(|id| world.reply(*id).is_some()), "{}", world.story());
    world.results(restart);
    assert_eq!((world.living("current"), world.spawns.len()), (1, 2));
}

#[test]
fn who_waits_for_a_rollover_of_what_has_become_a_job_is_answered() {
    let mut world = up();
    world.rescript(world.run("current"), |script| script.requests = secs(60));
    let restart = world.restart("current");
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
    world.apply([job("current", "0 4 * * *")]);
    let message = world.done(restart);
    assert!(message.starts_with("is armed; its next time is"), "{message}");
}

#[test]
fn an_app_whose_releases_are_configured_away_runs_without_one() {
    let mut world = World::up([released("current", 3000)]);
    let activate = world.activate("current", release("2"));
    world.done(activate);
    let apply = world.apply([current()]);
    world.done(apply);
    assert_eq!(world.spawns[2].release, None);
    assert_eq!(world.saves.last().unwrap()["current"].release, None);
}

#[test]
fn who_asks_for_a_start_of_what_is_being_replaced_is_answered_when_its_successor_is_up() {
    let needs_it = worker("queue").with(|app| app.depends_on = vec!["current".into()]);
    let changed = config(vec![current().with(|app| app.command = vec!["node".into()])]);
    let mut world = World::of([current(), needs_it]);
    world.script("queue", [Script { obeys: None, ..Script::good() }]);
    world.advance(secs(5));
    world.ask("ann", Request::Apply { config: changed, wait: false });
    // It serves until what needs it has ended, which takes its time.
    world.ask("ann", Request::Stop { apps: vec!["current".into()], wait: false });
    world.ask("ann", Request::Restart { apps: vec!["current".into()], wait: false, hard: false });
    let id = world.ask("ann", Request::Start { apps: vec!["current".into()], wait: true });
    world.advance(secs(60));
    assert!(world.reply(id).is_some(), "{}", world.story());
}
