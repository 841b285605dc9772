//! A world for the core: a virtual clock, process trees that behave as scripted, and a memory of all it was told.
//!
//! It checks with every effect what must hold in every story: one tree per instance at a time, none spawned over
//! the last one's leftovers, one answer a request, desired state saved before it is acted on, one end; and of the
//! proxy what `front.rs` says.

use crate::configs::{config, secs};
use crate::script::{Script, Tree};
use front::Public;
use infissi::api::{ActionResult, AppStatus, EventKind, OtherPhase, Plan, Refusal, Slot, Status, Way};
use infissi::config::{AppConfig, Config};
use infissi::supervisor::{
    Announcement, Check, Effect, Event, Kept, LeaderExit, Now, Release, Reply, Request, RequestId, RunId, Supervisor,
};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

mod front;
mod killed;
mod trees;

/// Longer than anything a story waits for.
const FOREVER: Duration = Duration::from_secs(6 * 3600);
/// More effects than any one event may have in the stories' small configurations.
const EFFECTS_AT_MOST: usize = 100;
/// More ticks without progress of the clock than any honest deadline takes.
const TICKS_AT_MOST: u32 = 20;

#[derive(Debug, Clone)]
enum Happening {
    Begins,
    Enters(RunId),
    LeaderEnds(RunId, LeaderExit),
    LeftoversEnd(RunId),
    Empty(RunId),
    Answers(RunId, Check),
    Sampled(RunId),
    Binds(String),
    Drains(RunId),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spawned {
    pub(crate) at: Duration,
    pub(crate) app: String,
    pub(crate) slot: Slot,
    pub(crate) index: u16,
    pub(crate) run: RunId,
    pub(crate) command: Vec<String>,
    pub(crate) release: Option<String>,
}

pub(crate) struct World {
    pub(crate) core: Supervisor,
    pub(crate) mono: Duration,
    pub(crate) wall: Timestamp,
    pub(crate) spawns: Vec<Spawned>,
    pub(crate) log: Vec<(Duration, Announcement)>,
    pub(crate) saves: Vec<BTreeMap<String, Kept>>,
    pub(crate) replies: BTreeMap<RequestId, (Duration, Reply)>,
    pub(crate) asked: BTreeSet<RequestId>,
    pub(crate) abandoned: BTreeSet<RequestId>,
    pub(crate) stops: Vec<(Duration, String)>,
    pub(crate) kills: Vec<(Duration, RunId)>,
    pub(crate) signals: Vec<(RunId, i32)>,
    pub(crate) probes: Vec<(Duration, RunId)>,
    pub(crate) checks: Vec<(RunId, Check)>,
    pub(crate) logs_open: BTreeSet<String>,
    pub(crate) exits: usize,
    /// What the public finds at each app, and what it found at each change.
    pub(crate) published: BTreeMap<String, Public>,
    pub(crate) publishes: Vec<(Duration, String, Public)>,
    /// When an open app went from being served to being held, although those who served it lived.
    pub(crate) gaps: Vec<(Duration, String)>,
    pub(crate) drains: Vec<(Duration, RunId)>,
    /// What was cut off: requests and streams.
    pub(crate) cuts: Vec<(Duration, RunId, (u64, u64))>,
    /// What is on the disk.
    kept: BTreeMap<String, Kept>,
    trees: BTreeMap<RunId, Tree>,
    agenda: BTreeMap<(Duration, u64), Happening>,
    scripts: BTreeMap<String, VecDeque<Script>>,
    ports: BTreeMap<u16, String>,
    next: u64,
    idle_ticks: u32,
}

impl World {
    /// A supervisor that has not begun.
    pub(crate) fn unborn(config: Arc<Config>, desired: &BTreeMap<String, Kept>, wall: &str) -> World {
        let now = Now { mono: Duration::from_secs(1000), wall: wall.parse().unwrap() };
        World {
            core: Supervisor::new(config, desired, 1, now),
            mono: now.mono,
            wall: now.wall,
            spawns: Vec::new(),
            log: Vec::new(),
            saves: Vec::new(),
            replies: BTreeMap::new(),
            asked: BTreeSet::new(),
            abandoned: BTreeSet::new(),
            stops: Vec::new(),
            kills: Vec::new(),
            signals: Vec::new(),
            probes: Vec::new(),
            checks: Vec::new(),
            logs_open: BTreeSet::new(),
            exits: 0,
            published: BTreeMap::new(),
            publishes: Vec::new(),
            gaps: Vec::new(),
            drains: Vec::new(),
            cuts: Vec::new(),
            kept: desired.clone(),
            trees: BTreeMap::new(),
            agenda: BTreeMap::new(),
            scripts: BTreeMap::new(),
            ports: BTreeMap::new(),
            next: 0,
            idle_ticks: 0,
        }
    }

