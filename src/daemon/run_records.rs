//! What runs, noted in the runtime directory before its first instruction: a supervisor that comes after a `kill -9`
//! knows it by that. Nothing of it outlives the boot.

use crate::api::Slot;
use crate::linux::atomic::replace_file;
use crate::linux::boot::boot_id;
use crate::linux::proc::ProcessId;
use crate::supervisor::{Release, Remembered, RunId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A record of another version says nothing to us.
const VERSION: u32 = 1;
const REMEMBERED: &str = "remembered.json";

/// `runs/N.json` and `remembered.json` in the runtime directory.
#[derive(Debug, Clone)]
pub(super) struct RunRecords {
    dir: PathBuf,
    boot: String,
    /// Whose they are: another state directory may have had this runtime directory before.
    state_id: String,
}

/// One process tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RunRecord {
    /// Of the program that wrote it.
    pub version: String,
    /// [`AppConfig::fingerprint`](crate::config::AppConfig::fingerprint) of what it was started by.
    pub made_by: Option<u64>,
    pub run: u64,
    pub app: String,
    pub slot: Slot,
    pub index: u16,
    pub pid: i32,
    pub start_time: u64,
    pub cgroup: Option<PathBuf>,
    /// The inodes of its standard output and error.
    pub pipes: [u64; 2],
    pub port: Option<PortRecord>,
    pub deployment: Option<String>,
    pub release: Option<Release>,
    /// Since the machine booted.
    pub spawned: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PortRecord {
    /// On loopback, behind the proxy.
    Private(u16),
    Public(u16),
}

/// `remembered.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// The number of the last save of the state that was begun: a greater one than the disk's was not taken by it.
    pub save: u64,
    pub apps: BTreeMap<String, Remembered>,
}

/// A file of ours, of this boot.
#[derive(Debug, Serialize, Deserialize)]
struct Dated<T> {
    version: u32,
    boot: String,
    state_id: String,
    what: T,
}

impl RunRecord {
    pub(super) fn leader(&self) -> ProcessId {
        ProcessId { pid: self.pid, start_time: self.start_time }
    }
}

impl RunRecords {
    /// # Errors
    /// The runtime directory does not take it.
    pub(super) fn new(runtime_dir: &Path, state_id: &str) -> io::Result<RunRecords> {
        std::fs::create_dir_all(runtime_dir.join("runs"))?;
        RunRecords::at(runtime_dir, state_id)
    }

    /// Those that are there, to be looked at. Changes nothing.
    ///
    /// # Errors
    /// /proc is missing.
    pub(super) fn at(runtime_dir: &Path, state_id: &str) -> io::Result<RunRecords> {
        Ok(RunRecords { dir: runtime_dir.to_owned(), boot: boot_id()?, state_id: state_id.to_owned() })
    }

    /// Does one of these process trees have its first process still?
    pub(super) fn have_a_living_one(&self) -> bool {
        let read = |path: PathBuf| self.read::<RunRecord>(&path);
        files(&self.dir).filter_map(read).any(|record| record.leader().is_alive())
    }

    /// Has no supervisor of another state had this directory since?
    pub(super) fn were_written_last(&self) -> bool {
        self.read::<Memory>(&self.dir.join(REMEMBERED)).is_some()
    }

    /// Has a supervisor noted anything here and not come to its end?
    pub(super) fn are_in(runtime_dir: &Path) -> bool {
        files(runtime_dir).next().is_some()
    }

    /// # Errors
    /// The runtime directory does not take it: what runs cannot be gone on with then.
    pub(super) fn note(&self, record: &RunRecord) -> io::Result<()> {
        self.write(&self.file(record.run), record)
    }

    /// Is everything understood that is noted in this directory? Changes nothing.
    ///
    /// # Errors
    /// What is not: a sentence.
    pub(super) fn check(runtime_dir: &Path) -> Result<(), String> {
        files(runtime_dir).try_for_each(|path| understand::<RunRecord>(&path))?;
        understand::<Memory>(&runtime_dir.join(REMEMBERED))
    }

    /// It is over.
    pub(super) fn forget(&self, run: RunId) {
        let _never_noted = std::fs::remove_file(self.file(run.0));
    }

    /// All of this boot and this state directory; what is of another, or cannot be read, is removed.
    pub(super) fn all(&self) -> Vec<RunRecord> {
        let entries = std::fs::read_dir(self.dir.join("runs")).into_iter().flatten().flatten();
        let read = |path: PathBuf| {
            let record: Option<RunRecord> = self.read(&path);
            record.filter(|record| path == self.file(record.run)).or_else(|| {
                let _gone = std::fs::remove_file(path);
                None
            })
        };
        entries.filter_map(|entry| read(entry.path())).collect()
    }

