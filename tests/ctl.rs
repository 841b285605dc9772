//! `infissi-ctl` as a script meets it: what it prints where, and its exit codes, against a supervisor of canned answers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use assert_cmd::Command;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Answers each `METHOD PATH` with a status and a body; anything else with 404 and no words.
struct Supervisor {
    dir: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Supervisor {
    fn answering(answers: &[(&str, u16, Value)]) -> Supervisor {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("supervisor.sock")).unwrap();
        let mut canned: HashMap<String, (u16, Vec<u8>)> = HashMap::new();
        let overview = json!({ "apps": [web()], "config": itself()["config"], "warnings": itself()["warnings"] });
        for (request, status, body) in [
            ("GET /v1/apps", 200, json!([web()])),
            ("GET /v1/overview", 200, overview),
            ("GET /v1/supervisor", 200, itself()),
        ] {
            canned.insert(request.to_owned(), (status, body.to_string().into_bytes()));
        }
        for (request, status, body) in answers {
            // A list of lines rather than a value: NDJSON.
            let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
            canned.insert((*request).to_owned(), (*status, body.into_bytes()));
        }
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (canned, heard) = (Arc::new(canned), Arc::clone(&asked));
        std::thread::spawn(move || {
            for peer in listener.incoming() {
                let (canned, heard) = (Arc::clone(&canned), Arc::clone(&heard));
                std::thread::spawn(move || while answer(peer.as_ref().unwrap(), &canned, &heard).is_some() {});
            }
        });
        Supervisor { dir, asked }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("supervisor.sock")
    }

    fn ctl(&self, line: &str) -> Said {
        said(ctl().arg("--socket").arg(self.socket()).args(line.split_whitespace()))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn answer(mut peer: &UnixStream, canned: &HashMap<String, (u16, Vec<u8>)>, heard: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if peer.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    peer.read_exact(&mut body).ok()?;
    let mut words = head.split(' ');
    let request = format!("{} {}", words.next()?.to_ascii_uppercase(), words.next()?);
    heard.lock().unwrap().push(request.clone());
    let nothing = (404, Vec::new());
    let (status, body) = canned.get(&request).unwrap_or(&nothing);
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
    peer.write_all(&[head.as_bytes(), body].concat()).ok()
}

fn web() -> Value {
    json!({
        "name": "web", "aliases": ["crm"], "status": "online", "health": "healthy", "port": 3000, "slot": "blue",
        "pid": 4711, "uptime_ms": 12_000, "restarts": 2, "cpu_percent": 0.3, "memory_bytes": 60_607_692,
        "memory_limit_bytes": 314_572_800, "release": null, "reason": null, "next_at": null, "instances": [],
        "last_exit": { "code": 1, "signal": null, "reason": "exit", "at": "2026-01-02T03:04:05Z", "detail": null },
    })
}

fn detail() -> Value {
    let mut detail = web();
    let more = json!({
        "command": ["npm"], "cwd": "/", "user": null, "env_names": [], "depends_on": [], "probe": "its port",
        "log_files": { "combined": "c", "out": "o", "error": "e" }, "schedule": null, "probe_failure": null,
        "exits": [], "last_lines": [], "processes": [], "log_lines_dropped": 0, "next_steps": [],
    });
    detail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    detail
}

fn itself() -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"), "pid": 1, "uptime_ms": 1, "memory_bytes": 1, "socket": "s",
        "config": { "path": "/c.toml", "applied_at": "2026-01-02T03:04:05Z", "changed": false, "faulty": null },
        "state_dir": "/", "log_dir": "/", "trees": "session", "warnings": [],
        "host": { "memory_total_bytes": 1, "memory_available_bytes": 1, "load_1": 0.0, "cpus": 1 },
    })
}

fn refusal(code: &str, message: &str) -> Value {
    json!({ "error": { "code": code, "message": message, "hint": "do that" } })
}

fn ctl() -> Command {
    let mut command = Command::cargo_bin("infissi-ctl").unwrap();
    command.env_clear().env("LANG", "C.UTF-8").env("HOME", "/nonexistent").timeout(std::time::Duration::from_secs(30));
    command
}

