//! What PM2 got wrong, row by row of the field notes, and what happens here instead. The rows about logs have their own
//! file.

use crate::machine::{SmallDisk, accepts, free_port, get, is_alive, is_root, private_memory, signal};
use crate::server::{NOBODY, Server, Setup, demo};
use nix::sys::signal::Signal;
use nix::unistd::{Group, User};
use std::fs;
use std::time::Duration;

#[test]
fn row_01_a_leak_below_npm_is_seen_and_the_app_replaced_within_two_seconds_of_crossing() {
    let port = free_port();
    let server = Server::start(&demo("web", port, "max_memory_restart = \"100M\""));
    server.wait_status("web", "online");
    let (leader, node) = (server.pid("web"), server.node("web"));
    assert_ne!(leader, node, "npm leads, node is below it");
    let shown = server.app("web")["memory_bytes"].as_u64().unwrap();
    let both = private_memory(leader) + private_memory(node);
    assert!(shown > private_memory(leader) + (2 << 20), "{shown} is the leader's alone");
    assert!(shown.abs_diff(both) < (16 << 20), "{shown} is not the tree's {both}");

    get(port, "/leak?mb=600&rate=40").unwrap();
    server.wait_until("the breach", || !server.events_of("web", "breach").is_empty());
    let breach = &server.events_of("web", "breach")[0];
    // 40 MB/s: what passed the limit by more than 2 s of leaking was noticed too late.
    let message = breach["message"].as_str().unwrap();
    let megabytes: f64 = message
        .split_whitespace()
        .find_map(|word| word.trim_end_matches('M').parse().ok())
        .unwrap_or_else(|| panic!("{message}"));
    assert!(megabytes < 100.0 + 2.0 * 40.0 + 20.0, "{message}");

    server.wait_for_another("web", leader);
    let app = server.app("web");
    assert_eq!(app["last_exit"]["reason"], "memory", "{app:#}");
    assert_eq!(app["restarts"], 1, "{app:#}");
    assert!(!is_alive(leader) && !is_alive(node));
}

#[test]
fn row_02_killing_the_npm_wrapper_leaves_no_orphan_on_the_port() {
    let port = free_port();
    let server = Server::start(&demo("web", port, ""));
    server.wait_status("web", "online");
    let tree = server.tree("web");
    assert!(tree.len() >= 2, "{tree:?}");
    let npm = server.pid("web");
    signal(npm, Signal::SIGKILL);
    server.wait_for_another("web", npm);
    for (pid, command) in tree {
        assert!(!is_alive(pid), "{pid} ({command}) is left over");
    }
    let app = server.app("web");
    assert_eq!(app["restarts"], 1, "not one attempt failed on the port: {app:#}");
    assert_eq!(app["last_exit"]["signal"], "SIGKILL", "{app:#}");
    assert!(get(port, "/").unwrap().1.contains("web"));
    server.ctl(&["stop", "web"]).ok();
    assert!(!accepts(port));
}

#[test]
fn row_04_a_build_that_crashes_is_not_online_and_the_restart_fails_with_its_last_lines() {
    let server = Server::start(
        "[apps.web]\ncommand = [\"sh\", \"-c\", \"cat build; echo line before; echo Cannot find module >&2; exit 7\"]\n\
         autostart = false\nbackoff = { initial = \"1h\", max = \"1h\" }",
    );
    let output = server.ctl(&["restart", "web"]);
    assert_eq!(output.code, 1, "{output:#?}");
    assert!(output.said().contains("Cannot find module") && output.said().contains("line before"), "{output:#?}");
    assert!(output.said().contains("exited with code 7"), "{output:#?}");
    assert_eq!(server.status("web"), "backoff");
    let lines = server.show("web")["last_lines"].to_string();
    assert!(lines.contains("Cannot find module"), "{lines}");
}

