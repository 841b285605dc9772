//! Apps for tests: one that is well, one in trouble, one that waits.

use crate::api::{
    AppDetail, AppStatus, ConfigStatus, DeployPlan, ExitReason, Health, HostStatus, LastExit, LogFiles, OutputLine,
    Releases, Slot, Status, Stream, SupervisorStatus,
};
use jiff::Timestamp;

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn app(name: &str) -> AppStatus {
    AppStatus {
        name: name.to_owned(),
        aliases: vec![format!("crm-{name}")],
        status: Status::Online,
        health: Health::Healthy,
        port: Some(3000),
        slot: Slot::Blue,
        pid: Some(4711),
        uptime_ms: Some(3 * 3_600_000),
        restarts: 0,
        cpu_percent: Some(0.3),
        memory_bytes: Some(110 << 20),
        memory_limit_bytes: Some(300 << 20),
        release: Some("20251021-010000".to_owned()),
        other: None,
        deploying: None,
        traffic: None,
        swaps: 0,
        last_drain_ms: None,
        reason: None,
        next_at: None,
        instances: Vec::new(),
        last_exit: None,
    }
}

pub(crate) fn apps() -> Vec<AppStatus> {
    let mut backoff = app("reports-for-the-whole-company");
    backoff.status = Status::Backoff;
    backoff.health = Health::Unhealthy;
    backoff.port = None;
    backoff.pid = None;
    backoff.uptime_ms = None;
    backoff.restarts = 1204;
    backoff.cpu_percent = None;
    backoff.memory_bytes = None;
    backoff.release = None;
    backoff.reason = Some("exited with code 1 after 0.4 s, for the 5th time in a row".to_owned());
    backoff.next_at = Some(at("2026-01-02T03:04:17Z"));
    backoff.last_exit = Some(LastExit {
        code: Some(1),
        signal: None,
        reason: ExitReason::Exit,
        at: at("2026-01-02T03:04:01Z"),
        detail: None,
    });
    let mut waiting = app("staging");
    waiting.status = Status::Waiting;
    waiting.health = Health::Unknown;
    waiting.port = Some(3002);
    waiting.pid = None;
    waiting.uptime_ms = None;
    waiting.memory_bytes = None;
    waiting.reason = Some("port 3002 is held by pid 812 (node server.js)".to_owned());
    let mut full = app("crm");
    full.slot = Slot::Green;
    full.memory_bytes = Some(285 << 20);
    full.cpu_percent = Some(101.2);
    vec![app("current"), full, waiting, backoff]
}

pub(crate) fn supervisor() -> SupervisorStatus {
    SupervisorStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: 812,
        uptime_ms: 86_400_000 * 2,
        memory_bytes: 5 << 20,
        config: ConfigStatus {
            path: "/etc/infissi/supervisor.toml".to_owned(),
            applied_at: at("2026-01-01T00:00:00Z"),
            changed: false,
            faulty: None,
        },
        socket: "/run/infissi/supervisor.sock".to_owned(),
        state_dir: "/var/lib/infissi".to_owned(),
        log_dir: "/var/log/infissi".to_owned(),
        host: HostStatus { memory_total_bytes: 4 << 30, memory_available_bytes: 2 << 30, load_1: 0.2, cpus: 2 },
        port_range: Some([21_000, 21_999]),
        worker: None,
        program: None,
        upgrade: None,
        trees: "cgroup".to_owned(),
        warnings: Vec::new(),
    }
}

pub(crate) fn releases() -> Releases {
    Releases {
        app: "web".to_owned(),
        root: "/nowhere".to_owned(),
        keep: 3,
        slot: Slot::Blue,
        active: None,
        trying: None,
        other: None,
        bad: Vec::new(),
        in_use: Vec::new(),
        setback: None,
    }
}

pub(crate) fn deploy_plan() -> DeployPlan {
    DeployPlan {
        releases: releases(),
        repo: None,
        branch: None,
        shared: Vec::new(),
        steps: None,
        migrate: Vec::new(),
        bridge: Vec::new(),
        warm_ms: 60_000,
        min_free_bytes: 0,
        backup: false,
        plain_dir: None,
        user: None,
        uid: None,
        memory: None,
    }
}

pub(crate) fn detail() -> AppDetail {
    let status = apps().pop().unwrap();
    let exits = status.last_exit.iter().cloned().collect();
    AppDetail {
        status,
        command: vec!["npm".to_owned(), "start".to_owned()],
        cwd: "/var/www/fastuser/data/www/staging.infissi.omoxsoft.com.ua".to_owned(),
        user: Some("fastuser".to_owned()),
        env_names: ["NODE_ENV", "PORT", "HOST", "PATH"].map(str::to_owned).to_vec(),
        log_files: LogFiles {
            combined: "/var/log/infissi/staging-combined.log".to_owned(),
            out: "/var/log/infissi/staging-out.log".to_owned(),
            error: "/var/log/infissi/staging-error.log".to_owned(),
        },
        listen: vec!["[::]:3002".to_owned()],
        depends_on: Vec::new(),
        release_of: None,
        probe: "GET /api/health".to_owned(),
        schedule: None,
        probe_failure: None,
        exits,
        last_lines: vec![OutputLine { stream: Stream::Err, line: "Error: port 3002 is already in use".to_owned() }],
        processes: Vec::new(),
        memory_max_bytes: Some(2 << 30),
        no_memory_max: Some("no cgroup2 file system is mounted".to_owned()),
        log_lines_dropped: 0,
        last_deploy: None,
        next_steps: vec!["infissi-ctl logs reports-for-the-whole-company --err".to_owned()],
    }
}
