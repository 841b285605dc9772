//! What becomes of an instance that is sick or too large depends on what its slot is there for.

use super::Now;
use super::burst::Tally;
use super::core::{Place, Supervisor};
use super::drain::Patience;
use super::event::RunId;
use super::instance::{Cause, State};
use super::rollover::{Other, Plan, opposite};
use super::room::second_copy;
use super::view::bytes;
use crate::api::{EventKind, ExitReason};
use std::time::Duration;

/// What endangers the machine has so long to end by itself.
const DANGER_PATIENCE: Duration = Duration::from_secs(2);

/// What an instance's slot is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Active,
    /// It is to become active.
    Rising,
    /// It was active, or is not going to be.
    Retiring,
}

impl Supervisor {
    pub(super) fn role(&self, (i, k): Place) -> Role {
        let app = &self.apps[i];
        if app.instances[k].slot == app.slot {
            return Role::Active;
        }
        match &app.other {
            Other::Rising(_) => Role::Rising,
            Other::Empty | Other::Retiring(_) => Role::Retiring,
        }
    }

    /// Did it change anything?
    pub(super) fn memory_sampled(&mut self, run: RunId, used: u64, available: u64, now: Now) -> bool {
        let Some(place) = self.place_of(run) else { return false };
        let config = self.apps[place.0].config.clone();
        let state = &self.instance_mut(place).state;
        let (running, draining) = (state.is_running(), matches!(state, State::Draining { .. }));
        let counts = |limit: &u64| used > *limit && (running || draining);
        let Some(limit) = config.max_memory_restart.filter(counts) else { return false };
        let detail = format!("used {}, over its limit of {}", bytes(used), bytes(limit));
        if draining {
            return self.breach_while_draining(place, danger(used, limit, available), detail, now);
        }
        match self.role(place) {
            Role::Active => self.breach(place, (used, limit, available), detail, now),
            Role::Rising => self.fail_rollover(place.0, &detail, now),
            Role::Retiring => self.retire(place.0),
        }
        true
    }

    fn breach(&mut self, place: Place, (used, limit, available): (u64, u64, u64), detail: String, now: Now) {
        let i = place.0;
        let online = self.apps[i].instances[place.1].is_online();
        let serves = online && self.apps[i].config.proxy.is_some();
        if let Some(danger) = danger(used, limit, available).filter(|_| serves) {
            let detail = format!("{detail}, {danger}");
            return self.end_dangerous(place, detail, now);
        }
        if !self.apps[i].config.rolls_over() || !online {
            self.tell_replaced(place, ExitReason::Memory, &detail);
            let cause = Cause::Replaced(ExitReason::Memory, detail);
            return self.leave(place, cause, Patience::WhileHeld, now);
        }
        if !self.apps[i].has_room() {
            return self.breach_waits(place, &detail);
        }
        if self.apps[i].retry_at > now.mono {
            return;
        }
        self.announce(Some(place), EventKind::Breach, None, format!("{detail}: it is replaced while it goes on"));
        self.note_failure(place, detail);
        let plan = Plan::again(&self.apps[i], ExitReason::Memory, "supervisor");
        self.begin_rollover(i, plan, now);
    }

    /// It is sampled again each second, until there is room: told once.
    fn breach_waits(&mut self, place: Place, detail: &str) {
        let app = &mut self.apps[place.0];
        let slot = opposite(app.slot);
        let Other::Retiring(retreat) = &mut app.other else { return };
        if !std::mem::replace(&mut retreat.awaited, true) {
            let message = format!("{detail}: it is replaced once {slot} makes room");
            self.announce(Some(place), EventKind::Breach, None, message);
        }
    }

    /// It is on its way out and may finish, unless it endangers the machine.
    fn breach_while_draining(&mut self, place: Place, danger: Option<String>, detail: String, now: Now) -> bool {
        let Some(danger) = danger else { return false };
        let detail = format!("{detail}, {danger}");
        self.announce(Some(place), EventKind::Breach, None, format!("{detail}: its drain is over"));
        self.end_at_once(place, detail, now);
        true
    }

    /// Its successor, or the warm one, takes over from it.
    fn end_dangerous(&mut self, place: Place, detail: String, now: Now) {
        if !self.apps[place.0].is_warm() {
            let detail = format!("{detail}: ended at once, requests are held");
            self.tell_replaced(place, ExitReason::Memory, &detail);
            return self.end_at_once(place, detail, now);
        }
        self.announce(Some(place), EventKind::Breach, None, format!("{detail}: ended at once"));
        self.flip_back(place.0, &detail, now);
        self.end_at_once(place, detail, now);
    }

    /// Whatever it has in flight, and though it does not obey: requests are held, and are to be answered in time.
    fn end_at_once(&mut self, place: Place, detail: String, now: Now) {
        let patience = DANGER_PATIENCE.min(self.hold(place.0) / 4);
        self.cut_and_end(place, Cause::Replaced(ExitReason::Memory, detail), now);
        if let State::Ending { ending, .. } = &mut self.instance_mut(place).state {
            ending.kill_at = ending.kill_at.min(now.mono + patience);
        }
    }

    /// What a run has answered so far; does something follow from it?
    pub(super) fn traffic(&mut self, run: RunId, tally: Tally, now: Now) -> bool {
        let Some((i, k)) = self.place_of(run) else { return false };
        let app = &mut self.apps[i];
        app.tallies.insert(run, tally);
        if app.instances[k].slot != app.slot || !app.is_warm() {
            return false;
        }
        let (sum, old) = (app.tally(app.slot), app.tally(opposite(app.slot)));
        let Other::Retiring(retreat) = &mut app.other else { return false };
        let Some(why) = retreat.burst.count(sum, old, now) else { return false };
        self.flip_back(i, &why, now);
        true
    }

    /// It is not needed any more, or its successor is there.
    pub(super) fn dismiss(&mut self, place: Place, now: Now) {
        let app = &self.apps[place.0];
        let slot = app.instances[place.1].slot;
        let surplus = app.instances[place.1].index >= app.config.instances;
        let (reason, patience) = match (self.wanted(place.0), self.role(place)) {
            (false, _) => (ExitReason::Stop, Patience::Requests),
            (true, Role::Active) if surplus => (app.cast(slot).replaced_for, Patience::Full),
            (true, Role::Active) => (app.cast(slot).replaced_for, Patience::WhileHeld),
            (true, Role::Rising | Role::Retiring) => (app.cast(slot).replaced_for, Patience::Full),
        };
        self.announce(Some(place), EventKind::Stopping, None, format!("is asked to end ({reason})"));
        self.leave(place, Cause::Asked(reason), patience, now);
    }
}

/// Why it cannot wait for its successor, where it cannot.
fn danger(used: u64, limit: u64, available: u64) -> Option<String> {
    if used > limit.saturating_add(limit / 2) {
        return Some("by more than half".to_owned());
    }
    (available < second_copy(used, Some(limit)))
        .then(|| format!("the machine has {} left, too little for a second copy", bytes(available)))
}
