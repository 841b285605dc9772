//! Going on with what an earlier supervisor has left running: each where it was.

use super::Now;
use super::app::{App, Cast};
use super::burst::Burst;
use super::core::{Place, Supervisor};
use super::drain::Patience;
use super::effect::{Effect, Release};
use super::event::{LeaderExit, RunId};
use super::health::Watch;
use super::instance::{Cause, Due, Ending, Instance, Live, State};
use super::remembered::{OtherThen, Remembered, StateThen};
use super::rollover::{Other, Retreat, Rollover, opposite};
use crate::api::{EventKind, ExitReason, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A process tree that was found, and is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    pub run: RunId,
    pub app: String,
    pub slot: Slot,
    pub index: u16,
    pub pid: i32,
    /// Since the machine booted.
    pub spawned: Duration,
    /// It listens on a private port.
    pub proxied: bool,
    /// What it runs from.
    pub release: Option<Release>,
    /// The fingerprint of the configuration that it was started by, where that says anything.
    pub made_by: Option<u64>,
}

impl Supervisor {
    /// To be called once, before `Event::Began`. Returns those that have no place here: they are to be ended before
    /// anything is started. `changed`: a configuration that changes these apps is going to be applied at once; what had
    /// not had its swap by now is of the one before.
    pub fn adopt(
        &mut self,
        survivors: Vec<Survivor>,
        remembered: &BTreeMap<String, Remembered>,
        changed: &BTreeSet<String>,
        now: Now,
    ) -> Vec<RunId> {
        let mut homeless = Vec::new();
        let mut by_app: BTreeMap<String, Vec<Survivor>> = BTreeMap::new();
        for survivor in survivors {
            by_app.entry(survivor.app.clone()).or_default().push(survivor);
        }
        for i in 0..self.apps.len() {
            let name = self.apps[i].config.name.clone();
            let then = remembered.get(&name);
            let found = by_app.remove(&name).unwrap_or_default();
            let is_changed = changed.contains(&name);
            if let Some(then) = then {
                self.apps[i].recall(then, &found, is_changed, now);
            }
            let outdated = !is_changed && self.apps[i].is_outdated(&found);
            for survivor in found {
                let run = survivor.run;
                if !self.take_in(i, survivor, then, now) {
                    homeless.push(run);
                }
            }
            if let Some(then) = then {
                self.settle_in(i, then, now);
            }
            let app = &self.apps[i];
            if outdated && app.desired && app.rising().is_none() && !app.is_at_rest() {
                // Applied, and the supervisor was killed before it had come to that.
                self.restart_one(i, "supervisor", ExitReason::Restart, now);
            }
        }
        homeless.extend(by_app.into_values().flatten().map(|survivor| survivor.run));
        homeless
    }

    /// One survivor; false when it has no place.
    fn take_in(&mut self, i: usize, survivor: Survivor, then: Option<&Remembered>, now: Now) -> bool {
        let Survivor { run, slot, index, pid, spawned, proxied, release, .. } = survivor;
        let app = &self.apps[i];
        let place = app.instances.iter().position(|instance| (instance.slot, instance.index) == (slot, index));
        let fits = app.is_staffed_or_retiring(slot) && app.config.proxy.is_some() == proxied;
        let is_tried = then.is_some_and(|then| app.was_trying(then));
        let Some(k) = place.filter(|k| fits && !is_tried && app.instances[*k].is_at_rest()) else { return false };
        if app.config.release_of.is_some() {
            // Where its leader went meanwhile, it follows.
            self.apps[i].cast_mut(slot).release.clone_from(&release);
        }
        let app = &self.apps[i];
        let cast = app.cast(slot).clone();
        let mut live = Live { run, pid, generation: cast.generation, spawned, proxied, release };
        let watch = Watch::starting(&cast.config, now);
        let state = then.and_then(|then| then.instance(slot, index)).map(|instance| &instance.state);
        let is_retiring = app.retreat().is_some() && slot != app.slot;
        if let Some(StateThen::Online { run: of, outdated: true, .. } | StateThen::Starting { run: of, outdated: true }) =
            state
            && *of == run.0
        {
            live.generation = cast.generation.saturating_sub(1);
        }
        let (state, leaves) = match state {
            Some(StateThen::Online { run: of, since, .. }) if *of == run.0 => {
                (State::Online { live, watch: watch.online(&cast.config, true, now), since: *since }, false)
            }
            Some(StateThen::Draining { run: of }) if *of == run.0 => {
                (State::Online { live, watch: watch.online(&cast.config, false, now), since: now.mono }, true)
            }
            Some(StateThen::Ending { run: of, kill_at }) if *of == run.0 => {
                let reason = if app.desired { cast.replaced_for } else { ExitReason::Stop };
                let ending = Ending {
                    cause: Cause::Asked(reason),
                    since: now.mono,
                    kill_at: *kill_at,
                    killed: false,
                    leader: None,
                    online_for: Duration::ZERO,
                    start_after: false,
                };
                // It was asked already, and is only watched.
                self.push(Effect::Stop { run, signal: 0 });
                (State::Ending { live, ending }, false)
            }
            // What was not ready in a slot that leaves never served.
            _ if is_retiring => return false,
            _ => (State::Starting { live, watch, due: Due::of(&cast.config, now) }, false),
        };
        self.apps[i].instances[k].state = state;
        self.announce(Some((i, k)), EventKind::Adopted, None, format!("goes on, pid {pid}"));
        if leaves {
            let patience = if is_retiring { Patience::Full } else { Patience::WhileHeld };
            self.leave((i, k), Cause::Asked(cast.replaced_for), patience, now);
        }
        true
    }

