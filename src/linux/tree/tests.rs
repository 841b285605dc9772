use super::*;
use crate::linux::cgroup::Cgroups;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A started instance: a session of its own, a mark, a pipe, with a cgroup where asked for. Gone when dropped.
struct Instance {
    tree: Tree,
    child: Child,
    base: Option<Cgroups>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum With {
    Cgroup,
    Nothing,
}

impl Instance {
    /// Starts a shell script; none where a cgroup is asked for and cannot be made.
    fn start(with: With, script: &str) -> Option<Instance> {
        Instance::run(with, &["sh", "-c", script], &[])
    }

    fn run(with: With, command: &[&str], environment: &[(&str, &str)]) -> Option<Instance> {
        Instance::run_in(with, command, environment, &std::env::temp_dir(), Stdio::null())
    }

    #[expect(clippy::disallowed_methods, reason = "the tree is what is tested here, not our spawning")]
    fn run_in(
        with: With,
        command: &[&str],
        environment: &[(&str, &str)],
        cwd: &Path,
        output: Stdio,
    ) -> Option<Instance> {
        static RUNS: AtomicU32 = AtomicU32::new(1);
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let mark = format!("test{}.{run}", std::process::id());
        let base = match with {
            With::Cgroup => Some(cgroups(&mark)?),
            With::Nothing => None,
        };
        let cgroup = base.as_ref().map(|base| base.create("app").unwrap());
        let procs = cgroup.as_ref().map_or("/dev/null".into(), |cgroup| cgroup.path().join("cgroup.procs"));
        let child = Command::new("setsid")
            .args(["sh", "-c", "echo $$ > \"$PROCS\" && unset PROCS && exec \"$@\"", "sh"])
            .args(command)
            .env("INFISSI_RUN", &mark)
            .env("PROCS", procs)
            .envs(environment.iter().copied())
            .current_dir(cwd)
            .stdin(Stdio::null())
            .stdout(output)
            .spawn()
            .unwrap();
        let leader = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        let instance = Instance { tree: Tree::new(leader, mark, cgroup), child, base };
        let started = || {
            let stat = instance.leader();
            stat.session == leader.pid && !matches!(stat.comm(), b"setsid") && !setup(leader.pid)
        };
        wait("the leader to run its program", started);
        Some(instance)
    }

    fn leader(&self) -> ProcStat {
        proc::stat(self.tree.leader().pid).unwrap()
    }

    /// The living processes with that command line.
    fn named(&self, command: &str) -> Vec<ProcStat> {
        let mut processes = self.tree.processes();
        processes.retain(|process| proc::command(process.id.pid, 1000) == command);
        processes
    }

    fn wait_for(&self, command: &str) -> ProcStat {
        wait(command, || !self.named(command).is_empty());
        self.named(command)[0]
    }

    /// A stop as the supervisor does it, without an end to its patience.
    fn stop(&self) {
        let mut signalled = Signalled::new();
        self.tree.signal_politely(libc::SIGTERM, &mut signalled);
        for _ in 0..300 {
            if self.tree.is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
            self.tree.signal_left_behind(libc::SIGTERM, &mut signalled);
        }
        panic!("still there: {:#?}", self.tree.rows());
    }

