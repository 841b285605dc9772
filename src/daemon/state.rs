//! What survives a power cut: what should run, and the last applied configuration.

use crate::api::{Setback, Slot};
use crate::config::Sources;
use crate::linux::atomic::replace_file;
use crate::supervisor::{Kept, Release};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The layout of the files; one of another version is set aside.
const VERSION: u32 = 1;

/// `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Saved {
    version: u32,
    /// See [`StateDir::id`]. Here only for whoever looks for the processes by hand.
    pub id: String,
    /// Grows with each save.
    #[serde(default)]
    pub save: u64,
    /// App → should it run?
    desired: BTreeMap<String, bool>,
    /// What else is kept of an app, where it is not as with a new one.
    #[serde(default)]
    apps: BTreeMap<String, SavedApp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedApp {
    slot: Slot,
    release: Option<SavedRelease>,
    #[serde(default)]
    bad: Vec<String>,
    #[serde(default)]
    setback: Option<Setback>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SavedRelease {
    id: String,
    dir: PathBuf,
}

impl Saved {
    pub(super) fn with(&self, save: u64, kept: BTreeMap<String, Kept>) -> Saved {
        let desired = kept.iter().map(|(app, kept)| (app.clone(), kept.desired)).collect();
        let saved = |kept: Kept| SavedApp {
            slot: kept.slot,
            release: kept.release.map(|Release { id, dir }| SavedRelease { id, dir }),
            bad: kept.bad,
            setback: kept.setback,
        };
        let is_as_new = |kept: &Kept| kept.release.is_none() && kept.bad.is_empty() && kept.setback.is_none();
        let told = |kept: &Kept| kept.slot != Slot::Blue || !is_as_new(kept);
        let apps = kept.into_iter().filter(|(_, kept)| told(kept)).map(|(app, kept)| (app, saved(kept))).collect();
        Saved { version: VERSION, id: self.id.clone(), save, desired, apps }
    }

    /// What an earlier supervisor kept of each app.
    pub(super) fn kept(&self) -> BTreeMap<String, Kept> {
        let kept = |(app, desired): (&String, &bool)| {
            let more = self.apps.get(app).cloned();
            let kept = match more {
                Some(SavedApp { slot, release, bad, setback }) => {
                    let release = release.map(|SavedRelease { id, dir }| Release { id, dir });
                    Kept { desired: *desired, slot, release, bad, setback }
                }
                None => Kept { desired: *desired, slot: Slot::Blue, release: None, bad: Vec::new(), setback: None },
            };
            (app.clone(), kept)
        };
        self.desired.iter().map(kept).collect()
    }
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

    /// Names this state directory on this machine: processes carry it in their environment, and the next supervisor
    /// finds them by it. It follows from where the directory is and from machine-id(5), so that neither a full disk
    /// nor a damaged file can lose it, and a copy of the directory is another one.
    pub(super) fn id(&self) -> String {
        let place = std::fs::canonicalize(&self.dir).unwrap_or_else(|_| self.dir.clone());
        // A machine without one (a container, mostly) is as good as any other to itself.
        let machine = std::fs::read("/etc/machine-id").unwrap_or_default();
        id_of(&place, machine.trim_ascii())
    }

    /// The saved state, or a fresh one. What cannot be read is set aside, with a warning, so that a damaged file never
    /// keeps the apps from starting.
    pub(super) fn load(&self) -> (Saved, Vec<String>) {
        let (saved, warnings) = match self.read("state.json", |saved: &Saved| saved.version) {
            Ok(saved) => (saved, Vec::new()),
            Err(unusable) => (None, vec![unusable.set_aside()]),
        };
        let (save, desired, apps) = saved.map(|saved| (saved.save, saved.desired, saved.apps)).unwrap_or_default();
        (Saved { version: VERSION, id: self.id(), save, desired, apps }, warnings)
    }

    /// Could it be gone on with? Changes nothing.
    ///
    /// # Errors
    /// It cannot be used, as a sentence.
    pub(super) fn check(&self) -> Result<(), String> {
        self.read("state.json", |saved: &Saved| saved.version).map_err(|unusable| unusable.why)?;
        self.load_applied().map(drop)
    }

    /// The configuration that was applied last, if there is one. Changes nothing.
    ///
    /// # Errors
    /// It is there and cannot be used, as a sentence.
    pub(super) fn load_applied(&self) -> Result<Option<Applied>, String> {
        self.read("applied.json", |applied: &Applied| applied.version).map_err(|unusable| unusable.why)
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

    fn read<T: for<'de> Deserialize<'de>>(&self, name: &str, version: fn(&T) -> u32) -> Result<Option<T>, Unusable> {
        let path = self.dir.join(name);
        let unusable = |is_damaged, why| Unusable { path: path.clone(), is_damaged, why };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(false, format!("cannot read {}: {error}", path.display()))),
        };
        let why = match serde_json::from_slice::<T>(&text) {
            Ok(value) if version(&value) == VERSION => return Ok(Some(value)),
            Ok(value) => format!("it is of version {}", version(&value)),
            Err(error) => error.to_string(),
        };
        Err(unusable(true, format!("cannot use {}: {why}", path.display())))
    }
}

/// A file that is there and says nothing to us.
struct Unusable {
    path: PathBuf,
    /// It was read, and makes no sense.
    is_damaged: bool,
    why: String,
}

impl Unusable {
    /// Keeps a damaged file for whoever wants to look, out of the way of the next one.
    fn set_aside(self) -> String {
        let Unusable { path, is_damaged, why } = self;
        if !is_damaged {
            return why;
        }
        let aside = path.with_extension("json.bad");
        match std::fs::rename(&path, &aside) {
            Ok(()) => format!("{why}; it is kept as {}, and a fresh one is begun", aside.display()),
            Err(error) => format!("{why}; it could not be set aside: {error}"),
        }
    }
}

fn id_of(place: &Path, machine: &[u8]) -> String {
    format!("{:016x}", fnv1a(&[machine, b"\0", place.as_os_str().as_bytes()]))
}

/// FNV-1a of 64 bits (draft-eastlake-fnv): the same in every version of this program and of its compiler.
pub(super) fn fnv1a(parts: &[&[u8]]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    parts.iter().flat_map(|part| part.iter()).fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(&[]), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(&[b"foo", b"bar"]), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_state_directory_has_one_id_by_whichever_path_and_whatever_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let (place, link) = (dir.path().join("state"), dir.path().join("link"));
        std::fs::create_dir(&place).unwrap();
        std::os::unix::fs::symlink(&place, &link).unwrap();
        let id = StateDir::new(&place).id();
        std::fs::write(place.join("state.json"), "damaged").unwrap();
        let (saved, warnings) = StateDir::new(&link).load();
        assert_eq!((saved.id, warnings.len()), (id, 1));
    }

    #[test]
    fn two_state_directories_and_two_machines_differ() {
        let ids = [("/a", "1"), ("/b", "1"), ("/a", "2"), ("/a/b", "1")]
            .map(|(place, machine)| id_of(Path::new(place), machine.as_bytes()));
        for (at, id) in ids.iter().enumerate() {
            assert!(id.len() == 16 && !ids[..at].contains(id), "{ids:?}");
        }
    }
}
