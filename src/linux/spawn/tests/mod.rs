//! What a started process finds, and what becomes of it.

mod refusals;

use super::*;
use crate::linux::exit::{Exit, become_subreaper, reap_strangers, wait_status};
use crate::linux::pipe::OutputPipe;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Uid;
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

/// How long a condition may take before a story counts as wrong.
const PATIENCE_MS: u64 = 20_000;

fn is_root() -> bool {
    Uid::effective().is_root()
}

fn nobody() -> Identity {
    Identity::of_name("nobody").unwrap()
}

/// Someone for whom permissions count: nobody when we are root, else ourselves.
fn someone() -> Option<Identity> {
    is_root().then(nobody)
}

fn someones_name() -> String {
    someone().unwrap_or_else(Identity::own).name
}

/// A directory that anyone may enter.
fn open_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).unwrap();
    dir
}

fn write_script(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A launch with its output joined in one pipe, whose reader waits.
fn launch_of(command: &[&str]) -> (Launch<'static>, File) {
    let pipe = OutputPipe::new(None).unwrap();
    fcntl(&pipe.read, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let launch = Launch {
        command: command.iter().map(OsString::from).collect(),
        cwd: "/".into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        identity: None,
        stderr: pipe.write.try_clone().unwrap(),
        called: None,
        stdin: None,
        stdout: pipe.write,
        cgroup: None,
        nofile: None,
    };
    (launch, pipe.read.into())
}

fn finish(launched: &Launched, mut reader: File) -> (Exit, String) {
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    (wait_for_end(launched.pidfd.as_fd()).unwrap().unwrap(), output)
}

/// The output of a command that must succeed.
fn output_of(command: &[&str], change: impl FnOnce(&mut Launch<'static>)) -> String {
    let (mut as_told, reader) = launch_of(command);
    change(&mut as_told);
    let launched = launch(as_told, |_| {}).unwrap();
    let (exit, output) = finish(&launched, reader);
    assert_eq!(exit.code, Some(0), "{output}");
    output
}

/// The words of a command that must not start.
fn refusal_of(command: &[&str], change: impl FnOnce(&mut Launch<'static>)) -> String {
    let (mut as_told, _reader) = launch_of(command);
    change(&mut as_told);
    launch(as_told, |_| {}).unwrap_err().to_string()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..PATIENCE_MS / 5 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it never came that {what}");
}

fn is_running(pid: i32) -> bool {
    // A zombie runs no more, and who reaps an orphan is not ours to say.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Runs one test again in a process of its own, in which it may do what would disturb the others.
///
/// Returns the directory handed to it when this is that process.
fn alone(test: &str, dir: &Path) -> Option<PathBuf> {
    const MARK: &str = "RUN_ALONE_IN";
    if let Some(given) = std::env::var_os(MARK) {
        return Some(given.into());
    }
    let program = std::env::current_exe().unwrap();
    let name = format!("linux::spawn::tests::{test}");
    let (mut again, reader) = launch_of(&[program.to_str().unwrap(), "--exact", &name, "--nocapture"]);
    again.env.push((MARK.into(), dir.into()));
    let launched = launch(again, |_| {}).unwrap();
    let (exit, output) = finish(&launched, reader);
    let was_to_die = exit.signal == Some(libc::SIGKILL);
    assert!(was_to_die || exit.code == Some(0) && output.contains("1 passed"), "{exit}: {output}");
    None
}

#[test]
fn its_stdin_is_what_it_was_given_or_empty() {
    let nothing = output_of(&["cat"], |_| {});
    assert_eq!(nothing, "");
    let (mut here, there) = UnixStream::pair().unwrap();
    here.write_all(b"told through stdin").unwrap();
    drop(here);
    assert_eq!(output_of(&["cat"], |launch| launch.stdin = Some(there.into())), "told through stdin");
}

#[test]
fn the_environment_is_what_was_given_and_nothing_else() {
    let output = output_of(&["env"], |launch| {
        launch.env =
            vec![("PATH".into(), "/usr/bin:/bin".into()), ("A".into(), "b c=d".into()), ("E".into(), "".into())];
    });
    assert_eq!(output, "PATH=/usr/bin:/bin\nA=b c=d\nE=\n");
}

#[test]
fn signals_masks_and_capabilities_are_clean_and_ours_stay() {
    let mut ours = SigSet::empty();
    ours.add(nix::sys::signal::SIGUSR2);
    ours.thread_block().unwrap();
    let status = output_of(&["cat", "/proc/self/status"], |_| {});
    for (name, value) in [
        ("SigBlk:", "0000000000000000"),
        ("SigIgn:", "0000000000000000"),
        ("SigCgt:", "0000000000000000"),
        ("CapAmb:", "0000000000000000"),
        ("NoNewPrivs:", "0"),
        ("Umask:", "0022"),
    ] {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some(value), "{line}");
    }
    assert!(SigSet::thread_get_mask().unwrap().contains(nix::sys::signal::SIGUSR2));
    ours.thread_unblock().unwrap();
}

#[test]
fn no_descriptor_leaks_and_stdin_is_empty() {
    let inheritable = nix::unistd::dup(File::open("/dev/zero").unwrap()).unwrap();
    let output = output_of(&["ls", "-l", "/proc/self/fd"], |_| {});
    let numbers: Vec<&str> = output.lines().filter_map(|line| line.split_whitespace().nth(8)).collect();
    // The fourth is the one by which `ls` reads the directory.
    assert_eq!(numbers, ["0", "1", "2", "3"], "{output}");
    assert!(output.contains("0 -> /dev/null"), "{output}");
    drop(inheritable);
}

#[test]
fn a_process_leads_its_own_session_without_a_terminal() {
    let (as_told, reader) = launch_of(&["cat", "/proc/self/stat"]);
    let launched = launch(as_told, |_| {}).unwrap();
    let (_, stat) = finish(&launched, reader);
    let pid = launched.pid.to_string();
    let fields: Vec<&str> = stat.split_whitespace().collect();
    assert_eq!((fields[0], fields[4], fields[5], fields[6]), (&*pid, &*pid, &*pid, "0"));
    assert_eq!(fields[21], launched.start_time.to_string());
}

#[test]
fn its_limit_of_open_files_is_an_apps() {
    let limits = output_of(&["sh", "-c", "ulimit -Sn; ulimit -Hn"], |launch| {
        launch.nofile = Some(Nofile { soft: 200, hard: 300 });
    });
    assert_eq!(limits, "200\n300\n");
}

#[test]
fn what_a_service_manager_set_for_the_supervisor_does_not_reach_an_app() {
    let dir = open_dir();
    if alone("what_a_service_manager_set_for_the_supervisor_does_not_reach_an_app", dir.path()).is_none() {
        return;
    }
    std::fs::write("/proc/self/oom_score_adj", "300").unwrap();
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let output = output_of(&["sh", "-c", "cat /proc/self/oom_score_adj; umask"], |_| {});
    assert_eq!(output, "0\n0022\n");
}

#[test]
fn it_starts_in_its_directory_and_finds_programs_relative_to_it() {
    let dir = open_dir();
    write_script(&dir.path().join("start.sh"), "#!/bin/sh\npwd\n", 0o755);
    let real = dir.path().canonicalize().unwrap();
    for (program, path) in [("./start.sh", "/bin"), ("start.sh", ":/bin"), ("start.sh", "/nowhere:.")] {
        let output = output_of(&[program], |launch| {
            launch.cwd = dir.path().into();
            launch.env = vec![("PATH".into(), path.into())];
        });
        assert_eq!(Path::new(output.trim_end()), real, "{program} {path}");
    }
}

#[test]
fn a_program_is_found_behind_entries_that_do_not_have_it_or_hide_it() {
    let dir = open_dir();
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
    let output = output_of(&["echo", "found"], |launch| {
        launch.identity = someone();
        launch.env = vec![("PATH".into(), format!("/nowhere:/etc/passwd:{}:/usr/bin:/bin", closed.display()).into())];
    });
    assert_eq!(output, "found\n");
}

#[test]
fn a_process_runs_as_its_user_with_that_users_groups_only() {
    if !is_root() {
        return;
    }
    let output =
        output_of(&["sh", "-c", "id -u; id -g; id -G; grep -E 'Uid|Gid|CapEff' /proc/self/status"], |launch| {
            launch.identity = Some(Identity { groups: vec![65534, 4, 24], ..nobody() });
        });
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(&lines[..3], ["65534", "65534", "65534 4 24"]);
    assert_eq!(lines[3], "Uid:\t65534\t65534\t65534\t65534");
    assert_eq!(lines[4], "Gid:\t65534\t65534\t65534\t65534");
    assert_eq!(lines[5], "CapEff:\t0000000000000000");
    assert_eq!(Uid::effective().as_raw(), 0);
}

/// A cgroup of this test under `mount`; none where it cannot be made.
struct TestCgroup(PathBuf);

impl TestCgroup {
    fn under(mount: &Path, name: &str) -> Option<TestCgroup> {
        let dir = mount.join(format!("spawn-test-{}-{name}", std::process::id()));
        mount.join("cgroup.procs").exists().then(|| std::fs::create_dir(&dir).ok())??;
        Some(TestCgroup(dir))
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir(&self.0);
    }
}

fn cgroups_seen_by_a_process_in(cgroup: &TestCgroup) -> String {
    let dir: &'static OwnedFd = Box::leak(Box::new(File::open(&cgroup.0).unwrap().into()));
    output_of(&["cat", "/proc/self/cgroup"], |launch| launch.cgroup = Some(dir.as_fd()))
}

#[test]
fn a_cgroup_is_entered_before_the_program_runs() {
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let Some(cgroup) = mounts.iter().find_map(|mount| TestCgroup::under(Path::new(mount), "two")) else { return };
    let name = cgroup.0.file_name().unwrap().to_str().unwrap();
    let seen = cgroups_seen_by_a_process_in(&cgroup);
    assert!(seen.lines().any(|line| line == format!("0::/{name}")), "{seen}");
}

#[test]
fn where_clone3_cannot_the_child_enters_the_cgroup_by_itself() {
    // A cgroup of version 1, which clone3 refuses.
    let Some(cgroup) = TestCgroup::under(Path::new("/sys/fs/cgroup/systemd"), "one") else { return };
    let name = cgroup.0.file_name().unwrap().to_str().unwrap();
    let seen = cgroups_seen_by_a_process_in(&cgroup);
    assert!(seen.lines().any(|line| line.ends_with(&format!("name=systemd:/{name}"))), "{seen}");
}

#[test]
fn what_is_no_cgroup_is_an_error() {
    let refused = {
        let dir = File::open("/").unwrap();
        let (as_told, _reader) = launch_of(&["true"]);
        launch(Launch { cgroup: Some(dir.as_fd()), ..as_told }, |_| {}).unwrap_err().to_string()
    };
    assert_eq!(refused, "cannot put the process into its cgroup");
}

#[test]
fn it_waits_at_the_gate_until_it_is_recorded() {
    let (as_told, reader) = launch_of(&["cat", "/dev/null"]);
    let ours = std::env::current_exe().unwrap();
    let mut recorded = 0;
    let launched = launch(as_told, |waiting| {
        recorded = waiting.pid;
        assert_eq!(std::fs::read_link(format!("/proc/{}/exe", waiting.pid)).unwrap(), ours);
        assert_eq!(wait_status(waiting.pidfd.as_fd()).unwrap(), None);
    })
    .unwrap();
    assert_eq!(launched.pid, recorded);
    assert_eq!(finish(&launched, reader).0.code, Some(0));
    let again = wait_status(launched.pidfd.as_fd()).unwrap_err();
    assert_eq!(again.raw_os_error(), Some(libc::ECHILD));
}

#[test]
fn children_of_a_supervisor_that_dies_before_recording_them_never_run() {
    let dir = tempfile::tempdir().unwrap();
    let test = "children_of_a_supervisor_that_dies_before_recording_them_never_run";
    if let Some(dir) = alone(test, dir.path()) {
        // Several at their gates at once: none may keep another's open.
        let all_wait = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let (as_told, _reader) = launch_of(&["touch", dir.join("ran").to_str().unwrap()]);
                    launch(as_told, |waiting| {
                        File::create(dir.join(waiting.pid.to_string())).unwrap();
                        all_wait.wait();
                        nix::sys::signal::raise(nix::sys::signal::SIGKILL).unwrap();
                    })
                });
            }
        });
        return;
    }
    let names = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let pids: Vec<i32> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
    assert_eq!(pids.len(), 4);
    wait_until("the children are gone", || !pids.iter().any(|pid| is_running(*pid)));
    assert!(!dir.path().join("ran").exists());
}

