//! Restores under load: every file is again as it was, and nobody loses a request; one that fails changes nothing.

use crate::load::{ALL_KINDS, Load};
use crate::machine::tree;
use crate::story::{LONG_DRAIN, Story, after_some, tell};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Release `one` is live in a root with shared files, of which the table keeps these.
fn site(include: &str) -> Story {
    let story = Story::prepare();
    story.build_release("one", "");
    configure(&story, include);
    let shared = story.server.path("shared");
    for (file, mode) in [("photos/a.jpg", 0o640), ("photos/b.jpg", 0o600), ("run.sh", 0o755), ("empty", 0o644)] {
        story.server.write(&format!("shared/{file}"), &file.repeat(if file == "empty" { 0 } else { 5000 }));
        let file = fs::File::options().write(true).open(shared.join(file)).unwrap();
        file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + u64::from(mode))).unwrap();
    }
    fs::write(shared.join("bytes"), (0..=255).cycle().take(100_000).collect::<Vec<u8>>()).unwrap();
    symlink("photos/a.jpg", shared.join("link")).unwrap();
    let mut story = story;
    story.server.run();
    story.activate("one", false).unwrap();
    story.wait_public();
    story
}

fn configure(story: &Story, include: &str) {
    story.configure(&format!(
        "command = \"npm start\"\ncwd = \".\"\nenv_file = \".env?\"\n\
         health = {{ http = \"/api/health\", interval = \"500ms\", healthy = 1, start_timeout = \"4s\" }}\n\
         deploy = {{ root = {:?}, warm = \"200ms\", min_free = \"1M\" }}\n\
         backup = {{ dir = \"backups\", include = {include}, before = [\"sh -c 'echo rows > {{out}}/db.sql'\"] }}\n\
         {LONG_DRAIN}",
        story.server.path("").display().to_string()
    ));
}

