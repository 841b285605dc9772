//! Deploys of the demo app without git and npm, for the sake of time: cut off at every step, beside one another, and in
//! the place of what serves.

use crate::ledger::{Kind, Ledger};
use crate::load::Load;
use crate::machine::{Output, Program, get, print, signal};
use crate::story::{LONG_DRAIN, Story, after_some, is_soak, is_unanswered, tell};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Without streams, for which what stops first does not wait.
const REQUESTS: &[Kind] = &[Kind::Fresh, Kind::Kept, Kind::Post, Kind::Slow, Kind::Upload, Kind::Chunked];
/// What a release goes through, in this order; it waits in each while there is a file of that name.
const STEPS: [&str; 4] = ["install", "build", "migrate", "start"];

struct Quick {
    story: Story,
}

impl Quick {
    /// With release `one` serving.
    fn start(more: &str) -> Quick {
        let waits =
            |step: &str| format!("sh -c 'touch ../../at-{step}; while test -e ../../{step}; do sleep 0.02; done'");
        let [install, build, migrate, _] = STEPS.map(waits);
        let table = format!(
            "command = [\"sh\", \"-c\", \"touch ../../at-start; while test -e ../../start; do sleep 0.02; done; \
             exec node server.js\"]\ncwd = \".\"\nhold = \"30s\"\nkill_timeout = \"5s\"\n{LONG_DRAIN}\
             health = {{ http = \"/api/health\", interval = \"200ms\", healthy = 1, start_timeout = \"20s\" }}\n\
             deploy = {{ root = \"site\", min_free = \"1M\", steps = [\"{install}\", \"{build}\"], \
             migrate = [\"{migrate}\"], {more} }}\n"
        );
        let mut story = Story::prepare();
        std::fs::create_dir(story.server.path("site")).unwrap();
        story.configure(&table);
        story.server.run();
        let quick = Quick { story };
        quick.deploy("one", &["--no-wait"]).ok();
        quick.story.wait_public();
        quick
    }

    fn path(&self, file: &str) -> PathBuf {
        self.story.server.path("site").join(file)
    }

    fn deploying(&self, id: &str, more: &[&str]) -> Program {
        let words = [&["deploy", "web", "--from", "demo", "--id", id], more].concat();
        self.story.server.follow(&words)
    }

    #[track_caller]
    fn deploy(&self, id: &str, more: &[&str]) -> Output {
        self.deploying(id, more).end()
    }

    /// A deploy that is in this step and stays there until it is let go.
    #[track_caller]
    fn hold(&self, id: &str, step: &str, more: &[&str]) -> Program {
        let _of_another = std::fs::remove_file(self.path(&format!("at-{step}")));
        std::fs::write(self.path(step), "").unwrap();
        let deploying = self.deploying(id, more);
        self.story.server.wait_until(step, || self.path(&format!("at-{step}")).exists());
        deploying
    }

    fn let_go(&self, step: &str) {
        std::fs::remove_file(self.path(step)).unwrap();
    }

    #[track_caller]
    fn shown(&self) -> Value {
        self.story.server.show("web")
    }

    fn active(&self) -> String {
        self.story.app()["release"].as_str().unwrap_or("none").to_owned()
    }

    /// The demo app from now on.
    fn put_fault(&self, fault: &str) {
        let server = self.story.server.path("demo/server.js");
        let text = std::fs::read_to_string(&server).unwrap();
        let rest = text.split_once("/* fault */\n").map_or(text.as_str(), |(_, rest)| rest).to_owned();
        std::fs::write(server, format!("process.env.DEMO_FAULT = '{fault}';/* fault */\n{rest}")).unwrap();
    }

    #[track_caller]
    fn over(&self, load: Load, what: &str) -> Ledger {
        after_some(&load, 50);
        let ledger = load.end();
        tell(what, &ledger);
        ledger.assert_nothing_lost(&[Kind::Fresh, Kind::Kept, Kind::Post]);
        ledger
    }
}

/// How each deploy is ended, and in which step.
fn rounds() -> Vec<(Signal, &'static str)> {
    let (kill, lost) = (Signal::SIGKILL, Signal::SIGHUP);
    if is_soak() {
        return STEPS.into_iter().flat_map(|step| [(kill, step), (lost, step)]).collect();
    }
    vec![(kill, "install"), (lost, "build"), (kill, "migrate"), (lost, "start"), (kill, "start")]
}

