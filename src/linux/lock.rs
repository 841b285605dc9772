//! At most one supervisor per state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The right to a state directory. It ends with this value, and with the process however that ends: flock(2).
#[derive(Debug)]
pub struct StateLock {
    /// Closed on exec, so no app ever holds it.
    _file: File,
}

/// Why the lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("a supervisor already runs on this state directory{}", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Held { pid: Option<i32> },
    #[error("cannot lock {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
}

impl StateLock {
    /// Takes the lock `supervisor.lock` in `dir`, without waiting, and leaves our pid in it for whoever comes next.
    ///
    /// # Errors
    /// When another supervisor holds it, or the file cannot be made there.
    pub fn take(dir: &Path) -> Result<StateLock, LockError> {
        let path = dir.join("supervisor.lock");
        let failed = |source| LockError::Lock { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { pid: holder(&mut file) }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The pid is a courtesy: a full disk must not keep a supervisor from starting.
        let _unwritten = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(StateLock { _file: file })
    }
}

/// None in the instant between its taking the lock and writing its pid.
fn holder(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_supervisor_is_told_who_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::take(dir.path()).unwrap();
        let refused = StateLock::take(dir.path()).unwrap_err();
        let own = std::process::id();
        assert_eq!(refused.to_string(), format!("a supervisor already runs on this state directory (pid {own})"));
        drop(first);
        StateLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_lock_file_left_by_a_dead_supervisor_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supervisor.lock");
        std::fs::write(&path, "12345678901234567890\n").unwrap();
        let _lock = StateLock::take(dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), format!("{}\n", std::process::id()));
    }

    #[test]
    fn the_lock_is_private_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supervisor.lock");
        drop(StateLock::take(dir.path()).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(matches!(StateLock::take(dir.path()), Err(LockError::Lock { .. })));
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = StateLock::take(Path::new("/nonexistent/state")).unwrap_err();
        assert_eq!(error.to_string(), "cannot lock /nonexistent/state/supervisor.lock");
    }
}
