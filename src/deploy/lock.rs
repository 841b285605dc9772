//! One deploy at a time in a root: a lock that is held by the process and gone when it dies, with who holds it, since
//! when and at which step, for whoever comes second.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Longer than any holder, bytes.
const LARGEST: u64 = 4096;

/// Who deploys, as it stands in the lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub by: String,
    pub since: Timestamp,
    pub id: Option<String>,
    /// What it does now.
    pub step: String,
}

/// The right to deploy. It ends with this value, and with the process however that ends: flock(2).
#[derive(Debug)]
pub struct Lock {
    /// Closed on exec, so that no step ever holds it.
    file: File,
    holder: Holder,
}

/// Why the lock was not had.
#[derive(Debug)]
pub enum LockRefused {
    /// None in the instant before the holder has written who it is.
    Held(Option<Holder>),
    Lock(io::Error),
}

impl Lock {
    /// Without waiting.
    ///
    /// # Errors
    /// Somebody else deploys, or there is no making a lock file.
    pub fn take(path: &Path, holder: Holder) -> Result<Lock, LockRefused> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(path).map_err(LockRefused::Lock)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockRefused::Held(read(&mut file))),
            Err(TryLockError::Error(error)) => return Err(LockRefused::Lock(error)),
        }
        let mut lock = Lock { file, holder };
        lock.write();
        Ok(lock)
    }

    /// Who holds it now, if anybody does: the inner value is none in the instant before that is written. Takes nothing
    /// from whoever begins to deploy meanwhile.
    ///
    /// # Errors
    /// The lock file is there and cannot be read.
    pub fn look(path: &Path) -> io::Result<Option<Option<Holder>>> {
        let mut file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
        {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(read(&mut file))),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Tells what is done now, and for which release.
    pub fn at(&mut self, id: Option<&str>, step: &str) {
        self.holder.id = id.map(str::to_owned);
        step.clone_into(&mut self.holder.step);
        self.write();
    }

    /// A courtesy: a full disk must not end a deploy here.
    fn write(&mut self) {
        let Ok(text) = serde_json::to_vec(&self.holder) else { return };
        let _unwritten = self
            .file
            .rewind()
            .and_then(|()| self.file.write_all(&text))
            .and_then(|()| self.file.set_len(text.len() as u64));
    }
}

/// Who deploys now, if anybody does.
fn read(file: &mut File) -> Option<Holder> {
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(by: &str) -> Holder {
        let since = "2026-11-26T17:00:00Z".parse().unwrap();
        Holder { pid: 7, by: by.to_owned(), since, id: None, step: "fetch".to_owned() }
    }

    #[test]
    fn a_second_deploy_is_told_who_holds_the_lock_and_where_that_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deploy.lock");
        let mut first = Lock::take(&path, holder("ann")).unwrap();
        first.at(Some("one"), "npm run build: a rather long step");
        first.at(Some("one"), "npm ci");
        let Err(LockRefused::Held(Some(held))) = Lock::take(&path, holder("bob")) else { panic!("a holder") };
        assert_eq!(Lock::look(&path).unwrap(), Some(Some(held.clone())));
        assert_eq!((held.by.as_str(), held.id.as_deref(), held.step.as_str()), ("ann", Some("one"), "npm ci"));
        drop(first);
        assert_eq!(Lock::look(&path).unwrap(), None);
        assert_eq!(Lock::look(&dir.path().join("none")).unwrap(), None);
        Lock::take(&path, holder("bob")).unwrap();
    }

    #[test]
    fn what_a_dead_deploy_left_in_the_file_is_no_obstacle_and_a_link_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deploy.lock");
        std::fs::write(&path, "x".repeat(500)).unwrap();
        drop(Lock::take(&path, holder("ann")).unwrap());
        assert_eq!(read(&mut File::open(&path).unwrap()).unwrap(), holder("ann"));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(matches!(Lock::take(&path, holder("ann")), Err(LockRefused::Lock(_))));
    }
}
