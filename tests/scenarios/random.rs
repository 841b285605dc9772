//! Random configurations, requests, times and lies: what must hold, holds.

use crate::configs::{
    MIB, With, config, cron, following, http, ms, proxied, release, released, secs, stop_first, web, worker,
};
use crate::script::{Script, code};
use crate::world::World;
use infissi::api::{ActionResult, AppStatus, InstanceStatus, OtherPhase, Slot, Status, Way};
use infissi::config::{AppConfig, Autorestart, Config, ReleaseOf};
use infissi::supervisor::{Event, Kept, Reply, Request, RequestId, RunId};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone)]
pub(crate) enum Act {
    Start(usize, bool),
    Stop(usize, bool),
    Restart(usize, bool, bool),
    Swap(usize, bool),
    Cancel(usize),
    Activate(usize, usize, Way, bool),
    StopAll,
    RestartAll,
    Reset(usize),
    Signal(usize),
    Apply(usize, bool),
    Shutdown,
    Abandon(usize),
    Pass(u64),
    Script(usize, Box<Script>),
    Crash(usize, usize),
    HoldPort(usize),
    FreePort(usize),
    Sample(usize, usize, u64, u64),
    Traffic(usize, usize, u64),
    Mutter(usize, u64),
    Port(usize, bool),
    Probe(usize, usize, bool),
    Echo(usize),
    Strangers,
    Kill,
    Wall(i64),
    Tick,
}

pub(crate) fn acts() -> impl Strategy<Value = Act> {
    let app = 0..NAMES.len();
    let way = prop_oneof![4 => Just(Way::Beside), 4 => Just(Way::Staged), 2 => Just(Way::StopFirst)];
    prop_oneof![
        4 => (app.clone(), any::<bool>()).prop_map(|(app, wait)| Act::Start(app, wait)),
        4 => (app.clone(), any::<bool>()).prop_map(|(app, wait)| Act::Stop(app, wait)),
        6 => (app.clone(), any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(app, wait, hard)| Act::Restart(app, wait, hard)),
        3 => (app.clone(), any::<bool>()).prop_map(|(app, wait)| Act::Swap(app, wait)),
        1 => app.clone().prop_map(Act::Cancel),
        4 => (app.clone(), 0..4usize, way, any::<bool>()).prop_map(|(app, id, way, wait)| Act::Activate(app, id, way, wait)),
        1 => Just(Act::StopAll),
        1 => Just(Act::RestartAll),
        1 => app.clone().prop_map(Act::Reset),
        1 => app.clone().prop_map(Act::Signal),
        3 => (0..3usize, any::<bool>()).prop_map(|(config, wait)| Act::Apply(config, wait)),
        1 => Just(Act::Shutdown),
        1 => any::<usize>().prop_map(Act::Abandon),
        12 => prop_oneof![0..50u64, 50..2000u64, 2000..70_000u64].prop_map(Act::Pass),
        4 => (app.clone(), scripts()).prop_map(|(app, script)| Act::Script(app, Box::new(script))),
        3 => (app.clone(), 0..6usize).prop_map(|(app, pick)| Act::Crash(app, pick)),
        2 => app.clone().prop_map(Act::HoldPort),
        2 => app.clone().prop_map(Act::FreePort),
        3 => (app.clone(), 0..6usize, 0..500u64, prop_oneof![Just(100u64), Just(10_000)]).prop_map(|(app, pick, size, left)| Act::Sample(app, pick, size * MIB, left * MIB)),
        2 => (app.clone(), 0..6usize, 0..200u64).prop_map(|(app, pick, errors)| Act::Traffic(app, pick, errors)),
        2 => (any::<usize>(), 0..40u64).prop_map(|(pick, count)| Act::Mutter(pick, count)),
        1 => (app.clone(), any::<bool>()).prop_map(|(app, held)| Act::Port(app, held)),
        4 => (app.clone(), 0..6usize, prop::bool::weighted(0.3)).prop_map(|(app, pick, good)| Act::Probe(app, pick, good)),
        3 => any::<usize>().prop_map(Act::Echo),
        1 => Just(Act::Strangers),
        2 => Just(Act::Kill),
        1 => prop_oneof![-100..100i64, -200_000..200_000i64].prop_map(Act::Wall),
        1 => Just(Act::Tick),
    ]
}

