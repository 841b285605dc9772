//! Deploys from a directory: whose they are, what is refused before anything is begun, what is taken back, what the
//! link live follows. With git, npm and load they are told in tests/swaps.

use crate::machine::{SmallDisk, eventually, free_port, get, is_root, signal};
use crate::server::{NOBODY, Server, Setup};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;
use std::process::Stdio;

/// The demo app, deployed into `site`, without npm for the sake of time.
fn web(port: u16, deploy: &str, more: &str) -> String {
    format!(
        "[apps.web]\ncommand = \"node server.js\"\nport = {port}\n\
         health = {{ http = \"/api/health\", interval = \"500ms\", healthy = 1 }}\n\
         deploy = {{ root = \"site\", min_free = \"1M\", {deploy} }}\n{more}\n"
    )
}

/// Root's releases, or else ours: `site` is there and belongs to `owner`.
fn site(setup: Setup, apps: &str, owner: Option<u32>) -> Server {
    let mut server = setup.prepare(apps);
    fs::create_dir(server.path("site")).unwrap();
    chown(server.path("site"), owner, owner).unwrap();
    server.run();
    server
}

#[track_caller]
fn refused(server: &Server, words: &[&str], code: i32, says: &[&str]) {
    let refused = server.ctl(words);
    assert_eq!(refused.code, code, "{words:?}: {refused:#?}");
    for say in says {
        assert!(refused.stderr.contains(say), "{say}: {refused:#?}");
    }
}

