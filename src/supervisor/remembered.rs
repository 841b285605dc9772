//! What is meaningful only within this boot: written down at every change, for the supervisor that goes on after this one
//! was killed.

use super::app::App;
use super::backoff::Streak;
use super::core::Supervisor;
use super::effect::{Kept, Release};
use super::instance::{Instance, State};
use super::rollover::{Other, opposite};
use crate::api::{ExitReason, LastExit, Slot};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One app, as it was at the last change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    /// The active slot: another one on the disk tells that a swap came after this.
    pub(super) slot: Slot,
    /// Of blue and of green.
    pub(super) releases: [Option<Release>; 2],
    pub(super) other: OtherThen,
    pub(super) instances: Vec<InstanceThen>,
    /// What was to be on the disk.
    pub(super) kept: Kept,
    pub(super) restarts: u64,
    pub(super) swaps: u64,
    pub(super) exits: Vec<LastExit>,
}

/// The slot that was not active.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum OtherThen {
    Empty,
    Rising { reason: ExitReason, by: String, at: Timestamp, stage: bool, staged: bool, warm: Duration },
    Retiring { by: String, at: Timestamp, warm_until: Option<Duration> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct InstanceThen {
    pub(super) slot: Slot,
    pub(super) index: u16,
    pub(super) streak: Streak,
    pub(super) state: StateThen,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum StateThen {
    Resting {
        done: bool,
    },
    /// Its process is, or is about to be, and is not ready.
    Starting {
        run: u64,
        outdated: bool,
    },
    Online {
        run: u64,
        pid: i32,
        spawned: Duration,
        since: Duration,
        /// It is to be replaced, and waits for its dependents to end.
        outdated: bool,
    },
    /// It gets no more requests and finishes those that it has.
    Draining {
        run: u64,
    },
    /// It was asked to end.
    Ending {
        run: u64,
        kill_at: Duration,
    },
    Backoff {
        until: Duration,
        reason: String,
    },
    Errored {
        reason: String,
        retry_at: Option<Duration>,
    },
}

impl Supervisor {
    /// For whoever goes on with what runs.
    pub fn remembered(&self) -> BTreeMap<String, Remembered> {
        let apps = self.apps.iter().filter(|app| !app.removed);
        apps.map(|app| (app.config.name.clone(), app.remembered())).collect()
    }
}

impl App {
    fn remembered(&self) -> Remembered {
        Remembered {
            slot: self.slot,
            releases: [Slot::Blue, Slot::Green].map(|slot| self.cast(slot).release.clone()),
            other: OtherThen::of(&self.other),
            instances: self.instances.iter().map(|instance| self.instance_then(instance)).collect(),
            kept: self.kept(),
            restarts: self.restarts,
            swaps: self.swaps,
            exits: self.exits.iter().cloned().collect(),
        }
    }
}

impl OtherThen {
    fn of(other: &Other) -> OtherThen {
        match other {
            Other::Empty => OtherThen::Empty,
            Other::Rising(rollover) => OtherThen::Rising {
                reason: rollover.reason,
                by: rollover.by.clone(),
                at: rollover.at,
                stage: rollover.stage,
                staged: rollover.staged,
                warm: rollover.warm,
            },
            Other::Retiring(retreat) => {
                OtherThen::Retiring { by: retreat.by.clone(), at: retreat.at, warm_until: retreat.warm_until }
            }
        }
    }
}

impl App {
    fn instance_then(&self, instance: &Instance) -> InstanceThen {
        let Instance { slot, index, streak, .. } = instance;
        let state = StateThen::of(&instance.state, self.cast(*slot).generation);
        InstanceThen { slot: *slot, index: *index, streak: *streak, state }
    }
}

impl StateThen {
    fn of(state: &State, newest: u64) -> StateThen {
        match state {
            State::Resting { done } => StateThen::Resting { done: *done },
            State::Waiting { .. } => StateThen::Resting { done: false },
            State::Spawning { run, generation, .. } => {
                StateThen::Starting { run: run.0, outdated: *generation < newest }
            }
            State::Starting { live, .. } => StateThen::Starting { run: live.run.0, outdated: live.generation < newest },
            State::Online { live, since, .. } => StateThen::Online {
                run: live.run.0,
                pid: live.pid,
                spawned: live.spawned,
                since: *since,
                outdated: live.generation < newest,
            },
            State::Draining { live, .. } => StateThen::Draining { run: live.run.0 },
            State::Ending { live, ending } => StateThen::Ending { run: live.run.0, kill_at: ending.kill_at },
            State::Backoff { until, reason } => StateThen::Backoff { until: *until, reason: reason.clone() },
            State::Errored { reason, retry_at } => StateThen::Errored { reason: reason.clone(), retry_at: *retry_at },
        }
    }
}

impl Remembered {
    /// What was to be on the disk: it is newer where the disk has not taken it.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    pub(super) fn release(&self, slot: Slot) -> Option<Release> {
        self.releases[usize::from(slot == Slot::Green)].clone()
    }

    pub(super) fn instance(&self, slot: Slot, index: u16) -> Option<&InstanceThen> {
        self.instances.iter().find(|instance| (instance.slot, instance.index) == (slot, index))
    }

    /// What was in the other slot, if that is still the other one; `active` is the slot that the disk has.
    pub(super) fn other(&self, active: Slot, now: Duration) -> OtherThen {
        if self.slot == active {
            return self.other.clone();
        }
        match &self.other {
            // It was swapped to, and then the supervisor was killed.
            OtherThen::Rising { by, at, warm, .. } => {
                let warm_until = (!warm.is_zero()).then(|| now + *warm);
                OtherThen::Retiring { by: by.clone(), at: *at, warm_until }
            }
            // It was flipped back to.
            OtherThen::Retiring { by, at, .. } => OtherThen::Retiring { by: by.clone(), at: *at, warm_until: None },
            OtherThen::Empty => OtherThen::Empty,
        }
    }

    /// Of the slot that is not `active`.
    pub(super) fn other_release(&self, active: Slot) -> Option<Release> {
        self.release(opposite(active))
    }
}