#[test]
fn a_deploy_that_is_cut_off_at_any_step_leaves_the_old_release_serving_and_the_next_one_tells() {
    let quick = Quick::start("warm = \"0s\"");
    let load = Load::start(quick.story.plan().kinds(REQUESTS).span(Duration::from_millis(200)));
    let mut tells: Option<String> = None;
    for (round, (by, step)) in rounds().into_iter().enumerate() {
        let (id, before) = (format!("r{round}"), quick.active());
        let deploying = quick.hold(&id, step, &[]);
        // Once it is asked to, the supervisor goes on by itself.
        let (is_killed, is_asked) = (by == Signal::SIGKILL, step == "start");
        let going = quick.shown();
        assert_eq!(going["deploying"]["pid"], deploying.pid(), "{going:#}");
        let at = going["deploying"]["step"].as_str().unwrap();
        let expected = if is_asked { "activation".to_owned() } else { format!("at-{step}") };
        assert!(at.contains(&expected), "{at}");
        signal(deploying.pid(), by);
        let ended = deploying.end();
        assert_eq!(ended.code, if is_killed { 137 } else { 130 }, "{ended:#?}");
        assert!(tells.is_none_or(|tells| ended.stdout.contains(&tells)), "of the one before: {ended:#?}");
        let end = || quick.shown()["last_deploy"]["end"].clone();
        let told = if is_asked {
            "left"
        } else if is_killed {
            "cut-off"
        } else {
            "interrupted"
        };
        assert_eq!((end(), quick.active()), (told.into(), before), "{step}");
        quick.let_go(step);
        tells = match (is_asked, is_killed) {
            (true, _) => Some(format!("{id} has gone live since its deploy was left")),
            (false, true) => Some(format!("the deploy of {id} by")),
            (false, false) => None,
        };
        if is_asked {
            quick.story.server.wait_until("it to be live", || quick.active() == id);
            assert_eq!(end(), "deployed");
        }
    }
    // One that does not become active although nobody waits for it.
    quick.put_fault("crash-at-start");
    let deploying = quick.hold("bad", "start", &[]);
    signal(deploying.pid(), Signal::SIGHUP);
    deploying.end();
    quick.let_go("start");
    let last = quick
        .story
        .server
        .wait_for("its end", || Some(quick.shown()["last_deploy"].clone()).filter(|last| last["end"] == "failed"));
    assert!(last["why"].as_str().unwrap().contains("exited with code 1"), "{last:#}");
    let shown = quick.story.server.ctl(&["show", "web"]).ok();
    assert!(shown.stdout.contains("release bad by"), "{shown:#?}");
    quick.put_fault("");
    let next = quick.deploy("good", &[]).ok();
    assert!(next.stdout.contains("bad is not live: it exited with code 1"), "{next:#?}");
    let releases = quick.story.server.json(&["releases", "web"]);
    let is_whole = |row: &Value| ["active", "draining", "good"].contains(&row["state"].as_str().unwrap());
    assert!(releases.as_array().unwrap().iter().all(is_whole), "nothing half-made is left: {releases:#}");
    quick.over(load, "deploys that are cut off");
}

