//! A process held by a descriptor: what is done through it never reaches a recycled pid.
#![expect(unsafe_code, reason = "neither std nor nix offers the pidfd calls")]

use std::fs::File;
use std::io::{self, Read};
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

/// When `pid` started, in clock ticks after boot: field 22 of `/proc/PID/stat`, proc_pid_stat(5).
///
/// # Errors
/// When there is no such process.
pub fn start_time(pid: i32) -> io::Result<u64> {
    // The kernel tells no length, and one read of this much is cheaper than growing into it: 52 numbers and a name.
    let mut stat = [0; 2048];
    let length = File::open(format!("/proc/{pid}/stat"))?.read(&mut stat)?;
    stat.get(..length).and_then(start_time_in).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// The name in field 2 may hold anything, parentheses and spaces too: what counts begins after the last `)`.
fn start_time_in(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    // The first one here is field 3.
    fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
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
    fn the_start_time_is_found_behind_any_name() {
        let stat = b"7 (a) S 1 (b) S 1 7 7 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 4711 8192 0\n";
        assert_eq!(start_time_in(stat), Some(4711));
        assert_eq!(start_time_in(b"7 (a"), None);
    }

    #[test]
    fn a_pid_that_nobody_has_is_refused() {
        // Above the greatest pid that Linux hands out, proc_sys_kernel(5).
        assert_eq!(pidfd_open(4_194_305).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }
}
