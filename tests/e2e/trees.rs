//! Stops that are done only when the last process is gone, with cgroups and without.

use crate::machine::{is_alive, is_root, marked, signal};
use crate::server::{Server, Setup};
use nix::sys::signal::Signal;
use std::fs;
use std::time::Duration;

/// A leader with one of each: a child, a grandchild that ignores TERM, a daemon by double fork, and one in a session
/// of its own that ignores TERM, too.
const STUBBORN: &str = "\
sleep 611 &
sh -c 'trap \"\" TERM; while :; do sleep 612; done' &
(setsid sleep 613 &)
setsid sh -c 'trap \"\" TERM HUP INT; while :; do sleep 614; done' >/dev/null 2>&1 &
wait
";

/// The same supervisor twice: ours, with cgroups where the machine has them, and that of a user without rights.
fn both_ways(story: impl Fn(Setup)) {
    story(Setup::default());
    if is_root() {
        story(Setup::default().by_nobody());
    }
}

/// Pids of the whole tree, once it has so many processes.
fn grown(server: &Server, name: &str, processes: usize) -> Vec<i32> {
    server.wait_until("the tree to grow", || server.tree(name).len() >= processes);
    server.tree(name).into_iter().map(|(pid, _)| pid).collect()
}

#[test]
fn a_stop_is_done_only_when_escapees_daemons_and_those_who_ignore_term_are_gone() {
    both_ways(|setup| {
        let server = setup
            .file("stubborn.sh", STUBBORN)
            .start("[apps.web]\ncommand = \"sh stubborn.sh\"\nkill_timeout = \"700ms\"");
        server.wait_status("web", "online");
        let tree = grown(&server, "web", 7);
        let before = crate::machine::now();
        server.ctl(&["stop", "web"]).ok();
        assert!(before.elapsed() >= Duration::from_millis(700), "those who ignore TERM had their time");
        for pid in tree {
            assert!(!is_alive(pid), "{pid} is left");
        }
        assert_eq!(marked(&server.state_id()), []);
        assert_eq!(server.status("web"), "stopped");
        assert_eq!(server.events_of("web", "killed").len(), 1);
    });
}

#[test]
fn what_a_dead_leader_leaves_is_ended_before_the_next_one_starts() {
    both_ways(|setup| {
        let server = setup
            .file("stubborn.sh", STUBBORN)
            .start("[apps.web]\ncommand = \"sh stubborn.sh\"\nkill_timeout = \"300ms\"");
        server.wait_status("web", "online");
        let leader = server.pid("web");
        let tree = grown(&server, "web", 7);
        signal(leader, Signal::SIGKILL);
        server.wait_for_another("web", leader);
        for pid in tree {
            assert!(!is_alive(pid), "{pid} is left over");
        }
    });
}

#[test]
fn an_orderly_app_is_stopped_at_once_and_a_leader_alone_is_not_waited_for() {
    both_ways(|setup| {
        let server = setup
            .start("[apps.web]\ncommand = [\"sh\", \"-c\", \"sleep 600 & sleep 601 & wait\"]\nkill_timeout = \"60s\"");
        server.wait_status("web", "online");
        grown(&server, "web", 3);
        let before = crate::machine::now();
        server.ctl(&["stop", "web"]).ok();
        assert!(before.elapsed() < Duration::from_secs(20), "TERM is enough for each of them");
        assert_eq!(server.app("web")["last_exit"]["reason"], "stop");
    });
}

const COUNT: &str = "process.on('SIGTERM', () => {
  require('fs').appendFileSync('terms', 'x');
  setTimeout(() => process.exit(143), 300);
});
require('http').createServer((request, response) => response.end('ok')).listen(process.env.PORT);
";

#[test]
fn node_below_npm_gets_exactly_one_term_and_its_143_is_a_clean_stop() {
    both_ways(|setup| {
        let port = crate::machine::free_port();
        let package = r#"{ "name": "count", "version": "1.0.0", "scripts": { "start": "node count.js" } }"#;
        let setup = setup.file("count/package.json", package).file("count/count.js", COUNT);
        let server = setup.start(&format!(
            "[apps.start]\ncommand = \"npm start\"\ncwd = \"count\"\nport = {port}\nproxy = \"off\"\nautostart = false\n\
             env = {{ npm_config_cache = \"npm-cache\" }}"
        ));
        for _ in 0..2 {
            server.ctl(&["start", "start"]).ok();
            server.ctl(&["stop", "start"]).ok();
            assert_eq!(fs::read_to_string(server.path("count/terms")).unwrap(), "x");
            fs::remove_file(server.path("count/terms")).unwrap();
        }
        let app = server.app("start");
        assert_eq!(
            (app["status"].as_str(), app["last_exit"]["reason"].as_str(), app["restarts"].as_u64()),
            (Some("stopped"), Some("stop"), Some(0))
        );
    });
}

#[test]
fn an_escapee_without_any_trace_of_its_app_is_found_by_its_cgroup() {
    let server = Setup::default()
        .file("flee.sh", "(setsid env -i sleep 615 >/dev/null 2>&1 </dev/null &)\nexec sleep 616\n")
        .start("[apps.web]\ncommand = \"sh flee.sh\"");
    server.wait_status("web", "online");
    if server.get("/v1/supervisor")["trees"] != "cgroup" {
        return crate::machine::skip("there are no cgroups to be made here");
    }
    let tree = grown(&server, "web", 2);
    server.ctl(&["stop", "web"]).ok();
    for pid in tree {
        assert!(!is_alive(pid), "{pid} is left");
    }
}

#[test]
fn signal_reaches_the_app_and_not_its_wrappers() {
    let script =
        "process.on('SIGUSR2', () => console.log('heard USR2')); setInterval(() => {}, 1000); console.log('listening')";
    let server = Setup::default()
        .file("hear.js", script)
        .start("[apps.web]\ncommand = [\"sh\", \"-c\", \"node hear.js; true\"]");
    let log = || server.ctl(&["logs", "web", "--raw", "--no-follow"]).ok().stdout;
    server.wait_until("it to listen", || log().contains("listening"));
    let pid = server.pid("web");
    server.ctl(&["signal", "web", "USR2"]).ok();
    server.wait_until("the signal", || log().contains("heard USR2"));
    assert_eq!(server.pid("web"), pid, "the shell above it lives on");
}