#[test]
fn a_panic_while_recording_leaves_no_process() {
    let (as_told, _reader) = launch_of(&["sleep", "1000"]);
    let pid = std::sync::atomic::AtomicI32::new(0);
    let launching = std::panic::AssertUnwindSafe(|| {
        launch(as_told, |waiting| {
            pid.store(waiting.pid, std::sync::atomic::Ordering::Relaxed);
            panic!("inside record");
        })
    });
    assert!(std::panic::catch_unwind(launching).is_err());
    assert!(!is_running(pid.into_inner()));
}

#[test]
fn a_child_killed_at_the_gate_is_an_exit_like_any_other() {
    let (as_told, reader) = launch_of(&["sleep", "1000"]);
    let launched = launch(as_told, |waiting| pidfd_send_signal(waiting.pidfd.as_fd(), libc::SIGTERM).unwrap()).unwrap();
    let (exit, _) = finish(&launched, reader);
    assert_eq!(exit, Exit { code: None, signal: Some(libc::SIGTERM), core: false });
}

#[test]
fn an_exit_is_announced_by_the_pidfd_and_told_once() {
    let (as_told, _reader) = launch_of(&["sh", "-c", "exit 42"]);
    let launched = launch(as_told, |_| {}).unwrap();
    let mut ended = [PollFd::new(launched.pidfd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut ended, PollTimeout::from(20_000_u16)).unwrap(), 1);
    let exit = wait_status(launched.pidfd.as_fd()).unwrap();
    assert_eq!(exit, Some(Exit { code: Some(42), signal: None, core: false }));
}

