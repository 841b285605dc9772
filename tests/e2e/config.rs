//! The configuration and the machine: faulty files, what `apply` touches, what concerns one app alone.

use crate::machine::is_root;
use crate::server::{Server, Setup};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const SLEEPER: &str = "command = \"sleep 600\"";

#[test]
fn a_supervisor_that_starts_on_a_faulty_file_runs_the_last_applied_configuration_and_says_so() {
    let mut server = Server::start(&format!("[apps.web]\n{SLEEPER}"));
    server.wait_status("web", "online");
    server.ctl(&["shutdown"]).ok();
    assert_eq!(server.ended(), 0);

    server.configure(&format!("[apps.web]\n{SLEEPER}\nmax_memory_restrat = \"1G\"\n[apps.other]\nport = 99999"));
    server.run();
    server.wait_status("web", "online");
    let list = server.ctl(&["list"]).ok();
    assert!(list.said().contains("max_memory_restrat") && list.said().contains("supervisor.toml:"), "{list:#?}");
    assert!(server.own_log().contains("the one that was applied last"));
    let faulty = server.get("/v1/supervisor")["config"]["faulty"].to_string();
    for mistake in ["max_memory_restart", "apps.other", "port"] {
        assert!(faulty.contains(mistake), "{faulty}");
    }
    let pid = server.pid("web");

    server.configure(&format!("[apps.web]\n{SLEEPER}"));
    server.ctl(&["apply"]).ok();
    assert_eq!(server.pid("web"), pid, "what runs is what the mended file says");
    assert!(server.get("/v1/supervisor")["config"]["faulty"].is_null());
    assert!(!server.ctl(&["list"]).ok().said().contains("max_memory_restrat"));
}

#[test]
fn without_a_last_applied_configuration_a_faulty_file_is_refused_with_all_its_mistakes() {
    let server = Setup::default().prepare("[apps.web]\ncomand = \"sleep 600\"\nport = \"http\"\n[apps.b]\ncommand = 7");
    let refused = server.supervisor(&[]);
    assert_eq!(refused.code, 2, "{refused:#?}");
    for said in ["did you mean command?", "apps.web.port", "apps.b.command", "supervisor.toml:"] {
        assert!(refused.stderr.contains(said), "{said}: {refused:#?}");
    }
    for checked in [server.supervisor(&["--check"]), server.ctl(&["check", "supervisor.toml"])] {
        assert_eq!(checked.code, 2, "{checked:#?}");
        assert!(checked.said().contains("apps.web.port") && checked.said().contains("apps.b.command"), "{checked:#?}");
    }
    server.configure(&format!("[apps.web]\n{SLEEPER}"));
    server.supervisor(&["--check"]).ok();
    server.ctl(&["check", "supervisor.toml"]).ok();
}

#[test]
fn apply_touches_only_what_changed_and_a_dry_run_touches_nothing() {
    let same = format!("[apps.same]\n{SLEEPER}\n");
    let server = Server::start(&format!(
        "{same}[apps.in-place]\n{SLEEPER}\n[apps.changed]\n{SLEEPER}\n[apps.gone]\n{SLEEPER}\n[apps.stopped]\n{SLEEPER}"
    ));
    let names = ["same", "in-place", "changed", "gone", "stopped"];
    server.wait_until("all to be online", || names.iter().all(|name| server.status(name) == "online"));
    server.ctl(&["stop", "stopped"]).ok();
    let pids = ["same", "in-place", "changed"].map(|name| server.pid(name));

    server.configure(&format!(
        "{same}[apps.in-place]\n{SLEEPER}\nmax_memory_restart = \"1G\"\n[apps.changed]\n{SLEEPER}\nenv = {{ A = \"b\" }}\n\
         [apps.stopped]\n{SLEEPER}\nenv = {{ A = \"b\" }}\n[apps.new]\n{SLEEPER}\n[apps.later]\n{SLEEPER}\nautostart = false"
    ));
    assert!(server.ctl(&["list"]).ok().said().contains("infissi-ctl apply"), "it says that the file has changed");
    let plan = server.ctl(&["apply", "--dry-run"]).ok().stdout;
    for line in ["- gone", "+ new", "+ later", "~ changed", "~ in-place", "~ stopped"] {
        assert!(plan.contains(line), "{line}: {plan}");
    }
    assert!(!plan.contains("same") && plan.contains("env.A") && plan.contains("max_memory_restart"), "{plan}");
    assert_eq!(["same", "in-place", "changed"].map(|name| server.pid(name)), pids);
    assert_eq!((server.status("gone").as_str(), server.status("new").as_str()), ("online", "absent"));

    server.ctl(&["apply"]).ok();
    assert_eq!(["same", "in-place"].map(|name| server.pid(name)), [pids[0], pids[1]]);
    assert_ne!(server.pid("changed"), pids[2]);
    assert_eq!(server.app("in-place")["memory_limit_bytes"], 1 << 30);
    let statuses = ["same", "in-place", "changed", "gone", "stopped", "new", "later"].map(|name| server.status(name));
    assert_eq!(statuses, ["online", "online", "online", "absent", "stopped", "online", "stopped"]);
    assert!(server.ctl(&["apply"]).ok().stdout.contains("Nothing to do"));
}