    /// Where nobody was found: what was the case there, or what must have happened.
    fn settle_in(&mut self, i: usize, then: &Remembered, now: Now) {
        for k in 0..self.apps[i].instances.len() {
            let instance = &self.apps[i].instances[k];
            let Some(before) = then.instance(instance.slot, instance.index) else { continue };
            if !instance.is_at_rest() {
                continue;
            }
            match before.state.clone() {
                StateThen::Online { run, pid, spawned, since, .. } => {
                    self.lost((i, k), (run, pid), (spawned, since), now);
                }
                StateThen::Backoff { until, reason } => {
                    self.instance_mut((i, k)).state = State::Backoff { until, reason };
                }
                StateThen::Errored { reason, retry_at } => {
                    self.instance_mut((i, k)).state = State::Errored { reason, retry_at };
                }
                StateThen::Resting { done } => self.instance_mut((i, k)).state = State::Resting { done },
                StateThen::Starting { .. } | StateThen::Draining { .. } | StateThen::Ending { .. } => {}
            }
        }
    }

    /// It ended while no supervisor was there to see it.
    fn lost(&mut self, place: Place, (run, pid): (u64, i32), (spawned, since): (Duration, Duration), now: Now) {
        let app = &self.apps[place.0];
        let cast = app.cast(app.instances[place.1].slot).clone();
        let live = Live {
            run: RunId(run),
            pid,
            generation: cast.generation,
            spawned,
            proxied: cast.config.proxy.is_some(),
            release: cast.release.clone(),
        };
        let watch = Watch::starting(&cast.config, now).online(&cast.config, true, now);
        self.instance_mut(place).state = State::Online { live, watch, since };
        self.exited(RunId(run), LeaderExit::UNKNOWN, now);
        self.tree_empty(RunId(run), now);
    }
}

impl App {
    /// Counters, and who was in the other slot; `found` are its survivors.
    fn recall(&mut self, then: &Remembered, found: &[Survivor], changes: bool, now: Now) {
        self.restarts = then.restarts;
        self.swaps = then.swaps;
        self.exits = then.exits.iter().cloned().collect();
        let active = self.slot;
        let is_peopled = found.iter().any(|survivor| survivor.slot != active);
        let other = then.other(active, now.mono);
        // Nobody is there yet who was about to rise: it begins anew. Of what was staged or retiring nothing is left.
        let is_to_rise = matches!(other, OtherThen::Rising { staged: false, .. }) && self.desired;
        if self.config.rolls_over() && (is_peopled || is_to_rise) {
            self.recall_other(other, then.other_release(active), changes, now);
        }
        self.size_with(found);
        for instance in &mut self.instances {
            if let Some(before) = then.instance(instance.slot, instance.index) {
                instance.streak = before.streak;
            }
        }
    }

    fn recall_other(&mut self, other: OtherThen, release: Option<Release>, changes: bool, now: Now) {
        let slot = opposite(self.slot);
        self.rollovers += 1;
        let number = self.rollovers;
        let release = release.filter(|_| self.config.deploy.is_some());
        let (other, replaced_for) = match other {
            OtherThen::Empty => return,
            OtherThen::Rising { .. } if changes => return,
            OtherThen::Rising { reason, by, at, stage, staged, warm } => {
                let since = now.mono;
                (Other::Rising(Rollover { number, reason, by, since, at, stage, staged, warm }), reason)
            }
            OtherThen::Retiring { by, at, warm_until } => {
                let burst = Burst::default();
                let retreat = Retreat { number, by, at, warm_until, awaited: false, burst };
                (Other::Retiring(retreat), ExitReason::Restart)
            }
        };
        let is_rising = matches!(other, Other::Rising(_));
        // The newer of the two is the one that has, or is to have, the traffic.
        let older = self.cast(self.slot).clone();
        let newer = self.next_generation();
        let config = self.config.clone();
        if is_rising {
            *self.cast_mut(slot) = Cast { generation: newer, config, release, replaced_for };
        } else {
            *self.cast_mut(slot) = Cast { generation: older.generation, config, release, replaced_for };
            self.cast_mut(opposite(slot)).generation = newer;
        }
        self.other = other;
    }

    /// A release had taken the place of the active one and was not up yet: what is kept is the one before, and comes back.
    fn was_trying(&self, then: &Remembered) -> bool {
        let release = &self.cast(self.slot).release;
        self.config.deploy.is_some() && then.slot == self.slot && then.release(self.slot) != *release
    }

    /// Was what runs in its active slot started by another configuration?
    fn is_outdated(&self, found: &[Survivor]) -> bool {
        let now = self.cast(self.slot).config.fingerprint();
        found.iter().any(|survivor| survivor.slot == self.slot && survivor.made_by.is_some_and(|made| made != now))
    }

    fn is_staffed_or_retiring(&self, slot: Slot) -> bool {
        self.is_staffed(slot) || self.retreat().is_some()
    }

    /// With a place for each of them that may have one.
    fn size_with(&mut self, found: &[Survivor]) {
        self.size();
        for survivor in found {
            let Survivor { slot, index, .. } = *survivor;
            let is_there = self.instances.iter().any(|instance| (instance.slot, instance.index) == (slot, index));
            if !is_there && index < self.config.instances && self.is_staffed_or_retiring(slot) {
                self.instances.push(Instance::new(slot, index));
            }
        }
        self.instances.sort_by_key(|instance| (instance.slot, instance.index));
    }
}
