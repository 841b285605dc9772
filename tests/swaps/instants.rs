//! `kill -9` of the supervisor at every point where it writes something down or does something, and at any other time.

use crate::killed::{cost_by, worker};
use crate::ledger::Kind;
use crate::load::{Load, Plan};
use crate::machine::{Program, free_port, is_alive, marked, print, signal};
use crate::server::Setup;
use crate::story::{LONG_DRAIN, Story, after_some, is_soak, tell};
use crate::writers::{WRITERS, assert_each_line_once, assert_each_line_once_in, prepare, tables};
use infissi::api::{Client, routes};
use infissi::linux::ports::holders;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Those that are over soon: a rollover waits for them each time.
const KINDS: &[Kind] = &[Kind::Fresh, Kind::Kept, Kind::Post, Kind::Upload, Kind::Chunked];

/// A worker that has lived so long has a successor at once.
const STEADY: Duration = Duration::from_secs(1);

/// In the way of a line from its pipe to its files: nobody has to ask for anything.
const OF_LINES: &[&str] = &[
    "logs.reading",
    "logs.read",
    "logs.taken",
    "logs.noted",
    "logs.written",
    "logs.advanced",
    "logs.partial",
    "logs.kept",
    "logs.rotated",
];
/// In a start, in this order, after a death in the middle of a batch.
const OF_A_START: &[&str] =
    &["start.found", "start.ended-leftovers", "logs.cut", "logs.redo", "start.went-on", "start.ready"];
const OF_A_ROLLOVER: &[&str] = &[
    "announce.begun",
    "spawn.begun",
    "spawn.done",
    "remembered.json.begun",
    "remembered.json.written",
    "remembered.json.renamed",
    "launch.port",
    "launch.prepared",
    "N.json.begun",
    "N.json.written",
    "N.json.renamed",
    "launch.landed",
    "launch.attached",
    "probe.begun",
    "probe.done",
    "save.begun",
    "save.done",
    "state.json.begun",
    "state.json.written",
    "state.json.renamed",
    "publish.begun",
    "publish.done",
    "drain.begun",
    "drain.done",
    "stop.begun",
    "stop.done",
    "over.begun",
    "over.forgotten",
    "reply.begun",
    "reply.done",
];
/// Of an `apply`, in turn of one that has another app and of one that has it no more and ends it by force.
const OF_AN_APPLY: &[&str] = &[
    "applied.json.begun",
    "applied.json.written",
    "applied.json.renamed",
    "kill.begun",
    "open-logs.begun",
    "kill.done",
    "open-logs.done",
    "close-logs.begun",
    "announce.done",
    "close-logs.done",
];
const OF_AN_ACTIVATION: &[&str] =
    &["live.made", "live.moved", "state.json.written", "save.done", "state.json.renamed", "publish.begun"];
const OF_A_WORKER: &[&str] =
    &["worker.started", "worker.json.begun", "worker.json.written", "worker.json.renamed", "worker.shown"];
const OF_A_SIGNAL: &[&str] = &["signal.begun", "signal.done"];

/// Up to where another program goes on, and in its start.
const OF_AN_UPGRADE: &[&str] =
    &["upgrade.remembered", "upgrade.packed", "upgrade.armed", "start.found", "start.went-on", "start.ready"];

const DEAF: &str = "[apps.deaf]
  command = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 0.1; done\"]
  cwd = \".\"
  kill_timeout = \"100ms\"
";

struct Instants {
    story: Story,
    load: Load,
    /// The writers', which nothing is to end.
    pids: Vec<i32>,
    is_dead: bool,
}

impl Instants {
    fn start() -> Instants {
        let story = Story::with(Setup::default().env("INFISSI_FAILPOINT", "failpoint"), LONG_DRAIN);
        prepare(&story.server);
        story.apply(&Instants::apps(""));
        let pids = WRITERS.map(|writer| {
            story.server.wait_status(writer, "online");
            story.server.pid(writer)
        });
        let load = Load::start(Instants::plan(&story));
        Instants { story, load, pids: pids.to_vec(), is_dead: false }
    }

    fn plan(story: &Story) -> Plan {
        story.plan().kinds(KINDS).span(Duration::from_millis(150)).weight(1)
    }

    fn apps(more: &str) -> String {
        format!("{LONG_DRAIN}\n{}{more}", tables())
    }

