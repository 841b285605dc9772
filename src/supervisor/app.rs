//! One app: what is wanted of it, its instances, its counters.

use super::Now;
use super::instance::{Instance, State};
use crate::api::{ExitReason, LastExit, Slot};
use crate::config::{AppConfig, Cron};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Exits remembered for `show`.
const EXITS_KEPT: usize = 10;

#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) config: Arc<AppConfig>,
    /// Should it run? Survives a power cut.
    pub(super) desired: bool,
    /// It is no longer in the configuration: forgotten when at rest.
    pub(super) removed: bool,
    /// Grows with every planned replacement; an instance of an older one is replaced.
    pub(super) generation: u64,
    /// Why instances of older generations are replaced.
    pub(super) replaced_for: ExitReason,
    /// Who asked last, for the events.
    pub(super) by: String,
    /// The active slot. An app that binds its port itself has one.
    pub(super) slot: Slot,
    pub(super) instances: Vec<Instance>,
    pub(super) restarts: u64,
    /// Unplanned ends and refused spawns of the newest generation; who waits for it looks at it.
    pub(super) failures: u64,
    pub(super) last_failure: String,
    pub(super) exits: VecDeque<LastExit>,
    /// A job's next time.
    pub(super) next_tick: Option<Timestamp>,
    pub(super) next_cron_restart: Option<Timestamp>,
    /// A job that is run now, out of its schedule.
    pub(super) run_now: bool,
}

impl App {
    pub(super) fn new(config: Arc<AppConfig>, desired: bool, now: Now) -> App {
        let mut app = App {
            desired,
            removed: false,
            generation: 1,
            replaced_for: ExitReason::Restart,
            by: String::from("supervisor"),
            slot: Slot::Blue,
            instances: Vec::new(),
            restarts: 0,
            failures: 0,
            last_failure: String::new(),
            exits: VecDeque::new(),
            next_tick: None,
            next_cron_restart: None,
            run_now: false,
            config,
        };
        app.size();
        app.rearm(now);
        app
    }

    /// As many instances as the configuration says; those too many stay until they are at rest.
    pub(super) fn size(&mut self) {
        let count = self.config.instances;
        self.instances.retain(|instance| instance.index < count || !instance.is_at_rest());
        for index in 0..count {
            if !self.instances.iter().any(|instance| instance.index == index) {
                self.instances.push(Instance::new(index));
            }
        }
        self.instances.sort_by_key(|instance| instance.index);
    }

    /// The next times of its schedules, counted from now.
    pub(super) fn rearm(&mut self, now: Now) {
        let next = |cron: &Option<Cron>| cron.as_ref().and_then(|cron| cron.next_after(now.wall));
        self.next_tick = next(&self.config.schedule);
        self.next_cron_restart = next(&self.config.cron_restart);
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.instances.iter().all(Instance::is_at_rest)
    }

    /// All instances of the newest generation are online; for a job: it is armed.
    pub(super) fn is_ready(&self) -> bool {
        if self.config.is_job() {
            return self.desired;
        }
        self.desired && self.instances.iter().all(|instance| instance.is_online_in(self.generation))
    }

    /// May what depends on it start? Also when it had a thing to do and has done it.
    pub(super) fn is_enough(&self) -> bool {
        let finished = |instance: &Instance| {
            let clean = instance.last_exit.as_ref().is_some_and(|exit| exit.code == Some(0));
            matches!(instance.state, State::Resting { done: true }) && clean
        };
        self.is_ready() || (self.desired && self.instances.iter().all(finished))
    }

    /// Is any of its trees to be ended or ending?
    pub(super) fn is_leaving(&self, wanted: bool) -> bool {
        self.instances.iter().any(|instance| match &instance.state {
            State::Spawning { generation, .. } => !wanted || *generation < self.generation,
            State::Starting { live, .. } | State::Online { live, .. } => !wanted || live.generation < self.generation,
            State::Ending { .. } => true,
            State::Resting { .. } | State::Waiting { .. } | State::Backoff { .. } | State::Errored { .. } => false,
        })
    }

    /// When the job that runs now has had its time.
    pub(super) fn times_out_at(&self) -> Option<Duration> {
        let timeout = self.config.timeout.filter(|_| self.config.is_job())?;
        let running = self.instances.iter().find(|instance| instance.state.is_running())?;
        running.live().map(|live| live.spawned + timeout)
    }

    pub(super) fn remember(&mut self, exit: LastExit) {
        self.exits.push_front(exit);
        self.exits.truncate(EXITS_KEPT);
    }

    pub(super) fn failed(&mut self, generation: u64, why: String) {
        if generation >= self.generation {
            self.failures += 1;
            self.last_failure = why;
        }
    }
}