/// What a run printed, and its exit code.
#[derive(Debug)]
struct Said {
    out: String,
    err: String,
    code: i32,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { out: text(output.stdout), err: text(output.stderr), code: output.status.code().unwrap() }
}

#[test]
fn list_prints_the_table_and_as_json_what_the_interface_promises() {
    let supervisor = Supervisor::answering(&[]);
    for line in ["", "list", "ls", "status", "ps"] {
        let said = supervisor.ctl(line);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{line}");
        assert!(
            said.out.starts_with("┌") && said.out.contains("│ web  │ online │ 3000 │ blue │ 4711 │    12s │ 2 │"),
            "{}",
            said.out
        );
        assert!(!said.out.contains('\u{1b}'), "colours into a pipe: {}", said.out);
    }
    for line in ["list --json", "--json", "jlist", "jlist --no-color"] {
        let list = supervisor.ctl(line).json();
        assert_eq!(list[0]["name"], "web", "{line}");
        assert_eq!(list[0]["last_exit"]["reason"], "exit", "{line}");
    }
}

#[test]
fn every_refusal_has_its_exit_code_in_words_and_in_json() {
    for (code, status, exit) in [
        ("failed", 500, 1),
        ("usage", 400, 2),
        ("bad-config", 422, 2),
        ("no-such-app", 404, 4),
        ("not-allowed", 403, 5),
        ("busy", 409, 5),
        ("overloaded", 503, 5),
    ] {
        let supervisor =
            Supervisor::answering(&[("POST /v1/apps/web/reset?wait=true", status, refusal(code, "because"))]);
        let said = supervisor.ctl("reset web");
        assert_eq!((said.code, said.out.as_str()), (exit, ""), "{code}");
        assert_eq!(said.err, "error: because\n  next: do that\n");
        let said = supervisor.ctl("reset web --json");
        assert_eq!((said.code, said.err.as_str()), (exit, ""), "{code}");
        assert_eq!(said.json(), refusal(code, "because"));
    }
}

#[test]
fn a_failed_restart_shows_the_last_lines_and_how_it_ended_once() {
    for (message, last_exit) in [
        ("web is not up: it exited with code 1", ""),
        ("web is not up yet: nothing listens on port 3000", "  last exit: exited with code 1\n"),
    ] {
        let error = json!({ "code": "failed", "message": message, "hint": "infissi-ctl show web" });
        let lines = json!([{ "stream": "err", "line": "Error: \u{1b}[2Jout of luck" }]);
        let results = json!([{ "app": "web", "message": "failed", "error": error, "last_lines": lines }]);
        let supervisor = Supervisor::answering(&[
            ("POST /v1/apps/web/restart?wait=true", 500, json!({ "error": error, "results": results })),
            ("GET /v1/apps/web", 200, detail()),
        ]);
        let said = supervisor.ctl("restart web");
        let last_lines = "  ! Error: \u{fffd}[2Jout of luck\n";
        assert_eq!(said.err, format!("✗ {message}\n{last_exit}{last_lines}  next: infissi-ctl show web\n"));
        assert_eq!(said.code, 1);
        let said = supervisor.ctl("restart web --json");
        assert_eq!((said.code, &said.json()["results"]), (1, &results));
    }
}

#[test]
fn what_was_refused_says_nothing_of_how_the_app_ended_once() {
    let error = json!({ "code": "busy", "message": "web has no staged or warm slot to swap to", "hint": "do that" });
    let results = json!([{ "app": "web", "message": "refused", "error": error }]);
    let supervisor = Supervisor::answering(&[
        ("POST /v1/apps/web/swap?wait=true", 409, json!({ "error": error, "results": results })),
        ("GET /v1/apps/web", 200, detail()),
    ]);
    let said = supervisor.ctl("swap web");
    assert_eq!((said.code, said.out.as_str()), (5, ""));
    assert_eq!(said.err, "✗ web has no staged or warm slot to swap to\n  next: do that\n");
}

