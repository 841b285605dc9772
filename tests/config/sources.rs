//! The main file and what it includes: in which order, whose they are, and what can be read at all.

use crate::story::{facts, sources};
use infissi::config::{Facts, Parsed, Sources, parse};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A directory with files, all owned by whoever runs the test.
fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn told_of(dir: &tempfile::TempDir) -> String {
    let path = dir.path().join("supervisor.toml");
    let parsed = Sources::read(&path).and_then(|sources| parse(&sources, &facts()));
    match parsed {
        Ok(parsed) => parsed.config.apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>().join(" "),
        Err(mistakes) => mistakes.to_string().replace(&format!("{}/", dir.path().display()), ""),
    }
}

#[test]
fn included_files_come_in_their_order_and_once() {
    let dir = files(&[
        (
            "supervisor.toml",
            "supervisor.include = [\"apps.d/z.toml\", \"apps.d/*.toml\", \"none/*.toml\", \"*.toml\"]\n[apps.main]",
        ),
        ("apps.d/b.toml", "[apps.b]"),
        ("apps.d/a.toml", "[apps.a]"),
        ("apps.d/z.toml", "[apps.z]"),
        ("apps.d/.hidden.toml", "[apps.hidden]"),
        ("apps.d/backup.toml~", "[apps.backup]"),
        ("apps.d/dir.toml/x", ""),
    ]);
    assert_eq!(told_of(&dir), "main z a b");
}

#[test]
fn an_included_file_has_its_own_place_and_defaults_over_the_main_ones() {
    let dir = files(&[
        (
            "supervisor.toml",
            "supervisor.include = [\"*/app.toml\"]\n[defaults]\nkill_timeout = \"1s\"\nmin_uptime = \"1s\"\n[apps.m]",
        ),
        ("site/app.toml", "[defaults]\nkill_timeout = \"2s\"\n[apps.s]\ncwd = \"code\""),
    ]);
    let sources = Sources::read(&dir.path().join("supervisor.toml")).unwrap();
    let config = parse(&sources, &facts()).unwrap().config;
    let (main, site) = (config.app("m").unwrap(), config.app("s").unwrap());
    assert_eq!(site.cwd, dir.path().join("site/code"));
    assert_eq!((site.kill_timeout, site.min_uptime), (Duration::from_secs(2), Duration::from_secs(1)));
    assert_eq!(main.kill_timeout, Duration::from_secs(1));
}

#[test]
fn mistakes_of_all_files_are_told_together() {
    let dir = files(&[
        (
            "supervisor.toml",
            "supervisor.include = [\"apps.d/*.toml\", \"gone.toml\", \"a/**/b\", \"[\"]\n[apps.a]\nport = 0",
        ),
        ("apps.d/1.toml", "[supervisor]\n[apps.a]\n"),
        ("apps.d/2.toml", "[apps.c\n"),
    ]);
    std::fs::write(dir.path().join("apps.d/3.toml"), b"# caf\xe9").unwrap();
    assert_eq!(
        told_of(&dir),
        "apps.d/3.toml:1:6: the byte 0xe9 is not UTF-8: save the file as UTF-8\n\
         gone.toml: cannot read: No such file or directory (os error 2): make it readable or take it out of include\n\
         supervisor.toml:1:53: supervisor.include: \"a/**/b\" is not a path or pattern of files: write one like \"apps.d/*.toml\"\n\
         supervisor.toml:1:63: supervisor.include: \"[\" is not a pattern: unclosed character class; missing ']': write one like \"apps.d/*.toml\"\n\
         supervisor.toml:3:8: apps.a.port: 0 is not a port: write a number from 1 to 65535\n\
         apps.d/1.toml:1:1: supervisor: only the main file may have it: move it there\n\
         apps.d/1.toml:2:7: apps.a: apps.a is defined twice, first at supervisor.toml:2: give one of them another name\n\
         apps.d/2.toml:1:8: unclosed table: expected `]`"
    );
}

#[test]
fn a_file_that_cannot_be_a_configuration_is_refused() {
    let dir = files(&[("large.toml", &"#".repeat((1 << 20) + 1)), ("dir/x", "")]);
    let told = |name: &str| Sources::read(&dir.path().join(name)).unwrap_err().to_string();
    assert!(told("gone.toml").contains("cannot read: No such file"), "{}", told("gone.toml"));
    assert!(told("large.toml").contains("is larger than 1M"));
    assert!(told("dir").contains("is not a file"));
}

