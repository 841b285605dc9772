//! `infissi-ctl` against a real supervisor: what each command does, says, and ends with.

use crate::machine::{Output, Program, accepts, command, free_port, get, is_alive, is_root, skip};
use crate::server::{NOBODY, Server, Setup};
use serde_json::Value;
use std::fs;
use std::io;
use std::os::unix::fs::chown;

const SLEEPER: &str = "command = \"sleep 600\"\n";
/// Fails at once and tries again much later.
const CRASHER: &str = "command = [\"sh\", \"-c\", \"echo no database >&2; exit 3\"]\nautostart = false\n\
                       backoff = { initial = \"1h\", max = \"1h\" }\n";

/// An app that never becomes ready, for as long as any story lasts.
fn never_ready(name: &str) -> String {
    let port = free_port();
    format!(
        "[apps.{name}]\n{SLEEPER}port = {port}\nproxy = \"off\"\nautostart = false\nhealth = {{ start_timeout = \"1h\" }}\n"
    )
}

fn demo(name: &str, port: u16) -> String {
    format!(
        "[apps.{name}]\ncommand = \"npm start\"\ncwd = \"demo\"\nport = {port}\nproxy = \"off\"\nhealth = {{ http = \"/api/health\" }}\n"
    )
}

/// `code` and `message` of the error that `--json` prints on standard output, with a next step and nothing beside it.
#[track_caller]
fn json_error(output: &Output) -> (String, String) {
    assert_eq!(output.stderr, "", "{output:#?}");
    let error = &output.json()["error"];
    let part = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("no {name}: {output:#?}")).to_owned();
    assert!(!part("hint").is_empty());
    (part("code"), part("message"))
}

#[test]
fn every_exit_code_is_the_one_of_the_manual_in_words_and_in_json() {
    let crash = format!("[apps.web]\n{SLEEPER}[apps.crash]\n{CRASHER}");
    let mut server = Server::start(&(crash.clone() + &never_ready("slow")));
    server.wait_status("web", "online");
    let both = |words: &[&str], code: i32, name: &str, says: &str| {
        let plain = server.ctl(words);
        assert_eq!(plain.code, code, "{words:?}: {plain:#?}");
        assert!(plain.stderr.contains(says), "{words:?}: {plain:#?}");
        let json = server.ctl(&[&["--json"], words].concat());
        let (said, message) = json_error(&json);
        assert_eq!((json.code, said.as_str()), (code, name), "{words:?}: {json:#?}");
        assert!(message.contains(says), "{words:?}: {json:#?}");
    };
    assert_eq!(server.ctl(&[]).code, 0);
    both(&["restart", "crash"], 1, "failed", "exited with code 3");
    both(&["start", "web", "crash"], 1, "failed", "exited with code 3");
    both(&["init", "/nowhere"], 1, "failed", "/nowhere");
    both(&["restart"], 2, "usage", "required");
    both(&["restrat", "web"], 2, "usage", "no command `restrat`");
    both(&["list", "--colour"], 2, "usage", "--colour");
    both(&["signal", "web", "SIGNONSENSE"], 2, "usage", "is no signal");
    both(&["start", "ecosystem.config.js"], 2, "usage", "is no app");
    both(&["restart", "wbe"], 4, "no-such-app", "wbe");
    both(&["show", "wbe"], 4, "no-such-app", "wbe");
    both(&["stop", "web", "zzz"], 4, "no-such-app", "zzz");
    assert_eq!(server.status("web"), "online", "where one is wrong, none is stopped");

    // Refused: somebody else wanted something else meanwhile.
    for json in [false, true] {
        let waiting = server.follow(if json { &["--json", "start", "slow"] } else { &["start", "slow"] });
        server.wait_status("slow", "starting");
        server.ctl(&["stop", "slow"]).ok();
        let refused = waiting.end();
        assert_eq!(refused.code, 5, "{refused:#?}");
        assert!(refused.said().contains("meanwhile"), "{refused:#?}");
        assert!(!json || json_error(&refused).0 == "busy", "{refused:#?}");
    }
    if is_root() {
        let refused = server.ctl_as(NOBODY, &[], &["--json", "stop", "web"]);
        assert_eq!((refused.code, json_error(&refused).0.as_str()), (5, "not-allowed"), "{refused:#?}");
    }

    server.configure("[apps.web]\ncommand = 7\nprot = 3000\n");
    let pid = server.pid("web");
    both(&["apply"], 2, "bad-config", "prot");
    both(&["apply", "--dry-run"], 2, "bad-config", "prot");
    assert_eq!(server.pid("web"), pid, "a faulty file changes nothing");
    server.configure(&crash);

    server.ctl(&["shutdown"]).ok();
    assert_eq!(server.ended(), 0);
    for words in
        [&["list"] as &[&str], &["restart", "web"], &["logs"], &["ping"], &["events"], &["exec", "web", "--", "true"]]
    {
        let plain = server.ctl(words);
        assert_eq!(plain.code, 3, "{words:?}: {plain:#?}");
        assert!(plain.stderr.contains("supervisor.sock") && plain.stderr.contains("next:"), "{plain:#?}");
        let json = server.ctl(&[&["--json"], words].concat());
        assert_eq!((json.code, json_error(&json).0.as_str()), (3, "no-supervisor"), "{json:#?}");
    }
}