#[test]
fn doctor_is_not_content_with_an_app_that_keeps_failing() {
    let mut failing = detail();
    failing["status"] = json!("backoff");
    failing["reason"] = json!("exited with code 1; starts again after 12 s");
    let supervisor = Supervisor::answering(&[("GET /v1/apps/web", 200, failing)]);
    let said = supervisor.ctl("doctor");
    assert_eq!(said.code, 1, "{said:?}");
    let found = "✗ web backs off: exited with code 1; starts again after 12 s\n  next: infissi-ctl show web";
    assert!(said.out.contains(found), "{}", said.out);
}

#[test]
fn a_restricted_key_sees_its_own_apps_and_no_other_supervisor() {
    let supervisor = Supervisor::answering(&[]);
    let by_key = |app: &str, asked: &str| {
        let mut ctl = ctl();
        ctl.env("SSH_ORIGINAL_COMMAND", asked)
            .env("INFISSI_SOCKET", "/nowhere")
            .arg("--socket")
            .arg(supervisor.socket());
        said(ctl.args(["restricted", "--allow", "list", "--app", app]))
    };
    assert_eq!(by_key("web", "infissi-ctl list --json").json()[0]["name"], "web");
    assert!(by_key("crm,other", "list").out.contains("│ web "), "by its alias");
    for asked in ["list", "list --json"] {
        let others = by_key("other", asked);
        assert!((others.code, others.out.contains("3000")) == (4, false), "{others:?}");
    }
    assert_eq!(by_key("web", "list --socket /nowhere").code, 5);
    // Without --socket on the line of the key, the usual places count, not what the client says.
    let mut usual = ctl();
    usual.env("SSH_ORIGINAL_COMMAND", "list").env("INFISSI_SOCKET", supervisor.socket());
    let usual = said(usual.args(["restricted", "--allow", "list", "--app", "web"]));
    assert!(!usual.out.contains("web"), "{usual:?}");
    assert!(supervisor.asked().iter().all(|asked| asked.starts_with("GET /v1/")), "{:?}", supervisor.asked());
}

#[test]
fn an_action_says_what_happened() {
    let done = json!({ "results": [{ "app": "web", "message": "restarted in 1.2 s, pid 4712", "error": null }] });
    let supervisor = Supervisor::answering(&[
        ("POST /v1/apps/web/restart?wait=true", 200, done.clone()),
        ("POST /v1/apps/web/restart?wait=true&hard=true", 200, done.clone()),
        ("POST /v1/apps/web/restart", 200, done.clone()),
        ("POST /v1/apps/a%2cb%2a/stop?wait=true", 200, done),
    ]);
    for line in [
        "restart web",
        "reload web",
        "restart --update-env web",
        "restart web --hard",
        "restart web --no-wait",
        "stop a b*",
    ] {
        let said = supervisor.ctl(line);
        assert_eq!(
            (said.code, said.out.as_str(), said.err.as_str()),
            (0, "✓ web: restarted in 1.2 s, pid 4712\n", ""),
            "{line}"
        );
    }
}

#[test]
fn logs_are_printed_in_every_way_that_is_asked_for() {
    let lines = "{\"app\":\"web\",\"stream\":\"out\",\"at\":\"2026-01-02T03:04:05Z\",\"line\":\"one\"}\n\
                 {\"app\":\"web\",\"stream\":\"err\",\"at\":null,\"line\":\"two\"}\n";
    let supervisor = Supervisor::answering(&[
        ("GET /v1/apps/web/logs?lines=2", 200, json!(lines)),
        ("GET /v1/logs", 200, json!(lines)),
        ("GET /v1/logs?follow=true", 200, json!(lines)),
    ]);
    let text = supervisor.ctl("logs web --lines 2 --nostream").out;
    assert!(text.ends_with(" web | one\nweb ! two\n"), "{text}");
    assert_eq!(supervisor.ctl("logs --raw").out, "one\ntwo\n");
    assert_eq!(supervisor.ctl("logs --json").json()[1]["line"], "two");
    assert_eq!(supervisor.ctl("logs --json -f").out, lines);
}

