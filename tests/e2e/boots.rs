//! A machine that went down: what comes up again, and who is a stranger by then.

use crate::machine::{command, free_port, is_alive, marked, signal};
use crate::server::{Server, Setup};
use infissi::linux::proc;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;

/// Everything ends at once.
fn power_cut(server: &mut Server) {
    let id = server.state_id();
    let worker = server.worker();
    server.kill_supervisor();
    let left = || marked(&id).into_iter().map(|(pid, _)| pid);
    left().chain(worker).for_each(|pid| signal(pid, Signal::SIGKILL));
    server.wait_until("all to be gone", || left().chain(worker).all(|pid| !is_alive(pid)));
}

#[test]
fn after_a_power_cut_what_was_to_run_does_and_the_active_release_serves() {
    let apps = format!(
        "[apps.web]\ncommand = \"node server.js\"\nport = {}\n\
         health = {{ http = \"/api/health\", interval = \"500ms\", healthy = 1 }}\n\
         deploy = {{ root = \"site\", min_free = \"1M\", steps = [], warm = \"0s\" }}\n\
         [apps.halted]\ncommand = \"sleep 600\"\n\
         [apps.manual]\ncommand = \"sleep 600\"\nautostart = false\n\
         [apps.begun]\ncommand = \"sleep 600\"\nautostart = false\n",
        free_port()
    );
    let mut server = Setup::default().prepare(&apps);
    fs::create_dir(server.path("site")).unwrap();
    server.run();
    for id in ["one", "two"] {
        server.ctl(&["deploy", "web", "--from", "demo", "--id", id]).ok();
    }
    server.ctl(&["rollback", "web"]).ok();
    server.ctl(&["stop", "halted"]).ok();
    server.ctl(&["start", "begun"]).ok();
    power_cut(&mut server);
    fs::remove_dir_all(server.path("run")).unwrap();

    server.run();
    for name in ["web", "begun"] {
        server.wait_status(name, "online");
    }
    assert_eq!(server.app("web")["release"], "one");
    let cwd = fs::read_link(format!("/proc/{}/cwd", server.pid("web"))).unwrap();
    assert!(cwd.ends_with("site/releases/one"), "{}", cwd.display());
    for name in ["halted", "manual"] {
        assert_eq!(server.status(name), "stopped", "{name}");
    }
    assert!(server.events_of("web", "adopted").is_empty());
}

#[test]
fn whoever_has_the_pid_of_one_that_is_gone_is_neither_gone_on_with_nor_touched() {
    for in_another_boot in [false, true] {
        let mut server = Server::start("[apps.web]\ncommand = \"sleep 600\"");
        server.wait_status("web", "online");
        power_cut(&mut server);
        let mut stranger = command("sleep").arg("601").spawn().unwrap();
        let pid = i32::try_from(stranger.id()).unwrap();
        let record = fs::read_dir(server.path("run/runs")).unwrap().next().unwrap().unwrap().path();
        let mut told: Value = serde_json::from_slice(&fs::read(&record).unwrap()).unwrap();
        (told["what"]["pid"], told["what"]["cgroup"]) = (pid.into(), Value::Null);
        if in_another_boot {
            // There it may even have begun at the same time.
            told["boot"] = json!("another");
            told["what"]["start_time"] = proc::stat(pid).unwrap().id.start_time.into();
        }
        fs::write(&record, told.to_string()).unwrap();

        server.run();
        server.wait_status("web", "online");
        assert_ne!(server.pid("web"), pid);
        server.ctl(&["stop", "web"]).ok();
        assert!(is_alive(pid), "in another boot: {in_another_boot}");
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
