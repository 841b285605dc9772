//! What /proc tells of one process (proc(5)), read without an allocation where a reading is frequent.

mod send;
mod table;

pub use send::send;
pub use table::ProcTable;

use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// The environment variable that marks every process of an instance: `<state id>.<run number>`.
pub const MARK: &str = "INFISSI_RUN";
/// In the environment of an app's processes: the app's name.
pub const APP: &str = "INFISSI_APP";

/// A process and not whoever has its number later: pids are recycled, a pid with its start time is not within one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    pub pid: i32,
    /// In clock ticks since boot: field 22 of /proc/PID/stat.
    pub start_time: u64,
}

/// One line of /proc/PID/stat.
#[derive(Debug, Clone, Copy)]
pub struct ProcStat {
    pub id: ProcessId,
    pub ppid: i32,
    pub pgrp: i32,
    pub session: i32,
    /// `R`, `S`, `D`, `T`, `Z` and so on.
    pub state: u8,
    /// CPU time of this process, in clock ticks.
    pub own_ticks: u64,
    /// CPU time of the children that it has waited for, in clock ticks.
    pub waited_ticks: u64,
    threads: u32,
    comm: Comm,
}

/// The kernel's short name of a process: at most 15 bytes, whatever bytes it likes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Comm {
    bytes: [u8; 16],
    len: u8,
}

/// Pages of a process, from /proc/PID/statm, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statm {
    pub resident: u64,
    /// Resident pages that a file or shared memory stands behind: page cache, libraries, tmpfs.
    pub shared: u64,
}

impl ProcessId {
    /// Who has that pid now; none when nobody has.
    pub fn of(pid: i32) -> Option<ProcessId> {
        stat(pid).map(|stat| stat.id)
    }

    /// Whether it still runs; a zombie does not.
    pub fn is_alive(self) -> bool {
        self.stat().is_some_and(|stat| stat.is_alive())
    }

    /// Its stat line; none when it is gone, even when another has its pid.
    pub fn stat(self) -> Option<ProcStat> {
        stat(self.pid).filter(|stat| stat.id == self)
    }
}

impl ProcStat {
    /// Whether it can still run code. A dead first thread beside living ones shows as a zombie, but is none.
    pub fn is_alive(&self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x') || self.threads > 1
    }

    /// Stopped by a signal: it takes no other one until it is continued.
    pub fn is_stopped(&self) -> bool {
        self.state == b'T'
    }

    pub fn comm(&self) -> &[u8] {
        self.comm.as_bytes()
    }

    /// CPU time so far, with the children it has waited for.
    pub fn cpu_time(&self) -> Duration {
        ticks(self.own_ticks + self.waited_ticks)
    }
}

