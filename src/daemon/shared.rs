//! What the loop, the control socket and the threads share.

use super::events::Events;
use super::front::Front;
use super::launch::Launcher;
use super::notice::{Ask, Notice};
use super::outputs::Outputs;
use super::run_records::Memory;
use super::runs::Runs;
use super::state::{Saved, StateDir};
use super::upgrade::Upgrades;
use super::writer::Writer;
use crate::config::{Config, Places, Sources};
use crate::logs::Capture;
use crate::supervisor::{Kept, RequestId};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A disk that hangs does not hold up the end.
const FORGET_PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Shared {
    pub places: Places,
    pub launcher: Arc<Launcher>,
    pub front: Front,
    pub logs: Capture,
    pub events: Arc<Events>,
    pub runs: Runs,
    /// Since when there is a supervisor in this process; since the machine booted.
    pub began: Duration,
    pub upgrades: Upgrades,
    /// `applied.json`.
    pub applied_file: Arc<Writer<(Sources, Timestamp)>>,
    /// One `apply` at a time.
    pub applying: tokio::sync::Mutex<()>,
    config: RwLock<Arc<Config>>,
    applied: RwLock<AppliedConfig>,
    /// What the operator should know, beside the events: some from the start, one about the state file.
    warnings: Mutex<Warnings>,
    pub(super) outputs: Outputs,
    state_file: Arc<Writer<(u64, BTreeMap<String, Kept>)>>,
    /// The number of the last save before this supervisor.
    pub first_save: u64,
    /// `remembered.json`.
    remembered_file: Arc<Writer<Option<Memory>>>,
    notices: mpsc::UnboundedSender<Notice>,
    asks: mpsc::Sender<Ask>,
    requests: AtomicU64,
}

/// Which configuration is in force, and how it came to be.
#[derive(Debug, Clone)]
pub(super) struct AppliedConfig {
    pub path: PathBuf,
    pub at: Timestamp,
    pub sources: Sources,
    /// The mistakes of the file, when the last applied configuration runs instead.
    pub faulty: Option<String>,
}

#[derive(Debug, Default)]
struct Warnings {
    lasting: Vec<String>,
    state: Option<String>,
}

/// What a supervisor begins with.
pub(super) struct Beginning {
    pub places: Places,
    pub launcher: Arc<Launcher>,
    pub logs: Capture,
    pub events: Arc<Events>,
    pub state: StateDir,
    pub saved: Saved,
    pub config: Arc<Config>,
    /// What was applied last, if that is known: what runs was started by it.
    pub before: Option<Arc<Config>>,
    pub applied: AppliedConfig,
    pub warnings: Vec<String>,
    pub began: Duration,
    pub upgrades: Upgrades,
    /// Why the state could not be saved at the start.
    pub unsaved: Option<String>,
}

impl Shared {
    pub(super) fn new(
        begin: Beginning,
        front: Front,
        notices: mpsc::UnboundedSender<Notice>,
        asks: mpsc::Sender<Ask>,
    ) -> Shared {
        let (applied, state, saved) = (begin.state.clone(), begin.state, begin.saved);
        let records = begin.launcher.records.clone();
        Shared {
            places: begin.places,
            launcher: begin.launcher,
            front,
            logs: begin.logs,
            events: begin.events,
            runs: Runs::default(),
            began: begin.began,
            upgrades: begin.upgrades,
            applied_file: Writer::new(move |(sources, at)| applied.save_applied(&sources, at)),
            applying: tokio::sync::Mutex::new(()),
            config: RwLock::new(begin.config),
            applied: RwLock::new(begin.applied),
            warnings: Mutex::new(Warnings { lasting: begin.warnings, state: begin.unsaved }),
            outputs: Outputs::default(),
            first_save: saved.save,
            state_file: Writer::new(move |(save, kept)| state.save(&saved.with(save, kept))),
            remembered_file: Writer::new(move |memory: Option<Memory>| match memory {
                Some(memory) => records.remember(&memory),
                None => {
                    records.clear();
                    Ok(())
                }
            }),
            notices,
            asks,
            requests: AtomicU64::new(1),
        }
    }

    pub(super) fn config(&self) -> Arc<Config> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_config(&self, config: Arc<Config>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub(super) fn applied(&self) -> AppliedConfig {
        self.applied.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_applied(&self, sources: Sources, at: Timestamp) {
        let mut applied = self.applied.write().unwrap_or_else(PoisonError::into_inner);
        applied.sources = sources;
        applied.at = at;
        applied.faulty = None;
    }

    pub(super) fn next_request(&self) -> RequestId {
        RequestId(self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// To the loop. It is gone only when the process ends.
    pub(super) fn notify(&self, notice: Notice) {
        let _loop_is_gone = self.notices.send(notice);
    }

    /// To the loop, from a request; false when the loop is gone.
    pub(super) async fn ask(&self, ask: Ask) -> bool {
        self.asks.send(ask).await.is_ok()
    }

    /// From a place that cannot wait; a full queue means that the loop has better things to do.
    pub(super) fn try_ask(&self, ask: Ask) {
        let _full_or_gone = self.asks.try_send(ask);
    }

    /// Answered by [`Notice::Saved`] with this number once it is durable, unless a later one came before its turn.
    pub(super) fn save_kept(self: &Arc<Self>, save: u64, kept: BTreeMap<String, Kept>) {
        let shared = self.clone();
        self.state_file.put((save, kept), move |result| shared.notify(Notice::Saved { save, result }));
    }

    /// For the supervisor that comes after a kill of this one. Without it, what runs is ended and started anew then.
    pub(super) fn remember(&self, memory: Memory) {
        self.remembered_file.put(Some(memory), |result| {
            if let Err(error) = result {
                tracing::debug!("what is to be remembered is not written: {error}");
            }
        });
    }

    /// Returns when it is written; blocks meanwhile, and for `limit` at most.
    ///
    /// # Errors
    /// It is not: a sentence.
    pub(super) fn remember_within(&self, memory: Memory, limit: Duration) -> Result<(), String> {
        let (done, written) = std::sync::mpsc::channel();
        self.remembered_file.put(Some(memory), move |result| drop(done.send(result)));
        match written.recv_timeout(limit) {
            Ok(result) => {
                result.map_err(|error| format!("the runtime directory does not take what is to be remembered: {error}"))
            }
            Err(_) => Err("the runtime directory does not answer".to_owned()),
        }
    }

    /// All apps have been stopped: there is nothing to go on with. Returns when it is forgotten.
    pub(super) async fn forget(&self) {
        let (forgotten, done) = oneshot::channel();
        self.remembered_file.put(None, |_| {
            let _nobody_waits = forgotten.send(());
        });
        let _disk_hangs = tokio::time::timeout(FORGET_PATIENCE, done).await;
    }

    pub(super) fn warn_state(&self, warning: &str) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.state.as_deref() != Some(warning) {
            tracing::warn!("{warning}");
            warnings.state = Some(warning.to_owned());
        }
    }

    /// The disk has something to catch up with.
    pub(super) fn state_is_unsaved(&self) -> bool {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).state.is_some()
    }

    pub(super) fn state_is_well(&self) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.state.take().is_some() {
            tracing::info!("the desired state is saved again");
        }
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        warnings.lasting.iter().cloned().chain(warnings.state.clone()).collect()
    }
}