#[test]
fn a_real_time_signal_is_a_cause_like_any_other() {
    let (as_told, reader) = launch_of(&["sleep", "1000"]);
    let launched = launch(as_told, |_| {}).unwrap();
    pidfd_send_signal(launched.pidfd.as_fd(), libc::SIGRTMIN() + 3).unwrap();
    let (exit, _) = finish(&launched, reader);
    assert_eq!(exit.to_string(), "SIGRTMIN+3");
}

#[test]
fn strangers_are_reaped_and_the_exits_of_apps_are_left_for_them() {
    let dir = tempfile::tempdir().unwrap();
    if alone("strangers_are_reaped_and_the_exits_of_apps_are_left_for_them", dir.path()).is_none() {
        return;
    }
    become_subreaper().unwrap();
    let (as_told, _reader) = launch_of(&["sh", "-c", "(sh -c 'exit 7' &); exit 5"]);
    let app = launch(as_told, |_| {}).unwrap();
    let mut ended = [PollFd::new(app.pidfd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut ended, PollTimeout::from(20_000_u16)).unwrap(), 1);

    // Nobody takes the app's exit status yet: what ended after it does not wait for that.
    wait_until("the orphan is reaped", || reap_strangers(&|pid| pid == app.pid) == 1);
    assert_eq!(wait_status(app.pidfd.as_fd()).unwrap().unwrap().code, Some(5));
    assert_eq!(reap_strangers(&|_| false), 0);
}

