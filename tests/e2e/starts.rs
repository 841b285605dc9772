//! How a supervisor starts and ends: whose directories, after which end, with which configuration.

use crate::machine::{Program, SmallDisk, command, eventually, free_port, is_alive, is_root, signal};
use crate::server::{Server, Setup};
use nix::sys::signal::Signal;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

const SLEEPER: &str = "[apps.web]\ncommand = \"sleep 600\"";

#[test]
fn two_configurations_with_one_runtime_directory_do_not_take_each_others_socket() {
    let first = Server::start(SLEEPER);
    first.wait_status("web", "online");
    let runtime_dir = format!("runtime_dir = \"{}\"", first.path("run").display());
    let second = Setup::default().keys(&runtime_dir).prepare(SLEEPER);
    let refused = second.supervisor(&[]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    let pid = first.supervisor_pid();
    let expected = format!("another supervisor (pid {pid}) uses the runtime directory {}", first.path("run").display());
    assert!(refused.stderr.contains(&expected), "{refused:#?}");
    assert_eq!(first.status("web"), "online", "the first still answers");
}

#[test]
fn what_a_full_disk_kept_from_being_recorded_is_found_after_a_crash_all_the_same() {
    let Some(disk) = is_root().then(|| SmallDisk::mount(256 * 1024)).flatten() else { return };
    let mut server = Setup::default().keys(&format!("state_dir = \"{}\"", disk.path().display())).prepare(SLEEPER);
    disk.fill();
    server.run();
    server.wait_status("web", "online");
    let first = server.pid("web");
    assert!(!disk.path().join("state.json").metadata().is_ok_and(|state| state.len() > 0), "nothing was recorded");

    server.kill_supervisor();
    assert!(is_alive(first));
    disk.make_room();
    server.run();
    server.wait_status("web", "online");
    assert_eq!(server.pid("web"), first, "it was noted where there was room");
    // And where nothing was noted at all.
    server.kill_supervisor();
    fs::remove_dir_all(server.path("run/runs")).unwrap();
    server.run();
    server.wait_status("web", "online");
    assert!(!is_alive(first), "the one of before is ended before another is started");
    assert_ne!(server.pid("web"), first);
}

#[test]
fn an_apply_whose_client_leaves_is_carried_out_all_the_same() {
    let server = Server::start(SLEEPER);
    server.wait_status("web", "online");
    let both = format!("{SLEEPER}\n[apps.other]\ncommand = \"sleep 601\"");
    server.configure(&both);
    let mut client = UnixStream::connect(server.socket()).unwrap();
    client.write_all(b"POST /v1/apply?wait=true HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").unwrap();
    server.wait_until("it to be begun", || server.status("other") != "absent");
    drop(client);
    server.wait_status("other", "online");
    let told = || server.get("/v1/supervisor")["config"].clone();
    server.wait_until("the configuration to be the applied one", || told()["changed"] == false);
    assert!(fs::read_to_string(server.path("state/applied.json")).unwrap().contains("sleep 601"));
}

#[test]
fn an_apply_that_a_shutdown_refuses_is_not_what_the_next_supervisor_would_run() {
    let stubborn = "[apps.web]\ncommand = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 1; done\"]";
    let mut server = Server::start(&format!("{stubborn}\nkill_timeout = \"5s\""));
    server.wait_status("web", "online");
    let applied = fs::read_to_string(server.path("state/applied.json")).unwrap();
    signal(server.supervisor_pid(), Signal::SIGTERM);
    server.wait_status("web", "stopping");
    server.configure(SLEEPER);
    let refused = server.ctl(&["apply"]);
    assert_eq!(refused.code, 5, "{refused:#?}");
    assert!(refused.stderr.contains("shutting down"), "{refused:#?}");
    assert_eq!(fs::read_to_string(server.path("state/applied.json")).unwrap(), applied);
    assert_eq!(server.ended(), 0);
}

#[test]
fn what_outlives_its_app_or_its_supervisor_is_ended_and_told_in_words() {
    let mut server = Server::start(SLEEPER);
    server.wait_status("web", "online");
    server.kill_supervisor();
    fs::remove_dir_all(server.path("run/runs")).unwrap();
    server.run();
    server.wait_status("web", "online");
    assert!(
        server.has_warned("an earlier supervisor left 1 process, of web: 1 ended when asked"),
        "{}",
        server.own_log()
    );

    // No tree of an app has it, and it does not listen.
    let mark = format!("{}.77", server.state_id());
    let mut stubborn = command("setsid");
    stubborn.args(["sh", "-c", "trap '' TERM; echo ready; exec sleep 602"]).env("INFISSI_RUN", mark);
    let stubborn = Program::start(&mut stubborn);
    server.wait_until("it to stop listening", || stubborn.stdout().contains("ready"));
    signal(server.supervisor_pid(), Signal::SIGTERM);
    assert_eq!(server.ended(), 0);
    assert_eq!(stubborn.end().code, 128 + Signal::SIGKILL as i32);
    let log = server.own_log();
    assert!(log.contains(" has outlived its app: it was killed"), "{log}");
}

#[test]
fn an_orderly_end_leaves_no_cgroup_behind() {
    let mut server = Server::start(SLEEPER);
    server.wait_status("web", "online");
    let Some(first) = cgroup(server.pid("web"), &server.state_id()) else { return };
    server.ctl(&["restart", "web"]).ok();
    server.wait_until("the cgroup of the first run to be removed", || !first.exists());
    let base = first.parent().unwrap();
    assert!(base.is_dir());
    signal(server.supervisor_pid(), Signal::SIGTERM);
    assert_eq!(server.ended(), 0);
    assert!(!base.exists());
}

/// The directory of a process's cgroup below the base of a supervisor; none where it has no such cgroup.
fn cgroup(pid: i32, state_id: &str) -> Option<PathBuf> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
    let found = mounts.iter().map(|mount| mount.join(path)).find(|path| path.join("cgroup.procs").exists());
    found.filter(|found| found.parent().is_some_and(|base| base.ends_with(format!("infissi-{state_id}"))))
}

