//! Starting an app's process: in a clean state, known to us before it runs, every failure with its reason.
//!
//! ```text
//! supervisor                          child
//!   clone into the cgroup ─────────▶  session, descriptors, signals, limits, user, directory
//!   read its start time   ◀─ ready ─  wait at the gate (end of file: the supervisor died, so exit)
//!   record it
//!   open the gate         ─────────▶  exec
//!   end of file: it runs  ◀────────
//! ```
//!
//! The child waits so that whatever runs was recorded before: a supervisor killed at any instant leaves no process
//! that its successor does not find.
#![expect(unsafe_code, reason = "clone and clone3 have no safe wrapper, for good reason")]

mod child;
mod error;
mod plan;
#[cfg(test)]
mod tests;

pub use error::LaunchError;

use super::exit::wait_for_end;
use super::identity::Identity;
use super::limits::Nofile;
use super::pidfd::pidfd_send_signal;
use super::proc::ProcessId;
use child::{Report, Stage};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::socket::{MsgFlags, send};
use plan::Plan;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// What is to be started, and as whom.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The argument vector. A program without a slash is looked up in the PATH of `env`; a relative one is relative
    /// to `cwd`.
    pub command: Vec<OsString>,
    /// What the process is told that it was called as, where that is not the command's first word.
    pub called: Option<OsString>,
    pub cwd: PathBuf,
    /// The whole environment; nothing of ours is added.
    pub env: Vec<(OsString, OsString)>,
    /// The user to become; only root can. None: stay who we are.
    pub identity: Option<Identity>,
    /// None: /dev/null. All three are closed here once the child has them.
    pub stdin: Option<OwnedFd>,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// The directory of a cgroup that the child enters before it runs.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Its limit of open descriptors; none: ours.
    pub nofile: Option<Nofile>,
}

/// A process that we started.
#[derive(Debug)]
pub struct Launched {
    pub pid: i32,
    /// Clock ticks after boot, field 22 of `/proc/PID/stat`: with the boot id and the pid it is the process's identity.
    pub start_time: u64,
    /// Becomes readable when the process has ended.
    pub pidfd: OwnedFd,
}

/// Starts a process. `record` is told of it while it waits at the gate: what it writes down is there before the
/// first instruction of the app. A launch may still fail after that, for a program shows whether it can be executed
/// only then: what was recorded is to be forgotten. When `record` panics, the child is ended.
///
/// Takes about a millisecond; entering a directory or reading a program on a hung network disk takes as long as that.
///
/// The child leads its own session. It has default signal dispositions, an empty signal mask, no descriptors beyond
/// the first three, umask 022, and no ambient capabilities; its oom_score_adj and nice value are 0 where that is
/// allowed. The right to gain privileges by set-user-id programs stays: apps may use sudo.
///
/// # Errors
/// Every reason for which the app cannot run, in the operator's words; no process is left then.
pub fn launch(launch: Launch<'_>, record: impl FnOnce(&Launched)) -> Result<Launched, LaunchError> {
    let plan = Plan::new(&launch)?;
    let (mut gate, child_gate) = UnixStream::pair().map_err(|source| LaunchError::step("make a gate", source))?;
    let descriptors = Descriptors::new(launch.stdin, launch.stdout, launch.stderr, child_gate.into())
        .map_err(|source| LaunchError::step("open the descriptors of the process", source))?;
    let (pid, pidfd) = clone(&plan, &descriptors, launch.cgroup).map_err(|source| plan.explain_clone(source))?;
    // Ours must be closed, or the gate would never read as ended.
    drop(descriptors);
    let Some(ProcessId { start_time, .. }) = ProcessId::of(pid) else {
        end(pidfd.as_fd());
        // It has ended and was reaped already: mostly after it said why.
        if let Ok(Some(report)) = next_report(&mut gate)
            && !matches!(report.stage, Stage::READY)
        {
            return Err(plan.explain(&report));
        }
        let gone = io::Error::from_raw_os_error(libc::ESRCH);
        return Err(LaunchError::step("read the start time of the process", gone));
    };
    let launched = Launched { pid, start_time, pidfd };
    let not_yet = EndUnlessStarted(launched.pidfd.as_fd());
    pass_the_gate(&plan, gate, &launched, record)?;
    std::mem::forget(not_yet);
    Ok(launched)
}

/// The supervisor's side of the picture above, from "ready" on.
fn pass_the_gate(
    plan: &Plan,
    mut gate: UnixStream,
    launched: &Launched,
    record: impl FnOnce(&Launched),
) -> Result<(), LaunchError> {
    match next_report(&mut gate).map_err(|source| LaunchError::step("hear from the process", source))? {
        Some(Report { stage: Stage::READY, .. }) => {}
        Some(report) => return Err(plan.explain(&report)),
        None => return Err(died(launched)),
    }
    record(launched);
    // Without SIGPIPE: a child killed at the gate shows by its end of file below.
    let _opened = send(gate.as_raw_fd(), &[1], MsgFlags::MSG_NOSIGNAL);
    match next_report(&mut gate).map_err(|source| LaunchError::step("hear from the process", source))? {
        Some(report) => Err(plan.explain(&report)),
        None => Ok(()),
    }
}