#[test]
fn end_of_file_comes_when_the_whole_tree_is_gone() {
    let dir = open_dir();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let (as_told, mut reader) = launch_of(&["sh", "-c", "cat fifo & echo up"]);
    let launched = launch(Launch { cwd: dir.path().into(), ..as_told }, |_| {}).unwrap();
    assert_eq!(wait_for_end(launched.pidfd.as_fd()).unwrap().unwrap().code, Some(0));
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut bytes = [0; 16];
    assert_eq!(reader.read(&mut bytes).unwrap(), 3);
    assert_eq!(reader.read(&mut bytes).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    // Opening waits for `cat`; closing ends it.
    std::fs::write(&fifo, "last words").unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "last words");
}

#[test]
fn an_app_whose_reader_died_goes_on_writing() {
    let dir = open_dir();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let (as_told, reader) = launch_of(&["sh", "-c", "cat fifo; echo more && echo alive > told"]);
    let launched = launch(Launch { cwd: dir.path().into(), ..as_told }, |_| {}).unwrap();
    drop(reader);
    std::fs::write(&fifo, "go on").unwrap();
    assert_eq!(wait_for_end(launched.pidfd.as_fd()).unwrap().unwrap().code, Some(0));
    assert_eq!(std::fs::read_to_string(dir.path().join("told")).unwrap(), "alive\n");
}

