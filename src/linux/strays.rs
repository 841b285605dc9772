//! Processes that an earlier supervisor of the same state directory has left behind: found by their mark and in its
//! cgroups, and ended before anything is started afresh.

use super::cgroup::{Cgroup, Cgroups};
use super::proc::{self, ProcStat, ProcTable, ProcessId};
use super::tree::{Found, Signalled, signal_left_behind, signal_politely};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// A process of an earlier run.
#[derive(Debug, Clone)]
pub struct Stray {
    pub process: ProcStat,
    /// Its run, `<state id>.<run number>`: by its own environment, else by that of the process it descends from.
    pub mark: String,
}

/// A stray that is done with, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub process: ProcessId,
    pub command: String,
    /// Its app, as far as its own environment tells.
    pub app: Option<String>,
    pub how: How,
}

/// How a stray ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By SIGTERM, or by itself.
    Asked,
    /// By SIGKILL.
    Killed,
    /// Not at all: it is stuck in the kernel, or not ours to signal.
    StillThere,
}

const STEP: Duration = Duration::from_millis(20);
/// Wrappers left behind are looked for every so many steps.
const STEPS_PER_LOOK: u32 = 5;
/// How long a killed process may take to be gone: it may have much memory to give back.
const KILL_STEPS: u32 = 250;
const LONGEST_COMMAND: usize = 120;
const LONGEST_APP: usize = 64;

/// Every living process marked as of `state_id`, and what descends from it; only those whose environment we may read
/// (all for root, else those of our own user). Never ourselves, nor those who started us.
pub fn find_marked(state_id: &str) -> Vec<Stray> {
    find_marked_in(&ProcTable::new(), state_id)
}

fn find_marked_in(table: &ProcTable, state_id: &str) -> Vec<Stray> {
    let prefix = format!("{state_id}.");
    let marked = |process: &ProcStat| table.mark(process.id).filter(|mark| mark.starts_with(&prefix));
    let mut found = Found::default();
    found.extend(candidates(table).filter(|process| marked(process).is_some()));
    let mut marks: HashMap<i32, String> = HashMap::new();
    let members = found.with_descendants(table);
    let strays = members.into_iter().filter_map(|process| {
        // Parents come before their children here.
        let mark = marked(&process).map_or_else(|| marks.get(&process.ppid).cloned(), |mark| Some(mark.into()))?;
        marks.insert(process.id.pid, mark.clone());
        Some(Stray { process, mark })
    });
    strays.collect()
}

/// Ends the marked processes and those in leftover cgroups, and removes these cgroups: SIGTERM as in a stop, at most
/// `grace` to follow it, then SIGKILL until none is left. Blocks for that time, and at most 5 s more.
pub fn end(state_id: &str, cgroups: Option<&Cgroups>, grace: Duration) -> Vec<Ended> {
    end_but(state_id, cgroups, grace, &Spared::default())
}

/// Who is not to be ended.
#[derive(Debug, Default)]
pub struct Spared {
    /// The marks of whole runs.
    pub marks: HashSet<String>,
    /// Where they live.
    pub cgroups: HashSet<PathBuf>,
}

/// The same, but for these.
pub fn end_but(state_id: &str, cgroups: Option<&Cgroups>, grace: Duration, spared: &Spared) -> Vec<Ended> {
    let mut leftovers = cgroups.and_then(|cgroups| cgroups.leftovers().ok()).unwrap_or_default();
    leftovers.retain(|cgroup| !spared.cgroups.contains(cgroup.path()));
    let mut hunt = Hunt { state_id, spared, leftovers, met: BTreeMap::new() };
    hunt.ask(grace);
    let killed = hunt.kill();
    for cgroup in &hunt.leftovers {
        // One that a stuck process is in stays, and is found again at the next start.
        let _ = cgroup.remove();
    }
    let how = |process: ProcessId| match (process.is_alive(), killed.contains(&process)) {
        (true, _) => How::StillThere,
        (false, true) => How::Killed,
        (false, false) => How::Asked,
    };
    let ended = |(process, Met { command, app })| Ended { process, command, app, how: how(process) };
    hunt.met.into_iter().map(ended).collect()
}

