//! How a supervisor starts and ends: whose directories, after which end, with which configuration.

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
