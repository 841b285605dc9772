//! How a process ended, learnt without ever taking another's exit away.
#![expect(unsafe_code, reason = "nix knows no real-time signal in a wait status, and no PIDFD_GET_INFO")]

use super::proc::{ProcTable, ProcessId, number, status_of_zombie};
use super::signal::signal_name;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How often, and for how long, the status of somebody else's child is asked for: it is there once its parent has taken
/// it, and a parent that never does leaves it unknown.
const REAPED_LOOK: Duration = Duration::from_millis(10);
const REAPED_LOOKS: u32 = 100;

/// How a process ended: by itself with a code, or by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// 0 to 255.
    pub code: Option<i32>,
    /// The signal's number.
    pub signal: Option<i32>,
    /// It left a core dump.
    pub core: bool,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (_, Some(signal)) => write!(f, "{}{}", signal_name(signal), if self.core { " (core dumped)" } else { "" }),
            (Some(code), None) => write!(f, "exit code {code}"),
            (None, None) => f.write_str("an unknown end"),
        }
    }
}

/// Reaps our child behind `pidfd` if it has ended; `None` while it lives. Does not wait. Linux 5.4.
///
/// # Errors
/// `ECHILD` when it is not our child, or was reaped already.
pub fn wait_status(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    let id = libc::id_t::try_from(pidfd.as_raw_fd()).map_err(io::Error::other)?;
    Ok(waitid(libc::P_PIDFD, id, libc::WEXITED | libc::WNOHANG)?.map(|ended| ended.exit))
}

/// Reaps our child behind `pidfd`, waiting for its end.
///
/// # Errors
/// `ECHILD` when it is not our child, or was reaped already.
pub(super) fn wait_for_end(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    let id = libc::id_t::try_from(pidfd.as_raw_fd()).map_err(io::Error::other)?;
    Ok(waitid(libc::P_PIDFD, id, libc::WEXITED)?.map(|ended| ended.exit))
}

/// Waits for the end of our child behind `pidfd` and reaps it, without keeping the thread.
///
/// # Errors
/// `ECHILD` when it is not our child, or was reaped already.
pub async fn ended(pidfd: &OwnedFd) -> io::Result<Exit> {
    // SAFETY: the descriptor is borrowed for as long as it is registered, so it stays open and the same.
    let watched = unsafe { AsyncFd::register_with_interest(pidfd.as_fd(), Interest::READABLE) }?;
    loop {
        let mut ready = watched.readable().await?;
        if let Some(exit) = wait_status(pidfd.as_fd())? {
            return Ok(exit);
        }
        ready.clear_ready();
    }
}

/// Waits for the end of a process that is not our child. None: nobody can tell how it ended, which happens before Linux
/// 6.15 where its parent was quicker than we.
///
/// # Errors
/// The descriptor cannot be watched.
pub async fn ended_elsewhere(pidfd: &OwnedFd, process: ProcessId) -> io::Result<Option<Exit>> {
    // SAFETY: the descriptor is borrowed for as long as it is registered, so it stays open and the same.
    let watched = unsafe { AsyncFd::register_with_interest(pidfd.as_fd(), Interest::READABLE) }?;
    let _ended = watched.readable().await?;
    for _ in 0..REAPED_LOOKS {
        if let Some(status) = status_of_zombie(process) {
            return Ok(Some(exit_of(status)));
        }
        match exit_told(pidfd.as_fd()) {
            Ok(Some(exit)) => return Ok(Some(exit)),
            Ok(None) => tokio::time::sleep(REAPED_LOOK).await,
            // The kernel does not know this question, or no longer its answer.
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// How the process behind `pidfd` ended, by `PIDFD_GET_INFO` (Linux 6.15 for this part of it); none until it was reaped.
fn exit_told(pidfd: BorrowedFd<'_>) -> io::Result<Option<Exit>> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    /// `_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)`, ioctl(2), of the structure's first version.
    const PIDFD_GET_INFO: u64 = 3 << 30 | (size_of::<PidfdInfo>() as u64) << 16 | 0xFF << 8 | 11;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: `info` is a live structure of the size that the request tells, to which the kernel may write.
    let asked = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((info.mask & PIDFD_INFO_EXIT != 0).then(|| exit_of(info.exit_code)))
}

/// `struct pidfd_info` as of Linux 6.13 (`linux/pidfd.h`).
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    /// pid, tgid, ppid and the eight user and group ids.
    ids: [u32; 11],
    exit_code: i32,
}

/// From a wait status, wait(2).
fn exit_of(status: i32) -> Exit {
    match status & 0x7f {
        0 => Exit { code: Some(status >> 8 & 0xff), signal: None, core: false },
        signal => Exit { code: None, signal: Some(signal), core: status & 0x80 != 0 },
    }
}

/// Makes this process the parent of the orphans among its descendants, so that none leaves its sight
/// (`PR_SET_CHILD_SUBREAPER`, Linux 3.4).
///
/// # Errors
/// None that a Linux of today gives.
pub fn become_subreaper() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)?;
    Ok(())
}

