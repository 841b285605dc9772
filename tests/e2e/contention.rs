//! Requests that cross each other, crash loops that go on, and many apps at once.

use crate::machine::{command, eventually, is_alive, private_memory, signal};
use crate::server::{Server, Setup};
use nix::sys::signal::Signal;
use std::fs;

#[test]
fn a_stop_overtakes_a_start_that_is_waited_for_and_says_who_it_was() {
    let server = Server::start(
        "[apps.web]\ncommand = \"sleep 600\"\nautostart = false\nhealth = { command = \"false\", interval = \"200ms\" }",
    );
    let start = server.follow(&["start", "web"]);
    server.wait_status("web", "starting");
    server.wait_until("a process", || !server.app("web")["pid"].is_null());
    let pid = server.pid("web");
    server.ctl(&["stop", "web"]).ok();
    let overtaken = start.end();
    assert_eq!(overtaken.code, 5, "{overtaken:#?}");
    assert!(overtaken.stderr.contains("stopped by"), "{overtaken:#?}");
    assert!(!is_alive(pid));
    assert_eq!(server.status("web"), "stopped");
}

#[test]
fn restarts_from_many_sides_end_in_one_running_instance() {
    let server = Server::start("[apps.web]\ncommand = \"sleep 600\"\n[apps.other]\ncommand = \"sleep 600\"");
    server.wait_until("both", || server.status("web") == "online" && server.status("other") == "online");
    let other = server.pid("other");
    let restarts: Vec<_> = (0..6).map(|_| server.follow(&["restart", "web"])).collect();
    for restart in restarts {
        restart.end().ok();
    }
    assert_eq!(server.status("web"), "online");
    assert_eq!(server.tree("web").len(), 1);
    let sleepers = crate::machine::marked(&server.state_id());
    assert_eq!(sleepers.len(), 2, "{sleepers:?}");
    assert_eq!((server.app("web")["restarts"].as_u64(), server.pid("other")), (Some(0), other));
}

#[test]
fn one_of_several_instances_that_dies_is_replaced_alone() {
    let server = Server::start(
        "[apps.web]\ncommand = \"sleep 600\"\ninstances = 3\nbackoff = { initial = \"10ms\", max = \"10ms\" }",
    );
    server.wait_status("web", "online");
    let pids = || -> Vec<i64> {
        let app = server.app("web");
        app["instances"].as_array().unwrap().iter().filter_map(|one| one["pid"].as_i64()).collect()
    };
    let before = pids();
    assert_eq!(before.len(), 3);
    signal(i32::try_from(before[1]).unwrap(), Signal::SIGKILL);
    server.wait_until("another one", || {
        let now = pids();
        now.len() == 3 && now[1] != before[1]
    });
    let after = pids();
    assert_eq!((after[0], after[2]), (before[0], before[2]));
    server.ctl(&["restart", "web"]).ok();
    assert!(pids().iter().all(|pid| !before.contains(pid)));
}

#[test]
fn an_app_that_was_suspended_is_stopped_all_the_same() {
    let server = Server::start("[apps.web]\ncommand = \"sleep 600\"\nkill_timeout = \"300ms\"");
    server.wait_status("web", "online");
    let pid = server.pid("web");
    signal(pid, Signal::SIGSTOP);
    server.ctl(&["stop", "web"]).ok();
    assert!(!is_alive(pid));
}

#[test]
fn a_crash_loop_leaves_no_descriptor_no_zombie_no_cgroup_and_no_memory_behind() {
    let script = "(sleep 0.01 &)\n(setsid sleep 0.02 &)\necho \"run $$\"\nexit 1\n";
    let server = Setup::default().file("crash.sh", script).start(
        "[apps.web]\ncommand = \"sh crash.sh\"\nbackoff = { initial = \"10ms\", max = \"10ms\" }\n[apps.well]\ncommand = \"sleep 600\"",
    );
    let supervisor = server.supervisor_pid();
    let fds = || fs::read_dir(format!("/proc/{supervisor}/fd")).unwrap().count();
    let restarts = |more: u64| server.wait_until("restarts", || server.app("web")["restarts"].as_u64() > Some(more));
    restarts(20);
    server.ctl(&["stop", "web"]).ok();
    let (files, memory) = (fds(), private_memory(supervisor));
    server.ctl(&["start", "web", "--no-wait"]).ok();
    restarts(150);
    server.ctl(&["stop", "web"]).ok();
    server.wait_until("the descriptors to be as before", || fds() <= files);
    assert!(private_memory(supervisor) < memory + (3 << 20), "{memory} → {}", private_memory(supervisor));
    let children = || {
        let listed = command("ps").args(["-o", "stat=,args=", "--ppid", &supervisor.to_string()]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap()
    };
    assert!(eventually(|| !children().lines().any(|line| line.starts_with('Z'))), "{}", children());
    assert_eq!(children().lines().count(), 1, "{}", children());
    let cgroups = || {
        let found = command("find")
            .args(["/sys/fs/cgroup", "-type", "d", "-path", &format!("*{}*", server.state_id()), "-name", "web.*"])
            .output()
            .unwrap();
        String::from_utf8(found.stdout).unwrap()
    };
    assert!(eventually(|| cgroups().is_empty()), "{}", cgroups());
}

#[test]
fn fifty_apps_start_stop_and_start_again() {
    let apps: String = (0..50).map(|n| format!("[apps.app-{n}]\ncommand = \"sleep 600\"\n")).collect();
    let server = Server::start(&apps);
    server.wait_until("all to be online", || {
        server.get("/v1/apps").as_array().unwrap().iter().all(|app| app["status"] == "online")
    });
    server.ctl(&["stop", "all"]).ok();
    assert_eq!(crate::machine::marked(&server.state_id()), []);
    server.ctl(&["start", "app-1*"]).ok();
    let online = server.get("/v1/apps").as_array().unwrap().iter().filter(|app| app["status"] == "online").count();
    assert_eq!(online, 11);
    server.ctl(&["restart", "all"]).ok();
}

#[test]
fn systemd_is_told_when_the_supervisor_is_ready_and_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let systemd = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(crate::machine::PATIENCE)).unwrap();
    let mut server = Setup::default()
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .start("[apps.web]\ncommand = [\"sh\", \"-c\", \"env; exec sleep 600\"]");
    let hear = || {
        let mut buffer = [0; 4096];
        let read = systemd.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    };
    assert!(hear().contains("READY=1"));
    server.wait_status("web", "online");
    assert!(!server.log("web-out.log").contains("NOTIFY_SOCKET"), "apps do not speak for the supervisor");
    signal(server.supervisor_pid(), Signal::SIGTERM);
    while !hear().contains("STOPPING=1") {}
    assert_eq!(server.ended(), 0);
}