impl Comm {
    fn new(name: &[u8]) -> Comm {
        let len = name.len().min(16);
        let mut bytes = [0; 16];
        bytes[..len].copy_from_slice(&name[..len]);
        Comm { bytes, len: len as u8 }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for Comm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

impl Statm {
    /// What is surely the process's own: neither page cache nor a library nor shared memory.
    /// Pages still shared with a forked parent count in both.
    pub fn private(&self) -> u64 {
        self.resident.saturating_sub(self.shared)
    }
}

/// The wait status (wait(2)) of a process that has ended and was not waited for yet, as its stat line has it: field 52 of
/// proc_pid_stat(5). None when it lives or is gone, or when we may not know.
pub fn status_of_zombie(process: ProcessId) -> Option<i32> {
    let mut buffer = [0; 1024];
    let line = read_start(process.pid, "stat", &mut buffer)?;
    let stat = parse_stat(process.pid, line)?;
    if stat.id != process || stat.is_alive() {
        return None;
    }
    let close = memchr::memrchr(b')', line)?;
    let status = number(line.get(close + 2..)?.split(u8::is_ascii_whitespace).nth(49)?)?;
    // Whom we may not ask shows zero, too.
    let is_own = || uid(process.pid) == Some(nix::unistd::geteuid().as_raw());
    (status != 0 || is_own()).then_some(status)
}

/// Reads /proc/PID/stat; none when there is no such process.
pub fn stat(pid: i32) -> Option<ProcStat> {
    let mut buffer = [0; 1024];
    parse_stat(pid, read_start(pid, "stat", &mut buffer)?)
}

fn parse_stat(pid: i32, line: &[u8]) -> Option<ProcStat> {
    // The name may itself contain ") (": only the last parenthesis ends it.
    let open = memchr::memchr(b'(', line)?;
    let close = memchr::memrchr(b')', line)?;
    let comm = Comm::new(line.get(open + 1..close)?);
    let mut fields = line.get(close + 2..)?.split(|byte| *byte == b' ');
    let state = *fields.next()?.first()?;
    let ppid = number(fields.next()?)?;
    let pgrp = number(fields.next()?)?;
    let session = number(fields.next()?)?;
    let mut times = fields.by_ref().skip(7);
    let own_ticks = number::<u64>(times.next()?)? + number::<u64>(times.next()?)?;
    let waited_ticks = number::<u64>(times.next()?)? + number::<u64>(times.next()?)?;
    let mut rest = times.skip(2);
    let threads = number(rest.next()?)?;
    let start_time = number(rest.nth(1)?)?;
    let id = ProcessId { pid, start_time };
    Some(ProcStat { id, ppid, pgrp, session, state, own_ticks, waited_ticks, threads, comm })
}

/// Reads /proc/PID/statm; none when there is no such process, zeros for a zombie.
pub fn statm(pid: i32) -> Option<Statm> {
    let mut buffer = [0; 128];
    let mut pages = read_start(pid, "statm", &mut buffer)?.split(|byte| *byte == b' ').skip(1);
    let resident: u64 = number(pages.next()?)?;
    let shared: u64 = number(pages.next()?)?;
    Some(Statm { resident: resident * page_size(), shared: shared * page_size() })
}

/// The arguments, as the process shows them; empty for a zombie, a kernel thread and a process that is gone.
pub fn arguments(pid: i32) -> Vec<String> {
    let mut line = Vec::new();
    read_up_to(pid, "cmdline", &mut line, 16 * 1024);
    // A process that has written its title over its arguments leaves a tail of zero bytes.
    while line.last() == Some(&0) {
        line.pop();
    }
    if line.is_empty() {
        return Vec::new();
    }
    line.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

/// One line that names the process to a person: its arguments, or `[name]` without any; at most `longest` characters,
/// and nothing in it that a terminal would obey.
pub fn command(pid: i32, longest: usize) -> String {
    let arguments = arguments(pid);
    let whole = match arguments.is_empty() {
        false => arguments.join(" "),
        true => stat(pid).map_or_else(String::new, |stat| format!("[{}]", String::from_utf8_lossy(stat.comm()))),
    };
    let shown = |character: char| if character.is_control() { ' ' } else { character };
    let mut line: String = whole.chars().map(shown).take(longest).collect();
    if whole.chars().nth(longest).is_some() {
        line.pop();
        line.push('…');
    }
    line
}

/// The run that a process belongs to by its environment; none without the mark, or where we may not look.
/// `buffer` is only room to work in, kept by the caller over many readings.
pub fn mark(pid: i32, buffer: &mut Vec<u8>) -> Option<String> {
    variable(pid, MARK, buffer)
}

/// The app that a process belongs to by its environment: at most `longest` characters, and nothing in it that a
/// terminal would obey. None as with [`mark`].
pub fn app(pid: i32, longest: usize) -> Option<String> {
    let name = variable(pid, APP, &mut Vec::new())?;
    let shown = |character: char| if character.is_control() { ' ' } else { character };
    Some(name.chars().map(shown).take(longest).collect())
}

fn variable(pid: i32, name: &str, buffer: &mut Vec<u8>) -> Option<String> {
    buffer.clear();
    read_up_to(pid, "environ", buffer, 4 * 1024 * 1024);
    let value = buffer
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_vec()).ok()
}

/// A process whose working directory is in `dir`, which has no link in it; only those of our own user, for anybody but
/// root.
pub fn working_in(dir: &Path) -> Option<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(dir)))
}

/// The effective user id, which /proc/PID/status tells of any process.
pub fn uid(pid: i32) -> Option<u32> {
    let mut status = Vec::new();
    read_up_to(pid, "status", &mut status, 4096);
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    number(line.split(|byte| *byte == b'\t').filter(|field| !field.is_empty()).nth(1)?)
}

