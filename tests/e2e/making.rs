//! How a release is made: from an archive on standard input, behind a backup, and with what earlier deploys have done.

use crate::machine::{Output, Program, SmallDisk, command, free_port, get, signal};
use crate::server::{Server, Setup};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

const COMMIT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";

/// The demo app, deployed into `site`.
fn web(port: u16, deploy: &str, more: &str) -> String {
    format!(
        "[apps.web]\ncommand = \"node server.js\"\nport = {port}\nautostart = false\n\
         health = {{ http = \"/api/health\", interval = \"500ms\", healthy = 1 }}\n\
         deploy = {{ root = \"site\", min_free = \"1M\", warm = \"0s\", {deploy} }}\n{more}\n"
    )
}

/// With its first release serving.
fn site(setup: Setup, apps: &str) -> Server {
    let mut server = setup.prepare(apps);
    fs::create_dir(server.path("site")).unwrap();
    server.run();
    server.ctl(&["deploy", "web", "--from", "demo", "--id", "one"]).ok();
    server
}

fn releases(server: &Server) -> Vec<String> {
    let entries = fs::read_dir(server.path("site/releases")).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What `tar` makes of a directory with these words before the names.
#[track_caller]
fn tar(words: &[&str], dir: &Path, to: &Path) {
    let mut tar = command("tar");
    tar.args(words).arg(to).arg("-C").arg(dir).arg(".");
    Program::start(&mut tar).end().ok();
}

#[track_caller]
fn deploy_from(server: &Server, stdin: &Path, words: &[&str]) -> Output {
    let mut all = vec!["deploy", "web", "--from", "-"];
    all.extend(words);
    Program::fed(server.ctl_command(&all).env("INFISSI_COMMIT", COMMIT), File::open(stdin).unwrap()).end()
}

#[track_caller]
fn failed(deploy: &Output, code: i32, says: &[&str]) {
    assert_eq!(deploy.code, code, "{deploy:#?}");
    for say in says {
        assert!(deploy.said().contains(say), "{say}: {deploy:#?}");
    }
}

#[test]
fn an_archive_on_standard_input_becomes_a_release_and_half_of_one_does_not() {
    let port = free_port();
    let server = site(Setup::default(), &web(port, "steps = []", ""));
    let archive = server.path("a.tgz");
    tar(&["-czf"], &server.path("demo"), &archive);
    let said = deploy_from(&server, &archive, &["--json"]).ok().json();
    let id = said["release"].as_str().unwrap();
    assert!(id.ends_with("-0a1b2c3") && said["commit"] == COMMIT, "{said:#}");
    assert_eq!((server.app("web")["release"].as_str(), get(port, "/").unwrap().0), (Some(id), 200));
    tar(&["-cf"], &server.path("demo"), &archive);
    deploy_from(&server, &archive, &["--id", "plain"]).ok();
    assert_eq!(server.app("web")["release"], "plain");
    let dry = deploy_from(&server, Path::new("/dev/null"), &["--dry-run"]).ok();
    assert!(dry.stdout.contains("the archive on standard input"), "{dry:#?}");

    let left = releases(&server);
    let whole = fs::read(&archive).unwrap();
    fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
    // The first one was perhaps made in this same second, of the same commit.
    let id = ["--id", "broken"];
    let serves = "release plain serves on";
    failed(&deploy_from(&server, &archive, &id), 1, &["the archive ends in the middle", serves, "send it again"]);
    failed(&deploy_from(&server, Path::new("/dev/null"), &id), 1, &["nothing came", serves, "tar czf -"]);
    fs::create_dir(server.path("odd")).unwrap();
    nix::unistd::mkfifo(&server.path("odd/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    tar(&["-cf"], &server.path("odd"), &archive);
    failed(&deploy_from(&server, &archive, &id), 1, &["pipe in the archive is a pipe", serves]);
    fs::remove_file(server.path("odd/pipe")).unwrap();
    fs::write(server.path("odd/x"), "").unwrap();
    tar(&["--transform", "s,^./x,../../x,", "-cPf"], &server.path("odd"), &archive);
    failed(&deploy_from(&server, &archive, &id), 1, &["../../x in the archive leads out with ..", serves]);
    assert_eq!(releases(&server), left, "nothing of them is left");

    // Half of it comes, and then nothing any more.
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&whole[..2000]).unwrap();
    let stalled =
        Program::fed(&mut server.ctl_command(&["deploy", "web", "--from", "-", "--id", "half"]), OwnedFd::from(reader));
    server.wait_until("the first half to be there", || server.path("site/releases/half").exists());
    signal(stalled.pid(), Signal::SIGINT);
    failed(&stalled.end(), 130, &["nothing of it is left"]);
    assert_eq!(releases(&server), left);
}

#[test]
fn a_release_that_the_disk_does_not_take_is_none_and_the_next_step_is_told() {
    let Some(disk) = SmallDisk::mount(8 << 20) else { return };
    let root = format!("root = \"{}\"", disk.path().display());
    let server = Server::start(&web(free_port(), "steps = []", "").replace("root = \"site\"", &root));
    server.ctl(&["deploy", "web", "--from", "demo", "--id", "one"]).ok();
    fs::create_dir(server.path("large")).unwrap();
    fs::write(server.path("large/file"), vec![b'x'; 20 << 20]).unwrap();
    tar(&["-cf"], &server.path("large"), &server.path("a.tar"));
    let says = ["cannot write file", "no space left on device", "release one serves on", "make room on that disk"];
    failed(&deploy_from(&server, &server.path("a.tar"), &[]), 1, &says);
    let copied = server.ctl(&["deploy", "web", "--from", "large"]);
    failed(&copied, 1, &["cannot copy to ", "no space left on device", "release one serves on", "make room there: df"]);
    assert_eq!(fs::read_dir(disk.path().join("releases")).unwrap().count(), 1);
}

#[test]
fn a_backup_comes_first_and_without_it_nothing_is_begun() {
    let backup = |dump: &str| {
        let table = format!("backup = {{ dir = \"../backups\", before = [\"sh -c '{dump}'\"] }}");
        web(free_port(), "steps = [], backup = true", &table)
    };
    let server = site(Setup::default(), &backup("echo all > {out}/db.sql"));
    let backups = || server.json(&["backups", "web"]).as_array().unwrap().len();
    assert_eq!(backups(), 0, "there was nothing to keep");
    fs::write(server.path("site/shared/note"), "kept").unwrap();
    let dry = server.ctl(&["deploy", "web", "--from", "demo", "--dry-run"]).ok();
    assert!(dry.stdout.contains("backup     made first"), "{dry:#?}");
    let said = server.json(&["deploy", "web", "--from", "demo", "--id", "two"]);
    let path = server.json(&["backups", "web"])[0]["path"].as_str().unwrap().to_owned();
    assert_eq!((&said["backup"], &said["steps"][0]["step"]), (&path.as_str().into(), &"backup".into()), "{said:#}");
    let log = fs::read_to_string(server.path("site/deploys/two/deploy.log")).unwrap();
    assert!(log.contains(&format!("== backup {path}: ")), "{log}");
    let mut list = command("tar");
    let list = Program::start(list.args(["-tzf", &path])).end().ok();
    assert!(list.stdout.contains("backup-out/db.sql") && list.stdout.contains("shared/note"), "{list:#?}");
    let without = server.ctl(&["deploy", "web", "--from", "demo", "--id", "three", "--no-backup"]).ok();
    assert!(backups() == 1 && !without.stdout.contains("archiving"), "{without:#?}");

    server.configure(&backup("echo no database >&2; exit 4"));
    server.ctl(&["apply"]).ok();
    let broken = server.ctl(&["deploy", "web", "--from", "demo", "--id", "four"]);
    let says = ["web is not deployed: `sh -c", "failed before the backup", "no database", "release three serves on"];
    failed(&broken, 1, &says);
    assert!(!releases(&server).contains(&"four".to_owned()) && backups() == 1);

    server.configure(&backup("touch begun; exec sleep 1000"));
    server.ctl(&["apply"]).ok();
    let interrupted = server.follow(&["deploy", "web", "--from", "demo", "--id", "five"]);
    server.wait_until("the dump to begin", || server.path("site/releases/three/begun").exists());
    signal(interrupted.pid(), Signal::SIGINT);
    failed(&interrupted.end(), 130, &["nothing was changed"]);
    assert!(!releases(&server).contains(&"five".to_owned()) && backups() == 1);
}

#[test]
fn an_install_and_a_build_that_were_done_before_are_not_done_from_nothing() {
    let npm = "#!/bin/sh\necho x >> ../../installs\nmkdir -p node_modules/m\n\
               echo '{ \"name\": \"m\" }' > node_modules/m/package.json\n";
    let build = "sh -c 'cat .next/cache/turbopack/db; mkdir -p .next/cache/turbopack; \
                 echo $INFISSI_RELEASE | tee .next/cache/turbopack/db >> node_modules/m/package.json'";
    let apps = |more: &str| {
        let steps = format!("steps = [\"npm ci\", \"{build}\"], {more}");
        web(free_port(), &steps, "path = [\"bin\"]\ncwd = \".\"")
    };
    let mut server = Setup::default().file("bin/npm", npm).prepare(&apps("keep = 5"));
    fs::set_permissions(server.path("bin/npm"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(server.path("demo/package-lock.json"), "{}").unwrap();
    fs::create_dir(server.path("site")).unwrap();
    let bin = format!("path = [\"{}\"]", server.path("bin").display());
    server.configure(&apps("keep = 5").replace("path = [\"bin\"]", &bin));
    server.run();
    let deploy = |id: &str, more: &[&str]| {
        let mut words = vec!["deploy", "web", "--from", "demo", "--id", id];
        words.extend(more);
        server.ctl(&words)
    };
    let installs = || fs::read_to_string(server.path("site/installs")).unwrap().lines().count();
    let module = |id: &str| {
        let path = server.path("site/releases").join(id).join("node_modules/m/package.json");
        fs::read_to_string(path).unwrap().lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    let one = deploy("one", &[]).ok();
    assert!(one.stdout.contains("node_modules is kept for releases that would install the same"), "{one:#?}");
    let two = deploy("two", &[]).ok();
    assert!(two.stdout.contains("npm ci: node_modules copied (2 files, "), "{two:#?}");
    for say in ["the build begins with what that of one has found out", "| one\n"] {
        assert!(two.stdout.contains(say), "{say}: {two:#?}");
    }
    assert_eq!((installs(), module("one"), module("two")), (1, vec!["one".to_owned()], vec!["two".to_owned()]));
    let log = fs::read_to_string(server.path("site/deploys/two/deploy.log")).unwrap();
    assert!(log.contains("== npm ci: node_modules copied") && log.contains("== the build begins"), "{log}");
    let dry = server.ctl(&["deploy", "web", "--from", "demo", "--dry-run"]).ok();
    assert!(dry.stdout.contains("of node_modules are kept"), "{dry:#?}");

    let fresh = deploy("three", &["--fresh"]).ok();
    assert!(
        installs() == 2 && !fresh.stdout.contains("has found out") && !fresh.stdout.contains("copied"),
        "{fresh:#?}"
    );
    let json = server.json(&["deploy", "web", "--from", "demo", "--id", "four"]);
    assert_eq!((&json["steps"][1]["reused"], installs()), (&true.into(), 2), "{json:#}");
    fs::write(server.path("demo/package-lock.json"), "{ \"changed\": true }").unwrap();
    deploy("five", &[]).ok();
    assert_eq!(installs(), 3, "another lock file is another install");

    // What is kept goes before a deploy is refused for want of room.
    server.configure(
        &apps("keep = 5, min_free = \"1000T\"").replace("min_free = \"1M\", ", "").replace("path = [\"bin\"]", &bin),
    );
    server.ctl(&["apply"]).ok();
    failed(&deploy("six", &[]), 1, &["room is short: ", "min_free asks for", "release five serves on"]);
    assert!(!server.path("site/cache").exists());
}
