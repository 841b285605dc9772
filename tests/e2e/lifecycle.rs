//! The supervisor's own life: orderly ends, kill -9 and what comes after, signals.

use crate::machine::{accepts, free_port, get, is_alive, is_root, marked, signal};
use crate::server::{Server, Setup};
use nix::sys::signal::Signal;
use std::fs;

fn node_app(name: &str, port: u16) -> String {
    format!(
        "[apps.{name}]\ncommand = \"npm start\"\ncwd = \"demo\"\nport = {port}\nproxy = \"off\"\nenv = {{ npm_config_cache = \"npm-cache\" }}\nhealth = {{ http = \"/api/health\" }}\n"
    )
}

#[test]
fn after_kill_minus_nine_a_new_supervisor_goes_on_with_what_runs() {
    let story = |setup: Setup| {
        let (one, two) = (free_port(), free_port());
        let apps = format!(
            "{}{}[apps.stopped]\ncommand = \"sleep 600\"\n[apps.worker]\ncommand = [\"sh\", \"-c\", \"(setsid sleep 621 &); trap '' TERM; while :; do sleep 622; done\"]\nkill_timeout = \"1s\"",
            node_app("one", one),
            node_app("two", two)
        );
        let mut server = setup.start(&apps);
        for name in ["one", "two", "worker", "stopped"] {
            server.wait_status(name, "online");
        }
        server.ctl(&["stop", "stopped"]).ok();
        let trees: Vec<(i32, String)> = ["one", "two", "worker"].iter().flat_map(|name| server.tree(name)).collect();
        assert!(trees.len() >= 8, "{trees:?}");
        let uptime = server.app("one")["uptime_ms"].as_u64();
        for _ in 0..2 {
            server.kill_supervisor();
            assert!(get(one, "/").is_some(), "the apps outlive it");
            server.run();
            let now: Vec<(i32, String)> = ["one", "two", "worker"].iter().flat_map(|name| server.tree(name)).collect();
            for (pid, command) in &trees {
                let stays = now.iter().any(|(other, _)| other == pid) || command.starts_with("sleep 622");
                assert!(stays, "{pid} ({command}) is missing among {now:?}");
            }
            for name in ["one", "two", "worker"] {
                let app = server.app(name);
                assert_eq!((&app["status"], &app["restarts"]), (&"online".into(), &0.into()), "{app:#}");
            }
            assert_eq!(server.status("stopped"), "stopped", "what was stopped stays stopped");
        }
        assert!(server.app("one")["uptime_ms"].as_u64() >= uptime);
        assert!(server.events_of("one", "adopted").len() == 1 && server.events_of("one", "started").is_empty());
        // What it says comes where it came before, and its end is seen with its status.
        assert!(get(one, "/log?text=after-the-kill").is_some());
        server.wait_until("its line", || server.log("one-out.log").contains("after-the-kill"));
        let pid = server.pid("two");
        signal(pid, Signal::SIGKILL);
        server.wait_for_another("two", pid);
        assert_eq!(server.app("two")["restarts"], 1);
        server.ctl(&["stop", "all"]).ok();
        for (pid, command) in &trees {
            assert!(!is_alive(*pid), "{pid} ({command}) is left");
        }
    };
    story(Setup::default());
    if is_root() {
        story(Setup::default().by_nobody());
    }
}

#[test]
fn kill_minus_nine_in_the_middle_of_a_start_or_a_stop_leaves_nothing() {
    let apps = "[apps.slow-to-stop]\ncommand = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 631; done\"]\nkill_timeout = \"300ms\"\n[apps.crashing]\ncommand = [\"sh\", \"-c\", \"sleep 632 & exit 1\"]\nbackoff = { initial = \"10ms\", max = \"10ms\" }";
    let mut server = Server::start(apps);
    server.wait_status("slow-to-stop", "online");
    server.ctl(&["stop", "slow-to-stop", "--no-wait"]).ok();
    server.wait_status("slow-to-stop", "stopping");
    server.wait_until("some crashes", || server.app("crashing")["restarts"].as_u64() > Some(2));
    let id = server.state_id();
    server.kill_supervisor();
    let old: Vec<i32> = marked(&id).into_iter().map(|(pid, _)| pid).collect();
    assert!(!old.is_empty());
    server.configure("");
    server.run();
    server.wait_until("all that was left to end", || old.iter().all(|pid| !is_alive(*pid)) && marked(&id).is_empty());
}