    /// A supervisor of these apps that begins as soon as something is asked or time goes on.
    pub(crate) fn of(apps: impl IntoIterator<Item = AppConfig>) -> World {
        World::at("2026-06-01T12:00:00Z", apps)
    }

    pub(crate) fn at(wall: &str, apps: impl IntoIterator<Item = AppConfig>) -> World {
        let mut world = World::unborn(config(apps), &BTreeMap::new(), wall);
        world.later(Duration::ZERO, Happening::Begins);
        world
    }

    /// The same, gone on until everything that is wanted is up.
    pub(crate) fn up(apps: impl IntoIterator<Item = AppConfig>) -> World {
        let mut world = World::of(apps);
        world.advance(secs(3));
        world
    }

    /// How the app's next trees behave, one each; the last one goes on for good.
    pub(crate) fn script(&mut self, app: &str, scripts: impl IntoIterator<Item = Script>) {
        self.scripts.insert(app.to_owned(), scripts.into_iter().collect());
    }

    /// How a tree that is there behaves from now on.
    pub(crate) fn rescript(&mut self, run: RunId, change: impl FnOnce(&mut Script)) {
        change(&mut self.trees.get_mut(&run).unwrap().script);
    }

    pub(crate) fn hold_port(&mut self, port: u16, holder: &str) {
        self.ports.insert(port, holder.to_owned());
    }

    pub(crate) fn free_port(&mut self, port: u16) {
        self.ports.remove(&port);
    }

    // Asking.

    pub(crate) fn ask(&mut self, by: &str, request: Request) -> RequestId {
        self.advance(Duration::ZERO);
        self.next += 1;
        let id = RequestId(self.next);
        self.asked.insert(id);
        self.tell(Event::Requested { id, by: by.to_owned(), request });
        id
    }

    pub(crate) fn start(&mut self, app: &str) -> RequestId {
        self.ask("ann", Request::Start { apps: vec![app.to_owned()], wait: true })
    }

    pub(crate) fn stop(&mut self, app: &str) -> RequestId {
        self.ask("bob", Request::Stop { apps: vec![app.to_owned()], wait: true })
    }

    pub(crate) fn restart(&mut self, app: &str) -> RequestId {
        self.ask("cyd", Request::Restart { apps: vec![app.to_owned()], wait: true, hard: false })
    }

    pub(crate) fn restart_hard(&mut self, app: &str) -> RequestId {
        self.ask("cyd", Request::Restart { apps: vec![app.to_owned()], wait: true, hard: true })
    }

    pub(crate) fn activate(&mut self, app: &str, release: Release) -> RequestId {
        self.ask("dan", Request::Activate { app: app.to_owned(), release, way: Way::Beside, wait: true })
    }

    pub(crate) fn activate_stop_first(&mut self, app: &str, release: Release) -> RequestId {
        self.ask("dan", Request::Activate { app: app.to_owned(), release, way: Way::StopFirst, wait: true })
    }

    pub(crate) fn stage(&mut self, app: &str, release: Release) -> RequestId {
        self.ask("dan", Request::Activate { app: app.to_owned(), release, way: Way::Staged, wait: true })
    }

    /// Nobody waits for it.
    pub(crate) fn stop_soon(&mut self, app: &str) {
        self.ask("bob", Request::Stop { apps: vec![app.to_owned()], wait: false });
    }

    pub(crate) fn restart_soon(&mut self, app: &str) {
        self.ask("cyd", Request::Restart { apps: vec![app.to_owned()], wait: false, hard: true });
    }

    pub(crate) fn swap(&mut self, app: &str) -> RequestId {
        self.ask("dan", Request::Swap { apps: vec![app.to_owned()], wait: true })
    }

    pub(crate) fn apply(&mut self, apps: impl IntoIterator<Item = AppConfig>) -> RequestId {
        self.ask("dee", Request::Apply { config: config(apps), wait: true })
    }

    pub(crate) fn shutdown(&mut self) -> RequestId {
        self.ask("eve", Request::Shutdown { hurry: false })
    }

    pub(crate) fn abandon(&mut self, id: RequestId) {
        self.abandoned.insert(id);
        self.tell(Event::Abandoned { id });
    }

    /// The reply, when it has come.
    pub(crate) fn reply(&self, id: RequestId) -> Option<&Reply> {
        self.replies.get(&id).map(|(_, reply)| reply)
    }

    /// Lets time pass until the reply is there.
    pub(crate) fn results(&mut self, id: RequestId) -> Vec<ActionResult> {
        self.until("the reply", |world| world.reply(id).is_some());
        match self.reply(id).unwrap() {
            Reply::Actions(results) | Reply::Applied { results, .. } => results.clone(),
            Reply::Refused(refusal) => panic!("refused: {refusal}"),
        }
    }