#[test]
fn a_fifo_among_the_included_files_holds_nobody_up() {
    let dir = files(&[("supervisor.toml", "supervisor.include = [\"apps.d/*\"]"), ("apps.d/a", "[apps.a]")]);
    nix::unistd::mkfifo(&dir.path().join("apps.d/b"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(told_of(&dir), "apps.d/b: is not a file: make it readable or take it out of include");
}

#[test]
fn sources_are_equal_until_something_changes_on_disk() {
    let dir = files(&[("supervisor.toml", "supervisor.include = [\"*.d/*\"]\n[apps.m]"), ("apps.d/a", "[apps.a]")]);
    let path = dir.path().join("supervisor.toml");
    let before = Sources::read(&path).unwrap();
    let stored: Sources = serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap();
    assert_eq!(stored, Sources::read(&dir.path().join("./supervisor.toml")).unwrap());
    assert_eq!(parse(&stored, &facts()), parse(&before, &facts()));
    std::fs::write(dir.path().join("apps.d/b"), "").unwrap();
    assert_ne!(stored, Sources::read(&path).unwrap());
}

fn as_root(text: &str, owner: u32) -> Result<Parsed, String> {
    let names = |uid: u32| (uid == 1000).then(|| "fastuser".to_owned());
    let sources = Sources::from_text(Path::new("/srv/supervisor.toml"), text, owner);
    parse(&sources, &Facts { is_root: true, user_name: &names, log_dir: None }).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn a_file_that_root_does_not_own_holds_its_owners_apps_alone() {
    let user = |parsed: Result<Parsed, String>| parsed.map(|parsed| parsed.config.apps[0].user.clone());
    assert_eq!(user(as_root("[apps.a]", 1000)), Ok(Some("fastuser".to_owned())));
    assert_eq!(user(as_root("[apps.a]\nuser = \"fastuser\"", 1000)), Ok(Some("fastuser".to_owned())));
    assert_eq!(
        user(as_root("[apps.a]\nuser = \"www\"", 1000)),
        Err("/srv/supervisor.toml:2:8: apps.a.user: \"www\" is not the owner of this file: \
             write \"fastuser\", leave it out, or chown the file to root"
            .to_owned())
    );
    assert!(as_root("[apps.a]", 1001).unwrap_err().contains("uid 1001, is no user of this machine"));
    assert!(as_root("[apps.a]\nlogs.dir = \"/etc\"", 1000).unwrap_err().contains("only a file that root owns"));
    assert!(as_root("[apps.a]\nlogs.dir = \"../x\"", 1000).unwrap_err().contains("only a file that root owns"));
    assert!(as_root("[defaults]\nlogs.dir = \"/etc\"\n[apps.a]", 1000).unwrap_err().contains("only a file"));
    assert_eq!(user(as_root("[apps.a]\nuser = \"www\"\nlogs.dir = \"/x\"", 0)), Ok(Some("www".to_owned())));
    assert_eq!(user(as_root("[apps.a]", 0)), Ok(None));
}

#[test]
fn a_main_file_of_a_user_gives_nothing_to_other_peoples_files() {
    let dir = files(&[
        ("supervisor.toml", "supervisor.include = [\"b.toml\"]\n[defaults]\ncommand = \"mine\""),
        ("b.toml", "[apps.b]"),
    ]);
    let owner = std::os::unix::fs::MetadataExt::uid(&dir.path().metadata().unwrap());
    if owner != 0 {
        // Only root can give files away.
        return;
    }
    std::os::unix::fs::chown(dir.path().join("supervisor.toml"), Some(1000), None).unwrap();
    let sources = Sources::read(&dir.path().join("supervisor.toml")).unwrap();
    let facts = Facts { is_root: true, user_name: &|_| Some("fastuser".to_owned()), log_dir: None };
    let told = parse(&sources, &facts).unwrap_err().to_string();
    assert!(told.contains("b.toml:1:1: supervisor.include: this file belongs to uid 0"), "{told}");
}

#[test]
fn files_that_others_may_write_are_warned_of() {
    let dir = files(&[("supervisor.toml", "")]);
    let path = dir.path().join("supervisor.toml");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let facts = Facts { is_root: true, user_name: &|_| Some("me".to_owned()), log_dir: None };
    let parsed = parse(&Sources::read(&path).unwrap(), &facts).unwrap();
    assert!(parsed.warnings[0].to_string().contains("others than its owner may write this file"));
    assert!(parsed.warnings[0].render_warning(false).starts_with("warning: "));
}

#[test]
fn a_log_directory_written_another_way_is_the_same() {
    for dir in [".", "./", "/var/log/x/."] {
        let text =
            format!("supervisor.log_dir = \"/var/log/x\"\n[apps.a]\n[apps.b.logs]\ndir = \"{dir}\"\nname = \"a\"");
        let told = parse(&sources(&text), &facts()).unwrap_err().to_string();
        assert!(told.contains("apps.a already writes to the logs named \"a\""), "{told}");
    }
}

#[test]
fn an_app_of_root_is_warned_of() {
    let parsed = as_root("[apps.a]\nuser = \"root\"", 0).unwrap();
    assert_eq!(
        parsed.warnings[0].to_string(),
        "/srv/supervisor.toml:2:8: apps.a.user: the app runs as root: name a user with fewer rights"
    );
}

#[test]
fn paths_of_all_sources_are_known() {
    let paths: Vec<PathBuf> = sources("").paths().map(Path::to_owned).collect();
    assert_eq!(paths, [Path::new("/srv/supervisor.toml")]);
}
