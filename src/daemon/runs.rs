//! The process trees that exist, by run.

use super::environment::InstanceName;
use super::front::{Figures, OfRun};
use super::private_ports::PrivatePort;
use super::probe_command::Asking;
use super::run_records::PortRecord;
use crate::api::{AppStatus, ProcessRow, Slot};
use crate::config::AppConfig;
use crate::linux::cgroup::Cgroup;
use crate::linux::proc::ProcTable;
use crate::linux::tree::{Row, Tree};
use crate::supervisor::{Release, RunId};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A leader that ends so soon after the OOM killer took a process of its tree ended of that.
const OOM_AFTERMATH: Duration = Duration::from_secs(5);

/// One tree and what was measured of it.
pub(super) struct Run {
    pub id: RunId,
    pub app: String,
    pub slot: Slot,
    pub index: u16,
    pub pid: i32,
    pub tree: Tree,
    /// Where it is to listen.
    pub port: Option<RunPort>,
    /// Next's deployment id in its environment.
    pub deployment: Option<String>,
    pub release: Option<Release>,
    /// The leader was reaped.
    pub exited: AtomicBool,
    /// Its command probe.
    pub asking: Asking,
    /// Where one of its own processes was seen to listen.
    address: Mutex<Option<SocketAddr>>,
    /// When its CPU time was last noted, and what it was.
    cpu_then: Mutex<(Duration, Duration)>,
    oom_kills: Mutex<OomKills>,
}

/// Where an instance is to listen.
#[derive(Debug)]
pub(super) enum RunPort {
    /// On loopback, behind the proxy; its own until the run is forgotten.
    Private(PrivatePort),
    /// The app's, which it binds itself.
    Public(u16),
}

impl RunPort {
    pub(super) fn record(&self) -> PortRecord {
        match self {
            RunPort::Private(port) => PortRecord::Private(port.number()),
            RunPort::Public(port) => PortRecord::Public(*port),
        }
    }

    pub(super) fn number(&self) -> u16 {
        match self {
            RunPort::Private(port) => port.number(),
            RunPort::Public(port) => *port,
        }
    }
}

