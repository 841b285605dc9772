//! The take-over: the demo app runs under a real PM2, then under us, and what its clients notice.

use crate::ledger::{Kind, Ledger, Outcome, Row};
use crate::load::Load;
use crate::machine::{command, eventually, get, is_alive, print, skip};
use crate::story::{LONG_DRAIN, Story, after_some, is_soak};
use infissi::linux::proc::ProcTable;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;

/// Where `cargo bench --bench peers` has it, too.
const PLACE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/peers/pm2");

/// A PM2 with a home of its own, ended with the story.
struct Pm2 {
    program: PathBuf,
    home: TempDir,
}

impl Pm2 {
    /// From the npm registry, once. None where there is none.
    fn install() -> Option<Pm2> {
        let program = Path::new(PLACE).join("node_modules/.bin/pm2");
        if !program.exists() {
            let mut npm = command("npm");
            npm.args(["install", "--no-audit", "--no-fund", "--prefix", PLACE, "pm2"]);
            fs::create_dir_all(PLACE).unwrap();
            let _there_or_not = npm.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        program.exists().then(|| Pm2 { program, home: tempfile::tempdir().unwrap() })
    }

    /// What it says; its daemon has this PM2_HOME, and no pipe of ours.
    #[track_caller]
    fn say(&self, words: &[&str]) -> String {
        let file = self.home.path().join("said");
        let said = fs::File::create(&file).unwrap();
        let mut pm2 = command(&self.program);
        pm2.args(words).env("PM2_HOME", self.home.path()).stdin(Stdio::null());
        let status = pm2.stdout(said.try_clone().unwrap()).stderr(said).status().unwrap();
        let said = fs::read_to_string(file).unwrap();
        assert!(status.success(), "pm2 {words:?}: {said}");
        said
    }

    /// The processes of its only app: npm, sh, node.
    fn tree(&self) -> Vec<i32> {
        let said = self.say(&["jlist"]);
        let list: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let leader = i32::try_from(list[0]["pid"].as_i64().unwrap()).unwrap();
        let table = ProcTable::new();
        let mut tree = vec![leader];
        let mut at = 0;
        while let Some(&parent) = tree.get(at) {
            tree.extend(table.children(parent).map(|child| child.id.pid));
            at += 1;
        }
        tree
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        let mut kill = command(&self.program);
        kill.arg("kill").env("PM2_HOME", self.home.path());
        let _nobody_left = kill.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

#[test]
fn an_app_comes_over_from_pm2_with_less_dark_time_than_a_restart_has_there() {
    if !is_soak() {
        return skip("the take-over from PM2 is for INFISSI_SOAK=1");
    }
    let Some(pm2) = Pm2::install() else { return skip("there is no PM2 and no npm registry") };
    let mut story = Story::prepare();
    let app = json!({
        "name": "punto-infissi-crm-current", "script": "npm", "args": "start", "cwd": story.server.path("demo"),
        "env": { "PORT": story.port.to_string() },
    });
    let ecosystem = story.server.path("pm2.production.config.json");
    fs::write(&ecosystem, json!({ "apps": [app] }).to_string()).unwrap();
    pm2.say(&["start", ecosystem.to_str().unwrap()]);
    story.wait_public();

    let load = Load::start(story.plan().kinds(&[Kind::Fresh]).weight(20));
    after_some(&load, 1000);
    pm2.say(&["restart", "punto-infissi-crm-current"]);
    assert!(eventually(|| load.age() > Duration::from_secs(3)));
    story.wait_public();
    after_some(&load, 1000);
    let restarted = load.end();
    let dark_restart = dark(&restarted);
    said("a restart by PM2", &restarted);

    let load = Load::start(story.plan().kinds(&[Kind::Fresh]).weight(20));
    after_some(&load, 1000);
    story.configure(LONG_DRAIN);
    story.server.run();
    story.server.wait_until("our instance to be healthy", || story.app()["health"] == "healthy");
    let reason = story.server.wait_reason("web", "waiting");
    assert!(reason.contains(&story.port.to_string()) && reason.contains("node"), "{reason}");
    assert_eq!(load.failed(), 0, "nobody has noticed yet");
    let theirs = pm2.tree();
    assert!(theirs.len() >= 2, "npm and node: {theirs:?}");
    pm2.say(&["delete", "punto-infissi-crm-current"]);
    story.server.wait_status("web", "online");
    story.wait_public();
    after_some(&load, 1000);
    let ledger = load.end();
    let dark_takeover = dark(&ledger);
    said("the take-over from PM2", &ledger);
    let answered = ledger.rows.iter().find(|row| is_ours(row)).map(|row| row.at + row.took).unwrap();
    let after: Vec<&Row> = ledger.rows.iter().filter(|row| row.at > answered).collect();
    assert!(after.iter().all(|row| is_ours(row)), "once we have answered, nothing fails\n{ledger}");
    assert!(after.len() > 500, "{ledger}");
    assert!(dark_takeover < dark_restart, "{dark_takeover:?} beside {dark_restart:?}");
    assert!(eventually(|| !theirs.iter().any(|pid| is_alive(*pid))), "PM2 leaves somebody behind");

    // And back, as the page about it says.
    let load = Load::start(story.plan().kinds(&[Kind::Fresh]).weight(20));
    after_some(&load, 1000);
    story.server.ctl(&["stop", "web"]).ok();
    pm2.say(&["start", ecosystem.to_str().unwrap()]);
    assert!(eventually(|| get(story.port, "/").is_some()), "PM2 has it again");
    after_some(&load, 1000);
    let ledger = load.end();
    said("back to PM2", &ledger);
    let waited = |row: &Row| row.outcome != Outcome::Ok && row.took > Duration::from_secs(5);
    assert_eq!(ledger.count(waited), 0, "what is stopped keeps nobody waiting\n{ledger}");
}

fn is_ours(row: &Row) -> bool {
    row.outcome == Outcome::Ok && row.by.as_ref().is_some_and(|by| by.slot == "blue")
}

fn said(what: &str, ledger: &Ledger) {
    let (dark, failed) = (dark(ledger).as_millis(), ledger.failed().count());
    print(&format!("{what}: dark for {dark} ms, {failed} of {} requests failed", ledger.rows.len()));
}

/// The longest time without a whole answer.
fn dark(ledger: &Ledger) -> Duration {
    let mut ends: Vec<Duration> =
        ledger.rows.iter().filter(|row| row.outcome == Outcome::Ok).map(|row| row.at + row.took).collect();
    ends.sort_unstable();
    ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
}
