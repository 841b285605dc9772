//! What PM2 got wrong, row by row of the field notes, and what happens here instead.

use crate::machine::{accepts, free_port, get, is_alive, signal};
use crate::server::{Server, Setup};
use nix::sys::signal::Signal;
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
    let server = Server::start(&demo("web", port, "max_memory_restart = \"220M\""));
    server.wait_status("web", "online");
    let (leader, node) = (server.pid("web"), server.process("web", "server.js"));
    assert_ne!(leader, node, "npm leads, node is below it");
    let shown = server.app("web")["memory_bytes"].as_u64().unwrap();
    let both = private_memory(leader) + private_memory(node);
    assert!(shown > private_memory(leader) + (10 << 20), "{shown} is the leader's alone");
    assert!(shown.abs_diff(both) < (40 << 20), "{shown} is not the tree's {both}");

    get(port, "/leak?mb=400&rate=40").unwrap();
    server.wait_until("the breach", || !server.events_of("web", "breach").is_empty());
    let breach = &server.events_of("web", "breach")[0];
    // 40 MB/s: what passes the limit by more than 2 s of leaking was noticed too late.
    let message = breach["message"].as_str().unwrap();
    let bytes: f64 = message.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert!(bytes < 220.0 + 2.0 * 40.0 + 20.0, "{message}");

    server.wait_until("a new process", || server.status("web") == "online" && server.pid("web") != leader);
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
    server.wait_until("another npm to be online", || server.status("web") == "online" && server.pid("web") != npm);
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
    let pid = server.pid("web");
    let restarts = server.app("web")["restarts"].as_u64();
    server.wait_until("a healthy spell", || server.app("web")["uptime_ms"].as_u64() > Some(1_100));
    signal(pid, Signal::SIGKILL);
    server.wait_until("the restart", || server.app("web")["restarts"].as_u64() > restarts);
    let last = server.events_of("web", "backoff").len();
    assert_eq!(last, backing_off.len().max(last), "after a healthy spell the restart is immediate");
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
    let bytes = std::fs::read(server.path("logs/web-combined.log")).unwrap();
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
    let env = |server: &Server| std::fs::read_to_string(server.path("env.txt")).unwrap();
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
    let saved = std::fs::read_to_string(server.path("state/state.json")).unwrap();
    assert!(!saved.contains("from the shell"), "{saved}");
}

impl Server {
    /// The lines of a file below the log directory.
    fn log_lines(&self, file: &str) -> usize {
        self.log(file).lines().count()
    }

    fn uptime(&self) -> Duration {
        Duration::from_millis(self.get("/v1/supervisor")["uptime_ms"].as_u64().unwrap())
    }
}
