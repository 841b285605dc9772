//! The one state machine: every event goes through [`Supervisor::handle`], and only there.

use super::Now;
use super::app::App;
use super::backoff::{End, Next, Streak};
use super::effect::{Announcement, Effect, Reply};
use super::event::{Event, LeaderExit, Request, RequestId, RunId, SpawnRefusal};
use super::health::{Verdict, Watch, check_of, good_needed, settles_after};
use super::instance::{Cause, Due, Ending, Held, Instance, Live, State, Wait, online_for};
use super::pending::Pending;
use crate::api::{EventKind, ExitReason, LastExit, Refusal, RefusalCode};
use crate::config::Config;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often a held port is looked at again.
const PORT_RETRY: Duration = Duration::from_secs(1);
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
    desired_changed: bool,
}

pub(super) struct Shutdown {
    /// What still runs then is killed.
    pub(super) kill_at: Duration,
    /// Who waits for the end.
    pub(super) asked: Vec<RequestId>,
    pub(super) exited: bool,
}

/// Where an instance stands: the app's place and the instance's place in it.
pub(super) type Place = (usize, usize);

impl Supervisor {
    /// `desired`: what earlier supervisors were told of each app; `autostart` decides for the others.
    /// `first_run` is a number that no living tree of an earlier supervisor carries.
    pub fn new(config: Arc<Config>, desired: &BTreeMap<String, bool>, first_run: u64, now: Now) -> Supervisor {
        let wanted = |name: &str, autostart| desired.get(name).copied().unwrap_or(autostart);
        let apps = config.apps.iter().map(|app| App::new(app.clone(), wanted(&app.name, app.autostart), now)).collect();
        Supervisor {
            config,
            apps,
            pending: Vec::new(),
            shutdown: None,
            began: false,
            next_run: first_run,
            effects: Vec::new(),
            desired_changed: false,
        }
    }

    /// What happened, at `now`; returns what is to be done, in this order.
    pub fn handle(&mut self, event: Event, now: Now) -> Vec<Effect> {
        match event {
            Event::Began => self.begin(),
            Event::Tick => {}
            Event::Requested { id, by, request } => self.requested(id, &by, request, now),
            Event::Abandoned { id } => self.pending.retain(|pending| pending.id != id),
            Event::Spawned { run, pid } => self.spawned(run, pid, now),
            Event::SpawnRefused { run, refusal } => self.spawn_refused(run, refusal, now),
            Event::Exited { run, exit } => self.exited(run, exit, now),
            Event::TreeEmpty { run } => self.tree_empty(run, now),
            Event::Probed { run, outcome } => self.probed(run, outcome, now),
            Event::MemorySampled { run, bytes } => {
                if !self.memory_sampled(run, bytes, now) {
                    return Vec::new();
                }
            }
        }
        if self.began {
            self.reconcile(now);
        }
        self.settle(now);
        self.finish_shutdown();
        let mut effects = std::mem::take(&mut self.effects);
        if std::mem::take(&mut self.desired_changed) {
            effects.insert(0, Effect::SaveDesired(self.desired()));
        }
        effects
    }

    /// The next moment at which `Event::Tick` is due.
    pub fn deadline(&self, now: Now) -> Option<Duration> {
        let instances = self.apps.iter().flat_map(|app| app.instances.iter().filter_map(Instance::deadline));
        let jobs = self.apps.iter().filter_map(App::times_out_at);
        let wall = self.apps.iter().flat_map(|app| [app.next_tick, app.next_cron_restart]).flatten();
        let wall = wall.map(|at| {
            let left = Duration::try_from(at.duration_since(now.wall)).unwrap_or_default();
            now.mono + left.min(WALL_RECHECK)
        });
        let waiters = self.pending.iter().filter_map(|pending| pending.deadline(&self.apps));
        let shutdown = self.shutdown.as_ref().map(|shutdown| shutdown.kill_at).filter(|at| *at > now.mono);
        instances.chain(jobs).chain(wall).chain(waiters).chain(shutdown).min()
    }

