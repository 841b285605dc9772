//! How a supervisor starts and ends: whose directories, after which end, with which configuration.

use crate::machine::{SmallDisk, is_alive, is_root, signal};
use crate::server::{Server, Setup};
use nix::sys::signal::Signal;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;

const SLEEPER: &str = "[apps.web]\ncommand = \"sleep 600\"";

#[test]
fn two_configurations_with_one_runtime_directory_do_not_take_each_others_socket() {
    let first = Server::start(SLEEPER);
    first.wait_status("web", "online");
    let runtime_dir = format!("runtime_dir = \"{}\"", first.path("run").display());
    let second = Setup::default().keys(&runtime_dir).prepare(SLEEPER);
    let refused = second.supervisor(&[]);
    assert_eq!(refused.code, 1, "{refused:#?}");
    let pid = first.supervisor_pid();
    let expected = format!("another supervisor (pid {pid}) uses the runtime directory {}", first.path("run").display());
    assert!(refused.stderr.contains(&expected), "{refused:#?}");
    assert_eq!(first.status("web"), "online", "the first still answers");
}

#[test]
fn what_a_full_disk_kept_from_being_recorded_is_found_after_a_crash_all_the_same() {
    let Some(disk) = is_root().then(|| SmallDisk::mount(256 * 1024)).flatten() else { return };
    let mut server = Setup::default().keys(&format!("state_dir = \"{}\"", disk.path().display())).prepare(SLEEPER);
    disk.fill();
    server.run();
    server.wait_status("web", "online");
    let first = server.pid("web");
    assert!(!disk.path().join("state.json").metadata().is_ok_and(|state| state.len() > 0), "nothing was recorded");

    server.kill_supervisor();
    assert!(is_alive(first));
    disk.make_room();
    server.run();
    server.wait_status("web", "online");
    assert!(!is_alive(first), "the one of before is ended before another is started");
    assert_ne!(server.pid("web"), first);
}

#[test]
fn an_apply_whose_client_leaves_is_carried_out_all_the_same() {
    let server = Server::start(SLEEPER);
    server.wait_status("web", "online");
    let both = format!("{SLEEPER}\n[apps.other]\ncommand = \"sleep 601\"");
    server.configure(&both);
    let mut client = UnixStream::connect(server.socket()).unwrap();
    client.write_all(b"POST /v1/apply?wait=true HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").unwrap();
    drop(client);
    server.wait_status("other", "online");
    let told = || server.get("/v1/supervisor")["config"].clone();
    server.wait_until("the configuration to be the applied one", || told()["changed"] == false);
    assert!(fs::read_to_string(server.path("state/applied.json")).unwrap().contains("sleep 601"));
}

#[test]
fn an_apply_that_a_shutdown_refuses_is_not_what_the_next_supervisor_would_run() {
    let stubborn = "[apps.web]\ncommand = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 1; done\"]";
    let mut server = Server::start(&format!("{stubborn}\nkill_timeout = \"5s\""));
    server.wait_status("web", "online");
    let applied = fs::read_to_string(server.path("state/applied.json")).unwrap();
    signal(server.supervisor_pid(), Signal::SIGTERM);
    server.wait_status("web", "stopping");
    server.configure(SLEEPER);
    let refused = server.ctl(&["apply"]);
    assert_eq!(refused.code, 5, "{refused:#?}");
    assert!(refused.stderr.contains("shutting down"), "{refused:#?}");
    assert_eq!(fs::read_to_string(server.path("state/applied.json")).unwrap(), applied);
    assert_eq!(server.ended(), 0);
}