#[test]
fn row_04_a_build_that_never_listens_is_not_online_and_the_restart_says_so() {
    let port = free_port();
    let server = Server::start(&format!(
        "[apps.web]\ncommand = [\"sh\", \"-c\", \"echo compiling; exec sleep 600\"]\nautostart = false\nport = {port}\nproxy = \"off\"\n\
         health = {{ start_timeout = \"1s\" }}\nbackoff = {{ initial = \"1h\", max = \"1h\" }}",
    ));
    let output = server.ctl(&["restart", "web"]);
    assert_eq!(output.code, 1, "{output:#?}");
    assert!(output.said().contains("not ready within") && output.said().contains("compiling"), "{output:#?}");
    assert_eq!(server.status("web"), "backoff");
    assert_eq!(server.app("web")["last_exit"]["reason"], "unhealthy");
}

#[test]
fn row_04_a_build_that_answers_500_is_not_online_and_the_restart_says_so() {
    let port = free_port();
    let server = Server::start(&format!(
        "[apps.web]\ncommand = [\"node\", \"-e\", \"require('http').createServer((q, r) => r.writeHead(500).end()).listen({port})\"]\n\
         autostart = false\nport = {port}\nproxy = \"off\"\nbackoff = {{ initial = \"1h\", max = \"1h\" }}\n\
         health = {{ http = \"/api/health\", start_timeout = \"3s\" }}",
    ));
    let output = server.ctl(&["restart", "web"]);
    assert_eq!(output.code, 1, "{output:#?}");
    assert!(output.said().contains("500"), "{output:#?}");
    assert_ne!(server.status("web"), "online");
    assert!(server.events_of("web", "online").is_empty(), "it never was");
}

#[test]
fn row_05_a_crash_loop_backs_off_and_recovers_when_the_cause_is_mended() {
    let server = Server::start(
        "[apps.web]\ncommand = [\"sh\", \"-c\", \"echo x >> spawns; cat mended && exec sleep 600\"]\n\
         backoff = { initial = \"50ms\", max = \"400ms\" }\nmin_uptime = \"1s\"",
    );
    server.wait_until("5 restarts", || server.app("web")["restarts"].as_u64() >= Some(5));
    let backing_off: Vec<String> = server.events_of("web", "backoff").iter().map(ToString::to_string).collect();
    assert!(backing_off.len() >= 5, "{backing_off:#?}");
    // 50 + 100 + 200 + 400 + … ms: in a hot loop there would be thousands.
    let (spawns, uptime) = (server.lines_of("spawns"), server.uptime());
    let most = 5 + uptime.as_millis() / 400;
    assert!(spawns as u128 <= most, "{spawns} spawns in {uptime:?}, at most {most}: {backing_off:#?}");

    server.write("mended", "");
    server.wait_status("web", "online");
    let restarts = server.app("web")["restarts"].as_u64();
    server.wait_until("a healthy spell", || server.app("web")["uptime_ms"].as_u64() > Some(1_100));
    let before = server.events_of("web", "backoff").len();
    signal(server.pid("web"), Signal::SIGKILL);
    server.wait_until("the restart", || server.app("web")["restarts"].as_u64() > restarts);
    server.wait_status("web", "online");
    assert_eq!(server.events_of("web", "backoff").len(), before, "after a healthy spell the restart is immediate");
}

#[test]
fn row_05_max_restarts_gives_up_and_a_start_tries_again() {
    let server = Server::start(
        "[apps.web]\ncommand = [\"sh\", \"-c\", \"echo x >> spawns; echo no database >&2; exit 3\"]\n\
         max_restarts = 2\nbackoff = { initial = \"10ms\", max = \"20ms\" }",
    );
    server.wait_status("web", "errored");
    assert_eq!(server.lines_of("spawns"), 3, "the first start and two restarts");
    let app = server.show("web");
    assert!(app["reason"].as_str().unwrap().contains("gave up after 2 restarts"), "{app:#}");
    assert!(app["last_lines"].to_string().contains("no database"), "{app:#}");
    assert!(app["next_steps"].to_string().contains("infissi-ctl restart web"), "{app:#}");
    assert_eq!(server.ctl(&["start", "web"]).code, 1);
    assert!(server.lines_of("spawns") > 3);
}

