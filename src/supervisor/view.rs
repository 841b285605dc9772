//! What the core looks like from outside.

use super::Now;
use super::app::App;
use super::core::Supervisor;
use super::event::RunId;
use super::instance::{Instance, State};
use crate::api::{AppStatus, Health, InstanceStatus, LastExit, Status};
use jiff::Timestamp;
use std::time::Duration;

impl Supervisor {
    /// Every app, in the order of the configuration; memory and CPU are left to who can measure them.
    pub fn view(&self, now: Now) -> Vec<AppStatus> {
        self.apps.iter().map(|app| self.status_of(app, now)).collect()
    }

    /// One app, its last exits (the newest first) and what its probe last complained about.
    pub fn view_app(&self, name: &str, now: Now) -> Option<(AppStatus, Vec<LastExit>, Option<String>)> {
        let app = self.app(name)?;
        let complaint = app.instances.iter().find_map(|instance| instance.probe_failure.clone());
        Some((self.status_of(app, now), app.exits.iter().cloned().collect(), complaint))
    }

    /// The runs of an app that have a process, with their place among its instances.
    pub fn runs(&self, name: &str) -> Vec<(u16, RunId)> {
        let instances = self.app(name).map(|app| app.instances.as_slice()).unwrap_or_default();
        instances.iter().filter_map(|instance| instance.live().map(|live| (instance.index, live.run))).collect()
    }

    fn status_of(&self, app: &App, now: Now) -> AppStatus {
        let wanted = app.desired && !app.removed && self.shutdown.is_none();
        let instances: Vec<InstanceStatus> =
            app.instances.iter().map(|instance| instance_status(app, instance, wanted, now)).collect();
        let first = app.instances.first();
        AppStatus {
            name: app.config.name.clone(),
            aliases: app.config.aliases.clone(),
            status: overall_status(&instances),
            health: overall_health(app, &instances),
            port: app.config.port,
            slot: app.slot,
            pid: instances.iter().find_map(|instance| instance.pid),
            uptime_ms: instances.iter().filter_map(|instance| instance.uptime_ms).min(),
            restarts: app.restarts,
            cpu_percent: None,
            memory_bytes: None,
            memory_limit_bytes: app.config.max_memory_restart,
            release: None,
            reason: app.instances.iter().find_map(Instance::reason),
            next_at: next_at(app, now),
            instances,
            last_exit: first.and_then(|instance| instance.last_exit.clone()).or_else(|| app.exits.front().cloned()),
        }
    }
}

fn instance_status(app: &App, instance: &Instance, wanted: bool, now: Now) -> InstanceStatus {
    let online_since = match &instance.state {
        State::Online { since, .. } => Some(*since),
        State::Resting { .. }
        | State::Waiting { .. }
        | State::Spawning { .. }
        | State::Starting { .. }
        | State::Ending { .. }
        | State::Backoff { .. }
        | State::Errored { .. } => None,
    };
    let uptime = online_since.map(|since| now.mono.saturating_sub(since));
    InstanceStatus {
        slot: app.slot,
        index: instance.index,
        pid: instance.live().map(|live| live.pid),
        port: app.config.port,
        status: instance.status(wanted),
        health: instance.health(),
        memory_bytes: None,
        cpu_percent: None,
        uptime_ms: uptime.map(|uptime| u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)),
        in_flight: None,
    }
}

/// An app is as far as the least far of its instances; trouble shows first.
fn overall_status(instances: &[InstanceStatus]) -> Status {
    let by_urgency = [
        Status::Errored,
        Status::Backoff,
        Status::Stopping,
        Status::Starting,
        Status::Waiting,
        Status::Online,
        Status::Stopped,
    ];
    let shown = |status: &Status| instances.iter().any(|instance| instance.status == *status);
    by_urgency.into_iter().find(shown).unwrap_or(Status::Stopped)
}

/// A job between its times is as well as its last run was.
fn overall_health(app: &App, instances: &[InstanceStatus]) -> Health {
    if app.config.is_job() && app.is_at_rest() {
        return match app.exits.front() {
            None => Health::Unknown,
            Some(exit) if exit.code == Some(0) => Health::Healthy,
            Some(_) => Health::Unhealthy,
        };
    }
    let any = |health| instances.iter().any(|instance| instance.health == health);
    match (any(Health::Unhealthy), any(Health::Unknown)) {
        (true, _) => Health::Unhealthy,
        (false, true) => Health::Unknown,
        (false, false) if instances.is_empty() => Health::Unknown,
        (false, false) => Health::Healthy,
    }
}

/// When something goes on by itself: a delayed restart, a retried start, a job's next time.
fn next_at(app: &App, now: Now) -> Option<Timestamp> {
    let due = app.instances.iter().find_map(|instance| match &instance.state {
        State::Backoff { until, .. } => Some(*until),
        State::Errored { retry_at, .. } => *retry_at,
        State::Resting { .. }
        | State::Waiting { .. }
        | State::Spawning { .. }
        | State::Starting { .. }
        | State::Online { .. }
        | State::Ending { .. } => None,
    });
    match due {
        Some(at) => now.wall.checked_add(at.saturating_sub(now.mono)).ok(),
        None => app.next_tick.filter(|_| app.desired),
    }
}

/// `0.3 s`, `12 s`, `2 m 5 s`: a span as a sentence wants it.
pub(super) fn seconds(span: Duration) -> String {
    let millis = span.as_millis();
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..10_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        10_000..120_000 => format!("{} s", millis / 1000),
        _ => format!("{} m {} s", millis / 60_000, millis % 60_000 / 1000),
    }
}

/// `512 MB`, in powers of 1024.
pub(super) fn bytes(count: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    if count >= 10 * 1024 * MIB { format!("{} GB", count / (1024 * MIB)) } else { format!("{} MB", count / MIB) }
}
