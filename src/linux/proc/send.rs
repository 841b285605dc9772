//! A signal to a process, never to whoever has its pid later.

use super::ProcessId;
use crate::linux::pidfd::{pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::AsFd;

/// Sends `signal` to exactly this process.
///
/// # Errors
///
/// `ESRCH` when it is gone, also when another process has its pid by now; `EPERM` when it is not ours to signal.
pub fn send(process: ProcessId, signal: i32) -> io::Result<()> {
    let pidfd = pidfd_open(process.pid)?;
    // Checked after the pidfd is held: whoever has this identity now had it then, so the pidfd is its own.
    if ProcessId::of(process.pid) != Some(process) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    pidfd_send_signal(pidfd.as_fd(), signal)
}
