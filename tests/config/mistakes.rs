//! What a faulty supervisor.toml is answered, word by word.

use crate::story::{expect, facts, sources};
use infissi::config::parse;

#[test]
fn what_stands_in_defaults_is_told_once() {
    expect(&[(
        r#"[defaults]
port = 3000
kill_timeout = 3
logs.name = "x"
[apps.a]
[apps.b]"#,
        &[
            "supervisor.toml:2:8: defaults.port: apps cannot share it: write it into each app's own table",
            r#"supervisor.toml:3:16: defaults.kill_timeout: 3 has no unit: write "3ms" or "3s""#,
            "supervisor.toml:4:13: defaults.logs.name: apps would write into each other's files: write it into each app's own [logs] table",
        ],
    )]);
}

#[test]
fn syntax_is_told_without_its_echoes() {
    expect(&[(
        r#"[apps.a]
port = 
command = "x
[apps.b
kill_timeout = 3"#,
        &[
            "supervisor.toml:2:8: string values must be quoted: expected literal string",
            r#"supervisor.toml:3:13: invalid basic string: expected `"`"#,
            "supervisor.toml:4:8: unclosed table: expected `]`",
        ],
    )]);
}

#[test]
fn a_wrong_key_is_told_the_right_one() {
    expect(&[
        (
            r#"[apps.a]
max_memory_restrat = "1G""#,
            &["supervisor.toml:2:1: apps.a.max_memory_restrat: there is no such key: did you mean max_memory_restart?"],
        ),
        (
            r#"[apps.a]
script = "server.js""#,
            &[
                r#"supervisor.toml:2:1: apps.a.script: there is no such key: write command = "npm start" or what else starts it"#,
            ],
        ),
        (
            "[apps.a]
xyzzy = 1",
            &[
                "supervisor.toml:2:1: apps.a.xyzzy: there is no such key: there are aliases, command, cwd, user, path, env, env_file, inherit_env, port, listen, proxy, instances, strategy, hold, trusted_proxies, autostart, autorestart, stop_exit_codes, depends_on, release_of, schedule, timeout, timezone, cron_restart, max_memory_restart, memory_max, stop_signal, kill_timeout, min_uptime, max_restarts, backoff, limits, health, drain, logs, deploy, backup",
            ],
        ),
        ("[app.a]", &["supervisor.toml:1:2: app: there is no such key: did you mean apps?"]),
        (
            r#"kill_timeout = "5s""#,
            &["supervisor.toml:1:1: kill_timeout: this is not its place: write it below [apps.NAME] or [defaults]"],
        ),
        (
            r#"[apps.a]
max_size = "1M""#,
            &["supervisor.toml:2:1: apps.a.max_size: this is not its place: write it into its [logs] table"],
        ),
    ]);
}

#[test]
fn dependencies_are_apps_and_go_one_way() {
    expect(&[
        (
            r#"[apps.staging]
depends_on = ["curent"]
[apps.current]"#,
            &[r#"supervisor.toml:2:15: apps.staging.depends_on[0]: there is no app "curent": did you mean "current"?"#],
        ),
        (
            r#"[apps.a]
depends_on = ["b"]
[apps.b]
depends_on = ["c"]
[apps.c]
depends_on = ["a"]"#,
            &[
                "supervisor.toml:2:15: apps.a.depends_on: these wait for one another: a → b → c → a: take one of them out of depends_on",
            ],
        ),
        (
            r#"[apps.a]
depends_on = ["a"]"#,
            &[
                "supervisor.toml:2:15: apps.a.depends_on: these wait for one another: a → a: take one of them out of depends_on",
            ],
        ),
    ]);
}

#[test]
fn names_aliases_ports_and_logs_have_one_owner() {
    expect(&[
        (
            "[apps.a]
port = 3000
[apps.b]
port = 3000",
            &["supervisor.toml:4:8: apps.b.port: 3000 is already the port of apps.a: choose another port"],
        ),
        (
            r#"[apps.a]
aliases = ["b", "c"]
[apps.b]
aliases = ["c", "all"]"#,
            &[
                r#"supervisor.toml:2:12: apps.a.aliases[0]: "b" is already apps.b: choose another alias"#,
                r#"supervisor.toml:4:12: apps.b.aliases[0]: "c" is already apps.a: choose another alias"#,
                r#"supervisor.toml:4:17: apps.b.aliases[1]: "all" is not a name: choose another, all means every app"#,
            ],
        ),
        (
            "[apps.a]
[apps.a]",
            &["supervisor.toml:2:7: duplicate key: write each key and table once"],
        ),
        (
            r#"[apps."my app"]"#,
            &[
                r#"supervisor.toml:1:7: apps."my app": this is not a name for an app: write up to 64 letters, digits, dots, dashes and underscores, a letter or digit first"#,
            ],
        ),
        (
            "[apps.all]",
            &["supervisor.toml:1:7: apps.all: this is not a name for an app: choose another, all means every app"],
        ),
        (
            r#"[apps.a]
logs.name = "b"
[apps.b]"#,
            &[
                r#"supervisor.toml:3:7: apps.b.logs: apps.a already writes to the logs named "b": choose another name or dir in [logs]"#,
            ],
        ),
    ]);
}

#[test]
fn tables_are_tables() {
    expect(&[
        (
            "[apps]
a = 1",
            &["supervisor.toml:2:5: apps.a: 1 is not a table: write [apps.a] and its keys below"],
        ),
        ("apps = 1", &["supervisor.toml:1:8: apps: 1 is not a table: write [apps] and its keys below"]),
    ]);
}

#[test]
fn the_supervisors_own_table_is_checked() {
    expect(&[(
        r#"[supervisor]
port_range = "1-2"
control = { groups = "x", admins = "me" }
metrics = "localhost:1"
log = { level = "loud", format = "xml" }
include = "x"
shutdown_timeout = 60
log_dir = 7"#,
        &[
            r#"supervisor.toml:2:14: supervisor.port_range: "1-2" is not a range of ports: write the first and the last, such as "21000-21999", from 1024 to 65535"#,
            "supervisor.toml:3:13: supervisor.control.groups: there is no such key: did you mean group?",
            r#"supervisor.toml:3:36: supervisor.control.admins: "me" is not a list: write a list of users and @groups, such as ["fastuser", "@ops"]"#,
            r#"supervisor.toml:4:11: supervisor.metrics: "localhost:1" is not an address with a port: write one like "127.0.0.1:9615" or "[::1]:9615""#,
            r#"supervisor.toml:5:17: supervisor.log.level: "loud" is not a level: write one of error, warn, info, debug, trace"#,
            r#"supervisor.toml:5:34: supervisor.log.format: "xml" is not a format: write "text" or "json""#,
            r#"supervisor.toml:6:11: supervisor.include: "x" is not a list: write a list of patterns, such as ["apps.d/*.toml"]"#,
            r#"supervisor.toml:7:20: supervisor.shutdown_timeout: 60 has no unit: write "60ms" or "60s""#,
            r#"supervisor.toml:8:11: supervisor.log_dir: 7 is not a text: put it in quotes: "7""#,
        ],
    )]);
}

#[test]
fn every_mistake_is_told_at_once() {
    expect(&[(
        r#"[apps.a]
env = "x"
health = 3
depends_on = "b"
command = 7
port = 3000.5
aliases = [1]
max_size = 1979-05-27"#,
        &[
            r#"supervisor.toml:2:7: apps.a.env: "x" is not a table: write [apps.a.env] and its keys below"#,
            "supervisor.toml:3:10: apps.a.health: 3 is not a table: write [apps.a.health] and its keys below",
            r#"supervisor.toml:4:14: apps.a.depends_on: "b" is not a list: write a list of names, such as ["a", "b"]"#,
            r#"supervisor.toml:5:11: apps.a.command: 7 is not a command: write a text such as "npm start" or a list of texts"#,
            "supervisor.toml:6:8: apps.a.port: 3000.5 is not a port: write a number from 1 to 65535",
            r#"supervisor.toml:7:12: apps.a.aliases[0]: 1 is not a text: put it in quotes: "1""#,
            "supervisor.toml:8:1: apps.a.max_size: this is not its place: write it into its [logs] table",
        ],
    )]);
}
#[test]
fn the_pretty_form_shows_the_line_and_the_place() {
    let told = parse(&sources("[apps.a]\nport = 99999\n"), &facts()).unwrap_err();
    insta::assert_snapshot!(told.render(false), @r"
    error: apps.a.port: 99999 is not a port
     --> /srv/supervisor.toml:2:8
      |
    2 | port = 99999
      |        ^^^^^ write a number from 1 to 65535
    ");
    assert!(told.render(true).contains("\u{1b}["));
}

#[test]
fn mistakes_travel_as_json_without_the_source_line() {
    let told = parse(&sources("[apps.a]\nport = 99999 # secret\n"), &facts()).unwrap_err();
    let json = serde_json::to_string(&told).unwrap();
    assert!(!json.contains("secret"), "{json}");
    let back: infissi::config::Mistakes = serde_json::from_str(&json).unwrap();
    assert_eq!(back.to_string(), told.to_string());
}

#[test]
fn a_file_of_garbage_is_answered_in_bounds() {
    for line in ["=\n", "[", "a = [\n", "[apps.a]\n", "x\u{0}\u{1b}[2J\n", "a={b=", "\"\"\"\n"] {
        let told = parse(&sources(&line.repeat((1 << 20) / line.len())), &facts()).unwrap_err();
        assert!(told.mistakes.len() <= 100);
        assert!(told.to_string().len() < 100_000 && !told.render(false).contains('\u{1b}'));
    }
}
