//! What survives a power cut: what should run, and the last applied configuration.

use crate::config::Sources;
use crate::linux::atomic::replace_file;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The layout of the files; one of another version is set aside.
const VERSION: u32 = 1;

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Saved {
    version: u32,
    /// Names this state directory: processes carry it in their environment.
    pub id: String,
    /// App → should it run?
    pub desired: BTreeMap<String, bool>,
}

/// `applied.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Applied {
    version: u32,
    pub at: Timestamp,
    pub sources: Sources,
}

/// The state directory.
#[derive(Debug, Clone)]
pub(super) struct StateDir {
    dir: PathBuf,
}

impl StateDir {
    pub(super) fn new(dir: &Path) -> StateDir {
        StateDir { dir: dir.to_owned() }
    }

    /// The saved state, or a fresh one with a new id. What cannot be read is set aside, with a warning, so that a
    /// damaged file never keeps the apps from starting.
    pub(super) fn load(&self) -> (Saved, Vec<String>) {
        let fresh = || Saved { version: VERSION, id: new_id(), desired: BTreeMap::new() };
        match self.read::<Saved>("state.json", |saved| saved.version) {
            Ok(saved) => (saved.unwrap_or_else(fresh), Vec::new()),
            Err(warning) => (fresh(), vec![warning]),
        }
    }

    /// The configuration that was applied last, if there is one.
    pub(super) fn load_applied(&self) -> (Option<Applied>, Vec<String>) {
        match self.read::<Applied>("applied.json", |applied| applied.version) {
            Ok(applied) => (applied, Vec::new()),
            Err(warning) => (None, vec![warning]),
        }
    }

    /// Durable when it returns.
    ///
    /// # Errors
    /// When the disk does not take it; the file before stays whole.
    pub(super) fn save(&self, saved: &Saved) -> io::Result<()> {
        self.write("state.json", saved)
    }

    /// Durable when it returns.
    ///
    /// # Errors
    /// When the disk does not take it; the file before stays whole.
    pub(super) fn save_applied(&self, sources: &Sources, at: Timestamp) -> io::Result<()> {
        self.write("applied.json", &Applied { version: VERSION, at, sources: sources.clone() })
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(value)?;
        replace_file(&self.dir.join(name), &text, 0o600, true)
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str, version: fn(&T) -> u32) -> Result<Option<T>, String> {
        let path = self.dir.join(name);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let why = match serde_json::from_slice::<T>(&text) {
            Ok(value) if version(&value) == VERSION => return Ok(Some(value)),
            Ok(value) => format!("it is of version {}", version(&value)),
            Err(error) => error.to_string(),
        };
        let aside = path.with_extension("json.bad");
        let kept = match std::fs::rename(&path, &aside) {
            Ok(()) => format!("it is kept as {}", aside.display()),
            Err(error) => format!("it could not be set aside: {error}"),
        };
        Err(format!("cannot use {}: {why}; {kept}, and a fresh one is begun", path.display()))
    }
}

fn new_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default();
    let id: String = id.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    if id.is_empty() { format!("{:x}", super::clock::now().wall.as_nanosecond()) } else { id }
}