#[test]
fn apps_are_meant_by_name_alias_glob_and_all_and_a_slip_is_answered_with_the_nearest() {
    let apps: String = ["crm-blue", "crm-green", "shop"].map(|name| format!("[apps.{name}]\n{SLEEPER}")).concat();
    let server = Server::start(&(apps + "aliases = [\"punto-shop\", \"7\"]\n"));
    server.wait_until("all to be online", || {
        ["crm-blue", "crm-green", "shop"].iter().all(|name| server.status(name) == "online")
    });
    let stopped = |words: &[&str]| -> Vec<String> {
        server.ctl(&[&["stop"], words].concat()).ok();
        let names = ["crm-blue", "crm-green", "shop"].into_iter().filter(|name| server.status(name) == "stopped");
        let names = names.map(str::to_owned).collect();
        server.ctl(&["start", "all"]).ok();
        names
    };
    assert_eq!(stopped(&["crm-*"]), ["crm-blue", "crm-green"]);
    assert_eq!(stopped(&["*{blue,shop}"]), ["crm-blue", "shop"]);
    assert_eq!(stopped(&["punto-shop"]), ["shop"]);
    assert_eq!(stopped(&["punto*", "shop", "crm-blue"]), ["crm-blue", "shop"]);
    assert_eq!(stopped(&["shop,crm-green"]), ["crm-green", "shop"]);
    assert_eq!(stopped(&["7"]), ["shop"], "an alias before a number");
    assert_eq!(stopped(&["all"]).len(), 3);
    assert_eq!(server.json(&["show", "crm-*"]).as_array().unwrap().len(), 2);
    for (slip, near) in [("crm-bleu", "crm-blue"), ("shpo", "shop"), ("SHOP", "shop"), ("punto-shp", "punto-shop")] {
        for verb in ["restart", "show", "health", "logs"] {
            let output = server.ctl(&[verb, slip]);
            assert_eq!(output.code, 4, "{output:#?}");
            assert!(output.stderr.contains(&format!("did you mean {near}?")), "{verb} {slip}: {output:#?}");
        }
    }
    let number = server.ctl(&["restart", "2"]);
    assert_eq!(number.code, 4);
    assert!(number.stderr.contains("infissi-ctl restart shop"), "what PM2 would have meant: {number:#?}");
    let nothing = server.ctl(&["stop", "x*"]);
    assert_eq!(nothing.code, 4, "{nothing:#?}");
    assert!(nothing.stderr.contains("crm-blue, crm-green, shop"), "{nothing:#?}");
}

