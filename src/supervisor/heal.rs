//! What fails its probe serves until it is replaced: by a rollover, or in its place where it cannot run twice.
//!
//! As long as its successors do no better, the attempts back off.

use super::Now;
use super::app::App;
use super::backoff::delay;
use super::core::{Place, Supervisor};
use super::drain::Patience;
use super::health::Check;
use super::instance::{Cause, Instance};
use super::roles::Role;
use super::rollover::Plan;
use crate::api::{EventKind, ExitReason};
use crate::config::AppConfig;

/// A failed replacement cost a whole start: the next one that nobody asked for waits so many times longer than a restart.
const DELAY_FACTOR: u32 = 10;

impl Supervisor {
    /// It was online and fails its probe; `detail` goes on after “it ”.
    pub(super) fn sick(&mut self, place: Place, detail: String, now: Now) {
        let i = place.0;
        match self.role(place) {
            Role::Active if self.apps[i].is_warm() => self.flip_back(i, &detail, now),
            // Replaced as soon as that may be tried: see `heal`.
            Role::Active if self.apps[i].config.proxy.is_some() => {
                self.announce(Some(place), EventKind::Health, None, detail);
            }
            Role::Active => {
                self.tell_replaced(place, ExitReason::Unhealthy, &detail);
                self.leave(place, Cause::Replaced(ExitReason::Unhealthy, detail), Patience::WhileHeld, now);
            }
            Role::Rising => self.fail_rollover(i, &detail, now),
            Role::Retiring => self.retire(i),
        }
    }

    /// Replacements that nobody asks for: the active slot is sick.
    pub(super) fn heal(&mut self, i: usize, now: Now) -> bool {
        let app = &self.apps[i];
        if !self.is_to_be_healed(i) || app.retry_at > now.mono {
            return false;
        }
        if app.config.rolls_over() {
            let plan = Plan::again(app, ExitReason::Unhealthy, "supervisor");
            self.begin_rollover(i, plan, now);
            return true;
        }
        for k in 0..app.instances.len() {
            let instance = &self.apps[i].instances[k];
            if is_sick(instance) {
                let detail = complaint(self.apps[i].config_of(instance), instance);
                self.note_failure((i, k), detail.clone());
                self.leave((i, k), Cause::Replaced(ExitReason::Unhealthy, detail), Patience::WhileHeld, now);
            }
        }
        self.apps[i].retry_later(now);
        true
    }

    pub(super) fn is_to_be_healed(&self, i: usize) -> bool {
        let app = &self.apps[i];
        let may_be = app.config.proxy.is_some() && (app.has_room() || !app.config.rolls_over());
        self.wanted(i) && may_be && app.active().any(is_sick)
    }

    /// Its probe is good again.
    pub(super) fn recovered(&mut self, (i, _): Place) {
        let app = &mut self.apps[i];
        if !app.config.rolls_over() {
            app.retry_streak = 0;
        }
    }

    /// What a starting instance is asked.
    pub(super) fn starting_check(&self, (i, k): Place) -> Option<Check> {
        let app = &self.apps[i];
        let config = app.config_of(&app.instances[k]);
        match config.port.filter(|_| app.is_beyond_help()) {
            Some(port) => Some(Check::Port(port)),
            None => Check::of(config),
        }
    }
}

impl App {
    pub(super) fn retry_later(&mut self, now: Now) {
        self.retry_at = now.mono + delay(self.retry_streak, &self.config).saturating_mul(DELAY_FACTOR);
        self.retry_streak = self.retry_streak.saturating_add(1);
    }

    /// It cannot run twice, a sick one was replaced and nobody has been well since: whoever listens serves.
    pub(super) fn is_beyond_help(&self) -> bool {
        let once = self.config.proxy.is_some() && !self.config.rolls_over();
        once && self.retry_streak > 0 && !self.active().any(Instance::is_well)
    }
}

fn is_sick(instance: &Instance) -> bool {
    instance.is_online() && !instance.is_well()
}

/// Goes on after “it ”.
pub(super) fn complaint(config: &AppConfig, instance: &Instance) -> String {
    let failure = instance.state.watch().and_then(|watch| watch.last_failure.as_deref()).unwrap_or_default();
    format!("failed {} probes in a row: {failure}", config.health.unhealthy)
}
