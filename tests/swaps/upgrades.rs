//! Another program in the place of the supervisor's, under load: whatever it is, nobody notices but the operator.

use crate::load::{ALL_KINDS, Load};
use crate::machine::{is_alive, is_root, now, print};
use crate::server::Setup;
use crate::story::{LONG_DRAIN, Story, after_some, is_soak, tell};
use infissi::linux::proc::{ProcTable, command};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Says where a program finds how it is to fail, and where; of builds with debug assertions.
const FAIL: &str = "INFISSI_FAILPOINT";
/// Until then a program that fails in its start has the patience of a story.
const PATIENCE_IS_OVER: Duration = Duration::from_millis(1200);

/// Twenty numbered lines every 5 ms, of which the last is there by half for most of the time.
const WRITER: &str = r#"
let n = 0;
let rest = '';
setInterval(() => {
  let text = rest;
  for (let i = 0; i < 20; i++) text += `line ${n++} of many\n`;
  rest = text.slice(-7);
  process.stdout.write(text.slice(0, -7));
}, 5);
process.on('SIGTERM', () => process.stdout.write(rest, () => process.exit(0)));
"#;

/// Ends with a status of its own when it is told to, and as soon as the supervisor is another program.
const ENDS: &str = r#"
const fs = require('fs');
const program = () => { try { return fs.statSync(`/proc/${process.ppid}/exe`).ino; } catch { return 0; } };
const before = program();
if (!fs.existsSync('ended')) setInterval(() => {
  if (program() !== before) { fs.writeFileSync('ended', ''); process.exit(9); }
}, 1);
process.on('SIGUSR2', () => process.exit(7));
process.on('SIGTERM', () => process.exit(0));
setInterval(() => {}, 1000);
"#;

/// A story whose supervisor is a copy of the program, so that another one can be installed there.
#[track_caller]
fn installed(setup: Setup, beside: &str) -> Story {
    let setup = setup.file("writer.js", WRITER).file("ends.js", ENDS);
    let mut story = Story::prepare_with(setup);
    story.server.update();
    story.server.configure(&format!("{}{beside}", story.table(story.port, LONG_DRAIN)));
    story.server.run();
    story.server.wait_status("web", "online");
    story.wait_public();
    story
}

/// Is every number there, once, in order, and every line whole? How many there are.
#[track_caller]
fn lines_are_whole(story: &Story) -> usize {
    let text = story.server.log("writer-out.log");
    let lines: Vec<&str> = text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        assert!(line.ends_with(&format!("line {number} of many")), "{number}: {line:?}");
    }
    lines.len()
}

fn last_exit(story: &Story, app: &str) -> (Value, Value) {
    let exit = &story.server.app(app)["last_exit"];
    (exit["code"].clone(), exit["signal"].clone())
}

const BESIDE: &str = "\n[apps.writer]\ncommand = [\"node\", \"writer.js\"]\ncwd = \".\"\nlogs = { timestamps = false }\n\
                      [apps.ends]\ncommand = [\"node\", \"ends.js\"]\ncwd = \".\"\n";

