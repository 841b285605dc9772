//! What PM2 got wrong, row by row of the field notes, and what happens here instead.

use crate::machine::{PATIENCE, SmallDisk, accepts, free_port, get, is_alive, is_root, signal};
use crate::server::{NOBODY, Server, Setup};
use flate2::read::GzDecoder;
use nix::sys::signal::Signal;
use nix::unistd::{Group, User};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// The demo app by `npm start` on a port.
fn demo(name: &str, port: u16, more: &str) -> String {
    format!(
        "[apps.{name}]\ncommand = \"npm start\"\ncwd = \"demo\"\nport = {port}\nhealth = {{ http = \"/api/health\" }}\n{more}\n"
    )
}

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
    let megabytes: f64 =
        message.split_whitespace().find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{message}"));
    assert!(megabytes < 100.0 + 2.0 * 40.0 + 20.0, "{message}");

    server.wait_for_another("web", leader);
    let app = server.app("web");
    assert_eq!(app["last_exit"]["reason"], "memory", "{app:#}");
    assert_eq!(app["restarts"], 1, "{app:#}");
    assert!(!is_alive(leader) && !is_alive(node));
}

/// What it alone has in memory, bytes: what the figure of its tree has to contain.
fn private_memory(pid: i32) -> u64 {
    infissi::linux::proc::statm(pid).unwrap().private()
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
        "[apps.web]\ncommand = [\"sh\", \"-c\", \"echo compiling; exec sleep 600\"]\nautostart = false\nport = {port}\n\
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
         autostart = false\nport = {port}\nbackoff = {{ initial = \"1h\", max = \"1h\" }}\n\
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
    let (spawns, uptime) = (server.log_lines("../spawns"), server.uptime());
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
    assert_eq!(server.log_lines("../spawns"), 3, "the first start and two restarts");
    let app = server.show("web");
    assert!(app["reason"].as_str().unwrap().contains("gave up after 2 restarts"), "{app:#}");
    assert!(app["last_lines"].to_string().contains("no database"), "{app:#}");
    assert!(app["next_steps"].to_string().contains("infissi-ctl restart web"), "{app:#}");
    assert_eq!(server.ctl(&["start", "web"]).code, 1);
    assert!(server.log_lines("../spawns") > 3);
}

#[test]
fn row_07_rotation_loses_no_line_of_a_flood_and_touches_no_other_apps_files() {
    let apps = |keep: u32| {
        format!(
            "[defaults]\nautorestart = \"on-failure\"\n[apps.a]\nlogs = {{ max_size = \"128K\", keep = {keep} }}\n\
             command = [\"node\", \"-e\", \"for (let i = 0; i < 40000; i++) console.log('line ' + i + ' '.padEnd(90, '.'))\"]\n\
             [apps.a-b]\nlogs = {{ max_size = \"1K\", keep = 1000 }}\n\
             command = [\"node\", \"-e\", \"for (let i = 0; i < 400; i++) console.log('other ' + i)\"]"
        )
    };
    let server = Server::start(&apps(1000));
    server.wait_until("both to be done", || server.status("a") == "stopped" && server.status("a-b") == "stopped");
    server.wait_until("all to be compressed", || {
        let files = server.log_files("");
        files.iter().all(|file| is_live(file) || file.extension().is_some_and(|extension| extension == "gz"))
    });
    for kind in ["out", "combined"] {
        let files = server.log_files(&format!("a-{kind}"));
        assert!(files.len() > 20, "{files:?}");
        let lines: Vec<String> = files.iter().flat_map(|file| unpacked(file)).collect();
        let numbers: Vec<usize> = lines.iter().map(|line| line.split(' ').nth(2).unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..40_000).collect::<Vec<_>>(), "{kind}: every line once and in order");
    }
    let shown = server.ctl(&["logs", "a", "--raw", "-n", "40000", "--no-follow"]).ok().stdout;
    assert_eq!(shown.lines().count(), 40_000);
    assert!(shown.starts_with("line 0 ") && shown.trim_end().lines().last().unwrap().starts_with("line 39999 "));

    let others = server.log_files("a-b-");
    assert!(others.len() > 20, "{others:?}");
    server.configure(&apps(1));
    server.ctl(&["apply"]).ok();
    server.wait_until("only one rotated file of each kind", || server.log_files("a-out").len() == 2);
    server.ctl(&["flush", "a"]).ok();
    assert_eq!(server.log_files("a-out").len(), 1);
    assert_eq!(server.log_files("a-b-"), others, "what app a does is no business of a-b");
}

/// The file that is written to: `NAME-out.log`; a rotated one has its time in the name.
fn is_live(file: &std::path::Path) -> bool {
    let name = file.file_name().unwrap().to_str().unwrap();
    ["-out.log", "-error.log", "-combined.log"].iter().any(|end| name.ends_with(end))
}

fn unpacked(file: &PathBuf) -> Vec<String> {
    let opened = fs::File::open(file).unwrap();
    let mut text = String::new();
    match file.extension().is_some_and(|extension| extension == "gz") {
        true => GzDecoder::new(opened).read_to_string(&mut text),
        false => BufReader::new(opened).read_to_string(&mut text),
    }
    .unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn row_08_on_a_full_disk_the_app_goes_on_lines_are_counted_and_it_recovers_and_says_so() {
    let Some(disk) = is_root().then(|| SmallDisk::mount(512 * 1024)).flatten() else { return };
    let server = Setup::default().keys(&format!("log_dir = \"{}\"", disk.path().display())).start(
        "[apps.web]\ncommand = [\"node\", \"-e\", \"let i = 0; setInterval(() => console.log('line ' + i++ + ' '.padEnd(400, '.')), 1)\"]\n\
         logs = { max_size = \"32K\", keep = 2, compress = false, max_total = \"192K\" }",
    );
    server.wait_status("web", "online");
    let pid = server.pid("web");
    disk.fill();
    server.wait_until("dropped lines", || server.show("web")["log_lines_dropped"].as_u64() > Some(50));
    let told = server.events_of("web", "logs");
    assert!(told.iter().any(|event| event["message"].as_str().unwrap().contains("No space left")), "{told:#?}");
    assert_eq!((server.status("web").as_str(), server.pid("web")), ("online", pid));
    server.ctl(&["ping"]).ok();

    disk.make_room();
    let before = server.events_of("web", "logs").len();
    server.wait_until("the recovery to be told", || server.events_of("web", "logs").len() > before);
    let dropped = server.show("web")["log_lines_dropped"].as_u64();
    server.wait_until("new lines", || server.log("web-combined.log").lines().count() > 20);
    assert_eq!(server.show("web")["log_lines_dropped"].as_u64(), dropped, "none is dropped any more");
    let said: String = server.log_files("web-combined").iter().flat_map(|file| unpacked(file)).collect();
    assert!(said.contains("dropped") || said.contains("lost") || said.contains("missing"), "the file tells the gap");
    assert_eq!((server.status("web").as_str(), server.pid("web")), ("online", pid));
}

#[test]
fn row_09_the_last_lines_before_an_exit_or_a_crash_are_in_the_file_whole_and_stamped_once() {
    let script = "process.stdout.write('first half, '); process.stdout.write('second half\\n');\
                  process.stdout.write(Buffer.from([0xff, 0xfe, 0x80, 0x0a]));\
                  for (let i = 0; i < 3000; i++) console.log('line ' + i + ' '.padEnd(80, '.'));\
                  console.error('the very last words'); process.exit(9)";
    let server = Setup::default().prepare("");
    server.write("app.js", script);
    server.configure("[apps.web]\ncommand = \"node app.js\"\nautorestart = false");
    let mut server = server;
    server.run();
    server.wait_status("web", "errored");
    let bytes = fs::read(server.path("logs/web-combined.log")).unwrap();
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), 3000 + 3 + 1, "each line once, and a newline at the end");
    for line in &lines[..lines.len() - 1] {
        assert_eq!((line[4], line[10], line[29]), (b'-', b'T', b' '), "{:?}", String::from_utf8_lossy(line));
    }
    let text: Vec<&[u8]> = lines[..lines.len() - 1].iter().map(|line| &line[30..]).collect();
    assert!(text.contains(&b"first half, second half".as_slice()));
    assert!(text.contains(&[0xff, 0xfe, 0x80].as_slice()), "bytes that are no UTF-8 are kept as they are");
    assert!(text.iter().any(|line| line.starts_with(b"line 2999 ")), "process.exit lost nothing");
    assert!(server.log("web-error.log").ends_with(" the very last words\n"));
    let shown = server.ctl(&["logs", "web", "--raw", "-n", "5000", "--no-follow"]).ok().stdout;
    assert_eq!(shown.lines().count(), 3003);
    assert!(server.show("web")["last_lines"].to_string().contains("the very last words"));
}

