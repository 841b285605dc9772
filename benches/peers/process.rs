//! Processes seen through /proc: memory, CPU time, children, life.

use std::fs;
use std::time::{Duration, Instant};

/// A process, told from a later one with the same pid by when it began.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    began: u64,
}

impl Process {
    pub(crate) fn of(pid: i32) -> Option<Process> {
        let fields = stat(pid)?;
        if fields[0] == "Z" {
            return None;
        }
        Some(Process { pid, began: fields[19].parse().ok()? })
    }

    pub(crate) fn is_alive(self) -> bool {
        Process::of(self.pid) == Some(self)
    }

    pub(crate) fn kill(self) {
        if self.is_alive() {
            // One that is gone by now is what we want.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid), nix::sys::signal::Signal::SIGKILL);
        }
    }

    /// Those that any of its threads started.
    pub(crate) fn children(self) -> Vec<Process> {
        self.child_pids().into_iter().filter_map(Process::of).collect()
    }

    /// The same, more quickly; zombies too.
    pub(crate) fn child_pids(self) -> Vec<i32> {
        let mut pids = String::new();
        for task in fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten() {
            pids.push_str(&fs::read_to_string(task.path().join("children")).unwrap_or_default());
        }
        pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Proportional set size in bytes: shared pages are divided among those who share them.
    pub(crate) fn pss(self) -> u64 {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).unwrap_or_default();
        let kib = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok());
        kib.unwrap_or(0_u64) * 1024
    }

    /// Of all its threads, user and system, without its children's; a tick is 10 ms.
    pub(crate) fn cpu_time(self) -> Duration {
        let ticks = |field: usize| stat(self.pid).and_then(|fields| fields[field].parse::<u64>().ok()).unwrap_or(0);
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    /// How often its threads were woken or pushed aside so far.
    pub(crate) fn switches(self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        let of = |status: String| {
            let counts = status.lines().filter(|line| line.contains("voluntary_ctxt_switches"));
            counts.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum::<u64>()
        };
        tasks.map(|task| of(fs::read_to_string(task.path().join("status")).unwrap_or_default())).sum()
    }

    /// The program that it runs by now; the parent's until it has called exec.
    pub(crate) fn program(pid: i32) -> Option<std::path::PathBuf> {
        fs::read_link(format!("/proc/{pid}/exe")).ok()
    }
}

/// The fields of /proc/PID/stat behind the name: the state is the first.
fn stat(pid: i32) -> Option<Vec<String>> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = line.rsplit_once(") ")?;
    Some(fields.split(' ').map(str::to_owned).collect())
}

/// Looks every few milliseconds.
pub(crate) fn wait_until(what: &str, at_most: Duration, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < at_most, "waited {at_most:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
