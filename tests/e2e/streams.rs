//! Answers that go on, and those who ask for many and read slowly.

use crate::machine::{eventually, is_root};
use crate::server::{NOBODY, Server, Setup};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
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
    assert!(eventually(|| status(&mut ask(&server, "/v1/logs")) == 200), "the paused ones are in the way for ever");
    // Whoever goes on reading has lost nothing silently.
    let mut body = String::new();
    paused.remove(0).read_to_string(&mut body).unwrap();
    let records: Vec<&str> = body.lines().skip_while(|line| !line.starts_with('{')).collect();
    let last: Value = serde_json::from_str(records.last().unwrap()).unwrap();
    let left_out = last["dropped"].as_u64().unwrap_or_else(|| panic!("{last}"));
    assert_eq!(records.len() - 1 + usize::try_from(left_out).unwrap(), LINES);
}