#[test]
fn what_pm2_fingers_type_does_what_they_mean() {
    let server = Server::start(&format!("[apps.web]\n{SLEEPER}"));
    server.wait_status("web", "online");
    for words in [&["jlist"] as &[&str], &["ls", "--json"], &["status", "--json"]] {
        assert_eq!(server.ctl(words).ok().json()[0]["name"], "web", "{words:?}");
    }
    for words in [&["describe", "web"] as &[&str], &["info", "web"], &["desc", "web"]] {
        assert!(server.ctl(words).ok().stdout.contains("sleep 600"), "{words:?}");
    }
    let pid = server.pid("web");
    server.ctl(&["reload", "web", "--update-env"]).ok();
    assert_ne!(server.pid("web"), pid);
    server.ctl(&["logs", "web", "--lines", "5", "--nostream"]).ok();
    assert!(server.ctl(&["save"]).ok().stdout.contains("Nothing to save"));
    for (words, next) in [
        (&["delete", "web"] as &[&str], "remove [apps.web]"),
        (&["startup"], "systemctl enable --now"),
        (&["sendSignal", "SIGHUP", "web"], "infissi-ctl signal web SIGHUP"),
    ] {
        let output = server.ctl(words);
        assert_eq!(output.code, 2, "{output:#?}");
        assert!(output.stderr.contains(next), "{output:#?}");
    }
    assert_eq!(server.status("web"), "online");
}

#[test]
fn health_probes_now_and_is_zero_only_when_all_are_healthy() {
    let port = free_port();
    let server =
        Server::start(&format!("{}[apps.plain]\n{SLEEPER}[apps.off]\n{SLEEPER}autostart = false\n", demo("web", port)));
    server.wait_status("web", "online");
    server.wait_status("plain", "online");
    let healthy = server.ctl(&["health", "web", "plain"]).ok();
    assert!(healthy.stdout.contains("web is healthy") && healthy.stdout.contains("plain is healthy"), "{healthy:#?}");
    get(port, "/sick").unwrap();
    let sick = server.ctl(&["health", "web", "plain"]);
    assert_eq!(sick.code, 1, "{sick:#?}");
    assert!(sick.stdout.contains("web is unhealthy") && sick.stdout.contains("500"), "{sick:#?}");
    let json = server.ctl(&["--json", "health", "web"]);
    assert_eq!((json.code, json.json()[0]["health"].as_str()), (1, Some("unhealthy")), "{json:#?}");
    get(port, "/well").unwrap();
    server.ctl(&["health", "web"]).ok();
    let off = server.ctl(&["health", "off"]);
    assert!(off.code == 1 && off.stdout.contains("it is stopped"), "{off:#?}");
}

