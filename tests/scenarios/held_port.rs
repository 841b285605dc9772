//! The public side of an app: a port that somebody else holds, and what changes without a new process.

use crate::configs::{With, proxied, secs, stop_first, web, worker};
use crate::script::Script;
use crate::world::World;
use infissi::api::{EventKind, PlanAction, Slot, Status};
use infissi::config::{AppConfig, Strategy};
use infissi::supervisor::Event;

const HOLDER: &str = "port 3000 is held by pid 77 (node old.js)";

fn current() -> AppConfig {
    proxied("current", 3000)
}

fn held() -> World {
    let mut world = World::of([current().with(|app| app.autostart = false)]);
    world.hold_port(3000, HOLDER);
    world
}

#[test]
fn a_held_public_port_does_not_keep_the_instance_from_coming_up() {
    let mut world = held();
    let start = world.start("current");
    world.advance(secs(3));
    assert_eq!((world.living("current"), world.active("current").len()), (1, 1), "on its private port");
    assert_eq!((world.status("current"), world.reason("current").as_str()), (Status::Waiting, HOLDER));
    assert!(world.reply(start).is_none());
    let at = world.replies.len();
    let refusal = world.failure(start);
    assert_eq!(refusal.message, format!("current is not up yet: {HOLDER}"));
    assert_eq!(world.replies.len(), at + 1);
    assert_eq!(world.said("current", EventKind::PortHeld), [HOLDER]);
    world.free_port(3000);
    world.advance(secs(2));
    assert_eq!(world.status("current"), Status::Online);
    assert_eq!((world.spawns.len(), world.reason("current").as_str()), (1, ""));
    assert!(world.said("current", EventKind::Online).contains(&"has its public port"));
}

#[test]
fn who_asks_for_a_start_is_answered_in_start_timeout() {
    let mut world = held();
    world.advance(secs(1));
    let at = world.mono;
    let start = world.start("current");
    world.failure(start);
    assert_eq!(world.mono, at + secs(60));
}

#[test]
fn a_port_that_comes_free_in_time_is_a_start_that_went_well() {
    let mut world = held();
    let start = world.start("current");
    world.advance(secs(20));
    world.free_port(3000);
    let message = world.done(start);
    assert!(message.starts_with("started in 2"), "{message}");
}

#[test]
fn each_holder_is_told_once() {
    let mut world = held();
    world.start("current");
    world.advance(secs(10));
    world.hold_port(3000, "port 3000 is held by pid 78 (nginx)");
    world.advance(secs(10));
    assert_eq!(world.said("current", EventKind::PortHeld).len(), 2);
    assert_eq!(world.reason("current"), "port 3000 is held by pid 78 (nginx)");
}

#[test]
fn a_held_port_is_no_failure_and_no_reason_to_restart() {
    let mut world = held();
    world.start("current");
    world.advance(secs(1000));
    assert_eq!((world.spawns.len(), world.app("current").restarts, world.stops.len()), (1, 0, 0));
}

#[test]
fn dependents_wait_for_a_public_port_that_is_held() {
    let needs = worker("queue").with(|app| app.depends_on = vec!["current".into()]);
    let mut world = World::of([current(), needs]);
    world.hold_port(3000, HOLDER);
    world.advance(secs(5));
    assert_eq!(world.status("queue"), Status::Waiting);
    world.free_port(3000);
    world.advance(secs(5));
    assert_eq!(world.status("queue"), Status::Online);
}

#[test]
fn an_app_whose_port_is_held_is_rolled_over_like_any_other() {
    let mut world = held();
    world.start("current");
    world.advance(secs(5));
    let restart = world.restart("current");
    world.done(restart);
    assert_eq!((world.app("current").slot, world.status("current")), (Slot::Green, Status::Waiting));
}

#[test]
fn how_the_public_is_treated_changes_in_place() {
    let mut world = World::up([current()]);
    let run = world.run("current");
    let apply = world.apply([current().with(|app| app.proxy.as_mut().unwrap().hold = secs(30))]);
    assert_eq!(world.done(apply), "changed in place");
    assert_eq!(world.published["current"].app.proxy.as_ref().unwrap().hold, secs(30));
    assert_eq!((world.active("current"), world.spawns.len()), (vec![run], 1));
}

#[test]
fn an_app_that_may_run_twice_from_now_on_rolls_over() {
    let mut world = World::up([stop_first("current", 3000)]);
    let apply = world.apply([current()]);
    assert_eq!(world.done(apply), "changed in place");
    let restart = world.restart("current");
    world.done(restart);
    assert_eq!((world.app("current").slot, world.gaps.len()), (Slot::Green, 0));
    let strategy = world.published["current"].app.proxy.as_ref().unwrap().strategy;
    assert_eq!(strategy, Strategy::BlueGreen);
}

#[test]
fn an_app_that_is_down_is_open_and_its_requests_are_held() {
    let mut world = World::of([current()]);
    world.script("current", [Script::refused("no such command"), Script::good()]);
    world.advance(std::time::Duration::from_millis(50));
    assert!(world.is_open("current") && world.active("current").is_empty());
    assert_eq!(world.status("current"), Status::Errored);
    world.advance(secs(3));
    assert_eq!(world.active("current").len(), 1);
}