    fn kill_and_wait(&self) {
        wait("an empty tree", || {
            self.tree.kill();
            self.tree.is_empty()
        });
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        for _ in 0..500 {
            self.tree.kill();
            if self.tree.is_empty() && self.child.try_wait().is_ok_and(|status| status.is_some()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for _ in 0..100 {
            if self.tree.cleanup().is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Some(base) = &self.base {
            let _ = fs::remove_dir(base.base());
        }
    }
}

#[expect(clippy::print_stderr, reason = "says why the test shows nothing here")]
fn cgroups(tag: &str) -> Option<Cgroups> {
    Cgroups::discover(tag).inspect_err(|reason| eprintln!("skipped: {reason}")).ok()
}

/// Whether the shell that prepares the leader has not become its program yet.
fn setup(pid: i32) -> bool {
    proc::command(pid, 1000).contains("unset PROCS")
}

#[track_caller]
fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain for {what}");
}

fn both(story: impl Fn(With)) {
    story(With::Nothing);
    story(With::Cgroup);
}

#[test]
fn a_setsid_escapee_is_of_the_tree_and_dies_with_it() {
    both(|with| {
        let Some(app) = Instance::start(with, "setsid sleep 3001 & wait") else { return };
        let escapee = app.wait_for("sleep 3001");
        assert_ne!(escapee.session, app.leader().session);
        app.kill_and_wait();
        assert!(!escapee.id.is_alive());
    });
}

#[test]
fn a_double_fork_is_found_again_among_our_orphans() {
    both(|with| {
        let Some(app) = Instance::start(with, "(setsid sleep 3002 &); exec sleep 3003") else { return };
        let own = i32::try_from(std::process::id()).unwrap();
        wait("the orphan", || app.named("sleep 3002").iter().any(|orphan| orphan.ppid == own));
        app.kill_and_wait();
    });
}

#[test]
fn a_dead_leaders_leftovers_keep_the_tree_from_being_empty() {
    both(|with| {
        let Some(mut app) = Instance::start(with, "setsid sleep 3004 & sleep 3005 & exec sleep 3023") else {
            return;
        };
        app.wait_for("sleep 3004");
        app.wait_for("sleep 3005");
        proc::send(app.tree.leader(), libc::SIGKILL).unwrap();
        app.child.wait().unwrap();
        assert!(!app.tree.is_empty());
        assert_eq!(app.tree.processes().len(), 2);
        app.kill_and_wait();
    });
}

#[test]
fn an_escapee_with_an_emptied_environment_that_was_seen_stays_known() {
    let script = "sh -c 'env -i /usr/bin/setsid /bin/sleep 3006 & exec sleep 3007' & wait";
    let app = Instance::start(With::Nothing, script).unwrap();
    let escapee = app.wait_for("/bin/sleep 3006");
    let parent = app.wait_for("sleep 3007");
    proc::send(parent.id, libc::SIGKILL).unwrap();
    let own = i32::try_from(std::process::id()).unwrap();
    wait("its new parent", || escapee.id.stat().is_some_and(|stat| stat.ppid == own));
    assert!(app.named("/bin/sleep 3006").iter().any(|found| found.id == escapee.id));
    app.kill_and_wait();
    assert!(!escapee.id.is_alive());
}

#[test]
fn an_escapee_with_an_emptied_environment_is_known_by_its_pipe() {
    let home = tempfile::tempdir().unwrap();
    let (reader, writer) = io::pipe().unwrap();
    let inode = nix::sys::stat::fstat(&reader).unwrap().st_ino;
    let script = "(env -i /usr/bin/setsid /bin/sleep 3008 &); exec sleep 3009";
    let mut app = Instance::run_in(With::Nothing, &["sh", "-c", script], &[], home.path(), writer.into()).unwrap();
    let other = Instance::start(With::Nothing, "exec sleep 3010").unwrap();
    // A tree that looks for the first time when the escapee is an orphan already.
    let cgroup = None;
    app.tree = Tree::new(app.tree.leader(), app.tree.mark().to_owned(), cgroup).with_pipes([inode, inode]);
    app.wait_for("/bin/sleep 3008");
    assert_eq!(other.tree.processes().len(), 1);
    app.kill_and_wait();
}

#[test]
fn a_grandchild_that_ignores_term_is_left_to_the_kill() {
    both(|with| {
        let Some(app) = Instance::start(with, "sh -c 'trap \"\" TERM; exec sleep 3011' & wait") else { return };
        let stubborn = app.wait_for("sleep 3011");
        let mut signalled = Signalled::new();
        wait("its trap", || ignores_term(stubborn.id.pid));
        app.tree.signal_politely(libc::SIGTERM, &mut signalled);
        app.tree.signal_left_behind(libc::SIGTERM, &mut signalled);
        assert!(!app.tree.is_empty());
        app.kill_and_wait();
        assert!(!stubborn.id.is_alive());
    });
}

fn ignores_term(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    u64::from_str_radix(mask.trim(), 16).unwrap() & (1 << (libc::SIGTERM - 1)) != 0
}

#[test]
fn a_wrapper_is_signalled_only_when_it_stays_behind_alone() {
    // This shell neither ends with its child nor takes TERM to heart at once: it counts what it gets.
    let home = tempfile::tempdir().unwrap();
    let script =
        "mkfifo f; exec 9<>f; trap 'echo TERM >> terms; exit 0' TERM; sleep 3012; while :; do read -t 0.1 -u 9; done";
    let app = Instance::run_in(With::Nothing, &["bash", "-c", script], &[], home.path(), Stdio::null()).unwrap();
    let sleep = app.wait_for("sleep 3012");
    let mut signalled = Signalled::new();
    assert_eq!(app.tree.signal_politely(libc::SIGTERM, &mut signalled), 1);
    wait("the sleep's end", || !sleep.id.is_alive());
    assert_eq!(app.tree.signal_left_behind(libc::SIGTERM, &mut signalled), 0);
    assert!(!home.path().join("terms").exists());
    assert_eq!(app.tree.signal_left_behind(libc::SIGTERM, &mut signalled), 1);
    wait("the shell's end", || app.tree.is_empty());
    assert_eq!(fs::read_to_string(home.path().join("terms")).unwrap(), "TERM\n");
}

#[test]
fn a_process_born_during_the_stop_may_clean_up() {
    let home = tempfile::tempdir().unwrap();
    let script = "sleep 3013; sh -c 'sleep 0.5; echo done > cleaned'";
    let app = Instance::run_in(With::Nothing, &["sh", "-c", script], &[], home.path(), Stdio::null()).unwrap();
    app.wait_for("sleep 3013");
    app.stop();
    assert!(home.path().join("cleaned").exists());
}

#[test]
fn a_stopped_process_is_woken_to_take_its_signal() {
    let app = Instance::start(With::Nothing, "exec sleep 3014").unwrap();
    app.tree.signal_all(libc::SIGSTOP);
    wait("its stop", || app.leader().is_stopped());
    app.stop();
}

#[test]
fn node_under_npm_gets_term_exactly_once() {
    both(|with| {
        npm_stop(with, "node server.js", "/bin/sh");
        npm_stop(with, "exec node server.js", "/bin/sh");
        npm_stop(with, "node server.js", "/bin/bash");
    });
}

fn npm_stop(with: With, start: &str, shell: &str) {
    let home = tempfile::tempdir().unwrap();
    let package = format!(r#"{{"name":"story","version":"1.0.0","scripts":{{"start":"{start}"}}}}"#);
    fs::write(home.path().join("package.json"), package).unwrap();
    // It takes its time to end, so that a second signal would be seen.
    let server = "const fs = require('fs');
        process.on('SIGTERM', () => { fs.appendFileSync('terms', 'TERM\\n'); setTimeout(() => process.exit(0), 700) });
        setInterval(() => {}, 1000);
        fs.writeFileSync('ready', '');";
    fs::write(home.path().join("server.js"), server).unwrap();
    let cwd = home.path().to_str().unwrap();
    let environment = [("HOME", cwd), ("npm_config_script_shell", shell), ("npm_config_update_notifier", "false")];
    let Some(app) = Instance::run_in(with, &["npm", "start"], &environment, home.path(), Stdio::null()) else { return };
    wait("the server", || home.path().join("ready").exists());
    let case = format!("{start} with {shell}: {:?}", app.tree.rows());
    app.stop();
    assert_eq!(fs::read_to_string(home.path().join("terms")).unwrap(), "TERM\n", "{case}");
}

#[test]
fn a_recycled_pid_gets_no_signal() {
    let app = Instance::start(With::Nothing, "exec sleep 3015").unwrap();
    let leader = app.tree.leader();
    let predecessor = ProcessId { start_time: leader.start_time - 1, ..leader };
    let refusal = proc::send(predecessor, libc::SIGKILL).unwrap_err();
    assert_eq!(refusal.raw_os_error(), Some(libc::ESRCH));
    let stale = Tree::new(predecessor, "another.1".to_owned(), None);
    assert!(stale.is_empty());
    stale.kill();
    assert_eq!(stale.signal_all(libc::SIGKILL), 0);
    assert!(leader.is_alive());
}

#[test]
fn one_trees_kill_leaves_its_neighbour_alone() {
    both(|with| {
        let Some(first) = Instance::start(with, "setsid sleep 3016 & wait") else { return };
        let second = Instance::start(with, "(setsid sleep 3017 &); sleep 3018 & wait").unwrap();
        first.wait_for("sleep 3016");
        second.wait_for("sleep 3017");
        second.wait_for("sleep 3018");
        first.kill_and_wait();
        assert_eq!(second.tree.processes().len(), 3);
    });
}

#[test]
fn who_forks_faster_than_we_look_is_killed_all_the_same() {
    both(|with| {
        // A chain of short-lived processes, each in a session of its own and started by the one before.
        let script =
            "export NEXT='sleep 0.01; setsid sh -c \"$NEXT\" &'; eval \"$NEXT\"; eval \"$NEXT\"; eval \"$NEXT\"";
        let Some(app) = Instance::start(with, script) else { return };
        app.kill_and_wait();
        assert!(app.tree.processes().is_empty());
    });
}

#[test]
fn a_process_that_left_the_cgroup_is_still_stopped() {
    let script = "sh -c 'echo $$ > \"$AWAY\"; exec setsid sleep 3019' & wait";
    let Some(base) = cgroups(&format!("away{}", std::process::id())) else { return };
    let away = base.create("away").unwrap();
    let procs = away.path().join("cgroup.procs");
    let app = Instance::run(With::Cgroup, &["sh", "-c", script], &[("AWAY", procs.to_str().unwrap())]).unwrap();
    app.wait_for("sleep 3019");
    assert_eq!(away.pids().unwrap().len(), 1);
    app.kill_and_wait();
    wait("its cgroup to be left", || away.remove().is_ok());
    fs::remove_dir(base.base()).unwrap();
}

/// Reads a file of 64 MiB through a mapping, then says so.
const MAPPER: &str = "import mmap, time
file = open('big', 'w+b'); file.truncate(64 << 20)
view = mmap.mmap(file.fileno(), 0)
total = sum(view[at] for at in range(0, len(view), 4096))
open('ready', 'w').close()
time.sleep(3000)";

/// Holds 64 MiB, then shares it with three forked children.
const SHARER: &str = "import os, time
held = b'x' * (64 << 20)
for _ in range(3):
    if os.fork() == 0: time.sleep(3000)
open('ready', 'w').close()
time.sleep(3000)";

const MIB: u64 = 1 << 20;

#[expect(clippy::print_stderr, reason = "says why the test shows nothing here")]
fn python(with: With, program: &str) -> Option<(Instance, tempfile::TempDir)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|directory| directory.join("python3").exists()) {
        eprintln!("skipped: no python3");
        return None;
    }
    let home = tempfile::tempdir().unwrap();
    let app = Instance::run_in(with, &["python3", "-c", program], &[], home.path(), Stdio::null())?;
    wait("the program", || home.path().join("ready").exists());
    Some((app, home))
}

#[test]
fn page_cache_is_not_counted() {
    both(|with| {
        let Some((app, _home)) = python(with, MAPPER) else { return };
        let resident = proc::statm(app.tree.leader().pid).unwrap().resident;
        assert!(resident > 64 * MIB, "the mapping must be resident for this to show anything: {resident}");
        assert!(app.tree.memory(&ProcTable::new()).bytes < 32 * MIB);
        assert!(app.tree.confirm_memory().bytes < 32 * MIB);
    });
}

#[test]
fn pages_shared_since_a_fork_count_once_when_confirmed() {
    both(|with| {
        let Some((app, _home)) = python(with, SHARER) else { return };
        assert_eq!(app.tree.processes().len(), 4);
        let confirmed = app.tree.confirm_memory().bytes;
        assert!((64 * MIB..110 * MIB).contains(&confirmed), "{confirmed}");
        if app.tree.memory(&ProcTable::new()).source == MemorySource::Resident {
            assert!(app.tree.memory(&ProcTable::new()).bytes > 200 * MIB);
        }
    });
}

#[test]
fn the_controllers_figure_wins_where_it_is() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("memory.stat"), "anon 5000\nfile 900000\nshmem 96\n").unwrap();
    fs::write(root.path().join("cpu.stat"), "usage_usec 1500\n").unwrap();
    let cgroup = Cgroup::open(root.path().to_owned()).unwrap();
    let nobody = ProcessId { pid: 1, start_time: u64::MAX };
    let tree = Tree::new(nobody, "nobody.1".to_owned(), Some(cgroup));
    let exact = MemoryReading { bytes: 5096, source: MemorySource::Controller };
    let table = ProcTable::new();
    assert_eq!((tree.memory(&table), tree.confirm_memory()), (exact, exact));
    assert_eq!(tree.cpu_usage(&table), Duration::from_micros(1500));
}

#[test]
fn cpu_time_of_ended_children_counts() {
    both(|with| {
        let burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let Some(app) = Instance::start(with, &format!("sh -c '{burn}'; exec sleep 3020")) else { return };
        app.wait_for("sleep 3020");
        let used = app.tree.cpu_usage(&ProcTable::new());
        assert!(used >= Duration::from_millis(20), "{used:?}");
    });
}

#[test]
fn rows_show_each_process_below_its_parent() {
    let app = Instance::start(With::Nothing, "sleep 3021 & wait").unwrap();
    app.wait_for("sleep 3021");
    let rows = app.tree.rows();
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].pid, rows[1].ppid), (app.tree.leader().pid, app.tree.leader().pid));
    assert_eq!(rows[1].command, "sleep 3021");
    assert!(rows[0].memory > 0);
}