#[test]
fn a_signal_reaches_the_app_below_npm_once() {
    let server = Setup::default().prepare("[apps.web]\ncommand = \"npm start\"\ncwd = \"app\"\n");
    fs::create_dir(server.path("app")).unwrap();
    server.write("app/package.json", r#"{"name": "app", "version": "1.0.0", "scripts": {"start": "node app.js"}}"#);
    server.write(
        "app/app.js",
        "for (const name of ['SIGUSR2', 'SIGHUP']) { let count = 0; process.on(name, () => console.log(`${name} ${++count}`)) }\n\
         console.log('listening'); setInterval(() => {}, 1e6)",
    );
    let mut server = server;
    server.run();
    server.wait_until("the app to listen for signals", || server.log("web-out.log").contains("listening"));
    let tree = server.tree("web");
    assert!(tree.len() >= 2, "npm is there, too: {tree:?}");
    let said = |line: &str| server.log("web-out.log").lines().filter(|said| said.ends_with(line)).count();
    for (number, (signal, name, count)) in [
        ("SIGUSR2", "SIGUSR2", 1),
        ("usr2", "SIGUSR2", 2),
        ("HUP", "SIGHUP", 1),
        ("12", "SIGUSR2", 3),
        ("1", "SIGHUP", 2),
    ]
    .into_iter()
    .enumerate()
    {
        let output = server.ctl(&["signal", "web", signal]).ok();
        assert!(output.stdout.contains("web: "), "{output:#?}");
        server.wait_until(&format!("signal {number}"), || said(&format!("{name} {count}")) == 1);
    }
    // Had one of them come twice, its count would be ahead by now.
    assert_eq!((said("SIGUSR2 4"), said("SIGHUP 3")), (0, 0));
    let after = server.tree("web");
    assert_eq!(after, tree, "npm and its shell were left alone");
    assert_eq!(server.app("web")["restarts"], 0);
}

#[test]
fn reset_zeroes_the_counter_and_tries_at_once() {
    let server = Server::start(
        "[apps.web]\ncommand = [\"sh\", \"-c\", \"cat mended && exec sleep 600\"]\n\
         backoff = { initial = \"10ms\", max = \"1h\", factor = 1000 }\nmin_uptime = \"1h\"\n"
            .replace(", factor = 1000", "")
            .as_str(),
    );
    server.wait_until("some restarts", || server.app("web")["restarts"].as_u64() >= Some(3));
    server.write("mended", "");
    let output = server.ctl(&["reset", "web"]).ok();
    assert!(output.stdout.contains("counters and backoff are reset"), "{output:#?}");
    server.wait_status("web", "online");
    assert_eq!(server.app("web")["restarts"], 0);
}

#[test]
fn exec_runs_a_command_as_the_app_would_and_passes_its_exit_code_on() {
    let user = if is_root() { "user = \"nobody\"\n" } else { "" };
    let server = Setup::default().env("LEAKED", "from the shell").prepare(&format!(
        "[apps.web]\n{SLEEPER}cwd = \"demo\"\n{user}env = {{ DECLARED = \"one two\" }}\nenv_file = \"../web.env\"\nautostart = false\n"
    ));
    server.write("web.env", "SECRET=from the file\n");
    let mut server = server;
    server.run();
    let script = "pwd; id -un; echo \"$DECLARED, $SECRET, $INFISSI_APP\"; echo \"leaked: $LEAKED\"; cat; exit 7";
    let mut exec = server.ctl_command(&["exec", "web", "--", "sh", "-c", script]);
    let output = Program::start(exec.env("LEAKED", "from the caller")).end();
    assert_eq!(output.code, 7, "{output:#?}");
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[0], fs::canonicalize(server.path("demo")).unwrap().to_str().unwrap());
    assert!(user.is_empty() || lines[1] == "nobody", "{output:#?}");
    assert_eq!(lines[2..], ["one two, from the file, web", "leaked: "], "{output:#?}");
    assert_eq!(server.ctl(&["exec", "web", "--", "sh", "-c", "kill -9 $$"]).code, 137);
    assert!(server.ctl(&["exec", "web", "--", "node", "--version"]).ok().stdout.starts_with('v'));
    let none = server.ctl(&["exec", "web", "--", "no-such-program"]);
    assert!(none.code == 1 && none.stderr.contains("no-such-program") && none.stderr.contains("PATH="), "{none:#?}");
    assert_eq!(server.ctl(&["exec", "wbe", "--", "true"]).code, 4);
    assert_eq!(server.ctl(&["exec", "web"]).code, 2);
    if is_root() {
        chown(server.path("demo"), Some(NOBODY), Some(NOBODY)).unwrap();
        assert_eq!(server.ctl_as(NOBODY, &[], &["exec", "web", "--", "id", "-un"]).ok().stdout, "nobody\n");
        let stranger = server.ctl_as(1, &[], &["exec", "web", "--", "env"]);
        assert_eq!(stranger.code, 5, "{stranger:#?}");
        assert!(!stranger.said().contains("from the file"), "{stranger:#?}");
    }
}

