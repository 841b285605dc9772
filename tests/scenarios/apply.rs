//! From one configuration to the next, touching only what changed.

use crate::configs::{MIB, With, config, job, ms, secs, web, worker};
use crate::script::Script;
use crate::world::World;
use infissi::api::{EventKind, ExitReason, PlanAction, RefusalCode, Status};
use infissi::supervisor::{Request, plan};

#[test]
fn the_same_configuration_changes_nothing() {
    let mut world = World::up([web("current", 3000), worker("queue")]);
    let apply = world.apply([web("current", 3000), worker("queue")]);
    assert!(world.plan(apply).steps.is_empty());
    world.advance(secs(5));
    assert_eq!((world.spawns.len(), world.stops.len()), (2, 0));
    assert!(world.saves.is_empty());
}

#[test]
fn a_plan_says_what_an_apply_would_do() {
    let old = config([web("a", 1), web("b", 2), web("c", 3), web("d", 4)]);
    let new = config([
        web("a", 1),
        web("b", 2).with(|app| app.command = vec!["node".into()]),
        web("c", 3).with(|app| app.max_memory_restart = Some(MIB)),
        web("e", 5),
        web("f", 6).with(|app| app.autostart = false),
    ]);
    let plan = plan(&old, &new);
    let steps: Vec<_> = plan.steps.iter().map(|step| (step.app.as_str(), step.action)).collect();
    let expected = [
        ("d", PlanAction::Stop),
        ("b", PlanAction::Restart),
        ("c", PlanAction::ChangeInPlace),
        ("e", PlanAction::Start),
        ("f", PlanAction::Add),
    ];
    assert_eq!(steps, expected);
}

#[test]
fn a_new_app_is_started_and_an_old_one_stopped_and_forgotten() {
    let mut world = World::up([web("old", 3000)]);
    let apply = world.apply([web("new", 3001), web("later", 3002).with(|app| app.autostart = false)]);
    let results = world.results(apply);
    let messages: Vec<_> = results.iter().map(|result| result.message.as_str()).collect();
    assert_eq!(messages, ["stopped in 50 ms", "started in 378 ms, pid 4002", "added; autostart is off"]);
    let names: Vec<_> = world.core.view(world.now()).into_iter().map(|app| app.name).collect();
    assert_eq!(names, ["new", "later"]);
    assert!(!world.logs_open.contains("old") && world.logs_open.contains("later"));
    assert_eq!(world.saves.last().unwrap().keys().collect::<Vec<_>>(), ["later", "new"]);
}

#[test]
fn a_change_in_place_leaves_the_process_alone() {
    let mut world = World::up([web("current", 3000)]);
    let apply = world.apply([web("current", 3000).with(|app| app.max_memory_restart = Some(300 * MIB))]);
    assert_eq!(world.done(apply), "changed in place");
    assert_eq!(world.spawns.len(), 1);
    assert!(world.saves.is_empty());
    world.sample("current", 301 * MIB);
    world.advance(secs(1));
    assert_eq!(world.spawns.len(), 2, "but the new limit holds");
}

#[test]
fn a_change_that_needs_a_new_process_restarts_it() {
    let mut world = World::up([web("current", 3000)]);
    let apply = world.apply([web("current", 3000).with(|app| app.command = vec!["node".into()])]);
    assert!(world.done(apply).starts_with("restarted in"));
    assert_eq!(world.spawns[1].command, ["node"]);
    assert_eq!(world.app("current").restarts, 0);
}

#[test]
fn a_stopped_app_stays_stopped_when_it_changes() {
    let mut world = World::up([web("current", 3000)]);
    let stop = world.stop("current");
    world.done(stop);
    let apply = world.apply([web("current", 3000).with(|app| app.command = vec!["node".into()])]);
    assert_eq!(world.done(apply), "changed; it stays stopped");
    world.advance(secs(5));
    assert_eq!(world.spawns.len(), 1);
    let start = world.start("current");
    world.done(start);
    assert_eq!(world.spawns[1].command, ["node"]);
}

#[test]
fn an_app_that_changes_while_it_waits_to_end_is_started_as_it_is_now() {
    let app = || web("current", 3000);
    let slow = || worker("queue").with(|app| app.depends_on = vec!["current".into()]);
    let mut world = World::of([app(), slow()]);
    world.script("queue", [Script { obeys: Some(secs(5)), ..Script::good() }]);
    world.advance(secs(3));
    world.ask("bob", Request::Stop { apps: vec!["current".into(), "queue".into()], wait: true });
    world.apply([app().with(|app| app.command = vec!["node".into()]), slow()]);
    let start = world.start("current");
    world.done(start);
    let commands: Vec<_> = world.spawns.iter().filter(|spawn| spawn.app == "current").collect();
    assert_eq!((commands.len(), commands[1].command.as_slice()), (2, &["node".to_owned()][..]));
}

#[test]
fn a_service_that_is_to_become_a_job_has_no_timeout_while_it_waits_to_end() {
    let needs = || worker("queue").with(|app| app.depends_on = vec!["report".into()]);
    let mut world = World::of([worker("report"), needs()]);
    world.script("queue", [Script { obeys: Some(secs(5)), ..Script::good() }]);
    world.advance(secs(30));
    let timed = job("report", "0 2 * * *").with(|app| app.timeout = Some(secs(31)));
    world.apply([timed, needs().with(|app| app.command = vec!["node".into()])]);
    world.advance(secs(10));
    assert!(world.said("report", EventKind::Health).is_empty(), "{}", world.story());
    let (_, exits, _) = world.core.view_app("report", world.now()).unwrap();
    assert_eq!(exits[0].reason, ExitReason::Restart);
}

