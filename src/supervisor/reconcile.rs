//! From what is to what is wanted: one pass over every app, again until nothing moves.

use super::Now;
use super::app::App;
use super::core::{Place, Supervisor};
use super::effect::Effect;
use super::event::RunId;
use super::health::{Check, STARTING_INTERVAL};
use super::instance::{Due, State, Wait, unreleased, waits_for};
use super::roles::Role;
use super::rollover::opposite;
use super::view::seconds;
use crate::api::{EventKind, ExitReason};
use jiff::SignedDuration;
use std::time::Duration;

/// A calendar that is corrected by less than this keeps its schedules, so that none fires twice.
const WALL_SLACK: SignedDuration = SignedDuration::from_secs(60);
/// What forks while it is killed can survive one round.
const KILL_AGAIN: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) fn reconcile(&mut self, now: Now) {
        self.keep_schedules(now);
        loop {
            let mut moved = self.follow_releases();
            for i in 0..self.apps.len() {
                self.apps[i].size();
                moved |= self.advance_trial(i) || self.advance_other(i, now) || self.heal(i, now);
                for k in 0..self.apps[i].instances.len() {
                    moved |= self.advance((i, k), now);
                }
            }
            if !moved {
                break;
            }
        }
        self.forget_removed();
    }

    /// Job times and `cron_restart`.
    fn keep_schedules(&mut self, now: Now) {
        let set_back = now.wall.saturating_add(WALL_SLACK).is_ok_and(|wall| wall < self.wall_seen);
        self.wall_seen = now.wall;
        if set_back {
            self.apps.iter_mut().for_each(|app| app.rearm(now));
        }
        for i in 0..self.apps.len() {
            let app = &self.apps[i];
            let tick = app.next_tick.is_some_and(|at| at <= now.wall);
            let cron_restart = app.next_cron_restart.is_some_and(|at| at <= now.wall);
            if !tick && !cron_restart {
                continue;
            }
            self.apps[i].rearm(now);
            if !self.wanted(i) {
                continue;
            }
            let at_rest = self.apps[i].is_at_rest();
            if tick && at_rest {
                self.apps[i].run_now = true;
            }
            if tick && !at_rest {
                let message = "its time came while it still ran: skipped".to_owned();
                self.announce(Some((i, 0)), EventKind::Skipped, None, message);
            }
            if cron_restart {
                self.restart_by_schedule(i, now);
            }
        }
    }

    /// What was replaced just now need not be again, and who still drains for it is let finish.
    fn restart_by_schedule(&mut self, i: usize, now: Now) {
        let app = &self.apps[i];
        let (slot, name) = (app.slot, &app.config.name);
        let why_not = if !app.is_ready() {
            Some(format!("{name} is not up"))
        } else if app.retreat().is_some() {
            Some(format!("{name} has just been replaced, and {} is not gone yet", opposite(slot)))
        } else {
            None
        };
        if let Some(why) = why_not {
            return self.announce_slot(i, slot, EventKind::Skipped, format!("cron_restart is skipped: {why}"));
        }
        self.announce_slot(i, slot, EventKind::Requested, "restart requested by cron_restart".to_owned());
        self.restart_one(i, "cron_restart", ExitReason::Restart, now);
    }

    /// One step of one instance; did it move?
    fn advance(&mut self, place: Place, now: Now) -> bool {
        let wanted = self.wants(place);
        match &self.apps[place.0].instances[place.1].state {
            State::Spawning { .. } => false,
            State::Draining { .. } => self.advance_draining(place, now),
            State::Ending { .. } => self.advance_ending(place, now),
            State::Starting { .. } | State::Online { .. } => self.advance_running(place, wanted, now),
            State::Resting { done: true } if wanted => false,
            State::Resting { .. } if wanted && self.has_no_room(place) => false,
            State::Resting { .. } if wanted => self.try_spawn(place, now),
            State::Resting { .. } => false,
            State::Waiting { .. } | State::Backoff { .. } | State::Errored { .. } if !wanted => {
                let instance = self.instance_mut(place);
                instance.held = None;
                instance.state = State::Resting { done: false };
                true
            }
            State::Waiting { wait: Wait::Port { retry_at }, .. } => *retry_at <= now.mono && self.try_spawn(place, now),
            State::Waiting { wait: Wait::Release(_) | Wait::Dependencies(_) | Wait::Schedule, .. } => {
                self.try_spawn(place, now)
            }
            State::Backoff { until, .. } => *until <= now.mono && self.try_spawn(place, now),
            State::Errored { retry_at, .. } => retry_at.is_some_and(|at| at <= now.mono) && self.try_spawn(place, now),
        }
    }

    /// Spawn it, or say what it waits for.
    fn try_spawn(&mut self, place: Place, now: Now) -> bool {
        if self.has_no_room(place) {
            self.instance_mut(place).state = State::Resting { done: false };
            return true;
        }
        let app = &self.apps[place.0];
        let cast = app.cast(app.instances[place.1].slot);
        let awaited = cast.config.release_of.as_ref().filter(|_| cast.release.is_none());
        let wait = if app.config.is_job() && !app.run_now {
            Wait::Schedule
        } else if let Some(of) = awaited {
            Wait::Release(of.app.clone())
        } else {
            // What is to take over from somebody who serves waits for nobody.
            let unready = match self.role(place) {
                Role::Active => self.unready_dependencies(place.0),
                Role::Rising | Role::Retiring => Vec::new(),
            };
            if unready.is_empty() {
                self.spawn(place);
                return true;
            }
            Wait::Dependencies(unready)
        };
        let (since, same) = match &self.apps[place.0].instances[place.1].state {
            State::Waiting { wait: before, since } => (*since, *before == wait),
            State::Resting { .. }
            | State::Spawning { .. }
            | State::Starting { .. }
            | State::Online { .. }
            | State::Draining { .. }
            | State::Ending { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => (now.mono, false),
        };
        if same {
            return false;
        }
        match &wait {
            Wait::Release(app) => {
                self.announce(Some(place), EventKind::Waiting, None, format!("waits: {}", unreleased(app)));
            }
            Wait::Dependencies(apps) => self.announce(Some(place), EventKind::Waiting, None, waits_for(apps)),
            Wait::Port { .. } | Wait::Schedule => {}
        }
        self.instance_mut(place).state = State::Waiting { wait, since };
        true
    }

    fn advance_running(&mut self, place: Place, wanted: bool, now: Now) -> bool {
        let app = &self.apps[place.0];
        let config = app.config.clone();
        let instance = &app.instances[place.1];
        let newest = app.cast(instance.slot).generation;
        let outdated = instance.live().is_some_and(|live| live.generation < newest);
        let to_end = !wanted || outdated;
        let slot_goes_on = self.role(place) != Role::Active;
        if to_end && (slot_goes_on || self.is_out_of_time(now) || !self.dependents_are_leaving(place.0)) {
            self.dismiss(place, now);
            return true;
        }
        if app.times_out_at().is_some_and(|at| at <= now.mono) {
            let timeout = config.timeout.unwrap_or_default();
            let detail = format!("ran longer than its timeout of {}", seconds(timeout));
            self.replace(place, ExitReason::Unhealthy, detail, now);
            return true;
        }
        self.keep_watch(place, now)
    }

    /// Probes, readiness by time, and the end of patience with an instance that does not become ready.
    fn keep_watch(&mut self, place: Place, now: Now) -> bool {
        let app = &self.apps[place.0];
        let config = app.config_of(&app.instances[place.1]).clone();
        let starting_check = self.starting_check(place);
        match &mut self.instance_mut(place).state {
            State::Starting { live, watch, due: Due::Settles(at) } if *at <= now.mono => {
                let (live, watch) = (live.clone(), watch.clone());
                self.online(place, live, watch, now);
                true
            }
            State::Starting { watch, due: Due::GivesUp(at), .. } if *at <= now.mono => {
                let why = watch.last_failure.clone().unwrap_or_else(|| "no answer".to_owned());
                let patience = seconds(config.health.start_timeout);
                let detail = format!("was not ready within {patience}: {why}");
                match self.role(place) {
                    Role::Rising => self.fail_rollover(place.0, &detail, now),
                    Role::Active | Role::Retiring => self.replace(place, ExitReason::Unhealthy, detail, now),
                }
                true
            }
            State::Starting { live, watch, .. } => {
                let run = live.run;
                let ask = watch.ask(now, STARTING_INTERVAL);
                self.probe_if(ask, run, starting_check);
                false
            }
            State::Online { live, watch, .. } => {
                let run = live.run;
                let ask = watch.ask(now, config.health.interval);
                self.probe_if(ask, run, Check::of(&config));
                false
            }
            State::Resting { .. }
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Draining { .. }
            | State::Ending { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => false,
        }
    }

    fn probe_if(&mut self, ask: bool, run: RunId, check: Option<Check>) {
        if let Some(check) = check.filter(|_| ask) {
            self.push(Effect::Probe { run, check });
        }
    }

    fn advance_ending(&mut self, place: Place, now: Now) -> bool {
        let out_of_time = self.is_out_of_time(now);
        let instance = self.instance_mut(place);
        let State::Ending { live, ending } = &mut instance.state else { return false };
        let due = ending.kill_at <= now.mono || (out_of_time && !ending.killed);
        if !due {
            return false;
        }
        let run = live.run;
        let first = !std::mem::replace(&mut ending.killed, true);
        ending.kill_at = now.mono + KILL_AGAIN;
        if first {
            let waited = seconds(now.mono.saturating_sub(ending.since));
            self.announce(Some(place), EventKind::Killed, None, format!("did not end within {waited}: killed"));
        }
        self.push(Effect::Kill { run });
        true
    }

    /// What has to be alone waits until the other slot is empty.
    fn has_no_room(&self, place: Place) -> bool {
        let app = &self.apps[place.0];
        app.runs_alone() && !app.is_slot_at_rest(opposite(app.instances[place.1].slot))
    }

    /// Those it depends on that are not ready.
    fn unready_dependencies(&self, i: usize) -> Vec<String> {
        let needed = &self.apps[i].config.depends_on;
        let ready = |name: &String| self.app(name).is_some_and(App::is_enough);
        needed.iter().filter(|name| !ready(name)).cloned().collect()
    }

    /// Is an app that depends on this one about to end, too? Then it ends first.
    fn dependents_are_leaving(&self, i: usize) -> bool {
        let name = &self.apps[i].config.name;
        self.apps.iter().enumerate().any(|(other, app)| {
            let wanted = app.desired && !app.removed && self.shutdown.is_none();
            other != i && app.config.depends_on.contains(name) && app.is_leaving(wanted)
        })
    }

    fn forget_removed(&mut self) {
        let is_gone = |app: &App| app.removed && app.is_at_rest();
        for i in 0..self.apps.len() {
            if is_gone(&self.apps[i]) {
                self.publish_app(i);
            }
        }
        let gone: Vec<String> =
            self.apps.iter().filter(|app| is_gone(app)).map(|app| app.config.name.clone()).collect();
        self.apps.retain(|app| !is_gone(app));
        for app in gone {
            self.push(Effect::CloseLogs { app });
        }
    }

    pub(super) fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.config.name == name)
    }
}
