//! Which process the worker is, and of which program: noted in the runtime directory for the next supervisor, whose child
//! it is not.
//!
//! `worker.sock` does not tell: the kernel names whoever began to listen there, an earlier supervisor.

use crate::linux::atomic::replace_file;
use crate::linux::pidfd::pidfd_open;
use crate::linux::proc::ProcessId;
use crate::linux::spawn::Launched;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const FILE: &str = "worker.json";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pid: i32,
    start_time: u64,
    program: Option<Program>,
}

/// The file that is executed. As long as somebody executes it, no other file has its inode: a version alone would not
/// tell one build from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Program {
    device: u64,
    inode: u64,
}

impl Program {
    fn own() -> Option<Program> {
        let file = std::fs::metadata("/proc/self/exe").ok()?;
        Some(Program { device: file.dev(), inode: file.ino() })
    }
}

impl Record {
    /// Of a process that executes the same program as we do.
    pub(super) fn new(process: ProcessId) -> Record {
        Record { pid: process.pid, start_time: process.start_time, program: Program::own() }
    }

    /// What an earlier supervisor noted, if anything.
    pub(super) fn read(runtime_dir: &Path) -> Option<Record> {
        serde_json::from_slice(&std::fs::read(file(runtime_dir)).ok()?).ok()
    }

    /// # Errors
    /// The runtime directory does not take it; what was noted before is gone then.
    pub(super) fn write(self, runtime_dir: &Path) -> io::Result<()> {
        let path = file(runtime_dir);
        let replaced = serde_json::to_vec(&self)
            .map_err(io::Error::from)
            .and_then(|record| replace_file(&path, &record, 0o600, false));
        if replaced.is_err() {
            Record::remove(runtime_dir);
        }
        replaced
    }

    pub(super) fn remove(runtime_dir: &Path) {
        let _not_there = std::fs::remove_file(file(runtime_dir));
    }

    /// Is it executing what we are executing?
    pub(super) fn is_of_our_program(self) -> bool {
        self.program.is_some() && self.program == Program::own()
    }

    /// The program before this one started it, in this process.
    pub(super) fn is_our_child(self) -> bool {
        let process = ProcessId { pid: self.pid, start_time: self.start_time };
        process.stat().is_some_and(|stat| stat.ppid == std::process::id().cast_signed())
    }

    /// As whoever started it knows it.
    pub(super) fn launched(self, pidfd: OwnedFd) -> Launched {
        Launched { pid: self.pid, start_time: self.start_time, pidfd }
    }

    /// The process, if it is still the same.
    pub(super) fn open(self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(self.pid).ok()?;
        let process = ProcessId { pid: self.pid, start_time: self.start_time };
        process.is_alive().then_some(pidfd)
    }
}

fn file(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_that_another_process_has_now_is_not_the_worker() {
        let dir = tempfile::tempdir().unwrap();
        let own = ProcessId::of(std::process::id().cast_signed()).unwrap();
        assert_eq!(Record::read(dir.path()), None);
        Record::new(own).write(dir.path()).unwrap();
        assert!(Record::read(dir.path()).unwrap().open().is_some());
        Record::new(ProcessId { start_time: own.start_time + 1, ..own }).write(dir.path()).unwrap();
        assert!(Record::read(dir.path()).unwrap().open().is_none());
        std::fs::write(dir.path().join(FILE), "no record").unwrap();
        assert_eq!(Record::read(dir.path()), None);
    }
}
