//! At most one supervisor per state directory, and per runtime directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The right to a directory. It ends with this value, and with the process however that ends: flock(2).
#[derive(Debug)]
pub struct DirLock {
    /// Closed on exec, so no app ever holds it.
    file: File,
}

/// What a directory is locked for. Each has a file of its own, so that one directory may serve for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The state: `supervisor.lock`.
    State,
    /// The socket and what is meaningful only within this boot: `runtime.lock`. Configurations with a state directory
    /// each may still name one runtime directory, and the later one would take the socket away.
    Runtime,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("a supervisor already runs on this state directory{}", shown(*pid))]
    StateHeld { pid: Option<i32> },
    #[error(
        "another supervisor{} uses the runtime directory {}: name another [supervisor] runtime_dir",
        shown(*pid), dir.display()
    )]
    RuntimeHeld { pid: Option<i32>, dir: PathBuf },
    #[error("cannot lock {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
}

impl LockError {
    /// Is another supervisor in the way?
    pub fn is_held(&self) -> bool {
        !matches!(self, LockError::Lock { .. })
    }
}

impl DirLock {
    /// Takes the lock file in `dir`, without waiting, and leaves our pid in it for whoever comes next.
    ///
    /// # Errors
    /// When another supervisor holds it, or the file cannot be made there.
    pub fn take(dir: &Path, purpose: Purpose) -> Result<DirLock, LockError> {
        let path = purpose.file(dir);
        let failed = |source| LockError::Lock { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(purpose, dir, holder(&mut file))),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The pid is a courtesy: a full disk must not keep a supervisor from starting.
        let _unwritten = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(DirLock { file })
    }

    /// The lock that the program before this one had, by the descriptor that it passed on: flock(2) belongs to that. None:
    /// it is not the lock of this directory.
    pub fn passed_on(lock: OwnedFd, dir: &Path, purpose: Purpose) -> Option<DirLock> {
        let file = File::from(lock);
        let (held, there) = (file.metadata().ok()?, std::fs::symlink_metadata(purpose.file(dir)).ok()?);
        ((held.dev(), held.ino()) == (there.dev(), there.ino())).then_some(DirLock { file })
    }

    /// To be passed on: the lock ends with the last of its descriptors.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        Ok(self.file.try_clone()?.into())
    }
}

impl Purpose {
    fn file(self, dir: &Path) -> PathBuf {
        dir.join(match self {
            Purpose::State => "supervisor.lock",
            Purpose::Runtime => "runtime.lock",
        })
    }
}

fn held(purpose: Purpose, dir: &Path, pid: Option<i32>) -> LockError {
    match purpose {
        Purpose::State => LockError::StateHeld { pid },
        Purpose::Runtime => LockError::RuntimeHeld { pid, dir: dir.to_owned() },
    }
}

/// None in the instant between its taking the lock and writing its pid.
fn holder(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn shown(pid: Option<i32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_supervisor_is_told_who_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path(), Purpose::State).unwrap();
        let refused = DirLock::take(dir.path(), Purpose::State).unwrap_err();
        let own = std::process::id();
        assert_eq!(refused.to_string(), format!("a supervisor already runs on this state directory (pid {own})"));
        drop(first);
        DirLock::take(dir.path(), Purpose::State).unwrap();
    }

    #[test]
    fn one_directory_may_serve_for_both_and_a_second_supervisor_is_told_what_to_change() {
        let dir = tempfile::tempdir().unwrap();
        let _state = DirLock::take(dir.path(), Purpose::State).unwrap();
        let _runtime = DirLock::take(dir.path(), Purpose::Runtime).unwrap();
        let refused = DirLock::take(dir.path(), Purpose::Runtime).unwrap_err().to_string();
        let (own, dir) = (std::process::id(), dir.path().display());
        let expected = format!("another supervisor (pid {own}) uses the runtime directory {dir}: ");
        assert_eq!(refused, expected + "name another [supervisor] runtime_dir");
    }

    #[test]
    fn a_lock_file_left_by_a_dead_supervisor_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supervisor.lock");
        std::fs::write(&path, "12345678901234567890\n").unwrap();
        let _lock = DirLock::take(dir.path(), Purpose::State).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn the_lock_is_private_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supervisor.lock");
        drop(DirLock::take(dir.path(), Purpose::State).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(matches!(DirLock::take(dir.path(), Purpose::State), Err(LockError::Lock { .. })));
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn a_lock_that_is_passed_on_is_never_free_and_is_known_by_its_file() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = DirLock::take(dir.path(), Purpose::State).unwrap();
        let _other = DirLock::take(other.path(), Purpose::State).unwrap();
        let copy = || first.copy().unwrap();
        assert!(DirLock::passed_on(copy(), other.path(), Purpose::State).is_none());
        assert!(DirLock::passed_on(copy(), dir.path(), Purpose::Runtime).is_none());
        let second = DirLock::passed_on(copy(), dir.path(), Purpose::State).unwrap();
        drop(first);
        assert!(DirLock::take(dir.path(), Purpose::State).is_err());
        drop(second);
        DirLock::take(dir.path(), Purpose::State).unwrap();
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = DirLock::take(Path::new("/nonexistent/state"), Purpose::State).unwrap_err();
        assert_eq!(error.to_string(), "cannot lock /nonexistent/state/supervisor.lock");
    }
}
