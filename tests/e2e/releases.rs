//! What becomes of releases: a deploy that is called off, old ones that go, those that the app has written into.

use crate::machine::{free_port, is_root, signal};
use crate::server::{NOBODY, Server, Setup};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

/// A step that goes on until `site/go` is there.
const SLOW: &str =
    "steps = [\"sh -c 'touch ../../building; until test -e ../../go; do sleep 0.05; done'\"], warm = \"0s\"";

fn web(port: u16, deploy: &str) -> String {
    format!(
        "[apps.web]\ncommand = \"node server.js\"\nport = {port}\n\
         health = {{ http = \"/api/health\", interval = \"500ms\", healthy = 1 }}\n\
         deploy = {{ root = \"site\", min_free = \"1M\", {deploy} }}\n"
    )
}

fn site(deploy: &str, owner: Option<u32>) -> Server {
    let mut server = Setup::default().prepare(&web(free_port(), deploy));
    fs::create_dir(server.path("site")).unwrap();
    chown(server.path("site"), owner, owner).unwrap();
    server.run();
    server
}

fn of(server: &Server, dir: &str) -> Vec<String> {
    let entries = fs::read_dir(server.path(dir)).unwrap().map(Result::unwrap);
    let dirs = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = dirs.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_deploy_is_called_off_by_whoever_may_and_leaves_nothing() {
    let owner = is_root().then_some(NOBODY);
    let server = site(SLOW, owner);
    fs::set_permissions(server.path("demo"), fs::Permissions::from_mode(0o755)).unwrap();
    let idle = server.ctl(&["deploy", "web", "--abort"]).ok();
    assert!(idle.stdout.contains("no deploy is under way, and none was cut off"), "{idle:#?}");
    server.write("site/go", "");
    server.ctl(&["deploy", "web", "--from", "demo", "--id", "one"]).ok();
    fs::remove_file(server.path("site/go")).unwrap();

    let begin = |id: &str| {
        fs::remove_file(server.path("site/building")).unwrap();
        let deploy = server.follow(&["deploy", "web", "--from", "demo", "--id", id]);
        server.wait_until("the step to begin", || server.path("site/building").exists());
        deploy
    };
    let deploy = begin("two");
    if owner.is_some() {
        // Everybody may know who deploys, and nobody else can keep the lock.
        let lock = fs::metadata(server.path("site/deploy.lock")).unwrap();
        assert_eq!(lock.permissions().mode() & 0o777, 0o600);
        let other = server.ctl_as(2, &[], &["deploy", "web", "--abort"]);
        assert_eq!(other.code, 5, "{other:#?}");
    }
    let aborted = server.ctl(&["deploy", "web", "--abort"]).ok();
    for say in
        ["web is being deployed by ", "it is asked to end", "nothing of the release is left; release one serves on"]
    {
        assert!(aborted.stdout.contains(say), "{say}: {aborted:#?}");
    }
    assert_eq!(deploy.end().code, 130);
    assert_eq!((of(&server, "site/releases"), of(&server, "site/deploys").len()), (vec!["one".to_owned()], 1));

    let deploy = begin("three");
    signal(deploy.pid(), Signal::SIGSTOP);
    let aborting = server.follow(&["--json", "deploy", "web", "--abort"]);
    server.wait_until("it to be asked to end", || {
        let status = fs::read_to_string(format!("/proc/{}/status", deploy.pid())).unwrap();
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
        u64::from_str_radix(pending.trim(), 16).unwrap() & (1 << (libc::SIGINT - 1)) != 0
    });
    signal(aborting.pid(), Signal::SIGINT);
    let left = aborting.end();
    assert_eq!(left.code, 130, "{left:#?}");
    assert!(
        left.json()["error"]["message"].as_str().unwrap().starts_with("not waiting any longer: web is "),
        "{left:#?}"
    );
    signal(deploy.pid(), Signal::SIGKILL);
    assert_eq!(deploy.end().code, 137);
    let json = server.json(&["deploy", "web", "--abort"]);
    assert!(json["cleared"][0].as_str().unwrap().contains("three by "), "{json}");
    assert_eq!(of(&server, "site/releases"), ["one"]);
}

#[test]
fn a_release_that_is_being_started_is_called_off_and_one_that_serves_is_gone_back_from() {
    let server = site("steps = [], warm = \"60s\"", None);
    server.ctl(&["deploy", "web", "--from", "demo", "--id", "one", "--no-wait"]).ok();
    let text = fs::read_to_string(server.path("demo/server.js")).unwrap();
    server.write("demo/server.js", "setInterval(() => {}, 1000);");
    let deploy = server.follow(&["deploy", "web", "--from", "demo", "--id", "two"]);
    server.wait_until("it to be started", || server.app("web")["other"]["release"] == "two");
    let aborted = server.ctl(&["deploy", "web", "--abort"]).ok();
    assert!(
        aborted.stdout.contains("release two is called off before it had the traffic; release one serves on"),
        "{aborted:#?}"
    );
    let failed = deploy.end();
    assert!(failed.code == 1 && failed.stderr.contains("was called off by "), "{failed:#?}");

    server.write("demo/server.js", &text);
    let deploy = server.follow(&["deploy", "web", "--from", "demo", "--id", "three"]);
    server.wait_until("the swap", || server.app("web")["release"] == "three");
    let late = server.ctl(&["deploy", "web", "--abort"]);
    assert!(late.code == 5 && late.stderr.contains("infissi-ctl rollback web"), "{late:#?}");
    assert_eq!(server.app("web")["release"], "three");
    signal(deploy.pid(), Signal::SIGINT);
    assert_eq!(deploy.end().code, 130);

    server.ctl(&["deploy", "web", "--from", "demo", "--id", "four", "--stage"]).ok();
    let aborted = server.ctl(&["deploy", "web", "--abort"]).ok();
    assert!(aborted.stdout.contains("release four is called off"), "{aborted:#?}");
    assert_eq!(server.app("web")["release"], "three");
}

#[test]
fn one_that_is_tried_in_the_place_of_what_serves_is_called_off_and_one_that_is_gone_over_to_by_hand_is_good() {
    let server = site("steps = [], migrate = [\"true\"], warm = \"0s\"", None);
    server.ctl(&["deploy", "web", "--from", "demo", "--id", "one"]).ok();
    let text = fs::read_to_string(server.path("demo/server.js")).unwrap();
    let state = |id: &str| {
        let rows = server.json(&["releases", "web"]);
        let row = rows.as_array().unwrap().iter().find(|row| row["release"] == id).cloned();
        row.map_or_else(String::new, |row| row["state"].as_str().unwrap().to_owned())
    };
    server.write("demo/server.js", "setInterval(() => {}, 1000);");
    let deploy = server.follow(&["deploy", "web", "--from", "demo", "--id", "two", "--stop-first"]);
    server.wait_until("it to be tried", || state("two") == "starting");
    assert_eq!(state("one"), "active");
    let restart = server.ctl(&["restart", "web"]);
    assert!(restart.code == 5 && restart.stderr.contains("infissi-ctl deploy web --abort"), "{restart:#?}");
    let aborted = server.ctl(&["deploy", "web", "--abort"]).ok();
    let called_off = "release two is called off before it had the traffic; release one serves on";
    assert!(aborted.stdout.contains(called_off), "{aborted:#?}");
    let failed = deploy.end();
    for say in ["was called off by ", "release one has its place again; migrations have run and are not undone"] {
        assert!(failed.code == 1 && failed.stderr.contains(say), "{say}: {failed:#?}");
    }
    server.wait_status("web", "online");
    assert_eq!((server.app("web")["release"].as_str(), state("two").as_str()), (Some("one"), "failed"));

    let rollback = server.follow(&["--json", "rollback", "web", "--to", "two", "--stop-first"]);
    server.wait_until("it to be tried", || state("two") == "starting");
    signal(rollback.pid(), Signal::SIGINT);
    let left = rollback.end();
    assert_eq!((left.code, &left.json()["error"]["code"]), (130, &"failed".into()), "{left:#?}");
    server.ctl(&["deploy", "web", "--abort"]).ok();
    server.wait_status("web", "online");

    server.write("demo/server.js", &text);
    server.ctl(&["deploy", "web", "--from", "demo", "--id", "three", "--stage"]).ok();
    server.ctl(&["deploy", "web", "--abort"]).ok();
    server.ctl(&["rollback", "web", "--to", "three"]).ok();
    let journal = fs::read_to_string(server.path("site/deploys/three/release.json")).unwrap();
    assert!(journal.contains("\"state\": \"live\""), "{journal}");
}

#[test]
fn old_releases_go_on_request_but_for_those_that_the_app_has_written_into() {
    let server = site("steps = [], warm = \"0s\", keep = 5", None);
    for id in ["one", "two", "three", "four"] {
        server.ctl(&["deploy", "web", "--from", "demo", "--id", id]).ok();
    }
    server.write("site/releases/two/upload.png", "picture");
    server.wait_until("the old slot to be gone", || server.app("web")["other"].is_null());
    let pruned = server.ctl(&["releases", "web", "--prune", "1"]).ok();
    for say in
        ["2 releases are removed: ", "(three, one)", "release two is kept", "(upload.png)", "--prune 1 --written"]
    {
        assert!(pruned.stdout.contains(say), "{say}: {pruned:#?}");
    }
    assert_eq!(of(&server, "site/releases"), ["four", "two"]);
    let json = server.json(&["releases", "web", "--prune", "0", "--written"]);
    assert_eq!(json["removed"], serde_json::json!(["two"]), "{json}");
    assert!(json["freed_bytes"].as_u64().unwrap() > 0, "{json}");
    assert_eq!(of(&server, "site/releases"), ["four"]);
}