    /// Lets the supervisor die at this point; where it does not come there by itself it is told to do something.
    #[track_caller]
    fn die_at(&mut self, point: &str, words: &[&str]) {
        arm(&self.story, point);
        if self.is_dead {
            self.story.server.begin();
        }
        let server = &self.story.server;
        let supervisor = server.supervisor_pid();
        let mut asked: Option<Program> = None;
        server.wait_until(&format!("the supervisor to die at {point}"), || {
            if !words.is_empty() && may_ask(&self.story, asked.as_ref()) {
                asked = Some(server.follow(words));
            }
            !is_alive(supervisor)
        });
        assert!(!server.path("failpoint").exists(), "it died of something else than {point}:\n{}", server.own_log());
        self.story.server.ended();
        self.is_dead = true;
    }

    /// The next one, where there is none.
    #[track_caller]
    fn revive(&mut self) {
        if std::mem::take(&mut self.is_dead) {
            self.story.server.run();
        }
    }

    /// A supervisor that is left alone brings everything in order: one instance of each app, and nothing else.
    #[track_caller]
    fn settle(&mut self) {
        self.revive();
        let server = &self.story.server;
        server.wait_until("everything to be at rest", || {
            let app = self.story.app();
            app["status"] == "online" && app["other"].is_null()
        });
        let expected = ["node main.js", "node main.js", "node server.js"];
        server.wait_until(&format!("nothing but {expected:?} to run"), || {
            let mut running: Vec<String> = marked(&server.state_id()).into_iter().map(|(_, command)| command).collect();
            running.retain(|command| command != "sleep 0.1");
            running.sort_unstable();
            running == expected
        });
        assert_eq!(WRITERS.map(|writer| server.pid(writer)).to_vec(), self.pids, "{}", server.own_log());
        server.wait_until("what was half written to be gone", || {
            let names = |dir| fs::read_dir(server.path(dir)).unwrap().map(|entry| entry.unwrap().file_name());
            !["run", "run/runs", "state"]
                .into_iter()
                .flat_map(names)
                .any(|name| name.to_str().unwrap().ends_with(".new"))
        });
    }

    #[track_caller]
    fn end(self, what: &str) {
        let Instants { story, load, .. } = self;
        after_some(&load, 40);
        let ledger = load.end();
        tell(what, &ledger);
        ledger.assert_nothing_lost(KINDS);
        for app in WRITERS.into_iter().chain(["web"]) {
            assert_eq!(story.server.app(app)["restarts"], 0, "{app}\n{}", story.server.own_log());
        }
        let lines = assert_each_line_once(&story.server);
        print(&format!("{what}: {lines} lines, each of them once"));
    }
}

#[test]
fn a_supervisor_may_die_at_any_point_of_a_lines_way_and_of_its_own_start() {
    let mut instants = Instants::start();
    let pid = instants.story.app()["pid"].clone();
    for point in OF_LINES {
        instants.die_at(point, &[]);
    }
    for point in OF_A_START {
        instants.die_at("logs.written", &[]);
        instants.die_at(point, &[]);
    }
    instants.settle();
    assert_eq!(instants.story.app()["pid"], pid, "nothing was to be replaced");
    instants.end("deaths among lines");
}

#[test]
fn logs_that_are_to_be_kept_elsewhere_by_the_next_start_lose_and_double_no_line() {
    let mut instants = Instants::start();
    let mut dirs = vec![instants.story.server.log_dir()];
    // More than once, for it may be a batch of the other app that is cut off.
    for moved in ["one", "two", "three", "four"] {
        instants.die_at("logs.written", &[]);
        let kept_there = format!("logs = {{ dir = \"{moved}\",");
        instants.story.configure(&Instants::apps("").replace("logs = {", &kept_there));
        instants.settle();
        let server = &instants.story.server;
        let dir = server.log_dir().join(moved);
        server.wait_until("both to be kept elsewhere", || {
            WRITERS.iter().all(|writer| dir.join(format!("{writer}-combined.log")).exists())
        });
        dirs.push(dir);
    }
    assert_each_line_once_in(&instants.story.server, &dirs);
}

#[test]
fn a_supervisor_may_die_at_any_point_of_a_rollover() {
    let mut instants = Instants::start();
    for point in OF_A_ROLLOVER {
        instants.die_at(point, &["restart", "web"]);
    }
    instants.settle();
    instants.end("deaths in rollovers");
}

