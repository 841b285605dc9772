//! The configuration that was applied last, for a start on a file that has mistakes or cannot be read.
//!
//! Where the state lies is not to be had from such a file for sure: `[supervisor` without its bracket names no
//! `state_dir`, and a file that is gone names nothing. So every start leaves a pointer from the file to its state
//! directory in the usual one (systemd's, else the table's), under `configs/`. The usual one is not made for that: where
//! it does not exist, nothing was installed, and a demo has no business in anybody's home.

use super::apply::{Loaded, parse_sources};
use super::run_records::RunRecords;
use super::state::{Applied, StateDir, fnv1a};
use crate::config::{Caller, Places, Sources, supervisor_only};
use crate::linux::atomic::replace_file;
use crate::linux::dirs::own_directory;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What was found, and where.
pub(super) struct Found {
    pub applied: Applied,
    pub state_dir: PathBuf,
}

/// `configs/HASH.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Pointer {
    config: PathBuf,
    state_dir: PathBuf,
}

/// The last applied configuration of the file `path`: by what can be read of the file, by the pointer, and in the usual
/// state directory; the latest of them.
///
/// # Errors
/// There is none: the reasons, where there are any.
pub(super) fn find(path: &Path, caller: &Caller<'_>) -> Result<Found, Vec<String>> {
    let read = Sources::read(path).ok();
    let named = read.and_then(|sources| state_dir(&sources, caller));
    let usual = usual(path, caller);
    let pointed = usual.as_deref().and_then(|usual| pointed(usual, path));
    let (mut found, mut troubles) = (Vec::<Found>::new(), Vec::new());
    for state_dir in [named, pointed, usual].into_iter().flatten().filter(|dir| is_own(dir)) {
        match StateDir::new(&state_dir).load_applied() {
            Ok(Some(applied)) if applied.sources.paths().next() == Some(path) => {
                found.push(Found { applied, state_dir });
            }
            Ok(_) => {}
            Err(trouble) if troubles.contains(&trouble) => {}
            Err(trouble) => troubles.push(trouble),
        }
    }
    found.into_iter().max_by_key(|found| found.applied.at).ok_or(troubles)
}

/// Has a supervisor of the file `path` noted anything in its runtime directory, and not come to its end?
pub(super) fn has_run(path: &Path, caller: &Caller<'_>) -> bool {
    let sources = Sources::read(path).unwrap_or_else(|_| Sources::from_text(path, "", caller.uid));
    let places = Places::resolve(&supervisor_only(&sources), caller);
    places.is_ok_and(|places| RunRecords::are_in(&places.runtime_dir))
}

/// By what a program goes on that takes another one's place: what the file says by now nobody has applied.
pub(super) fn goes_on(path: &Path, caller: &Caller<'_>) -> Option<(Loaded, Timestamp)> {
    let Applied { sources, at, .. } = find(path, caller).ok()?.applied;
    let parsed = parse_sources(&sources, caller.uid == 0).ok()?;
    Some((Loaded { sources, parsed }, at))
}

