//! One deploy at a time in a root: a lock that is held by the process and gone when it dies. Beside it stands who holds
//! it, since when and at which step, for whoever comes second.

use crate::linux::atomic::replace_file;
use crate::linux::pidfd::{pidfd_open, pidfd_send_signal};
use crate::linux::proc::ProcessId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than any holder, bytes.
const LARGEST: u64 = 4096;
/// Whoever looks holds the lock for an instant: that is outwaited, so many times so long.
const GLANCES: u32 = 5;
const GLANCE: Duration = Duration::from_millis(10);

/// Who deploys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    /// Of the process, in clock ticks since boot: with the pid it is nobody else's.
    pub started: u64,
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
    _file: File,
    holder: Holder,
    told: PathBuf,
}

/// Why the lock was not had.
#[derive(Debug)]
pub enum LockRefused {
    /// None in the instant before the holder has written who it is.
    Held(Option<Holder>),
    Lock(io::Error),
}

impl Holder {
    /// This process.
    pub fn own(by: String, since: Timestamp, step: &str) -> Holder {
        let pid = std::process::id();
        let started = process(pid).map_or(0, |process| process.start_time);
        Holder { pid, started, by, since, id: None, step: step.to_owned() }
    }

    pub fn is_alive(&self) -> bool {
        process(self.pid).is_some_and(|process| process.start_time == self.started && process.is_alive())
    }

    /// Asks it to end, as Ctrl-C would: that very process, and no other that has got its pid meanwhile.
    ///
    /// # Errors
    /// `ESRCH` when it has ended, `EPERM` when it may not be signalled.
    pub fn interrupt(&self) -> io::Result<()> {
        let gone = || io::Error::from_raw_os_error(libc::ESRCH);
        let pidfd = pidfd_open(i32::try_from(self.pid).map_err(|_| gone())?)?;
        // With the descriptor open the pid is nobody else's: the comparison holds for whom the signal goes to.
        if !self.is_alive() {
            return Err(gone());
        }
        pidfd_send_signal(pidfd.as_fd(), libc::SIGINT)
    }
}

impl Lock {
    /// Without waiting.
    ///
    /// # Errors
    /// Somebody else deploys, or there is no making a lock file.
    pub fn take(path: &Path, holder: Holder) -> Result<Lock, LockRefused> {
        let mut options = OpenOptions::new();
        // Whoever may open it can hold it: that is for its owner alone.
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(path).map_err(LockRefused::Lock)?;
        file.set_permissions(Permissions::from_mode(0o600)).map_err(LockRefused::Lock)?;
        let told = told(path);
        let mut glances = 0;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if glances < GLANCES && read(&told).is_none() => {
                    glances += 1;
                    std::thread::sleep(GLANCE);
                }
                Err(TryLockError::WouldBlock) => return Err(LockRefused::Held(read(&told))),
                Err(TryLockError::Error(error)) => return Err(LockRefused::Lock(error)),
            }
        }
        let lock = Lock { _file: file, holder, told };
        lock.tell();
        Ok(lock)
    }

    /// Who holds it now, if anybody does: the inner value is none in the instant before that is written. Takes nothing
    /// from whoever begins to deploy meanwhile. Who may not open the lock itself goes by what its holder has told.
    ///
    /// # Errors
    /// The lock file is there and cannot be looked at.
    pub fn look(path: &Path) -> io::Result<Option<Option<Holder>>> {
        let holder = read(&told(path));
        match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path) {
            Ok(file) => match file.try_lock_shared() {
                Ok(()) => Ok(None),
                Err(TryLockError::WouldBlock) => Ok(Some(holder)),
                Err(TryLockError::Error(error)) => Err(error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(holder.map(Some)),
            Err(error) => Err(error),
        }
    }

    /// Tells what is done now, and for which release.
    pub fn at(&mut self, id: Option<&str>, step: &str) {
        self.holder.id = id.map(str::to_owned);
        step.clone_into(&mut self.holder.step);
        self.tell();
    }

    /// A courtesy: a full disk must not end a deploy here.
    fn tell(&self) {
        let Ok(text) = serde_json::to_vec(&self.holder) else { return };
        let _untold = replace_file(&self.told, &text, 0o644, false);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held: what the next holder tells is not removed.
        let _not_believed_either = std::fs::remove_file(&self.told);
    }
}

/// Where the holder stands, for everybody to read.
fn told(lock: &Path) -> PathBuf {
    lock.with_extension("json")
}

/// Who holds it, as long as that process lives.
fn read(told: &Path) -> Option<Holder> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(told).ok()?;
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok().filter(Holder::is_alive)
}

fn process(pid: u32) -> Option<ProcessId> {
    ProcessId::of(i32::try_from(pid).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn holder(by: &str) -> Holder {
        Holder::own(by.to_owned(), "2026-11-26T17:00:00Z".parse().unwrap(), "fetch")
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
        // What another test starts at this moment has the descriptor until it calls exec.
        let mut looks = 0;
        while Lock::look(&path).unwrap().is_some() {
            looks += 1;
            assert!(looks < 3000, "it stays held");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(Lock::look(&dir.path().join("none")).unwrap(), None);
        Lock::take(&path, holder("bob")).unwrap();
    }

    #[test]
    fn only_its_owner_can_hold_it_and_everybody_may_know_who_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deploy.lock");
        // As an earlier version made it.
        std::fs::write(&path, "{}").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let _lock = Lock::take(&path, holder("ann")).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&told(&path))), (0o600, 0o644));
    }

    #[test]
    fn what_a_dead_deploy_left_is_no_obstacle_and_a_link_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deploy.lock");
        let dead = Holder { started: 1, ..holder("ann") };
        std::fs::write(told(&path), serde_json::to_vec(&dead).unwrap()).unwrap();
        assert_eq!(read(&told(&path)), None, "its pid is somebody else's by now");
        assert_eq!(dead.interrupt().unwrap_err().raw_os_error(), Some(libc::ESRCH));
        drop(Lock::take(&path, holder("ann")).unwrap());
        std::fs::remove_file(&path).unwrap();
        symlink("elsewhere", &path).unwrap();
        assert!(matches!(Lock::take(&path, holder("ann")), Err(LockRefused::Lock(_))));
    }

    #[test]
    fn whoever_only_looks_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deploy.lock");
        drop(Lock::take(&path, holder("ann")).unwrap());
        let looking = File::open(&path).unwrap();
        looking.lock_shared().unwrap();
        std::thread::scope(|scope| {
            let taking = scope.spawn(|| Lock::take(&path, holder("bob")).map(drop));
            looking.unlock().unwrap();
            taking.join().unwrap().unwrap();
        });
    }
}
