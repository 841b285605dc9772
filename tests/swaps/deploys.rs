//! Deploys with real git and real npm, under load: what goes well costs nobody a request, and what goes wrong, wherever
//! it does, leaves the old release serving.

use crate::ledger::Ledger;
use crate::load::{ALL_KINDS, Load};
use crate::machine::{Output, PATIENCE, Program, command, get, is_alive, now, print, signal};
use crate::story::{LONG_DRAIN, Story, after_some, tell};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// A repository in `src`, and a supervisor that has its releases in `site`.
pub(crate) struct Site {
    pub(crate) story: Story,
}

impl Site {
    pub(crate) fn of(story: Story) -> Site {
        Site { story }
    }

    /// With the demo app.
    fn prepare(more: &str) -> Site {
        Site::prepare_with(more, "")
    }

    /// `others`: more apps.
    fn prepare_with(more: &str, others: &str) -> Site {
        let story = Story::prepare();
        let site = Site { story };
        let source = site.path("src");
        std::fs::create_dir(&source).unwrap();
        for file in ["server.js", "websocket.js"] {
            std::fs::copy(site.path("demo").join(file), source.join(file)).unwrap();
        }
        site.git(&["init", "--quiet", "--initial-branch=main"]);
        site.write(&[]);
        site.commit("the first");
        std::fs::create_dir_all(site.path("site/shared")).unwrap();
        std::fs::write(site.path("site/shared/.env"), "FROM_SHARED=yes\n").unwrap();
        let table = format!(
            "command = \"npm start\"\ncwd = \".\"\nenv_file = \".env\"\n{LONG_DRAIN}\
             health = {{ http = \"/api/health\", interval = \"500ms\", healthy = 1, start_timeout = \"5s\" }}\n\
             deploy = {{ root = \"site\", repo = \"src\", branch = \"main\", shared = [\".env\"], min_free = \"1M\", \
             bridge = [\"static\"], migrate = [\"node migrate.js\"], {more} }}\n{others}"
        );
        site.story.configure(&table);
        site
    }

    /// With its first release serving.
    fn start(more: &str) -> Site {
        let mut site = Site::prepare(more);
        site.story.server.run();
        site.deploy(&["--no-wait", "--id", "one"]).ok();
        site.story.wait_public();
        site
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.story.server.path(path)
    }

    /// The project, with other scripts than usual.
    fn write(&self, scripts: &[(&str, &str)]) {
        let mut all = json!({
            "start": "node server.js",
            "build": "node -e \"fs.mkdirSync('static', { recursive: true }); \
                      fs.writeFileSync('static/' + process.env.INFISSI_RELEASE + '.js', process.env.FROM_SHARED)\"",
        });
        for (name, script) in scripts {
            all[*name] = Value::from(*script);
        }
        let package = json!({ "name": "site", "version": "1.0.0", "scripts": all });
        let lock = json!({
            "name": "site", "version": "1.0.0", "lockfileVersion": 3, "requires": true,
            "packages": { "": { "name": "site", "version": "1.0.0" } },
        });
        self.put("package.json", &package.to_string());
        self.put("package-lock.json", &lock.to_string());
        self.put("migrate.js", "require('fs').appendFileSync('../../migrated', process.env.INFISSI_COMMIT + '\\n')");
    }

    pub(crate) fn put(&self, file: &str, text: &str) {
        std::fs::write(self.path("src").join(file), text).unwrap();
    }

    #[track_caller]
    pub(crate) fn git(&self, words: &[&str]) -> String {
        let mut git = command("git");
        git.args(["-c", "user.name=ann", "-c", "user.email=ann@example.org"]).args(words).current_dir(self.path("src"));
        Program::start(&mut git).end().ok().stdout.trim().to_owned()
    }

    pub(crate) fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    #[track_caller]
    pub(crate) fn deploy(&self, more: &[&str]) -> Output {
        let mut words = vec!["deploy", "web"];
        words.extend(more);
        self.story.server.ctl(&words)
    }