    /// The sentence of a request about one app that was done.
    pub(crate) fn done(&mut self, id: RequestId) -> String {
        let result = self.only_result(id);
        assert_eq!(result.error, None);
        result.message
    }

    /// Why a request about one app was not done.
    pub(crate) fn failure(&mut self, id: RequestId) -> Refusal {
        let result = self.only_result(id);
        result.error.unwrap_or_else(|| panic!("it was done: {}", result.message))
    }

    /// Why all of a request was refused.
    pub(crate) fn refusal(&self, id: RequestId) -> Refusal {
        match self.reply(id) {
            Some(Reply::Refused(refusal)) => refusal.clone(),
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(crate) fn plan(&mut self, id: RequestId) -> Plan {
        self.until("the reply", |world| world.reply(id).is_some());
        let Some(Reply::Applied { plan, .. }) = self.reply(id) else { panic!("no plan") };
        plan.clone()
    }

    fn only_result(&mut self, id: RequestId) -> ActionResult {
        let results = self.results(id);
        assert_eq!(results.len(), 1, "{results:?}");
        results[0].clone()
    }

    // Looking.

    pub(crate) fn now(&self) -> Now {
        Now { mono: self.mono, wall: self.wall }
    }

    pub(crate) fn app(&self, name: &str) -> AppStatus {
        let view = self.core.view(self.now());
        view.into_iter().find(|app| app.name == name).unwrap_or_else(|| panic!("no app {name}"))
    }

    pub(crate) fn status(&self, name: &str) -> Status {
        self.app(name).status
    }

    pub(crate) fn reason(&self, name: &str) -> String {
        self.app(name).reason.unwrap_or_default()
    }

    /// The run of an app with one instance; of its active slot.
    pub(crate) fn run(&self, name: &str) -> RunId {
        self.runs_in(name, self.app(name).slot)[0]
    }

    /// The run in the other slot of an app with one instance.
    pub(crate) fn other_run(&self, name: &str) -> RunId {
        let other = if self.app(name).slot == Slot::Blue { Slot::Green } else { Slot::Blue };
        self.runs_in(name, other)[0]
    }

    pub(crate) fn runs_in(&self, name: &str, slot: Slot) -> Vec<RunId> {
        let runs = self.core.runs(name).into_iter().map(|(_, run)| run);
        runs.filter(|run| self.trees[run].slot == slot).collect()
    }

    /// What its other slot does.
    pub(crate) fn phase(&self, name: &str) -> Option<OtherPhase> {
        self.app(name).other.map(|other| other.phase)
    }

    /// Trees of this app that have a process.
    pub(crate) fn living(&self, app: &str) -> usize {
        self.trees.values().filter(|tree| tree.app == app && tree.since.is_some() && tree.exists()).count()
    }

    pub(crate) fn spawns_of(&self, app: &str) -> Vec<Duration> {
        self.spawns.iter().filter(|spawn| spawn.app == app).map(|spawn| spawn.at).collect()
    }

    /// All that was announced, a line each.
    pub(crate) fn story(&self) -> String {
        let line = |(at, said): &(Duration, Announcement)| {
            format!(
                "{:9.3} {} {:?}: {}\n",
                at.as_secs_f64(),
                said.app.as_deref().unwrap_or("-"),
                said.kind,
                said.message
            )
        };
        self.log.iter().map(line).collect()
    }

    pub(crate) fn said(&self, app: &str, kind: EventKind) -> Vec<&str> {
        let of_app = |said: &&(Duration, Announcement)| said.1.app.as_deref() == Some(app) && said.1.kind == kind;
        self.log.iter().filter(of_app).map(|(_, said)| said.message.as_str()).collect()
    }

    // Time.

    pub(crate) fn advance(&mut self, span: Duration) {
        let target = self.mono + span;
        while self.step(target) {}
        self.pass(target - self.mono);
    }

    /// Lets time pass until it is so.
    pub(crate) fn until(&mut self, what: &str, so: impl Fn(&World) -> bool) {
        let end = self.mono + FOREVER;
        while !so(self) {
            let moved = self.step(end);
            assert!(moved, "never: {what}\n{}", self.story());
        }
    }

    /// The calendar is set to another time.
    pub(crate) fn set_wall(&mut self, wall: &str) {
        self.wall = wall.parse().unwrap();
    }

    /// Does the next thing up to `target`; false when there is none.
    pub(crate) fn step(&mut self, target: Duration) -> bool {
        let happening = self.agenda.first_key_value().map(|(key, _)| *key);
        let deadline = self.core.deadline(self.now());
        let tick_first = match (deadline, happening) {
            (Some(deadline), Some((at, _))) => deadline < at,
            (deadline, None) => deadline.is_some(),
            (None, Some(_)) => false,
        };
        let at = if tick_first { deadline } else { happening.map(|(at, _)| at) };
        let Some(at) = at.filter(|at| *at <= target) else { return false };
        if at > self.mono {
            self.idle_ticks = 0;
        }
        self.pass(at.saturating_sub(self.mono));
        if tick_first {
            self.idle_ticks += 1;
            assert!(self.idle_ticks < TICKS_AT_MOST, "its deadline stays in the past\n{}", self.story());
            self.tell(Event::Tick);
        } else if let Some(happening) = happening.and_then(|key| self.agenda.remove(&key)) {
            self.happens(happening);
        }
        true
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        self.mono += span;
        self.wall = self.wall.checked_add(SignedDuration::try_from(span).unwrap()).unwrap();
    }

    // What happens.

    pub(crate) fn tell(&mut self, event: Event) {
        self.note(&event);
        let effects = self.core.handle(event, self.now());
        assert!(effects.len() < EFFECTS_AT_MOST, "{} effects of one event", effects.len());
        for (place, effect) in effects.into_iter().enumerate() {
            self.perform(place, effect);
        }
        self.check_published();
        self.check_followed();
    }

    /// The leader of an app with one instance ends now.
    pub(crate) fn crash(&mut self, app: &str, exit: LeaderExit) {
        let run = self.run(app);
        self.happens(Happening::LeaderEnds(run, exit));
    }

    pub(crate) fn crash_run(&mut self, run: RunId, exit: LeaderExit) {
        self.happens(Happening::LeaderEnds(run, exit));
    }

    /// It was started by another configuration than the one it is now.
    pub(crate) fn made_by_another(&mut self, run: RunId) {
        self.trees.get_mut(&run).unwrap().made_by += 1;
    }

    /// It ends, and nobody sees it.
    pub(crate) fn vanish(&mut self, run: RunId) {
        let tree = self.trees.get_mut(&run).unwrap();
        (tree.leader, tree.leftovers) = (false, false);
    }

    pub(crate) fn sample(&mut self, app: &str, bytes: u64) {
        let run = self.run(app);
        self.tell(Event::MemorySampled { run, bytes, available: u64::MAX });
    }

    /// So many answers in all, and so many of them errors.
    pub(crate) fn answers(&mut self, run: RunId, answered: u64, errors: u64) {
        self.tell(Event::Traffic { run, answered, errors });
    }

    fn later(&mut self, after: Duration, happening: Happening) {
        self.next += 1;
        self.agenda.insert((self.mono + after, self.next), happening);
    }

    fn perform(&mut self, place: usize, effect: Effect) {
        match effect {
            Effect::Publish { app, open, active, warm } => self.publish(Public { app, open, active, warm }),
            Effect::Drain { run } => self.drain(run),
            Effect::Cut { run } => self.cut(run),
            Effect::Save(desired) => {
                assert_eq!(place, 0, "what is wanted is saved before it is acted on");
                assert_ne!(self.saves.last(), Some(&desired), "saved without a change");
                self.kept = desired.clone();
                self.saves.push(desired);
            }
            Effect::Spawn { run, app, slot, index, release } => self.spawn(run, &app, (slot, index), release),
            Effect::Stop { run, .. } => {
                self.check_gentle(run);
                self.stop_tree(run);
            }
            Effect::Kill { run } => self.kill_tree(run),
            Effect::Signal { run, signal } => self.signals.push((run, signal)),
            Effect::Probe { run, check } => {
                self.checks.push((run, check.clone()));
                self.probes.push((self.mono, run));
                let takes = self.trees[&run].script.probe_takes;
                self.later(takes, Happening::Answers(run, check));
            }
            Effect::OpenLogs { app } => {
                self.logs_open.insert(app.name.clone());
            }
            Effect::CloseLogs { app } => {
                assert!(self.logs_open.remove(&app), "{app} has no open logs");
                assert!(self.published.get(&app).is_none_or(|public| !public.open), "{app} is gone and published");
                self.published.remove(&app);
            }
            Effect::Announce(announcement) => self.log.push((self.mono, announcement)),
            Effect::Reply { id, reply } => {
                assert!(self.asked.contains(&id), "nobody asked");
                assert!(!self.abandoned.contains(&id), "nobody waits for this reply");
                let before = self.replies.insert(id, (self.mono, reply));
                assert_eq!(before, None, "answered twice");
            }
            Effect::Exit => {
                self.exits += 1;
                assert_eq!(self.exits, 1, "it ended twice");
                assert!(self.trees.values().all(|tree| !tree.exists()), "it left processes behind");
                assert!(self.published.values().all(|public| !public.open), "it left a port open");
            }
        }
    }
}
