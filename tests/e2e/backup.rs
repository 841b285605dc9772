//! Backups with the real binaries: made, looked at, unpacked by tar, and what becomes of those that fail.

use crate::machine::{SmallDisk, command, eventually, is_root, tree};
use crate::server::{NOBODY, Server, Setup};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

/// An app that only has files, with this `[backup]` table.
fn app(backup: &str) -> String {
    format!("[apps.crm]\ncommand = \"sleep 600\"\ncwd = \"site\"\nautostart = false\nbackup = {{ {backup} }}\n")
}

fn server(more: &str) -> Server {
    server_of(Setup::default(), more)
}

fn server_of(setup: Setup, more: &str) -> Server {
    let server = setup
        .file("site/shared/uploads/a.txt", "one\n")
        .file("site/shared/uploads/empty", "")
        .file("site/shared/cache/big", "not to be kept\n")
        .file("site/src/index.js", "not named\n")
        .prepare(&app(more));
    let mut server = server;
    server.run();
    server
}

/// The names in the directory of the backups, hidden ones too.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn unpack(archive: &Path, into: &Path) {
    fs::create_dir_all(into).unwrap();
    assert!(command("tar").arg("-xpzf").arg(archive).arg("-C").arg(into).status().unwrap().success());
}

#[test]
fn what_is_backed_up_comes_back_the_same_by_tar() {
    let server = server(
        "dir = \"../backups\", include = [\"shared\", \"*.db\"], exclude = [\"cache\"], \
         before = [\"sh -c 'echo dumping as $INFISSI_APP in $(basename $(pwd)); echo rows > {out}/db.sql'\"]",
    );
    let site = server.path("site");
    let long = format!("site/shared/{}/{}", "d".repeat(120), "f".repeat(200));
    server.write(&long, "a long way\n");
    server.write("site/data.db", &"0123456789\n".repeat(100_000));
    fs::write(site.join("shared/bytes"), (0..=255).collect::<Vec<u8>>()).unwrap();
    fs::set_permissions(site.join("shared/bytes"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(site.join("shared/uploads"), fs::Permissions::from_mode(0o2750)).unwrap();
    symlink("/etc", site.join("shared/etc")).unwrap();
    symlink("nowhere", site.join("shared/broken")).unwrap();
    let made = server.ctl(&["backup", "crm"]).ok();
    assert!(made.stderr.contains("dumping as crm in site"), "{made:#?}");
    assert!(made.stdout.starts_with("✓ crm: backed up 1.0M (") || made.stdout.starts_with("ok crm: "), "{made:#?}");
    let backups = server.path("backups");
    let [name] = &names(&backups)[..] else { panic!("{:?}", names(&backups)) };
    assert!(made.stdout.contains(name) && name.starts_with("backup-2") && name.ends_with(".tar.gz"), "{made:#?}");
    let archive = backups.join(name);
    assert_eq!(fs::metadata(&archive).unwrap().mode() & 0o7777, 0o600);

    let restored = server.path("restored");
    unpack(&archive, &restored);
    assert_eq!(fs::read_to_string(restored.join("backup-out/db.sql")).unwrap(), "rows\n");
    assert_eq!(names(&restored), ["backup-out", "data.db", "shared"]);
    assert!(!restored.join("shared/cache").exists());
    fs::remove_dir_all(site.join("shared/cache")).unwrap();
    // Removing it gave the directory a new time.
    let without_times = |path: &str| -> Vec<String> {
        let shared = tree(&server.path(path).join("shared"));
        let top = shared.iter().filter(|line| !line.starts_with("\"\" "));
        top.cloned().collect()
    };
    assert_eq!(without_times("site"), without_times("restored"));
    assert_eq!(fs::read(site.join("data.db")).unwrap(), fs::read(restored.join("data.db")).unwrap());

    let listed = server.json(&["backups", "crm"]);
    assert_eq!((listed[0]["name"].as_str(), listed[0]["own"].as_bool()), (Some(name.as_str()), Some(true)));
    assert_eq!(listed[0]["size_bytes"].as_u64(), Some(fs::metadata(&archive).unwrap().len()));
    let table = server.ctl(&["backups", "crm"]).ok();
    assert!(table.stdout.contains(name.as_str()) && table.stdout.contains(" ago"), "{table:#?}");
}

#[test]
fn a_before_that_fails_is_no_backup_and_leaves_nothing() {
    let server = server(
        "dir = \"../backups\", before = [\"touch {out}/half\", \"sh -c 'echo no such database >&2; exit 3'\", \"touch never\"]",
    );
    let failed = server.ctl(&["backup", "crm"]);
    assert_eq!(failed.code, 1, "{failed:#?}");
    for says in ["no such database", "exited with code 3", "infissi-ctl exec crm -- sh -c"] {
        assert!(failed.stderr.contains(says), "{says}: {failed:#?}");
    }
    assert_eq!(names(&server.path("backups")), [""; 0]);
    assert!(!server.path("site/never").exists());
    let json = server.ctl(&["--json", "backup", "crm"]);
    assert_eq!((json.code, json.json()["error"]["code"].as_str()), (1, Some("failed")), "{json:#?}");

    server.configure(&app("dir = \"../backups\", before = [\"pg_dumpp {out}/x\"]"));
    server.ctl(&["apply"]).ok();
    let failed = server.ctl(&["backup", "crm"]);
    assert!(failed.code == 1 && failed.stderr.contains("pg_dumpp") && failed.stderr.contains("PATH="), "{failed:#?}");
    server.configure(&app("dir = \"../backups\", include = [\"upload\"]"));
    server.ctl(&["apply"]).ok();
    let failed = server.ctl(&["backup", "crm"]);
    assert!(failed.code == 1 && failed.stderr.contains("\"upload\" of include"), "{failed:#?}");
    server.configure("[apps.crm]\ncommand = \"sleep 600\"\nautostart = false\n");
    server.ctl(&["apply"]).ok();
    let unsaid = server.ctl(&["backup", "crm"]);
    assert!(unsaid.code == 2 && unsaid.stderr.contains("[apps.crm.backup]"), "{unsaid:#?}");
    assert_eq!(server.ctl(&["backup", "cmr"]).code, 4);
    assert_eq!(names(&server.path("backups")), [""; 0]);
}

#[test]
fn the_oldest_go_and_nobody_elses() {
    let shared = "dir = \"../backups\", include = [\"shared\"], keep = 2";
    let server = server(shared);
    let other = app("dir = \"../backups\", keep = 1").replace("[apps.crm]", "[apps.shop]");
    server.configure(&(app(shared) + &other));
    server.ctl(&["apply"]).ok();
    // Made by the script of before, older than any.
    server.write("backups/backup-20251021-010000.tar.gz", "by hand");
    server.write("backups/backup-2025-10-21.tar.gz", "another name");
    let make = |app: &str| -> String {
        let made = server.json(&["backup", app]);
        made["name"].as_str().unwrap_or_else(|| panic!("{made:#}")).to_owned()
    };
    let shop = make("shop");
    let crm: Vec<String> = (0..4).map(|_| make("crm")).collect();
    let mut expected = vec![
        crm[2].clone(),
        crm[3].clone(),
        shop.clone(),
        "backup-20251021-010000.tar.gz".to_owned(),
        "backup-2025-10-21.tar.gz".to_owned(),
    ];
    expected.sort();
    assert_eq!(names(&server.path("backups")), expected);
    let listed = |app: &str| -> Vec<String> {
        let listed = server.json(&["backups", app]);
        listed.as_array().unwrap().iter().map(|kept| kept["name"].as_str().unwrap().to_owned()).collect()
    };
    let by_hand = "backup-20251021-010000.tar.gz".to_owned();
    assert_eq!(listed("crm"), [crm[3].clone(), crm[2].clone(), by_hand.clone()]);
    assert_eq!(listed("shop"), [shop, by_hand]);
    assert!(server.ctl(&["backups", "crm"]).ok().stdout.contains("never removed"));
}

#[test]
fn a_full_disk_leaves_nothing_behind_and_says_so() {
    let Some(disk) = SmallDisk::mount(1 << 20) else { return };
    let dir = disk.path().join("backups");
    let server = server(&format!("dir = {dir:?}, include = [\"shared\"], keep = 1"));
    fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o777)).unwrap();
    server.ctl(&["backup", "crm"]).ok();
    let before = names(&dir);
    // Noise, which no compression makes smaller.
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise
    };
    fs::write(server.path("site/shared/noise"), (0..400_000).flat_map(|_| next().to_le_bytes()).collect::<Vec<u8>>())
        .unwrap();
    let failed = server.ctl(&["backup", "crm"]);
    assert_eq!(failed.code, 1, "{failed:#?}");
    for says in ["cannot write the backup", "nothing of it is left", "make room"] {
        assert!(failed.stderr.contains(says), "{says}: {failed:#?}");
    }
    assert_eq!(names(&dir), before);
    let failed = server.ctl(&["--json", "backup", "crm"]);
    assert_eq!((failed.code, failed.stderr.as_str()), (1, ""), "{failed:#?}");
}

