//! One app: what is wanted of it, its instances, its counters.

use super::Now;
use super::burst::{Burst, Tally};
use super::effect::{Kept, Release};
use super::event::RunId;
use super::instance::{Held, Instance, State};
use super::publish::Published;
use super::rollover::{Other, Outcome, opposite};
use super::trial::Trial;
use crate::api::{ExitReason, LastExit, Setback, Slot};
use crate::config::{AppConfig, Cron};
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Bad releases remembered: far more than are kept on the disk.
const BAD_KEPT: usize = 50;
/// Exits remembered for `show`.
const EXITS_KEPT: usize = 10;

#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) config: Arc<AppConfig>,
    /// Should it run? Survives a power cut.
    pub(super) desired: bool,
    /// It is no longer in the configuration: forgotten when at rest.
    pub(super) removed: bool,
    /// Who asked last, for the events.
    pub(super) by: String,
    /// The active slot. An app that binds its port itself has one.
    pub(super) slot: Slot,
    /// What the instances of blue and green are made from.
    casts: [Cast; 2],
    /// The slot that is not active.
    pub(super) other: Other,
    /// Of both slots, blue before green.
    pub(super) instances: Vec<Instance>,
    /// The newest generation of either slot.
    newest: u64,
    /// Rollovers begun so far; the number of the last one.
    pub(super) rollovers: u64,
    pub(super) outcomes: VecDeque<(u64, Outcome)>,
    /// Rollovers that failed in a row, and when the next one that nobody asked for may begin.
    pub(super) retry_streak: u32,
    pub(super) retry_at: Duration,
    /// A release whose start nobody serves beside.
    pub(super) trial: Option<Trial>,
    /// Releases that failed after they went live.
    pub(super) bad: Vec<String>,
    pub(super) setback: Option<Setback>,
    pub(super) swaps: u64,
    pub(super) last_drain: Option<Duration>,
    /// What each run has answered through the proxy.
    pub(super) tallies: BTreeMap<RunId, Tally>,
    /// A public address is somebody else's.
    pub(super) port_held: Option<Held>,
    pub(super) published: Option<Published>,
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

/// What the instances of one slot are made from. A slot keeps what it was started with, whatever is applied meanwhile.
#[derive(Debug, Clone)]
pub(super) struct Cast {
    /// Grows with every planned replacement; an instance of an older one is replaced.
    pub(super) generation: u64,
    pub(super) config: Arc<AppConfig>,
    pub(super) release: Option<Release>,
    /// Why instances of older generations are replaced.
    pub(super) replaced_for: ExitReason,
}

impl Cast {
    /// From now on its instances are made from this configuration; from their release only where it is of the same app
    /// as before.
    pub(super) fn take_on(&mut self, config: &Arc<AppConfig>) {
        let is_own = |config: &AppConfig| config.release_of.is_none();
        if config.release_root().is_none() || is_own(config) != is_own(&self.config) {
            self.release = None;
        }
        self.config = config.clone();
    }

    /// The release that is the app's own.
    pub(super) fn own_release(&self) -> Option<&Release> {
        self.release.as_ref().filter(|_| self.config.release_of.is_none())
    }
}