#[test]
fn events_tell_what_happened_and_who_asked_for_it() {
    let server = Server::start(&format!("[apps.web]\n{SLEEPER}"));
    server.wait_status("web", "online");
    let follower = server.follow(&["--json", "events", "-f"]);
    let text = server.follow(&["events", "-f"]);
    server
        .wait_until("what was before", || follower.stdout().contains("\"online\"") && text.stdout().contains("web: "));
    server.ctl(&["restart", "web"]).ok();
    let me = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    server.wait_until("the restart to be told", || {
        follower.stdout().matches("\"kind\":\"online\"").count() == 2
            && text.stdout().contains(&format!("restart requested (by {me})"))
    });
    let followed: Vec<Value> = follower.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let all = server.events();
    assert_eq!(all, followed, "the same, as an array");
    assert!(all.iter().enumerate().all(|(number, event)| event["seq"].as_u64() == Some(number as u64 + 1)), "{all:#?}");
    let kinds: Vec<&str> =
        all.iter().filter(|event| event["app"] == "web").map(|event| event["kind"].as_str().unwrap()).collect();
    let expected = ["started", "online", "requested", "stopping", "stopped", "started", "online"];
    assert_eq!(kinds, expected, "{all:#?}");
    let requested = &server.events_of("web", "requested")[0];
    assert_eq!(requested["by"], me.as_str());
    server.ctl(&["shutdown"]).ok();
    assert_eq!((follower.end().code, text.end().code), (0, 0), "the end of the supervisor is the end of the story");
}

#[test]
fn no_value_of_an_environment_is_shown_or_kept() {
    let server = Setup::default().prepare(&format!(
        "[apps.web]\n{SLEEPER}env = {{ DECLARED = \"xyzzy-declared\" }}\nenv_file = \"web.env\"\n[apps.bad]\n\
         command = \"nothing-of-that-name\"\nenv_file = \"web.env\"\nmax_restarts = 0\n"
    ));
    server.write("web.env", "FROM_FILE=xyzzy-file\n");
    let mut server = server;
    server.run();
    server.wait_status("web", "online");
    server.ctl(&["restart", "web"]).ok();
    let show = server.ctl(&["show", "web"]).ok();
    assert!(show.stdout.contains("DECLARED") && show.stdout.contains("FROM_FILE"), "names are shown: {show:#?}");
    for words in [&["show", "web", "bad"] as &[&str], &["list"], &["events"], &["doctor"], &["logs", "--no-follow"]] {
        for json in [&["--json"] as &[&str], &[]] {
            let output = server.ctl(&[json, words].concat());
            assert!(!output.said().contains("xyzzy"), "{words:?}: {output:#?}");
        }
    }
    assert!(!server.own_log().contains("xyzzy"), "{}", server.own_log());
    let state = fs::read_to_string(server.state_dir().join("state.json")).unwrap();
    assert!(!state.contains("xyzzy"), "{state}");
}

#[test]
fn several_are_restarted_at_once_and_each_has_its_line() {
    let server = Server::start(&format!(
        "[apps.one]\n{SLEEPER}[apps.two]\n{SLEEPER}[apps.crash]\n{CRASHER}{}",
        never_ready("slow")
    ));
    server.wait_status("one", "online");
    server.wait_status("two", "online");
    let before = (server.pid("one"), server.pid("two"));
    let output = server.ctl(&["restart", "two", "one"]).ok();
    assert!(
        output.stdout.contains("one: restarted in ") && output.stdout.contains("two: restarted in "),
        "{output:#?}"
    );
    let after = (server.pid("one"), server.pid("two"));
    assert!(after.0 != before.0 && after.1 != before.1 && !is_alive(before.0) && !is_alive(before.1));
    assert!(output.stdout.contains(&after.0.to_string()), "the new pid: {output:#?}");

    let output = server.ctl(&["restart", "one", "crash", "two"]);
    assert_eq!(output.code, 1, "{output:#?}");
    assert!(output.stdout.contains("one: restarted") && output.stdout.contains("two: restarted"), "{output:#?}");
    assert!(output.stderr.contains("crash") && output.stderr.contains("no database"), "{output:#?}");
    let json = server.ctl(&["--json", "restart", "one", "crash"]);
    let results = json.json()["results"].as_array().unwrap().clone();
    let failed: Vec<bool> = results.iter().map(|result| result["error"].is_object()).collect();
    assert_eq!((json.code, failed), (1, vec![false, true]), "{json:#?}");

    server.ctl(&["start", "slow", "--no-wait"]).ok();
    assert_eq!(server.status("slow"), "starting", "nobody waited for it");
    server.ctl(&["stop", "slow"]).ok();
    assert!(server.ctl(&["stop", "slow"]).ok().stdout.contains("was already stopped"));
    assert!(server.ctl(&["start", "one"]).ok().stdout.contains("was already online"));
}