#[test]
fn root_deploys_as_the_owner_of_the_releases_and_nobody_else_may() {
    if !is_root() {
        return;
    }
    let port = free_port();
    let steps =
        "steps = [\"id -u\", \"sh -c 'test -w . && printenv HOME INFISSI_RELEASE NEXT_DEPLOYMENT_ID'\"], warm = \"0s\"";
    let setup = Setup::default().keys("control = { admins = [\"daemon\"] }");
    let server = site(setup, &web(port, steps, ""), Some(NOBODY));
    fs::set_permissions(server.path("demo"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let said = server.ctl(&["deploy", "web", "--from", "demo", "--id", "one"]).ok();
    assert!(said.stdout.contains("| 65534\n") && said.stdout.contains("| one\n  | one\n"), "{said:#?}");
    assert_eq!(server.app("web")["release"], "one");
    for path in ["site/releases/one", "site/releases/one/server.js", "site/deploys/one/deploy.log"] {
        assert_eq!(fs::metadata(server.path(path)).unwrap().uid(), NOBODY, "{path}");
    }
    server.wait_until("the link live", || fs::symlink_metadata(server.path("site/live")).is_ok());
    assert_eq!(fs::symlink_metadata(server.path("site/live")).unwrap().uid(), NOBODY, "with its user's rights");
    assert_eq!(server.show("web")["user"], "nobody");

    // Daemon may do anything here, but not with other people's rights.
    let from = server.path("demo").display().to_string();
    let other = server.ctl_as(1, &[], &["deploy", "web", "--from", &from]);
    assert_eq!(other.code, 5, "{other:#?}");
    let next = format!("sudo -u nobody infissi-ctl --socket {} deploy web --from {from}", server.socket().display());
    assert!(other.stderr.contains("belongs to nobody") && other.stderr.contains(&next), "{other:#?}");
    let stranger = server.ctl_as(2, &[], &["deploy", "web", "--from", &from]);
    assert_eq!((stranger.code, stranger.stderr.contains("may not change web")), (5, true), "{stranger:#?}");
    server.ctl_as(NOBODY, &[], &["deploy", "web", "--from", &from, "--id", "two"]).ok();
    assert_eq!(server.app("web")["release"], "two");
}

#[test]
fn what_cannot_be_deployed_is_said_before_anything_is_begun() {
    let port = free_port();
    let apps = format!("{}[apps.plain]\ncommand = \"sleep 600\"\n", web(port, "steps = []", "autostart = false"));
    let server = site(Setup::default(), &apps, None);
    refused(&server, &["deploy", "plain"], 2, &["plain has no releases", "[apps.plain.deploy]"]);
    refused(&server, &["releases", "plain"], 2, &["plain has no releases"]);
    refused(&server, &["deploy", "wbe"], 4, &["wbe"]);
    refused(&server, &["deploy", "web"], 2, &["nothing says where the source of web is", "--from DIR"]);
    refused(&server, &["deploy", "web", "--from", "nowhere"], 2, &["nowhere is no directory"]);
    refused(&server, &["deploy", "web", "--from", "demo", "--id", "../x"], 2, &["cannot be the id of a release"]);
    refused(&server, &["deploy", "web", "--from", "demo", "--wait", "soon"], 2, &["write one like 90s or 20m"]);
    refused(&server, &["deploy", "web", "--from", "."], 1, &["would be copied into itself"]);
    refused(&server, &["rollback", "web"], 1, &["web has no good release before", "infissi-ctl releases web"]);
    refused(&server, &["deploy", "web", "--init"], 2, &["nothing says in which checkout web runs", "--from DIR"]);
    assert!(server.ctl(&["releases", "web"]).ok().stdout.contains("web has no release yet"));
    assert_eq!(server.json(&["releases", "web"]), Value::Array(Vec::new()));

    server.configure(&web(port, "steps = []", "autostart = false").replace("\"1M\"", "\"1000T\""));
    server.ctl(&["apply"]).ok();
    refused(&server, &["deploy", "web", "--from", "demo"], 1, &["min_free asks for 1048576000 MB", "make room"]);
    let json = server.ctl(&["--json", "deploy", "web", "--from", "demo"]);
    assert_eq!((json.code, &json.json()["error"]["code"]), (1, &"failed".into()), "{json:#?}");
    assert_eq!(fs::read_dir(server.path("site/releases")).unwrap().count(), 0);
}

#[test]
fn a_release_that_fails_while_the_one_before_is_warm_is_taken_back_and_not_chosen_again() {
    let port = free_port();
    let server = site(Setup::default(), &web(port, "steps = [], warm = \"60s\"", ""), None);
    server.ctl(&["deploy", "web", "--from", "demo", "--id", "one", "--no-wait"]).ok();
    let text = fs::read_to_string(server.path("demo/server.js")).unwrap();
    server.write("demo/server.js", &format!("process.env.DEMO_FAULT = 'crash-after=5';\n{text}"));
    let deploy = server.follow(&["deploy", "web", "--from", "demo", "--id", "two"]);
    server.wait_until("the second release to be taken back", || {
        let _answered = get(port, "/");
        !server.events_of("web", "flipped-back").is_empty()
    });
    let failed = deploy.end();
    assert_eq!(failed.code, 1, "{failed:#?}");
    assert!(failed.stdout.contains("two has the traffic"), "{failed:#?}");
    for say in ["has the traffic again", "release one serves on", "crashed by request"] {
        assert!(failed.stderr.contains(say), "{say}: {failed:#?}");
    }
    let rows = server.json(&["releases", "web"]);
    let states: Vec<(&str, &str)> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["release"].as_str().unwrap(), row["state"].as_str().unwrap()))
        .collect();
    assert!(states.contains(&("one", "active")), "{states:?}");
    assert!(states.iter().any(|(id, state)| *id == "two" && ["bad", "draining"].contains(state)), "{states:?}");
    server.wait_until("the bad one to have ended", || server.app("web")["other"].is_null());
    refused(&server, &["rollback", "web"], 1, &["no good release before"]);
    let last = &server.show("web")["last_deploy"];
    assert_eq!((&last["end"], &last["release"]), (&"flipped-back".into(), &"two".into()), "{last:#}");
    assert!(last["why"].as_str().unwrap().contains("exited with code"), "{last:#}");
    let named = server.ctl(&["rollback", "web", "--to", "two"]).ok();
    assert!(named.stdout.contains("release two has the traffic again"), "{named:#?}");
}

#[test]
fn the_link_live_follows_the_supervisors_state_also_when_it_was_killed_before() {
    let port = free_port();
    let mut server = site(Setup::default(), &web(port, "steps = [], warm = \"0s\"", ""), None);
    let leads_to = |server: &Server, release: &str| {
        let live = fs::read_link(server.path("site/live"));
        live.is_ok_and(|live| live == Path::new("releases").join(release))
    };
    for release in ["one", "two"] {
        server.ctl(&["deploy", "web", "--from", "demo", "--id", release]).ok();
        assert!(eventually(|| leads_to(&server, release)));
    }
    server.kill_supervisor();
    fs::remove_file(server.path("site/live")).unwrap();
    symlink("releases/one", server.path("site/live")).unwrap();
    server.run();
    server.wait_status("web", "online");
    assert!(eventually(|| leads_to(&server, "two")), "the state says what is active, and not the link");
    assert_eq!(server.app("web")["release"], "two");
}

