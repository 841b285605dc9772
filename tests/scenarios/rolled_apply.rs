//! A changed app behind the proxy: it is rolled over, and what fails leaves the old slot as it was.

use crate::configs::{With, config, job, ms, proxied, release, released, secs, worker};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::Slot;
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
fn an_apply_while_a_rollover_is_rising_overtakes_it() {
    let mut world = up();
    let old = world.run("current");
    world.script("current", [Script::never_ready(), Script::good()]);
    let restart = world.restart("current");
    world.advance(secs(5));
    let apply = world.apply([current().with(|app| app.command = vec!["node".into()])]);
    let refusal = world.failure(restart);
    assert_eq!(refusal.message, "current is not restarted: the new slot was overtaken by another rollover");
    assert_eq!(world.active("current"), [old]);
    world.done(apply);
    assert_eq!(world.spawns[2].command, ["node"]);
    assert_eq!((world.app("current").slot, world.living("current"), world.gaps.len()), (Slot::Green, 1, 0));
}

#[test]
fn a_spawn_that_was_refused_for_an_overtaken_rollover_does_not_fail_the_next() {
    let mut world = up();
    world.script("current", [Script { spawn_takes: ms(500), ..Script::refused("no such command") }, Script::good()]);
    let restart = world.restart("current");
    world.advance(ms(100));
    let apply = world.apply([current().with(|app| app.command = vec!["node".into()])]);
    world.failure(restart);
    world.done(apply);
    assert_eq!(
        (world.spawns[2].command.as_slice(), world.app("current").slot),
        (&["node".to_owned()][..], Slot::Green)
    );
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
    for count in 0..12 {
        world.advance(ms(100));
        world.apply([current().with(|app| app.command = vec![format!("node{count}")])]);
    }
    world.advance(secs(60));
    assert!(world.asked.iter().all(|id| world.reply(*id).is_some()), "{}", world.story());
    world.results(restart);
    assert_eq!((world.living("current"), world.spawns.last().unwrap().command[0].as_str()), (1, "node11"));
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