struct Hunt<'a> {
    state_id: &'a str,
    spared: &'a Spared,
    leftovers: Vec<Cgroup>,
    /// All that were ever found.
    met: BTreeMap<ProcessId, Met>,
}

/// What cannot be read any more in the end.
struct Met {
    command: String,
    app: Option<String>,
}

impl Hunt<'_> {
    /// SIGTERM, and at most `grace` to follow it.
    fn ask(&mut self, grace: Duration) {
        let mut signalled = Signalled::new();
        let mut present = self.look();
        signal_politely(&present, libc::SIGTERM, &mut signalled);
        let steps = grace.as_millis().div_ceil(STEP.as_millis());
        for step in 1..=u32::try_from(steps).unwrap_or(u32::MAX) {
            if present.iter().all(|process| !process.id.is_alive()) || step.is_multiple_of(STEPS_PER_LOOK) {
                present = self.look();
                if present.is_empty() {
                    return;
                }
            }
            if step.is_multiple_of(STEPS_PER_LOOK) {
                signal_left_behind(&present, libc::SIGTERM, &mut signalled);
            }
            sleep(STEP);
        }
    }

    /// SIGKILL to all, again and again: they may fork meanwhile. Returns who got it.
    fn kill(&mut self) -> HashSet<ProcessId> {
        let mut killed = HashSet::new();
        for _ in 0..KILL_STEPS {
            let present = self.look();
            let populated = self.leftovers.iter().any(|cgroup| cgroup.populated().unwrap_or(false));
            if present.is_empty() && !populated {
                break;
            }
            for cgroup in &self.leftovers {
                // Those that could not be killed so are killed one by one below.
                let _ = cgroup.kill();
            }
            for process in present {
                // One that is gone by now is what we want.
                let _ = proc::send(process.id, libc::SIGKILL);
                killed.insert(process.id);
            }
            sleep(STEP);
        }
        killed
    }

    fn look(&mut self) -> Vec<ProcStat> {
        // The picture first, then the cgroups, so that a recycled pid has its old start time here.
        let table = ProcTable::new();
        let mut marked = find_marked_in(&table, self.state_id);
        // What a run has started for itself, a probe above all, carries more behind its mark.
        marked.retain(|stray| !self.spared.marks.contains(&stray.mark));
        let inside: HashSet<i32> = self.leftovers.iter().flat_map(|cgroup| cgroup.pids().unwrap_or_default()).collect();
        let mut found = Found::default();
        found.extend(marked.iter().map(|stray| &stray.process));
        found.extend(candidates(&table).filter(|process| inside.contains(&process.id.pid)));
        let present = found.with_descendants(&table);
        for process in &present {
            let pid = process.id.pid;
            let met = || Met { command: proc::command(pid, LONGEST_COMMAND), app: proc::app(pid, LONGEST_APP) };
            self.met.entry(process.id).or_insert_with(met);
        }
        present
    }
}