#[test]
fn a_mistake_in_supervisor_moves_nothing_and_the_last_applied_configuration_runs() {
    let usual = tempfile::tempdir().unwrap();
    let mut server = Setup::default().env("STATE_DIRECTORY", usual.path().to_str().unwrap()).start(SLEEPER);
    server.wait_status("web", "online");
    let places = |server: &Server| {
        let supervisor = server.get("/v1/supervisor");
        ["socket", "state_dir", "log_dir"].map(|key| supervisor[key].as_str().unwrap().to_owned())
    };
    let before = places(&server);
    let faulty = [
        Some("[supervisor]\nstate_dir = 5\nruntime_dir = \"elsewhere\"\n"),
        Some("[supervisor\nstate_dir = \"state\"\n"),
        Some("[supervisor]\nstate_dir = \"elsewhere\"\nnonsense = true\n"),
        None,
    ];
    for text in faulty {
        signal(server.supervisor_pid(), Signal::SIGTERM);
        assert_eq!(server.ended(), 0);
        match text {
            Some(text) => server.write("supervisor.toml", text),
            None => fs::remove_file(server.path("supervisor.toml")).unwrap(),
        }
        server.run();
        server.wait_status("web", "online");
        assert_eq!(places(&server), before, "{text:?}");
        assert!(server.get("/v1/supervisor")["config"]["faulty"].is_string(), "{text:?}");
    }
    assert!(!server.path("elsewhere").exists());
}

