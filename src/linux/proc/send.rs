//! A signal to a process, never to whoever has its pid later.
#![expect(unsafe_code, reason = "pidfd_open and pidfd_send_signal have no safe wrapper in nix")]

use super::ProcessId;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Sends `signal` to exactly this process.
///
/// # Errors
///
/// `ESRCH` when it is gone, also when another process has its pid by now; `EPERM` when it is not ours to signal.
pub fn send(process: ProcessId, signal: i32) -> io::Result<()> {
    let pidfd = open(process.pid)?;
    // Checked after the pidfd is held: whoever has this identity now had it then, so the pidfd is its own.
    if ProcessId::of(process.pid) != Some(process) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: the descriptor is open for the whole call, a null siginfo is allowed, and no memory of ours is passed.
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