#[test]
fn ping_version_and_doctor_tell_how_it_is() {
    let mut server = Server::start(&format!("[apps.web]\n{SLEEPER}"));
    server.wait_status("web", "online");
    let pid = server.supervisor_pid();
    assert!(server.ctl(&["ping"]).ok().stdout.contains(&format!("pid {pid}")));
    assert_eq!(server.json(&["ping"])["pid"], pid);
    assert_eq!(server.ctl(&["version"]).ok().stdout.matches(env!("CARGO_PKG_VERSION")).count(), 2);
    let well = server.ctl(&["doctor"]).ok();
    assert!(well.stdout.contains("web is online") && well.stdout.contains("valid and applied"), "{well:#?}");
    assert!(server.json(&["doctor"]).as_array().unwrap().iter().all(|finding| finding["verdict"] != "bad"));

    server
        .configure(&format!("[apps.web]\n{SLEEPER}[apps.bad]\ncommand = \"nothing-of-that-name\"\nmax_restarts = 0\n"));
    let changed = server.ctl(&["doctor"]).ok();
    assert!(changed.stdout.contains("is not applied"), "unwise, not bad: {changed:#?}");
    assert!(server.ctl(&["list"]).ok().stdout.contains("infissi-ctl apply"));
    let applied = server.ctl(&["apply"]);
    assert_eq!(applied.code, 1, "{applied:#?}");
    server.wait_status("bad", "errored");
    let bad = server.ctl(&["doctor"]);
    assert_eq!(bad.code, 1, "{bad:#?}");
    assert!(bad.stdout.contains("nothing-of-that-name is not in its PATH"), "{bad:#?}");
    assert!(bad.stdout.contains("next: infissi-ctl show bad"), "{bad:#?}");

    server.configure("[apps.web]\nprot = 1\n");
    let faulty = server.ctl(&["doctor"]);
    assert!(faulty.code == 1 && faulty.stdout.contains("has mistakes"), "{faulty:#?}");
    server.configure("");
    server.ctl(&["shutdown"]).ok();
    assert_eq!(server.ended(), 0);
    let gone = server.ctl(&["doctor"]);
    assert!(gone.code == 1 && gone.stdout.contains("supervisor.sock"), "{gone:#?}");
    let version = server.ctl(&["version"]).ok();
    assert!(version.stdout.contains("none answers"), "{version:#?}");
}

#[test]
fn apply_shows_its_plan_and_touches_only_what_changed() {
    let server = Server::start(&format!("[apps.stays]\n{SLEEPER}[apps.goes]\n{SLEEPER}[apps.changes]\n{SLEEPER}"));
    server.wait_until("all to be online", || {
        ["stays", "goes", "changes"].iter().all(|name| server.status(name) == "online")
    });
    let pids = || ["stays", "changes"].map(|name| server.pid(name));
    let before = pids();
    let gone = server.pid("goes");
    assert!(server.ctl(&["apply"]).ok().stdout.contains("Nothing to do"));
    server.configure(&format!(
        "[apps.stays]\n{SLEEPER}kill_timeout = \"3s\"\n[apps.changes]\n{SLEEPER}env = {{ NODE_ENV = \"production\" }}\n[apps.comes]\n{SLEEPER}"
    ));
    let plan = server.ctl(&["apply", "--dry-run"]).ok().stdout;
    let lines: Vec<String> = plan.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in
        ["~ stays change in place kill_timeout", "~ changes restart env.NODE_ENV", "+ comes start", "- goes stop"]
    {
        assert!(lines.iter().any(|planned| planned == line), "{line}: {plan}");
    }
    assert!(plan.contains("Nothing was done"), "{plan}");
    assert_eq!((pids(), server.status("comes").as_str(), server.pid("goes")), (before, "absent", gone));
    assert_eq!(server.json(&["apply", "--dry-run"])["plan"]["steps"].as_array().unwrap().len(), 4);

    server.ctl(&["apply"]).ok();
    assert_eq!(server.pid("stays"), before[0]);
    assert_ne!(server.pid("changes"), before[1]);
    assert_eq!((server.status("comes").as_str(), server.status("goes").as_str()), ("online", "absent"));
    assert!(!is_alive(gone));
    assert!(server.ctl(&["apply"]).ok().stdout.contains("Nothing to do"));
}

