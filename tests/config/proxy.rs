//! The keys of the proxy: what they mean, and what is wrong with them, word by word.

use crate::story::{app, config, expect, facts, sources};
use infissi::config::{Facts, Strategy, parse};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn listen(text: &str) -> Vec<String> {
    app(text).proxy.as_ref().unwrap().listen.iter().map(ToString::to_string).collect()
}

fn warnings(text: &str) -> Vec<String> {
    let warnings = parse(&sources(text), &facts()).unwrap().warnings;
    warnings.iter().map(|warning| warning.to_string().replace("/srv/", "")).collect()
}

#[test]
fn an_app_with_a_port_is_behind_the_proxy() {
    let app = app("[apps.a]\nport = 3000");
    let proxy = app.proxy.as_ref().unwrap();
    assert!(app.rolls_over());
    assert_eq!(proxy.listen, ["[::]:3000".parse().unwrap()]);
    assert_eq!((proxy.strategy, proxy.hold), (Strategy::BlueGreen, Duration::from_secs(10)));
    let trusted: Vec<String> =
        proxy.trusted_proxies.iter().map(|network| format!("{}/{}", network.address, network.prefix)).collect();
    assert_eq!(trusted, ["127.0.0.0/8", "::1/128"]);
    assert_eq!((proxy.limits.connections, proxy.limits.head), (10_000, 32 << 10));
    assert_eq!((proxy.limits.header_timeout, proxy.limits.idle), (Duration::from_secs(10), Duration::from_secs(80)));
    assert_eq!((proxy.drain.requests, proxy.drain.upgrades), (Duration::from_secs(90), Duration::from_secs(300)));
}

#[test]
fn an_app_that_binds_its_port_itself_a_worker_and_a_job_are_not() {
    for text in ["[apps.a]\nport = 3000\nproxy = \"off\"", "[apps.a]", "[apps.a]\nschedule = \"@daily\""] {
        let app = app(text);
        assert!(app.proxy.is_none() && !app.rolls_over(), "{text}");
    }
}

#[test]
fn a_host_alone_takes_the_port_of_the_app() {
    assert_eq!(listen("[apps.a]\nport = 3000\nlisten = \"127.0.0.1\""), ["127.0.0.1:3000"]);
    assert_eq!(listen("[apps.a]\nport = 3000\nlisten = [\"[::1]\", \"0.0.0.0:3010\"]"), ["[::1]:3000", "0.0.0.0:3010"]);
    assert_eq!(listen("[apps.a]\nport = 3000\nlisten = [\"127.0.0.1:3010\", \"[::]:3000\"]").len(), 2);
    assert_eq!(listen("[defaults]\nlisten = \"127.0.0.1\"\n[apps.a]\nport = 3000"), ["127.0.0.1:3000"]);
}

#[test]
fn what_is_no_address_is_told_what_was_meant() {
    for (written, what, expected) in [
        ("\"::\"", "\"::\" is not an address to listen on", "write \"[::]\""),
        ("\"::1:3000\"", "\"::1:3000\" is not an address to listen on", "write \"[::1:3000]\""),
        ("\"*:3010\"", "\"*:3010\" is not an address to listen on", "write \"[::]:3010\""),
        ("\":3010\"", "\":3010\" is not an address to listen on", "write \"[::]:3010\""),
        ("3010", "3010 is not an address to listen on", "write \"[::]:3010\""),
        (
            "\"localhost:3010\"",
            "\"localhost:3010\" is not an address to listen on",
            "names are not looked up: write \"127.0.0.1:3010\"",
        ),
        (
            "\"a.b:1\"",
            "\"a.b:1\" is not an address to listen on",
            "write one like \"[::]\", \"127.0.0.1\" or \"127.0.0.1:3000\"",
        ),
        ("\"[::]:0\"", "0 is not a port", "write a number from 1 to 65535, or \"[::]\""),
        ("[]", "it names no address", "write one like \"[::]\" or leave it out"),
        ("\"[::]:3010\"", "none of it is on port 3000", "write one of them without a port, or write port = 3010"),
    ] {
        let told = format!("supervisor.toml:3:10: apps.a.listen: {what}: {expected}");
        expect(&[(&format!("[apps.a]\nport = 3000\nlisten = {written}"), &[&told])]);
    }
}

