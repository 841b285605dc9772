//! What apps write, between their processes and the log thread: whose files, where, and what was said last.

use super::clock;
use super::events::Events;
use super::kept_pipes;
use super::launch::sentence;
use super::log_place::log_settings;
use super::shared::Shared;
use super::state::fnv1a;
use crate::api::{EventKind, OutputLine};
use crate::config::AppConfig;
use crate::linux::boot::boot_id;
use crate::linux::identity::Identity;
use crate::logs::{Capture, Journal, LogNotice, LogSettings, SourceId, Stream, TailLine};
use crate::supervisor::{Announcement, RunId};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::warn;

/// What the log thread has in hand, in the runtime directory.
pub(super) const JOURNAL: &str = "logs.journal";

/// By app.
#[derive(Default)]
pub(super) struct Outputs {
    settings: Mutex<HashMap<String, LogSettings>>,
    tails: Mutex<HashMap<String, Vec<OutputLine>>>,
}

impl Outputs {
    /// Where an app's files are and with whose rights they are read; none before they were opened.
    pub(super) fn settings(&self, app: &str) -> Option<LogSettings> {
        lock(&self.settings).get(app).cloned()
    }

    /// The last lines of the run that ended last.
    pub(super) fn tail(&self, app: &str) -> Vec<OutputLine> {
        lock(&self.tails).get(app).cloned().unwrap_or_default()
    }
}

/// Starts the log thread. Without its journal a kill of this supervisor costs the lines that it has in hand, which is no
/// reason not to run. `state_id` tells whose journal it is.
///
/// # Errors
/// No thread, no memory or no descriptor left.
pub(super) fn start_logs(runtime_dir: &Path, state_id: &str, events: Arc<Events>) -> io::Result<Capture> {
    let path = runtime_dir.join(JOURNAL);
    let era = fnv1a(&[boot_id()?.as_bytes(), b"\0", state_id.as_bytes()]);
    let journal = Journal::open(&path, era).or_else(|error| {
        let what = "lines that apps are just writing may be missing in their logs when this supervisor is killed";
        warn!("{what}: no journal at {}: {}", path.display(), sentence(&error));
        // What is in it is not to be believed by one that comes later.
        let _not_there = std::fs::remove_file(&path);
        Journal::in_memory()
    });
    Capture::go_on(journal?, move |notice| events.add(log_happening(&notice), clock::now().wall))
}

impl Shared {
    /// Opens an app's files, or changes how they are kept. Blocks. Where a root supervisor does not know the app's user
    /// they are opened when a launch has found it: before, there is nothing to write.
    pub(super) fn open_logs(&self, app: &AppConfig) {
        // Two that were asked for one after the other may come the other way round.
        let config = self.config();
        let app = config.app(&app.name).filter(|newest| newest.name == app.name).map_or(app, AsRef::as_ref);
        let user = self.launcher.users.find(app).ok();
        if user.as_ref().is_some_and(|user| user.uid == 0) && app.user.is_none() {
            warn!("{0} runs as root, the owner of its directory: set user = \"…\" in [apps.{0}]", app.name);
        }
        self.open_logs_as(app, user.as_ref());
    }

    /// The same, however they are to be kept by now: what an earlier supervisor has begun is put right where that was.
    ///
    /// # Errors
    /// They are not opened, for the app's user has to be known and is not: why.
    pub(super) fn open_logs_kept_so(&self, app: &AppConfig) -> Result<(), String> {
        let user = self.launcher.users.find(app);
        let is_open = self.open_logs_as(app, user.as_ref().ok());
        if is_open { Ok(()) } else { user.map(drop) }
    }

    fn open_logs_as(&self, app: &AppConfig, user: Option<&Identity>) -> bool {
        let settings = log_settings(app, &self.places.log_dir, (self.launcher.users.are_roots(), user));
        let mut known = lock(&self.outputs.settings);
        let Some(settings) = settings else { return false };
        if known.get(&app.name) != Some(&settings) {
            known.insert(app.name.clone(), settings.clone());
            self.logs.open(settings);
        }
        true
    }

    /// The read ends of a new run's stdout and stderr. Blocks.
    pub(super) fn take_output(&self, run: RunId, app: &AppConfig, user: &Identity, output: [OwnedFd; 2]) {
        // An apply may have changed how its logs are kept since this run was ordered.
        let config = self.config();
        let newest = config.app(&app.name).filter(|newest| newest.name == app.name).map_or(app, AsRef::as_ref);
        self.open_logs_as(newest, Some(user));
        self.attach(run, &app.name, output);
    }

    /// Where it has no files to go to it is dropped: the app is not to stand still.
    pub(super) fn attach(&self, run: RunId, app: &str, [out, err]: [OwnedFd; 2]) {
        self.logs.attach(SourceId(run.0), Arc::from(app), out, err);
    }

    pub(super) fn close_logs(&self, app: &str) {
        self.logs.forget(Arc::from(app));
        lock(&self.outputs.settings).remove(app);
        lock(&self.outputs.tails).remove(app);
    }

    /// Its tree is empty: everything it wrote goes to the files, its last lines are kept for `show`.
    pub(super) fn finish_logs(self: &Arc<Self>, run: RunId, app: &str) {
        let (shared, app) = (self.clone(), app.to_owned());
        self.logs.finish(SourceId(run.0), move |lines| {
            // Not before they are in the files.
            kept_pipes::let_go(&shared.launcher.manager, run, &app);
            // It may have been taken out of the configuration meanwhile.
            if lock(&shared.outputs.settings).contains_key(&app) {
                lock(&shared.outputs.tails).insert(app, lines.into_iter().map(output_line).collect());
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the log thread tells becomes a happening.
fn log_happening(notice: &LogNotice) -> Announcement {
    Announcement {
        app: Some(notice.app().to_string()),
        kind: EventKind::Logs,
        by: None,
        slot: None,
        pid: None,
        message: notice.to_string(),
    }
}

pub(super) fn output_line(line: TailLine) -> OutputLine {
    let stream = stream(line.stream);
    OutputLine { stream, line: String::from_utf8_lossy(&line.line).into_owned() }
}

/// The same word in the API's types.
pub(super) fn stream(stream: Stream) -> crate::api::Stream {
    match stream {
        Stream::Out => crate::api::Stream::Out,
        Stream::Err => crate::api::Stream::Err,
    }
}