pub(crate) fn scripts() -> impl Strategy<Value = Script> {
    let refused = prop::option::weighted(0.15, Just("no such command".to_owned()));
    let ready = prop::option::weighted(0.9, (0..3000u64).prop_map(ms));
    let sick = prop::option::weighted(0.2, (1000..60_000u64).prop_map(ms));
    let ends = prop::option::weighted(0.4, ((0..20_000u64).prop_map(ms), (0..3i32).prop_map(code)));
    let obeys = prop::option::weighted(0.8, (0..3000u64).prop_map(ms));
    let leftovers = prop::option::weighted(0.2, prop::option::of((0..3000u64).prop_map(ms)));
    let leaks = prop_oneof![3 => Just(0), 1 => Just(20 * MIB)];
    let flight = prop_oneof![2 => Just(0u64), 1 => 0..60_000u64];
    let proxy = (flight.clone(), flight, prop::bool::weighted(0.1));
    (refused, ready, sick, ends, obeys, leftovers, leaks, (0..300u64, 0..3u32, proxy)).prop_map(
        |(refused, ready, sick, ends, obeys, leftovers, leaks, (spawn, survives, (requests, streams, untold)))| {
            Script {
                spawn_takes: ms(spawn),
                requests: ms(requests),
                streams: ms(streams),
                untold,
                refused,
                ready,
                sick,
                ends,
                obeys,
                leftovers,
                leaks,
                survives,
                ..Script::good()
            }
        },
    )
}

/// The app of this place; it may need those of the places before it.
fn app(place: usize) -> impl Strategy<Value = Option<AppConfig>> {
    let kind = 0..12u8;
    let autorestart =
        prop_oneof![4 => Just(Autorestart::Always), 1 => Just(Autorestart::OnFailure), 1 => Just(Autorestart::Never)];
    let counts = (1..4u16, prop_oneof![3 => Just(0u32), 1 => Just(2)]);
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let ties = (any::<u8>(), 0..NAMES.len());
    let app = (kind, autorestart, counts, switches, ties).prop_map(
        move |(kind, autorestart, (instances, max_restarts), (autostart, command, nightly, limit), (needs, leader))| {
            let (name, port) = (NAMES[place], port(place));
            let base = match kind {
                0 | 1 => web(name, port),
                2 | 3 => worker(name),
                10 | 11 => following(name, NAMES[leader]),
                4 => stop_first(name, port),
                5 | 6 => proxied(name, port),
                _ => released(name, port),
            };
            base.with(|app| {
                app.autorestart = autorestart;
                app.max_restarts = max_restarts;
                app.autostart = autostart;
                app.kill_timeout = secs(4);
                app.backoff.max = secs(8);
                app.health.start_timeout = secs(20);
                app.max_memory_restart = limit.then_some(300 * MIB);
                app.cron_restart = nightly.then(|| cron("0 4 * * *", "Europe/Kyiv"));
                app.depends_on =
                    (0..place).filter(|other| needs >> (2 * other) & 3 == 0).map(|other| NAMES[other].into()).collect();
                match kind {
                    0 => app.health.probe = Some(http()),
                    1 => {}
                    2 | 10 => app.instances = instances,
                    4..10 => {
                        app.instances = instances;
                        app.health.probe = command.then(http);
                        app.deploy.iter_mut().for_each(|deploy| deploy.warm = secs(30));
                        let proxy = app.proxy.as_mut().unwrap();
                        proxy.hold = secs(5);
                        (proxy.drain.requests, proxy.drain.upgrades) = (secs(20), secs(40));
                    }
                    11 if limit => {}
                    _ => {
                        app.schedule = Some(cron("*/2 * * * *", "UTC"));
                        app.timeout = Some(secs(50));
                        app.cron_restart = None;
                        app.port = Some(port).filter(|_| kind == 3 && nightly);
                    }
                }
                if command {
                    app.command = vec!["other".to_owned()];
                }
            })
        },
    );
    prop::option::weighted(0.85, app)
}

fn port(place: usize) -> u16 {
    3000 + u16::try_from(place).unwrap()
}

/// A configuration; what an app needs or follows that is not in it, it does without.
pub(crate) fn configs() -> impl Strategy<Value = Arc<Config>> {
    (app(0), app(1), app(2), app(3)).prop_map(|(a, b, c, d)| {
        let mut apps: Vec<AppConfig> = [a, b, c, d].into_iter().flatten().collect();
        let names: Vec<String> = apps.iter().map(|app| app.name.clone()).collect();
        apps.iter_mut().for_each(|app| app.depends_on.retain(|name| names.contains(name)));
        let deployed = |app: &&AppConfig| app.deploy.is_some();
        let leaders: Vec<String> = apps.iter().filter(deployed).map(|app| app.name.clone()).collect();
        for app in &mut apps {
            let of = app.release_of.take().filter(|_| !leaders.is_empty());
            app.release_of = of.map(|of| ReleaseOf { app: nearest(&leaders, of.app), ..of });
        }
        config(apps)
    })
}