#[test]
fn a_supervisor_may_die_at_any_point_of_an_apply_and_of_a_signal() {
    let mut instants = Instants::start();
    let pid = instants.story.app()["pid"].clone();
    for (number, point) in OF_AN_APPLY.iter().enumerate() {
        let comes = number % 2 == 0;
        if !comes {
            instants.revive();
            let server = &instants.story.server;
            server.wait_until("the other app to run", || server.app("deaf")["pid"].is_number());
        }
        instants.story.configure(&Instants::apps(if comes { DEAF } else { "" }));
        instants.die_at(point, &["apply"]);
    }
    for point in OF_A_SIGNAL {
        instants.die_at(point, &["signal", "rotated", "SIGCONT"]);
    }
    instants.settle();
    assert_eq!(instants.story.app()["pid"], pid, "nothing was to be replaced");
    instants.end("deaths in applies");
}

#[test]
fn a_supervisor_may_die_at_any_point_of_an_upgrade() {
    let mut instants = Instants::start();
    let pid = instants.story.app()["pid"].clone();
    instants.story.server.kill_supervisor();
    instants.is_dead = true;
    for point in OF_AN_UPGRADE {
        instants.story.server.update();
        instants.revive();
        instants.story.server.update();
        instants.die_at(point, &["upgrade"]);
    }
    instants.settle();
    assert_eq!(instants.story.app()["pid"], pid, "nothing was to be replaced");
    instants.end("deaths in upgrades");
}

/// Whoever comes to this point next dies there.
fn arm(story: &Story, point: &str) {
    let file = story.server.path("failpoint.new");
    fs::write(&file, point).unwrap();
    fs::rename(file, story.server.path("failpoint")).unwrap();
}

/// Nobody waits for an answer, and no rollover is under way: another one would end its drain at once.
fn may_ask(story: &Story, asked: Option<&Program>) -> bool {
    let apps: Option<Value> =
        Client::new(story.server.socket()).ok().and_then(|mut client| client.get(routes::APPS).ok());
    let apps = apps.as_ref().and_then(Value::as_array);
    let web = apps.and_then(|apps| apps.iter().find(|app| app["name"] == "web"));
    asked.is_none_or(|asked| !is_alive(asked.pid())) && web.is_some_and(|web| web["other"].is_null())
}

#[test]
fn the_link_to_the_active_release_follows_wherever_its_supervisor_dies() {
    let server = Setup::default().env("INFISSI_FAILPOINT", "failpoint").prepare("");
    let mut story = Story { server, port: free_port() };
    ["one", "two"].iter().for_each(|release| story.build_release(release, ""));
    let root = story.server.path("");
    let deploy = format!("cwd = \".\"\ndeploy = {{ root = \"{}\", warm = \"100ms\" }}\n", root.display());
    story.configure(&format!("{deploy}{LONG_DRAIN}"));
    story.server.run();
    story.activate("one", false).unwrap();
    story.wait_public();
    let load = Load::start(Instants::plan(&story));
    for (point, release) in OF_AN_ACTIVATION.iter().zip(["two", "one"].iter().cycle()) {
        arm(&story, point);
        let supervisor = story.server.supervisor_pid();
        std::thread::scope(|scope| {
            let activating = scope.spawn(|| story.activate(release, false).is_ok());
            story.server.wait_until(&format!("the supervisor to die at {point}"), || !is_alive(supervisor));
            let _told_or_not = activating.join();
        });
        story.server.ended();
        story.server.run();
        story.server.wait_until("the link to lead to the active release", || {
            let (app, link) = (story.app(), fs::read_link(root.join("live")));
            let active = Path::new("releases").join(app["release"].as_str().unwrap_or_default());
            app["status"] == "online" && app["other"].is_null() && link.is_ok_and(|link| link == active)
        });
        assert!(fs::symlink_metadata(root.join("live.new")).is_err(), "half a link is left");
        assert!(*point != "live.made" || story.app()["release"] == *release, "it was decided by then");
    }
    after_some(&load, 20);
    let ledger = load.end();
    tell("deaths in activations", &ledger);
    ledger.assert_nothing_lost(KINDS);
}