#[test]
fn the_usual_configuration_that_is_gone_still_runs_as_it_was_applied_last() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("etc/supervisor.toml");
    for made in ["etc", "here"] {
        fs::create_dir(dir.path().join(made)).unwrap();
    }
    let start = || {
        let mut supervisor = command(env!("CARGO_BIN_EXE_infissi-supervisord"));
        supervisor.current_dir(dir.path().join("here")).env_remove("INFISSI_CONFIG");
        for (variable, directory) in
            [("CONFIGURATION", "etc"), ("STATE", "state"), ("RUNTIME", "run"), ("LOGS", "logs")]
        {
            supervisor.env(format!("{variable}_DIRECTORY"), dir.path().join(directory));
        }
        Program::start(&mut supervisor)
    };
    let answers = || UnixStream::connect(dir.path().join("run/supervisor.sock")).is_ok();
    let never_applied = start().end();
    assert!(never_applied.stderr.contains("there is no configuration file"), "{never_applied:#?}");
    fs::write(&file, "").unwrap();
    for is_there in [true, false] {
        if !is_there {
            fs::remove_file(&file).unwrap();
        }
        let supervisor = start();
        assert!(eventually(answers));
        signal(supervisor.pid(), Signal::SIGTERM);
        let ended = supervisor.end().ok();
        assert_eq!(ended.stderr.contains("the one that was applied last"), !is_there, "{ended:#?}");
    }
}

#[test]
fn one_that_is_told_to_end_while_it_starts_ends_what_it_was_about_to_go_on_with() {
    let port = free_port();
    let mut server = Server::start(&format!("[apps.web]\ncommand = \"node server.js\"\ncwd = \"demo\"\nport = {port}"));
    server.wait_status("web", "online");
    let (web, worker) = (server.pid("web"), server.worker().unwrap());
    server.kill_supervisor();
    let begun = |server: &Server| server.own_log().matches(" INFO infissi-supervisord ").count();
    // The next one waits for it for a while.
    signal(worker, Signal::SIGSTOP);
    server.begin();
    server.wait_until("it to begin", || begun(&server) == 2);
    signal(server.supervisor_pid(), Signal::SIGTERM);
    assert_eq!(server.ended(), 0, "{}", server.own_log());
    assert!(!is_alive(web), "{}", server.own_log());
    signal(worker, Signal::SIGCONT);
}

#[test]
fn what_runs_by_another_runtime_directory_is_gone_on_with_there() {
    let mut server = Server::start("[apps.web]\ncommand = \"sleep 600\"\n[apps.other]\ncommand = \"sleep 601\"");
    let pids = |server: &Server| {
        ["web", "other"].map(|name| {
            server.wait_status(name, "online");
            server.pid(name)
        })
    };
    let before = pids(&server);
    server.kill_supervisor();
    let config = fs::read_to_string(server.path("supervisor.toml")).unwrap();
    server.write("supervisor.toml", &config.replace("runtime_dir = \"run\"", "runtime_dir = \"elsewhere\""));
    server.run();
    assert_eq!(pids(&server), before, "{}", server.own_log());
    assert!(server.has_warned("an earlier supervisor had that one"), "{}", server.own_log());
    signal(server.supervisor_pid(), Signal::SIGTERM);
    assert_eq!(server.ended(), 0);
    server.begin();
    server.wait_until("it to be elsewhere", || UnixStream::connect(server.path("elsewhere/supervisor.sock")).is_ok());
    signal(server.supervisor_pid(), Signal::SIGTERM);
    assert_eq!(server.ended(), 0);
}

#[test]
fn only_one_that_has_never_run_fails_for_good_where_no_configuration_can_be_used() {
    let faulty = format!("{SLEEPER}\nnonsense = 1");
    let mut server = Setup::default().prepare(&faulty);
    assert_eq!(server.supervisor(&[]).code, 2);
    server.configure(SLEEPER);
    server.run();
    server.wait_status("web", "online");
    server.kill_supervisor();
    server.configure(&faulty);
    let applied = server.path("state/applied.json");
    let text = fs::read_to_string(&applied).unwrap();
    fs::write(&applied, text.replace("[apps.web]", "[nonsense.web]")).unwrap();
    let refused = server.supervisor(&[]);
    assert!(refused.code == 1 && refused.stderr.contains("is no longer valid"), "{refused:#?}");
    fs::remove_file(&applied).unwrap();
    assert_eq!(server.supervisor(&[]).code, 1, "what is noted of a run is there");
    server.configure(SLEEPER);
    server.run();
}