/// It, if it is one of them, else one that is.
fn nearest(leaders: &[String], leader: String) -> String {
    let place = NAMES.iter().position(|name| *name == leader).unwrap_or(0);
    if leaders.contains(&leader) { leader } else { leaders[place % leaders.len()].clone() }
}

pub(crate) struct Play {
    pub(crate) world: World,
    configs: Vec<Arc<Config>>,
    ids: Vec<RequestId>,
    ending: bool,
    restarts: BTreeMap<String, u64>,
    /// Apps of which something was asked that holds requests.
    excused: BTreeSet<String>,
}

impl Play {
    pub(crate) fn begin(configs: Vec<Arc<Config>>, kept: &BTreeMap<String, Kept>, first: Vec<Script>) -> Play {
        let mut world = World::unborn(configs[0].clone(), kept, "2026-03-29T00:50:00Z");
        for (place, script) in first.into_iter().enumerate() {
            world.script(NAMES[place], [script]);
        }
        world.tell(Event::Began);
        Play { world, configs, ids: Vec::new(), ending: false, restarts: BTreeMap::new(), excused: BTreeSet::new() }
    }

    fn ask(&mut self, request: Request) {
        let id = self.world.ask("ann", request);
        self.ids.push(id);
    }

    pub(crate) fn act(&mut self, act: Act) {
        let name = |app: usize| vec![NAMES[app].to_owned()];
        let all = || NAMES.map(str::to_owned).to_vec();
        let world = &mut self.world;
        match act {
            Act::Start(app, wait) => self.ask(Request::Start { apps: name(app), wait }),
            Act::Stop(app, wait) => self.ask(Request::Stop { apps: name(app), wait }),
            Act::Restart(app, wait, hard) => {
                if hard || world.active(NAMES[app]).is_empty() {
                    self.excused.insert(NAMES[app].to_owned());
                }
                self.ask(Request::Restart { apps: name(app), wait, hard });
            }
            Act::Swap(app, wait) => self.ask(Request::Swap { apps: name(app), wait }),
            Act::Cancel(app) => self.ask(Request::Cancel { apps: name(app) }),
            Act::Activate(app, id, way, wait) => {
                if way == Way::StopFirst || world.active(NAMES[app]).is_empty() {
                    self.excused.insert(NAMES[app].to_owned());
                }
                let release = release(&id.to_string());
                self.ask(Request::Activate { app: NAMES[app].to_owned(), release, way, wait });
            }
            Act::StopAll => self.ask(Request::Stop { apps: all(), wait: true }),
            Act::RestartAll => {
                let down = NAMES.iter().filter(|name| world.active(name).is_empty());
                self.excused.extend(down.map(|name| (*name).to_owned()));
                self.ask(Request::Restart { apps: all(), wait: true, hard: false });
            }
            Act::Reset(app) => {
                self.restarts.remove(NAMES[app]);
                self.ask(Request::Reset { apps: name(app) });
            }
            Act::Signal(app) => self.ask(Request::Signal { apps: name(app), signal: 1, name: "SIGHUP".into() }),
            Act::Apply(config, wait) => {
                self.restarts.clear();
                self.excused.extend(NAMES.map(str::to_owned));
                let config = self.configs[config].clone();
                self.ask(Request::Apply { config, wait });
            }
            Act::Shutdown => {
                self.ending = true;
                self.ask(Request::Shutdown { hurry: false });
            }
            Act::Abandon(pick) => {
                let open: Vec<_> = self.ids.iter().filter(|id| world.reply(**id).is_none()).copied().collect();
                if let Some(id) = open.get(pick % open.len().max(1)) {
                    world.abandon(*id);
                }
            }
            Act::Pass(span) => world.advance(ms(span)),
            Act::Script(app, script) => world.script(NAMES[app], [*script]),
            Act::Crash(app, pick) => {
                if let Some(run) = picked(world, app, pick) {
                    world.crash_run(run, code(1));
                }
            }
            Act::HoldPort(app) => world.hold_port(port(app), "held"),
            Act::FreePort(app) => world.free_port(port(app)),
            Act::Sample(app, pick, bytes, available) => {
                if let Some(run) = picked(world, app, pick) {
                    self.excused.insert(NAMES[app].to_owned());
                    world.tell(Event::MemorySampled { run, bytes, available });
                }
            }
            Act::Traffic(app, pick, errors) => {
                if let Some(run) = picked(world, app, pick) {
                    world.answers(run, 200, errors);
                }
            }
            Act::Mutter(pick, count) => world.mutter(pick, count),
            Act::Port(app, held) => {
                let app = NAMES[app].to_owned();
                let late = Event::PortHeld { app: app.clone(), holder: "late".to_owned() };
                world.tell(if held { late } else { Event::PortOpen { app } });
            }
            Act::Probe(app, pick, good) => {
                if let Some(run) = picked(world, app, pick) {
                    let outcome = if good { Ok(()) } else { Err("bad".to_owned()) };
                    world.tell(Event::Probed { run, outcome });
                }
            }
            Act::Echo(pick) => world.echo(pick),
            Act::Strangers => strangers(world),
            Act::Kill if self.ending => {}
            Act::Kill => world.kill_supervisor(),
            Act::Wall(by) => world.wall = world.wall.checked_add(jiff::SignedDuration::from_secs(by)).unwrap(),
            Act::Tick => world.tell(Event::Tick),
        }
        self.look();
    }

