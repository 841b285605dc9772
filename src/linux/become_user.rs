//! To become another user for good, as `exec` does before it runs a command.

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use std::io;

/// Gives up this process's identity for another, with no way back: groups first, because a plain user may not
/// change them (credentials(7)). For a process of one thread; the kernel's calls are per thread, and libc
/// brings the others along.
///
/// # Errors
/// EPERM where the caller is not root.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    setgroups(&groups)?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    Ok(())
}