#[test]
fn an_upgrade_is_nothing_that_clients_apps_or_their_logs_notice() {
    let mut story = installed(Setup::default(), BESIDE);
    let names = ["web", "writer"];
    story.server.wait_status("writer", "online");
    story.server.wait_status("ends", "online");
    let (supervisor, pids) = (story.server.supervisor_pid(), names.map(|name| story.server.pid(name)));
    let worker = story.server.worker();
    let load = Load::start(story.plan());
    after_some(&load, 200);

    let same = story.server.ctl(&["upgrade"]).ok();
    assert!(same.stdout.contains("(the same build) in ") && story.server.worker() == worker, "{same:#?}");
    story.server.update();
    let version = story.server.ctl(&["version"]).ok().stdout;
    assert!(version.contains("infissi-ctl upgrade"), "{version}");
    assert!(story.server.ctl(&["doctor"]).said().contains("next: infissi-ctl upgrade"));
    let upgraded = story.server.ctl(&["upgrade"]).ok().stdout;
    print(&upgraded);
    assert!(upgraded.contains("(another build)"), "{upgraded}");
    after_some(&load, 200);

    assert_eq!(story.server.supervisor_pid(), supervisor);
    assert!(!story.server.ctl(&["version"]).ok().stdout.contains("infissi-ctl upgrade"));
    assert_eq!(names.map(|name| story.server.pid(name)), pids);
    assert_ne!(story.server.worker(), worker, "and the worker is of the new build");
    // It ended in the middle of it.
    story.server.wait_until("the end of an app to be told", || last_exit(&story, "ends") == (9.into(), Value::Null));
    story.server.wait_status("ends", "online");
    story.server.ctl(&["signal", "ends", "USR2"]).ok();
    story.server.wait_until("its next end to be told", || last_exit(&story, "ends") == (7.into(), Value::Null));
    story.server.wait_until("nobody to be left unreaped", || {
        !ProcTable::new().children(supervisor).any(|child| child.state == b'Z')
    });

    // And the one that took over is one that others go on after.
    story.server.kill_supervisor();
    after_some(&load, 50);
    story.server.run();
    assert_eq!(names.map(|name| story.server.pid(name)), pids);
    after_some(&load, 100);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("an upgrade", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert_eq!(ledger.answers().len(), 1, "one process answered all of it\n{ledger}");
    story.server.ctl(&["stop", "writer"]).ok();
    print(&format!("{} lines", lines_are_whole(&story)));
}

#[test]
fn a_program_that_cannot_take_over_is_refused_and_one_that_fails_is_undone() {
    let dir = tempfile::tempdir().unwrap();
    let how = dir.path().join("how");
    let mut story = installed(Setup::default().env(FAIL, how.to_str().unwrap()), BESIDE);
    story.server.wait_status("writer", "online");
    let names = ["web", "writer"];
    let (supervisor, pids) = (story.server.supervisor_pid(), names.map(|name| story.server.pid(name)));
    let load = Load::start(story.plan());
    after_some(&load, 100);
    let program = story.server.path("infissi-supervisord");
    for (text, why) in [
        ("no program at all", "cannot take over"),
        ("#!/bin/sh\necho 'it is too old for this' >&2\nexit 1\n", "it is too old for this"),
        ("#!/bin/sh\nexit 0\n", "is it an infissi-supervisord?"),
    ] {
        install(&program, text);
        let refused = story.server.ctl(&["upgrade"]);
        assert!(refused.code == 1 && refused.stderr.contains(why), "{refused:#?}");
    }
    story.server.update();
    // Nobody has applied it, and nobody does so by an upgrade.
    let edited = BESIDE.replace("logs =", "env = { EDITED = \"1\" }\nlogs =");
    story.server.configure(&format!("{}{edited}", story.table(story.port, LONG_DRAIN)));
    for (fails, why) in [
        ("start.find-a-tree", "it cannot go on with what runs of"),
        ("upgrade.armed abort", "it crashed (SIGABRT)"),
        ("upgrade.armed hang", "was not ready"),
        ("start.found panic", "it panicked"),
        // In another thread than the one that began.
        ("start.goes-on abort", "it crashed (SIGABRT)"),
        ("start.went-on panic", "it panicked"),
        ("start.ready abort", "it crashed (SIGABRT)"),
        ("upgrade.armed panic", "it panicked"),
    ] {
        std::fs::write(&how, fails).unwrap();
        let failed = story.server.ctl(&["upgrade"]);
        assert!(failed.code == 1 && failed.stderr.contains(why), "{fails}: {failed:#?}");
        assert_eq!((names.map(|name| story.server.pid(name)), is_alive(supervisor)), (pids, true), "{fails}");
        after_some(&load, 50);
    }
    let since = now();
    // The one that goes on is all there: it sees an end, and starts anew.
    let ends = story.server.wait_for("the app that ended meanwhile", || {
        let app = story.server.app("ends");
        (app["status"] == "online").then(|| app["pid"].clone())
    });
    story.server.ctl(&["signal", "ends", "USR2"]).ok();
    story.server.wait_until("its end to be told", || last_exit(&story, "ends") == (7.into(), Value::Null));
    story.server.wait_until("it to run again", || {
        let app = story.server.app("ends");
        app["status"] == "online" && app["pid"] != ends
    });
    // Nothing is left of what failed, nor the end of its patience: now it goes well.
    story.server.wait_until("that end to have passed", || since.elapsed() > PATIENCE_IS_OVER);
    story.server.ctl(&["upgrade"]).ok();
    assert_eq!((names.map(|name| story.server.pid(name)), story.server.supervisor_pid()), (pids, supervisor));
    assert_eq!(story.server.get("/v1/supervisor")["config"]["changed"], true);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("upgrades that fail", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    story.server.ctl(&["stop", "writer"]).ok();
    lines_are_whole(&story);
}

#[test]
fn however_often_it_is_upgraded_nothing_is_left_behind() {
    // Where nobody has rights there are no cgroups, and trees are known by who is whose child.
    let setup = if is_root() { Setup::default().by_nobody() } else { Setup::default() };
    let mut story = installed(setup, "");
    let pid = story.server.supervisor_pid();
    story.server.ctl(&["restart", "web"]).ok();
    let mut seen = vec![(count(pid, "fd"), names_of_threads(pid))];
    let (socket, over) = (story.server.socket(), Arc::new(AtomicBool::new(false)));
    let until = over.clone();
    let clients = std::thread::spawn(move || {
        let mut refused = 0;
        while !until.load(Ordering::Relaxed) {
            refused += u32::from(UnixStream::connect(&socket).is_err());
            // A pace at which the supervisor does not take them for too many.
            std::thread::sleep(Duration::from_millis(10));
        }
        refused
    });
    for _ in 0..5 {
        story.server.update();
        let upgraded = story.server.json(&["upgrade"]);
        assert_eq!(upgraded["untouched"], serde_json::json!(["web"]), "{upgraded:#}\n{}", story.server.own_log());
        assert_eq!(upgraded["pid"], pid);
        // What has left is gone, and what was needed for the start.
        story.server.wait_until("one worker", || worker_count(pid) == 1);
        story.server.ctl(&["restart", "web"]).ok();
        let before = seen[0];
        seen.push(story.server.wait_for("no more descriptors and threads than before the first", || {
            let now = (count(pid, "fd"), names_of_threads(pid));
            (now.0 <= before.0 && now.1 == before.1).then_some(now)
        }));
    }
    print(&format!("descriptors and threads: {seen:?}"));
    over.store(true, Ordering::Relaxed);
    assert_eq!(clients.join().unwrap(), 0, "somebody is always there to connect to");
    let ended = story.server.app("web");
    assert_eq!((&ended["restarts"], &ended["swaps"]), (&0.into(), &6.into()));
    // Its happenings are those of all programs.
    let upgrades = story
        .server
        .events()
        .into_iter()
        .filter(|event| event["message"].as_str().is_some_and(|message| message.starts_with("upgraded from")));
    assert_eq!(upgrades.count(), 5);
}

/// Another file in the place of the program, as a package manager puts it there.
fn install(program: &Path, text: &str) {
    let new = program.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, program).unwrap();
}

fn count(pid: i32, of: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/{of}")).unwrap().count()
}

/// Without those that come and go.
fn names_of_threads(pid: i32) -> usize {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| ["logs", "sampler", "own-log"].contains(&name.trim())).count()
}