    /// What holds at every moment.
    fn look(&mut self) {
        let world = &self.world;
        for app in world.core.view(world.now()) {
            let before = self.restarts.insert(app.name.clone(), app.restarts).unwrap_or(0);
            assert!(before <= app.restarts, "the counter of {} went back", app.name);
            let mut indexes: Vec<_> = app.instances.iter().map(|instance| (instance.slot, instance.index)).collect();
            indexes.dedup();
            assert_eq!(indexes.len(), app.instances.len());
            if let (Status::Backoff, Some(at)) = (app.status, app.next_at) {
                assert!(at.duration_since(world.wall).as_secs_f64() <= 8.0, "{} waits too long", app.name);
            }
        }
    }

    /// The world has calmed: everyone is answered, all that is wanted is up and nothing else runs.
    fn rest(mut self) {
        self.world.calm();
        self.world.advance(secs(240));
        // Somebody's nightly restart may have come just now.
        let lately = self.world.mono - secs(120);
        if self.world.log.iter().any(|(at, said)| *at >= lately && said.message.ends_with("by cron_restart")) {
            self.world.advance(secs(150));
        }
        let world = &self.world;
        let rolls_over =
            |app: &Config| app.apps.iter().filter(|app| app.rolls_over()).map(|app| app.name.clone()).collect();
        let blue_green: BTreeSet<String> = rolls_over(world.core.config());
        let gap = world.gaps.iter().find(|(_, app)| blue_green.contains(app) && !self.excused.contains(app));
        assert_eq!(gap, None, "{}", world.story());
        for id in self.ids.iter().filter(|id| !world.abandoned.contains(id)) {
            assert!(world.reply(*id).is_some(), "no reply to {id:?}\n{}", world.story());
        }
        let overtaken = |result: &ActionResult| result.message.contains("overtaken by another rollover");
        for reply in self.ids.iter().filter_map(|id| world.reply(*id)) {
            let (Reply::Actions(results) | Reply::Applied { results, .. }) = reply else { continue };
            assert!(!results.iter().any(overtaken), "two before their swap\n{}", world.story());
        }
        assert_eq!(world.exits, usize::from(self.ending), "{}", world.story());
        let view = world.core.view(world.now());
        for name in NAMES {
            let app = view.iter().find(|app| app.name == name);
            let kept = world.core.kept().get(name).is_some_and(|kept| kept.desired);
            // A release that a stopped app is tried with is not kept before it is up, and may wait for others.
            let is_tried = app.is_some_and(|app| app.status == Status::Waiting);
            let wanted = (kept || is_tried) && !self.ending;
            match app.filter(|_| wanted) {
                None => {
                    assert_eq!(world.living(name), 0, "{name} should not run\n{}", world.story());
                    assert!(!world.is_open(name) && world.active(name).is_empty(), "{name}\n{}", world.story());
                }
                Some(app) => {
                    assert!(is_fine(world, &self.configs, app, &view), "{app:?}\n{}", world.story());
                    assert!(!world.is_astray(world.core.config().app(name).unwrap()), "{name}\n{}", world.story());
                    assert!(is_served(world, app), "{app:?} {:?}\n{}", world.published.get(name), world.story());
                }
            }
        }
    }
}