/// The file that is written to: `NAME-out.log`; a rotated one has its time in the name.
#[test]
fn row_13_an_app_gets_what_is_declared_and_edits_apply_at_the_next_start() {
    let setup = Setup::default().env("LEAKED_SECRET", "from the shell").env("LANG", "C.UTF-8");
    let mut server = setup.prepare("");
    let apps = |value: &str| {
        format!(
            "[apps.web]\ncommand = [\"sh\", \"-c\", \"env | sort > env.txt; exec sleep 600\"]\nport_is = 1\n\
             env_file = \"web.env\"\nenv = {{ DECLARED = \"{value}\", BOTH = \"from env\" }}"
        )
        .replace("port_is = 1\n", "")
    };
    server.write("web.env", "FROM_FILE=\"one two\" # a comment\nBOTH=from the file\n");
    server.configure(&apps("first"));
    server.run();
    server.wait_status("web", "online");
    let env = |server: &Server| fs::read_to_string(server.path("env.txt")).unwrap();
    let first = env(&server);
    assert!(first.contains("\nDECLARED=first\n") || first.starts_with("DECLARED=first\n"), "{first}");
    assert!(first.contains("FROM_FILE=one two\n") && first.contains("BOTH=from env\n"), "{first}");
    assert!(first.contains("LANG=C.UTF-8\n") && first.contains("INFISSI_APP=web\n"), "{first}");
    assert!(!first.contains("LEAKED_SECRET"), "{first}");
    let allowed = [
        "BOTH",
        "DECLARED",
        "FROM_FILE",
        "HOME",
        "INFISSI_APP",
        "INFISSI_INSTANCE",
        "INFISSI_RUN",
        "INFISSI_SLOT",
        "LANG",
        "LOGNAME",
        "PATH",
        "PWD",
        "SHELL",
        "TZ",
        "USER",
        "_",
        "SHLVL",
        "OLDPWD",
    ];
    for line in first.lines() {
        let name = line.split('=').next().unwrap();
        assert!(allowed.contains(&name), "{name} leaked in");
    }

    server.write("web.env", "FROM_FILE=changed\n");
    server.ctl(&["restart", "web"]).ok();
    let second = env(&server);
    assert!(second.contains("FROM_FILE=changed\n") && second.contains("BOTH=from env\n"), "{second}");
    server.configure(&apps("second"));
    let applied = server.ctl(&["apply"]).ok();
    assert!(env(&server).contains("DECLARED=second\n"), "{applied:#?}\n{}", server.own_log());
    let shown = server.ctl(&["--json", "show", "web"]).ok().stdout;
    assert!(shown.contains("DECLARED") && !shown.contains("changed"), "names, never values: {shown}");
    let saved = fs::read_to_string(server.path("state/state.json")).unwrap();
    assert!(!saved.contains("from the shell"), "{saved}");
}

#[test]
fn row_14_a_full_disk_empties_no_state_and_keeps_no_app_from_starting() {
    let Some(disk) = is_root().then(|| SmallDisk::mount(256 * 1024)).flatten() else { return };
    let sleeper = "command = \"sleep 600\"\nbackoff = { initial = \"10ms\", max = \"100ms\" }";
    let apps = format!("[apps.web]\n{sleeper}\n[apps.other]\n{sleeper}\nautostart = false");
    let mut server = Setup::default().keys(&format!("state_dir = \"{}\"", disk.path().display())).start(&apps);
    server.wait_status("web", "online");
    server.ctl(&["start", "other"]).ok();
    let state = fs::read(disk.path().join("state.json")).unwrap();

    disk.fill();
    server.ctl(&["stop", "other"]).ok();
    server.wait_until("a warning", || server.get("/v1/supervisor")["warnings"].to_string().contains("not saved"));
    let list = server.ctl(&["list"]).ok();
    assert!(list.said().contains("not saved") && list.said().contains("No space left"), "{list:#?}");
    assert_eq!(fs::read(disk.path().join("state.json")).unwrap(), state, "the state before is whole");
    let pid = server.pid("web");
    signal(pid, Signal::SIGKILL);
    server.wait_for_another("web", pid);

    // What the disk has not taken is remembered beside it.
    let pid = server.pid("web");
    server.kill_supervisor();
    server.run();
    assert_eq!((server.pid("web"), server.status("other").as_str()), (pid, "stopped"));
    // A power cut now: the state of before counts.
    server.kill_supervisor();
    fs::remove_file(server.path("run/remembered.json")).unwrap();
    server.run();
    server.wait_status("web", "online");
    server.wait_status("other", "online");
    let warned = |server: &Server| server.get("/v1/supervisor")["warnings"].to_string().contains("not saved");
    assert!(warned(&server));
    server.ctl(&["stop", "other"]).ok();
    disk.make_room();
    server.wait_until("the state to be saved after all", || !warned(&server));
    server.kill_supervisor();
    server.run();
    server.wait_status("web", "online");
    assert_eq!(server.status("other"), "stopped");
}

