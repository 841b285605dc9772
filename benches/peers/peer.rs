//! A program that keeps apps running: what is asked of each of them.

use crate::process::{self, Process};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How lines are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// As they came, in files that grow.
    Raw,
    /// With a timestamp each, in files that grow.
    Stamped,
    /// As the program does it when nothing is said about logs.
    Default,
}

/// What is to run.
pub(crate) struct Fleet<'f> {
    pub(crate) command: &'f [String],
    pub(crate) apps: usize,
    pub(crate) keeping: Keeping,
}

pub(crate) trait Peer {
    fn name(&self) -> &'static str;

    /// Starts the fleet with everything below `dir`, and comes back when all of it runs.
    fn start(&self, dir: &Path, fleet: &Fleet<'_>) -> Running;

    /// The live log files of the first app, or none when it cannot keep them so.
    fn log_files(&self, dir: &Path, keeping: Keeping) -> Option<Vec<PathBuf>>;

    /// The command that shows the table of apps.
    fn list(&self, dir: &Path) -> Command;
}

/// A supervisor that is up.
pub(crate) struct Running {
    pub(crate) daemon: Process,
    /// Ends it with all it runs.
    end: Option<Box<dyn FnOnce()>>,
}

impl Running {
    /// Waits until it has as many children as apps.
    pub(crate) fn await_children(daemon: Process, apps: usize, end: impl FnOnce() + 'static) -> Running {
        let running = Running { daemon, end: Some(Box::new(end)) };
        process::wait_until("all apps run", Duration::from_secs(120), || {
            assert!(daemon.is_alive(), "the supervisor stays");
            daemon.children().len() >= apps
        });
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let apps = self.daemon.children();
        if let Some(end) = self.end.take() {
            end();
        }
        process::wait_until("the supervisor ends", Duration::from_secs(30), || !self.daemon.is_alive());
        // A supervisor that leaves something behind must not disturb the next measurement.
        for app in apps.iter().filter(|app| app.is_alive()) {
            app.kill();
        }
    }
}

/// `app000`, `app001`, …
pub(crate) fn app_name(index: usize) -> String {
    format!("app{index:03}")
}