/// Is it as up as its configuration and its own past let it be?
fn is_fine(world: &World, configs: &[Arc<Config>], app: &AppStatus, view: &[AppStatus]) -> bool {
    let config = world.core.config().app(&app.name).unwrap();
    // A change of these rules does not start what came to rest under others.
    let ever = |rule: &dyn Fn(&AppConfig) -> bool| {
        configs.iter().filter_map(|config| config.app(&app.name)).any(|app| rule(app))
    };
    let gave_up = |status| match status {
        Status::Errored => {
            ever(&|app| app.autorestart == Autorestart::Never || app.max_restarts > 0) && app.next_at.is_none()
        }
        Status::Stopped => ever(&|app| app.autorestart != Autorestart::Always),
        Status::Starting | Status::Online | Status::Stopping | Status::Backoff | Status::Waiting => false,
    };
    let ready = |other: &AppStatus| in_slot(other, true).all(|instance| instance.status == Status::Online);
    let unready = |name: &String| view.iter().any(|other| &other.name == name && !ready(other));
    let unreleased = || {
        let of = config.release_of.as_ref();
        of.is_some_and(|of| world.core.release(&of.app).is_none())
    };
    config.is_job()
        || in_slot(app, true).count() == usize::from(config.instances)
            && in_slot(app, true).all(|instance| match instance.status {
                Status::Online => true,
                Status::Waiting => config.depends_on.iter().any(unready) || unreleased(),
                Status::Errored | Status::Stopped => gave_up(instance.status),
                Status::Starting | Status::Stopping | Status::Backoff => false,
            })
}

/// The instances of the active slot, or those of the other one.
fn in_slot(app: &AppStatus, active: bool) -> impl Iterator<Item = &InstanceStatus> {
    app.instances.iter().filter(move |instance| (instance.slot == app.slot) == active)
}

/// Does the public find there what is there, and is its other slot empty, or staged?
fn is_served(world: &World, app: &AppStatus) -> bool {
    let staged = app.other.as_ref().is_some_and(|other| other.phase == OtherPhase::Staged);
    let config = world.core.config().app(&app.name).unwrap();
    // What was to go behind the proxy and could not goes on as it was.
    let behind_proxy = config.proxy.is_some() && !world.binds_itself(&app.name);
    let online = in_slot(app, true).filter(|instance| instance.status == Status::Online).count();
    let served = if behind_proxy { online } else { 0 };
    (in_slot(app, false).count() == 0 || staged && config.rolls_over())
        && world.living(&app.name) == app.instances.iter().filter(|instance| instance.pid.is_some()).count()
        && world.is_open(&app.name) == behind_proxy
        && world.active(&app.name).len() == served
        && world.warm(&app.name).is_empty()
        && (app.status != Status::Waiting || in_slot(app, true).any(|instance| instance.status == Status::Waiting))
}

/// Some run of this app.
fn picked(world: &World, app: usize, pick: usize) -> Option<RunId> {
    let runs = world.core.runs(NAMES[app]);
    runs.get(pick % runs.len().max(1)).map(|(_, run)| *run)
}

/// What an earlier supervisor may have kept.
pub(crate) fn kept() -> impl Strategy<Value = BTreeMap<String, Kept>> {
    let one = (any::<bool>(), any::<bool>(), prop::option::of(0..4usize)).prop_map(|(desired, green, id)| Kept {
        desired,
        slot: if green { Slot::Green } else { Slot::Blue },
        release: id.map(|id| release(&id.to_string())),
        bad: Vec::new(),
        setback: None,
    });
    let named = |kept: Vec<Option<Kept>>| {
        let named = NAMES.iter().zip(kept).filter_map(|(name, kept)| Some(((*name).to_owned(), kept?)));
        named.collect()
    };
    vec(prop::option::weighted(0.2, one), NAMES.len()).prop_map(named)
}

/// Words about runs that never were.
fn strangers(world: &mut World) {
    let run = RunId(u64::MAX);
    world.tell(Event::Exited { run, exit: code(1) });
    world.tell(Event::TreeEmpty { run });
    world.tell(Event::Probed { run, outcome: Ok(()) });
    world.tell(Event::MemorySampled { run, bytes: u64::MAX, available: u64::MAX });
    world.tell(Event::Spawned { run, pid: 1 });
    world.tell(Event::InFlight { run, requests: 0, streams: 0 });
    world.tell(Event::Traffic { run, answered: u64::MAX, errors: u64::MAX });
    world.tell(Event::PortHeld { app: "nobody".to_owned(), holder: "somebody".to_owned() });
    world.tell(Event::PortOpen { app: "nobody".to_owned() });
    world.tell(Event::Abandoned { id: RequestId(u64::MAX) });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_what_is_wanted_comes_up_and_nothing_else_runs(
        configs in vec(configs(), 3),
        kept in kept(),
        first in vec(scripts(), NAMES.len()),
        acts in vec(acts(), 1..40),
    ) {
        let mut play = Play::begin(configs, &kept, first);
        acts.into_iter().for_each(|act| play.act(act));
        play.rest();
    }
}
