//! Rollovers: the other slot is started, made active once it is healthy, and the old one leaves.
//!
//! ```text
//! Empty ─→ Rising ─→ (Staged) ─→ swap: the roles change ─→ Retiring: warm, then draining ─→ Empty
//!   ↑         │                                               │
//!   └─────────┘ fails: the old slot never noticed             └─→ flips back while warm
//! ```

use super::Now;
use super::app::{App, Cast};
use super::core::Supervisor;
use super::effect::Release;
use super::instance::{Cause, Instance, State};
use super::view::seconds;
use crate::api::{EventKind, ExitReason, Refusal, RefusalCode, Slot};
use jiff::Timestamp;
use std::time::Duration;

/// Outcomes remembered for those who wait for them.
const OUTCOMES_KEPT: usize = 8;

/// A slot is emptied within kill_timeout and ready within start_timeout; its spawn takes a moment more.
const RISE_MARGIN: Duration = Duration::from_secs(10);

/// The slot that is not active.
#[derive(Debug, Clone)]
pub(super) enum Other {
    /// Nothing is to run in it.
    Empty,
    /// It is to become active.
    Rising(Rollover),
    /// It was active.
    Retiring(Retreat),
}

/// A rollover before its swap.
#[derive(Debug, Clone)]
pub(super) struct Rollover {
    pub(super) number: u64,
    /// Why the old slot is replaced.
    pub(super) reason: ExitReason,
    pub(super) by: String,
    pub(super) since: Duration,
    pub(super) at: Timestamp,
    /// It stays as it is when it is healthy, until somebody swaps.
    pub(super) stage: bool,
    /// It is healthy and waits for that.
    pub(super) staged: bool,
    /// How long the old slot is kept after the swap.
    pub(super) warm: Duration,
}

/// A slot after its time.
#[derive(Debug, Clone)]
pub(super) struct Retreat {
    /// The rollover that replaced it.
    pub(super) number: u64,
    pub(super) by: String,
    pub(super) at: Timestamp,
    /// None: it is not kept.
    pub(super) warm_until: Option<Duration>,
    /// A breach of the active slot waits for it, and that was told.
    pub(super) awaited: bool,
    pub(super) burst: super::burst::Burst,
}

/// What became of a rollover.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// Done when no instance of the old slot up to this generation is left.
    Swapped {
        old: Slot,
        generation: u64,
    },
    Staged,
    /// One sentence that goes on after “it ”.
    Failed(String),
}

/// What is asked of a rollover.
pub(super) struct Plan {
    pub(super) reason: ExitReason,
    pub(super) by: String,
    pub(super) release: Option<Release>,
    pub(super) stage: bool,
    pub(super) warm: Duration,
}

impl Plan {
    /// The same release once more.
    pub(super) fn again(app: &App, reason: ExitReason, by: &str) -> Plan {
        let release = app.cast(app.slot).own_release().filter(|_| app.config.deploy.is_some()).cloned();
        Plan { reason, by: by.to_owned(), release, stage: false, warm: Duration::ZERO }
    }
}

pub(super) fn opposite(slot: Slot) -> Slot {
    match slot {
        Slot::Blue => Slot::Green,
        Slot::Green => Slot::Blue,
    }
}

impl App {
    pub(super) fn rising(&self) -> Option<&Rollover> {
        match &self.other {
            Other::Rising(rollover) => Some(rollover),
            Other::Empty | Other::Retiring(_) => None,
        }
    }

    pub(super) fn retreat(&self) -> Option<&Retreat> {
        match &self.other {
            Other::Retiring(retreat) => Some(retreat),
            Other::Empty | Other::Rising(_) => None,
        }
    }

    /// Kept after a swap, and all there.
    pub(super) fn is_warm(&self) -> bool {
        let kept = self.retreat().is_some_and(|retreat| retreat.warm_until.is_some());
        kept && self.is_online_slot(opposite(self.slot))
    }

    pub(super) fn is_online_slot(&self, slot: Slot) -> bool {
        let generation = self.cast(slot).generation;
        let of_slot = || self.instances.iter().filter(|instance| instance.slot == slot);
        let counted = of_slot().filter(|instance| instance.index < self.config.instances);
        of_slot().next().is_some() && counted.into_iter().all(|instance| instance.is_online_in(generation))
    }

