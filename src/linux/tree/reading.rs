//! What a tree uses: memory, CPU time, and its processes for a person to look at.

use super::Tree;
use crate::linux::memory;
use crate::linux::proc::{self, ProcStat, ProcTable};
use std::time::Duration;

/// The memory of a whole tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryReading {
    pub bytes: u64,
    pub source: MemorySource,
}

/// How a figure came about, and so what it is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemorySource {
    /// The cgroup's anonymous and shared memory: exact.
    Controller,
    /// Resident pages that no file stands behind, summed: cheap. What is shared since a fork counts in each process,
    /// and shared memory in none: to be confirmed before acting.
    Resident,
    /// The same by shares: slow, and exact where the processes let us look.
    Shares,
}

/// One process, as `show` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub pid: i32,
    pub ppid: i32,
    pub command: String,
    /// Resident bytes that no file stands behind.
    pub memory: u64,
}

const LONGEST_COMMAND: usize = 120;

impl Tree {
    /// The tree's memory, cheaply. `table` is read only when there is no cgroup: share one among all trees of a round.
    pub fn memory(&self, table: &ProcTable) -> MemoryReading {
        if let Some(reading) = self.memory_by_controller() {
            return reading;
        }
        let bytes = match self.cgroup.as_ref().and_then(|cgroup| cgroup.pids().ok()) {
            Some(pids) => pids.into_iter().map(resident).sum(),
            None => self.walk(table).iter().map(|process| resident(process.id.pid)).sum(),
        };
        MemoryReading { bytes, source: MemorySource::Resident }
    }

    /// The tree's memory as exactly as it can be told, before acting on it. About 1 ms per 300 MB without the memory
    /// controller.
    pub fn confirm_memory(&self) -> MemoryReading {
        self.memory_by_controller().unwrap_or_else(|| {
            let shares = |process: &ProcStat| match memory::shares(process.id.pid) {
                Some(shares) => shares.held,
                None => resident(process.id.pid),
            };
            MemoryReading { bytes: self.processes().iter().map(shares).sum(), source: MemorySource::Shares }
        })
    }

    /// CPU time so far. Without a cgroup it can go back: what an orphan used is lost with it. `table` as above.
    pub fn cpu_usage(&self, table: &ProcTable) -> Duration {
        if let Some(used) = self.cgroup.as_ref().and_then(|cgroup| cgroup.cpu_usage_usec()) {
            return Duration::from_micros(used);
        }
        // The picture may be older than what we want to know: members by it, figures afresh.
        self.walk(table).iter().filter_map(|process| process.id.stat()).map(|process| process.cpu_time()).sum()
    }

    /// Its processes, parents before children.
    pub fn rows(&self) -> Vec<Row> {
        let mut processes = self.processes();
        processes.sort_by_key(|process| (process.id.start_time, process.id.pid));
        let row = |process: &ProcStat| Row {
            pid: process.id.pid,
            ppid: process.ppid,
            command: proc::command(process.id.pid, LONGEST_COMMAND),
            memory: resident(process.id.pid),
        };
        processes.iter().map(row).collect()
    }

    fn memory_by_controller(&self) -> Option<MemoryReading> {
        let bytes = self.cgroup.as_ref()?.memory()?;
        Some(MemoryReading { bytes, source: MemorySource::Controller })
    }
}

/// Nothing for a process that is gone by now.
fn resident(pid: i32) -> u64 {
    proc::statm(pid).map_or(0, |statm| statm.private())
}