#[test]
fn an_address_has_one_owner() {
    expect(&[
        (
            r#"[apps.a]
port = 3000
[apps.b]
port = 3010
listen = ["[::]", "127.0.0.1:3000"]
[apps.c]
port = 3010
listen = "127.0.0.1""#,
            &[
                "supervisor.toml:5:19: apps.b.listen[1]: 127.0.0.1:3000 is within what apps.a listens on, [::]:3000: choose another address or port",
                "supervisor.toml:8:10: apps.c.listen: 127.0.0.1:3010 is within what apps.b listens on, [::]:3010: choose another address or port",
            ],
        ),
        (
            r#"[apps.a]
port = 3000
listen = "127.0.0.1"
[apps.b]
port = 3000
proxy = "off""#,
            &[
                "supervisor.toml:5:8: apps.b.port: [::]:3000 is within what apps.a listens on, 127.0.0.1:3000: choose another address or port",
            ],
        ),
        (
            r#"[apps.a]
port = 3000
listen = ["[::]", "127.0.0.1", "[::]:3000"]"#,
            &[
                "supervisor.toml:3:19: apps.a.listen[1]: 127.0.0.1:3000 is within [::]:3000 of the same list, which then cannot be bound: take one of them out",
                "supervisor.toml:3:32: apps.a.listen[2]: [::]:3000 stands there twice: take one of them out",
            ],
        ),
        (
            r#"[supervisor]
metrics = "127.0.0.1:3000"
[apps.a]
port = 3000"#,
            &["supervisor.toml:2:11: supervisor.metrics: apps.a already listens on [::]:3000: choose another port"],
        ),
        (
            r#"[defaults]
listen = "127.0.0.1:3000"
[apps.a]"#,
            &[r#"supervisor.toml:2:10: defaults.listen: apps cannot share a port: write "127.0.0.1""#],
        ),
    ]);
    let apart = "[apps.a]\nport = 3000\nlisten = \"127.0.0.1\"\n[apps.b]\nport = 3000\nlisten = \"[::1]\"";
    assert_eq!(config(apart).apps.len(), 2);
}

#[test]
fn a_key_that_would_do_nothing_is_told_what_it_needs() {
    expect(&[
        (
            r#"[apps.worker]
listen = "[::]"
hold = "10s"
proxy = "http"
strategy = "blue-green"
trusted_proxies = []
limits.idle = "80s"
drain.requests = "1s""#,
            &[
                "supervisor.toml:2:10: apps.worker.listen: the app has no port that the proxy could serve: add port = NUMBER or leave it out",
                "supervisor.toml:3:8: apps.worker.hold: the app has no port that the proxy could serve: add port = NUMBER or leave it out",
                "supervisor.toml:4:9: apps.worker.proxy: the app has no port that the proxy could serve: add port = NUMBER or leave it out",
                "supervisor.toml:5:12: apps.worker.strategy: the app has no port that the proxy could serve: add port = NUMBER or leave it out",
                "supervisor.toml:6:19: apps.worker.trusted_proxies: the app has no port that the proxy could serve: add port = NUMBER or leave it out",
                "supervisor.toml:7:1: apps.worker.limits: the app has no port that the proxy could serve: add port = NUMBER or leave it out",
                "supervisor.toml:8:1: apps.worker.drain: the app has no port that the proxy could serve: add port = NUMBER or leave it out",
            ],
        ),
        (
            r#"[apps.a]
port = 3000
proxy = "off"
hold = "10s"
instances = 2"#,
            &[
                r#"supervisor.toml:4:8: apps.a.hold: the app binds its port itself: leave it out, or take out proxy = "off""#,
                r#"supervisor.toml:5:13: apps.a.instances: 2 instances cannot all bind port 3000: let the proxy serve them: take out proxy = "off"; or leave this out"#,
            ],
        ),
        (
            r#"[defaults]
proxy = "off"
[apps.a]
port = 3000
hold = "10s""#,
            &[
                r#"supervisor.toml:5:8: apps.a.hold: the app binds its port itself: leave it out, or add proxy = "http""#,
            ],
        ),
        (
            r#"[apps.a]
schedule = "@daily"
hold = "10s""#,
            &["supervisor.toml:3:8: apps.a.hold: a job has no port that the proxy could serve: leave it out"],
        ),
        (
            r#"[apps.a]
port = "x"
hold = "10s""#,
            &[r#"supervisor.toml:2:8: apps.a.port: "x" is not a port: write a number from 1 to 65535"#],
        ),
    ]);
}

#[test]
fn a_command_does_not_name_the_port_that_the_proxy_holds() {
    for command in ["npm start -- --port 3000", "next start -p 3000", "serve --port=3000"] {
        let app = format!("[apps.a]\nport = 3000\ncommand = {command:?}");
        expect(&[(
            &app,
            &[
                "supervisor.toml:3:11: apps.a.command: port 3000 stands in it, and that is the proxy's: write {port} in \
               its place, or proxy = \"off\" beside it",
            ],
        )]);
        config(&format!("{app}\nproxy = \"off\""));
        config(&app.replace("command = \"", "command = \"node x.js --port 4000 "));
    }
}

#[test]
fn a_default_of_the_proxy_is_passed_over_where_there_is_none() {
    let text = r#"
        [defaults]
        proxy = "http"
        strategy = "blue-green"
        hold = "30s"
        instances = 2
        drain.requests = "5s"
        limits.head = "64K"
        deploy.warm = "5m"
        [apps.web]
        port = 3000
        deploy.root = "web"
        [apps.plain]
        port = 3001
        proxy = "off"
        [apps.worker]
        [apps.job]
        schedule = "@daily"
    "#;
    let config = config(text);
    let instances: Vec<u16> = config.apps.iter().map(|app| app.instances).collect();
    assert_eq!(instances, [2, 1, 2, 1]);
    let web = config.app("web").unwrap().proxy.as_ref().unwrap();
    assert_eq!((web.hold, web.drain.requests), (Duration::from_secs(30), Duration::from_secs(5)));
    assert_eq!((web.limits.head, web.limits.connections), (64 << 10, 10_000));
    assert!(config.apps[1..].iter().all(|app| app.proxy.is_none() && app.deploy.is_none()));
    assert_eq!(config.app("web").unwrap().deploy.as_ref().unwrap().warm, Duration::from_secs(300));
}

#[test]
fn the_values_are_checked() {
    expect(&[(
        r#"[apps.a]
port = 3000
proxy = "tcp"
strategy = "rolling"
hold = 10
trusted_proxies = ["10.1.2.3/8", "10.0.0.0/33", "nginx", "::ffff:10.0.0.1", "fd00::/8"]
limits = { connections = 0, header_timeout = "1ms", head = "2M", idle = "10ms", body = 1 }
drain = { request = "1s" }"#,
        &[
            r#"supervisor.toml:3:9: apps.a.proxy: "tcp" is not a choice: write "http", or "off" where the app binds its port itself"#,
            r#"supervisor.toml:4:12: apps.a.strategy: "rolling" is not a choice: write "blue-green", or "stop-first" for what cannot run twice at one time"#,
            r#"supervisor.toml:5:8: apps.a.hold: 10 has no unit: write "10ms" or "10s""#,
            r#"supervisor.toml:6:20: apps.a.trusted_proxies[0]: "10.1.2.3/8" is an address within a network: write "10.0.0.0/8", or "10.1.2.3" for that one alone"#,
            r#"supervisor.toml:6:34: apps.a.trusted_proxies[1]: "10.0.0.0/33" has no such prefix: write a number from 0 to 32 behind the slash"#,
            r#"supervisor.toml:6:49: apps.a.trusted_proxies[2]: "nginx" is not an address or a network: write one like "10.0.0.5", "10.0.0.0/8" or "fd00::/8""#,
            "supervisor.toml:6:58: apps.a.trusted_proxies[3]: this is an IPv4 address written as IPv6: write 10.0.0.1 and, for a network, its prefix",
            "supervisor.toml:7:26: apps.a.limits.connections: 0 is not a count: write a number from 1 to 1000000",
            r#"supervisor.toml:7:46: apps.a.limits.header_timeout: "1ms" is too short: write at least "100ms""#,
            r#"supervisor.toml:7:60: apps.a.limits.head: "2M" is too large: write at most "1M""#,
            r#"supervisor.toml:7:73: apps.a.limits.idle: "10ms" is too short: write at least "1s""#,
            "supervisor.toml:7:81: apps.a.limits.body: there is no such key: there are connections, header_timeout, head, idle",
            "supervisor.toml:8:11: apps.a.drain.request: there is no such key: did you mean requests?",
        ],
    )]);
}

#[test]
fn what_is_unwise_is_said_and_taken() {
    assert_eq!(
        warnings("[apps.a]\nport = 3000\nlimits.idle = \"75s\"\ntrusted_proxies = [\"0.0.0.0/0\"]"),
        [
            r#"supervisor.toml:3:15: apps.a.limits.idle: an nginx in front keeps its connections for 60 to 75 s and may send a request into one that closes: write "80s" or leave it out"#,
            "supervisor.toml:4:20: apps.a.trusted_proxies[0]: any client may then say that it is another one: name only the proxies in front of this one",
        ]
    );
}

#[test]
fn the_private_ports_suffice_and_are_nobodys_public_ones() {
    expect(&[
        (
            r#"[supervisor]
port_range = "3000-3007"
[apps.a]
port = 3001
instances = 4
[apps.b]
port = 80
listen = ["[::]", "127.0.0.1:3007"]
[apps.c]
port = 3002
proxy = "off""#,
            &[
                r#"supervisor.toml:2:14: supervisor.port_range: "3000-3007" has 8 ports, and two slots of all instances are 10: give it at least 10 ports"#,
                r#"supervisor.toml:4:8: apps.a.port: 3001 is one of the private ports of instances, port_range = "3000-3007": choose another port, or another port_range in [supervisor]"#,
                r#"supervisor.toml:8:19: apps.b.listen[1]: 3007 is one of the private ports of instances, port_range = "3000-3007": choose another port, or another port_range in [supervisor]"#,
                r#"supervisor.toml:10:8: apps.c.port: 3002 is one of the private ports of instances, port_range = "3000-3007": choose another port, or another port_range in [supervisor]"#,
            ],
        ),
        (
            "[apps.a]
port = 1
instances = 501",
            &[
                r#"supervisor.toml:1:1: supervisor.port_range: "21000-21999" has 1000 ports, and two slots of all instances are 1002: give it at least 1002 ports"#,
            ],
        ),
    ]);
    let taken = config("[supervisor]\nport_range = \"3000-3001\"\n[apps.a]\nport = 80").supervisor;
    assert_eq!(taken.port_range, 3000..=3001);
    for wrong in ["\"21000\"", "\"2-1\"", "\"80-3000\"", "\"3000-70000\"", "[1, 2]"] {
        let text = format!("[supervisor]\nport_range = {wrong}");
        let told = parse(&sources(&text), &facts()).unwrap_err().to_string();
        assert!(told.contains("is not a range of ports: write the first and the last"), "{told}");
    }
}

#[test]
fn a_deployed_app_runs_in_its_live_release() {
    let deployed = app("[apps.a]\ndeploy = { root = \"crm\" }");
    let deploy = deployed.deploy.as_ref().unwrap();
    assert_eq!((deploy.root.as_path(), deploy.warm), (Path::new("/srv/crm"), Duration::from_secs(60)));
    for (cwd, live, release) in [
        (".", "/crm/live", "/crm/releases/2"),
        ("web", "/crm/live/web", "/crm/releases/2/web"),
        // Where it runs until it has a release.
        ("/web", "/web", "/crm/releases/2"),
    ] {
        let app = app(&format!("[apps.a]\ncwd = {cwd:?}\ndeploy.root = \"/crm\""));
        assert_eq!(app.cwd, Path::new(live));
        assert_eq!(app.in_release(Path::new("/crm/releases/2")).cwd.as_os_str(), release);
    }
    let app = app("[apps.a]\nenv_file = \".env?\"\npath = [\"bin\", \"/bin\"]\ndeploy.root = \"/crm\"");
    let there = app.in_release(Path::new("/crm/releases/2"));
    assert_eq!(there.env_file.unwrap().path, Path::new("/crm/releases/2/.env"));
    assert_eq!(there.path, [Path::new("/crm/releases/2/bin"), Path::new("/bin")]);
    expect(&[
        (
            "[apps.a]
deploy.warm = \"5m\"",
            &["supervisor.toml:2:1: apps.a.deploy: it does not say where the releases are: add root = \"DIRECTORY\""],
        ),
        (
            "[defaults]
deploy.root = \"x\"
[apps.a]",
            &[
                "supervisor.toml:2:15: defaults.deploy.root: apps cannot share it: write it into each app's own [deploy] table",
            ],
        ),
    ]);
}

#[test]
fn apps_without_and_with_a_log_directory_may_mean_the_same_one() {
    let text = "[apps.a]\n[apps.b]\nlogs = { dir = \"/var/log/infissi\", name = \"a\" }";
    let facts = |log_dir| Facts { is_root: false, user_name: &|_| None, log_dir };
    assert!(parse(&sources(text), &facts(Some(PathBuf::from("/elsewhere")))).is_ok());
    let told = parse(&sources(text), &facts(Some(PathBuf::from("/var/log/infissi")))).unwrap_err().to_string();
    assert!(told.contains("apps.a already writes to the logs named \"a\""), "{told}");
}
