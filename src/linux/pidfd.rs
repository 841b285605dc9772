//! A process held by a descriptor: what is done through it never reaches a recycled pid.
#![expect(unsafe_code, reason = "neither std nor nix offers the pidfd calls")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Opens a descriptor to the process `pid`, closed on exec; it becomes readable when the process has ended.
///
/// The pid may have been recycled before: compare the start time afterwards, as pidfd_open(2) advises. Linux 5.3.
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: two numbers, no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to exactly that process; 0 only asks whether it may be signalled. Linux 5.1.
///
/// # Errors
/// `ESRCH` when it has ended and was reaped, `EPERM` when it may not be signalled.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without a siginfo the kernel fills in its own, as for kill(2); nothing of ours is read or written.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_living_process_can_be_held_and_asked() {
        let own = i32::try_from(std::process::id()).unwrap();
        let pidfd = pidfd_open(own).unwrap();
        pidfd_send_signal(pidfd.as_fd(), 0).unwrap();
    }

    #[test]
    fn a_pid_that_nobody_has_is_refused() {
        // Above the greatest pid that Linux hands out, proc_sys_kernel(5).
        assert_eq!(pidfd_open(4_194_305).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