    /// Is the other slot free for a rollover that nobody asked for? Requests that drain there are let finish while
    /// anybody is well; streams are opened again elsewhere.
    pub(super) fn has_room(&self) -> bool {
        match &self.other {
            Other::Empty => true,
            Other::Rising(rollover) => rollover.staged,
            Other::Retiring(_) => self.is_other_idle() || !self.active().any(Instance::is_well),
        }
    }

    /// Has the other slot no request, and none to come?
    fn is_other_idle(&self) -> bool {
        let idle = |instance: &Instance| match &instance.state {
            State::Spawning { .. } | State::Starting { .. } | State::Online { .. } => false,
            State::Draining { drain, .. } => drain.left.is_some_and(|(requests, _)| requests == 0),
            State::Resting { .. }
            | State::Waiting { .. }
            | State::Ending { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => true,
        };
        self.instances.iter().filter(|instance| instance.slot != self.slot).all(idle)
    }

    /// When the other slot is not waited for any longer.
    fn rises_until(&self, rollover: &Rollover) -> Duration {
        let config = &self.cast(opposite(self.slot)).config;
        rollover.since + config.kill_timeout + config.health.start_timeout + RISE_MARGIN
    }

    /// Somebody answers requests.
    pub(super) fn serves(&self) -> bool {
        self.active().any(Instance::is_online)
    }

    pub(super) fn outcome(&self, number: u64) -> Option<&Outcome> {
        self.outcomes.iter().find(|(of, _)| *of == number).map(|(_, outcome)| outcome)
    }

    fn conclude(&mut self, number: u64, outcome: Outcome) {
        self.outcomes.retain(|(of, _)| *of != number);
        self.outcomes.push_front((number, outcome));
        self.outcomes.truncate(OUTCOMES_KEPT);
    }
}

impl Supervisor {
    /// Refused with who and since when, while another one is before its swap.
    pub(super) fn rollover_under_way(&self, i: usize, now: Now) -> Option<Refusal> {
        if let Some(refusal) = self.trial_under_way(i, now) {
            return Some(refusal);
        }
        let app = &self.apps[i];
        let rollover = app.rising().filter(|rollover| !rollover.staged)?;
        let since = seconds(now.mono.saturating_sub(rollover.since));
        let name = &app.config.name;
        let message = format!("{name} is being rolled over ({}) by {}, since {since}", rollover.reason, rollover.by);
        Some(Refusal::new(RefusalCode::Busy, message).hint(format!("wait for it: infissi-ctl show {name}")))
    }

    /// Start the other slot; returns the rollover's number.
    pub(super) fn begin_rollover(&mut self, i: usize, plan: Plan, now: Now) -> u64 {
        self.drop_rising(i, "was overtaken by another rollover");
        let app = &mut self.apps[i];
        let slot = opposite(app.slot);
        app.rollovers += 1;
        let number = app.rollovers;
        if let Some(release) = plan.release.as_ref().filter(|_| plan.reason == ExitReason::Deploy) {
            app.forgive(release);
        }
        let generation = app.next_generation();
        let config = app.config.clone();
        *app.cast_mut(slot) = Cast { generation, config, release: plan.release, replaced_for: plan.reason };
        app.other = Other::Rising(Rollover {
            number,
            reason: plan.reason,
            by: plan.by,
            since: now.mono,
            at: now.wall,
            stage: plan.stage,
            staged: false,
            warm: plan.warm,
        });
        app.size();
        self.hurry_out(i, slot, now);
        number
    }

    /// What is in a slot that is needed goes at once, whatever it has in flight.
    fn hurry_out(&mut self, i: usize, slot: Slot, now: Now) {
        for k in 0..self.apps[i].instances.len() {
            let instance = &self.apps[i].instances[k];
            if instance.slot != slot {
                continue;
            }
            match &instance.state {
                State::Starting { .. } | State::Online { .. } | State::Draining { .. } => {
                    let reason = self.apps[i].cast(slot).replaced_for;
                    self.cut_and_end((i, k), Cause::Asked(reason), now);
                }
                State::Resting { .. }
                | State::Waiting { .. }
                | State::Spawning { .. }
                | State::Ending { .. }
                | State::Backoff { .. }
                | State::Errored { .. } => {}
            }
            let instance = self.instance_mut((i, k));
            instance.streak = super::backoff::Streak::default();
            if instance.is_at_rest() {
                instance.state = State::Resting { done: false };
            }
        }
    }

