//! The process tree of one instance: who belongs to it, whatever it does to get away.
//!
//! With a cgroup the kernel knows. Without, and for those who moved themselves to another cgroup (`su` does, by PAM),
//! it is the leader's session and descendants, and those of our own orphaned children (we are their subreaper) that
//! carry the run's mark, write to its pipes, or were seen in the tree before.

mod polite;
mod reading;
#[cfg(test)]
mod tests;
mod walk;

pub use polite::Signalled;
pub(super) use polite::{signal_left_behind, signal_politely};
pub use reading::{MemoryReading, MemorySource, Row};

use super::cgroup::Cgroup;
use super::proc::{self, ProcStat, ProcTable, ProcessId};
use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
pub(super) use walk::Found;
use walk::Seen;

/// One instance's processes. Shared by the control loop and a sampler.
#[derive(Debug)]
pub struct Tree {
    leader: ProcessId,
    /// The value of `INFISSI_RUN` in its environment.
    mark: String,
    /// The inodes of its standard output and error; none where they are not pipes of ours.
    pipes: Option<[u64; 2]>,
    cgroup: Option<Cgroup>,
    /// To whom its orphans fall, where that is not us.
    reaper: Option<i32>,
    seen: Mutex<Seen>,
}

/// How often a walk is repeated because processes were born meanwhile: a fork bomb must not hold the caller for ever.
const MOST_WALKS: usize = 50;

impl Tree {
    /// The tree of a leader that has, or is about to have, a session of its own.
    pub fn new(leader: ProcessId, mark: String, cgroup: Option<Cgroup>) -> Tree {
        let seen = Mutex::new(Seen::of(leader));
        Tree { leader, mark, pipes: None, cgroup, reaper: None, seen }
    }

    /// The inodes of the pipes that its standard output and error are, by which an orphan with an emptied environment
    /// is known.
    pub fn with_pipes(self, inodes: [u64; 2]) -> Tree {
        Tree { pipes: Some(inodes), ..self }
    }

    /// An earlier supervisor started it: its leader fell to this process when that one died, and so will its orphans.
    pub fn with_reaper(self, pid: i32) -> Tree {
        Tree { reaper: Some(pid), ..self }
    }

    pub fn leader(&self) -> ProcessId {
        self.leader
    }

    pub fn mark(&self) -> &str {
        &self.mark
    }

    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// All living processes of the tree.
    pub fn processes(&self) -> Vec<ProcStat> {
        self.walk(&ProcTable::new())
    }

    /// Whether no living process is left; zombies do not count. With a cgroup one small read; without, a look at all
    /// processes, but only when nobody is alive who was there at the last look.
    pub fn is_empty(&self) -> bool {
        if self.seen().any_alive() {
            return false;
        }
        if let Some(cgroup) = &self.cgroup {
            // A cgroup that cannot be read is gone, and it cannot go before its processes.
            return !cgroup.populated().unwrap_or(false);
        }
        for _ in 0..MOST_WALKS {
            let table = ProcTable::new();
            if !self.walk(&table).is_empty() {
                return false;
            }
            // A child born during the walk, whose parent died before the walk came to it, was missed.
            if table.is_current() {
                return true;
            }
        }
        true
    }

    /// The first word of a stop: `signal` once to each process, leaving out npm, npx, yarn, pnpm and shells that have
    /// a living child: these forward it, or end with their child, and a Node that is signalled twice drops what it was
    /// finishing. Returns how many were signalled.
    pub fn signal_politely(&self, signal: i32, signalled: &mut Signalled) -> usize {
        signal_politely(&self.processes(), signal, signalled)
    }

    /// To be called about every 100 ms after [`Tree::signal_politely`]: signals those left out that have been without
    /// a living child for two calls. Who was born since is not signalled: it may be cleaning up.
    pub fn signal_left_behind(&self, signal: i32, signalled: &mut Signalled) -> usize {
        if !signalled.is_waiting() {
            return 0;
        }
        signal_left_behind(&self.processes(), signal, signalled)
    }

    /// Sends `signal` once to every process. Returns how many were signalled.
    pub fn signal_all(&self, signal: i32) -> usize {
        let processes = self.processes();
        processes.iter().filter(|process| proc::send(process.id, signal).is_ok()).count()
    }

    /// Kills every process, by cgroup where possible and in any case one by one until no new one is found. What was
    /// killed may take a moment to be gone: see [`Tree::is_empty`], and call again while it is not.
    pub fn kill(&self) {
        let mut killed = HashSet::new();
        for _ in 0..MOST_WALKS {
            if let Some(cgroup) = &self.cgroup {
                // One that is removed has nobody in it; whatever else is wrong, the walk below is not affected.
                let _ = cgroup.kill();
            }
            let table = ProcTable::new();
            let mut fresh = self.walk(&table);
            fresh.retain(|process| killed.insert(process.id));
            for process in &fresh {
                // One that is gone by now is what we want.
                let _ = proc::send(process.id, libc::SIGKILL);
            }
            if fresh.is_empty() && table.is_current() {
                return;
            }
        }
    }

    /// Removes the cgroup of an empty tree.
    ///
    /// # Errors
    ///
    /// `EBUSY` while a process is in it, also for a moment after the last one died: call again.
    pub fn cleanup(&self) -> io::Result<()> {
        self.cgroup.as_ref().map_or(Ok(()), Cgroup::remove)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A panic elsewhere leaves only a set of identities behind, each of which is checked when used.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
