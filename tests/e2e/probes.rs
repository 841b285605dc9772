//! Ready, well, and who holds the port.

use crate::machine::{free_port, get};
use crate::server::{Server, Setup};
use std::net::TcpListener;

fn demo(port: u16, health: &str) -> String {
    format!(
        "[apps.web]\ncommand = \"node server.js\"\ncwd = \"demo\"\nport = {port}\nproxy = \"off\"\nkill_timeout = \"1s\"\nhealth = {{ {health} }}\n"
    )
}

#[test]
fn a_port_held_by_a_stranger_is_named_with_pid_and_command_and_waited_for() {
    let port = free_port();
    let stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let server = Server::start(&demo(port, "start_timeout = \"1s\""));
    let us = std::process::id().to_string();
    let reason = server.wait_reason("web", "waiting");
    for said in [&port.to_string(), &us, "e2e"] {
        assert!(reason.contains(said), "{said}: {reason}");
    }
    let list = server.ctl(&["list"]).ok().said();
    assert!(list.contains(&us), "{list}");
    let refused = server.ctl(&["start", "web"]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.stderr.contains(&us), "{refused:#?}");
    assert_eq!(server.app("web")["restarts"], 0, "it is not started into the wall");
    drop(stranger);
    server.wait_status("web", "online");
    assert!(get(port, "/").is_some());
}

#[test]
fn a_port_taken_while_an_app_was_stopped_is_waited_for_by_start() {
    let port = free_port();
    let server = Server::start(&demo(port, "http = \"/api/health\""));
    server.wait_status("web", "online");
    server.ctl(&["stop", "web"]).ok();
    let stranger = TcpListener::bind(("0.0.0.0", port)).unwrap();
    let start = server.follow(&["start", "web"]);
    server.wait_status("web", "waiting");
    drop(stranger);
    start.end().ok();
    assert_eq!(server.status("web"), "online");
}

#[test]
fn an_app_that_falls_ill_is_restarted_and_one_bad_answer_is_forgiven() {
    let port = free_port();
    let server = Server::start(&demo(port, "http = \"/api/health\", interval = \"200ms\", unhealthy = 3, healthy = 1"));
    server.wait_status("web", "online");
    assert_eq!(server.app("web")["health"], "healthy");
    let pid = server.pid("web");
    get(port, "/sick").unwrap();
    server.wait_for_another("web", pid);
    let exit = &server.app("web")["last_exit"];
    assert_eq!(exit["reason"], "unhealthy", "{exit:#}");
    assert!(exit["detail"].as_str().unwrap().contains("500"), "{exit:#}");
    assert_eq!(server.app("web")["restarts"], 1);
}

#[test]
fn an_app_that_hangs_is_killed_and_restarted() {
    let port = free_port();
    let server =
        Server::start(&demo(port, "http = \"/api/health\", interval = \"200ms\", timeout = \"300ms\", unhealthy = 2"));
    server.wait_status("web", "online");
    let pid = server.pid("web");
    get(port, "/hang").unwrap();
    server.wait_for_another("web", pid);
    assert_eq!(server.app("web")["last_exit"]["reason"], "unhealthy");
    assert_eq!(server.events_of("web", "killed").len(), 1, "it cannot hear TERM");
}

#[test]
fn an_app_is_online_only_when_its_probe_says_so() {
    let port = free_port();
    let late =
        format!("setTimeout(() => require('net').createServer(c => c.end()).listen({port}), 700); console.log('up')");
    let server = Setup::default().file("late.js", &late).start(&format!(
        "[apps.tcp]\ncommand = \"node late.js\"\nport = {port}\nproxy = \"off\"\nhealth = {{ tcp = true, healthy = 1 }}\n\
         [apps.command]\ncommand = \"sleep 600\"\nenv = {{ FLAG = \"flag\" }}\n\
         health = {{ command = [\"sh\", \"-c\", \"echo probing; test -e $FLAG-$INFISSI_APP\"], interval = \"200ms\", timeout = \"5s\" }}"
    ));
    server.wait_status("tcp", "online");
    assert!(server.ctl(&["logs", "tcp", "--raw", "--no-follow"]).ok().stdout.contains("up"));
    server.wait_until("a failed probe", || !server.show("command")["probe_failure"].is_null());
    assert_eq!(server.status("command"), "starting");
    server.write("flag-command", "");
    server.wait_status("command", "online");
    let health = server.ctl(&["health", "command"]).ok();
    assert!(health.stdout.contains("healthy"), "{health:#?}");
    std::fs::remove_file(server.path("flag-command")).unwrap();
    assert_eq!(server.ctl(&["health", "command"]).code, 1);
    server.wait_until("it to be replaced", || server.app("command")["last_exit"]["reason"] == "unhealthy");
}

#[test]
fn an_http_probe_looks_at_status_body_and_sends_its_headers() {
    let port = free_port();
    let script = format!(
        "require('http').createServer((q, r) => {{ r.writeHead(q.headers['x-key'] === 'open' && q.url === '/ready?full=1' ? 204 : 500); r.end(); }}).listen({port}, '127.0.0.1')"
    );
    let server = Setup::default().file("app.js", &script).start(&format!(
        "[apps.web]\ncommand = \"node app.js\"\nport = {port}\nproxy = \"off\"\nbackoff = {{ initial = \"1h\", max = \"1h\" }}\n\
         health = {{ http = \"/ready?full=1\", expect_status = \"204\", headers = {{ X-Key = \"open\" }} }}"
    ));
    server.wait_status("web", "online");
    server.configure(&format!(
        "[apps.web]\ncommand = \"node app.js\"\nport = {port}\nproxy = \"off\"\nbackoff = {{ initial = \"1h\", max = \"1h\" }}\n\
         health = {{ http = \"/ready?full=1\", expect_status = \"204\", expect_body = \"all is well\", headers = {{ X-Key = \"open\" }}, interval = \"100ms\" }}"
    ));
    server.ctl(&["apply"]).ok();
    server.wait_until("the missing body to be noticed", || server.app("web")["last_exit"]["reason"] == "unhealthy");
}