#[test]
fn a_supervisor_that_dies_while_it_starts_a_worker_leaves_no_second_one() {
    let mut story = Story::with(Setup::default().env("INFISSI_FAILPOINT", "failpoint"), LONG_DRAIN);
    let pid = story.app()["pid"].clone();
    for point in OF_A_WORKER {
        let supervisor = story.server.supervisor_pid();
        let old = story.server.wait_for("the worker", || story.server.worker());
        arm(&story, point);
        signal(old, Signal::SIGKILL);
        story.server.wait_until(&format!("the supervisor to die at {point}"), || !is_alive(supervisor));
        story.server.ended();
        story.server.run();
        story.wait_public();
        story.server.wait_until(&format!("one worker alone to have the port after {point}"), || {
            let holders = holders(story.port).into_iter().filter_map(|holder| Some(holder.process?.0));
            let both = story.server.worker().map(|worker| BTreeSet::from([story.server.supervisor_pid(), worker]));
            both.is_some_and(|both| holders.collect::<BTreeSet<i32>>() == both)
        });
        assert_eq!((&story.app()["pid"], &story.app()["restarts"]), (&pid, &0.into()), "the app is not concerned");
    }
}

#[test]
fn a_supervisor_may_die_while_it_ends_a_drain_before_its_time() {
    let mut story = Story::with(Setup::default().env("INFISSI_FAILPOINT", "failpoint"), LONG_DRAIN);
    let streams = Load::start(story.plan().kinds(&[Kind::Events]).span(Duration::from_secs(2)));
    for point in ["cut.begun", "cut.done"] {
        story.server.wait_until("a stream to be open", || {
            let shown = story.server.show("web");
            shown["traffic"]["streams"].as_u64().is_some_and(|streams| streams > 0)
        });
        let first = story.server.follow(&["restart", "web"]);
        story.server.wait_until("the old slot to drain", || story.app()["other"]["phase"] == "draining");
        let supervisor = story.server.supervisor_pid();
        arm(&story, point);
        let second = story.server.follow(&["restart", "web"]);
        story.server.wait_until(&format!("the supervisor to die at {point}"), || !is_alive(supervisor));
        drop((first, second));
        story.server.ended();
        story.server.run();
        story.server.wait_until("one instance to be left", || {
            let app = story.app();
            app["status"] == "online" && app["other"].is_null() && marked(&story.server.state_id()).len() == 1
        });
    }
    drop(streams);
}

/// A number below this, of a sequence that is the same each time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }
}

fn kills() -> usize {
    if is_soak() { 200 } else { 20 }
}

#[test]
fn a_supervisor_may_be_killed_whenever_you_like() {
    let (mut instants, mut dice) = (Instants::start(), Dice(1));
    let mut asked: Option<Program> = None;
    for kill in 0..kills() {
        if may_ask(&instants.story, asked.as_ref()) {
            asked = Some(instants.story.server.follow(&["restart", "web"]));
        }
        after_some(&instants.load, dice.throw(15));
        instants.story.server.kill_supervisor();
        // Every other one is killed in its turn, mostly while it begins.
        if kill % 2 == 0 {
            instants.story.server.begin();
            after_some(&instants.load, dice.throw(5));
        } else {
            instants.story.server.run();
        }
    }
    drop(asked);
    instants.story.server.kill_supervisor();
    instants.is_dead = true;
    instants.settle();
    instants.end(&format!("{} deaths of the supervisor", kills()));
}

#[test]
fn a_worker_may_be_killed_whenever_you_like() {
    let (instants, mut dice) = (Instants::start(), Dice(2));
    let Instants { story, load, .. } = &instants;
    let mut deaths = Vec::new();
    let mut asked: Option<Program> = None;
    let mut born = load.age();
    for death in 0..kills() {
        if death % 2 == 0 {
            // After more in a row the next one takes its time.
            story.server.wait_until("it to be a steady one", || load.age() >= born + STEADY);
        }
        if may_ask(story, asked.as_ref()) {
            asked = Some(story.server.follow(&["restart", "web"]));
        }
        after_some(load, dice.throw(15));
        let pid = worker(story);
        let killed = load.age();
        signal(pid, Signal::SIGKILL);
        story.server.wait_until("the worker to be gone", || !is_alive(pid));
        deaths.push((killed, load.age()));
        story.server.wait_until("another worker", || worker(story) != pid);
        born = load.age();
    }
    drop(asked);
    let Instants { story, load, .. } = instants;
    after_some(&load, 40);
    let ledger = load.end();
    tell("deaths of the worker", &ledger);
    ledger.assert_only(|row| cost_by(&deaths, row));
    assert_eq!(story.app()["restarts"], 0, "the app is not concerned");
}