#[test]
fn health_is_0_only_if_every_app_is_healthy() {
    let probe = |app: &str, health: &str| json!({ "app": app, "health": health, "message": "200 OK", "took_ms": 3 });
    let supervisor = Supervisor::answering(&[
        ("POST /v1/apps/web/probe", 200, json!([probe("web", "healthy")])),
        ("POST /v1/apps/all/probe", 200, json!([probe("web", "healthy"), probe("api", "unhealthy")])),
    ]);
    assert_eq!(supervisor.ctl("health web").code, 0);
    let said = supervisor.ctl("health all");
    assert_eq!((said.code, said.out.as_str()), (1, "✓ web is healthy: 200 OK\n✗ api is unhealthy: 200 OK\n"));
    assert_eq!(supervisor.ctl("health all --json").json()[1]["health"], "unhealthy");
}

#[test]
fn numbers_and_scripts_of_pm2_are_answered_with_the_right_command() {
    let no_such = refusal("no-such-app", "there is no app \"0\"");
    let supervisor = Supervisor::answering(&[("POST /v1/apps/0/restart?wait=true", 404, no_such)]);
    let said = supervisor.ctl("restart 0");
    assert_eq!(said.code, 4);
    assert!(said.err.contains("infissi-ctl restart web"), "{}", said.err);
    for line in ["start npm --name web -- start", "start ecosystem.config.js", "reload ecosystem.config.js --only web"]
    {
        let said = supervisor.ctl(line);
        assert_eq!(said.code, 2, "{line}");
        assert!(said.err.contains("infissi-ctl init"), "{line}: {}", said.err);
    }
    assert_eq!(supervisor.ctl("save").code, 0);
    assert_eq!(supervisor.ctl("flush").code, 2);
    assert!(supervisor.asked().iter().all(|asked| !asked.contains("ecosystem") && !asked.contains("flush")));
}

#[test]
fn shutdown_is_done_when_nobody_answers_any_more() {
    let supervisor = Supervisor::answering(&[("POST /v1/shutdown", 200, json!({ "message": "shutting down" }))]);
    assert_eq!(supervisor.ctl("shutdown --no-wait").out, "The supervisor stops its apps, then itself.\n");
    let socket = supervisor.socket();
    let heard = Arc::clone(&supervisor.asked);
    let gone = std::thread::spawn(move || {
        while heard.lock().unwrap().len() < 2 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        std::fs::remove_file(socket).unwrap();
    });
    let said = supervisor.ctl("kill --json");
    gone.join().unwrap();
    assert_eq!((said.code, said.json()), (0, json!({ "message": "The supervisor and its apps have stopped." })));
}

#[test]
fn no_supervisor_is_exit_3_with_the_next_step() {
    let dir = tempfile::tempdir().unwrap();
    let said = said(ctl().args(["--socket", "nothing.sock", "list"]).current_dir(dir.path()));
    assert_eq!((said.code, said.out.as_str()), (3, ""));
    assert!(said.err.contains("nothing.sock") && said.err.contains("  next: start it"), "{}", said.err);
}

#[test]
fn the_supervisor_of_a_configuration_is_found_by_it() {
    let supervisor = Supervisor::answering(&[]);
    let config = supervisor.dir.path().join("supervisor.toml");
    std::fs::write(&config, "[supervisor]\nruntime_dir = \".\"\n").unwrap();
    assert_eq!(said(ctl().arg("--config").arg(&config).arg("ping")).code, 0);
    assert_eq!(said(ctl().env("INFISSI_CONFIG", &config).arg("ping")).code, 0);
    assert_eq!(said(ctl().env("INFISSI_SOCKET", supervisor.socket()).arg("ping")).code, 0);
    assert_eq!(said(ctl().current_dir(supervisor.dir.path()).arg("ping")).code, 0);
    let missing = said(ctl().arg("--config").arg(supervisor.dir.path().join("none.toml")).arg("ping"));
    assert_eq!(missing.code, 2, "{}", missing.err);
}