#[test]
fn row_09_a_line_without_an_end_and_an_uncaught_exception_are_kept_too() {
    let port = free_port();
    let server = Server::start(&format!(
        "{}[apps.half]\ncommand = [\"sh\", \"-c\", \"printf 'no newline'; kill -9 $$\"]\nautorestart = false",
        demo("web", port, "backoff = { initial = \"1h\", max = \"1h\" }\nmin_uptime = \"1h\"")
    ));
    server.wait_status("half", "errored");
    assert!(server.log("half-out.log").ends_with(" no newline\n"), "{:?}", server.log("half-out.log"));
    server.wait_status("web", "online");
    get(port, "/crash");
    server.wait_status("web", "backoff");
    let errors = server.log("web-error.log");
    assert!(errors.contains("last words before the crash") && errors.contains("Error: crashed on request"), "{errors}");
}

#[test]
fn row_10_a_follower_that_never_reads_costs_bounded_memory_and_is_told_what_it_missed() {
    let port = free_port();
    // No http probe: its lines would hide that some of the flood are missing from the account.
    let server = Server::start(&format!(
        "[apps.web]\ncommand = \"npm start\"\ncwd = \"demo\"\nport = {port}\n\
         logs = {{ timestamps = false, max_total = \"60M\", compress = false }}"
    ));
    server.wait_status("web", "online");
    let mut follower = UnixStream::connect(server.socket()).unwrap();
    follower.write_all(b"GET /v1/apps/web/logs?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    follower.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut follower = BufReader::new(follower);
    let mut line = String::new();
    follower.read_line(&mut line).unwrap();
    assert!(line.contains("200"), "{line}");

    let supervisor = server.supervisor_pid();
    get(port, "/flood?lines=100000&bytes=200").unwrap();
    server.wait_until("the first 20 MB", || server.flooded(100_000));
    let before = private_memory(supervisor);
    let mut most = before;
    get(port, "/flood?lines=900000&bytes=200").unwrap();
    server.wait_until("180 MB more", || {
        most = most.max(private_memory(supervisor));
        server.flooded(900_000)
    });
    assert!(most < before + (6 << 20), "from {before} to {most}");
    server.ctl(&["list"]).ok();

    let (mut lines, mut dropped) = (0, 0);
    while lines + dropped < 1_000_000 {
        line.clear();
        assert_ne!(follower.read_line(&mut line).unwrap(), 0, "the follower is not cut off");
        match line.split("\"dropped\":").nth(1) {
            Some(count) => dropped += count.trim_matches(['}', '\n', '\r']).parse::<u64>().unwrap(),
            None => lines += u64::from(line.contains("\"line\":")),
        }
    }
    assert!(dropped > 500_000, "{dropped}");
    assert!(lines + dropped < 1_000_100, "{lines} lines and {dropped} left out: more than there were");
    get(port, "/?again").unwrap();
    while !line.contains("GET /?again") {
        line.clear();
        assert_ne!(follower.read_line(&mut line).unwrap(), 0, "live lines come again");
    }
}

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

    // A power cut now: the state of before counts.
    server.kill_supervisor();
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

    /// The lines of a file below the log directory.
    fn log_lines(&self, file: &str) -> usize {
        self.log(file).lines().count()
    }

    /// The files of one app, the oldest first and the live one last.
    fn log_files(&self, begin: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.log_dir()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(begin)).collect();
        files.sort_by_key(|path| (is_live(path), path.clone()));
        files
    }

    /// Has the last line of a flood come through?
    fn flooded(&self, lines: usize) -> bool {
        let last = format!("flood {lines} ");
        let file = self.log_dir().join("web-out.log");
        let Ok(mut file) = fs::File::open(file) else { return false };
        // The end alone: reading it all would take longer than the flood.
        let _from_the_start = std::io::Seek::seek(&mut file, std::io::SeekFrom::End(-4096));
        let mut end = Vec::new();
        file.read_to_end(&mut end).unwrap();
        String::from_utf8_lossy(&end).contains(&last)
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(self.get("/v1/supervisor")["uptime_ms"].as_u64().unwrap())
    }
}
