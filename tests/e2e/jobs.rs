//! Dependencies, jobs, and what follows an app's own end.

use crate::server::{Server, Setup};

const SLEEPER: &str = "command = \"sleep 600\"";

#[test]
fn an_app_waits_for_what_it_depends_on_to_be_ready() {
    let server = Server::start(&format!(
        "[apps.web]\n{SLEEPER}\ndepends_on = [\"db\"]\n[apps.db]\n{SLEEPER}\nhealth = {{ command = \"test -e ready\", interval = \"200ms\" }}"
    ));
    assert!(server.wait_reason("web", "waiting").contains("db"));
    server.wait_until("a failed probe", || !server.show("db")["probe_failure"].is_null());
    assert_eq!((server.status("db").as_str(), server.status("web").as_str()), ("starting", "waiting"));
    server.write("ready", "");
    server.wait_status("web", "online");
    assert_eq!(server.status("db"), "online");
}

#[test]
fn a_start_brings_up_what_it_needs_and_nothing_else() {
    let server = Server::start(&format!(
        "[defaults]\nautostart = false\n[apps.web]\n{SLEEPER}\ndepends_on = [\"api\"]\n[apps.api]\n{SLEEPER}\ndepends_on = [\"db\"]\n[apps.db]\n{SLEEPER}\n[apps.other]\n{SLEEPER}"
    ));
    assert_eq!(server.status("web"), "stopped");
    server.ctl(&["start", "web"]).ok();
    let statuses = ["web", "api", "db", "other"].map(|name| server.status(name));
    assert_eq!(statuses, ["online", "online", "online", "stopped"]);
    let started: Vec<String> = server
        .events()
        .iter()
        .filter(|event| event["kind"] == "started")
        .map(|event| event["app"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(started, ["db", "api", "web"]);
}

#[test]
fn a_job_waits_for_its_time_runs_when_asked_and_is_done_with_zero() {
    let setup = Setup::default().file("job.sh", "echo run >> runs; cat fails 2>/dev/null && exit 3; echo done");
    let server =
        setup.start("[apps.job]\ncommand = \"sh job.sh\"\nschedule = \"0 3 1 1 *\"\ntimezone = \"Europe/Kyiv\"");
    server.wait_status("job", "waiting");
    let next = server.app("job")["next_at"].as_str().unwrap().to_owned();
    assert!(next.contains("-01-01T01:00:00"), "three o'clock in Kyiv: {next}");
    let runs = || server.lines_of("runs");
    assert_eq!(runs(), 0);
    server.ctl(&["restart", "job"]).ok();
    server.wait_until("it to be done", || server.status("job") == "waiting" && runs() == 1);
    let app = server.app("job");
    assert_eq!((app["last_exit"]["code"].as_i64(), app["restarts"].as_u64()), (Some(0), Some(0)), "{app:#}");

    server.write("fails", "");
    // That it failed may be known before the answer is given.
    server.ctl(&["restart", "job"]);
    server.wait_until("it to have failed", || server.app("job")["last_exit"]["code"] == 3);
    server.wait_status("job", "waiting");
    assert_eq!(runs(), 2, "a failed job waits for its next time");
}

#[test]
fn a_job_over_its_timeout_is_ended() {
    let server = Server::start("[apps.job]\ncommand = \"sleep 600\"\nschedule = \"0 3 1 1 *\"\ntimeout = \"500ms\"");
    server.wait_status("job", "waiting");
    server.ctl(&["restart", "job", "--no-wait"]).ok();
    server.wait_until("it to be ended", || !server.app("job")["last_exit"].is_null());
    let app = server.app("job");
    assert!(app["last_exit"]["detail"].as_str().unwrap().contains("timeout"), "{app:#}");
    server.wait_status("job", "waiting");
}

#[test]
fn what_may_end_rests_and_what_may_not_is_restarted() {
    let soon = "backoff = { initial = \"10ms\", max = \"50ms\" }";
    let server = Server::start(&format!(
        "[defaults]\n{soon}\n[apps.on-failure-0]\ncommand = \"true\"\nautorestart = \"on-failure\"\n[apps.on-failure-1]\ncommand = \"false\"\nautorestart = \"on-failure\"\n\
         [apps.never-1]\ncommand = \"false\"\nautorestart = false\n[apps.always-0]\ncommand = \"true\"\n[apps.seven]\ncommand = [\"sh\", \"-c\", \"exit 7\"]\nstop_exit_codes = [7]"
    ));
    for (name, status) in [("on-failure-0", "stopped"), ("never-1", "errored"), ("seven", "stopped")] {
        server.wait_status(name, status);
        assert_eq!(server.app(name)["restarts"], 0, "{name}");
    }
    for name in ["on-failure-1", "always-0"] {
        server.wait_until("restarts", || server.app(name)["restarts"].as_u64() > Some(2));
    }
}
