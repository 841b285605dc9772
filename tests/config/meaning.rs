//! What a right supervisor.toml means: defaults, layers, whatever is left out.

use crate::story::{app, config, facts, sources};
use infissi::config::{Autorestart, LogFormat, ProbeKind, parse};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The documented example without the keys of later versions.
const EXAMPLE: &str = r#"
[supervisor]
runtime_dir = "run"
state_dir = "/var/lib/infissi"
log_dir = "./logs"
include     = ["apps.d/*.toml"]        # a file that root does not own may only name its owner as user
port_range  = "21000-21999"            # private loopback ports of instances
control     = { group = "infissi", admins = ["fastuser"] }   # group members look; admins change; "@name" is a group
metrics     = "127.0.0.1:9615"         # off unless given
shutdown_timeout = "60s"               # caps everything at shutdown
log         = { level = "info", format = "text" }   # or json

[defaults]                             # any app key below; an app's own wins

[apps.current]
aliases     = ["punto-infissi-crm-current"]
command     = "npm start -- --port {port} --hostname {host}"   # string (shell words, no shell) or array
cwd         = "current"
user        = "fastuser"
path        = ["/opt/node/v20/bin"]
env         = { NODE_ENV = "production" }
env_file    = ".env"
inherit_env = ["PATH", "LANG", "TZ"]
port        = 3000
listen      = "[::]"                   # dual-stack, 0.0.0.0 where IPv6 is off; or a list: ["127.0.0.1:3000", "[::]:3010"]
proxy       = "http"                   # default with a port; "off": the app binds the port itself
instances   = 1
strategy    = "blue-green"             # default with a proxied port; "stop-first" for what cannot run twice
hold        = "10s"                    # how long the proxy holds requests while nothing can answer
trusted_proxies = ["127.0.0.0/8", "::1"]
autostart   = true
autorestart = true
stop_exit_codes = [0]
depends_on  = []
cron_restart = "0 4 * * *"
timezone = "Europe/Kyiv"
max_memory_restart = "1G"
memory_max  = "2G"
stop_signal = "SIGTERM"
kill_timeout = "15s"
min_uptime  = "10s"
max_restarts = 0
backoff     = { initial = "100ms", max = "30s" }
limits      = { connections = 10000, header_timeout = "10s", head = "32K", idle = "80s" }   # towards clients

[apps.current.health]
http = "/api/health"
expect_status = "200-299"
expect_body = "ok"
headers = { Host = "crm.example" }
interval = "5s"
timeout = "3s"
start_timeout = "60s"
healthy = 2
unhealthy = 3

[apps.current.drain]
requests = "90s"
upgrades = "5m"

[apps.current.logs]
dir = "crm"
name = "production"
timestamps = true
format = "text"
max_size = "10M"
keep = 30
compress = true
max_total = "1G"
daily = false

[apps.nightly]
schedule    = "0 2 * * *"
timeout = "2h"
timezone = "Europe/Kyiv"
"#;

#[test]
fn the_documented_example_is_valid() {
    let config = config(EXAMPLE);
    assert_eq!(config.supervisor.runtime_dir.as_deref(), Some(Path::new("/srv/run")));
    assert_eq!(config.supervisor.log_dir.as_deref(), Some(Path::new("/srv/logs")));
    let app = config.app("punto-infissi-crm-current").unwrap();
    assert_eq!(app.cwd, Path::new("/srv/current"));
    assert_eq!(app.command, ["npm", "start", "--", "--port", "{port}", "--hostname", "{host}"]);
    assert_eq!(app.env_file.as_ref().unwrap().path, Path::new("/srv/current/.env"));
    assert_eq!(app.max_memory_restart, Some(1 << 30));
    assert_eq!(app.logs.dir.as_deref(), Some(Path::new("crm")));
    assert!(matches!(&app.health.probe, Some(ProbeKind::Http { path, .. }) if path == "/api/health"));
    assert!(config.app("nightly").unwrap().is_job());
}

#[test]
fn nothing_at_all_is_a_valid_configuration() {
    assert_eq!(config("").apps.len(), 0);
    assert_eq!(config("[supervisor]\n[defaults]\n").supervisor.shutdown_timeout, Duration::from_secs(60));
}