    /// # Errors
    /// The runtime directory does not take it; what was remembered before is gone then, for it is no longer so.
    pub(super) fn remember(&self, memory: &Memory) -> io::Result<()> {
        self.write(&self.dir.join(REMEMBERED), memory).inspect_err(|_| self.clear())
    }

    pub(super) fn remembered(&self) -> Memory {
        self.read(&self.dir.join(REMEMBERED)).unwrap_or_default()
    }

    /// There is nothing to go on with.
    pub(super) fn clear(&self) {
        let _never_written = std::fs::remove_file(self.dir.join(REMEMBERED));
    }

    fn file(&self, run: u64) -> PathBuf {
        self.dir.join("runs").join(format!("{run}.json"))
    }

    fn write<T: Serialize>(&self, path: &Path, what: T) -> io::Result<()> {
        let (boot, state_id) = (self.boot.clone(), self.state_id.clone());
        let text = serde_json::to_vec(&Dated { version: VERSION, boot, state_id, what })?;
        replace_file(path, &text, 0o600, false)
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, path: &Path) -> Option<T> {
        let dated: Dated<T> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let is_ours = dated.version == VERSION && dated.boot == self.boot && dated.state_id == self.state_id;
        is_ours.then_some(dated.what)
    }
}

fn files(runtime_dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(runtime_dir.join("runs")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension() == Some("json".as_ref()))
}

/// One that is gone by now is not in the way.
fn understand<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<(), String> {
    let why = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => error.to_string(),
        Ok(text) => match serde_json::from_slice::<Dated<T>>(&text) {
            Ok(dated) if dated.version == VERSION => return Ok(()),
            Ok(dated) => format!("it is of version {}", dated.version),
            Err(error) => error.to_string(),
        },
    };
    Err(format!("cannot use {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(run: u64) -> RunRecord {
        RunRecord {
            version: "0".to_owned(),
            made_by: Some(7),
            run,
            app: "web".to_owned(),
            slot: Slot::Green,
            index: 2,
            pid: 4711,
            start_time: 12,
            cgroup: Some(PathBuf::from("/sys/fs/cgroup/x")),
            pipes: [5, 6],
            port: Some(PortRecord::Private(21_000)),
            deployment: None,
            release: None,
            spawned: Duration::from_millis(1500),
        }
    }

    #[test]
    fn what_was_noted_in_this_boot_is_found_until_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let records = RunRecords::new(dir.path(), "0a1b").unwrap();
        records.note(&record(7)).unwrap();
        records.note(&record(8)).unwrap();
        records.forget(RunId(8));
        records.forget(RunId(9));
        assert_eq!(records.all(), [record(7)]);
    }

    #[test]
    fn nothing_of_another_boot_or_state_and_nothing_damaged_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        let records = RunRecords::new(dir.path(), "0a1b").unwrap();
        let elsewhere = RunRecords { state_id: "another".to_owned(), ..records.clone() };
        elsewhere.note(&record(6)).unwrap();
        let before = RunRecords { boot: "another".to_owned(), ..records.clone() };
        before.note(&record(7)).unwrap();
        before.remember(&Memory::default()).unwrap();
        std::fs::write(records.file(8), "{").unwrap();
        std::fs::write(records.dir.join("runs/.9.json.1-1.new"), "").unwrap();
        records.note(&record(9)).unwrap();
        std::fs::rename(records.file(9), records.file(10)).unwrap();
        assert_eq!(records.all(), []);
        assert_eq!(std::fs::read_dir(dir.path().join("runs")).unwrap().count(), 0);
        assert!(records.read::<Memory>(&records.dir.join(REMEMBERED)).is_none());
    }

    #[test]
    fn what_is_not_understood_is_told_and_left_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let records = RunRecords::new(dir.path(), "0a1b").unwrap();
        RunRecords::check(dir.path()).unwrap();
        records.note(&record(7)).unwrap();
        records.remember(&Memory::default()).unwrap();
        RunRecords::check(dir.path()).unwrap();
        for path in [records.file(8), records.dir.join(REMEMBERED)] {
            std::fs::write(&path, r#"{"version": 2, "boot": "", "state_id": "", "what": {}}"#).unwrap();
            let why = RunRecords::check(dir.path()).unwrap_err();
            assert!(why.contains(path.to_str().unwrap()), "{why}");
            std::fs::remove_file(path).unwrap();
        }
    }
}