impl App {
    pub(super) fn new(config: Arc<AppConfig>, kept: Option<&Kept>, now: Now) -> App {
        let desired = kept.map_or(config.autostart, |kept| kept.desired);
        // Also where it has only one: what runs is in that.
        let slot = kept.map_or(Slot::Blue, |kept| kept.slot);
        let release = kept.and_then(|kept| kept.release.clone()).filter(|_| config.deploy.is_some());
        let cast = Cast { generation: 1, config: config.clone(), release, replaced_for: ExitReason::Restart };
        let mut app = App {
            desired,
            removed: false,
            by: String::from("supervisor"),
            slot,
            casts: [cast.clone(), cast],
            other: Other::Empty,
            instances: Vec::new(),
            newest: 1,
            rollovers: 0,
            outcomes: VecDeque::new(),
            retry_streak: 0,
            retry_at: Duration::ZERO,
            trial: None,
            bad: kept.map(|kept| kept.bad.clone()).unwrap_or_default(),
            setback: kept.and_then(|kept| kept.setback.clone()),
            swaps: 0,
            last_drain: None,
            tallies: BTreeMap::new(),
            port_held: None,
            published: None,
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

    pub(super) fn cast(&self, slot: Slot) -> &Cast {
        &self.casts[usize::from(slot == Slot::Green)]
    }

    pub(super) fn cast_mut(&mut self, slot: Slot) -> &mut Cast {
        &mut self.casts[usize::from(slot == Slot::Green)]
    }

    /// From now on this configuration is that of both slots, of what runs in them too.
    pub(super) fn follow(&mut self, config: &Arc<AppConfig>, now: Now) {
        let tried = self.trial.iter_mut().map(|trial| &mut trial.before);
        for cast in self.casts.iter_mut().chain(tried) {
            cast.take_on(config);
        }
        for instance in &mut self.instances {
            instance.follow(config, now);
        }
    }

    /// What this instance was made from, or is going to be.
    pub(super) fn config_of(&self, instance: &Instance) -> &Arc<AppConfig> {
        &self.cast(instance.slot).config
    }

    /// For a planned replacement.
    pub(super) fn next_generation(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// It is started anew: with what was applied last, though that never came to be.
    pub(super) fn catch_up(&mut self) {
        if Arc::ptr_eq(&self.cast(self.slot).config, &self.config) {
            return;
        }
        for cast in &mut self.casts {
            cast.take_on(&self.config);
        }
        self.outdate();
    }

    /// What still runs is not what is started next.
    pub(super) fn outdate(&mut self) {
        if !self.is_at_rest() {
            let generation = self.next_generation();
            self.cast_mut(self.slot).generation = generation;
        }
    }

    /// The instances of the active slot.
    pub(super) fn active(&self) -> impl Iterator<Item = &Instance> {
        self.instances.iter().filter(|instance| instance.slot == self.slot)
    }

    /// Is anything to run in this slot?
    pub(super) fn is_staffed(&self, slot: Slot) -> bool {
        slot == self.slot || self.rising().is_some()
    }

    /// As many instances as the configuration says; those too many stay until they are at rest.
    pub(super) fn size(&mut self) {
        let count = self.config.instances;
        let staffed = [Slot::Blue, Slot::Green].map(|slot| (slot, self.is_staffed(slot)));
        self.instances.retain(|instance| {
            let needed = staffed.contains(&(instance.slot, true)) && instance.index < count;
            needed || !instance.is_at_rest()
        });
        for (slot, _) in staffed.into_iter().filter(|(_, staffed)| *staffed) {
            for index in 0..count {
                if !self.instances.iter().any(|instance| instance.slot == slot && instance.index == index) {
                    self.instances.push(Instance::new(slot, index));
                }
            }
        }
        self.instances.sort_by_key(|instance| (instance.slot, instance.index));
        let living: Vec<RunId> = self.instances.iter().filter_map(Instance::run).collect();
        self.tallies.retain(|run, _| living.contains(run));
    }

    /// For a slot that replaces this one: does it do worse?
    pub(super) fn burst(&self, old: Slot, now: Now) -> Burst {
        Burst::after(self.tally(old), self.tally(opposite(old)), now)
    }

    /// All answers of a slot's instances.
    pub(super) fn tally(&self, slot: Slot) -> Tally {
        let of_slot = self.instances.iter().filter(|instance| instance.slot == slot);
        let tallies = of_slot.filter_map(|instance| self.tallies.get(&instance.run()?));
        tallies.fold(Tally::default(), |sum, tally| Tally {
            answered: sum.answered + tally.answered,
            errors: sum.errors + tally.errors,
        })
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

    pub(super) fn is_slot_at_rest(&self, slot: Slot) -> bool {
        self.instances.iter().all(|instance| instance.slot != slot || instance.is_at_rest())
    }

    /// All instances of the active slot's newest generation are online; for a job: it is armed.
    pub(super) fn is_ready(&self) -> bool {
        if self.config.is_job() {
            return self.desired;
        }
        let generation = self.cast(self.slot).generation;
        self.desired && self.port_held.is_none() && self.active().all(|instance| instance.is_online_in(generation))
    }

    /// May what depends on it start? Also when it had a thing to do and has done it.
    pub(super) fn is_enough(&self) -> bool {
        let finished = |instance: &Instance| {
            let clean = instance.last_exit.as_ref().is_some_and(|exit| exit.code == Some(0));
            matches!(instance.state, State::Resting { done: true }) && clean
        };
        self.is_ready() || (self.desired && self.active().all(finished))
    }

    /// Is any tree of its active slot to be ended or ending?
    pub(super) fn is_leaving(&self, wanted: bool) -> bool {
        let newest = self.cast(self.slot).generation;
        self.active().any(|instance| match &instance.state {
            State::Spawning { generation, .. } => !wanted || *generation < newest,
            State::Starting { live, .. } | State::Online { live, .. } => !wanted || live.generation < newest,
            State::Draining { .. } | State::Ending { .. } => true,
            State::Resting { .. } | State::Waiting { .. } | State::Backoff { .. } | State::Errored { .. } => false,
        })
    }

    /// When the job that runs now has had its time.
    pub(super) fn times_out_at(&self) -> Option<Duration> {
        let timeout = self.config.timeout.filter(|_| self.config.is_job())?;
        let running = self.instances.iter().filter(|instance| instance.state.is_running()).filter_map(Instance::live);
        // What ran as a service before it became a job has no timeout.
        let newest = self.cast(self.slot).generation;
        running.filter(|live| live.generation >= newest).map(|live| live.spawned + timeout).min()
    }

    /// It failed while it was live; what to add where that is told.
    pub(super) fn mark_bad(&mut self, release: Option<&Release>) -> String {
        let Some(Release { id, .. }) = release else { return String::new() };
        if !self.bad.contains(id) {
            self.bad.push(id.clone());
            let oldest = self.bad.len().saturating_sub(BAD_KEPT);
            self.bad.drain(..oldest);
        }
        format!(", release {id} is marked bad")
    }

    /// It gets another chance, and what is told of it is told anew.
    pub(super) fn forgive(&mut self, release: &Release) {
        self.bad.retain(|bad| *bad != release.id);
        self.setback.take_if(|setback| setback.release == release.id);
    }

    /// It is not active, or no longer; `why` goes on after “it ”.
    pub(super) fn set_back(&mut self, release: Option<&Release>, why: &str) {
        let Some(Release { id, .. }) = release else { return };
        self.setback = Some(Setback { release: id.clone(), why: why.to_owned() });
    }

    pub(super) fn remember(&mut self, exit: LastExit) {
        self.exits.push_front(exit);
        self.exits.truncate(EXITS_KEPT);
    }

    pub(super) fn failed(&mut self, generation: u64, why: String) {
        if generation >= self.cast(self.slot).generation {
            self.failures += 1;
            self.last_failure = why;
        }
    }
}
