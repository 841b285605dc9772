//! What an app's user cannot make a root supervisor do.

use crate::machine::{command, is_root};
use crate::server::{NOBODY, Server, Setup};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

/// A directory that is the app's user's, in which the app runs.
fn theirs(apps: &str) -> Server {
    let server = Setup::default().file("app/file", "").prepare(apps);
    chown(server.path("app"), Some(NOBODY), Some(NOBODY)).unwrap();
    server
}

#[test]
fn an_env_file_is_read_with_the_rights_of_the_apps_user() {
    if !is_root() {
        return;
    }
    let mut server = theirs("[apps.web]\ncommand = \"sleep 600\"\ncwd = \"app\"\nenv_file = \".env\"");
    server.write("secret", "SECRET=of-root\n");
    fs::set_permissions(server.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink(server.path("secret"), server.path("app/.env")).unwrap();
    server.run();
    let reason = server.wait_reason("web", "errored");
    assert!(reason.contains(".env") && reason.contains("ermission denied"), "{reason}");
    // A pipe in its place keeps nobody waiting.
    fs::remove_file(server.path("app/.env")).unwrap();
    assert!(command("mkfifo").arg(server.path("app/.env")).status().unwrap().success());
    server.ctl(&["restart", "web"]);
    server.ctl(&["ping"]).ok();
    server.wait_reason("web", "errored");
}

#[test]
fn a_link_in_place_of_a_log_file_leads_a_root_supervisor_nowhere() {
    if !is_root() {
        return;
    }
    let mut server = theirs("");
    server.configure(&format!(
        "[apps.web]\ncommand = [\"sh\", \"-c\", \"while :; do echo owned; sleep 0.05; done\"]\ncwd = \"app\"\nlogs = {{ dir = \"{}\" }}",
        server.path("app/logs").display()
    ));
    fs::create_dir(server.path("app/logs")).unwrap();
    chown(server.path("app/logs"), Some(NOBODY), Some(NOBODY)).unwrap();
    server.write("precious", "precious\n");
    fs::set_permissions(server.path("precious"), fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["web-out.log", "web-combined.log"] {
        symlink(server.path("precious"), server.path("app/logs").join(name)).unwrap();
    }
    server.run();
    server.wait_status("web", "online");
    server
        .wait_until("lines that are counted as dropped", || server.show("web")["log_lines_dropped"].as_u64() > Some(3));
    assert_eq!(fs::read_to_string(server.path("precious")).unwrap(), "precious\n");
    for name in ["web-out.log", "web-combined.log"] {
        fs::remove_file(server.path("app/logs").join(name)).unwrap();
    }
    let log = server.path("app/logs/web-out.log");
    server
        .wait_until("lines in a file of its own", || fs::read_to_string(&log).is_ok_and(|text| text.contains("owned")));
    assert_eq!(fs::metadata(&log).unwrap().uid(), NOBODY);
}

#[test]
fn what_an_included_file_of_a_user_says_is_run_as_that_user() {
    if !is_root() {
        return;
    }
    let setup = Setup::default().keys("include = [\"apps.d/*.toml\"]");
    let theirs = "[apps.theirs]\ncommand = \"sleep 600\"\ncwd = \"/\"";
    let mut server = setup.file("apps.d/theirs.toml", theirs).prepare("[apps.web]\ncommand = \"sleep 600\"");
    chown(server.path("apps.d/theirs.toml"), Some(NOBODY), Some(NOBODY)).unwrap();
    server.run();
    server.wait_status("theirs", "online");
    let pid = server.pid("theirs");
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), NOBODY);
    server.write("apps.d/theirs.toml", &format!("{theirs}\nuser = \"root\""));
    let refused = server.ctl(&["apply"]);
    assert_eq!(refused.code, 2, "{refused:#?}");
    assert!(refused.stderr.contains("apps.theirs.user"), "{refused:#?}");
    assert_eq!(server.pid("theirs"), pid);
}
