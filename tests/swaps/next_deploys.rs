//! The whole pipeline on what it is for: a Next.js app with a PostgreSQL, deployed from git by `npm ci`, `next build` and
//! a migration, and rolled back, while its clients go on.

use crate::deploys::Site;
use crate::ledger::Ledger;
use crate::load::Load;
use crate::machine::{get, now, print, skip};
use crate::next;
use crate::postgres::Postgres;
use crate::story::{LONG_DRAIN, Story, after_some, is_soak, tell};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

const FILES: [&str; 4] = ["package.json", "package-lock.json", "next.config.mjs", "signature.js"];
/// Installing and building it on a machine that does other things as well.
const BUILDING: Duration = Duration::from_secs(600);
const MIGRATION: &str = "migrations/1000000000002_authors.sql";

#[test]
fn a_next_app_and_its_database_are_deployed_and_rolled_back_losing_no_request_and_old_tabs_work_on() {
    if !is_soak() {
        return skip("installing and building Next.js four times is for INFISSI_SOAK=1");
    }
    let (Some(postgres), Some(())) = (Postgres::start(), next::is_installed()) else { return };
    let site = prepare(&postgres);
    deploy(&site, "one");
    site.story.wait_public();
    let first = r#"[{"id":1,"text":"written by the first migration"}]"#;
    assert!(notes(&site).contains(first), "{}", notes(&site));
    let tab = chunks(&site);
    assert!(page(&site).contains("the first release") && !tab.is_empty(), "{tab:?}");

    let load = Load::start(site.story.plan().kinds(next::KINDS).span(Duration::from_millis(500)).weight(1));
    load.releases().expect(&["one"]);
    after_some(&load, 100);
    change(&site, "the first release", "the second release");
    let column = "-- Up Migration\nALTER TABLE notes ADD COLUMN author text NOT NULL DEFAULT 'nobody';\n";
    site.put(MIGRATION, column);
    site.commit("the second");
    load.releases().expect(&["one", "two"]);
    deploy(&site, "two");
    load.releases().expect(&["two"]);
    after_some(&load, 100);
    assert!(page(&site).contains("the second release") && page(&site).contains("release=two"));
    assert!(notes(&site).contains(r#""author":"nobody""#), "{}", notes(&site));
    let newer = chunks(&site);
    assert_ne!(tab, newer);
    for (chunk, text) in &tab {
        let (path, _) = chunk.split_once('?').unwrap_or((chunk, ""));
        let (status, body) = get(site.story.port, path).unwrap();
        assert_eq!((status, &body), (200, text), "the new release has {path} from the old");
        assert_eq!(get(site.story.port, chunk).unwrap(), (200, text.clone()), "an open tab asks for {chunk}");
    }

    load.releases().expect(&["two", "three"]);
    change(&site, "the second release", "the third release");
    site.commit("the third");
    deploy(&site, "three");
    load.releases().expect(&["three"]);
    after_some(&load, 100);
    assert!(page(&site).contains("the third release"));
    load.releases().expect(&["two", "three"]);
    let began = now();
    site.story.server.ctl(&["rollback", "web"]).ok();
    print(&format!("a warm rollback, with the start of infissi-ctl: {} ms", began.elapsed().as_millis()));
    load.releases().expect(&["two"]);
    after_some(&load, 100);
    assert!(page(&site).contains("the second release"));

    site.put("migrations/1000000000003_broken.sql", "-- Up Migration\nALTER TABLE nothing ADD COLUMN x text;\n");
    site.commit("does not migrate");
    let failed = site.story.server.follow(&["deploy", "web", "--id", "four"]).end_within(BUILDING);
    assert_eq!(failed.code, 1, "{failed:#?}");
    for say in ["relation \"nothing\" does not exist", "the database may be half-changed", "release two serves on"] {
        assert!(failed.said().contains(say), "{say}: {failed:#?}");
    }
    over(load);
    assert_eq!(site.story.app()["restarts"], 0);
}

fn over(load: Load) {
    load.wait_for_each(3);
    let ledger: Ledger = load.end();
    tell("two deploys, a rollback and a failed migration of a Next.js app", &ledger);
    ledger.assert_nothing_lost(next::KINDS);
}

/// A repository of the fixture, without what was installed and built there.
fn prepare(postgres: &Postgres) -> Site {
    let story = Story::prepare();
    let source = story.server.path("src");
    for dir in ["app", "migrations"] {
        copy(&Path::new(next::APP).join(dir), &source.join(dir));
    }
    for file in FILES {
        std::fs::copy(Path::new(next::APP).join(file), source.join(file)).unwrap();
    }
    std::fs::create_dir(story.server.path("site")).unwrap();
    let nonces = story.nonces();
    let table = format!(
        "command = \"npm start -- --port {{port}} --hostname {{host}}\"\ncwd = \".\"\n{LONG_DRAIN}\
         env = {{ DATABASE_URL = \"{}\", DEMO_NONCES = \"{}\", NODE_ENV = \"production\" }}\n\
         health = {{ http = \"/api/health\", interval = \"500ms\" }}\n\
         deploy = {{ root = \"site\", repo = \"src\", branch = \"main\", min_free = \"1M\", bridge = [\".next/static\"], \
         migrate = [\"npm run migrate\"], warm = \"60s\" }}\n",
        postgres.url(),
        nonces.display()
    );
    story.configure(&table);
    let mut site = Site::of(story);
    site.git(&["init", "--quiet", "--initial-branch=main"]);
    site.commit("the first");
    site.story.server.run();
    site
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn change(site: &Site, from: &str, to: &str) {
    let file = site.path("src/app/tab.js");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from));
    std::fs::write(&file, text.replace(from, to)).unwrap();
}

/// Tells how long each phase took.
#[track_caller]
fn deploy(site: &Site, id: &str) {
    let words = ["--json", "deploy", "web", "--no-wait", "--id", id];
    let said = site.story.server.follow(&words).end_within(BUILDING).json();
    assert_eq!(said["release"], id, "{said:#}");
    let steps = said["steps"].as_array().unwrap().iter();
    let ms = |value: &Value| value["took_ms"].as_u64().unwrap();
    let phases: Vec<String> = steps.clone().map(|step| format!("{} {} ms", step["step"], ms(step))).collect();
    let rest = ms(&said) - steps.map(ms).sum::<u64>();
    print(&format!("deploy {id}: {}, the rest {rest} ms, all {} ms", phases.join(", "), ms(&said)));
}

#[track_caller]
fn page(site: &Site) -> String {
    let (status, page) = get(site.story.port, "/").unwrap();
    assert_eq!(status, 200, "{page}");
    page
}

#[track_caller]
fn notes(site: &Site) -> String {
    let (status, notes) = get(site.story.port, "/notes").unwrap();
    assert_eq!(status, 200, "{notes}");
    notes
}

/// The scripts of the page, as a browser asks for them, and what they are.
#[track_caller]
fn chunks(site: &Site) -> Vec<(String, String)> {
    let page = page(site);
    let scripts = page.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let own = scripts.filter(|path| path.starts_with("/_next/static/"));
    own.map(|path| {
        let path = path.replace("&amp;", "&");
        let (status, body) = get(site.story.port, &path).unwrap();
        assert_eq!(status, 200, "{path}");
        (path, body)
    })
    .collect()
}
