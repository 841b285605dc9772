//! `[apps.NAME.deploy]`: what its keys mean, and what is wrong with them, word by word.

use crate::story::{app, config, expect};
use infissi::config::{DeployConfig, SharedPath};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn deploy(text: &str) -> DeployConfig {
    app(text).deploy.clone().unwrap()
}

#[test]
fn a_root_is_enough() {
    let bare = deploy("[apps.a]\ndeploy.root = \"crm\"");
    let expected = DeployConfig {
        root: PathBuf::from("/srv/crm"),
        keep: 3,
        warm: Duration::from_secs(60),
        min_free: 1 << 30,
        ..DeployConfig::default()
    };
    assert_eq!(bare, expected);
}

#[test]
fn every_key_says_something() {
    let full = deploy(
        r#"
        [apps.a.deploy]
        root = "/crm"
        repo = "git@github.com:you/crm.git"
        branch = "main"
        shared = [".env", "./public/files", { path = "public/uploads", target = "/var/uploads" }, { path = "db", target = "data/db" }]
        steps = ["npm ci --include=dev", "sh -c 'npm run build && touch built'"]
        migrate = [["npx", "prisma", "migrate", "deploy"]]
        bridge = [".next/static"]
        keep = 5
        warm = "5m"
        min_free = "2G"
        backup = true
        [apps.a.backup]
        dir = "/backups"
        "#,
    );
    let shared = |path: &str, target: &str| SharedPath { path: PathBuf::from(path), target: PathBuf::from(target) };
    assert_eq!((full.repo.as_deref(), full.branch.as_deref()), (Some("git@github.com:you/crm.git"), Some("main")));
    assert_eq!(
        full.shared,
        [
            shared(".env", "/crm/shared/.env"),
            shared("public/files", "/crm/shared/public/files"),
            shared("public/uploads", "/var/uploads"),
            shared("db", "/crm/data/db"),
        ]
    );
    let steps: Vec<Vec<&str>> =
        vec![vec!["npm", "ci", "--include=dev"], vec!["sh", "-c", "npm run build && touch built"]];
    assert_eq!(full.steps.unwrap(), steps);
    assert_eq!(full.migrate, [["npx", "prisma", "migrate", "deploy"]]);
    assert_eq!(full.bridge, [Path::new(".next/static")]);
    assert_eq!((full.keep, full.warm, full.min_free), (5, Duration::from_secs(300), 2 << 30));
    assert!(full.backup);
}

#[test]
fn a_repository_may_be_a_directory_beside_the_file_and_no_steps_are_not_the_usual_ones() {
    let here = |repo: &str| deploy(&format!("[apps.a.deploy]\nroot = \"/crm\"\nrepo = {repo:?}")).repo.unwrap();
    assert_eq!(here("../src"), "/srv/../src");
    assert_eq!(here("/src/crm.git"), "/src/crm.git");
    assert_eq!(here("https://example.org/crm.git"), "https://example.org/crm.git");
    assert_eq!(deploy("[apps.a.deploy]\nroot = \"/crm\"").steps, None);
    assert_eq!(deploy("[apps.a.deploy]\nroot = \"/crm\"\nsteps = []").steps, Some(Vec::new()));
}

#[test]
fn apps_may_have_all_but_the_root_in_common() {
    let text = r#"
        [defaults.deploy]
        repo = "git@x:y"
        keep = 2
        shared = [".env"]
        [apps.staging.deploy]
        root = "staging"
        branch = "develop"
        [apps.current.deploy]
        root = "current"
        [apps.worker]
    "#;
    let config = config(text);
    let of = |name: &str| config.app(name).unwrap().deploy.clone();
    let (staging, current) = (of("staging").unwrap(), of("current").unwrap());
    assert_eq!((staging.keep, staging.repo, staging.branch), (2, Some("git@x:y".into()), Some("develop".into())));
    assert_eq!(current.shared[0].target, Path::new("/srv/current/shared/.env"));
    assert_eq!(of("worker"), None);
}

