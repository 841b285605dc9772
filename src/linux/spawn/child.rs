//! The child between clone and exec: other threads' locks may be held for ever here, so it makes system calls only,
//! and neither allocates nor panics.
#![expect(unsafe_code, reason = "system calls only, between clone and exec")]

use super::Descriptors;
use super::plan::{Credentials, Plan};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Where the child keeps its end of the gate: the first number after the standard ones.
pub(super) const GATE: RawFd = 3;

/// How far the child came, told through the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) stage: Stage,
    pub(super) errno: i32,
    /// The index of the program that was tried.
    pub(super) candidate: i32,
}

/// A number, not an enum: it travels through a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage(pub(super) i32);

impl Stage {
    pub(super) const READY: Stage = Stage(0);
    pub(super) const SESSION: Stage = Stage(1);
    pub(super) const CGROUP: Stage = Stage(2);
    pub(super) const DESCRIPTORS: Stage = Stage(3);
    pub(super) const NOFILE: Stage = Stage(4);
    pub(super) const USER: Stage = Stage(5);
    pub(super) const DIRECTORY: Stage = Stage(6);
    /// No candidate is there.
    pub(super) const NOT_FOUND: Stage = Stage(7);
    /// The directory of a candidate may not be entered; no other one is there.
    pub(super) const HIDDEN: Stage = Stage(8);
    /// A candidate is there, what it asks to be run by is not.
    pub(super) const NO_INTERPRETER: Stage = Stage(9);
    pub(super) const EXEC: Stage = Stage(10);
}

impl Report {
    pub(super) const BYTES: usize = 12;

    pub(super) fn from_bytes(bytes: [u8; Report::BYTES]) -> Report {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        Report {
            stage: Stage(i32::from_ne_bytes([a, b, c, d])),
            errno: i32::from_ne_bytes([e, f, g, h]),
            candidate: i32::from_ne_bytes([i, j, k, l]),
        }
    }