/// Leaves the pointer. Pointers to what is gone are taken away, so that their number stays small.
///
/// # Errors
/// Whatever the file system refuses; the start does not depend on it.
pub(super) fn leave_pointer(path: &Path, state_dir: &Path, caller: &Caller<'_>) -> io::Result<()> {
    let Some(usual) = usual(path, caller).filter(|usual| usual != state_dir && is_own(usual)) else { return Ok(()) };
    let pointers = usual.join("configs");
    own_directory(&pointers, 0o700).map_err(io::Error::other)?;
    for entry in std::fs::read_dir(&pointers)?.flatten() {
        if read(&entry.path()).is_none_or(|pointer| !pointer.state_dir.exists()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    let pointer = Pointer { config: path.to_owned(), state_dir: state_dir.to_owned() };
    replace_file(&file_of(&usual, path), &serde_json::to_vec_pretty(&pointer)?, 0o600, false)
}

fn pointed(usual: &Path, path: &Path) -> Option<PathBuf> {
    let pointer = is_own(usual).then(|| read(&file_of(usual, path)))??;
    (pointer.config == path).then_some(pointer.state_dir)
}

fn read(file: &Path) -> Option<Pointer> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

fn file_of(usual: &Path, path: &Path) -> PathBuf {
    usual.join(format!("configs/{:016x}.json", fnv1a(&[path.as_os_str().as_bytes()])))
}

/// The state directory of a file that names none.
fn usual(path: &Path, caller: &Caller<'_>) -> Option<PathBuf> {
    state_dir(&Sources::from_text(path, "", caller.uid), caller)
}

fn state_dir(sources: &Sources, caller: &Caller<'_>) -> Option<PathBuf> {
    Places::resolve(&supervisor_only(sources), caller).ok().map(|places| places.state_dir)
}

/// There already, and nobody else could have put a configuration into it. Nothing is made.
fn is_own(dir: &Path) -> bool {
    dir.is_dir() && own_directory(dir, 0o700).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::fs::PermissionsExt;

    /// A usual state directory that is there, and a file with a state directory of its own.
    struct Story {
        dir: tempfile::TempDir,
    }

    impl Story {
        fn new() -> Story {
            let story = Story { dir: tempfile::tempdir().unwrap() };
            for dir in ["usual", "state"] {
                std::fs::create_dir(story.path(dir)).unwrap();
            }
            story
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn as_caller<T>(&self, ask: impl FnOnce(&Caller<'_>) -> T) -> T {
            let usual = OsString::from(self.path("usual"));
            let env = |name: &str| (name == "STATE_DIRECTORY").then(|| usual.clone());
            ask(&Caller { uid: 1000, user: None, home: Some(self.path("home")), cwd: self.path(""), env: &env })
        }

        fn found(&self) -> Option<(String, PathBuf)> {
            let found = self.as_caller(|caller| find(&self.path("supervisor.toml"), caller)).ok()?;
            Some((found.applied.at.to_string(), found.state_dir))
        }

        fn apply(&self, state_dir: &str, at: &str) {
            let sources = Sources::from_text(&self.path("supervisor.toml"), "", 1000);
            let at: Timestamp = at.parse().unwrap();
            StateDir::new(&self.path(state_dir)).save_applied(&sources, at).unwrap();
        }

        fn leave_pointer(&self, state_dir: &str) {
            let (path, state_dir) = (self.path("supervisor.toml"), self.path(state_dir));
            self.as_caller(|caller| leave_pointer(&path, &state_dir, caller)).unwrap();
        }

        fn pointers(&self) -> usize {
            std::fs::read_dir(self.path("usual/configs")).map_or(0, Iterator::count)
        }
    }

    #[test]
    fn a_file_that_is_gone_has_its_last_configuration_where_the_pointer_leads() {
        let story = Story::new();
        story.apply("state", "2026-01-01T00:00:00Z");
        assert_eq!(story.found(), None);
        story.leave_pointer("state");
        assert_eq!(story.found(), Some(("2026-01-01T00:00:00Z".to_owned(), story.path("state"))));
    }

    #[test]
    fn of_several_the_latest_counts() {
        let story = Story::new();
        story.apply("state", "2026-01-01T00:00:00Z");
        story.leave_pointer("state");
        story.apply("usual", "2026-01-02T00:00:00Z");
        assert_eq!(story.found().unwrap().1, story.path("usual"));
        let moved = format!("[supervisor]\nnonsense = 1\nstate_dir = {:?}", story.path("named"));
        std::fs::write(story.path("supervisor.toml"), moved).unwrap();
        assert_eq!(story.found().unwrap().1, story.path("usual"));
        std::fs::create_dir(story.path("named")).unwrap();
        story.apply("named", "2026-01-03T00:00:00Z");
        assert_eq!(story.found().unwrap().1, story.path("named"));
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_not_believed() {
        let story = Story::new();
        story.apply("state", "2026-01-01T00:00:00Z");
        story.leave_pointer("state");
        std::fs::set_permissions(story.path("state"), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(story.found(), None);
    }

    #[test]
    fn pointers_to_what_is_gone_are_taken_away_and_the_usual_directory_is_not_made() {
        let story = Story::new();
        std::fs::create_dir(story.path("usual/configs")).unwrap();
        let gone = Pointer { config: story.path("other.toml"), state_dir: story.path("gone") };
        std::fs::write(story.path("usual/configs/0.json"), serde_json::to_vec(&gone).unwrap()).unwrap();
        story.leave_pointer("state");
        assert_eq!(story.pointers(), 1);
        std::fs::remove_dir_all(story.path("usual")).unwrap();
        story.leave_pointer("state");
        assert!(!story.path("usual").exists());
    }
}
