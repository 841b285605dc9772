//! Answers that go on, and those who ask for many and read slowly.

use crate::machine::{Program, free_port, get, is_root};
use crate::server::{NOBODY, Server, Setup};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// More than fits between the supervisor and a client that does not read.
const LINES: usize = 60_000;
/// Readers of one user at a time.
const PER_USER: usize = 8;

/// An app that has written `LINES` lines.
fn chatty(setup: Setup) -> Server {
    let app = format!("[apps.web]\ncommand = [\"sh\", \"-c\", \"seq -f %0100.0f 1 {LINES}; exec sleep 600\"]");
    let server = setup.start(&app);
    server.wait_until("all lines to be in the file", || server.log("web-out.log").lines().count() == LINES);
    server
}

fn ask(server: &Server, path: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    // Of the version whose answers come in one piece and end with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    BufReader::new(stream)
}

/// The status of an answer whose body is left unread.
fn status(answer: &mut BufReader<UnixStream>) -> u16 {
    let mut line = String::new();
    answer.read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The supervisor's threads that search through files.
fn readers(server: &Server) -> usize {
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.supervisor_pid())).unwrap();
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "log-reader").count()
}

#[test]
fn those_who_ask_for_many_lines_and_do_not_read_them_keep_nobody_out() {
    if !is_root() {
        return;
    }
    let server = chatty(Setup::default().keys("control = { group = \"nogroup\" }"));
    let all = format!("/v1/logs?lines={LINES}");
    let mut paused: Vec<_> = (0..PER_USER).map(|_| ask(&server, &all)).collect();
    assert!(paused.iter_mut().all(|paused| status(paused) == 200));
    // One more of the same user is told why not; others have their own.
    let mut refused = ask(&server, "/v1/logs");
    assert_eq!(status(&mut refused), 503);
    let mut said = String::new();
    refused.read_to_string(&mut said).unwrap();
    assert!(said.contains("overloaded") && said.contains("try again"), "{said}");
    let group = nix::unistd::Group::from_name("nogroup").unwrap().unwrap().gid.as_raw();
    let other = server.ctl_as(NOBODY, &[group], &["logs", "-n", "3"]).ok();
    assert_eq!(other.stdout.lines().count(), 3, "{other:#?}");
    assert_eq!(readers(&server), 0, "a thread waits for a client");
    // Whoever goes on reading has lost nothing.
    let mut body = String::new();
    paused.remove(0).read_to_string(&mut body).unwrap();
    assert_eq!(body.lines().filter(|line| line.starts_with('{')).count(), LINES);
    drop(paused);
    server.wait_until("room again", || status(&mut ask(&server, "/v1/logs")) == 200);
}

#[test]
fn the_user_of_an_app_sees_what_happens_to_it_and_nothing_else() {
    if !is_root() {
        return;
    }
    let server = Server::start(
        "[apps.theirs]\ncommand = \"sleep 600\"\nuser = \"nobody\"\n[apps.web]\ncommand = \"sleep 600\"\nuser = \"root\"",
    );
    server.wait_status("theirs", "online");
    server.wait_status("web", "online");
    let events = server.ctl_as(NOBODY, &[], &["--json", "events"]).ok().json();
    let events = events.as_array().unwrap();
    assert!(events.iter().any(|event| event["kind"] == "online"), "{events:#?}");
    assert!(events.iter().all(|event| event["app"] == "theirs"), "{events:#?}");
    // What is yet to happen is kept apart in the same way.
    let mut following = server.ctl_command_as(NOBODY, &[], &["--json", "events", "-f"]);
    let following = Program::start(&mut following);
    server.wait_until("what happened to be told", || following.stdout().contains("online"));
    server.ctl(&["restart", "web"]).ok();
    server.ctl(&["restart", "theirs"]).ok();
    server.wait_until("the restart to be told", || following.stdout().matches("\"online\"").count() == 2);
    assert!(!following.stdout().contains("\"web\""), "{}", following.stdout());
    // To whom nothing belongs, nothing is told.
    let refused = server.ctl_as(1, &[], &["events"]);
    assert_eq!(refused.code, 5, "{refused:#?}");
    assert!(refused.stderr.contains("may not look at the events"), "{refused:#?}");
}

#[test]
fn figures_are_for_those_who_ask_in_time() {
    let port = free_port();
    let keys = format!("metrics = \"127.0.0.1:{port}\"");
    let server = Setup::default().keys(&keys).start("[apps.web]\ncommand = \"sleep 600\"");
    server.wait_status("web", "online");
    let (status, text) = get(port, "/metrics").unwrap();
    assert_eq!(status, 200);
    assert!(text.lines().any(|line| line == "infissi_app_online{app=\"web\"} 1"), "{text}");
    let described = text.lines().filter(|line| !line.starts_with('#'));
    assert!(described.clone().count() > 5 && described.clone().all(|line| line.starts_with("infissi_")), "{text}");
    assert_eq!(get(port, "/v1/apps").unwrap().0, 404, "no more than the figures is told to anybody");
    let half: Vec<TcpStream> = (0..500)
        .map(|_| {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            // Beyond those that may wait, they are turned away.
            let _turned_away = stream.write_all(b"GET /metrics HTTP/1.1\r\nHo");
            stream
        })
        .collect();
    let open = || std::fs::read_dir(format!("/proc/{}/fd", server.supervisor_pid())).unwrap().count();
    server.wait_until("most to be turned away", || open() < 100);
    server.wait_until("the others to be given up", || get(port, "/metrics").is_some_and(|(status, _)| status == 200));
    drop(half);
}