    fn into_bytes(self) -> [u8; Report::BYTES] {
        let [a, b, c, d] = self.stage.0.to_ne_bytes();
        let [e, f, g, h] = self.errno.to_ne_bytes();
        let [i, j, k, l] = self.candidate.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

/// Everything the child does, to its exec or its end.
pub(super) fn run(plan: &Plan, descriptors: &Descriptors, cgroup: Option<BorrowedFd<'_>>) -> ! {
    let failed = match prepare(plan, descriptors, cgroup) {
        Err(report) => report,
        Ok(()) => {
            tell(GATE, Report { stage: Stage::READY, errno: 0, candidate: 0 });
            if !gate_opens() {
                quit();
            }
            exec(plan)
        }
    };
    // Before it has taken its place the gate is where it was.
    tell(if failed.stage.0 <= Stage::DESCRIPTORS.0 { descriptors.gate.as_raw_fd() } else { GATE }, failed);
    quit()
}

fn prepare(plan: &Plan, descriptors: &Descriptors, cgroup: Option<BorrowedFd<'_>>) -> Result<(), Report> {
    // SAFETY: no arguments.
    check(unsafe { libc::setsid() }, Stage::SESSION)?;
    if let Some(cgroup) = cgroup {
        enter(cgroup)?;
    }
    take_places(descriptors)?;
    reset_signals();
    shed_what_our_unit_set();
    if let Some(nofile) = &plan.nofile {
        // SAFETY: the structure is live.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, nofile) }, Stage::NOFILE)?;
    }
    if let Some(credentials) = &plan.credentials {
        become_user(credentials)?;
    }
    // As the user: root would get in where they may not.
    // SAFETY: the path is a live C string.
    check(unsafe { libc::chdir(plan.cwd.as_ptr()) }, Stage::DIRECTORY)?;
    Ok(())
}

fn enter(cgroup: BorrowedFd<'_>) -> Result<(), Report> {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: the name is a live C string. The descriptor is closed with all others.
    let procs = unsafe { libc::openat(cgroup.as_raw_fd(), c"cgroup.procs".as_ptr(), flags) };
    check(procs, Stage::CGROUP)?;
    // SAFETY: one byte of a literal. "0" is the writer itself, cgroups(7).
    check(unsafe { libc::write(procs, c"0".as_ptr().cast(), 1) } as i64, Stage::CGROUP)
}

/// 0, 1, 2 and the gate; everything else is closed now, not on exec: while this child waits at its gate it must not
/// keep another child's gate open.
fn take_places(descriptors: &Descriptors) -> Result<(), Report> {
    let places = [(&descriptors.stdin, 0), (&descriptors.stdout, 1), (&descriptors.stderr, 2)];
    for (fd, place) in places {
        // SAFETY: numbers; all sources are above the places (`Descriptors`), so none overwrites another.
        check(unsafe { libc::dup2(fd.as_raw_fd(), place) }, Stage::DESCRIPTORS)?;
    }
    // SAFETY: numbers, as above.
    check(unsafe { libc::dup3(descriptors.gate.as_raw_fd(), GATE, libc::O_CLOEXEC) }, Stage::DESCRIPTORS)?;
    close_above(GATE);
    Ok(())
}

fn close_above(last: RawFd) {
    // SAFETY: numbers. Nothing in this process uses a descriptor above after this. Linux 5.9.
    if unsafe { libc::syscall(libc::SYS_close_range, last + 1, libc::c_uint::MAX, 0) } == 0 {
        return;
    }
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is live; without an answer it stays 0 and nothing is closed.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let end = i32::try_from(limit.rlim_cur).unwrap_or(1 << 20);
    for fd in last + 1..end {
        // SAFETY: a number, as above.
        unsafe { libc::close(fd) };
    }
}

/// An ignored signal stays ignored over exec, and Rust ignores SIGPIPE; a blocked one stays blocked.
fn reset_signals() {
    /// The kernel's `struct sigaction`, larger than on any machine: all zeros are the default action.
    const DEFAULT: [u64; 8] = [0; 8];
    const SIGSET_BYTES: usize = 8;
    let nothing = std::ptr::null::<u64>();
    for signal in 1..=64 {
        // The C library's function refuses its two private signals.
        // SAFETY: the kernel reads one structure from `DEFAULT` and writes none. KILL and STOP are refused: no harm.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, DEFAULT.as_ptr(), nothing, SIGSET_BYTES) };
    }
    // SAFETY: the kernel reads one signal set, 8 bytes, all zeros.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, DEFAULT.as_ptr(), nothing, SIGSET_BYTES) };
}

/// What a service manager gave the supervisor and an app should not inherit. What may not be reset stays: an app with
/// a wrong nice value is better than none.
fn shed_what_our_unit_set() {
    const PR_CAP_AMBIENT: i32 = 47;
    const PR_CAP_AMBIENT_CLEAR_ALL: libc::c_ulong = 4;
    let none: libc::c_ulong = 0;
    // SAFETY: the path and the byte are literals; the other calls take numbers.
    unsafe {
        let adjustment = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if adjustment >= 0 {
            libc::write(adjustment, c"0".as_ptr().cast(), 1);
            libc::close(adjustment);
        }
        libc::umask(0o022);
        libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        libc::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, none, none, none);
    }
}

/// By raw system calls: the C library's functions would signal threads that this copy of the process does not have.
fn become_user(credentials: &Credentials) -> Result<(), Report> {
    let Credentials { uid, gid, groups } = credentials;
    let (uid, gid) = (libc::c_ulong::from(*uid), libc::c_ulong::from(*gid));
    let mut now = [libc::uid_t::MAX; 6];
    let [ruid, euid, suid, rgid, egid, sgid] = &mut now;
    // SAFETY: the groups are a live slice and its length; the last two calls write to six live ids; else numbers.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()), Stage::USER)?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid), Stage::USER)?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid), Stage::USER)?;
        check(libc::syscall(libc::SYS_getresuid, ruid, euid, suid), Stage::USER)?;
        check(libc::syscall(libc::SYS_getresgid, rgid, egid, sgid), Stage::USER)?;
    }
    // An app must never run as root because a call did something else than it said.
    if now == [credentials.uid, credentials.uid, credentials.uid, credentials.gid, credentials.gid, credentials.gid] {
        return Ok(());
    }
    Err(Report { stage: Stage::USER, errno: libc::EPERM, candidate: 0 })
}

