//! Our own children: their exit status is taken by their own pidfd. Any other child is an orphan that fell to us.

use crate::linux::exit::reap_strangers;
use crate::linux::spawn::{Launch, LaunchError, Launched, launch};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

#[derive(Default)]
pub(super) struct Children(Mutex<HashSet<i32>>);

impl Children {
    /// Starts a process, known before it runs.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub(super) fn launch(&self, what: Launch<'_>) -> Result<Launched, LaunchError> {
        self.launch_noted(what, |_| {})
    }

    /// The same; `note` is told of it before its first instruction.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub(super) fn launch_noted(&self, what: Launch<'_>, note: impl FnOnce(&Launched)) -> Result<Launched, LaunchError> {
        let mut known = None;
        let launched = launch(what, |launched| {
            note(launched);
            self.pids().insert(launched.pid);
            known = Some(launched.pid);
        });
        if launched.is_err()
            && let Some(pid) = known
        {
            self.forget(pid);
        }
        launched
    }

    /// A child that the program before this one started.
    pub(super) fn knows(&self, pid: i32) {
        self.pids().insert(pid);
    }

    /// Its exit status was taken.
    pub(super) fn forget(&self, pid: i32) {
        self.pids().remove(&pid);
        self.reap_orphans();
    }

    /// Reaps the orphans that have ended.
    pub(super) fn reap_orphans(&self) {
        let pids = self.pids();
        reap_strangers(&|pid| pids.contains(&pid));
    }

    fn pids(&self) -> std::sync::MutexGuard<'_, HashSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