    /// One step of the other slot; did it move?
    pub(super) fn advance_other(&mut self, i: usize, now: Now) -> bool {
        match &self.apps[i].other {
            Other::Empty => false,
            Other::Rising(_) if !self.wanted(i) => {
                let why = if self.shutdown.is_some() { "the supervisor shuts down" } else { "it is stopped" };
                self.drop_rising(i, &format!("was interrupted: {why}"));
                true
            }
            Other::Rising(_) if !self.apps[i].config.rolls_over() => {
                self.drop_rising(i, "was interrupted: it may run only once from now on");
                true
            }
            Other::Rising(rollover) => self.advance_rising(i, rollover.clone(), now),
            Other::Retiring(retreat) => {
                let may_stay = self.wanted(i) && self.apps[i].config.rolls_over();
                let over = retreat.warm_until.is_some_and(|until| until <= now.mono) || !may_stay;
                let (slot, is_kept) = (opposite(self.apps[i].slot), retreat.warm_until.is_some());
                if over && is_kept {
                    self.retire(i);
                    return true;
                }
                let gone = self.apps[i].is_slot_at_rest(slot);
                if gone {
                    self.apps[i].other = Other::Empty;
                    self.apps[i].size();
                }
                gone
            }
        }
    }

    fn advance_rising(&mut self, i: usize, rollover: Rollover, now: Now) -> bool {
        let slot = opposite(self.apps[i].slot);
        if rollover.staged {
            return false;
        }
        if !self.apps[i].is_online_slot(slot) {
            return self.give_up_rising(i, &rollover, now);
        }
        if !rollover.stage {
            self.swap_to(i, rollover, now);
            return true;
        }
        let name = self.apps[i].config.name.clone();
        let message = format!("{slot} is healthy and staged: infissi-ctl swap {name} makes it active");
        self.announce_slot(i, slot, EventKind::Online, message);
        self.apps[i].conclude(rollover.number, Outcome::Staged);
        self.apps[i].other = Other::Rising(Rollover { staged: true, ..rollover });
        true
    }

    /// What a slot waits for before its first process has no patience of its own.
    fn give_up_rising(&mut self, i: usize, rollover: &Rollover, now: Now) -> bool {
        let app = &self.apps[i];
        if app.rises_until(rollover) > now.mono {
            return false;
        }
        let slot = opposite(app.slot);
        let generation = app.cast(slot).generation;
        let left = |instance: &Instance| instance.live().is_some_and(|live| live.generation < generation);
        let is_full = app.instances.iter().any(|instance| instance.slot == slot && left(instance));
        let what = if is_full { "emptied" } else { "started" };
        let took = seconds(now.mono.saturating_sub(rollover.since));
        self.fail_rollover(i, &format!("could not be {what} within {took}"), now);
        true
    }

    /// The other slot gets the traffic.
    pub(super) fn swap_to(&mut self, i: usize, rollover: Rollover, now: Now) {
        let app = &mut self.apps[i];
        let (old, new) = (app.slot, opposite(app.slot));
        let generation = app.cast(old).generation;
        app.conclude(rollover.number, Outcome::Swapped { old, generation });
        app.cast_mut(old).replaced_for = rollover.reason;
        app.slot = new;
        app.swaps += 1;
        app.retry_streak = 0;
        app.trial = None;
        if matches!(rollover.reason, ExitReason::Memory | ExitReason::Unhealthy) {
            app.restarts += 1;
        }
        let warm = rollover.warm;
        app.other = Other::Retiring(Retreat {
            number: rollover.number,
            by: rollover.by,
            at: now.wall,
            warm_until: (!warm.is_zero()).then_some(now.mono + warm),
            awaited: false,
            burst: app.burst(old, now),
        });
        self.desired_changed();
        let took = seconds(now.mono.saturating_sub(rollover.since));
        let then = if warm.is_zero() { String::new() } else { format!("; {old} stays warm for {}", seconds(warm)) };
        self.announce_slot(i, new, EventKind::Swapped, format!("{new} is active after {took}{then}"));
    }

    /// Back and forth while the old slot is warm: what was active is warm now.
    pub(super) fn swap_back(&mut self, i: usize, by: &str, warm: Duration, now: Now) {
        let app = &mut self.apps[i];
        let reason = ExitReason::Deploy;
        app.rollovers += 1;
        let number = app.rollovers;
        let rollover = Rollover {
            number,
            reason,
            by: by.to_owned(),
            since: now.mono,
            at: now.wall,
            stage: false,
            staged: false,
            warm,
        };
        if let Some(number) = app.retreat().map(|retreat| retreat.number) {
            app.conclude(number, Outcome::Failed(format!("was taken back by {by}")));
        }
        self.swap_to(i, rollover, now);
    }