#[test]
fn a_disk_that_becomes_full_fails_the_deploy_and_the_next_one_makes_room() {
    let Some(disk) = SmallDisk::mount(24 << 20) else { return };
    let port = free_port();
    let root = format!("root = \"{}\"", disk.path().display());
    let apps = |steps: &str| web(port, &format!("{steps}, warm = \"0s\""), "").replace("root = \"site\"", &root);
    let server = Server::start(&apps("steps = []"));
    server.ctl(&["deploy", "web", "--from", "demo", "--id", "one"]).ok();
    server.configure(&apps("steps = [\"dd if=/dev/zero of=large bs=1M count=100\"]"));
    server.ctl(&["apply"]).ok();
    refused(
        &server,
        &["deploy", "web", "--from", "demo"],
        1,
        &["web is not deployed: `dd ", "release one serves on", "deploy.log"],
    );
    assert_eq!((server.app("web")["release"].as_str(), get(port, "/").unwrap().0), (Some("one"), 200));
    server.configure(&apps("steps = []"));
    server.ctl(&["apply"]).ok();
    server.ctl(&["deploy", "web", "--from", "demo", "--id", "three"]).ok();
    let left: Vec<_> = fs::read_dir(disk.path().join("releases")).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_supervisor_that_dies_meanwhile_has_a_successor_that_runs_the_old_release() {
    let port = free_port();
    let steps =
        "steps = [\"sh -c 'touch ../../building; until test -e ../../go; do sleep 0.05; done'\"], warm = \"0s\"";
    let mut server = site(Setup::default(), &web(port, steps, ""), None);
    server.write("site/go", "");
    server.ctl(&["deploy", "web", "--from", "demo", "--id", "one"]).ok();
    for path in ["site/go", "site/building"] {
        fs::remove_file(server.path(path)).unwrap();
    }
    let deploy = server.follow(&["deploy", "web", "--from", "demo", "--id", "two"]);
    server.wait_until("the step to begin", || server.path("site/building").exists());
    server.kill_supervisor();
    server.write("site/go", "");
    let failed = deploy.end();
    assert_eq!(failed.code, 3, "{failed:#?}");
    assert!(failed.stderr.contains("release two stays in "), "{failed:#?}");
    server.run();
    server.wait_status("web", "online");
    assert_eq!(server.app("web")["release"], "one");
    let next = server.ctl(&["deploy", "web", "--from", "demo", "--id", "three"]).ok();
    assert!(next.stdout.contains("two, which had failed, is removed"), "{next:#?}");
    assert!(!server.path("site/releases/two").exists());

    server.write("demo/server.js", "setInterval(() => {}, 1000);");
    let deploy = server.follow(&["deploy", "web", "--from", "demo", "--id", "four"]);
    server.wait_until("it to be started", || server.app("web")["other"]["release"] == "four");
    server.kill_supervisor();
    let lost = deploy.end();
    assert!(lost.stderr.contains("whether release four of web goes live is not known"), "{lost:#?}");
    let journal = fs::read_to_string(server.path("site/deploys/four/release.json")).unwrap();
    assert!(journal.contains("\"state\": \"activating\""), "{journal}");
    server.run();
    server.wait_status("web", "online");
    let cleared = server.ctl(&["deploy", "web", "--abort"]).ok();
    assert!(cleared.stdout.contains("was cut off at its activation"), "{cleared:#?}");
}

#[test]
fn a_deploy_that_nobody_follows_any_more_is_over_before_anything_goes_live() {
    let port = free_port();
    let steps = "steps = [\"sh -c 'for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.1; done; exec sleep 1000'\"]";
    let server = site(Setup::default(), &web(port, steps, "autostart = false"), None);
    let mut deploy = server.ctl_command(&["deploy", "web", "--from", "demo"]);
    let mut deploy = deploy.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // As a pipe into `head` does, or the end of a session.
    drop(deploy.stdout.take());
    let mut status = None;
    server.wait_until("the deploy to end", || {
        status = deploy.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(server.path("site/releases")).unwrap().count(), 0);
    assert_eq!(server.status("web"), "stopped");
}

#[test]
fn once_asked_to_go_over_the_supervisor_needs_no_ctl_and_the_next_deploy_tells_how_it_ended() {
    let port = free_port();
    let server = site(Setup::default(), &web(port, "steps = [], warm = \"60s\"", ""), None);
    server.ctl(&["deploy", "web", "--from", "demo", "--id", "one", "--no-wait"]).ok();
    let left = server.follow(&["deploy", "web", "--from", "demo", "--id", "two"]);
    server.wait_until("the swap", || server.app("web")["release"] == "two");
    signal(left.pid(), Signal::SIGKILL);
    assert_eq!(left.end().code, 137);
    assert_eq!((server.status("web").as_str(), server.app("web")["other"]["phase"].as_str()), ("online", Some("warm")));
    let next = server.ctl(&["deploy", "web", "--from", "demo", "--id", "three", "--no-wait"]).ok();
    assert!(next.stdout.contains("two has gone live since its deploy was left"), "{next:#?}");
    assert!(server.ctl(&["rollback", "web"]).ok().stdout.contains("release two has the traffic again"));
}

#[test]
fn a_source_that_cannot_be_reached_fails_at_once_and_asks_nobody_for_a_password() {
    let port = free_port();
    let repo = "repo = \"https://ann:secret@127.0.0.1:1/crm.git\", steps = []";
    let server = site(Setup::default(), &web(port, repo, "autostart = false"), None);
    let says = ["web is not deployed: cannot fetch https://…@127.0.0.1:1/crm.git: git failed with", "was not touched"];
    refused(&server, &["deploy", "web"], 1, &says);
    let log = fs::read_to_string(server.path("site/deploys/fetch.log")).unwrap();
    assert!(log.contains("fetch --force --prune") && !log.contains("secret"), "{log}");
    assert_eq!(fs::read_dir(server.path("site/releases")).unwrap().count(), 0);
}

#[test]
fn whoever_may_look_is_told_of_the_deploy_though_the_releases_are_closed_to_them() {
    if !is_root() {
        return;
    }
    let port = free_port();
    let steps = "steps = [\"sh -c 'touch ../../building; until test -e ../../go; do sleep 0.05; done; exit 3'\"]";
    let setup = Setup::default().keys("control = { group = \"daemon\" }");
    let server = site(setup, &web(port, steps, "autostart = false"), Some(NOBODY));
    fs::set_permissions(server.path("demo"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(server.path("site"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let look = |words: &[&str]| server.ctl_as(2, &[1], words).ok();
    assert!(!look(&["show", "web"]).stdout.contains("deploy by"));
    let deploy = server.follow(&["deploy", "web", "--from", "demo", "--id", "one"]);
    server.wait_until("the step to begin", || server.path("site/building").exists());
    let who = format!("nobody (pid {}) since ", deploy.pid());
    let told = look(&["list"]).stdout;
    assert!(told.contains(&format!("web is being deployed by {who}")) && told.contains("at sh -c"), "{told}");
    let shown = look(&["--json", "show", "web"]).json();
    assert_eq!((&shown["deploying"]["by"], &shown["deploying"]["release"]), (&"nobody".into(), &"one".into()));
    server.write("site/go", "");
    assert_eq!(deploy.end().code, 1);
    let shown = look(&["--json", "show", "web"]).json();
    let last = &shown["last_deploy"];
    assert_eq!((&last["end"], &last["by"], &shown["deploying"]), (&"failed".into(), &"nobody".into(), &Value::Null));
    assert!(last["why"].as_str().unwrap().contains("failed with exit code 3"), "{last:#}");
    let told = look(&["show", "web"]).stdout;
    assert!(told.contains("release one by nobody failed at sh -c"), "{told}");
    // One that fails before it has a release is the last one all the same.
    refused(&server, &["deploy", "web", "--from", "demo", "--id", "one", "--ref", "x"], 2, &["--from"]);
    assert_eq!(server.ctl(&["deploy", "web", "--from", "."]).code, 1);
    let last = server.show("web")["last_deploy"].clone();
    assert!(last["release"].is_null() && last["why"].as_str().unwrap().contains("copied into itself"), "{last:#}");
}
