//! The one state machine: every event goes through [`Supervisor::handle`], and only there.

use super::Now;
use super::app::{App, Cast};
use super::burst::Tally;
use super::effect::{Announcement, Effect, Kept, Reply};
use super::event::{Event, LeaderExit, Request, RequestId, RunId};
use super::instance::{Cause, Ending, Instance, State};
use super::pending::Pending;
use super::shutdown::{Shutdown, shutting_down};
use crate::api::{EventKind, ExitReason, Slot};
use crate::config::Config;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The calendar may jump; with a schedule to keep, it is looked at this often.
const WALL_RECHECK: Duration = Duration::from_secs(30);

/// Every app, what is wanted of it and where it is.
pub struct Supervisor {
    pub(super) config: Arc<Config>,
    pub(super) apps: Vec<App>,
    pub(super) pending: Vec<Pending>,
    pub(super) shutdown: Option<Shutdown>,
    pub(super) began: bool,
    next_run: u64,
    effects: Vec<Effect>,
    /// What was last saved of what is wanted.
    saved: BTreeMap<String, Kept>,
    desired_changed: bool,
    /// The calendar as it was last seen, to notice when it is set back.
    pub(super) wall_seen: Timestamp,
}

/// Where an instance stands: the app's place and the instance's place in it.
pub(super) type Place = (usize, usize);

impl Supervisor {
    /// `desired`: what earlier supervisors were told of each app; `autostart` decides for the others.
    /// `first_run` is a number that no living tree of an earlier supervisor carries.
    pub fn new(config: Arc<Config>, kept: &BTreeMap<String, Kept>, first_run: u64, now: Now) -> Supervisor {
        let apps = config.apps.iter().map(|app| App::new(app.clone(), kept.get(&app.name), now)).collect();
        let mut supervisor = Supervisor {
            config,
            apps,
            pending: Vec::new(),
            shutdown: None,
            began: false,
            next_run: first_run,
            effects: Vec::new(),
            saved: BTreeMap::new(),
            desired_changed: false,
            wall_seen: now.wall,
        };
        supervisor.saved = supervisor.kept();
        // What the configuration has no use for is on the disk all the same.
        for (name, saved) in &mut supervisor.saved {
            kept.get(name).into_iter().for_each(|kept| saved.clone_from(kept));
        }
        supervisor
    }