#[test]
fn check_prints_every_mistake_with_its_place_and_init_writes_what_passes() {
    let port = free_port();
    let server = Setup::default().prepare("");
    let path = server.path("supervisor.toml");
    let check = |words: &[&str]| {
        let mut ctl = server.ctl_command(&["check"]);
        Program::start(ctl.args(words)).end()
    };
    let file = path.to_str().unwrap();
    assert!(check(&[file]).ok().stdout.contains("no apps"));
    server.write(
        "faulty.toml",
        "[apps.one]\ncommand = 7\nprot = 3000\n[apps.two]\nport = 70000\nkill_timeout = \"soon\"\n",
    );
    let faulty = server.path("faulty.toml");
    let output = check(&[faulty.to_str().unwrap()]);
    assert_eq!(output.code, 2, "{output:#?}");
    for place in [
        "faulty.toml:2",
        "faulty.toml:3",
        "faulty.toml:5",
        "faulty.toml:6",
        "apps.one.command",
        "apps.one.prot",
        "apps.two.port",
        "apps.two.kill_timeout",
    ] {
        assert!(output.stderr.contains(place), "{place}: {}", output.stderr);
    }
    assert!(output.stderr.contains("did you mean port") || output.stderr.contains("port"), "{}", output.stderr);
    let json = check(&["--json", faulty.to_str().unwrap()]);
    assert_eq!((json.code, json.stderr.as_str()), (2, ""), "{json:#?}");
    assert!(json.json()["mistakes"].as_array().unwrap().len() >= 4, "{json:#?}");
    assert_eq!(check(&[server.path("none.toml").to_str().unwrap()]).code, 2);

    let demo = server.path("demo");
    let stanza = server.ctl(&["init", demo.to_str().unwrap(), "--port", &port.to_string()]).ok().stdout;
    server.configure(&stanza);
    let checked = check(&[file]).ok();
    assert!(checked.stdout.contains("1 app, ") && checked.stderr.is_empty(), "{checked:#?}");
    // And not only that: it runs.
    let mut server = server;
    server.run();
    let name = server.json(&["list"])[0]["name"].as_str().unwrap().to_owned();
    server.wait_status(&name, "online");
    assert!(accepts(port));
    let nothing = server.ctl(&["init", server.path("run").to_str().unwrap()]);
    assert!(nothing.code == 1 && nothing.stderr.contains("package.json"), "{nothing:#?}");
}

/// `list` on a terminal of so many columns; none where there is no `script`.
fn on_terminal(server: &Server, columns: usize, env: &[(&str, &str)], words: &[&str]) -> Option<String> {
    let ctl = server.ctl_command(words);
    let line = std::iter::once(ctl.get_program()).chain(ctl.get_args()).map(|word| word.to_str().unwrap());
    let line = format!("stty cols {columns} rows 40; {}", shell_words::join(line));
    let mut script = command("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color")
        .env("LC_ALL", "C.UTF-8");
    script.envs(env.iter().copied()).stdin(std::process::Stdio::null());
    match script.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            skip("there is no script here to make a terminal");
            None
        }
        output => {
            let output = output.unwrap();
            assert!(output.status.success(), "{output:?}");
            Some(String::from_utf8(output.stdout).unwrap().replace('\r', ""))
        }
    }
}