    fn releases(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("site/releases")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[track_caller]
    fn wait_live(&self, release: &str) {
        let leads =
            || std::fs::read_link(self.path("site/live")).is_ok_and(|to| to == PathBuf::from("releases").join(release));
        self.story.server.wait_until("the link live to follow", leads);
    }

    /// Whence the worker `queue` has run, each time.
    #[track_caller]
    fn wait_said(&self, releases: &[&str]) {
        let lines: Vec<String> = releases.iter().map(|release| format!("from {release} in {release}")).collect();
        let said = || {
            let log = self.story.server.log("queue-out.log");
            log.lines().filter_map(|line| Some(line[line.find("from ")?..].to_owned())).collect::<Vec<_>>()
        };
        self.story.server.wait_until("the worker to run from it", || said().len() >= lines.len());
        assert_eq!(said(), lines);
    }

    fn state_of(&self, release: &str) -> Value {
        let rows = self.story.server.json(&["releases", "web"]);
        let row = rows.as_array().unwrap().iter().find(|row| row["release"] == release);
        row.map_or(Value::Null, |row| row["state"].clone())
    }
}

#[test]
fn two_deploys_and_a_rollback_lose_no_request() {
    let site = Site::start("warm = \"60s\", keep = 2");
    assert_eq!(site.story.app()["release"], "one");
    site.wait_live("one");
    let load = Load::start(site.story.plan().span(Duration::from_millis(500)));
    load.releases().expect(&["one"]);
    after_some(&load, 100);

    let second = site.commit("the second");
    let two = "two";
    load.releases().expect(&["one", two]);
    let said = site.deploy(&["--no-wait", "--id", two]).ok();
    assert_eq!(site.story.app()["release"], two);
    assert!(said.stdout.contains("npm ci --include=dev") && said.stdout.contains("npm run build"), "{said:#?}");
    assert!(said.stdout.contains(&format!("release {two} has the traffic after")), "{said:#?}");
    site.wait_live(two);
    after_some(&load, 200);

    let began = now();
    let back = site.story.server.ctl(&["rollback", "web"]).ok();
    let took = began.elapsed();
    assert!(back.stdout.contains("release one has the traffic again, at once"), "{back:#?}");
    assert!(back.stdout.contains("Migrations are not undone"), "{back:#?}");
    print(&format!("a warm rollback: {took:.0?} from the command to its end; {}", back.stdout));
    assert!(took < PATIENCE, "it starts nothing");
    site.wait_live("one");
    load.releases().expect(&["one"]);
    after_some(&load, 200);

    load.releases().expect(&["one", "three"]);
    site.commit("the third");
    let said = site.deploy(&["--no-wait", "--id", "three"]).ok();
    assert!(said.stdout.contains("2 files of earlier releases are served on"), "{said:#?}");
    after_some(&load, 100);
    load.wait_for_each(3);
    let ledger = load.end();
    tell("two deploys and a rollback", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert!(ledger.answers().keys().any(|by| by.release == two) && ledger.answers().len() >= 3, "{ledger}");

    // What every step found, and what is left of it.
    for file in ["one.js", &format!("{two}.js"), "three.js"] {
        let text = std::fs::read_to_string(site.path("site/releases/three/static").join(file)).unwrap();
        assert_eq!(text, "yes", "the shared .env, in {file}");
    }
    let migrated = std::fs::read_to_string(site.path("site/migrated")).unwrap();
    assert!(migrated.lines().count() == 3 && migrated.contains(&second), "{migrated}");
    let log = std::fs::read_to_string(site.path("site/deploys/three/deploy.log")).unwrap();
    assert!(log.contains("npm run build") && log.contains("== done in"), "{log}");
    // Two are kept, and never one that runs is removed.
    assert_eq!((site.state_of("three"), site.state_of("one")), ("active".into(), "warm".into()));
    assert_eq!(site.releases(), ["one", "three"], "{two} is pruned");
}

#[test]
fn a_cold_rollback_starts_the_release_before_anew_and_loses_no_request() {
    let site = Site::start("warm = \"200ms\"");
    site.commit("the second");
    let load = Load::start(site.story.plan().span(Duration::from_millis(300)));
    let said = site.deploy(&["--id", "two"]).ok();
    assert!(said.stdout.contains("release two is live, deployed in"), "{said:#?}");
    after_some(&load, 100);
    site.story.server.wait_until("the old slot to be gone", || site.story.app()["other"].is_null());
    let began = now();
    let back = site.story.server.ctl(&["rollback", "web"]).ok();
    let took = began.elapsed();
    assert!(back.stdout.contains("release one has the traffic again, started anew"), "{back:#?}");
    let start = site.story.server.events_of("web", "online").last().unwrap()["message"].clone();
    print(&format!("a cold rollback: {took:.1?} from the command to its end, of which the app: {start}"));
    assert_eq!(site.story.app()["release"], "one");
    // Else what still drains would be cut off.
    site.story.server.wait_until("the old slot to be gone", || site.story.app()["other"].is_null());
    let named = site.story.server.ctl(&["rollback", "web", "--to", "two"]).ok();
    assert!(named.stdout.contains("release two has the traffic again"), "{named:#?}");
    load.wait_for_each(2);
    let ledger = load.end();
    tell("a cold rollback", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    let none = site.story.server.ctl(&["rollback", "web", "--to", "zero"]);
    assert_eq!(none.code, 1, "{none:#?}");
}

#[test]
fn whatever_fails_on_the_way_leaves_the_old_release_serving() {
    let site = Site::start("warm = \"200ms\"");
    let load = Load::start(site.story.plan().span(Duration::from_millis(300)));
    load.releases().expect(&["one"]);
    after_some(&load, 50);
    let fails = |words: &[&str], says: &[&str], left: &[&str]| {
        let failed = site.deploy(words);
        assert_eq!(failed.code, 1, "{failed:#?}");
        for say in says {
            assert!(failed.said().contains(say), "{say}: {failed:#?}");
        }
        assert_eq!(site.releases(), left, "{failed:#?}");
        assert_eq!(site.story.app()["release"], "one");
    };
    fails(&["--ref", "nowhere"], &["has no branch, tag or commit nowhere", "git ls-remote"], &["one"]);
    fails(&["--id", "one"], &["there is a release one of web already"], &["one"]);

    site.git(&["checkout", "--quiet", "-b", "bad-install"]);
    site.write(&[("preinstall", "echo no compiler here >&2; exit 9")]);
    site.commit("cannot be installed");
    let install =
        ["no compiler here", "`npm ci --include=dev` failed with exit code 9", "release one serves on", "deploy.log"];
    fails(&["--ref", "bad-install", "--id", "install"], &install, &["install", "one"]);

    site.write(&[("build", "echo no such file >&2; exit 7")]);
    site.commit("does not build");
    let build = ["install, which had failed, is removed", "no such file", "`npm run build` failed with exit code 7"];
    fails(&["--ref", "bad-install", "--id", "build"], &build, &["build", "one"]);
    assert_eq!(site.state_of("build"), "failed");

    site.write(&[]);
    site.put("migrate.js", "process.exit(3)");
    site.commit("does not migrate");
    let migrate = ["`node migrate.js` failed with exit code 3", "the database may be half-changed"];
    fails(&["--ref", "bad-install", "--id", "migrate"], &migrate, &["migrate", "one"]);

    site.write(&[("start", "DEMO_FAULT=sick node server.js")]);
    site.commit("is never healthy");
    let sick = ["answered 500", "GET /api/health 500", "release one serves on", "stays in"];
    fails(&["--ref", "bad-install", "--id", "sick"], &sick, &["one", "sick"]);

    let missing = site.path("site/shared/.env");
    std::fs::rename(&missing, site.path("away")).unwrap();
    fails(&["--id", "shared"], &["there is no ", "shared/.env", "mkdir -p"], &["one"]);
    std::fs::rename(site.path("away"), &missing).unwrap();

    over(load, &site, "six deploys that fail");
    site.git(&["checkout", "--quiet", "main"]);
    let commit = site.git(&["rev-parse", "HEAD"]);
    site.deploy(&[]).ok();
    let two = site.story.app()["release"].as_str().unwrap().to_owned();
    assert!(two.starts_with("20") && two.ends_with(&format!("-{}", &commit[..7])), "the time and the commit: {two}");
    assert_eq!(site.releases(), [two, "one".to_owned()]);
}

/// Nobody has noticed anything.
fn over(load: Load, site: &Site, what: &str) -> Ledger {
    load.wait_for_each(2);
    let ledger = load.end();
    tell(what, &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert_eq!(ledger.answers().len(), 1, "{ledger}");
    assert!(get(site.story.port, "/").unwrap().1.contains("one"));
    ledger
}

#[test]
fn a_second_deploy_is_told_of_the_first_and_one_that_is_ended_leaves_nothing() {
    let site = Site::start("warm = \"200ms\"");
    let load = Load::start(site.story.plan().span(Duration::from_millis(300)));
    load.releases().expect(&["one"]);
    let pids = site.path("building");
    let build = format!("sh -c 'echo $$ >> {}; exec sleep 1000'", pids.display());
    site.write(&[("build", &build)]);
    site.commit("builds for ever");
    let builder = |count: usize| {
        site.story.server.wait_for("the build to begin", || {
            let text = std::fs::read_to_string(&pids).unwrap_or_default();
            text.lines().nth(count)?.parse::<i32>().ok()
        })
    };

    let first = site.story.server.follow(&["deploy", "web", "--id", "ended"]);
    let building = builder(0);
    let second = site.deploy(&[]);
    assert_eq!(second.code, 5, "{second:#?}");
    let pid = format!("(pid {})", first.pid());
    for say in ["web is being deployed by", &pid, "at npm run build", "--wait 20m"] {
        assert!(second.stderr.contains(say), "{say}: {second:#?}");
    }
    let waited = site.deploy(&["--wait", "300ms"]);
    assert_eq!(waited.code, 5, "{waited:#?}");
    assert_eq!(site.state_of("ended"), "unfinished");
    let shown = site.story.server.ctl(&["releases", "web"]).ok();
    assert!(shown.stdout.contains("web is being deployed by") && shown.stdout.contains("unfinished"), "{shown:#?}");
    signal(first.pid(), Signal::SIGINT);
    let ended = first.end();
    assert_eq!(ended.code, 130, "{ended:#?}");
    assert!(ended.stderr.contains("nothing of the release is left"), "{ended:#?}");
    assert!(!is_alive(building), "its build has ended with it");
    assert_eq!(site.releases(), ["one"]);

    let killed = site.story.server.follow(&["deploy", "web", "--id", "killed"]);
    let building = builder(1);
    signal(killed.pid(), Signal::SIGKILL);
    assert_eq!(killed.end().code, 137);
    assert_eq!(site.releases(), ["killed", "one"]);
    over(load, &site, "two deploys that are ended");

    site.write(&[]);
    site.commit("builds");
    let said = site.deploy(&["--id", "two"]).ok();
    assert!(said.stdout.contains("was cut off at npm run build: what it had made is removed"), "{said:#?}");
    assert!(!is_alive(building), "what it had started is ended, too");
    assert_eq!(site.releases(), ["one", "two"]);
}

#[test]
fn a_release_from_a_directory_is_staged_looked_at_and_swapped_to() {
    let site = Site::start("warm = \"200ms\"");
    let dry = site.deploy(&["--from", "src", "--dry-run"]).ok();
    for say in
        ["the directory ", "npm ci --include=dev", "node migrate.js", "release one serves now", "Nothing was done"]
    {
        assert!(dry.stdout.contains(say), "{say}: {dry:#?}");
    }
    assert_eq!(site.releases(), ["one"]);
    site.put("only-here", "not committed");
    let staged = site.deploy(&["--from", "src", "--id", "two", "--stage"]).ok();
    assert!(staged.stdout.contains("ssh -L") && staged.stdout.contains("infissi-ctl swap web"), "{staged:#?}");
    assert_eq!((site.story.app()["release"].as_str(), site.state_of("two")), (Some("one"), "staged".into()));
    assert!(site.path("site/releases/two/only-here").exists() && !site.path("site/releases/two/.git").exists());
    site.story.server.ctl(&["swap", "web"]).ok();
    site.wait_live("two");
    let json = site.story.server.json(&["deploy", "web", "--from", "src", "--id", "three"]);
    assert_eq!((&json["release"], &json["staged"]), (&"three".into(), &false.into()), "{json:#}");
    assert!(json["steps"].as_array().unwrap().iter().any(|step| step["step"] == "npm run build"), "{json:#}");
    let in_it = site.story.server.ctl(&["exec", "web", "--release", "two", "--", "node", "-p", "process.cwd()"]).ok();
    assert!(in_it.stdout.trim().ends_with("site/releases/two"), "{in_it:#?}");
}

#[test]
fn a_worker_follows_the_release_that_is_live_and_none_that_a_job_still_runs_from_is_removed() {
    let others = "[apps.queue]\nrelease_of = \"web\"\ncommand = \"node queue.js\"\n\
                  [apps.report]\nrelease_of = \"web\"\ncommand = \"sleep 1000\"\nschedule = \"0 0 1 1 *\"\n";
    let mut site = Site::prepare_with("warm = \"200ms\", keep = 1, steps = []", others);
    site.put(
        "queue.js",
        "console.log('from', process.env.INFISSI_RELEASE, 'in', require('path').basename(process.cwd()));\
         setInterval(() => {}, 1000)",
    );
    site.commit("with a worker");
    site.story.server.run();
    assert_eq!(site.story.server.wait_reason("queue", "waiting"), "web has no release yet");
    site.deploy(&["--no-wait", "--id", "one"]).ok();
    site.wait_said(&["one"]);
    site.story.server.ctl(&["restart", "report"]).ok();
    site.deploy(&["--id", "two"]).ok();
    site.wait_said(&["one", "two"]);
    assert_eq!((site.state_of("one"), site.releases()), ("in use".into(), vec!["one".to_owned(), "two".to_owned()]));
    site.story.server.ctl(&["rollback", "web"]).ok();
    site.wait_said(&["one", "two", "one"]);
    let queue = site.story.server.app("queue");
    assert_eq!((&queue["release"], &queue["restarts"]), (&"one".into(), &0.into()), "{queue:#}");
    assert_eq!(queue["last_exit"]["reason"], "deploy", "{queue:#}");

    for words in [["deploy", "queue"], ["releases", "queue"], ["rollback", "queue"], ["swap", "queue"]] {
        let refused = site.story.server.ctl(&words);
        assert!(refused.code == 2 && refused.stderr.contains("name web instead"), "{refused:#?}");
    }
    let echo = ["--", "sh", "-c", "echo $INFISSI_RELEASE in ${PWD##*/}"];
    let exec = |more: &[&str]| site.story.server.ctl(&[&["exec", "queue"], more, &echo].concat()).ok().stdout;
    assert_eq!((exec(&[]).trim(), exec(&["--release", "two"]).trim()), ("one in one", "two in two"));

    let pid = site.story.server.pid("queue");
    site.story.server.kill_supervisor();
    site.story.server.run();
    site.wait_said(&["one", "two", "one"]);
    assert_eq!(site.story.server.pid("queue"), pid);
    site.story.server.ctl(&["stop", "queue"]).ok();
    let stopped = site.story.server.ctl(&["exec", "queue", "--", "sh", "-c", "echo $INFISSI_RELEASE"]).ok();
    assert_eq!(stopped.stdout.trim(), "one", "also while nothing of it runs");
}

#[test]
fn the_first_release_out_of_a_checkout_that_serves_loses_no_request() {
    let mut site = Site::prepare("warm = \"200ms\"");
    site.put(".gitignore", "upload.txt\n");
    site.commit("what the app writes");
    site.put("upload.txt", "of the app");
    let plain = format!(
        "command = \"npm start\"\ncwd = {:?}\n{LONG_DRAIN}\
         health = {{ http = \"/api/health\", interval = \"500ms\", healthy = 1, start_timeout = \"5s\" }}\n",
        site.path("src")
    );
    site.story.configure(&plain);
    site.story.server.run();
    site.story.wait_public();
    let load = Load::start(site.story.plan().span(Duration::from_millis(300)));
    load.releases().expect(&["-"]);
    after_some(&load, 50);

    site.story.configure(&format!(
        "{plain}deploy = {{ root = \"site\", shared = [\"upload.txt\"], min_free = \"1M\", steps = [], warm = \"200ms\" }}\n"
    ));
    site.story.server.ctl(&["apply"]).ok();
    after_some(&load, 50);
    load.releases().expect(&["-", "one"]);
    let said = site.deploy(&["--init", "--id", "one"]).ok();
    assert!(said.stdout.contains("release one is live"), "{said:#?}");
    assert_eq!(std::fs::read_to_string(site.path("site/releases/one/upload.txt")).unwrap(), "of the app");
    after_some(&load, 50);
    load.wait_for_each(2);
    let ledger = load.end();
    tell("the first release", &ledger);
    ledger.assert_nothing_lost(ALL_KINDS);
    assert_eq!(ledger.answers().len(), 2, "by the checkout, and by the release: {ledger}");
}
