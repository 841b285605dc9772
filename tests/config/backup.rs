//! `[apps.NAME.backup]`: what it means, and what a faulty one is answered.

use crate::story::{app, config, expect};
use infissi::config::{BackupConfig, Pattern};
use std::path::Path;

fn backup(text: &str) -> BackupConfig {
    app(&format!("[apps.a]\n{text}")).backup.clone().unwrap()
}

fn written(patterns: &[Pattern]) -> Vec<&str> {
    patterns.iter().map(Pattern::as_str).collect()
}

#[test]
fn an_app_without_the_table_has_no_backups() {
    assert_eq!(app("[apps.a]").backup, None);
    assert_eq!(app("[defaults.backup]\nkeep = 3\n[apps.a]").backup, None, "it is nowhere said where they would go");
}

#[test]
fn what_is_not_said_is_the_whole_directory_ten_times() {
    let backup = backup("cwd = \"crm\"\nbackup.dir = \"/backups/crm\"");
    assert_eq!((backup.dir.as_path(), backup.base.as_path()), (Path::new("/backups/crm"), Path::new("/srv/crm")));
    assert_eq!((written(&backup.include), written(&backup.exclude)), (vec!["."], vec![]));
    assert_eq!((backup.keep, backup.before.len()), (10, 0));
}

#[test]
fn a_deployed_app_keeps_what_its_releases_share_and_a_release_is_no_place_for_backups() {
    let backup = backup("deploy.root = \"crm\"\nbackup.dir = \"backups\"");
    assert_eq!((backup.dir.as_path(), backup.base.as_path()), (Path::new("/srv/crm/backups"), Path::new("/srv/crm")));
    assert_eq!(written(&backup.include), ["shared"]);
}

#[test]
fn everything_can_be_said() {
    let backup = backup(
        "[apps.a.backup]\ndir = \"x\"\ninclude = [\"./shared/\", \"data/*.db\"]\nexclude = [\"node_modules\"]\nkeep = 3\n\
         before = [\"pg_dump -f '{out}/my db.sql' crm\", [\"sh\", \"-c\", \"cp a {out} && true\"]]",
    );
    assert_eq!(written(&backup.include), ["shared", "data/*.db"]);
    assert_eq!(written(&backup.exclude), ["node_modules"]);
    assert_eq!(backup.before[0], ["pg_dump", "-f", "{out}/my db.sql", "crm"]);
    assert_eq!(backup.before[1], ["sh", "-c", "cp a {out} && true"]);
    assert_eq!(backup.keep, 3);
}

#[test]
fn defaults_are_for_all_apps() {
    let config = config(
        "[defaults.backup]\ndir = \"/backups\"\nexclude = [\"*.log\"]\n[apps.a]\n[apps.b]\nbackup = { dir = \"/b\", keep = 2 }",
    );
    let of = |name: &str| config.app(name).unwrap().backup.clone().unwrap();
    assert_eq!((of("a").dir.as_path(), of("b").dir.as_path()), (Path::new("/backups"), Path::new("/b")));
    assert_eq!((of("a").keep, of("b").keep, written(&of("b").exclude)), (10, 2, vec!["*.log"]));
}

#[test]
fn every_mistake_has_its_key_and_line() {
    expect(&[
        (
            "[apps.a]
backup = { keep = 0 }",
            &[
                "supervisor.toml:2:10: apps.a.backup: it does not say where the backups go: add dir = \"DIRECTORY\"",
                "supervisor.toml:2:19: apps.a.backup.keep: 0 is not a count of backups: write a number from 1 to 100000",
            ],
        ),
        (
            r#"[apps.a.backup]
dir = "~/backups"
include = ["/etc", "a/../../b", "[a", 7]
exclude = "node_modules"
before = ["pg_dump crm > {out}/db.sql", "pg_dump -f {uot}/db.sql", "pg_dump", "-f", "x '"]
kepe = 3"#,
            &[
                "supervisor.toml:2:7: apps.a.backup.dir: ~ is not expanded in \"~/backups\": write the whole path",
                "supervisor.toml:3:12: apps.a.backup.include[0]: \"/etc\" leads out of the app's directory: write one below the app's cwd, or below the root of its [deploy] table",
                "supervisor.toml:3:20: apps.a.backup.include[1]: \"a/../../b\" leads out of the app's directory: write one below the app's cwd, or below the root of its [deploy] table",
                "supervisor.toml:3:33: apps.a.backup.include[2]: \"[a\" is not a path or glob: unclosed character class; missing ']': write one like \"uploads\" or \"data/*.db\"",
                "supervisor.toml:3:39: apps.a.backup.include[3]: 7 is not a text: put it in quotes: \"7\"",
                "supervisor.toml:4:11: apps.a.backup.exclude: \"node_modules\" is not a list: write a list of paths or globs, such as [\"uploads\", \"data/*.db\"]",
                "supervisor.toml:5:11: apps.a.backup.before[0]: > needs a shell, and none is used: write [\"sh\", \"-c\", \"…\"], or a list of texts to pass > on as it is",
                "supervisor.toml:5:41: apps.a.backup.before[1]: there is no {uot}: did you mean {out}?",
                "supervisor.toml:5:79: apps.a.backup.before[3]: \"-f\" is an option, not a command: write each command whole, as one text: [\"pg_dump -f {out}/db.sql crm\"]",
                "supervisor.toml:5:85: apps.a.backup.before[4]: a quote is not closed: close it, or write the command as a list of texts",
                "supervisor.toml:6:1: apps.a.backup.kepe: there is no such key: did you mean keep?",
            ],
        ),
        (
            "[apps.a.backup]
dir = \"x\"
before = [\"curl localhost:{port}/dump\"]",
            &[
                "supervisor.toml:3:11: apps.a.backup.before[0]: there is no {port} here: write {out} for what is to be kept; [\"sh\", \"-c\", \"…\"] has the app's variables",
            ],
        ),
        (
            "[apps.a]
before = []
backup = { dir = \"x\", include = [] }",
            &[
                "supervisor.toml:2:1: apps.a.before: this is not its place: write it into its [backup] table",
                "supervisor.toml:3:33: apps.a.backup.include: nothing would be kept: write what is to be kept, or leave it out",
            ],
        ),
    ]);
}
