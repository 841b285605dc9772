//! Another program in the place of this one: the same process, and so the parent of all apps; nothing that runs is touched.
//!
//! ```text
//! old: check ─▶ quiet ─▶ answered ─▶ noted, logs at rest ─▶ exec ──▶ new: armed ─▶ ready ─▶ disarmed
//!        └─ refused ┴───────┘                                                └─ gives up, panics, crashes, hangs
//!                                                 old, once more ◀── exec ─────┘
//! ```
//!
//! `program` (which one), `check` (would it do?), `handover` (what one tells the other), `leaving` (the last step of the
//! one), `taking_over` (the first of the other).

pub(super) mod check;
mod handover;
mod leaving;
mod program;
mod taking_over;

pub(super) use leaving::{Leaving, Packed};
pub(super) use program::{Build, Way, own_path};
pub(super) use taking_over::TakeOver;

use crate::api::UpgradeStatus;
use crate::linux::lock::DirLock;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The names of what is passed on; pipes are known by their inodes, public sockets by their addresses.
const NOTE: &str = "upgrade";
const PROGRAM: &str = "program";
pub(super) const STATE_LOCK: &str = "state-lock";
pub(super) const RUNTIME_LOCK: &str = "runtime-lock";
pub(super) const CONTROL: &str = "control";

/// What an upgrade needs of a supervisor that runs.
pub(super) struct Upgrades {
    /// Where its program was started from.
    pub(super) program: PathBuf,
    /// One at a time.
    pub(super) checking: tokio::sync::Mutex<()>,
    /// Of the state directory and of the runtime directory.
    locks: [DirLock; 2],
    control: OnceLock<OwnedFd>,
    last: Mutex<Option<UpgradeStatus>>,
}

impl Upgrades {
    pub(super) fn new(program: PathBuf, locks: [DirLock; 2]) -> Upgrades {
        let (control, last) = (OnceLock::new(), Mutex::default());
        Upgrades { program, checking: tokio::sync::Mutex::new(()), locks, control, last }
    }

    /// Where clients are waited for.
    pub(super) fn listens_on(&self, control: OwnedFd) {
        let _is_the_only_one = self.control.set(control);
    }

    /// How the last one ended.
    pub(super) fn last(&self) -> Option<UpgradeStatus> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn ended(&self, how: UpgradeStatus) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
    }
}

/// One that is to be done.
#[derive(Debug, Clone)]
pub(super) struct Upgrade {
    pub(super) way: Way,
    /// The version of the program that takes over.
    pub(super) to: String,
    pub(super) by: String,
}
