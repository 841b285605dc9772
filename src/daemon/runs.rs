//! The process trees that exist, by run.

use super::probe_command::Asking;
use crate::api::{AppStatus, ProcessRow, Slot};
use crate::linux::proc::ProcTable;
use crate::linux::tree::{Row, Tree};
use crate::supervisor::RunId;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One tree and what was measured of it.
pub(super) struct Run {
    pub id: RunId,
    pub app: String,
    pub slot: Slot,
    pub index: u16,
    pub pid: i32,
    pub tree: Tree,
    /// The leader was reaped.
    pub exited: AtomicBool,
    /// Its command probe.
    pub asking: Asking,
    /// Where one of its own processes was seen to listen.
    address: Mutex<Option<SocketAddr>>,
    /// When its CPU time was last noted, and what it was.
    cpu_then: Mutex<(Duration, Duration)>,
}

/// What `list` shows of one tree.
#[derive(Debug, Clone, Copy)]
struct Measured {
    memory: u64,
    cpu_percent: f64,
}

impl Run {
    pub(super) fn new(id: RunId, app: &str, (slot, index): (Slot, u16), tree: Tree, spawned: Duration) -> Run {
        Run {
            id,
            app: app.to_owned(),
            slot,
            index,
            pid: tree.leader().pid,
            tree,
            exited: AtomicBool::new(false),
            asking: Asking::default(),
            address: Mutex::default(),
            cpu_then: Mutex::new((spawned, Duration::ZERO)),
        }
    }

    /// No process is left, the leader's exit status was taken.
    pub(super) fn is_over(&self) -> bool {
        self.exited.load(Ordering::Relaxed) && self.tree.is_empty()
    }

    /// Where it can be asked on that port, once it was seen there.
    pub(super) fn address(&self, port: u16) -> Option<SocketAddr> {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).filter(|address| address.port() == port)
    }

    pub(super) fn is_seen_at(&self, address: SocketAddr) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// From here on `cpu_percent` counts.
    pub(super) fn note_cpu(&self, now: Duration, table: &ProcTable) {
        let usage = self.tree.cpu_usage(table);
        *self.cpu_then.lock().unwrap_or_else(PoisonError::into_inner) = (now, usage);
    }

    fn measure(&self, now: Duration, table: &ProcTable) -> Measured {
        let (then, before) = *self.cpu_then.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = self.tree.cpu_usage(table).saturating_sub(before);
        let span = now.saturating_sub(then).max(Duration::from_millis(1));
        let cpu_percent = (usage.as_secs_f64() / span.as_secs_f64() * 1000.0).round() / 10.0;
        Measured { memory: self.tree.memory(table).bytes, cpu_percent }
    }
}

/// Shared by the loop, which changes it, and the sampler and the control socket, which look.
#[derive(Default)]
pub(super) struct Runs(Mutex<HashMap<RunId, Arc<Run>>>);

impl Runs {
    pub(super) fn add(&self, run: Arc<Run>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(run.id, run);
    }

    pub(super) fn remove(&self, id: RunId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    pub(super) fn get(&self, id: RunId) -> Option<Arc<Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Run>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(super) fn of(&self, app: &str) -> Vec<Arc<Run>> {
        let mut runs = self.all();
        runs.retain(|run| run.app == app);
        runs.sort_by_key(|run| (run.index, run.id));
        runs
    }

    /// Put memory and CPU into a status.
    pub(super) fn fill_in(&self, status: &mut AppStatus, now: Duration, table: &ProcTable) {
        for run in self.of(&status.name) {
            let place = status.instances.iter_mut().find(|instance| {
                instance.pid == Some(run.pid) && instance.index == run.index && instance.slot == run.slot
            });
            let Some(instance) = place else { continue };
            let measured = run.measure(now, table);
            instance.memory_bytes = Some(measured.memory);
            instance.cpu_percent = Some(measured.cpu_percent);
            status.memory_bytes = Some(status.memory_bytes.unwrap_or(0) + measured.memory);
            status.cpu_percent = Some(status.cpu_percent.unwrap_or(0.0) + measured.cpu_percent);
        }
    }

    /// The processes of an app.
    pub(super) fn processes(&self, app: &str) -> Vec<ProcessRow> {
        let rows = |run: Arc<Run>| run.tree.rows();
        let row =
            |row: Row| ProcessRow { pid: row.pid, parent: row.ppid, command: row.command, memory_bytes: row.memory };
        self.of(app).into_iter().flat_map(rows).map(row).collect()
    }
}