#[test]
fn the_public_port_of_a_removed_app_is_closed_even_when_nothing_runs() {
    let mut world = World::of([current()]);
    world.script("current", [Script::refused("no such command")]);
    world.advance(secs(20));
    assert!(world.is_open("current"));
    assert_eq!(world.living("current"), 0);
    world.apply([]);
    world.advance(secs(1));
    let last = world.publishes.last().unwrap();
    assert!(!last.2.open, "{:?}", last);
}

#[test]
fn a_stop_while_the_port_is_held_forgets_the_holder() {
    let mut world = held();
    world.start("current");
    world.advance(secs(5));
    let stop = world.stop("current");
    world.done(stop);
    world.tell(Event::PortHeld { app: "current".to_owned(), holder: HOLDER.to_owned() });
    assert_eq!((world.status("current"), world.reason("current").as_str()), (Status::Stopped, ""));
    world.free_port(3000);
    let start = world.start("current");
    world.done(start);
    assert_eq!(world.status("current"), Status::Online);
}

#[test]
fn late_words_about_a_port_that_the_app_binds_itself_are_not_heard() {
    let needs = worker("queue").with(|app| app.depends_on = vec!["current".into()]);
    let mut world = World::of([web("current", 3000), needs]);
    world.tell(Event::Began);
    world.tell(Event::PortHeld { app: "current".to_owned(), holder: HOLDER.to_owned() });
    world.tell(Event::PortHeld { app: "nobody".to_owned(), holder: HOLDER.to_owned() });
    world.tell(Event::PortOpen { app: "nobody".to_owned() });
    world.advance(secs(3));
    assert_eq!((world.status("current"), world.status("queue")), (Status::Online, Status::Online));
}

#[test]
fn an_app_behind_the_proxy_binds_its_port_itself_from_now_on() {
    let mut world = World::up([current()]);
    let old = world.run("current");
    world.rescript(old, |script| script.requests = secs(3));
    let apply = world.apply([current().with(|app| app.proxy = None)]);
    assert!(!world.is_open("current"));
    assert_eq!(world.drain_of(old), world.mono);
    world.done(apply);
    assert_eq!((world.status("current"), world.living("current"), world.cuts.len()), (Status::Online, 1, 0));
    assert_eq!(world.active("current"), []);
    assert_eq!(world.published["current"].app.proxy, None, "its clients at the proxy are told to come again");
    let publishes = world.publishes.len();
    world.advance(secs(60));
    assert_eq!(world.publishes.len(), publishes);
    let apply = world.apply([current()]);
    world.done(apply);
    assert_eq!(world.active("current"), [world.run("current")]);
}

#[test]
fn an_app_that_binds_its_port_itself_goes_behind_the_proxy() {
    let mut world = World::up([web("current", 3000).with(|app| app.health = current().health)]);
    let apply = world.apply([current()]);
    world.done(apply);
    world.advance(secs(3));
    assert_eq!((world.status("current"), world.living("current")), (Status::Online, 1), "{}", world.story());
    assert!(world.is_open("current"));
    assert_eq!(world.active("current"), [world.run("current")]);
    assert_eq!(world.said("current", EventKind::PortHeld).len(), 0, "it is not its own stranger");
}

#[test]
fn another_public_port_needs_no_other_process() {
    let mut world = World::up([current()]);
    let run = world.run("current");
    let apply = world.apply([proxied("current", 3005)]);
    assert!(world.done(apply).starts_with("changed in place in "));
    assert_eq!(world.plan(apply).steps[0].action, PlanAction::ChangeInPlace);
    assert_eq!(world.published["current"].app.port, Some(3005));
    world.advance(secs(5));
    assert_eq!((world.active("current"), world.spawns.len(), world.stops.len()), (vec![run], 1, 0));
}

#[test]
fn another_public_port_that_is_held_is_waited_for() {
    let mut world = World::up([current()]);
    world.hold_port(3005, "port 3005 is held");
    let apply = world.apply([proxied("current", 3005)]);
    world.advance(secs(2));
    assert_eq!((world.status("current"), world.spawns.len()), (Status::Waiting, 1));
    assert_eq!(world.failure(apply).message, "current is not up yet: port 3005 is held");
    world.apply([current()]);
    world.advance(secs(2));
    assert_eq!((world.status("current"), world.reason("current").as_str()), (Status::Online, ""));
}

#[test]
fn an_app_that_cannot_run_twice_any_more_does_not() {
    for after in [1, 200, 400, 580, 2000] {
        let mut world = World::up([current()]);
        let old = world.run("current");
        world.rescript(old, |script| (script.requests, script.streams) = (secs(3), secs(200)));
        world.restart("current");
        world.advance(std::time::Duration::from_millis(after));
        let apply = world.apply([stop_first("current", 3000)]);
        world.results(apply);
        let restart = world.restart("current");
        world.done(restart);
        assert_eq!((world.status("current"), world.living("current")), (Status::Online, 1), "after {after} ms");
    }
}