#[test]
fn a_supervisor_that_is_killed_in_the_middle_of_an_activation_is_followed_by_the_right_release() {
    let mut quick = Quick::start("warm = \"60s\"");
    let state = |quick: &Quick| -> Value {
        let text = std::fs::read(quick.story.server.path("state/state.json")).unwrap();
        serde_json::from_slice::<Value>(&text).unwrap()["apps"]["web"]["release"]["id"].clone()
    };
    let leads_to = |quick: &Quick, id: &str| std::fs::read_link(quick.path("live")).is_ok_and(|to| to.ends_with(id));
    let load = Load::start(quick.story.plan().kinds(&[Kind::Fresh, Kind::Kept]));
    for point in ["starting", "stopped first", "saved", "swapped", "linked"] {
        let (id, before) = (point.replace(' ', "-"), quick.active());
        let (rises, is_active) = (point == "starting", !["starting", "stopped first"].contains(&point));
        let deploying = match point {
            "starting" => quick.hold(&id, "start", &["--no-wait"]),
            "stopped first" => quick.hold(&id, "start", &["--stop-first"]),
            _ => quick.deploying(&id, &["--no-wait"]),
        };
        match point {
            "saved" => quick.story.server.wait_until(point, || state(&quick) == id),
            "swapped" => quick.story.server.wait_until(point, || quick.active() == id && state(&quick) == id),
            "linked" => quick.story.server.wait_until(point, || leads_to(&quick, &id)),
            _ => {}
        }
        quick.story.server.kill_supervisor();
        let ended = deploying.end();
        assert!(is_active || ended.code != 0, "{point}: {ended:#?}");
        if point == "stopped first" {
            quick.let_go("start");
        }
        let active = if is_active { id.clone() } else { before };
        assert_eq!(state(&quick), active, "{point}");
        quick.story.server.run();
        quick.story.server.wait_status("web", "online");
        assert_eq!(quick.active(), active, "{point}");
        let is_found = || get(quick.story.port, "/").is_some_and(|(_, page)| page.contains(&active));
        quick.story.server.wait_until("the public to find it", is_found);
        quick.story.server.wait_until("the link live to follow", || leads_to(&quick, &active));
        if rises {
            // It goes on beside what serves, and gets the traffic when it is healthy.
            quick.let_go("start");
            quick.story.server.wait_until("it to be live", || quick.active() == id);
        }
    }
    quick.deploy("next", &["--no-wait"]).ok();
    assert_eq!(quick.active(), "next");
    after_some(&load, 50);
    let ledger = load.end();
    tell("supervisors that are killed in the middle of activations", &ledger);
    // Its successor ends what it finds, before it starts the apps afresh.
    ledger.assert_only(is_unanswered);
}

#[test]
fn a_second_deploy_that_waits_comes_next() {
    let quick = Quick::start("warm = \"0s\"");
    let first = quick.hold("first", "build", &[]);
    let refused = quick.deploy("second", &[]);
    assert_eq!(refused.code, 5, "{refused:#?}");
    for say in ["web is being deployed by", &format!("(pid {})", first.pid()), "at-build", "--wait 20m"] {
        assert!(refused.stderr.contains(say), "{say}: {refused:#?}");
    }
    let second = quick.deploying("second", &["--wait", "1m"]);
    quick.story.server.wait_until("the second to wait", || second.stdout().contains("waiting for its end"));
    quick.let_go("build");
    first.end().ok();
    second.end().ok();
    assert_eq!(quick.active(), "second");
    let states = quick.story.server.json(&["releases", "web"]);
    assert!(
        states.as_array().unwrap().iter().any(|row| row["release"] == "first" && row["state"] == "good"),
        "{states:#}"
    );
}

#[test]
fn a_deploy_that_stops_first_holds_requests_and_goes_back_by_itself_when_it_fails() {
    let quick = Quick::start("warm = \"60s\"");
    let load = Load::start(quick.story.plan().kinds(REQUESTS).span(Duration::from_millis(300)));
    after_some(&load, 100);
    let said = quick.deploy("two", &["--stop-first"]).ok();
    assert!(said.stdout.contains("release two is live"), "{said:#?}");
    assert_eq!(
        (quick.active().as_str(), &quick.story.app()["other"]),
        ("two", &Value::Null),
        "nothing is kept beside it"
    );
    after_some(&load, 100);

    quick.put_fault("crash-at-start");
    let failed = quick.deploy("three", &["--stop-first"]);
    assert_eq!(failed.code, 1, "{failed:#?}");
    for say in ["exited with code 1", "release two is started again", "crashed at its start", "two has its place again"]
    {
        assert!(failed.said().contains(say), "{say}: {failed:#?}");
    }
    quick.story.server.wait_status("web", "online");
    assert_eq!(quick.active(), "two");
    let rows = quick.story.server.json(&["releases", "web"]);
    assert!(rows.as_array().unwrap().iter().any(|row| row["release"] == "three" && row["state"] == "bad"), "{rows:#}");
    let last = &quick.shown()["last_deploy"];
    assert_eq!((&last["end"], &last["release"]), (&"flipped-back".into(), &"three".into()), "{last:#}");
    let ledger = quick.over(load, "two deploys that stop first");
    assert_eq!(ledger.answers().len(), 3, "one, two, and two again\n{ledger}");

    quick.put_fault("");
    let back = quick.story.server.ctl(&["rollback", "web", "--stop-first"]).ok();
    print(&back.stdout);
    assert_eq!(quick.active(), "one");
    let refused = quick.deploy("four", &["--stop-first", "--stage"]);
    assert_eq!(refused.code, 2, "{refused:#?}");
}
