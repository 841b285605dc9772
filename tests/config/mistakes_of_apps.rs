//! What a faulty key of an app is answered, word by word.

use crate::story::expect;

#[test]
fn a_port_is_a_number_from_1_to_65535() {
    expect(&[
        (
            "[apps.a]
port = 99999",
            &["supervisor.toml:2:8: apps.a.port: 99999 is not a port: write a number from 1 to 65535"],
        ),
        (
            r#"[apps.a]
port = "3000""#,
            &[r#"supervisor.toml:2:8: apps.a.port: "3000" is not a port: write a number from 1 to 65535"#],
        ),
        (
            "[apps.a]
port = 0",
            &["supervisor.toml:2:8: apps.a.port: 0 is not a port: write a number from 1 to 65535"],
        ),
    ]);
}

#[test]
fn a_duration_has_a_unit_and_a_limit() {
    expect(&[
        (
            "[apps.a]
kill_timeout = 5000",
            &[r#"supervisor.toml:2:16: apps.a.kill_timeout: 5000 has no unit: write "5000ms" or "5000s""#],
        ),
        (
            r#"[apps.a]
kill_timeout = "5000""#,
            &[r#"supervisor.toml:2:16: apps.a.kill_timeout: "5000" has no unit: write "5000ms" or "5000s""#],
        ),
        (
            r#"[apps.a]
kill_timeout = "five""#,
            &[
                r#"supervisor.toml:2:16: apps.a.kill_timeout: "five" is not a duration: write whole numbers with units, such as "1500ms", "10s", "5m" or "1h30m""#,
            ],
        ),
        (
            r#"[apps.a]
kill_timeout = "99999d""#,
            &[r#"supervisor.toml:2:16: apps.a.kill_timeout: "99999d" is too long: write at most "3650d""#],
        ),
        (
            r#"[apps.a]
health = { interval = "1ms" }"#,
            &[r#"supervisor.toml:2:23: apps.a.health.interval: "1ms" is too short: write at least "100ms""#],
        ),
    ]);
}

#[test]
fn a_size_is_no_forgotten_unit() {
    expect(&[
        (
            "[apps.a]
max_memory_restart = 300",
            &[
                r#"supervisor.toml:2:22: apps.a.max_memory_restart: 300 is too small: write at least "1M" (units are K, M, G, T)"#,
            ],
        ),
        (
            r#"[apps.a]
max_memory_restart = "lots""#,
            &[
                r#"supervisor.toml:2:22: apps.a.max_memory_restart: "lots" is not a size: write a whole number with its unit, such as "512K", "300M" or "1G""#,
            ],
        ),
        (
            r#"[apps.a]
max_memory_restart = "1G"
memory_max = "512M""#,
            &[
                "supervisor.toml:3:14: apps.a.memory_max: memory_max (512M) is less than max_memory_restart (1G), which would never be reached: make memory_max the larger one",
            ],
        ),
    ]);
}

#[test]
fn a_backoff_grows() {
    expect(&[
        (
            r#"[apps.a]
backoff = { initial = "1m", max = "30s" }"#,
            &[
                "supervisor.toml:2:35: apps.a.backoff.max: initial (1m) is longer than max (30s): make max the longer one",
            ],
        ),
        (
            r#"[apps.a]
backoff = { initial = "1m" }"#,
            &[
                "supervisor.toml:2:23: apps.a.backoff.initial: initial (1m) is longer than max (30s): make max the longer one",
            ],
        ),
    ]);
}

#[test]
fn a_probe_can_be_made_of_what_is_written() {
    expect(&[
        (
            "[apps.a]
health = { healthy = 0 }",
            &["supervisor.toml:2:22: apps.a.health.healthy: 0 is not a count of probes: write a number from 1 to 1000"],
        ),
        (
            r#"[apps.a]
health.http = "/x""#,
            &[
                r#"supervisor.toml:2:15: apps.a.health.http: the app has no port to probe: add port = NUMBER or use command = "…""#,
            ],
        ),
        (
            r#"[apps.a]
port = 3000
health.http = "x""#,
            &[
                r#"supervisor.toml:3:15: apps.a.health.http: "x" is not a path to ask for: write one like "/api/health"; host and port are the app's own"#,
            ],
        ),
        (
            r#"[apps.a]
port = 3000
[apps.a.health]
http = "/x"
tcp = true"#,
            &["supervisor.toml:5:7: apps.a.health.tcp: this is a second probe: choose one of http, tcp and command"],
        ),
        (
            r#"[apps.a]
port = 3000
health = { http = "/", expect_status = "299-200", headers = { "a b" = "x" }, expect_body = "" }"#,
            &[
                r#"supervisor.toml:3:40: apps.a.health.expect_status: "299-200" is not an HTTP status: write one from 100 to 599 or a range, such as "200-299""#,
                r#"supervisor.toml:3:71: apps.a.health.headers."a b": this is not an HTTP header: write a name and a value in one line"#,
                "supervisor.toml:3:92: apps.a.health.expect_body: it is empty: write a value or leave the key out",
            ],
        ),
        (
            r#"[apps.a]
port = 3000
health = { tcp = true, expect_body = "x" }"#,
            &[
                r#"supervisor.toml:3:38: apps.a.health.expect_body: only an http probe looks at it: add http = "/path" or leave it out"#,
            ],
        ),
    ]);
}

#[test]
fn a_command_is_words_without_a_shell() {
    expect(&[
        (
            r#"[apps.a]
command = """#,
            &[
                r#"supervisor.toml:2:11: apps.a.command: the command is empty: write the program and its arguments, such as "npm start""#,
            ],
        ),
        (
            "[apps.a]
command = []",
            &[
                r#"supervisor.toml:2:11: apps.a.command: the command is empty: write the program and its arguments, such as "npm start""#,
            ],
        ),
        (
            r#"[apps.a]
command = "npm run 'x""#,
            &[
                "supervisor.toml:2:11: apps.a.command: a quote is not closed: close it, or write the command as a list of texts",
            ],
        ),
        (
            r#"[apps.a]
command = "npm run build && npm start""#,
            &[
                r#"supervisor.toml:2:11: apps.a.command: && needs a shell, and none is used: write ["sh", "-c", "…"], or a list of texts to pass && on as it is"#,
            ],
        ),
        (
            r#"[apps.a]
command = "NODE_ENV=production npm start""#,
            &[
                r#"supervisor.toml:2:11: apps.a.command: setting NODE_ENV in the command needs a shell, and none is used: write env = { NODE_ENV = "…" }"#,
            ],
        ),
        (
            r#"[apps.a]
command = "npm start -- --port {prot}"
port = 3000"#,
            &["supervisor.toml:2:11: apps.a.command: there is no {prot}: did you mean {port}?"],
        ),
        (
            r#"[apps.a]
command = "npm start -- --port {port}""#,
            &[
                "supervisor.toml:2:11: apps.a.command: {port} stands in it, and apps.a has no port: add port = NUMBER or take {port} out",
            ],
        ),
        (
            r#"[apps.a]
command = "npm start"
command = "npm run dev""#,
            &["supervisor.toml:3:1: duplicate key: write each key and table once"],
        ),
        (
            r#"[apps.a]
command = "npm start
port = 99999"#,
            &[
                r#"supervisor.toml:2:21: invalid basic string: expected `"`"#,
                "supervisor.toml:3:8: apps.a.port: 99999 is not a port: write a number from 1 to 65535",
            ],
        ),
    ]);
}

#[test]
fn a_signal_is_one_to_stop_with() {
    expect(&[(
        r#"[apps.a]
stop_signal = "SIGTREM""#,
        &[
            r#"supervisor.toml:2:15: apps.a.stop_signal: "SIGTREM" is not a signal to stop with: did you mean "SIGTERM"?"#,
        ],
    )]);
}

#[test]
fn a_job_goes_by_a_clock_and_nothing_else() {
    expect(&[
        (
            r#"[apps.a]
schedule = "0 25 * * *""#,
            &[
                r#"supervisor.toml:2:12: apps.a.schedule: "0 25 * * *" is not a time pattern (number out of bounds): write five fields: minute hour day month weekday, such as "0 4 * * *""#,
            ],
        ),
        (
            r#"[apps.a]
schedule = "0 0 30 2 *""#,
            &[
                r#"supervisor.toml:2:12: apps.a.schedule: "0 0 30 2 *" is not a time pattern (that day never comes): write five fields: minute hour day month weekday, such as "0 4 * * *""#,
            ],
        ),
        (
            r#"[apps.a]
schedule = "* * * * * *""#,
            &[
                r#"supervisor.toml:2:12: apps.a.schedule: "* * * * * *" is not a time pattern (it has 6 fields): write five fields: minute hour day month weekday, such as "0 4 * * *""#,
            ],
        ),
        (
            r#"[apps.a]
schedule = "@daily"
timezone = "Europe/Kiyv""#,
            &[
                r#"supervisor.toml:3:12: apps.a.timezone: "Europe/Kiyv" is not a time zone: write one like "Europe/Kyiv" or "UTC""#,
            ],
        ),
        (
            r#"[apps.a]
timeout = "1h""#,
            &[
                r#"supervisor.toml:2:11: apps.a.timeout: only a job has a time limit: add schedule = "…" or leave it out"#,
            ],
        ),
        (
            r#"[apps.a]
timezone = "UTC""#,
            &[
                "supervisor.toml:2:12: apps.a.timezone: nothing here goes by the clock: add schedule or cron_restart, or leave it out",
            ],
        ),
        (
            r#"[apps.a]
schedule = "0 2 * * *"
port = 3000
cron_restart = "0 4 * * *"
instances = 2
health.tcp = true"#,
            &[
                "supervisor.toml:3:8: apps.a.port: a job has no port: leave out port or schedule",
                "supervisor.toml:4:16: apps.a.cron_restart: a job starts afresh each time: leave it out",
                "supervisor.toml:5:13: apps.a.instances: a job runs once at a time: leave it out",
                "supervisor.toml:6:14: apps.a.health.tcp: a job is not probed: leave it out, a job is done when it exits with 0",
            ],
        ),
    ]);
}

#[test]
fn the_environment_is_not_ours_to_be_set() {
    expect(&[
        (
            r#"[apps.a]
env = { PORT = 3000, "A=B" = "x", HOST = "x", N = [1], INFISSI_APP = "a" }"#,
            &[
                "supervisor.toml:2:16: apps.a.env.PORT: the supervisor sets it: write port = NUMBER beside env",
                r#"supervisor.toml:2:30: apps.a.env."A=B": this cannot be a variable's name: write one without = in it"#,
                "supervisor.toml:2:42: apps.a.env.HOST: the supervisor sets it: leave it out",
                "supervisor.toml:2:51: apps.a.env.N: a list is not a variable's value: write a text in quotes",
                "supervisor.toml:2:70: apps.a.env.INFISSI_APP: the supervisor sets it: leave it out",
            ],
        ),
        (
            "[apps.a]
port = 3000
env = { PORT = 3001 }",
            &["supervisor.toml:3:16: apps.a.env.PORT: the supervisor sets it: write port = NUMBER beside env"],
        ),
    ]);
}

#[test]
fn the_rest_of_the_app_is_checked() {
    expect(&[
        (
            r#"[apps.a]
cwd = "~/app"
path = ["a:b"]
env_file = "?"
user = ""
autorestart = "yes"
stop_exit_codes = [0, 999, "x"]
max_restarts = -1"#,
            &[
                r#"supervisor.toml:2:7: apps.a.cwd: ~ is not expanded in "~/app": write the whole path"#,
                "supervisor.toml:3:9: apps.a.path[0]: a colon would divide it in PATH: write each directory as its own text",
                r#"supervisor.toml:4:12: apps.a.env_file: it names no file: write one like ".env" or ".env?""#,
                "supervisor.toml:5:8: apps.a.user: it is empty: write a value or leave the key out",
                r#"supervisor.toml:6:15: apps.a.autorestart: "yes" is not a restart mode: write true, false or "on-failure""#,
                "supervisor.toml:7:23: apps.a.stop_exit_codes[1]: 999 is not an exit code: write a number from 0 to 255",
                r#"supervisor.toml:7:28: apps.a.stop_exit_codes[2]: "x" is not an exit code: write a number from 0 to 255"#,
                "supervisor.toml:8:16: apps.a.max_restarts: -1 is not a count: write a number from 0 to 1000000",
            ],
        ),
        (
            r#"[apps.a.logs]
name = "../x"
max_size = "2G"
format = "xml"
keep = -1
timestamps = "yes""#,
            &[
                r#"supervisor.toml:2:8: apps.a.logs.name: "../x" is not a name: write up to 64 letters, digits, dots, dashes and underscores, a letter or digit first"#,
                "supervisor.toml:3:12: apps.a.logs.max_size: max_total (1G) is less than max_size (2G) of one file: make max_total the larger one",
                r#"supervisor.toml:4:10: apps.a.logs.format: "xml" is not a format: write "text" or "json""#,
                "supervisor.toml:5:8: apps.a.logs.keep: -1 is not a count of files: write a number from 0 to 100000",
                r#"supervisor.toml:6:14: apps.a.logs.timestamps: "yes" is not true or false: write true or false, without quotes"#,
            ],
        ),
        (
            r#"port_range = "1-2"
listen = "x"
log_dir = "x""#,
            &[
                "supervisor.toml:1:1: port_range: this is not its place: write it below [supervisor]",
                "supervisor.toml:2:1: listen: this is not its place: write it below [apps.NAME] or [defaults]",
                "supervisor.toml:3:1: log_dir: this is not its place: write it below [supervisor]",
            ],
        ),
    ]);
}
