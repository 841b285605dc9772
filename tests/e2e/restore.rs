//! Restores with the real binaries where no release is involved: what is unpacked, refused, left alone.

use crate::machine::{eventually, is_root, now, print, skip};
use crate::server::{NOBODY, Server, Setup};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

/// An app that only has files, with this `[backup]` table and these lines more.
fn app(name: &str, backup: &str, more: &str) -> String {
    format!(
        "[apps.{name}]\ncommand = \"sleep 600\"\ncwd = \"site\"\nautostart = false\nbackup = {{ {backup} }}\n{more}\n"
    )
}

fn server(setup: Setup, apps: &str) -> Server {
    let mut server = setup.file("site/data/a.txt", "one\n").file("site/src/index.js", "not named\n").prepare(apps);
    server.run();
    server
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn without_releases_a_backup_is_unpacked_beside_and_nothing_else_is_touched() {
    let kept = "dir = \"../backups\", include = [\"data\"], before = [\"sh -c 'pg_dump() { echo rows; }; pg_dump > {out}/db.sql'\"]";
    let server = server(Setup::default(), &(app("crm", kept, "") + &app("shop", "dir = \"../shops\"", "")));
    let made = server.json(&["backup", "crm"]);
    let name = made["name"].as_str().unwrap();
    let stamp = name.strip_prefix("backup-").unwrap().strip_suffix(".tar.gz").unwrap();
    server.write("site/data/a.txt", "changed\n");

    let beside = server.path(&format!("site-restored-{stamp}"));
    let planned = server.ctl(&["restore", "crm", "latest", "--dry-run"]).ok();
    assert!(planned.stdout.contains(&format!("into {}", beside.display())) && !beside.exists(), "{planned:#?}");
    let said = server.ctl(&["restore", "crm", name]).ok();
    for says in ["nothing that runs was touched", "diff -rq ", "cp -a ", "psql -d DATABASE -f "] {
        assert!(said.stdout.contains(says), "{says}: {said:#?}");
    }
    assert_eq!(
        (read(&beside.join("data/a.txt")), read(&beside.join("backup-out/db.sql"))),
        ("one\n".into(), "rows\n".into())
    );
    assert_eq!(read(&server.path("site/data/a.txt")), "changed\n");
    assert_eq!(fs::metadata(&beside).unwrap().mode(), fs::metadata(server.path("site")).unwrap().mode());
    let again = server.ctl(&["restore", "crm", name]);
    assert!(again.code == 1 && again.stderr.contains("already") && again.stderr.contains("--into"), "{again:#?}");
    let into = server.path("look");
    let json = server.json(&["restore", "crm", name, "--into", into.to_str().unwrap()]);
    assert_eq!(json["unpacked_into"].as_str(), into.to_str(), "{json:#}");
    assert_eq!(json["not_restored"].as_array().unwrap().len(), 1, "{json:#}");
    assert_eq!(read(&into.join("data/a.txt")), "one\n");

    let refused = |words: &[&str], code: i32, says: &str| {
        let refused = server.ctl(words);
        assert!(refused.code == code && refused.stderr.contains(says), "{says}: {refused:#?}");
        let json = server.ctl(&[&["--json"], words].concat());
        assert!(
            json.code == code && json.json()["error"]["message"].is_string() && json.stderr.is_empty(),
            "{json:#?}"
        );
    };
    let path = made["path"].as_str().unwrap();
    refused(&["restore", "crm", "backup-1"], 1, "infissi-ctl backups crm");
    refused(&["restore", "shop", path], 1, "is a backup of crm, not of shop");
    refused(&["restore", "shop", "latest"], 1, "infissi-ctl backup shop");
    refused(&["restore", "cmr", "latest"], 4, "cmr");
    let forced = server.path("forced");
    server.ctl(&["restore", "shop", path, "--force", "--into", forced.to_str().unwrap()]).ok();
    assert!(forced.join("data/a.txt").exists());
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(bytes.len() - 3);
    fs::write(path, bytes).unwrap();
    let cut = server.path("cut");
    refused(&["restore", "crm", path, "--into", cut.to_str().unwrap()], 1, "nothing was touched");
    assert!(!cut.exists());
}

#[test]
fn it_is_restored_with_the_rights_of_the_apps_user() {
    if !is_root() {
        return;
    }
    let table = "deploy = { root = \"site\" }";
    let server = server(
        Setup::default(),
        &app("crm", "dir = \"../backups\", include = [\"data\"]", table)
            .replace("cwd = \"site\"\n", "cwd = \".\"\nuser = \"nobody\"\n"),
    );
    for path in ["site", "site/data", "site/data/a.txt", "site/src"] {
        chown(server.path(path), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::create_dir(server.path("backups")).unwrap();
    chown(server.path("backups"), Some(NOBODY), Some(NOBODY)).unwrap();
    server.ctl(&["backup", "crm"]).ok();
    server.write("site/data/a.txt", "changed\n");
    let said = server.ctl(&["restore", "crm", "latest"]).ok();
    assert!(said.stdout.contains("put back: data") && said.stdout.contains("it is stopped"), "{said:#?}");
    let restored = server.path("site/data/a.txt");
    assert_eq!((read(&restored), fs::metadata(&restored).unwrap().uid()), ("one\n".to_owned(), NOBODY));
    assert_eq!(server.status("crm"), "stopped");
    let stranger = server.ctl_as(2, &[], &["restore", "crm", "latest"]);
    assert_eq!(stranger.code, 5, "{stranger:#?}");
    // Somebody deploys.
    let lock = fs::File::open(server.path("site/deploy.lock")).unwrap();
    lock.lock().unwrap();
    let busy = server.ctl(&["restore", "crm", "latest"]);
    assert!(busy.code == 5 && busy.stderr.contains("crm is being deployed"), "{busy:#?}");
    drop(lock);
    chown(server.path("site"), Some(0), Some(0)).unwrap();
    let anothers = server.ctl(&["restore", "crm", "latest"]);
    assert!(anothers.code == 5 && anothers.stderr.contains("belong to root"), "{anothers:#?}");
}

/// What a file of the long run holds again and again: noise, which only its repetition makes small.
fn block(file: usize) -> Vec<u8> {
    let mut noise = 0x2545_f491_4f6c_dd1d_u64 ^ (file as u64 + 1);
    let mut next = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise.to_le_bytes()
    };
    (0..2048).flat_map(|_| next()).collect()
}

#[test]
fn a_gigabyte_is_backed_up_and_restored_in_little_memory() {
    const FILES: usize = 1024;
    const MOST_KIB: u64 = 32 << 10;
    if std::env::var_os("INFISSI_SOAK").is_none() {
        return skip("the long run is for INFISSI_SOAK=1");
    }
    let table = "deploy = { root = \"site\" }";
    let server = server(
        Setup::default(),
        &app("crm", "dir = \"../backups\", include = [\"data\"]", table).replace("cwd = \"site\"\n", "cwd = \".\"\n"),
    );
    let data = server.path("site/data");
    for file in 0..FILES {
        fs::create_dir_all(data.join((file / 32).to_string())).unwrap();
        fs::write(data.join(format!("{}/{file}", file / 32)), block(file).repeat(64)).unwrap();
    }
    let run = |words: &[&str]| {
        let begun = now();
        let running = server.follow(words);
        let status = format!("/proc/{}/status", running.pid());
        let mut peak = 0;
        // It only grows: the last look counts.
        let mut look = || {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let seen = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
            peak = seen.unwrap_or(peak);
            seen.is_none()
        };
        // A build without optimization takes its time.
        assert!((0..10).any(|_| eventually(&mut look)), "it does not end: {words:?}");
        let said = running.end().ok();
        print(&format!("{}: {:.1} s, peak {} MB", words[0], begun.elapsed().as_secs_f64(), peak >> 10));
        assert!(peak > 0 && peak < MOST_KIB, "{peak} KiB: {said:#?}");
        said
    };
    run(&["backup", "crm"]);
    for file in (0..FILES).step_by(7) {
        fs::write(data.join(format!("{}/{file}", file / 32)), "changed").unwrap();
    }
    fs::remove_dir_all(data.join("3")).unwrap();
    run(&["restore", "crm", "latest"]);
    for file in 0..FILES {
        let is = fs::read(data.join(format!("{}/{file}", file / 32))).unwrap();
        assert!(is == block(file).repeat(64), "file {file} is not as it was");
    }
    assert!(eventually(|| server.status("crm") == "stopped"));
}