/// Writes its name when it is told to stop: the signal goes to what the shell waits for.
fn farewell(name: &str, more: &str) -> String {
    format!("[apps.{name}]\ncommand = [\"sh\", \"-c\", \"sleep 600; sleep 0.2; echo {name} >> order\"]\n{more}\n")
}

#[test]
fn an_orderly_shutdown_stops_apps_before_what_they_depend_on() {
    let apps = format!(
        "{}{}{}",
        farewell("db", ""),
        farewell("api", "depends_on = [\"db\"]"),
        farewell("web", "depends_on = [\"api\"]")
    );
    let mut server = Server::start(&apps);
    server.wait_until("all to be online", || ["db", "api", "web"].iter().all(|name| server.status(name) == "online"));
    let id = server.state_id();
    signal(server.supervisor_pid(), Signal::SIGTERM);
    assert_eq!(server.ended(), 0);
    assert_eq!(fs::read_to_string(server.path("order")).unwrap(), "web\napi\ndb\n");
    assert_eq!(marked(&id), []);
    assert!(!server.socket().exists());
    server.run();
    server.wait_status("web", "online");
}

#[test]
fn ctrl_c_and_the_shutdown_command_end_everything_cleanly() {
    for interrupt in [true, false] {
        let port = free_port();
        let mut server = Server::start(&node_app("web", port));
        server.wait_status("web", "online");
        let (pid, id) = (server.supervisor_pid(), server.state_id());
        if interrupt {
            signal(pid, Signal::SIGINT);
        } else {
            server.ctl(&["shutdown"]).ok();
        }
        assert_eq!(server.ended(), 0);
        assert_eq!(marked(&id), []);
        assert!(!accepts(port));
        let refused = server.ctl(&["list"]);
        assert_eq!(refused.code, 3, "{refused:#?}");
    }
}

#[test]
fn a_shutdown_is_answered_when_it_has_begun() {
    let mut server = Server::start(
        "[apps.web]\ncommand = [\"sh\", \"-c\", \"trap '' TERM; while [ ! -e enough ]; do sleep 0.05; done\"]\nkill_timeout = \"1m\"",
    );
    server.wait_status("web", "online");
    server.ctl(&["shutdown", "--no-wait"]).ok();
    server.wait_status("web", "stopping");
    server.write("enough", "");
    assert_eq!(server.ended(), 0);
}

#[test]
fn shutdown_timeout_caps_what_an_app_may_take() {
    let setup = Setup::default().keys("shutdown_timeout = \"1s\"");
    let mut server = setup.start(
        "[apps.web]\ncommand = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 641; done\"]\nkill_timeout = \"1h\"",
    );
    server.wait_status("web", "online");
    let id = server.state_id();
    signal(server.supervisor_pid(), Signal::SIGTERM);
    assert_eq!(server.ended(), 0);
    assert_eq!(marked(&id), []);
}

#[test]
fn sighup_applies_the_file_and_a_faulty_one_changes_nothing() {
    let server = Server::start("[apps.web]\ncommand = \"sleep 600\"");
    server.wait_status("web", "online");
    let pid = server.pid("web");
    server.configure("[apps.web]\ncommand = \"sleep 600\"\n[apps.new]\ncommand = \"sleep 600\"");
    signal(server.supervisor_pid(), Signal::SIGHUP);
    server.wait_status("new", "online");
    server.configure("[apps.web]\ncommand = 7");
    signal(server.supervisor_pid(), Signal::SIGHUP);
    server.wait_until("the mistake to be told", || server.own_log().contains("apps.web.command"));
    assert_eq!((server.pid("web"), server.status("new").as_str()), (pid, "online"));
}

#[test]
fn a_damaged_state_file_is_set_aside_and_the_apps_start_all_the_same() {
    let mut server = Server::start("[apps.web]\ncommand = \"sleep 600\"");
    server.wait_status("web", "online");
    server.ctl(&["shutdown"]).ok();
    assert_eq!(server.ended(), 0);
    for damage in ["", "{\"version\": 1, \"id\": ", "{\"version\": 99, \"id\": \"x\", \"desired\": {}}"] {
        server.write("state/state.json", damage);
        server.run();
        server.wait_status("web", "online");
        let list = server.ctl(&["list"]).ok();
        assert!(list.said().contains("state.json"), "{list:#?}");
        server.ctl(&["shutdown"]).ok();
        assert_eq!(server.ended(), 0);
    }
}