    /// The new slot failed while the old one was warm. `why` goes on after “it ”.
    pub(super) fn flip_back(&mut self, i: usize, why: &str, now: Now) {
        let app = &mut self.apps[i];
        let Some(retreat) = app.retreat().cloned() else { return };
        let (failed, back) = (app.slot, opposite(app.slot));
        let release = app.cast(failed).release.clone();
        let marked = app.mark_bad(release.as_ref());
        app.set_back(release.as_ref(), why);
        app.conclude(retreat.number, Outcome::Failed(format!("{why}; {back} has the traffic again")));
        app.cast_mut(failed).replaced_for = ExitReason::Unhealthy;
        app.slot = back;
        app.swaps += 1;
        app.other = Other::Retiring(Retreat {
            number: 0,
            by: "supervisor".to_owned(),
            at: now.wall,
            warm_until: None,
            awaited: false,
            burst: app.burst(failed, now),
        });
        self.desired_changed();
        let message = format!("{failed} {why}: {back} has the traffic again{marked}");
        self.announce_slot(i, back, EventKind::FlippedBack, message);
    }

    /// The warm time is over: what it has in flight is drained, then it ends.
    pub(super) fn retire(&mut self, i: usize) {
        if let Other::Retiring(retreat) = &mut self.apps[i].other {
            retreat.warm_until = None;
        }
    }

    /// The rising slot is not going to be active. `why` goes on after “it ”.
    pub(super) fn fail_rollover(&mut self, i: usize, why: &str, now: Now) {
        let app = &mut self.apps[i];
        let Some(rollover) = app.rising().cloned() else { return };
        let slot = opposite(app.slot);
        app.cast_mut(slot).replaced_for = ExitReason::Unhealthy;
        // That another release fails says nothing of this one.
        if matches!(rollover.reason, ExitReason::Memory | ExitReason::Unhealthy) {
            app.retry_later(now);
        }
        let active = app.slot;
        app.conclude(rollover.number, Outcome::Failed(why.to_owned()));
        self.tell_setback(i, rollover.reason, why);
        let app = &mut self.apps[i];
        app.other = Other::Empty;
        let what = if rollover.staged { "the staged slot" } else { "the new slot" };
        let then = if app.serves() { "goes on untouched" } else { "does not serve either" };
        let message = format!("{what} ({slot}) {why}; {active} {then}");
        self.announce_slot(i, slot, EventKind::RolloverFailed, message);
    }

    /// What comes instead is told; a staged slot is missed only when somebody wants to swap to it.
    pub(super) fn drop_rising(&mut self, i: usize, why: &str) {
        let app = &mut self.apps[i];
        let Some(Rollover { number, staged, reason, .. }) = app.rising().cloned() else { return };
        app.conclude(number, Outcome::Failed(why.to_owned()));
        app.other = Other::Empty;
        let slot = opposite(app.slot);
        self.tell_setback(i, reason, why);
        if staged {
            self.announce_slot(i, slot, EventKind::RolloverFailed, format!("the staged slot ({slot}) {why}"));
        }
    }

    /// Of a release that was to be active, for whoever asks later how its deploy ended.
    fn tell_setback(&mut self, i: usize, reason: ExitReason, why: &str) {
        if reason == ExitReason::Deploy {
            let app = &mut self.apps[i];
            let release = app.cast(opposite(app.slot)).release.clone();
            app.set_back(release.as_ref(), why);
            self.desired_changed();
        }
    }

    /// When the next step of the other slot, or the next attempt to heal, is due.
    pub(super) fn other_deadline(&self, i: usize, now: Now) -> Option<Duration> {
        let app = &self.apps[i];
        let warm = app.retreat().and_then(|retreat| retreat.warm_until);
        let heal = Some(app.retry_at).filter(|at| *at > now.mono && self.is_to_be_healed(i));
        let rising = app.rising().filter(|rollover| !rollover.staged).map(|rollover| app.rises_until(rollover));
        warm.into_iter().chain(heal).chain(rising).min()
    }

    /// A rollover of the active slot as it is, if nothing is against it; its number.
    pub(super) fn roll_over(&mut self, i: usize, reason: ExitReason, by: &str, now: Now) -> Result<u64, Refusal> {
        if let Some(refusal) = self.rollover_under_way(i, now) {
            return Err(refusal);
        }
        let plan = Plan::again(&self.apps[i], reason, by);
        Ok(self.begin_rollover(i, plan, now))
    }
}