/// False when the supervisor died: its end closes without a byte.
fn gate_opens() -> bool {
    let mut byte = 0_u8;
    loop {
        // SAFETY: one byte that is live.
        let read = unsafe { libc::read(GATE, (&raw mut byte).cast(), 1) };
        if read == 1 {
            return true;
        }
        if read == 0 || errno() != libc::EINTR {
            return false;
        }
    }
}

/// Tries the candidates in the order of the PATH, as execvp(3) does, and returns the most telling failure: one of a
/// program that is there over one of a directory that may not be entered, over its not being there.
fn exec(plan: &Plan) -> Report {
    let mut telling = Report { stage: Stage::NOT_FOUND, errno: libc::ENOENT, candidate: 0 };
    for (candidate, program) in (0..).zip(&plan.candidates) {
        let errno = exec_one(plan, program);
        let stage = match errno {
            libc::ENOENT if presence(program) == 0 => Stage::NO_INTERPRETER,
            libc::EACCES if presence(program) == libc::EACCES => Stage::HIDDEN,
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => Stage::NOT_FOUND,
            libc::EACCES => Stage::EXEC,
            // Not of the kind that another directory could mend.
            _ => return Report { stage: Stage::EXEC, errno, candidate },
        };
        if stage.0 > telling.stage.0 && telling.stage.0 <= Stage::HIDDEN.0 {
            telling = Report { stage, errno, candidate };
        }
    }
    telling
}

/// Returns only when it failed.
fn exec_one(plan: &Plan, program: &CStr) -> i32 {
    let pause = libc::timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    let mut tries = 0;
    loop {
        // SAFETY: all are live C strings, and both lists end with a null pointer (`Plan`).
        unsafe { libc::execve(program.as_ptr(), plan.argv.as_ptr(), plan.envp.as_ptr()) };
        let errno = errno();
        tries += 1;
        // A program that we have just installed may for an instant be open for writing in a child of another
        // thread, which closes it on its way to its own exec.
        if errno != libc::ETXTBSY || tries == 20 {
            return errno;
        }
        // SAFETY: the structure is live, and no remainder is asked for.
        unsafe { libc::nanosleep(&raw const pause, std::ptr::null_mut()) };
    }
}

/// 0 when the file is there, else why that cannot be told.
fn presence(program: &CStr) -> i32 {
    // SAFETY: a live C string and numbers.
    let found = unsafe { libc::syscall(libc::SYS_faccessat, libc::AT_FDCWD, program.as_ptr(), libc::F_OK) };
    if found == 0 { 0 } else { errno() }
}

fn check(result: impl Into<i64>, stage: Stage) -> Result<(), Report> {
    if result.into() >= 0 {
        return Ok(());
    }
    Err(Report { stage, errno: errno(), candidate: 0 })
}

/// Reads the C library's variable: no allocation.
fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn tell(gate: RawFd, report: Report) {
    let bytes = report.into_bytes();
    // SAFETY: the bytes are live. Should the supervisor be gone, SIGPIPE ends this child or the next line does.
    unsafe { libc::write(gate, bytes.as_ptr().cast(), bytes.len()) };
}

fn quit() -> ! {
    // SAFETY: ends the process without running anything of ours.
    unsafe { libc::_exit(127) }
}
