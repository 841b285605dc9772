//! What a process of an app begins with.

use crate::machine::{is_root, skip};
use crate::server::{Server, Setup};
use nix::unistd::User;
use std::fs;

/// A line of /proc/PID/status.
fn status(pid: i32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}:"))).unwrap_or_default();
    line.trim().to_owned()
}

fn proc_file(pid: i32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap()
}

#[test]
fn nothing_that_the_supervisor_was_started_with_leaks_into_an_app() {
    let before = "trap '' INT HUP USR1 PIPE; umask 077; exec 9</dev/null; ulimit -S -n 200; cd /tmp";
    let server = Setup::default().shell(before).start("[apps.web]\ncommand = \"sleep 600\"");
    server.wait_status("web", "online");
    let pid = server.pid("web");
    for key in ["SigBlk", "SigIgn", "ShdPnd", "CapAmb"] {
        assert_eq!(status(pid, key).trim_start_matches('0'), "", "{key}");
    }
    assert_eq!(status(pid, "Umask"), "0022");
    let mut fds: Vec<(String, String)> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let target = fs::read_link(entry.path()).unwrap_or_default();
            (entry.file_name().into_string().unwrap(), target.display().to_string())
        })
        .collect();
    fds.sort();
    assert_eq!(fds.len(), 3, "{fds:?}");
    assert_eq!(fds[0], ("0".to_owned(), "/dev/null".to_owned()));
    assert!(fds[1].1.starts_with("pipe:") && fds[2].1.starts_with("pipe:") && fds[1].1 != fds[2].1, "{fds:?}");
    assert_eq!(fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), server.path("").canonicalize().unwrap());
    assert_eq!(proc_file(pid, "oom_score_adj").trim(), "0");
}

#[test]
fn each_instance_has_its_own_session_and_where_there_are_cgroups_its_own_cgroup() {
    let server =
        Server::start("[apps.web]\ncommand = \"sleep 600\"\ninstances = 2\n[apps.other]\ncommand = \"sleep 600\"");
    server.wait_until("all to be online", || server.status("web") == "online" && server.status("other") == "online");
    let web = server.app("web");
    let mut pids: Vec<i32> =
        web["instances"].as_array().unwrap().iter().map(|one| one["pid"].as_i64().unwrap() as i32).collect();
    pids.push(server.pid("other"));
    assert_eq!(pids.len(), 3);
    for pid in &pids {
        let stat = infissi::linux::proc::stat(*pid).unwrap();
        assert_eq!((stat.session, stat.pgrp), (*pid, *pid));
    }
    if server.get("/v1/supervisor")["trees"] != "cgroup" {
        return skip("there are no cgroups to be made here");
    }
    let mut cgroups: Vec<String> = pids
        .iter()
        .map(|pid| {
            let text = proc_file(*pid, "cgroup");
            text.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
        })
        .collect();
    let own = proc_file(server.supervisor_pid(), "cgroup");
    assert!(cgroups.iter().all(|cgroup| !own.contains(&format!("0::{cgroup}\n"))), "{cgroups:?}");
    cgroups.sort();
    cgroups.dedup();
    assert_eq!(cgroups.len(), 3, "{cgroups:?}");
}

#[test]
fn a_root_supervisors_app_runs_as_its_user_or_else_as_the_owner_of_its_directory() {
    if !is_root() {
        return;
    }
    let user = |name: &str| User::from_name(name).unwrap().unwrap();
    let (daemon, bin) = (user("daemon"), user("bin"));
    let setup = Setup::default().file("theirs/file", "");
    let server = setup.prepare("[apps.named]\ncommand = \"sleep 600\"\nuser = \"daemon\"\n[apps.owned]\ncommand = \"sleep 600\"\ncwd = \"theirs\"\n[apps.root]\ncommand = \"sleep 600\"");
    std::os::unix::fs::chown(server.path("theirs"), Some(bin.uid.as_raw()), Some(bin.gid.as_raw())).unwrap();
    let mut server = server;
    server.run();
    server.wait_until("all to be online", || {
        ["named", "owned", "root"].iter().all(|name| server.status(name) == "online")
    });
    for (name, user) in [("named", &daemon), ("owned", &bin)] {
        let pid = server.pid(name);
        let (uid, gid) = (user.uid.as_raw().to_string(), user.gid.as_raw().to_string());
        assert_eq!(status(pid, "Uid").split_whitespace().collect::<Vec<_>>(), [uid.as_str(); 4]);
        assert_eq!(status(pid, "Gid").split_whitespace().collect::<Vec<_>>(), [gid.as_str(); 4]);
        assert!(!status(pid, "Groups").split_whitespace().any(|group| group == "0"), "root's groups are left behind");
        assert_eq!(status(pid, "CapEff").trim_start_matches('0'), "");
        let environ = proc_file(pid, "environ");
        assert!(environ.split('\0').any(|entry| entry == format!("USER={}", user.name)), "{environ}");
        assert!(environ.split('\0').any(|entry| entry == format!("HOME={}", user.dir.display())), "{environ}");
    }
    assert_eq!(server.show("named")["user"], "daemon");
}

#[test]
fn the_command_is_split_without_a_shell_and_its_placeholders_are_filled_in() {
    let server = Setup::default().file("show.sh", "for word; do echo \"[$word]\"; done; exec sleep 600").start(
        "[apps.web]\ncommand = \"sh show.sh 'two words' '{app}.1' {app} {instance} {slot}\"\n[apps.list]\ncommand = [\"sh\", \"show.sh\", \"a  b\", \"\"]",
    );
    server.wait_until("both", || server.status("web") == "online" && server.status("list") == "online");
    let lines = |name: &str| server.ctl(&["logs", name, "--raw", "--no-follow"]).ok().stdout;
    server.wait_until("the words", || lines("web").lines().count() == 5 && lines("list").lines().count() == 2);
    assert_eq!(lines("web"), "[two words]\n[web.1]\n[web]\n[0]\n[blue]\n");
    assert_eq!(lines("list"), "[a  b]\n[]\n");
}
