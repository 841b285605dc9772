//! A release that is started where nobody serves, or that stops who does: when it fails, what was there before comes back.

use super::Now;
use super::app::{App, Cast};
use super::core::Supervisor;
use super::effect::{Kept, Release};
use super::instance::Instance;
use super::view::seconds;
use crate::api::{EventKind, ExitReason, Refusal, RefusalCode};
use std::time::Duration;

/// Until its instances are online.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub(super) before: Cast,
    /// Was it to run before?
    desired: bool,
    /// Those of the app before it was tried.
    failures: u64,
    /// Nothing of the app runs beside it: what ran before was stopped for it, and is gone before it starts.
    pub(super) alone: bool,
    by: String,
    since: Duration,
}

impl Supervisor {
    /// `alone`: what serves is stopped for it.
    pub(super) fn begin_trial(&mut self, i: usize, (release, alone): (&Release, bool), by: &str, now: Now) {
        if alone {
            self.retire(i);
        }
        let app = &mut self.apps[i];
        let (slot, failures) = (app.slot, app.failures);
        // What is still tried itself is nothing to come back to.
        let (before, desired) = match app.trial.take() {
            Some(trial) => (trial.before, trial.desired),
            None => (app.cast(slot).clone(), app.desired),
        };
        self.want(i, true, by);
        self.renew(i, ExitReason::Deploy);
        self.apps[i].cast_mut(slot).release = Some(release.clone());
        self.apps[i].forgive(release);
        self.desired_changed();
        self.apps[i].retry_streak = 0;
        let is_new = before.release.as_ref() != Some(release);
        let (by, since) = (by.to_owned(), now.mono);
        self.apps[i].trial = is_new.then_some(Trial { before, desired, failures, alone, by, since });
    }

    /// Refused with who and since when, while a release is started that stopped what served.
    pub(super) fn trial_under_way(&self, i: usize, now: Now) -> Option<Refusal> {
        let app = &self.apps[i];
        let Trial { by, since, .. } = app.trial.as_ref().filter(|trial| trial.alone)?;
        let release = app.cast(app.slot).release.as_ref().map(|release| release.id.as_str()).unwrap_or_default();
        let (name, since) = (&app.config.name, seconds(now.mono.saturating_sub(*since)));
        let message = format!("{name} is being started with release {release} by {by}, since {since}");
        Some(
            Refusal::new(RefusalCode::Busy, message)
                .hint(format!("wait for it: infissi-ctl show {name}; or go back: infissi-ctl deploy {name} --abort")),
        )
    }

    /// Is it through, one way or the other? Then something moved.
    pub(super) fn advance_trial(&mut self, i: usize) -> bool {
        let wanted = self.wanted(i);
        let app = &mut self.apps[i];
        let Some(trial) = &app.trial else { return false };
        if wanted && app.failures > trial.failures {
            self.go_back(i, true);
            return true;
        }
        let generation = app.cast(app.slot).generation;
        let up = |instance: &Instance| instance.is_online_in(generation) || instance.is_done();
        let is_up = app.active().all(up);
        if !is_up && wanted {
            return false;
        }
        if !is_up {
            self.break_off(i);
        }
        self.apps[i].trial = None;
        // Until now what is kept is what was there before.
        self.desired_changed();
        true
    }

    /// It is stopped, or everything is: whoever starts it again finds what ran before, which was up once.
    fn break_off(&mut self, i: usize) {
        let why = if self.shutdown.is_some() { "the supervisor shut down" } else { "it was stopped" };
        let app = &mut self.apps[i];
        let Some(Trial { before, desired, .. }) = app.trial.clone() else { return };
        let (slot, tried) = (app.slot, app.cast(app.slot).release.clone());
        app.set_back(tried.as_ref(), &format!("was interrupted: {why}"));
        let cast = app.cast_mut(slot);
        (cast.release, cast.config) = (before.release, before.config);
        app.outdate();
        app.desired &= desired;
    }

    /// Whoever asked for the release has thought better of it.
    pub(super) fn call_off_trial(&mut self, i: usize, by: &str) {
        let app = &mut self.apps[i];
        app.failures += 1;
        app.last_failure = format!("was called off by {by}");
        self.go_back(i, false);
    }

    fn go_back(&mut self, i: usize, is_bad: bool) {
        let app = &mut self.apps[i];
        let Some(Trial { before, desired, .. }) = app.trial.take() else { return };
        let (slot, failed) = (app.slot, app.cast(app.slot).release.clone());
        let then = match before.release.as_ref().map(|release| &release.id) {
            _ if !desired => "it is stopped again".to_owned(),
            Some(id) => format!("release {id} is started again"),
            None => "what ran before is started again".to_owned(),
        };
        let why = format!("{}; {then}", app.last_failure);
        let marked = if is_bad { app.mark_bad(failed.as_ref()) } else { String::new() };
        app.set_back(failed.as_ref(), &why);
        app.last_failure.clone_from(&why);
        self.renew(i, if is_bad { ExitReason::Unhealthy } else { ExitReason::Deploy });
        let cast = self.apps[i].cast_mut(slot);
        (cast.release, cast.config) = (before.release, before.config);
        self.want(i, desired, "supervisor");
        self.desired_changed();
        self.announce_slot(i, slot, EventKind::FlippedBack, format!("{slot} {why}{marked}"));
    }
}

impl App {
    /// May nothing of it run beside what is started?
    pub(super) fn runs_alone(&self) -> bool {
        !self.config.rolls_over() || self.trial.as_ref().is_some_and(|trial| trial.alone)
    }

    /// What is to outlive a power cut: while a release is tried, what was there before.
    pub(super) fn kept(&self) -> Kept {
        let release = self.cast(self.slot).own_release().cloned();
        let (desired, release) = match &self.trial {
            Some(trial) => (trial.desired, trial.before.own_release().cloned()),
            None => (self.desired, release),
        };
        Kept { desired, slot: self.slot, release, bad: self.bad.clone(), setback: self.setback.clone() }
    }
}