/// All but ourselves and our ancestors: an operator may have started us from a shell inside an app.
fn candidates(table: &ProcTable) -> impl Iterator<Item = &ProcStat> {
    let mut spared = HashSet::new();
    let mut next = Some(nix::unistd::getpid().as_raw());
    while let Some(pid) = next.filter(|pid| spared.insert(*pid)) {
        next = table.get(pid).map(|process| process.ppid);
    }
    table.processes().iter().filter(move |process| !spared.contains(&process.id.pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A process group of its own with a mark; killed when dropped.
    struct Left {
        child: Child,
        state_id: String,
    }

    impl Left {
        #[expect(clippy::disallowed_methods, reason = "an earlier supervisor has started these, not we")]
        fn behind(story: &str, script: &str) -> Left {
            let state_id = format!("{story}{}", std::process::id());
            let child = Command::new("setsid")
                .args(["sh", "-c", script])
                .env(proc::MARK, format!("{state_id}.7"))
                .env(proc::APP, "web\u{1b}")
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            Left { child, state_id }
        }

        fn commands(&self) -> Vec<String> {
            let mut found = find_marked(&self.state_id);
            found.sort_by_key(|stray| stray.process.id.start_time);
            found.iter().map(|stray| proc::command(stray.process.id.pid, 200)).collect()
        }

        fn wait_for(&self, command: &str) {
            for _ in 0..3000 {
                if self.commands().iter().any(|found| found == command) {
                    return;
                }
                sleep(Duration::from_millis(10));
            }
            panic!("waited in vain for {command} among {:?}", self.commands());
        }
    }

    impl Drop for Left {
        fn drop(&mut self) {
            end(&self.state_id, None, Duration::ZERO);
            let _ = self.child.wait();
        }
    }

    #[test]
    fn strays_are_found_by_their_mark_and_ended() {
        let mut left = Left::behind("found", "setsid sleep 3101 & exec sleep 3102");
        left.wait_for("sleep 3101");
        left.wait_for("sleep 3102");
        assert!(find_marked(&left.state_id).iter().all(|stray| stray.mark == format!("{}.7", left.state_id)));

        let ended = end(&left.state_id, None, Duration::from_secs(30));
        let mut commands: Vec<_> = ended.iter().map(|ended| (ended.command.as_str(), ended.how)).collect();
        commands.sort_unstable_by_key(|(command, _)| *command);
        assert_eq!(commands, [("sleep 3101", How::Asked), ("sleep 3102", How::Asked)]);
        assert!(find_marked(&left.state_id).is_empty());
        left.child.wait().unwrap();
    }

    #[test]
    fn a_stray_that_ignores_term_is_killed_after_its_grace() {
        let left = Left::behind("stubborn", "trap '' TERM; exec sleep 3103");
        left.wait_for("sleep 3103");
        let ended = end(&left.state_id, None, Duration::from_millis(60));
        assert_eq!(ended.len(), 1);
        assert_eq!((ended[0].command.as_str(), ended[0].how), ("sleep 3103", How::Killed));
        assert_eq!(ended[0].app.as_deref(), Some("web "), "what it says of itself cannot steer a terminal");
    }

    #[test]
    fn what_descends_from_a_stray_goes_with_it_without_a_mark_of_its_own() {
        let left = Left::behind("emptied", "env -i /bin/sleep 3104 & wait");
        left.wait_for("/bin/sleep 3104");
        assert_eq!(find_marked(&left.state_id).len(), 2);
    }

    #[test]
    fn another_supervisors_processes_are_none_of_ours() {
        let left = Left::behind("longer", "exec sleep 3105");
        left.wait_for("sleep 3105");
        let shorter = &left.state_id[..left.state_id.len() - 1];
        assert!(find_marked(shorter).is_empty());
        assert!(end(shorter, None, Duration::ZERO).is_empty());
        assert_eq!(left.commands(), ["sleep 3105"]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an earlier supervisor has started it, not we")]
    #[expect(clippy::print_stderr, reason = "says why the test shows nothing here")]
    fn what_is_left_in_a_cgroup_is_ended_and_the_cgroup_removed() {
        let tag = format!("strays{}", std::process::id());
        let cgroups = match Cgroups::discover(&tag) {
            Ok(cgroups) => cgroups,
            Err(reason) => return eprintln!("skipped: {reason}"),
        };
        let left = cgroups.create("app").unwrap();
        let procs = left.path().join("cgroup.procs");
        let script = "echo $$ > \"$0\" && exec env -i /bin/sleep 3106";
        let mut child = Command::new("setsid").args(["sh", "-c", script]).arg(procs).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        while proc::command(pid, 100) != "/bin/sleep 3106" {
            assert!(child.try_wait().unwrap().is_none(), "it could not enter the cgroup");
            sleep(Duration::from_millis(10));
        }
        let ended = end("no-such-state", Some(&cgroups), Duration::from_secs(30));
        assert_eq!(ended.iter().map(|ended| ended.command.as_str()).collect::<Vec<_>>(), ["/bin/sleep 3106"]);
        child.wait().unwrap();
        for left in cgroups.leftovers().unwrap() {
            left.remove().unwrap();
        }
        std::fs::remove_dir(cgroups.base()).unwrap();
    }
}