/// None at the end of file: the child has passed on to its program, or was killed.
fn next_report(gate: &mut UnixStream) -> io::Result<Option<Report>> {
    let mut bytes = [0; Report::BYTES];
    match gate.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(Report::from_bytes(bytes))),
        // Reset instead of end of file: it was killed before it took the byte that opens the gate.
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => Ok(None),
        Err(error) => Err(error),
    }
}

fn died(launched: &Launched) -> LaunchError {
    LaunchError::Died { exit: wait_for_end(launched.pidfd.as_fd()).ok().flatten() }
}

/// Ends the child on every way out of a launch but success, a panic of `record` included.
struct EndUnlessStarted<'a>(BorrowedFd<'a>);

impl Drop for EndUnlessStarted<'_> {
    fn drop(&mut self) {
        end(self.0);
    }
}

fn end(pidfd: BorrowedFd<'_>) {
    // Both fail when it has ended and was reaped already, which is what is wanted.
    let _killed = pidfd_send_signal(pidfd, libc::SIGKILL);
    let _reaped = wait_for_end(pidfd);
}

/// What the child needs open, all above the numbers that it will put them on.
struct Descriptors {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    gate: OwnedFd,
}

impl Descriptors {
    fn new(stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd, gate: OwnedFd) -> io::Result<Descriptors> {
        let stdin = match stdin {
            Some(stdin) => stdin,
            None => std::fs::File::open("/dev/null")?.into(),
        };
        Ok(Descriptors { stdin: above(stdin)?, stdout: above(stdout)?, stderr: above(stderr)?, gate: above(gate)? })
    }
}

fn above(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > child::GATE {
        return Ok(fd);
    }
    let higher = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(child::GATE + 1))?;
    // SAFETY: fcntl has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(higher) })
}

/// The child's pid and its pidfd. All signals are blocked around it, so that none of our handlers runs in the child.
fn clone(plan: &Plan, descriptors: &Descriptors, cgroup: Option<BorrowedFd<'_>>) -> io::Result<(i32, OwnedFd)> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let cloned = match cgroup {
        Some(cgroup) => clone_into(plan, descriptors, cgroup),
        None => clone_here(plan, descriptors, None),
    };
    before.thread_set_mask()?;
    cloned
}

/// Straight into the cgroup (Linux 5.7), so that the child is never seen outside. Where the kernel, a container's
/// filter of system calls or a cgroup of version 1 forbids that, the child writes itself into the cgroup first thing.
fn clone_into(plan: &Plan, descriptors: &Descriptors, cgroup: BorrowedFd<'_>) -> io::Result<(i32, OwnedFd)> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut pidfd: RawFd = -1;
    let mut arguments = CloneArguments {
        flags: CLONE_PIDFD | CLONE_INTO_CGROUP,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: cgroup.as_raw_fd() as u64,
        ..CloneArguments::default()
    };
    // SAFETY: without CLONE_VM this is a fork: the child has its own copy of all memory, goes straight into
    // `child::run`, and never returns. The structure is live and its size is told.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<CloneArguments>()) };
    if pid == 0 {
        child::run(plan, descriptors, None);
    }
    let error = match cloned(pid, pidfd) {
        Ok(child) => return Ok(child),
        Err(error) => error,
    };
    if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) {
        return Err(error);
    }
    clone_here(plan, descriptors, Some(cgroup))
}

/// The older call (with a pidfd: Linux 5.2); the child enters `cgroup` by itself.
fn clone_here(plan: &Plan, descriptors: &Descriptors, cgroup: Option<BorrowedFd<'_>>) -> io::Result<(i32, OwnedFd)> {
    let mut pidfd: RawFd = -1;
    let flags = CLONE_PIDFD | libc::SIGCHLD as u64;
    // SAFETY: as above a fork; these first three arguments have the same order on all 64-bit machines, and with
    // CLONE_PIDFD the third is where the parent's descriptor goes.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, &raw mut pidfd, 0_usize, 0_usize) };
    if pid == 0 {
        child::run(plan, descriptors, cgroup);
    }
    cloned(pid, pidfd)
}

fn cloned(pid: libc::c_long, pidfd: RawFd) -> io::Result<(i32, OwnedFd)> {
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
}

const CLONE_PIDFD: u64 = 0x1000;

/// `struct clone_args` of clone3(2) up to `cgroup`, its size in Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}
