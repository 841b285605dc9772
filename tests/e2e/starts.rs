//! How a supervisor starts and ends: whose directories, after which end, with which configuration.

use crate::machine::{SmallDisk, is_alive, is_root};
use crate::server::{Server, Setup};

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