#[test]
fn row_16_a_second_supervisor_on_the_same_state_is_refused_and_told_who_is_first() {
    let server = Server::start("[apps.web]\ncommand = \"sleep 600\"");
    server.wait_status("web", "online");
    let pid = server.pid("web");
    let second = server.supervisor(&[]);
    assert_eq!(second.code, 1, "{second:#?}");
    assert!(second.stderr.contains(&server.supervisor_pid().to_string()), "{second:#?}");
    assert_eq!((server.status("web").as_str(), server.pid("web")), ("online", pid), "the first is not disturbed");
}

#[test]
fn row_16_strangers_are_told_what_they_would_need_and_everybody_else_may_what_is_theirs() {
    if !is_root() {
        return;
    }
    let user = |name: &str| User::from_name(name).unwrap().unwrap().uid.as_raw();
    let (admin, owner, group) = (user("daemon"), user("bin"), Group::from_name("mail").unwrap().unwrap().gid.as_raw());
    let server = Setup::default()
        .keys("control = { group = \"mail\", admins = [\"daemon\"] }")
        .start("[apps.theirs]\ncommand = \"sleep 600\"\nuser = \"bin\"\n[apps.web]\ncommand = \"sleep 600\"\n");
    server.wait_until("both to be online", || server.status("theirs") == "online" && server.status("web") == "online");

    for words in [&["list"] as &[&str], &["logs", "web"], &["restart", "web"], &["events"], &["shutdown"], &["apply"]] {
        let refused = server.ctl_as(NOBODY, &[], words);
        assert_eq!(refused.code, 5, "{words:?}: {refused:#?}");
        assert!(refused.stderr.contains("nobody may not"), "{words:?}: {refused:#?}");
        assert!(
            refused.stderr.contains("mail") || refused.stderr.contains("control.admins"),
            "{words:?}: {refused:#?}"
        );
    }
    let pid = server.pid("web");
    assert!(server.ctl_as(NOBODY, &[group], &["list"]).ok().stdout.contains("web"), "the group may look");
    assert_eq!(server.ctl_as(NOBODY, &[group], &["restart", "web"]).code, 5, "and not change");
    assert_eq!(server.pid("web"), pid);
    server.ctl_as(admin, &[], &["restart", "web"]).ok();
    assert_ne!(server.pid("web"), pid);

    let list = server.ctl_as(owner, &[], &["list"]).ok().stdout;
    assert!(list.contains("theirs") && !list.contains("web"), "{list}");
    server.ctl_as(owner, &[], &["restart", "theirs"]).ok();
    server.ctl_as(owner, &[], &["logs", "theirs", "--no-follow"]).ok();
    let refused = server.ctl_as(owner, &[], &["stop", "web"]);
    assert_eq!(refused.code, 5, "{refused:#?}");
    assert_eq!(server.status("web"), "online");
}

impl Server {
    /// The pid of the server below npm and its shell.
    fn node(&self, name: &str) -> i32 {
        let tree = self.tree(name);
        tree.iter().find(|(_, command)| command == "node server.js").unwrap_or_else(|| panic!("{tree:?}")).0
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(self.get("/v1/supervisor")["uptime_ms"].as_u64().unwrap())
    }
}