#[test]
fn an_empty_app_has_the_documented_defaults() {
    let app = app("[apps.a]");
    assert_eq!(app.command, ["npm", "start"]);
    assert_eq!(app.cwd, Path::new("/srv"));
    assert_eq!(app.inherit_env, ["PATH", "LANG", "TZ"]);
    assert_eq!((app.instances, app.autostart, app.autorestart), (1, true, Autorestart::Always));
    assert_eq!((app.stop_signal, app.kill_timeout), (libc::SIGTERM, Duration::from_secs(15)));
    assert_eq!((app.min_uptime, app.max_restarts), (Duration::from_secs(10), 0));
    assert_eq!((app.backoff.initial, app.backoff.max), (Duration::from_millis(100), Duration::from_secs(30)));
    assert_eq!((app.max_memory_restart, app.memory_max, app.port), (None, None, None));
    let health = &app.health;
    assert_eq!((&health.probe, health.healthy, health.unhealthy), (&None, 2, 3));
    assert_eq!((health.interval, health.timeout), (Duration::from_secs(5), Duration::from_secs(3)));
    assert_eq!(health.start_timeout, Duration::from_secs(60));
    let logs = &app.logs;
    assert_eq!((logs.dir.as_deref(), logs.name.as_str(), logs.timestamps), (None, "a", true));
    assert_eq!((logs.format, logs.max_size, logs.keep), (LogFormat::Text, 10 << 20, 30));
    assert_eq!((logs.compress, logs.max_total, logs.daily), (true, 1 << 30, false));
}

#[test]
fn apps_keep_the_order_of_the_file() {
    let names: Vec<String> = config("[apps.z]\n[apps.a]\n[apps.m]\n").apps.iter().map(|app| app.name.clone()).collect();
    assert_eq!(names, ["z", "a", "m"]);
}

#[test]
fn an_app_wins_over_defaults_key_by_key() {
    let app = app(r#"
        [defaults]
        kill_timeout = "5s"
        command = "yarn start"
        env = { A = "default", B = 2, C = true, D = 1.50 }
        backoff = { initial = "1s", max = "1m" }
        health = { http = "/health", interval = "10s" }
        logs = { keep = 3, format = "json" }
        [apps.a]
        port = 3000
        env = { A = "own" }
        backoff.max = "2m"
        health.tcp = true
        logs.keep = 5
    "#);
    assert_eq!((app.kill_timeout, app.command[0].as_str()), (Duration::from_secs(5), "yarn"));
    let env: Vec<(&str, &str)> = app.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("A", "own"), ("B", "2"), ("C", "true"), ("D", "1.50")]);
    assert_eq!((app.backoff.initial, app.backoff.max), (Duration::from_secs(1), Duration::from_secs(120)));
    assert_eq!((&app.health.probe, app.health.interval), (&Some(ProbeKind::Tcp), Duration::from_secs(10)));
    assert_eq!((app.logs.keep, app.logs.format), (5, LogFormat::Json));
}

#[test]
fn a_default_that_does_not_suit_an_app_is_passed_over() {
    let config = config(
        r#"
        [defaults]
        health.http = "/health"
        health.expect_body = "ok"
        timeout = "1h"
        timezone = "Europe/Kyiv"
        cron_restart = "0 4 * * *"
        [apps.web]
        port = 3000
        [apps.worker]
        [apps.job]
        schedule = "@daily"
    "#,
    );
    let [web, worker, job] = ["web", "worker", "job"].map(|name| Arc::clone(config.app(name).unwrap()));
    assert!(web.health.probe.is_some() && worker.health.probe.is_none() && job.health.probe.is_none());
    assert_eq!((web.timeout, job.timeout), (None, Some(Duration::from_secs(3600))));
    assert!(web.cron_restart.is_some() && job.cron_restart.is_none());
}

#[test]
fn the_port_that_pm2_wanted_in_env_is_accepted_when_it_is_the_same() {
    let app = app("[apps.a]\nport = 3000\nenv = { PORT = 3000, X = \"1\" }");
    assert_eq!(app.env.keys().collect::<Vec<_>>(), ["X"]);
}

#[test]
fn a_dependency_by_its_alias_is_known_by_its_name() {
    let config = config("[apps.web]\ndepends_on = [\"db\", \"postgres\"]\n[apps.postgres]\naliases = [\"db\"]\n");
    assert_eq!(config.app("web").unwrap().depends_on, ["postgres"]);
}