/// Without colours: `ESC [ … m`.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[test]
fn the_table_is_plain_in_a_pipe_and_fits_the_terminal() {
    let long = "a-name-that-somebody-thought-about-for-much-too-long";
    let server = Server::start(&format!("[apps.web]\n{SLEEPER}[apps.{long}]\n{SLEEPER}[apps.crash]\n{CRASHER}"));
    server.wait_status("web", "online");
    server.wait_status(long, "online");
    server.ctl(&["start", "crash", "--no-wait"]).ok();
    server.wait_status("crash", "backoff");
    let piped = Program::start(server.ctl_command(&["list"]).env("TERM", "xterm-256color").env("CLICOLOR_FORCE", "1"))
        .end()
        .ok();
    assert!(!piped.stdout.contains('\u{1b}') && piped.stdout.contains(long), "{piped:#?}");
    assert!(piped.stdout.contains("exited with"), "why it is not online: {piped:#?}");
    for columns in [60, 80, 120] {
        let Some(shown) = on_terminal(&server, columns, &[], &["list"]) else { return };
        assert!(shown.contains("\u{1b}["), "in colours: {shown:?}");
        let text = plain(&shown);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let table = text.lines().filter(|line| line.starts_with(['┌', '│', '├', '└']));
        let widths: Vec<usize> = table.map(|line| line.chars().count()).collect();
        assert!(widths.len() >= 7 && widths.iter().all(|width| *width <= columns), "{columns}: {widths:?}\n{text}");
        assert!(text.contains("web") && text.contains("online") && text.contains("backoff"), "{text}");
        assert!(columns == 60 || text.contains("↺"), "{text}");
        for (env, words) in [
            (&[("NO_COLOR", "1")] as &[_], &["list"] as &[_]),
            (&[("TERM", "dumb")], &["list"]),
            (&[], &["--no-color", "list"]),
        ] {
            let shown = on_terminal(&server, columns, env, words).unwrap();
            assert!(!shown.contains('\u{1b}') && shown.contains("web"), "{env:?} {words:?}: {shown:?}");
        }
    }
    let ascii = on_terminal(&server, 80, &[("LC_ALL", "C")], &["--no-color", "list"]).unwrap();
    assert!(ascii.is_ascii() && ascii.contains("web"), "{ascii}");
    let shown = on_terminal(&server, 100, &[], &["restart", "web"]).unwrap();
    assert!(shown.contains("restarted in") && shown.contains('┌'), "on a terminal it ends with the table: {shown}");
}

#[test]
fn zero_apps_are_fine_and_the_list_says_how_to_begin() {
    let server = Server::start("");
    let list = server.ctl(&["list"]).ok();
    assert!(list.stdout.contains("infissi-ctl init"), "{list:#?}");
    assert_eq!(server.ctl(&["--json", "list"]).ok().stdout, "[]\n");
    assert_eq!(server.ctl(&["logs", "--no-follow"]).code, server.ctl(&["restart", "all"]).code);
    let none = server.ctl(&["restart", "web"]);
    assert!(none.code == 4 && none.stderr.contains("none is configured"), "{none:#?}");
    assert!(server.ctl(&["doctor"]).ok().stdout.contains("no apps"));
    assert!(server.ctl(&["apply"]).ok().stdout.contains("Nothing to do"));
}

#[test]
fn shutdown_ends_the_apps_and_then_the_supervisor() {
    for words in [&["shutdown"] as &[&str], &["shutdown", "--no-wait"], &["--json", "kill"]] {
        let mut server = Server::start(&format!("[apps.web]\n{SLEEPER}"));
        server.wait_status("web", "online");
        let pid = server.pid("web");
        server.ctl(words).ok();
        if words.len() == 1 {
            assert!(!is_alive(pid), "who waited finds it gone");
            assert_eq!(server.ctl(&["list"]).code, 3);
        }
        assert_eq!(server.ended(), 0);
        assert!(!is_alive(pid));
        server.run();
        server.wait_status("web", "online");
    }
}