/// Who has something below `dir` open, as far as we may see that: mostly our own user's processes.
pub fn with_open_below(dir: &Path) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let has_open = |pid: &i32| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut led_to = open.filter_map(|open| std::fs::read_link(open.path()).ok());
        led_to.any(|path| path.starts_with(dir))
    };
    pids.filter(has_open).collect()
}

/// Reads what fits into `buffer` at once: for files that are smaller than it.
fn read_start<'a>(pid: i32, file: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let length = open(pid, file)?.read(buffer).ok()?;
    Some(&buffer[..length])
}

/// Appends at most `limit` bytes; what a vanishing process leaves unread is left out.
pub(super) fn read_up_to(pid: i32, file: &str, buffer: &mut Vec<u8>, limit: u64) {
    if let Some(file) = open(pid, file) {
        // A process that ends meanwhile gives ESRCH: what came before is all there is.
        let _ = file.take(limit).read_to_end(buffer);
    }
}

fn open(pid: i32, file: &str) -> Option<File> {
    let mut path = Cursor::new([0; 64]);
    write!(path, "/proc/{pid}/{file}").ok()?;
    let length = usize::try_from(path.position()).ok()?;
    File::open(std::str::from_utf8(&path.get_ref()[..length]).ok()?).ok()
}

pub(super) fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.trim_ascii().parse().ok()
}

fn page_size() -> u64 {
    static SIZE: OnceLock<u64> = OnceLock::new();
    *SIZE.get_or_init(|| system_figure(nix::unistd::SysconfVar::PAGE_SIZE).unwrap_or(4096))
}

fn ticks(count: u64) -> Duration {
    static PER_SECOND: OnceLock<u64> = OnceLock::new();
    let per_second = *PER_SECOND.get_or_init(|| system_figure(nix::unistd::SysconfVar::CLK_TCK).unwrap_or(100));
    Duration::from_micros(count * 1_000_000 / per_second)
}

fn system_figure(name: nix::unistd::SysconfVar) -> Option<u64> {
    let value = nix::unistd::sysconf(name).ok().flatten()?;
    u64::try_from(value).ok().filter(|value| *value > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let line =
            b"71 (a) S (b) R 7 70 69 0 -1 4194304 1 2 3 4 11 12 13 14 20 0 5 0 987654 1000 200 18446744073709551615";
        let stat = parse_stat(71, line).unwrap();
        assert_eq!(stat.comm(), b"a) S (b");
        assert_eq!((stat.ppid, stat.pgrp, stat.session, stat.state), (7, 70, 69, b'R'));
        assert_eq!((stat.own_ticks, stat.waited_ticks, stat.threads), (23, 27, 5));
        assert_eq!(stat.id, ProcessId { pid: 71, start_time: 987_654 });
    }

    #[test]
    fn a_cut_or_foreign_stat_line_is_no_process() {
        for line in ["", "71", "71 (x", "71 (x)", "71 (x) ", "71 (x) R 1 2", ") (", "71 (x) R a b c d e f g"] {
            assert!(parse_stat(71, line.as_bytes()).is_none(), "{line:?}");
        }
    }

    #[test]
    fn we_know_ourselves() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let own = stat(pid).unwrap();
        assert_eq!(own.ppid, nix::unistd::getppid().as_raw());
        assert!(own.is_alive() && own.id.is_alive());
        assert!(statm(pid).unwrap().resident > 100_000);
        assert_eq!(uid(pid), Some(nix::unistd::geteuid().as_raw()));
        assert_eq!(arguments(pid), std::env::args().collect::<Vec<_>>());
    }

    #[test]
    fn a_pid_with_another_start_time_is_another_process() {
        let own = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(!ProcessId { start_time: own.start_time + 1, ..own }.is_alive());
    }

    #[test]
    fn a_command_is_cut_to_its_length() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(command(pid, 5).chars().count(), 5);
        assert!(command(pid, 5).ends_with('…'));
        assert_eq!(command(2, 40), stat(2).map_or(String::new(), |_| "[kthreadd]".to_owned()));
    }
}