fn change(story: &Story) {
    story.server.write("shared/photos/a.jpg", "changed");
    story.server.write("shared/new", "newer");
    fs::remove_file(story.server.path("shared/photos/b.jpg")).unwrap();
    fs::remove_file(story.server.path("shared/link")).unwrap();
    fs::create_dir(story.server.path("shared/link")).unwrap();
    fs::set_permissions(story.server.path("shared/run.sh"), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_restore_brings_back_every_file_and_the_release_and_loses_no_request() {
    let story = site("[\"shared\"]");
    let shared = story.server.path("shared");
    let before = tree(&shared);
    story.server.ctl(&["backup", "web"]).ok();
    change(&story);
    let load = Load::start(story.plan().span(Duration::from_millis(300)));
    load.releases().expect(&["one"]);
    after_some(&load, 100);

    let planned = story.server.ctl(&["restore", "web", "latest", "--dry-run"]).ok();
    assert!(
        planned.stdout.contains("put back   shared") && planned.stdout.contains("Nothing was done"),
        "{planned:#?}"
    );
    assert_ne!(tree(&shared), before);
    let swaps = story.app()["swaps"].as_u64().unwrap();
    let said = story.server.ctl(&["restore", "web", "latest"]).ok();
    assert!(tree(&shared) == before, "not as it was: {said:#?}");
    for says in ["web runs with it", "put back: shared", "only in there now: shared/new", "db.sql (a dump"] {
        assert!(said.stdout.contains(says), "{says}: {said:#?}");
    }
    assert_eq!((&story.app()["swaps"], &story.app()["release"]), (&(swaps + 1).into(), &"one".into()));
    after_some(&load, 100);

    // The release too, which is gone meanwhile.
    configure(&story, "[\"shared\", \"releases\", \"live\"]");
    story.server.ctl(&["apply"]).ok();
    story.server.wait_until("the link live", || story.server.path("live").exists());
    story.server.ctl(&["backup", "web"]).ok();
    let code = tree(&story.server.path("releases/one"));
    change(&story);
    story.build_release("two", "");
    load.releases().expect(&["one", "two"]);
    story.activate("two", false).unwrap();
    story.server.wait_until("the old slot to be gone", || story.app()["other"].is_null());
    fs::remove_dir_all(story.server.path("releases/one")).unwrap();
    let restoring = story.server.follow(&["--json", "restore", "web", "latest"]);
    let release = story.server.wait_for("the release", || {
        let entries = fs::read_dir(story.server.path("releases")).unwrap();
        let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.find(|name| name.ends_with("-restored"))
    });
    load.releases().expect(&["two", &release]);
    let restored = restoring.end().ok().json();
    assert_eq!(restored["release"], release.as_str(), "{restored:#}");
    assert_eq!(restored["restored"], serde_json::json!(["shared"]), "{restored:#}");
    assert!(tree(&shared) == before, "not as it was: {restored:#}");
    assert!(tree(&story.server.path(&format!("releases/{release}"))) == code, "the release is not as it was");
    assert_eq!(story.app()["release"], release.as_str());
    let kept = Path::new(restored["before"].as_str().unwrap());
    assert_eq!(fs::read_to_string(kept.join("shared/photos/a.jpg")).unwrap(), "changed");
    assert_eq!(restored["kept_earlier"].as_array().unwrap().len(), 1, "{restored:#}");
    load.releases().expect(&[&release]);
    after_some(&load, 100);
    load.wait_for_each(2);
    let ledger = load.end();
    tell("two restores", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
}

#[test]
fn a_restore_that_does_not_become_healthy_puts_everything_back_and_loses_no_request() {
    let story = site("[\"shared\", \"releases/bad\"]");
    story.build_release("bad", "crash-at-start");
    story.server.ctl(&["backup", "web"]).ok();
    change(&story);
    let (shared, changed) = (story.server.path("shared"), tree(&story.server.path("shared")));
    let load = Load::start(story.plan().span(Duration::from_millis(300)));
    load.releases().expect(&["one"]);
    after_some(&load, 50);
    let failed = story.server.ctl(&["restore", "web", "latest"]);
    assert_eq!(failed.code, 1, "{failed:#?}");
    for says in ["crashed at its start", "web is not restored", "what was there before is there again", "for a look"] {
        assert!(failed.stderr.contains(says), "{says}: {failed:#?}");
    }
    assert!(tree(&shared) == changed, "not as it was: {failed:#?}");
    assert_eq!(story.app()["release"], "one");
    // A damaged one is refused before that.
    let archive = story.server.json(&["backups", "web"])[0]["path"].as_str().unwrap().to_owned();
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let refused = story.server.ctl(&["restore", "web", &archive]);
    assert!(refused.code == 1 && refused.stderr.contains("nothing was touched"), "{refused:#?}");
    assert!(tree(&shared) == changed, "not as it was: {refused:#?}");
    load.wait_for_each(1);
    let ledger = load.end();
    tell("two restores that fail", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
}

#[test]
fn a_restore_that_is_called_off_puts_everything_back() {
    let story = site("[\"shared\", \"releases/bad\"]");
    story.build_release("bad", "never-listen");
    story.server.ctl(&["backup", "web"]).ok();
    change(&story);
    let (shared, changed) = (story.server.path("shared"), tree(&story.server.path("shared")));
    let restoring = story.server.follow(&["restore", "web", "latest"]);
    story.server.wait_until("it to be started", || {
        story.app()["other"]["release"].as_str().is_some_and(|id| id.ends_with("-restored"))
    });
    let aborted = story.server.ctl(&["deploy", "web", "--abort"]).ok();
    assert!(aborted.stdout.contains(" is called off before it had the traffic; release one serves on"), "{aborted:#?}");
    let failed = restoring.end();
    assert!(failed.code == 1 && failed.stderr.contains("what was there before is there again"), "{failed:#?}");
    assert!(tree(&shared) == changed, "not as it was: {failed:#?}");
    assert_eq!(story.app()["release"], "one");
}