/// What the kernel's OOM killer took of one tree, as far as was noted.
#[derive(Debug, Default)]
struct OomKills {
    count: u64,
    grew_at: Option<Duration>,
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
            port: None,
            deployment: None,
            release: None,
            exited: AtomicBool::new(false),
            asking: Asking::default(),
            address: Mutex::default(),
            cpu_then: Mutex::new((spawned, Duration::ZERO)),
            oom_kills: Mutex::default(),
        }
    }

    /// No process is left, the leader's exit status was taken.
    pub(super) fn is_over(&self) -> bool {
        self.exited.load(Ordering::Relaxed) && self.tree.is_empty()
    }

    /// What its environment told it.
    pub(super) fn told(self, port: Option<RunPort>, deployment: Option<String>, release: Option<Release>) -> Run {
        Run { port, deployment, release, ..self }
    }

    /// For its environment and its command line.
    pub(super) fn as_instance<'a>(&'a self, app: &'a AppConfig) -> InstanceName<'a> {
        InstanceName { app, slot: self.slot, index: self.index, port: self.port(), release: self.release.as_ref() }
    }

    pub(super) fn port(&self) -> Option<u16> {
        self.port.as_ref().map(RunPort::number)
    }

    fn is_behind_the_proxy(&self) -> bool {
        matches!(self.port, Some(RunPort::Private(_)))
    }

    /// Where its port can be asked, once it was seen there.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_seen_at(&self, address: SocketAddr) {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// From here on `cpu_percent` counts.
    pub(super) fn note_cpu(&self, now: Duration, table: &ProcTable) {
        let usage = self.tree.cpu_usage(table);
        *self.cpu_then.lock().unwrap_or_else(PoisonError::into_inner) = (now, usage);
    }

    /// To be called now and then: what the OOM killer took long ago is not why the leader ends one day.
    pub(super) fn note_oom_kills(&self, now: Duration) {
        let Some(count) = self.tree.cgroup().and_then(Cgroup::oom_kills) else { return };
        let mut noted = self.oom_kills.lock().unwrap_or_else(PoisonError::into_inner);
        if count > noted.count {
            *noted = OomKills { count, grew_at: Some(now) };
        }
    }

    /// The leader ended just now: because the OOM killer took it, or somebody it could not do without?
    pub(super) fn is_lost_to_oom(&self, now: Duration) -> bool {
        self.note_oom_kills(now);
        let noted = self.oom_kills.lock().unwrap_or_else(PoisonError::into_inner);
        noted.grew_at.is_some_and(|at| now.saturating_sub(at) <= OOM_AFTERMATH)
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

    /// Put memory, CPU, private ports and what is in flight into a status.
    pub(super) fn fill_in(&self, status: &mut AppStatus, figures: &Figures, now: Duration, table: &ProcTable) {
        for run in self.of(&status.name) {
            let in_flight = run.is_behind_the_proxy().then(|| figures.of_run(run.id));
            if let Some(other) = status.other.as_mut().filter(|other| other.slot == run.slot)
                && let Some(OfRun { requests, streams, .. }) = in_flight
            {
                other.in_flight = Some(other.in_flight.unwrap_or(0) + requests + streams);
            }
            let place = status.instances.iter_mut().find(|instance| {
                instance.pid == Some(run.pid) && instance.index == run.index && instance.slot == run.slot
            });
            let Some(instance) = place else { continue };
            instance.port = run.port();
            instance.in_flight = in_flight.map(|of_run| of_run.requests);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::proc::ProcessId;
    use std::path::Path;

    /// A run in a recorded cgroup.
    fn run_in(cgroup: &Path) -> Run {
        let leader = ProcessId { pid: 4_194_305, start_time: 1 };
        let tree = Tree::new(leader, "test.1".to_owned(), Some(Cgroup::open(cgroup.to_owned()).unwrap()));
        Run::new(RunId(1), "web", (Slot::Blue, 0), tree, Duration::ZERO)
    }

    fn record(cgroup: &Path, kills: u32) {
        let text = format!("low 0\nhigh 0\nmax 9\noom {kills}\noom_kill {kills}\noom_group_kill 0\n");
        std::fs::write(cgroup.join("memory.events"), text).unwrap();
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_leader_that_the_oom_killer_takes_is_lost_to_it() {
        let cgroup = tempfile::tempdir().unwrap();
        record(cgroup.path(), 0);
        let run = run_in(cgroup.path());
        run.note_oom_kills(at(10));
        assert!(!run.is_lost_to_oom(at(11)));
        record(cgroup.path(), 1);
        assert!(run.is_lost_to_oom(at(12)));
    }

    #[test]
    fn a_leader_that_follows_the_worker_taken_from_it_is_lost_to_oom_too() {
        let cgroup = tempfile::tempdir().unwrap();
        record(cgroup.path(), 1);
        let run = run_in(cgroup.path());
        run.note_oom_kills(at(10));
        assert!(run.is_lost_to_oom(at(12)), "npm takes its time to end after its child");
    }

    #[test]
    fn a_worker_taken_on_monday_is_not_why_the_leader_ends_on_friday() {
        let cgroup = tempfile::tempdir().unwrap();
        record(cgroup.path(), 2);
        let run = run_in(cgroup.path());
        run.note_oom_kills(at(10));
        run.note_oom_kills(at(15));
        assert!(!run.is_lost_to_oom(at(4 * 86_400)));
        record(cgroup.path(), 3);
        assert!(run.is_lost_to_oom(at(4 * 86_400 + 1)), "but another one counts");
    }

    #[test]
    fn nobody_is_lost_to_oom_where_the_kernel_does_not_count() {
        let cgroup = tempfile::tempdir().unwrap();
        assert!(!run_in(cgroup.path()).is_lost_to_oom(at(1)));
    }
}
