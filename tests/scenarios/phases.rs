//! Every request in every phase of an app's two slots: one reply, and what was wanted in the end.

use crate::configs::{With, config, ms, release, released, secs};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{self, OtherPhase, Slot, Status};
use infissi::config::{AppConfig, Strategy};
use infissi::supervisor::Request;

fn current() -> AppConfig {
    released("current", 3000)
}

/// A way into a phase.
type Way = (&'static str, fn(&mut World));

fn swapped(world: &mut World) {
    world.until("the swap", |world| world.app("current").slot == Slot::Green);
}

fn ways() -> Vec<Way> {
    vec![
        ("one slot", |_| {}),
        ("spawning", |world| {
            world.script("current", [Script { spawn_takes: secs(1), ..Script::good() }]);
            world.restart("current");
            world.advance(ms(500));
        }),
        ("rising", |world| {
            world.script("current", [Script { ready: Some(secs(30)), ..Script::good() }]);
            world.restart("current");
            world.advance(secs(5));
        }),
        ("rising alone", |world| {
            world.script("current", [Script { ready: Some(secs(30)), ..Script::good() }]);
            world.restart("current");
            world.advance(secs(5));
            world.crash("current", code(1));
        }),
        ("staged", |world| {
            world.stage("current", release("2"));
            world.until("staged", |world| world.phase("current") == Some(OtherPhase::Staged));
        }),
        ("warm", |world| {
            world.activate("current", release("2"));
            swapped(world);
        }),
        ("flipped back", |world| {
            world.activate("current", release("2"));
            swapped(world);
            let new = world.run("current");
            world.rescript(new, |script| (script.leftovers, script.obeys) = (Some(None), None));
            world.crash("current", code(1));
        }),
        ("draining", |world| {
            let old = world.run("current");
            world.rescript(old, |script| (script.requests, script.streams) = (secs(50), secs(100)));
            world.restart("current");
            swapped(world);
        }),
        ("ending", |world| {
            let old = world.run("current");
            world.rescript(old, |script| script.obeys = None);
            world.restart("current");
            swapped(world);
            world.advance(secs(1));
        }),
        ("sick and not to be replaced", |world| {
            let old = world.run("current");
            world.script("current", [Script::crashes(ms(10), code(1))]);
            world.rescript(old, |script| script.sick = Some(ms(0)));
            world.advance(secs(60));
        }),
        ("stopping", |world| {
            let old = world.run("current");
            world.rescript(old, |script| (script.requests, script.streams) = (secs(50), secs(100)));
            world.stop("current");
        }),
        ("stopped", |world| {
            world.stop("current");
            world.advance(secs(1));
        }),
        ("held", |world| {
            world.hold_port(3005, "port 3005 is held");
            world.apply([released("current", 3005)]);
            world.advance(secs(1));
        }),
    ]
}

/// What it should come to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Up,
    Down,
    Gone,
    Over,
    /// As it was wanted before.
    Same,
}

fn requests(wait: bool) -> Vec<(&'static str, Request, End)> {
    let apps = || vec!["current".to_owned()];
    let apply = |app: Option<AppConfig>| Request::Apply { config: config(app), wait };
    let once = || current().with(|app| app.proxy.as_mut().unwrap().strategy = Strategy::StopFirst);
    let activate = |way| Request::Activate { app: "current".to_owned(), release: release("3"), way, wait };
    vec![
        ("start", Request::Start { apps: apps(), wait }, End::Up),
        ("stop", Request::Stop { apps: apps(), wait }, End::Down),
        ("restart", Request::Restart { apps: apps(), wait, hard: false }, End::Up),
        ("restart hard", Request::Restart { apps: apps(), wait, hard: true }, End::Up),
        ("swap", Request::Swap { apps: apps(), wait }, End::Same),
        ("activate", activate(api::Way::Beside), End::Up),
        ("activate stop-first", activate(api::Way::StopFirst), End::Up),
        ("stage", activate(api::Way::Staged), End::Same),
        ("cancel", Request::Cancel { apps: apps() }, End::Same),
        ("reset", Request::Reset { apps: apps() }, End::Same),
        ("apply in place", apply(Some(current().with(|app| app.kill_timeout = secs(3)))), End::Same),
        ("apply anew", apply(Some(current().with(|app| app.command = vec!["node".into()]))), End::Same),
        ("apply stop-first", apply(Some(once())), End::Same),
        ("apply without the proxy", apply(Some(current().with(|app| app.proxy = None))), End::Same),
        ("apply with more", apply(Some(current().with(|app| app.instances = 3))), End::Same),
        ("apply without it", apply(None), End::Gone),
        ("shutdown", Request::Shutdown { hurry: false }, End::Over),
    ]
}

fn check(world: &World, end: End, case: &str) {
    let listed = world.core.view(world.now()).into_iter().find(|app| app.name == "current");
    let status = listed.as_ref().map(|app| app.status);
    let (living, open) = (world.living("current"), world.is_open("current"));
    match end {
        End::Up | End::Same => {
            let app = listed.unwrap();
            let config = world.core.config().app("current").unwrap();
            let staged = app.other.is_some_and(|other| other.phase == OtherPhase::Staged);
            let instances = usize::from(config.instances);
            assert_eq!(status, Some(Status::Online), "{case}\n{}", world.story());
            assert_eq!(living, if staged { 2 * instances } else { instances }, "{case}\n{}", world.story());
            let served = if config.proxy.is_some() { instances } else { 0 };
            assert_eq!((open, world.active("current").len()), (config.proxy.is_some(), served), "{case}");
        }
        End::Down => assert_eq!((status, living, open), (Some(Status::Stopped), 0, false), "{case}"),
        End::Gone => assert_eq!((status, living, open), (None, 0, false), "{case}"),
        End::Over => assert_eq!((world.exits, living, open), (1, 0, false), "{case}"),
    }
}

#[test]
fn every_request_in_every_phase_is_answered_once_and_comes_to_its_end() {
    for wait in [false, true] {
        for (into, reach) in ways() {
            for (name, request, end) in requests(wait) {
                let mut world = World::up([current()]);
                reach(&mut world);
                world.script("current", [Script::good()]);
                let case = format!("{name} while {into}, wait: {wait}");
                let wanted = world.core.kept()["current"].desired;
                let id = world.ask("ann", request);
                world.free_port(3005);
                world.advance(secs(800));
                assert!(world.reply(id).is_some(), "{case}: no reply");
                let end = if end == End::Same && !wanted { End::Down } else { end };
                check(&world, end, &case);
                assert!(world.asked.iter().all(|id| world.reply(*id).is_some()), "{case}: others wait");
            }
        }
    }
}

#[test]
fn only_what_has_to_hold_requests_holds_them() {
    let holds =
        ["restart hard", "stop", "activate stop-first", "apply without it", "shutdown", "apply without the proxy"];
    for (into, reach) in ways() {
        for (name, request, _) in requests(true).into_iter().filter(|(name, ..)| !holds.contains(name)) {
            let mut world = World::up([current()]);
            reach(&mut world);
            world.script("current", [Script::good()]);
            world.ask("ann", request);
            if (into, name) == ("sick and not to be replaced", "apply stop-first") {
                continue; // From then on it can only be replaced in its place.
            }
            world.advance(secs(800));
            assert_eq!(world.gaps, [], "{name} while {into}");
        }
    }
}