#[test]
fn braces_that_are_not_ours_pass() {
    let app = app(r#"apps.a = { command = ["node", "-e", "({a: 1}) {} {name} ${x} {{x}}"], port = 1 }"#);
    assert_eq!(app.command[2], "({a: 1}) {} {name} ${x} {{x}}");
}

#[test]
fn an_env_file_with_a_question_mark_may_be_missing() {
    let file = app("[apps.a]\ncwd = \"/app\"\nenv_file = \"shared/../.env?\"").env_file.clone().unwrap();
    assert_eq!((file.path.as_path(), file.optional), (Path::new("/app/shared/../.env"), true));
}

#[test]
fn a_schedule_follows_its_time_zone() {
    let app = app("[apps.a]\nschedule = \"30 2 * * *\"\ntimezone = \"Europe/Rome\"");
    let schedule = app.schedule.as_ref().unwrap();
    let next = |from: &str| schedule.next_after(from.parse().unwrap()).unwrap().to_string();
    assert_eq!(next("2026-01-10T00:00:00Z"), "2026-01-10T01:30:00Z");
    assert_eq!(next("2026-07-10T00:00:00Z"), "2026-07-10T00:30:00Z");
    // On 29 March 2026 the clock jumps from 2:00 to 3:00, on 25 October it goes back from 3:00 to 2:00.
    assert_eq!(next("2026-03-28T12:00:00Z"), "2026-03-29T01:00:00Z");
    assert_eq!(next("2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
    assert_eq!(next("2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z");
}

/// Every key of the documented interface, and what this version makes of it.
#[test]
fn every_documented_key_is_taken() {
    let taken = [
        "aliases = [\"b\"]",
        "command = \"x\"",
        "cwd = \".\"",
        "user = \"u\"",
        "path = [\"p\"]",
        "env = {}",
        "env_file = \".env\"",
        "inherit_env = []",
        "port = 1",
        "proxy = \"off\"",
        "port = 1\nproxy = \"http\"",
        "port = 1\nlisten = \"[::]\"",
        "instances = 2",
        "port = 1\ninstances = 2",
        "strategy = \"stop-first\"",
        "port = 1\nstrategy = \"blue-green\"",
        "port = 1\nhold = \"0s\"",
        "port = 1\ntrusted_proxies = []",
        "port = 1\nlimits = { connections = 1, header_timeout = \"1s\", head = \"8K\", idle = \"76s\" }",
        "port = 1\ndrain = { requests = \"0s\", upgrades = \"0s\" }",
        "deploy = { root = \"x\", warm = \"0s\" }",
        "deploy = { root = \"x\", backup = true }\nbackup = { dir = \"x\" }",
        "backup = { dir = \"x\", include = [\"x\"], exclude = [\"*.log\"], before = [\"x {out}/y\", [\"x\"]], keep = 1 }",
        "autostart = false",
        "autorestart = \"on-failure\"",
        "stop_exit_codes = []",
        "depends_on = []",
        "schedule = \"@daily\"",
        "schedule = \"@daily\"\ntimeout = \"1h\"",
        "cron_restart = \"@daily\"\ntimezone = \"UTC\"",
        "max_memory_restart = \"1G\"",
        "memory_max = \"1G\"",
        "stop_signal = \"INT\"",
        "kill_timeout = \"0s\"",
        "min_uptime = \"0s\"",
        "max_restarts = 5",
        "backoff = { initial = \"1s\", max = \"1s\" }",
        "port = 1\nhealth = { http = \"/\", expect_status = 204 }",
        "health = { command = [\"x\"] }",
        "health = { start_timeout = \"5s\" }",
        "logs = { daily = true }",
    ];
    for line in taken {
        app(&format!("[apps.a]\n{line}\n"));
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, "\\PC{0,4}|[\\[\\]{}=\",.#\n]{1,3}"), 1..8)
    ) {
        let mut text: Vec<char> = EXAMPLE.chars().collect();
        for (at, removed, put) in edits {
            let start = at.index(text.len());
            let end = (start + removed).min(text.len());
            text.splice(start..end, put.chars());
        }
        let text: String = text.into_iter().collect();
        match parse(&sources(&text), &facts()) {
            Ok(parsed) => prop_assert!(parsed.config.apps.iter().all(|app| !app.command.is_empty())),
            Err(told) => {
                prop_assert!(!told.mistakes.is_empty());
                prop_assert!(!told.render(true).is_empty());
            }
        }
    }

    #[test]
    fn no_value_of_any_key_makes_the_parser_panic(key in 0_usize..50, value in "[0-9a-z\"\\[\\]{}= .:_-]{0,12}") {
        let keys = ["port", "command", "kill_timeout", "max_memory_restart", "schedule", "timezone", "health.http",
            "health.expect_status", "logs.max_size", "env.X", "backoff.max", "depends_on", "stop_signal", "path", "backup.include", "backup.before", "port = 1\nlisten", "port = 1\ntrusted_proxies", "deploy.root",
            "port = 1\nlimits.head", "port = 1\nhold", "port = 1\ninstances", "deploy.root = \"x\"\ndeploy.shared", "deploy.root = \"x\"\ndeploy.steps",
            "deploy.root = \"x\"\ndeploy.min_free", "release_of"];
        let key = keys[key % keys.len()];
        let _ = parse(&sources(&format!("[apps.a]\n{key} = {value}\n")), &facts());
        let _ = parse(&sources(&format!("[apps.a]\n{key} = {value:?}\n")), &facts());
    }
}
