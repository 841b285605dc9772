//! How one thread of a root supervisor borrows a user's rights to files.
#![expect(unsafe_code, reason = "the file-system identity of one thread is set by raw system calls")]

use nix::unistd::{Gid, Uid};
use std::io;

/// Whose rights decide what may be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsOwner {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

pub(super) fn own_groups() -> Vec<u32> {
    nix::unistd::getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect()
}

/// Runs `act` with `owner`'s rights to files, on the calling thread only: what it opens, creates or checks is
/// judged, and owned, as if that user did it. The thread is itself again afterwards, also when `act` panics.
///
/// A process that is not root, or is already that user, just runs `act`: it has no rights to lay down.
///
/// # Errors
/// When the kernel does not let the thread take the identity; `act` has not run then.
pub fn with_rights_of<T>(owner: &FsOwner, act: impl FnOnce() -> T) -> io::Result<T> {
    if !Uid::effective().is_root() || owner.uid == 0 {
        return Ok(act());
    }
    let borrowed = BorrowedRights::take(owner)?;
    let outcome = act();
    drop(borrowed);
    Ok(outcome)
}

/// The thread's own file-system identity, put back when this is dropped.
struct BorrowedRights {
    groups: Vec<u32>,
    gid: u32,
    uid: u32,
}

impl BorrowedRights {
    fn take(owner: &FsOwner) -> io::Result<BorrowedRights> {
        let groups = own_groups();
        set_thread_groups(&owner.groups)?;
        // From here on dropping `own` undoes whatever was reached.
        let own = BorrowedRights { groups, gid: Gid::effective().as_raw(), uid: 0 };
        set_fsgid(owner.gid)?;
        set_fsuid(owner.uid)?;
        Ok(own)
    }
}

impl Drop for BorrowedRights {
    fn drop(&mut self) {
        // The user first: it brings back the capabilities. A root that may lay down its rights may take them up again;
        // were that ever refused, going on would run the supervisor with an app's rights, so it ends instead.
        let restored = set_fsuid(self.uid).and(set_fsgid(self.gid)).and(set_thread_groups(&self.groups));
        if restored.is_err() {
            std::process::abort();
        }
    }
}

/// setgroups(2) for this thread: the C library's function of that name changes every thread.
fn set_thread_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one live slice of 32-bit ids, which is the kernel's gid_t.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn set_fsuid(uid: u32) -> io::Result<()> {
    set_fs_id(libc::SYS_setfsuid, uid)
}

fn set_fsgid(gid: u32) -> io::Result<()> {
    set_fs_id(libc::SYS_setfsgid, gid)
}

/// setfsuid(2) and setfsgid(2) report no error: asking for the impossible id -1 afterwards tells what is in force.
fn set_fs_id(call: libc::c_long, id: u32) -> io::Result<()> {
    // SAFETY: both calls take one id by value and touch no memory of ours.
    let in_force = unsafe {
        libc::syscall(call, libc::c_long::from(id));
        libc::syscall(call, libc::c_long::from(-1_i32))
    };
    if in_force == libc::c_long::from(id) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) }
}
