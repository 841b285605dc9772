//! Every request in every state: one reply, and what was wanted in the end.

use crate::configs::{MIB, With, config, job, ms, probed, secs, worker};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::Status;
use infissi::config::{AppConfig, Autorestart};
use infissi::supervisor::Request;

/// A way into a state of the app `current`, which needs `db`.
struct Way {
    into: &'static str,
    app: AppConfig,
    script: Script,
    reach: fn(&mut World),
    /// What is seen of it there.
    status: Status,
}

/// What it should come to when all goes well.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Up,
    Down,
    Gone,
    /// As before, or better.
    Either,
    Over,
}

fn current() -> AppConfig {
    probed("current", 3000).with(|app| {
        app.depends_on = vec!["db".to_owned()];
        app.max_memory_restart = Some(300 * MIB);
    })
}

fn until(world: &mut World, status: Status) {
    world.until("the state", |world| world.app("current").status == status);
}

fn online(world: &mut World) {
    until(world, Status::Online);
}

#[rustfmt::skip]
fn ways() -> Vec<Way> {
    let way = |into, script, reach, status| Way { into, app: current(), script, reach, status };
    let gives_up = || current().with(|app| app.max_restarts = 1);
    let on_failure = || current().with(|app| app.autorestart = Autorestart::OnFailure);
    let stubborn = Script::stubborn;
    vec![
        way("resting", Script::good(), |world| { online(world); world.stop("current"); until(world, Status::Stopped) }, Status::Stopped),
        Way { app: on_failure(), ..way("done", Script::crashes(secs(5), code(0)), |world| world.advance(secs(20)), Status::Stopped) },
        way("waiting for a dependency", Script::good(), |world| world.advance(ms(500)), Status::Waiting),
        way("waiting for its port", Script::good(), |world| { world.hold_port(3000, "held"); world.advance(secs(20)) }, Status::Waiting),
        way("asking for its port", Script { spawn_takes: ms(300), ..Script::good() }, |world| {
            world.hold_port(3000, "held");
            world.until("asked again", |world| world.spawns_of("current").len() == 5);
        }, Status::Waiting),
        way("spawning", Script { spawn_takes: secs(1), ..Script::good() }, |world| world.advance(ms(1500)), Status::Starting),
        way("starting", Script::never_ready(), |world| world.advance(secs(10)), Status::Starting),
        way("online", Script::good(), online, Status::Online),
        way("ending by a stop", stubborn(), |world| { online(world); world.stop("current"); }, Status::Stopping),
        way("ending by a restart", stubborn(), |world| { online(world); world.restart("current"); }, Status::Stopping),
        way("ending by itself", Script { leftovers: Some(None), ..Script::good() }, |world| { online(world); world.crash("current", code(1)); }, Status::Stopping),
        way("ending by a breach", stubborn(), |world| { online(world); world.sample("current", 400 * MIB); }, Status::Stopping),
        way("backoff", Script::crashes(ms(10), code(1)), |world| { world.advance(secs(10)); until(world, Status::Backoff) }, Status::Backoff),
        way("errored", Script::refused("no"), |world| world.advance(secs(10)), Status::Errored),
        Way { app: gives_up(), ..way("given up", Script::crashes(ms(10), code(1)), |world| world.advance(secs(10)), Status::Errored) },
        Way { app: job("current", "0 2 * * *"), ..way("armed", Script::good(), |world| world.advance(secs(5)), Status::Waiting) },
    ]
}

fn requests(app: &AppConfig, wait: bool) -> Vec<(&'static str, Request, End)> {
    let apps = || vec!["current".to_owned()];
    let apply = |app: Option<AppConfig>| Request::Apply { config: config(app.into_iter().chain([worker("db")])), wait };
    let in_place = app.clone().with(|app| app.kill_timeout = secs(3));
    let anew = app.clone().with(|app| app.command = vec!["other".to_owned()]);
    vec![
        ("start", Request::Start { apps: apps(), wait }, End::Up),
        ("stop", Request::Stop { apps: apps(), wait }, End::Down),
        ("restart", Request::Restart { apps: apps(), wait, hard: false }, End::Up),
        ("cancel", Request::Cancel { apps: apps() }, End::Either),
        ("reset", Request::Reset { apps: apps() }, End::Either),
        ("signal", Request::Signal { apps: apps(), signal: 1, name: "SIGHUP".into() }, End::Either),
        ("apply the same", apply(Some(app.clone())), End::Either),
        ("apply in place", apply(Some(in_place)), End::Either),
        ("apply anew", apply(Some(anew)), End::Either),
        ("apply without it", apply(None), End::Gone),
        ("shutdown", Request::Shutdown { hurry: false }, End::Over),
    ]
}

fn reached(way: &Way) -> World {
    let mut world = World::of([way.app.clone(), worker("db")]);
    world.script("current", [way.script.clone()]);
    (way.reach)(&mut world);
    assert_eq!(world.status("current"), way.status, "{}", way.into);
    world
}

#[test]
fn every_request_in_every_state_is_answered_once_and_comes_to_its_end() {
    for wait in [false, true] {
        for way in ways() {
            for (name, request, end) in requests(&way.app, wait) {
                let mut world = reached(&way);
                let case = format!("{name} while {}, wait: {wait}", way.into);
                world.script("current", [Script::good()]);
                let was_wanted = world.core.kept()["current"].desired;
                let id = world.ask("ann", request);
                world.free_port(3000);
                world.advance(secs(200));
                assert!(world.reply(id).is_some(), "{case}: no reply");
                let end = if end == End::Either && !was_wanted { End::Down } else { end };
                check(&world, end, &way, &case);
            }
        }
    }
}

fn check(world: &World, end: End, way: &Way, case: &str) {
    let listed = world.core.view(world.now()).into_iter().find(|app| app.name == "current");
    let status = listed.map(|app| app.status);
    match end {
        End::Up if way.app.is_job() => assert!(matches!(status, Some(Status::Online | Status::Waiting)), "{case}"),
        End::Up => assert_eq!((status, world.living("current")), (Some(Status::Online), 1), "{case}"),
        End::Down => assert_eq!((status, world.living("current")), (Some(Status::Stopped), 0), "{case}"),
        End::Gone => assert_eq!((status, world.living("current")), (None, 0), "{case}"),
        End::Over => assert_eq!((world.exits, world.living("current")), (1, 0), "{case}"),
        End::Either => {
            let rests = ["done", "given up", "armed"].contains(&way.into);
            assert!(rests || status == Some(Status::Online), "{case}: {status:?}");
        }
    }
}

#[test]
fn every_request_after_every_other_is_answered_once() {
    let way = Way { into: "online", app: current(), script: Script::good(), reach: online, status: Status::Online };
    for (first, one, _) in requests(&way.app, true) {
        for (second, two, end) in requests(&way.app, true) {
            let mut world = reached(&way);
            let case = format!("{first} then {second}");
            let one = world.ask("ann", one.clone());
            world.advance(ms(5));
            let two = world.ask("bob", two);
            world.advance(secs(200));
            assert!(world.reply(one).is_some() && world.reply(two).is_some(), "{case}");
            if end == End::Over || first == "shutdown" {
                assert_eq!(world.exits, 1, "{case}");
            }
        }
    }
}