#[test]
fn an_app_of_another_user_may_open_its_output_anew() {
    if !is_root() {
        return;
    }
    let pipe = OutputPipe::new(Some((65534, 65534))).unwrap();
    fcntl(&pipe.read, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    let output = {
        let (as_told, _reader) = launch_of(&["sh", "-c", "echo anew > /dev/stdout"]);
        let launched = launch(Launch { stdout: pipe.write, identity: Some(nobody()), ..as_told }, |_| {}).unwrap();
        finish(&launched, pipe.read.into())
    };
    assert_eq!(output, (Exit { code: Some(0), signal: None, core: false }, "anew\n".to_owned()));
}

#[test]
fn a_hundred_launches_from_busy_threads_all_succeed() {
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            // Holds the allocator's locks as often as it can: a child that allocates would hang.
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::black_box(vec![0_u8; 1000]);
                }
            });
        }
        let launchers: Vec<_> = (0..10)
            .map(|thread| {
                scope.spawn(move || {
                    for round in 0..10 {
                        let word = format!("{thread}-{round}");
                        assert_eq!(output_of(&["echo", &word], |_| {}), format!("{word}\n"));
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> = launchers.into_iter().map(|launcher| launcher.join()).collect();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(outcomes.iter().all(Result::is_ok));
    });
}

#[test]
fn all_of_this_holds_for_an_unprivileged_supervisor() {
    if !is_root() {
        return;
    }
    // A copy that nobody may read, wherever the build directory is.
    let dir = open_dir();
    let program = dir.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let parts = ["spawn", "pipe", "pidfd", "exit", "identity", "peer", "lock", "atomic", "dirs"];
    let filters: Vec<String> = parts.iter().map(|part| format!("linux::{part}::")).collect();
    let mut command = vec![program.to_str().unwrap(), "--test-threads", "2"];
    command.extend(filters.iter().map(String::as_str));
    let output = output_of(&command, |launch| {
        launch.identity = Some(nobody());
        launch.cwd = dir.path().into();
    });
    assert!(output.contains("test result: ok"), "{output}");
}