#[test]
fn two_of_one_app_do_not_overlap_and_a_killed_one_is_cleared_away() {
    let server = server(
        "dir = \"../backups\", include = [\"shared\"], before = [\"sh -c 'touch {out}/x; touch begun; while [ ! -e go ]; do sleep 0.02; done'\"]",
    );
    let begun = server.path("site/begun");
    let first = server.follow(&["backup", "crm"]);
    server.wait_until("the first to have begun", || begun.exists());
    let second = server.ctl(&["backup", "crm"]);
    assert_eq!(second.code, 5, "{second:#?}");
    assert!(second.stderr.contains(&format!("pid {}", first.pid())), "{second:#?}");

    // Stopped: the command is ended, and nothing is left.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first.pid()), Signal::SIGTERM).unwrap();
    let stopped = first.end();
    assert!(stopped.code == 130 && stopped.stderr.contains("nothing of it is left"), "{stopped:#?}");
    assert_eq!(names(&server.path("backups")), [""; 0]);

    // Killed: it cannot clear away itself, and the next one does.
    fs::remove_file(&begun).unwrap();
    let killed = server.follow(&["backup", "crm"]);
    server.wait_until("it to have begun", || begun.exists());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(killed.pid()), Signal::SIGKILL).unwrap();
    assert!(!names(&server.path("backups")).is_empty());
    // Its command goes on by itself, until it is let go.
    server.write("site/go", "");
    killed.end();
    server.ctl(&["backup", "crm"]).ok();
    assert!(eventually(|| names(&server.path("backups")).len() == 1), "{:?}", names(&server.path("backups")));
}

