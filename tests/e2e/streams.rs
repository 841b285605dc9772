//! Answers that go on, and those who ask for many and read slowly.

use crate::machine::{Program, free_port, get, is_root};
use crate::server::{NOBODY, Server, Setup};
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};

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