/// Reaps the ended children that `is_known` does not claim: orphans that fell to this subreaper. Returns how many.
///
/// A known one is left for its own pidfd, for as long as that takes; whoever ended after it is reaped all the same. A
/// child must be known from [`launch`](super::spawn::launch)'s `record` on.
pub fn reap_strangers(is_known: &dyn Fn(i32) -> bool) -> usize {
    let mut reaped = 0;
    while let Ok(Some(ended)) = waitid(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) {
        if is_known(ended.pid) {
            // The kernel would show this one again and again, and nobody behind it.
            return reaped + children().into_iter().filter(|pid| !is_known(*pid) && reap(*pid)).count();
        }
        if !reap(ended.pid) {
            break;
        }
        reaped += 1;
    }
    reaped
}

/// Whether that child of ours had ended, and is reaped now.
fn reap(pid: i32) -> bool {
    let Ok(id) = libc::id_t::try_from(pid) else { return false };
    matches!(waitid(libc::P_PID, id, libc::WEXITED | libc::WNOHANG), Ok(Some(_)))
}

/// Our children, alive or not. The kernel keeps a list for each thread, and an orphan falls to any of them.
fn children() -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists: Vec<_> = threads.filter_map(|thread| std::fs::read(thread.path().join("children")).ok()).collect();
    if lists.is_empty() {
        // A kernel without CONFIG_PROC_CHILDREN.
        let table = ProcTable::new();
        return table.children(nix::unistd::getpid().as_raw()).map(|child| child.id.pid).collect();
    }
    lists.iter().flat_map(|list| list.split(u8::is_ascii_whitespace)).filter_map(number).collect()
}

struct Ended {
    pid: i32,
    exit: Exit,
}

fn waitid(kind: libc::idtype_t, id: libc::id_t, options: i32) -> io::Result<Option<Ended>> {
    // SAFETY: siginfo_t is plain data for which all zeros are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `info` is a live siginfo_t that the kernel may write to.
        if unsafe { libc::waitid(kind, id, &raw mut info, options) } == 0 {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: waitid filled the SIGCHLD part of the union, or left the zeros in place.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let exit = if info.si_code == libc::CLD_EXITED {
        Exit { code: Some(status), signal: None, core: false }
    } else {
        Exit { code: None, signal: Some(status), core: info.si_code == libc::CLD_DUMPED }
    };
    Ok(Some(Ended { pid, exit }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_tells_code_signal_and_core() {
        assert_eq!(exit_of(143 << 8), Exit { code: Some(143), signal: None, core: false });
        assert_eq!(exit_of(9), Exit { code: None, signal: Some(9), core: false });
        assert_eq!(exit_of(0x80 | 11), Exit { code: None, signal: Some(11), core: true });
    }

    /// Its grandchild is told of by a kernel that can, and by no other way.
    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "somebody else's child is what this is about")]
    async fn the_end_of_somebody_elses_child_is_told() {
        let script = "sh -c 'read line; exit 7' <&3 & echo $!; wait";
        let (reader, writer) = io::pipe().unwrap();
        let mut parent = std::process::Command::new("sh");
        parent.args(["-c", &format!("exec 3<&0; {script}")]).stdin(reader).stdout(std::process::Stdio::piped());
        let mut parent = parent.spawn().unwrap();
        let mut told = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(parent.stdout.take().unwrap()), &mut told).unwrap();
        let process = ProcessId::of(told.trim().parse().unwrap()).unwrap();
        let pidfd = super::super::pidfd::pidfd_open(process.pid).unwrap();
        assert_eq!(wait_status(pidfd.as_fd()).unwrap_err().raw_os_error(), Some(libc::ECHILD));
        drop(writer);
        let exit = ended_elsewhere(&pidfd, process).await.unwrap();
        assert!([None, Some(Exit { code: Some(7), signal: None, core: false })].contains(&exit), "{exit:?}");
        parent.wait().unwrap();
    }

    #[test]
    fn an_end_reads_as_an_operator_would_say_it() {
        let exit = |code, signal, core| Exit { code, signal, core }.to_string();
        assert_eq!(exit(Some(143), None, false), "exit code 143");
        assert_eq!(exit(None, Some(9), false), "SIGKILL");
        assert_eq!(exit(None, Some(11), true), "SIGSEGV (core dumped)");
    }
}