#[test]
fn wrong_usage_is_exit_2_and_json_where_json_was_asked_for() {
    for line in ["restart", "lst", "list --nope", "logs -f --no-follow", "completions cmd", "restore web", "delete web"]
    {
        let words = || line.split(' ');
        let said_text = said(ctl().args(words()));
        assert_eq!((said_text.code, said_text.out.as_str()), (2, ""), "{line}");
        assert!(said_text.err.starts_with("error: "), "{line}: {}", said_text.err);
        let said_json = said(ctl().arg("--json").args(words()));
        assert_eq!((said_json.code, said_json.err.as_str()), (2, ""), "{line}");
        assert!(said_json.json()["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{line}");
    }
    assert_eq!(said(ctl().arg("--help")).code, 0);
    assert_eq!(said(ctl().arg("--version")).out, format!("infissi-ctl {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn swap_and_a_hard_restart_are_asked_for_as_they_are_meant() {
    let done = |message: &str| json!({ "results": [{ "app": "web", "message": message, "error": null }] });
    let supervisor = Supervisor::answering(&[
        ("POST /v1/apps/web/swap?wait=true", 200, done("swapped in 3 ms, pid 5")),
        ("POST /v1/apps/web/swap", 200, done("swapping")),
        ("POST /v1/apps/web/restart?wait=true&hard=true", 200, done("restarted in 2 s, pid 6")),
        ("POST /v1/apps/web/restart?wait=true", 200, done("restarted in 3 s, pid 7")),
    ]);
    for (line, expected) in [
        ("swap web", "✓ web: swapped in 3 ms, pid 5\n"),
        ("swap web --no-wait", "✓ web: swapping\n"),
        ("restart web --hard", "✓ web: restarted in 2 s, pid 6\n"),
        ("reload web", "✓ web: restarted in 3 s, pid 7\n"),
    ] {
        let said = supervisor.ctl(line);
        assert_eq!((said.code, said.out.as_str()), (0, expected), "{line}: {}", said.err);
    }
}

/// A plan for this process's own user, or for somebody else.
fn backup_plan(dir: &std::path::Path, uid: u32) -> Value {
    let site = dir.join("site");
    std::fs::create_dir_all(site.join("shared")).unwrap();
    std::fs::write(site.join("shared/file"), "text").unwrap();
    json!({
        "app": "web", "user": "ann", "uid": uid, "gid": uid, "groups": [], "base": site, "dir": dir.join("backups"),
        "include": ["shared", "*.db"], "exclude": [], "before": [], "keep": 1,
    })
}

#[test]
fn by_hand_tells_of_every_app_even_where_one_cannot_be_told() {
    let plan =
        json!({ "cwd": "/srv", "user": "www", "uid": 4_000_000, "gid": 1, "groups": [], "env": [["PORT", "1"]] });
    let told = Supervisor::answering(&[("GET /v1/apps/web", 200, detail()), ("GET /v1/apps/web/exec", 200, plan)]);
    let said = told.ctl("by-hand");
    assert!(said.out.contains("web, as www") && said.out.contains("cd /srv && runuser -u www -- env "), "{}", said.out);
    assert_eq!(said.code, 0);
    assert_eq!(told.ctl("by-hand web --json").json()[0]["user"], "www");

    let cannot = refusal("busy", "web has no release yet");
    let untold = Supervisor::answering(&[("GET /v1/apps/web", 200, detail()), ("GET /v1/apps/web/exec", 409, cannot)]);
    let said = untold.ctl("by-hand");
    assert!(said.out.contains("web: web has no release yet\n") && said.code == 5, "{}", said.out);
    assert_eq!(untold.ctl("by-hand --json").json()[0]["error"]["code"], "busy");
}

#[test]
fn backups_are_made_listed_and_pruned_with_what_the_supervisor_says() {
    let dir = tempfile::tempdir().unwrap();
    let plan = backup_plan(dir.path(), nix::unistd::geteuid().as_raw());
    let supervisor = Supervisor::answering(&[("GET /v1/apps/web/backup", 200, plan)]);
    let none = supervisor.ctl("backups web");
    assert!(none.code == 0 && none.out.starts_with("No backups of web in "), "{none:?}");
    assert_eq!(supervisor.ctl("backups web --json").json(), json!([]));
    let made = supervisor.ctl("backup web");
    assert!(made.code == 0 && made.out.starts_with("✓ web: backed up 4B (2 entries) in "), "{made:?}");
    assert!(made.err.starts_with("web: archiving\nweb: reading it back\n"), "{made:?}");
    assert!(made.err.ends_with("! web: nothing was there for include \"*.db\"\n"), "{made:?}");
    let again = supervisor.ctl("backup web --json");
    assert_eq!((again.code, again.err.as_str()), (0, ""), "{again:?}");
    let again = again.json();
    assert_eq!((&again["entries"], &again["content_bytes"]), (&json!(2), &json!(4)));
    assert_eq!(again["pruned"].as_array().unwrap().len(), 1);
    let listed = supervisor.ctl("backups web --json").json();
    assert_eq!((&listed[0]["name"], &listed[0]["path"], &listed[1]), (&again["name"], &again["path"], &Value::Null));
    let table = supervisor.ctl("backups web").out;
    assert!(table.contains(again["name"].as_str().unwrap()) && table.contains("the newest 1 are kept"), "{table}");
    // The commands alone want the environment.
    assert!(supervisor.asked().iter().all(|asked| !asked.contains("exec")));
}

#[test]
fn somebody_elses_backups_are_refused_with_what_to_type() {
    if nix::unistd::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::answering(&[("GET /v1/apps/web/backup", 200, backup_plan(dir.path(), 1))]);
    for verb in ["backup", "backups"] {
        let refused = supervisor.ctl(&format!("{verb} web"));
        assert_eq!((refused.code, refused.out.as_str()), (5, ""));
        assert!(refused.err.contains(&format!("next: sudo -u ann infissi-ctl {verb} web")), "{refused:?}");
    }
}

#[test]
fn a_configuration_is_checked_without_a_supervisor() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("supervisor.toml");
    std::fs::write(&file, "[apps.web]\nport = 3000\n").unwrap();
    let right = said(ctl().arg("check").arg(&file));
    assert_eq!((right.code, right.err.as_str()), (0, ""));
    assert!(right.out.contains("is right: 1 app, web"), "{}", right.out);
    std::fs::write(&file, "[apps.web]\nport = 0\nmax_memory = 1\n").unwrap();
    let wrong = said(ctl().arg("check").arg(&file));
    assert_eq!((wrong.code, wrong.out.as_str()), (2, ""));
    assert!(wrong.err.contains("has 2 mistakes"), "{}", wrong.err);
    let wrong = said(ctl().args(["check", "--json"]).arg(&file));
    assert_eq!((wrong.code, &wrong.json()["mistakes"][0]["line"]), (2, &json!(2)));
    assert_eq!(said(ctl().arg("check").arg(dir.path().join("none.toml"))).code, 2);
}

#[test]
fn the_example_configurations_are_right() {
    for file in ["supervisor.toml", "contrib/examples/fastpanel/supervisor.toml"] {
        let said = said(ctl().arg("check").arg(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))));
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{file}");
        assert!(said.out.contains("staging, current"), "{}", said.out);
    }
}