fn worker_count(pid: i32) -> usize {
    ProcTable::new().children(pid).filter(|child| command(child.id.pid, 200).ends_with(" proxy")).count()
}

#[test]
fn an_upgrade_is_refused_while_somebody_waits_for_what_does_not_come_to_an_end() {
    // It is waited for first, for 10 s.
    if !is_soak() {
        return;
    }
    let slow = "\n[apps.slow]\ncommand = \"sleep 1000\"\ncwd = \".\"\nautostart = false\n\
                health = { command = [\"false\"], start_timeout = \"60s\" }\n";
    let mut story = installed(Setup::default(), slow);
    let waiting = story.server.follow(&["start", "slow"]);
    story.server.wait_status("slow", "starting");
    story.server.update();
    let refused = story.server.ctl(&["upgrade"]);
    assert!(refused.code == 5 && refused.stderr.contains("somebody waits for what is done with slow"), "{refused:#?}");
    drop(waiting);
    story.server.ctl(&["upgrade"]).ok();
    assert_eq!(story.server.status("slow"), "starting", "its start goes on");
}

#[test]
fn an_upgrade_waits_for_a_configuration_that_is_being_applied() {
    let dir = tempfile::tempdir().unwrap();
    let how = dir.path().join("how");
    let mut story = installed(Setup::default().env(FAIL, how.to_str().unwrap()), BESIDE);
    story.server.wait_status("ends", "online");
    let pid = story.server.pid("ends");
    story.server.update();
    let edited = BESIDE.replace("\"ends.js\"]", "\"ends.js\", \"edited\"]");
    story.server.configure(&format!("{}{edited}", story.table(story.port, LONG_DRAIN)));
    std::fs::write(&how, "applied.json.renamed hang").unwrap();
    let applying = story.server.follow(&["apply"]);
    story.server.wait_until("it to be on the disk", || !how.exists());
    story.server.ctl(&["upgrade"]).ok();
    story.server.wait_for_another("ends", pid);
    assert_eq!(story.server.get("/v1/supervisor")["config"]["changed"], false);
    drop(applying);
}

#[test]
fn a_signal_that_comes_before_a_way_back_is_not_lost_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let how = dir.path().join("how");
    let mut story = installed(Setup::default().env(FAIL, how.to_str().unwrap()), "");
    story.server.update();
    std::fs::write(&how, "upgrade.first-round hang").unwrap();
    let upgrade = story.server.follow(&["upgrade"]);
    story.server.wait_until("it to be nearly ready", || !how.exists());
    crate::machine::signal(story.server.supervisor_pid(), Signal::SIGTERM);
    assert_eq!(story.server.ended(), 0, "it stopped everything, and itself");
    assert!(story.server.own_log().contains("was not ready"), "{}", story.server.own_log());
    drop(upgrade);
}

#[test]
fn a_signal_that_comes_while_programs_change_is_not_lost() {
    let mut story = installed(Setup::default(), "");
    story.server.update();
    let upgrade = story.server.follow(&["upgrade"]);
    let pid = story.server.supervisor_pid();
    let own = || {
        std::fs::metadata(format!("/proc/{pid}/exe")).map(|program| std::os::unix::fs::MetadataExt::ino(&program)).ok()
    };
    let before = own();
    // At the very moment.
    let since = now();
    while own() == before {
        assert!(since.elapsed() < Duration::from_secs(60), "it is not upgraded\n{}", story.server.own_log());
    }
    crate::machine::signal(pid, Signal::SIGTERM);
    assert_eq!(story.server.ended(), 0, "it stopped everything, and itself");
    drop(upgrade);
}