#[test]
fn every_mistake_is_told_with_its_key_and_line() {
    expect(&[
        (
            r#"[apps.a.deploy]
root = "~/crm"
repo = "--upload-pack=x"
branch = "a..b"
shared = ["/etc/passwd", "..", "a/../b", "ok", "ok/below", { target = "x" }, { path = "y", to = "z" }]
steps = ["npm ci && npm run build", "", "serve --port {port}"]
migrate = "npx prisma migrate deploy"
bridge = [".next/../.."]
keep = 0
min_free = 1
warm = 60
ref = "main""#,
            &[
                r#"supervisor.toml:2:8: apps.a.deploy.root: ~ is not expanded in "~/crm": write the whole path"#,
                r#"supervisor.toml:3:8: apps.a.deploy.repo: "--upload-pack=x" is no repository: write one like "git@github.com:you/app.git", "https://…" or a directory"#,
                r#"supervisor.toml:4:10: apps.a.deploy.branch: "a..b" cannot be a branch: write its name, such as "main""#,
                r#"supervisor.toml:5:11: apps.a.deploy.shared[0]: "/etc/passwd" is no path within a release: write one relative to the release, without .."#,
                r#"supervisor.toml:5:26: apps.a.deploy.shared[1]: ".." is no path within a release: write one relative to the release, without .."#,
                r#"supervisor.toml:5:32: apps.a.deploy.shared[2]: "a/../b" is no path within a release: write one relative to the release, without .."#,
                "supervisor.toml:5:48: apps.a.deploy.shared[4]: ok/below lies within ok or is the same: take one of them out",
                r#"supervisor.toml:5:60: apps.a.deploy.shared[5]: it does not say which path of a release it is: add path = "…""#,
                "supervisor.toml:5:92: apps.a.deploy.shared[6].to: there is no such key: there are path, target",
                r#"supervisor.toml:6:10: apps.a.deploy.steps[0]: && needs a shell, and none is used: write ["sh", "-c", "…"], or a list of texts to pass && on as it is"#,
                r#"supervisor.toml:6:37: apps.a.deploy.steps[1]: the command is empty: write the program and its arguments, such as "npm start""#,
                "supervisor.toml:6:41: apps.a.deploy.steps[2]: {port} stands in it, and no instance runs it: take {port} out",
                r#"supervisor.toml:7:11: apps.a.deploy.migrate: "npx prisma migrate deploy" is not a list: write a list of commands, such as ["npm ci", "npm run build"]"#,
                r#"supervisor.toml:8:11: apps.a.deploy.bridge[0]: ".next/../.." is no path within a release: write one relative to the release, without .."#,
                "supervisor.toml:9:8: apps.a.deploy.keep: 0 is not a count: write a number from 1 to 100",
                r#"supervisor.toml:10:12: apps.a.deploy.min_free: 1 is too small: write at least "1M" (units are K, M, G, T)"#,
                r#"supervisor.toml:11:8: apps.a.deploy.warm: 60 has no unit: write "60ms" or "60s""#,
                r#"supervisor.toml:12:1: apps.a.deploy.ref: there is no such key: write branch = "…", or deploy --ref once"#,
            ],
        ),
        (
            "[apps.a.deploy]\nroot = \"x\"\nbranch = \"main\"",
            &[
                r#"supervisor.toml:3:10: apps.a.deploy.branch: there is no repository that could have it: add repo = "…" or leave it out"#,
            ],
        ),
        (
            "[apps.a.deploy]\nrepo = \"git@x:y\"",
            &["supervisor.toml:1:1: apps.a.deploy: it does not say where the releases are: add root = \"DIRECTORY\""],
        ),
        (
            "[apps.a.deploy]\nroot = \"/srv/x\"\n[apps.b.deploy]\nroot = \"/srv/x/\"",
            &[
                "supervisor.toml:3:7: apps.b.deploy.root: apps.a already has its releases in x: give each app a root of its own",
            ],
        ),
        (
            "[apps.a.deploy]\nroot = \"/srv/x\"\nbackup = true\n[apps.b]\nbackup.dir = \"/b\"\ndeploy = { root = \"/srv/y\", backup = 1 }",
            &[
                "supervisor.toml:3:10: apps.a.deploy.backup: there is no [backup] table that says what to keep, and where: write [apps.a.backup] with dir = \"DIRECTORY\", or leave it out",
                "supervisor.toml:6:38: apps.b.deploy.backup: 1 is not true or false: write true or false, without quotes",
            ],
        ),
        (
            "[apps.a.deploy]\nroot = \"/srv/x/b\"\n[apps.b.deploy]\nroot = \"/srv/x\"",
            &[
                "supervisor.toml:3:7: apps.b.deploy.root: x and the root of apps.a, x/b, lie in one another: give each app a root of its own",
            ],
        ),
        (
            "[apps.a]\nrepo = \"git@x:y\"\nbackup = {}",
            &[
                "supervisor.toml:2:1: apps.a.repo: this is not its place: write it into its [deploy] table",
                "supervisor.toml:3:10: apps.a.backup: it does not say where the backups go: add dir = \"DIRECTORY\"",
            ],
        ),
    ]);
}