#[test]
fn init_prints_lines_that_check_finds_right() {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/demo");
    let stanza = said(ctl().args(["init", demo, "--port", "3005"]));
    assert_eq!(stanza.code, 0, "{}", stanza.err);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("supervisor.toml");
    std::fs::write(&file, &stanza.out).unwrap();
    let checked = said(ctl().arg("check").arg(&file));
    assert_eq!(checked.code, 0, "{}\n{}", stanza.out, checked.err);
    assert_eq!(said(ctl().arg("init").arg(dir.path())).code, 1);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let line = "{\"app\":\"web\",\"stream\":\"out\",\"at\":null,\"line\":\"x\"}\n".repeat(20_000);
    let supervisor = Supervisor::answering(&[("GET /v1/logs", 200, json!(line))]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std_command();
    let status = command.arg("--socket").arg(supervisor.socket()).arg("logs").stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[expect(clippy::disallowed_methods, reason = "a test runs the real program")]
fn std_command() -> std::process::Command {
    std::process::Command::new(assert_cmd::cargo::cargo_bin!("infissi-ctl"))
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let said = said(ctl().args(["completions", shell]));
        assert_eq!(said.code, 0);
        assert!(said.out.contains("infissi-ctl") && said.out.contains("restart"), "{shell}");
    }
}