    /// What happened, at `now`; returns what is to be done, in this order.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        match event {
            Event::Began => self.begin(),
            Event::Tick => {}
            Event::Requested { id, by, request } => self.requested(id, &by, request, now),
            Event::Abandoned { id } => self.abandoned(id),
            Event::Spawned { run, pid } => self.spawned(run, pid, now),
            Event::SpawnRefused { run, refusal } => self.spawn_refused(run, refusal, now),
            Event::Exited { run, exit } => self.exited(run, exit, now),
            Event::TreeEmpty { run } => self.tree_empty(run, now),
            Event::Probed { run, outcome } => self.probed(run, outcome, now),
            Event::PortHeld { app, holder } => self.port_held_by(&app, holder, now),
            Event::PortOpen { app } => self.port_open(&app),
            Event::InFlight { run, requests, streams } => self.in_flight(run, requests, streams),
            Event::Traffic { run, answered, errors } => {
                if !self.traffic(run, Tally { answered, errors }, now) {
                    return Vec::new();
                }
            }
            Event::MemorySampled { run, bytes, available } => {
                if !self.memory_sampled(run, bytes, available, now) {
                    return Vec::new();
                }
            }
        }
        if self.began {
            self.reconcile(now);
            self.publish();
        }
        self.settle(now);
        self.finish_shutdown();
        let mut effects = std::mem::take(&mut self.effects);
        if std::mem::take(&mut self.desired_changed) && self.saved != self.kept() {
            self.saved = self.kept();
            effects.push(Effect::Save(self.saved.clone()));
        }
        effects.sort_by_key(rank);
        effects
    }

    /// The next moment at which `Event::Tick` is due.
    pub fn deadline(&self, now: Now) -> Option<Duration> {
        if !self.began {
            return None;
        }
        let instances = self.apps.iter().flat_map(|app| app.instances.iter().filter_map(Instance::deadline));
        let jobs = self.apps.iter().filter_map(App::times_out_at);
        let others = (0..self.apps.len()).filter_map(|i| self.other_deadline(i, now));
        let wall = self.apps.iter().flat_map(|app| [app.next_tick, app.next_cron_restart]).flatten();
        let wall = wall.map(|at| {
            let left = Duration::try_from(at.duration_since(now.wall)).unwrap_or_default();
            now.mono + left.min(WALL_RECHECK)
        });
        let waiters =
            self.pending.iter().filter_map(|pending| pending.deadline(&self.apps)).filter(|at| *at > now.mono);
        let shutdown = self.shutdown.as_ref().map(|shutdown| shutdown.kill_at).filter(|at| *at > now.mono);
        instances.chain(jobs).chain(others).chain(wall).chain(waiters).chain(shutdown).min()
    }

    /// What is to outlive a power cut.
    pub fn kept(&self) -> BTreeMap<String, Kept> {
        let apps = self.apps.iter().filter(|app| !app.removed);
        apps.map(|app| (app.config.name.clone(), app.kept())).collect()
    }

    /// Runs from now on have numbers from this one, or greater ones.
    pub fn number_runs_from(&mut self, first: u64) {
        self.next_run = self.next_run.max(first);
    }

    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    fn begin(&mut self) {
        self.began = true;
        for place in 0..self.apps.len() {
            let app = self.apps[place].config.clone();
            self.effects.push(Effect::OpenLogs { app });
        }
    }

    fn abandoned(&mut self, id: RequestId) {
        self.pending.retain(|pending| pending.id != id);
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.asked.retain(|asked| *asked != id);
        }
    }

    fn requested(&mut self, id: RequestId, by: &str, request: Request, now: Now) {
        if self.shutdown.is_some() && !matches!(request, Request::Shutdown { .. } | Request::Stop { .. }) {
            return self.push(Effect::Reply { id, reply: Reply::Refused(shutting_down()) });
        }
        match request {
            Request::Start { apps, wait } => self.start(id, by, &apps, wait, now),
            Request::Stop { apps, wait } => self.stop(id, by, &apps, wait, now),
            Request::Restart { apps, wait, hard } => self.restart(id, by, &apps, (wait, hard), now),
            Request::Swap { apps, wait } => self.swap(id, by, &apps, wait, now),
            Request::Cancel { apps } => self.cancel(id, by, &apps, now),
            Request::Activate { app, release, way, wait } => self.activate(id, by, (&app, release), (way, wait), now),
            Request::Reset { apps } => self.reset(id, by, &apps),
            Request::Signal { apps, signal, name } => self.signal(id, by, &apps, (signal, &name)),
            Request::Apply { config, wait } => self.apply(id, by, &config, wait, now),
            Request::Shutdown { hurry } => self.begin_shutdown(id, by, hurry, now),
        }
    }

    /// End it because of what it does, to start it afresh; `detail` goes on after “it ”.
    pub(super) fn replace(&mut self, place: Place, reason: ExitReason, detail: String, now: Now) {
        self.tell_replaced(place, reason, &detail);
        self.end(place, Cause::Replaced(reason, detail), None, now);
    }

    pub(super) fn tell_replaced(&mut self, place: Place, reason: ExitReason, detail: &str) {
        let kind = if reason == ExitReason::Memory { EventKind::Breach } else { EventKind::Health };
        self.announce(Some(place), kind, None, detail.to_owned());
        self.note_failure(place, detail.to_owned());
    }

    /// Ask its whole tree to end.
    pub(super) fn end(&mut self, place: Place, cause: Cause, leader: Option<LeaderExit>, now: Now) {
        let app = &self.apps[place.0];
        let config = app.config_of(&app.instances[place.1]).clone();
        if let State::Draining { drain, .. } = &app.instances[place.1].state {
            let took = now.mono.saturating_sub(drain.since);
            self.apps[place.0].last_drain = Some(took);
        }
        let instance = self.instance_mut(place);
        let Some(live) = instance.live().cloned() else { return };
        let ending = Ending {
            cause,
            since: now.mono,
            kill_at: now.mono + config.kill_timeout,
            killed: false,
            leader,
            online_for: instance.state.uptime(now).unwrap_or_default(),
            start_after: false,
        };
        let run = live.run;
        instance.state = State::Ending { live, ending };
        self.push(Effect::Stop { run, signal: config.stop_signal });
    }

    pub(super) fn spawn(&mut self, place: Place) {
        let run = RunId(self.next_run);
        self.next_run += 1;
        let app = &mut self.apps[place.0];
        app.run_now = false;
        let slot = app.instances[place.1].slot;
        let Cast { config, generation, release, .. } = app.cast(slot).clone();
        let instance = &mut app.instances[place.1];
        instance.state = State::Spawning { run, generation, proxied: config.proxy.is_some(), release: release.clone() };
        let index = instance.index;
        self.push(Effect::Spawn { run, app: config, slot, index, release });
    }

    pub(super) fn note_failure(&mut self, place: Place, why: String) {
        let app = &mut self.apps[place.0];
        let generation = app.instances[place.1].live().map_or(0, |live| live.generation);
        app.failed(generation, why);
    }

    /// Should this app run?
    pub(super) fn wanted(&self, i: usize) -> bool {
        let app = &self.apps[i];
        app.desired && !app.removed && self.shutdown.is_none()
    }

    /// Should this instance have a process?
    pub(super) fn wants(&self, (i, k): Place) -> bool {
        let app = &self.apps[i];
        let instance = &app.instances[k];
        let kept = app.retreat().is_some_and(|retreat| retreat.warm_until.is_some());
        let has_a_place = app.is_staffed(instance.slot) || (kept && instance.state.is_running());
        self.wanted(i) && instance.index < app.config.instances && has_a_place
    }

    pub(super) fn instance_mut(&mut self, (i, k): Place) -> &mut Instance {
        &mut self.apps[i].instances[k]
    }

    pub(super) fn place_of(&self, run: RunId) -> Option<Place> {
        self.apps
            .iter()
            .enumerate()
            .find_map(|(i, app)| app.instances.iter().position(|instance| instance.run() == Some(run)).map(|k| (i, k)))
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub(super) fn want(&mut self, i: usize, desired: bool, by: &str) {
        let app = &mut self.apps[i];
        self.desired_changed |= app.desired != desired;
        if desired && !app.desired {
            app.catch_up();
        }
        app.desired = desired;
        app.run_now &= desired;
        app.by = by.to_owned();
    }

    pub(super) fn desired_changed(&mut self) {
        self.desired_changed = true;
    }

    pub(super) fn announce(&mut self, place: Option<Place>, kind: EventKind, by: Option<&str>, message: String) {
        let app = place.map(|(i, _)| &self.apps[i]);
        let instance = place.and_then(|(i, k)| self.apps[i].instances.get(k));
        let live = instance.and_then(Instance::live);
        let announcement = Announcement {
            app: app.map(|app| app.config.name.clone()),
            kind,
            by: by.map(str::to_owned),
            slot: instance.map(|instance| instance.slot),
            pid: live.map(|live| live.pid),
            message,
        };
        self.push(Effect::Announce(announcement));
    }

    /// About a slot as a whole.
    pub(super) fn announce_slot(&mut self, i: usize, slot: Slot, kind: EventKind, message: String) {
        let app = &self.apps[i];
        let live = app.instances.iter().find(|instance| instance.slot == slot).and_then(Instance::live);
        let announcement = Announcement {
            app: Some(app.config.name.clone()),
            kind,
            by: None,
            slot: Some(slot),
            pid: live.map(|live| live.pid),
            message,
        };
        self.push(Effect::Announce(announcement));
    }
}

/// What is decided is on the disk before it is done, and nobody is asked to end who still gets requests.
fn rank(effect: &Effect) -> u8 {
    match effect {
        Effect::Save(_) => 0,
        Effect::Publish { .. } => 1,
        Effect::Spawn { .. }
        | Effect::Drain { .. }
        | Effect::Cut { .. }
        | Effect::Stop { .. }
        | Effect::Kill { .. }
        | Effect::Signal { .. }
        | Effect::Probe { .. }
        | Effect::OpenLogs { .. }
        | Effect::CloseLogs { .. }
        | Effect::Announce(_)
        | Effect::Reply { .. }
        | Effect::Exit => 2,
    }
}