#[test]
fn it_is_made_with_the_rights_of_the_apps_user() {
    if !is_root() {
        return;
    }
    let backups = tempfile::tempdir().unwrap();
    fs::set_permissions(backups.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let dir = backups.path().join("crm");
    let setup = Setup::default().keys("control = { admins = [\"daemon\"] }");
    let server = server_of(
        setup,
        &format!("dir = {dir:?}, include = [\"shared\"], before = [\"sh -c 'id -un > {{out}}/who'\"]"),
    );
    let mut open: Vec<PathBuf> = vec![server.path("site")];
    while let Some(path) = open.pop() {
        lchown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    let refused = server.ctl(&["backup", "crm"]);
    assert_eq!(refused.code, 5, "{refused:#?}");
    assert!(refused.stderr.contains(&format!("sudo install -d -o nobody -m 700 {}", dir.display())), "{refused:#?}");
    fs::create_dir(&dir).unwrap();
    chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
    server.ctl(&["backup", "crm"]).ok();
    server.ctl_as(NOBODY, &[], &["backup", "crm"]).ok();
    let made = names(&dir);
    assert_eq!(made.len(), 2, "{made:?}");
    assert_eq!(fs::metadata(dir.join(&made[0])).unwrap().uid(), NOBODY);
    unpack(&dir.join(&made[0]), &server.path("restored"));
    assert_eq!(fs::read_to_string(server.path("restored/backup-out/who")).unwrap(), "nobody\n");
    for verb in ["backup", "backups"] {
        let stranger = server.ctl_as(2, &[], &[verb, "crm"]);
        assert_eq!(stranger.code, 5, "{stranger:#?}");
        // An admin of the supervisor may ask, and cannot become another user.
        let admin = server.ctl_as(1, &[], &[verb, "crm"]);
        assert_eq!(admin.code, 5, "{admin:#?}");
        assert!(admin.stderr.contains(&format!("sudo -u nobody infissi-ctl {verb} crm")), "{admin:#?}");
    }
    // What the app's user may not read cannot be kept.
    server.write("site/shared/secret", "root's\n");
    fs::set_permissions(server.path("site/shared/secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let unread = server.ctl(&["backup", "crm"]);
    assert!(unread.code == 1 && unread.stderr.contains("cannot read shared/secret"), "{unread:#?}");
    assert_eq!(names(&dir), made);
}