#[test]
fn a_mended_configuration_revives_what_gave_up() {
    let mut world = World::of([web("current", 3000)]);
    world.script("current", [Script::refused("there is no directory /srv/current")]);
    world.advance(secs(100));
    world.script("current", [Script::good()]);
    world.apply([web("current", 3000).with(|app| app.command = vec!["node".into()])]);
    world.advance(secs(1));
    assert_eq!(world.status("current"), Status::Online);
}

#[test]
fn an_app_that_comes_back_while_it_leaves_is_started_afresh() {
    let mut world = World::up([web("current", 3000)]);
    world.script("current", [Script::good()]);
    let away = world.apply([]);
    world.advance(ms(10));
    assert_eq!(world.status("current"), Status::Stopping);
    let back = world.apply([web("current", 3000)]);
    let busy = world.failure(away);
    assert_eq!((busy.code, busy.message.as_str()), (RefusalCode::Busy, "current was started by dee meanwhile"));
    let message = world.done(back);
    assert!(message.starts_with("started in"), "{message}");
    assert_eq!((world.spawns.len(), world.status("current")), (2, Status::Online));
    assert!(world.logs_open.contains("current"));
}

#[test]
fn an_app_that_comes_back_without_autostart_stays_stopped() {
    let mut world = World::up([web("current", 3000)]);
    world.apply([]);
    world.advance(ms(10));
    let back = world.apply([web("current", 3000).with(|app| app.autostart = false)]);
    assert_eq!(world.done(back), "added; autostart is off");
    world.advance(secs(5));
    assert_eq!((world.spawns.len(), world.status("current")), (1, Status::Stopped));
}

#[test]
fn an_app_that_leaves_is_no_longer_addressed() {
    let mut world = World::up([web("current", 3000)]);
    world.apply([]);
    let start = world.start("current");
    assert_eq!(world.failure(start).code, RefusalCode::NoSuchApp);
}

#[test]
fn who_waits_for_an_app_that_is_removed_is_told() {
    let mut world = World::of([web("current", 3000).with(|app| app.autostart = false)]);
    world.hold_port(3000, "port 3000 is held by pid 1");
    let start = world.start("current");
    world.advance(secs(5));
    world.apply([]);
    let busy = world.failure(start);
    assert_eq!(busy.code, RefusalCode::Busy);
    assert_eq!(busy.message, "current was removed from the configuration meanwhile");
}

#[test]
fn a_renamed_app_takes_over_its_port() {
    let mut world = World::up([web("old", 3000)]);
    let apply = world.apply([web("new", 3000)]);
    world.results(apply);
    assert_eq!(world.status("new"), Status::Online);
}

#[test]
fn a_worker_grows_and_shrinks_in_place() {
    let sized = |count| worker("queue").with(|app| app.instances = count);
    let mut world = World::up([sized(1)]);
    let grow = world.apply([sized(3)]);
    let message = world.done(grow);
    assert!(message.starts_with("resized in 1 s"), "{message}");
    assert_eq!((world.spawns.len(), world.living("queue")), (3, 3));
    let shrink = world.apply([sized(1)]);
    world.done(shrink);
    assert_eq!(world.living("queue"), 1);
    assert_eq!(world.app("queue").instances.len(), 1);
    assert_eq!(world.app("queue").pid, Some(4001), "the first one was left alone");
}

#[test]
fn a_worker_that_grows_while_it_shrinks_has_each_instance_once() {
    let sized = |count| worker("queue").with(|app| app.instances = count);
    let mut world = World::of([sized(3)]);
    world.script(
        "queue",
        [Script::good(), Script::good(), Script { obeys: Some(secs(5)), ..Script::good() }, Script::good()],
    );
    world.advance(secs(3));
    world.apply([sized(1)]);
    world.advance(secs(1));
    world.apply([sized(3)]);
    world.advance(secs(10));
    let indexes: Vec<_> = world.app("queue").instances.iter().map(|instance| instance.index).collect();
    assert_eq!(indexes, [0, 1, 2]);
    assert_eq!(world.living("queue"), 3);
}

#[test]
fn apps_are_listed_in_the_order_of_the_files() {
    let mut world = World::up([web("b", 1), web("a", 2)]);
    world.apply([web("a", 2), web("c", 3), web("b", 1)]);
    let names: Vec<_> = world.core.view(world.now()).into_iter().map(|app| app.name).collect();
    assert_eq!(names, ["a", "c", "b"]);
}

#[test]
fn an_apply_that_is_not_waited_for_is_answered_with_its_plan() {
    let mut world = World::up([web("current", 3000)]);
    let id = world.ask("dee", Request::Apply { config: config([]), wait: false });
    assert!(world.reply(id).is_some());
    assert_eq!(world.plan(id).steps[0].action, PlanAction::Stop);
    let told: Vec<_> = world.log.iter().filter(|(_, said)| said.kind == EventKind::Applied).collect();
    assert_eq!(told[0].1.message, "a configuration that changes 1 app is applied");
}
