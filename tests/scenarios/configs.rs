//! Configurations for the stories: plain defaults, and the one thing a story is about.

use infissi::api::Slot;
use infissi::config::{
    AppConfig, Autorestart, Backoff, Config, ControlConfig, Cron, DeployConfig, DrainConfig, HealthConfig,
    LimitsConfig, LogFormat, LogsConfig, OwnLogConfig, ProbeKind, ProxyConfig, ReleaseOf, StatusRange, Strategy,
    SupervisorConfig,
};
use infissi::supervisor::{Kept, Release};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const MIB: u64 = 1024 * 1024;

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// What an earlier supervisor kept of an app without releases.
pub(crate) fn kept(desired: bool) -> Kept {
    Kept { desired, slot: Slot::Blue, release: None, bad: Vec::new(), setback: None }
}

/// An app without a port: online when it has run for a second.
pub(crate) fn worker(name: &str) -> AppConfig {
    AppConfig {
        name: name.to_owned(),
        aliases: Vec::new(),
        command: vec!["npm".to_owned(), "start".to_owned()],
        cwd: PathBuf::from("/srv").join(name),
        user: None,
        path: Vec::new(),
        env: BTreeMap::new(),
        env_file: None,
        inherit_env: vec!["PATH".to_owned()],
        port: None,
        proxy: None,
        instances: 1,
        autostart: true,
        autorestart: Autorestart::Always,
        stop_exit_codes: Vec::new(),
        depends_on: Vec::new(),
        schedule: None,
        timeout: None,
        cron_restart: None,
        max_memory_restart: None,
        memory_max: None,
        stop_signal: 15,
        kill_timeout: secs(15),
        min_uptime: secs(10),
        max_restarts: 0,
        backoff: Backoff { initial: ms(100), max: secs(30) },
        health: HealthConfig {
            probe: None,
            interval: secs(5),
            timeout: secs(3),
            start_timeout: secs(60),
            healthy: 2,
            unhealthy: 3,
        },
        logs: LogsConfig {
            dir: None,
            name: name.to_owned(),
            timestamps: true,
            format: LogFormat::Text,
            max_size: 10 * MIB,
            keep: 30,
            compress: true,
            max_total: 1024 * MIB,
            daily: false,
        },
        deploy: None,
        backup: None,
        release_of: None,
    }
}

/// An app that is online when its own tree accepts on its port.
pub(crate) fn web(name: &str, port: u16) -> AppConfig {
    AppConfig { port: Some(port), ..worker(name) }
}

/// A web app with an HTTP probe.
pub(crate) fn probed(name: &str, port: u16) -> AppConfig {
    web(name, port).with(|app| app.health.probe = Some(http()))
}

/// A probed app behind the proxy that rolls over.
pub(crate) fn proxied(name: &str, port: u16) -> AppConfig {
    let proxy = ProxyConfig {
        listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))],
        strategy: Strategy::BlueGreen,
        hold: secs(10),
        trusted_proxies: Vec::new(),
        limits: LimitsConfig { connections: 10_000, header_timeout: secs(10), head: 32 * 1024, idle: secs(80) },
        drain: DrainConfig { requests: secs(90), upgrades: secs(300) },
    };
    probed(name, port).with(|app| app.proxy = Some(proxy))
}

/// One behind the proxy that cannot run twice at one time.
pub(crate) fn stop_first(name: &str, port: u16) -> AppConfig {
    proxied(name, port).with(|app| app.proxy.as_mut().unwrap().strategy = Strategy::StopFirst)
}

/// One that runs from releases, each kept warm for a minute after it was replaced.
pub(crate) fn released(name: &str, port: u16) -> AppConfig {
    let deploy = DeployConfig { root: PathBuf::from("/srv").join(name), warm: secs(60), ..DeployConfig::default() };
    proxied(name, port).with(|app| app.deploy = Some(deploy))
}

/// A worker that runs from another app's active release.
pub(crate) fn following(name: &str, leader: &str) -> AppConfig {
    let of = ReleaseOf { app: leader.to_owned(), root: PathBuf::from("/srv").join(leader) };
    worker(name).with(|app| app.release_of = Some(of))
}

/// One in the place where that app's releases are.
pub(crate) fn release_in(app: &str, id: &str) -> Release {
    Release { id: id.to_owned(), dir: PathBuf::from("/srv").join(app).join("releases").join(id) }
}

pub(crate) fn release(id: &str) -> Release {
    Release { id: id.to_owned(), dir: PathBuf::from("/srv/releases").join(id) }
}

/// A job at these times, in UTC.
pub(crate) fn job(name: &str, pattern: &str) -> AppConfig {
    AppConfig { schedule: Some(cron(pattern, "UTC")), ..worker(name) }
}

pub(crate) fn http() -> ProbeKind {
    ProbeKind::Http {
        path: "/api/health".to_owned(),
        expect_status: StatusRange { first: 200, last: 299 },
        expect_body: None,
        headers: BTreeMap::new(),
    }
}

pub(crate) fn cron(pattern: &str, zone: &str) -> Cron {
    let zone = if zone == "UTC" { TimeZone::UTC } else { TimeZone::get(zone).unwrap() };
    Cron::parse(pattern, zone).unwrap()
}

pub(crate) fn config(apps: impl IntoIterator<Item = AppConfig>) -> Arc<Config> {
    let supervisor = SupervisorConfig {
        runtime_dir: None,
        state_dir: None,
        log_dir: None,
        port_range: infissi::config::PORT_RANGE,
        control: ControlConfig::default(),
        metrics: None,
        shutdown_timeout: secs(60),
        log: OwnLogConfig { level: "info".to_owned(), format: LogFormat::Text },
    };
    Arc::new(Config { supervisor, apps: apps.into_iter().map(Arc::new).collect() })
}

/// `web("current", 3000).with(|app| app.max_restarts = 3)`
pub(crate) trait With: Sized {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl With for AppConfig {}