#[test]
fn apply_of_a_file_with_mistakes_changes_nothing() {
    let server = Server::start(&format!("[apps.web]\n{SLEEPER}\n[apps.other]\n{SLEEPER}"));
    server.wait_until("both", || server.status("web") == "online" && server.status("other") == "online");
    let pids = [server.pid("web"), server.pid("other")];
    server.configure(&format!("[apps.web]\n{SLEEPER}\nenv = {{ A = \"b\" }}\nkill_timeout = 15\n[apps.x]\nport = 0"));
    for words in [&["apply", "--dry-run"] as &[&str], &["apply"]] {
        let refused = server.ctl(words);
        assert_eq!(refused.code, 2, "{refused:#?}");
        for said in ["apps.web.kill_timeout", "apps.x.port", "supervisor.toml:"] {
            assert!(refused.stderr.contains(said), "{said}: {refused:#?}");
        }
    }
    assert_eq!([server.pid("web"), server.pid("other")], pids);
    assert_eq!(server.status("x"), "absent");
}

#[test]
fn included_files_come_and_go_with_apply() {
    let include = "include = [\"apps.d/*.toml\"]";
    let server = Setup::default().keys(include).file("apps.d/a.toml", &format!("[apps.a]\n{SLEEPER}")).start("");
    server.wait_status("a", "online");
    server.write("apps.d/b.toml", &format!("[apps.b]\n{SLEEPER}"));
    fs::remove_file(server.path("apps.d/a.toml")).unwrap();
    server.ctl(&["apply"]).ok();
    assert_eq!((server.status("a").as_str(), server.status("b").as_str()), ("absent", "online"));
    server.write("apps.d/c.toml", "[apps.b]\ncommand = \"true\"");
    let refused = server.ctl(&["apply"]);
    assert_eq!(refused.code, 2, "{refused:#?}");
    assert!(refused.stderr.contains("b.toml") && refused.stderr.contains("c.toml"), "{refused:#?}");
}

#[test]
fn zero_apps_is_a_valid_start() {
    let server = Server::start("");
    let list = server.ctl(&["list"]).ok();
    assert!(list.said().contains("infissi-ctl init"), "{list:#?}");
    assert_eq!(server.json(&["list"]), serde_json::json!([]));
    server.configure(&format!("[apps.web]\n{SLEEPER}"));
    server.ctl(&["apply"]).ok();
    server.wait_status("web", "online");
}

#[test]
fn facts_of_the_machine_concern_their_own_app_with_the_reason_and_it_recovers_when_they_are_mended() {
    let soon = "backoff = { initial = \"100ms\", max = \"300ms\" }";
    let setup = Setup::default().file("plain.txt", "no program");
    let server = setup.start(&format!(
        "[defaults]\n{soon}\n[apps.well]\n{SLEEPER}\n[apps.no-cwd]\n{SLEEPER}\ncwd = \"not-yet\"\n\
         [apps.no-command]\ncommand = \"not-a-program --flag\"\n[apps.no-program]\ncommand = \"./plain.txt\"\n\
         [apps.no-file]\n{SLEEPER}\nenv_file = \"app.env\"\n[apps.may-miss]\n{SLEEPER}\nenv_file = \"app2.env?\"\n"
    ));
    let reasons =
        [("no-cwd", "not-yet"), ("no-command", "not-a-program"), ("no-program", "plain.txt"), ("no-file", "app.env")];
    server
        .wait_until("the others to run", || server.status("well") == "online" && server.status("may-miss") == "online");
    for (name, reason) in reasons {
        let said = server.wait_reason(name, "errored");
        assert!(said.contains(reason), "{name}: {said}");
        let refused = server.ctl(&["start", name]);
        assert_eq!(refused.code, 1, "{name}: {refused:#?}");
        assert!(refused.stderr.contains(reason), "{name}: {refused:#?}");
        assert_eq!(server.app(name)["last_exit"]["reason"], "spawn-failed");
    }
    let said = server.wait_reason("no-command", "errored");
    assert!(said.contains("is not in PATH"), "{said}");
    fs::create_dir(server.path("not-yet")).unwrap();
    server.write("plain.txt", "#!/bin/sh\nexec sleep 600\n");
    fs::set_permissions(server.path("plain.txt"), fs::Permissions::from_mode(0o755)).unwrap();
    server.write("app.env", "A=b\n");
    for name in ["no-cwd", "no-program", "no-file"] {
        server.wait_status(name, "online");
    }
    assert_eq!(server.app("well")["restarts"], 0);
}

#[test]
fn a_user_that_does_not_exist_concerns_one_app_and_a_plain_users_supervisor_becomes_nobody_else() {
    let apps = format!(
        "[apps.well]\n{SLEEPER}\n[apps.lost]\n{SLEEPER}\nuser = \"no-such-user-here\"\n[apps.other]\n{SLEEPER}\nuser = \"daemon\""
    );
    if !is_root() {
        return;
    }
    let server = Server::start(&apps);
    assert!(server.wait_reason("lost", "errored").contains("no-such-user-here"));
    server.wait_status("well", "online");
    drop(server);
    let server = Setup::default().by_nobody().start(&apps);
    let reason = server.wait_reason("other", "errored");
    assert!(reason.contains("daemon") && reason.contains("nobody"), "{reason}");
    server.wait_status("well", "online");
}