    /// What should run, as it is to survive a power cut.
    pub fn desired(&self) -> BTreeMap<String, bool> {
        let kept = self.apps.iter().filter(|app| !app.removed);
        kept.map(|app| (app.config.name.clone(), app.desired)).collect()
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

    fn requested(&mut self, id: RequestId, by: &str, request: Request, now: Now) {
        if self.shutdown.is_some() && !matches!(request, Request::Shutdown | Request::Stop { .. }) {
            let refusal = Refusal::new(RefusalCode::Busy, "the supervisor is shutting down")
                .hint("wait until it is gone, then start it again");
            return self.push(Effect::Reply { id, reply: Reply::Refused(refusal) });
        }
        match request {
            Request::Start { apps, wait } => self.start(id, by, &apps, wait, now),
            Request::Stop { apps, wait } => self.stop(id, by, &apps, wait, now),
            Request::Restart { apps, wait } => self.restart(id, by, &apps, wait, now),
            Request::Reset { apps } => self.reset(id, by, &apps),
            Request::Signal { apps, signal } => self.signal(id, by, &apps, signal),
            Request::Apply { config, wait } => self.apply(id, by, &config, wait, now),
            Request::Shutdown => self.begin_shutdown(id, by, now),
        }
    }

    fn begin_shutdown(&mut self, id: RequestId, by: &str, now: Now) {
        self.announce(None, EventKind::Supervisor, Some(by), "shuts down".to_owned());
        let kill_at = now.mono + self.config.supervisor.shutdown_timeout;
        let shutdown = self.shutdown.get_or_insert(Shutdown { kill_at, asked: Vec::new(), exited: false });
        shutdown.asked.push(id);
    }

    fn finish_shutdown(&mut self) {
        let at_rest = self.apps.iter().all(App::is_at_rest);
        let Some(shutdown) = self.shutdown.as_mut().filter(|shutdown| at_rest && !shutdown.exited) else {
            return;
        };
        shutdown.exited = true;
        for id in std::mem::take(&mut shutdown.asked) {
            self.effects.push(Effect::Reply { id, reply: Reply::Actions(Vec::new()) });
        }
        self.effects.push(Effect::Exit);
    }

    fn spawned(&mut self, run: RunId, pid: i32, now: Now) {
        let Some((i, k)) = self.place_of(run) else {
            return self.push(Effect::Kill { run });
        };
        let config = self.apps[i].config.clone();
        let instance = &mut self.apps[i].instances[k];
        let State::Spawning { generation, .. } = instance.state else { return };
        let due = match check_of(&config) {
            Some(_) => Due::GivesUp(now.mono + config.health.start_timeout),
            None => Due::Settles(now.mono + settles_after(&config)),
        };
        let live = Live { run, pid, generation, spawned: now.mono };
        instance.held = None;
        instance.state = State::Starting { live, watch: Watch::starting(&config, now), due };
        self.announce(Some((i, k)), EventKind::Started, None, format!("started, pid {pid}"));
    }

    fn spawn_refused(&mut self, run: RunId, refusal: SpawnRefusal, now: Now) {
        let Some(place) = self.place_of(run) else { return };
        match refusal {
            SpawnRefusal::PortHeld { holder } => self.port_held(place, holder, now),
            SpawnRefusal::Failed { reason } => self.spawn_failed(place, reason, now),
        }
    }

    fn port_held(&mut self, place: Place, holder: String, now: Now) {
        let instance = self.instance_mut(place);
        let since = instance.held.as_ref().map_or(now.mono, |held| held.since);
        let news = instance.held.as_ref().is_none_or(|held| held.holder != holder);
        instance.held = Some(Held { holder: holder.clone(), since });
        instance.state = State::Waiting { wait: Wait::Port { retry_at: now.mono + PORT_RETRY }, since };
        if news {
            self.announce(Some(place), EventKind::Waiting, None, holder);
        }
    }

    fn spawn_failed(&mut self, place: Place, reason: String, now: Now) {
        let (i, _) = place;
        let config = self.apps[i].config.clone();
        let instance = self.instance_mut(place);
        let State::Spawning { generation, .. } = instance.state else { return };
        let exit = LastExit {
            code: None,
            signal: None,
            reason: ExitReason::SpawnFailed,
            at: now.wall,
            detail: Some(reason.clone()),
        };
        let news = instance.last_exit.as_ref().and_then(|last| last.detail.as_ref()) != Some(&reason);
        instance.held = None;
        instance.last_exit = Some(exit.clone());
        let retry_at = match instance.streak.after(End::NotSpawned, Duration::ZERO, &config) {
            Next::Restart { after } => Some(now.mono + after),
            Next::Rest | Next::GiveUp { .. } => None,
        };
        instance.state = State::Errored { reason: reason.clone(), retry_at };
        if news {
            self.apps[i].remember(exit);
            self.announce(Some(place), EventKind::Errored, None, reason.clone());
        }
        self.apps[i].failed(generation, reason);
    }

    fn exited(&mut self, run: RunId, exit: LeaderExit, now: Now) {
        let Some(place) = self.place_of(run) else { return };
        let said = exit.to_string();
        match &mut self.instance_mut(place).state {
            State::Ending { ending, .. } => ending.leader = Some(exit),
            State::Starting { .. } | State::Online { .. } => {
                self.end(place, Cause::Itself, Some(exit), now);
                let clean_end = self.apps[place.0].config.is_job() && said == "exited with code 0";
                self.announce(Some(place), EventKind::Exited, None, said.clone());
                if !clean_end {
                    self.note_failure(place, said);
                }
            }
            State::Resting { .. }
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => {}
        }
    }

    fn probed(&mut self, run: RunId, outcome: Result<(), String>, now: Now) {
        let Some(place) = self.place_of(run) else { return };
        let config = self.apps[place.0].config.clone();
        let instance = self.instance_mut(place);
        if let Err(failure) = &outcome {
            instance.probe_failure = Some(failure.clone());
        }
        let needs = (good_needed(&config), config.health.unhealthy);
        match &mut instance.state {
            State::Starting { live, watch, .. } => {
                let verdict = watch.answer(outcome, (needs.0, u32::MAX));
                if verdict == Verdict::BecameHealthy {
                    let (live, watch) = (live.clone(), watch.clone());
                    self.online(place, live, watch, now);
                }
            }
            State::Online { watch, .. } => match watch.answer(outcome, needs) {
                Verdict::Unchanged => {}
                Verdict::BecameHealthy => {
                    self.announce(Some(place), EventKind::Health, None, "is healthy again".to_owned());
                }
                Verdict::BecameUnhealthy => {
                    let failure = watch.last_failure.clone().unwrap_or_default();
                    let detail = format!("failed {} probes in a row: {failure}", needs.1);
                    self.announce(Some(place), EventKind::Health, None, detail.clone());
                    self.replace(place, ExitReason::Unhealthy, detail, now);
                }
            },
            State::Resting { .. }
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Ending { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => {}
        }
    }

    /// Did it change anything?
    fn memory_sampled(&mut self, run: RunId, bytes: u64, now: Now) -> bool {
        let Some(place) = self.place_of(run) else { return false };
        let limit = self.apps[place.0].config.max_memory_restart;
        let running = matches!(self.instance_mut(place).state, State::Starting { .. } | State::Online { .. });
        let Some(limit) = limit.filter(|limit| running && bytes > *limit) else { return false };
        let detail =
            format!("its memory of {} passed the limit of {}", super::view::bytes(bytes), super::view::bytes(limit));
        self.announce(Some(place), EventKind::Breach, None, detail.clone());
        self.replace(place, ExitReason::Memory, detail, now);
        true
    }

    fn tree_empty(&mut self, run: RunId, now: Now) {
        let Some(place) = self.place_of(run) else { return };
        if !matches!(self.instance_mut(place).state, State::Ending { .. }) {
            let exit = LeaderExit { code: None, signal: None, oom: false };
            self.exited(run, exit, now);
        }
        let State::Ending { live, ending } = self.instance_mut(place).state.clone() else { return };
        self.ended(place, &live, &ending, now);
    }

    /// Its last process is gone: write it into the books and decide what follows.
    fn ended(&mut self, place: Place, live: &Live, ending: &Ending, now: Now) {
        let wanted = self.wants(place);
        let app = &mut self.apps[place.0];
        let config = app.config.clone();
        let exit = ending.record(now.wall);
        app.remember(exit.clone());
        let outdated = live.generation < app.generation;
        let instance = &mut app.instances[place.1];
        instance.last_exit = Some(exit);
        instance.state = State::Resting { done: false };
        let end = match (&ending.cause, &ending.leader) {
            (Cause::Asked(_), _) => None,
            (Cause::Itself, Some(exit)) => Some(End::Itself(exit)),
            (Cause::Itself, None) | (Cause::Replaced(..), _) => Some(End::Replaced),
        };
        let Some(end) = end.filter(|_| wanted && !outdated && !config.is_job()) else {
            instance.streak = Streak::default();
            let took = super::view::seconds(now.mono.saturating_sub(ending.since));
            return self.announce(Some(place), EventKind::Stopped, None, format!("its tree is empty after {took}"));
        };
        let why = self.apps[place.0].last_failure.clone();
        let app = &mut self.apps[place.0];
        let instance = &mut app.instances[place.1];
        match instance.streak.after(end, ending.online_for, &config) {
            Next::Rest => instance.state = State::Resting { done: true },
            Next::GiveUp { reason } => {
                let reason = format!("{reason}; last time it {why}");
                instance.state = State::Errored { reason: reason.clone(), retry_at: None };
                self.announce(Some(place), EventKind::Errored, None, reason);
            }
            Next::Restart { after } => {
                app.restarts += 1;
                if !after.is_zero() {
                    let reason = format!("{why}; restarted after a delay of {}", super::view::seconds(after));
                    instance.state = State::Backoff { until: now.mono + after, reason: reason.clone() };
                    self.announce(Some(place), EventKind::Backoff, None, reason);
                }
            }
        }
    }

    /// It is ready.
    pub(super) fn online(&mut self, place: Place, live: Live, watch: Watch, now: Now) {
        let config = self.apps[place.0].config.clone();
        let took = super::view::seconds(now.mono.saturating_sub(live.spawned));
        let instance = self.instance_mut(place);
        instance.probe_failure = None;
        instance.state = State::Online { live, watch: watch.online(&config, now), since: now.mono };
        self.announce(Some(place), EventKind::Online, None, format!("online after {took}"));
    }

    /// End it because of what it does, to start it afresh.
    pub(super) fn replace(&mut self, place: Place, reason: ExitReason, detail: String, now: Now) {
        self.note_failure(place, detail.clone());
        self.end(place, Cause::Replaced(reason, detail), None, now);
    }

    /// Ask its whole tree to end.
    pub(super) fn end(&mut self, place: Place, cause: Cause, leader: Option<LeaderExit>, now: Now) {
        let config = self.apps[place.0].config.clone();
        let instance = self.instance_mut(place);
        let Some(live) = instance.live().cloned() else { return };
        let ending = Ending {
            cause,
            since: now.mono,
            kill_at: Some(now.mono + config.kill_timeout),
            leader,
            online_for: online_for(&instance.state, now),
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
        let (config, slot, generation) = (app.config.clone(), app.slot, app.generation);
        let instance = &mut app.instances[place.1];
        instance.state = State::Spawning { run, generation };
        let index = instance.index;
        self.push(Effect::Spawn { run, app: config, slot, index });
    }

    fn note_failure(&mut self, place: Place, why: String) {
        let app = &mut self.apps[place.0];
        let generation = app.instances[place.1].live().map_or(0, |live| live.generation);
        app.failed(generation, why);
    }

    /// Should this instance have a process?
    pub(super) fn wants(&self, (i, k): Place) -> bool {
        let app = &self.apps[i];
        let counted = app.instances[k].index < app.config.instances;
        app.desired && !app.removed && counted && self.shutdown.is_none()
    }

    pub(super) fn instance_mut(&mut self, (i, k): Place) -> &mut Instance {
        &mut self.apps[i].instances[k]
    }

    fn place_of(&self, run: RunId) -> Option<Place> {
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
        app.desired = desired;
        app.by = by.to_owned();
    }

    pub(super) fn desired_changed(&mut self) {
        self.desired_changed = true;
    }

    pub(super) fn announce(&mut self, place: Option<Place>, kind: EventKind, by: Option<&str>, message: String) {
        let app = place.map(|(i, _)| &self.apps[i]);
        let live = place.and_then(|(i, k)| self.apps[i].instances[k].live());
        let announcement = Announcement {
            app: app.map(|app| app.config.name.clone()),
            kind,
            by: by.map(str::to_owned),
            slot: app.map(|app| app.slot),
            pid: live.map(|live| live.pid),
            message,
        };
        self.push(Effect::Announce(announcement));
    }
}
