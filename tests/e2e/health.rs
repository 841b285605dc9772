//! What `health` answers, and that its probes leave nothing behind.

use crate::machine::{free_port, signal};
use crate::server::{Server, Setup};
use infissi::linux::proc::{ProcTable, command};
use nix::sys::signal::Signal;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

/// An app with this script as its probe, asked at its start and when told to.
fn with_probe(script: &str) -> Server {
    let server = Setup::default().file("probe.sh", script).start(
        "[apps.web]\ncommand = \"sleep 600\"\n\
         health = { command = \"sh probe.sh\", interval = \"1h\", timeout = \"60s\", healthy = 1 }",
    );
    server.wait_status("web", "online");
    server
}

#[test]
fn those_who_ask_at_the_same_time_get_one_good_answer() {
    let server = with_probe("echo asked >> asked; sleep 0.3");
    for _ in 0..3 {
        let before = server.lines_of("asked");
        let asking: Vec<_> = (0..5).map(|_| server.follow(&["health", "web"])).collect();
        for ctl in asking {
            ctl.end().ok();
        }
        let asked = server.lines_of("asked") - before;
        assert!((1..=5).contains(&asked), "{asked}");
    }
    assert_eq!(server.app("web")["restarts"], 0);
}

#[test]
fn a_probe_whose_asker_went_away_is_waited_for_and_reaped() {
    let server = with_probe("echo asked >> asked; while [ -e hold ]; do sleep 0.05; done");
    server.write("hold", "");
    let before = server.lines_of("asked");
    let mut asker = UnixStream::connect(server.socket()).unwrap();
    write!(asker, "POST /v1/apps/web/probe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
    server.wait_until("the probe to run", || server.lines_of("asked") > before);
    drop(asker);
    // It has read on, and seen the end of that connection.
    for _ in 0..5 {
        assert_eq!(server.status("web"), "online");
    }
    fs::remove_file(server.path("hold")).unwrap();

    let app = server.pid("web");
    let others = || {
        let table = ProcTable::new();
        let children = table.children(server.supervisor_pid()).filter(|child| child.id.pid != app);
        children.map(|child| command(child.id.pid, 80)).collect::<Vec<_>>()
    };
    server.wait_until("the app to be the only child", || others().is_empty());
    server.ctl(&["health", "web"]).ok();
}

#[test]
fn a_probe_may_say_more_than_a_pipe_holds_and_is_told_by_its_last_line() {
    let server = with_probe("test -e ill || exit 0; yes | head -c 3000000; echo the database is gone >&2; exit 3");
    server.write("ill", "");
    let health = server.ctl(&["health", "web"]);
    assert_eq!(health.code, 1, "{health:#?}");
    assert!(health.stdout.contains("exit code 3: the database is gone"), "{health:#?}");
}

#[test]
fn an_app_is_asked_on_the_one_address_that_it_listens_on() {
    let port = free_port();
    let script = format!(
        "const listen = host => require('http').createServer((q, r) => r.end('ok')).listen({port}, host);\n\
         const first = listen('127.0.0.2');\n\
         process.on('SIGUSR2', () => first.close(() => listen('127.0.0.3')));"
    );
    let server = Setup::default().file("app.js", &script).start(&format!(
        "[apps.web]\ncommand = \"node app.js\"\nport = {port}\nproxy = \"off\"\nhealth = {{ http = \"/\", interval = \"200ms\" }}"
    ));
    server.wait_status("web", "online");
    for _ in 0..3 {
        server.ctl(&["health", "web"]).ok();
    }
    signal(server.pid("web"), Signal::SIGUSR2);
    server.wait_until("it to listen elsewhere", || TcpStream::connect(("127.0.0.3", port)).is_ok());
    server.ctl(&["health", "web"]).ok();
    let app = server.app("web");
    assert_eq!((&app["health"], &app["restarts"]), (&"healthy".into(), &0.into()), "{app:#}");
}

#[test]
fn a_job_is_as_healthy_as_its_last_run_and_a_worker_when_it_is_online() {
    let server = Server::start(
        "[apps.job]\ncommand = [\"sh\", \"-c\", \"exec test -e data\"]\nschedule = \"0 3 1 1 *\"\nautorestart = false\n\
         [apps.worker]\ncommand = \"sleep 600\"",
    );
    server.wait_status("job", "waiting");
    let health = server.ctl(&["health", "job"]);
    assert!(health.code == 1 && health.stdout.contains("unknown: it has not run yet"), "{health:#?}");

    server.write("data", "");
    server.ctl(&["restart", "job"]).ok();
    server.wait_until("it to be done", || server.app("job")["last_exit"]["code"] == 0);
    server.wait_status("job", "waiting");
    server.ctl(&["health", "job"]).ok();
    assert_eq!(server.app("job")["health"], "healthy");

    server.wait_status("worker", "online");
    server.ctl(&["health", "worker"]).ok();
    server.ctl(&["stop", "worker"]).ok();
    let health = server.ctl(&["health", "worker"]);
    assert!(health.code == 1 && health.stdout.contains("it is stopped"), "{health:#?}");
}
