//! An app behind the proxy: its public and its private port, the worker's life, releases.

use crate::machine::{accepts, free_port, get, is_alive, is_root, signal};
use crate::server::{NOBODY, Server, Setup};
use infissi::linux::proc;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{chown, symlink};
use std::time::Duration;

/// The demo app behind the proxy, without npm for the sake of time.
fn web(port: u16, more: &str) -> String {
    format!(
        "[apps.web]\ncommand = \"node server.js\"\ncwd = \"demo\"\nport = {port}\nhealth = {{ http = \"/api/health\" }}\n{more}\n"
    )
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn an_app_listens_on_a_private_port_and_is_reached_on_the_public_one() {
    let port = free_port();
    let server = Server::start(&web(port, "").replace("server.js", "server.js --port {port} --hostname {host}"));
    server.wait_status("web", "online");
    let (status, page) = get(port, "/").unwrap();
    assert!(status == 200 && page.contains("<title>web</title>"), "{page}");
    let app = server.app("web");
    let private = number(&app["instances"][0]["port"]);
    assert_eq!((number(&app["port"]), app["instances"][0]["in_flight"].as_u64()), (u64::from(port), Some(0)));
    let (_, leader) = server.tree("web").remove(0);
    assert!(leader.ends_with(&format!("--port {private} --hostname 127.0.0.1")), "{leader}");
    server.ctl(&["stop", "web"]).ok();
    assert!(!accepts(port), "stop closes the public port");
    server.ctl(&["start", "web"]).ok();
    assert_ne!(number(&server.app("web")["instances"][0]["port"]), private, "a port rests before it is given again");
}

#[test]
fn what_goes_through_the_proxy_is_counted_and_no_worker_dies_with_its_counts() {
    let port = free_port();
    let server = Server::start(&web(port, ""));
    server.wait_status("web", "online");
    for path in ["/", "/", "/nowhere"] {
        get(port, path).unwrap();
    }
    let answers = |class: usize| server.app("web")["traffic"]["answers"][class].as_u64().unwrap_or(0);
    server.wait_until("three answers to be counted", || (answers(1), answers(3)) == (2, 1));
    let first = server.worker().unwrap();
    assert!(number(&server.get("/v1/supervisor")["worker"]["memory_bytes"]) > 0);
    signal(first, Signal::SIGKILL);
    assert!(get(port, "/").is_some(), "whoever comes meanwhile waits");
    server.wait_until("the answer of another worker to be counted", || answers(1) == 3);
    let second = server.worker().unwrap();
    assert!(first != second && !is_alive(first));
    let told = server.events().iter().any(|event| {
        event["kind"] == "proxy"
            && event["message"] == format!("the proxy worker, pid {first}, ended (SIGKILL); another one takes over")
    });
    assert!(told, "{:#?}", server.events());
    assert!(server.has_warned(&format!("the proxy worker, pid {first}, ended (SIGKILL)")), "{}", server.own_log());
    let figures = server.ask("GET", "/metrics", b"").body;
    for line in [
        "infissi_requests_total{app=\"web\",class=\"2xx\"} 3",
        "infissi_requests_total{app=\"web\",class=\"4xx\"} 1",
        "infissi_request_duration_seconds_count{app=\"web\"} 4",
        "infissi_proxy_worker_restarts_total 1",
    ] {
        assert!(figures.lines().any(|found| found == line), "{line} is missing in\n{figures}");
    }
}

#[test]
fn the_worker_serves_on_without_a_supervisor_and_obeys_the_next_one() {
    let story = |setup: Setup| {
        let port = free_port();
        let mut server = setup.start(&web(port, ""));
        server.wait_status("web", "online");
        let worker = server.worker().unwrap();
        server.kill_supervisor();
        assert_eq!(get(port, "/").unwrap().0, 200, "worker and app outlive it");
        server.run();
        assert_eq!(server.worker(), Some(worker));
        assert_eq!(get(port, "/").unwrap().0, 200, "held until there is a new instance, if need be");
        server.wait_status("web", "online");
        server.ctl(&["restart", "web"]).ok();
        assert_eq!(get(port, "/").unwrap().0, 200);
        assert_eq!(server.worker(), Some(worker));
        assert_eq!(server.app("web")["swaps"], 1);
        server.configure("");
        server.ctl(&["apply"]).ok();
        server.wait_until("the public port to be closed", || !accepts(port));
    };
    story(Setup::default());
    if is_root() {
        story(Setup::default().by_nobody());
    }
}

#[test]
fn a_worker_that_is_frozen_is_replaced_and_what_is_reported_done_is_so() {
    let port = free_port();
    let mut server = Server::start(&web(port, ""));
    server.wait_status("web", "online");
    let frozen = |server: &Server| {
        let worker = server.worker().unwrap();
        signal(worker, Signal::SIGSTOP);
        server.ctl(&["restart", "web"]).ok();
        assert!(!is_alive(worker), "the drain of the old slot would have waited for it");
        assert_eq!(get(port, "/").unwrap().0, 200);
    };
    frozen(&server);
    // One that is nobody's child is ended as well.
    server.kill_supervisor();
    server.run();
    server.wait_status("web", "online");
    frozen(&server);
    let told = |event: &Value| event["message"] == "the proxy worker obeys no order any more: it is killed";
    assert!(server.events().iter().any(told), "{:#?}", server.events());
}

#[test]
fn clients_of_an_app_that_leaves_the_proxy_are_not_kept_from_it() {
    let port = free_port();
    let server = Server::start(&web(port, ""));
    server.wait_status("web", "online");
    let mut kept = TcpStream::connect(("127.0.0.1", port)).unwrap();
    kept.write_all(b"GET /api/health HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
    assert!(kept.read(&mut [0; 1024]).unwrap() > 0);
    server.configure(&web(port, "proxy = \"off\""));
    server.ctl(&["apply"]).ok();
    kept.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert!(kept.read_to_end(&mut Vec::new()).is_ok(), "it would be told for ever that nobody is there");
    assert_eq!(get(port, "/").unwrap().0, 200);
}

#[test]
fn roots_worker_has_no_rights() {
    if !is_root() {
        return;
    }
    let server = Server::start(&web(free_port(), ""));
    server.wait_status("web", "online");
    let worker = server.worker().unwrap();
    assert_eq!(proc::uid(worker), Some(NOBODY));
    let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    assert!(status.contains("\nCapEff:\t0000000000000000\n") && status.contains("\nNoNewPrivs:\t1\n"), "{status}");
}

#[test]
fn a_held_public_port_is_told_and_taken_once_it_is_free() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let server = Server::start(&web(port, ""));
    let reason = server.wait_reason("web", "waiting");
    assert!(reason.starts_with(&format!("port {port} is held by pid {} (", std::process::id())), "{reason}");
    server.wait_until("the instance to be well on its private port", || server.app("web")["health"] == "healthy");
    drop(holder);
    server.wait_status("web", "online");
    assert_eq!(get(port, "/").unwrap().0, 200);
}

#[test]
fn a_port_of_roots_is_told_by_whoever_may_not_have_it_in_words() {
    if !is_root() {
        return;
    }
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if start.trim() == "0" {
        return crate::machine::skip("here anyone may have any port");
    }
    let server = Setup::default().by_nobody().start(&web(81, ""));
    let reason = server.wait_reason("web", "waiting");
    assert!(reason.starts_with("port 81 is for root: "), "{reason}");
    server.wait_until("a warning of it", || server.has_warned("port 81 is for root: "));
}

#[test]
fn an_app_that_names_its_own_port_is_told_so() {
    let (public, own) = (free_port(), free_port());
    let command = format!("command = [\"sh\", \"-c\", \"PORT={own} exec node server.js\"]");
    let server = Server::start(&web(public, "").replace("command = \"node server.js\"", &command));
    let failure = server.wait_for("its probe to say so", || {
        server.show("web")["probe_failure"].as_str().filter(|said| said.starts_with("listens on")).map(str::to_owned)
    });
    assert!(failure.starts_with(&format!("listens on port {own} instead of ")), "{failure}");
    assert!(failure.ends_with(": does its start script name a port? use --port {port} or $PORT"), "{failure}");
}

#[test]
fn no_more_private_ports_are_an_answer() {
    let four = |first: u16| -> Option<Vec<TcpListener>> {
        (first..first + 4).map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect()
    };
    let (first, _held) = std::iter::repeat_with(free_port).find_map(|first| Some((first, four(first)?))).unwrap();
    let range = format!("{first}-{}", first + 3);
    let server = Setup::default().keys(&format!("port_range = \"{range}\"")).start(&web(free_port(), ""));
    let reason = server.wait_reason("web", "errored");
    assert_eq!(reason, format!("every port of port_range ({range}) is taken; make it larger in [supervisor]"));
}

/// One that says what it does and never listens.
fn hanging(port: u16) -> String {
    let command = r#"["sh", "-c", "echo compiling for ever; exec sleep 600"]"#;
    web(port, "").replace("\"node server.js\"", command)
}

#[test]
fn health_is_asked_of_the_slot_that_has_the_traffic_and_of_no_other() {
    let port = free_port();
    let server = Server::start(&web(port, ""));
    server.wait_status("web", "online");
    server.configure(&hanging(port));
    let apply = server.follow(&["apply"]);
    server.wait_until("two slots", || server.app("web")["instances"][1]["pid"].is_number());
    server.ctl(&["health", "web"]).ok();
    server.ctl(&["stop", "web"]).ok();
    assert_eq!(apply.end().code, 5, "stopped meanwhile");
    assert_eq!(server.ctl(&["health", "web"]).code, 1);
}

#[test]
fn an_apply_whose_new_slot_fails_says_what_it_wrote_last() {
    let port = free_port();
    let server = Server::start(&web(port, ""));
    server.wait_status("web", "online");
    server.configure(&hanging(port).replace("api/health\"", "api/health\", start_timeout = \"1s\""));
    let output = server.ctl(&["apply"]);
    assert_eq!(output.code, 1, "{output:#?}");
    assert!(output.said().contains("compiling for ever"), "{output:#?}");
    assert_eq!(get(port, "/").unwrap().0, 200);
}

/// `releases/ID` with the demo app in it.
fn release(server: &Server, id: &str) -> String {
    let dir = server.path("site/releases").join(id);
    fs::create_dir_all(&dir).unwrap();
    for file in fs::read_dir(server.path("demo")).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), dir.join(file.file_name())).unwrap();
    }
    dir.canonicalize().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_release_is_activated_staged_and_swapped_and_what_is_none_is_refused() {
    let port = free_port();
    // Else whoever owns a release is the user of the app.
    let user = if is_root() { "user = \"root\"" } else { "" };
    let app =
        web(port, &format!("{user}\ndeploy = {{ root = \"site\", warm = \"300ms\" }}")).replace("cwd = \"demo\"\n", "");
    let mut server = Setup::default().prepare(&app);
    let (one, two) = (release(&server, "v1.0"), release(&server, "two"));
    symlink("releases/v1.0", server.path("site/live")).unwrap();
    server.run();
    let post = |path: &str, body: &str| {
        let answer = server.ask("POST", path, body.as_bytes());
        (answer.status, answer.body)
    };
    let activate = |body: &str| post("/v1/apps/web/activate?wait=true", body);
    let dir = |dir: &str| format!("{{\"release_dir\":{dir:?}}}");
    assert_eq!(activate(&dir(&one)).0, 200);
    assert_eq!((server.app("web")["release"].as_str(), server.status("web").as_str()), (Some("v1.0"), "online"));
    let page = get(port, "/").unwrap().1;
    assert!(page.contains("v1.0"), "{page}");
    let environment = server.show("web")["env_names"].to_string();
    assert!(environment.contains("INFISSI_RELEASE") && environment.contains("NEXT_DEPLOYMENT_ID"), "{environment}");
    let staged = activate(&format!("{{\"release_dir\":{two:?},\"release_id\":\"second\",\"stage\":true}}"));
    assert_eq!(staged.0, 200, "{}", staged.1);
    assert!(get(port, "/").unwrap().1.contains("v1.0"), "staged is not active");
    assert_eq!(post("/v1/apps/web/swap?wait=true", "").0, 200);
    assert!(get(port, "/").unwrap().1.contains("second"));
    symlink("two", server.path("site/releases/link")).unwrap();
    let releases = server.path("site/releases").canonicalize().unwrap().display().to_string();
    for (wrong, says) in [
        (format!("{releases}/link"), format!("{releases}/link is a link")),
        (format!("{releases}/none"), format!("there is no {releases}/none")),
        ("/etc".to_owned(), "/etc is no release of web".to_owned()),
        (format!("{releases}/../../demo"), "is no release of web".to_owned()),
        (format!("{releases}/two/.."), "is no release of web".to_owned()),
    ] {
        let (status, answer) = activate(&dir(&wrong));
        assert!(
            status == 400 && answer.contains(&says) && answer.contains("\"hint\":\""),
            "{wrong}: {status} {answer}"
        );
    }
    let (status, answer) = activate(&format!("{{\"release_dir\":{two:?},\"release_id\":\"../x\"}}"));
    assert!(status == 400 && answer.contains("cannot be the id of a release"), "{answer}");
    if is_root() {
        chown(server.path("site/releases/two"), Some(NOBODY), None).unwrap();
        let (status, answer) = activate(&dir(&two));
        assert!(status == 400, "somebody else's directory: {answer}");
    }
}
