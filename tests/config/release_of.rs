//! `release_of`: whose release an app runs from, where its paths begin, and what is wrong with it, word by word.

use crate::story::{config, expect};
use infissi::config::{AppConfig, ReleaseOf};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CURRENT: &str = "[apps.current]\nport = 3000\naliases = [\"crm\"]\ndeploy = { root = \"crm\" }\n";

/// The worker of a configuration that has `current`, too.
fn worker(keys: &str) -> Arc<AppConfig> {
    // Before its leader, for the order says nothing.
    let config = config(&format!("[apps.worker]\n{keys}\n{CURRENT}"));
    Arc::clone(config.app("worker").unwrap())
}

#[test]
fn it_names_an_app_or_its_alias_and_begins_in_its_live_release() {
    for of in ["current", "crm"] {
        let worker = worker(&format!("release_of = {of:?}"));
        let expected = ReleaseOf { app: "current".to_owned(), root: PathBuf::from("/srv/crm") };
        assert_eq!((worker.release_of.as_ref(), worker.port), (Some(&expected), None));
        assert_eq!((worker.cwd.as_path(), worker.deploy.as_ref()), (Path::new("/srv/crm/live"), None));
    }
}

#[test]
fn its_relative_paths_are_within_the_release_and_lead_into_the_one_that_it_is_started_from() {
    let worker = worker(
        r#"release_of = "current"
        cwd = "./workers"
        path = ["../bin", "/opt/bin"]
        env_file = "../.env?"
        backup = { dir = "backups" }"#,
    );
    let in_live = |path: &str| Path::new("/srv/crm/live").join(path);
    assert_eq!((worker.cwd.clone(), worker.path[0].clone()), (in_live("workers"), in_live("workers/../bin")));
    assert_eq!((worker.path[1].as_path(), worker.env_file.as_ref().unwrap().optional), (Path::new("/opt/bin"), true));
    let backup = worker.backup.as_ref().unwrap();
    assert_eq!((backup.dir.as_path(), backup.base.as_path()), (Path::new("/srv/crm/backups"), Path::new("/srv/crm")));
    assert_eq!(backup.include[0].as_str(), "shared", "what outlives a release");

    let started = worker.in_release(Path::new("/srv/crm/releases/7"));
    assert_eq!(started.cwd, Path::new("/srv/crm/releases/7/workers"));
    assert_eq!(started.env_file.unwrap().path, Path::new("/srv/crm/releases/7/workers/../.env"));
    assert_eq!(started.path, [Path::new("/srv/crm/releases/7/workers/../bin"), Path::new("/opt/bin")]);
}

#[test]
fn an_absolute_directory_and_a_default_one_are_taken_as_elsewhere() {
    assert_eq!(worker("release_of = \"current\"\ncwd = \"/x\"").cwd, Path::new("/x"));
    let text = format!("[defaults]\ncwd = \"app\"\n{CURRENT}[apps.worker]\nrelease_of = \"current\"\n");
    assert_eq!(config(&text).app("worker").unwrap().cwd, Path::new("/srv/crm/live/app"));
}

#[test]
fn it_may_be_a_job_and_have_the_defaults_of_deploys_beside_it() {
    let text = format!(
        "[defaults.deploy]\nkeep = 2\n{CURRENT}[apps.worker]\nrelease_of = \"current\"\nschedule = \"0 2 * * *\"\n"
    );
    let worker = Arc::clone(config(&text).app("worker").unwrap());
    assert!(worker.is_job() && worker.release_of.is_some() && worker.deploy.is_none());
}

#[test]
fn it_has_neither_a_port_nor_releases_of_its_own() {
    expect(&[(
        r#"[apps.current.deploy]
root = "crm"
[apps.worker]
release_of = "current"
port = 3001
deploy = { repo = "x" }"#,
        &[
            "supervisor.toml:5:8: apps.worker.port: an app that runs from another one's release has no port: leave out port or release_of",
            "supervisor.toml:6:10: apps.worker.deploy: an app that runs from another one's release has none of its own: leave out deploy or release_of",
        ],
    )]);
}

#[test]
fn it_names_another_app_that_has_releases_itself() {
    expect(&[
        (
            r#"[apps.worker]
release_of = "worker""#,
            &[
                "supervisor.toml:2:14: apps.worker.release_of: it is this app itself: write the name of another one, which has a [deploy] table",
            ],
        ),
        (
            r#"[apps.curent]
deploy = { root = "x" }
[apps.worker]
release_of = "current""#,
            &[r#"supervisor.toml:4:14: apps.worker.release_of: there is no app "current": did you mean "curent"?"#],
        ),
        (
            r#"[apps.plain]
port = 3000
[apps.worker]
release_of = "plain""#,
            &[
                "supervisor.toml:4:14: apps.worker.release_of: plain has no releases: give [apps.plain.deploy] a root, or name another app",
            ],
        ),
        (
            r#"[apps.current]
deploy = { root = "x" }
[apps.worker]
release_of = "current"
[apps.mailer]
release_of = "worker""#,
            &[
                r#"supervisor.toml:6:14: apps.mailer.release_of: worker has no releases of its own: it runs from those of current: write "current""#,
            ],
        ),
    ]);
}

#[test]
fn it_is_a_text_and_no_default_and_what_is_wrong_with_its_leader_is_told_once() {
    expect(&[
        (
            r#"[defaults]
release_of = "current"
[apps.current]
deploy = { root = "x" }"#,
            &["supervisor.toml:2:14: defaults.release_of: apps cannot share it: write it into each app's own table"],
        ),
        (
            r#"[apps.current]
deploy = { keep = 2 }
[apps.worker]
release_of = "current"
[apps.mailer]
release_of = 7
[apps.other]
release_of = "mailer""#,
            &[
                r#"supervisor.toml:2:10: apps.current.deploy: it does not say where the releases are: add root = "DIRECTORY""#,
                r#"supervisor.toml:6:14: apps.mailer.release_of: 7 is not a text: put it in quotes: "7""#,
            ],
        ),
        (
            r#"[apps.worker]
release_of = """#,
            &["supervisor.toml:2:14: apps.worker.release_of: it is empty: write a value or leave the key out"],
        ),
    ]);
}
