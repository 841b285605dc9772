//! A release that is started where nobody serves, or that stops who does: when it fails, what was there before comes back.

use super::app::Cast;
use super::core::Supervisor;
use super::effect::Release;
use super::instance::Instance;
use crate::api::{EventKind, ExitReason};

/// Until its instances are online.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub(super) before: Cast,
    /// Was it to run before?
    desired: bool,
    /// Those of the app before it was tried.
    failures: u64,
}

impl Supervisor {
    pub(super) fn begin_trial(&mut self, i: usize, release: &Release, by: &str) {
        let app = &self.apps[i];
        let (slot, desired, failures) = (app.slot, app.desired, app.failures);
        let before = app.cast(slot).clone();
        self.want(i, true, by);
        self.renew(i, ExitReason::Deploy);
        self.apps[i].cast_mut(slot).release = Some(release.clone());
        self.desired_changed();
        self.apps[i].retry_streak = 0;
        let is_new = before.release.as_ref() != Some(release);
        self.apps[i].trial = is_new.then_some(Trial { before, desired, failures });
    }

    /// Is it through, one way or the other? Then something moved.
    pub(super) fn advance_trial(&mut self, i: usize) -> bool {
        let wanted = self.wanted(i);
        let app = &mut self.apps[i];
        let Some(trial) = &app.trial else { return false };
        if wanted && app.failures > trial.failures {
            let Trial { before, desired, .. } = trial.clone();
            self.go_back(i, before, desired);
            return true;
        }
        let generation = app.cast(app.slot).generation;
        let up = |instance: &Instance| instance.is_online_in(generation) || instance.is_done();
        let is_over = !wanted || app.active().all(up);
        if is_over {
            app.trial = None;
        }
        is_over
    }

    fn go_back(&mut self, i: usize, before: Cast, desired: bool) {
        let app = &mut self.apps[i];
        let (slot, failed) = (app.slot, app.cast(app.slot).release.clone());
        let then = match before.release.as_ref().map(|release| &release.id) {
            _ if !desired => "it is stopped again".to_owned(),
            Some(id) => format!("release {id} is started again"),
            None => "what ran before is started again".to_owned(),
        };
        let why = format!("{}; {then}", app.last_failure);
        let marked = app.mark_bad(failed.as_ref());
        app.last_failure.clone_from(&why);
        self.renew(i, ExitReason::Unhealthy);
        let cast = self.apps[i].cast_mut(slot);
        (cast.release, cast.config) = (before.release, before.config);
        self.want(i, desired, "supervisor");
        self.desired_changed();
        self.announce_slot(i, slot, EventKind::FlippedBack, format!("{slot} {why}{marked}"));
    }
}
