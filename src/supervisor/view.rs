//! What the core looks like from outside.

use super::Now;
use super::app::App;
use super::core::Supervisor;
use super::effect::Release;
use super::event::RunId;
use super::instance::{Instance, State};
use super::rollover::{Other, Retreat, opposite};
use crate::api::{AppStatus, ExitReason, Health, InstanceStatus, LastExit, OtherPhase, OtherSlot, Setback, Status};
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

    /// The release that is started where nothing serves beside it and that is not up yet, and the one before: ids.
    pub fn trying(&self, name: &str) -> Option<(String, Option<String>)> {
        let app = self.app(name)?;
        let before = app.trial.as_ref()?.before.release.as_ref();
        Some((app.cast(app.slot).release.as_ref()?.id.clone(), before.map(|release| release.id.clone())))
    }

    /// Why the release that was to be active last is not.
    pub fn setback(&self, name: &str) -> Option<Setback> {
        self.app(name).and_then(|app| app.setback.clone())
    }

    /// The releases of an app that failed after they went live: ids.
    pub fn bad_releases(&self, name: &str) -> Vec<String> {
        self.app(name).map(|app| app.bad.clone()).unwrap_or_default()
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
        let active: Vec<&InstanceStatus> = instances.iter().filter(|instance| instance.slot == app.slot).collect();
        let first = app.active().next();
        let status = overall_status(&active);
        // It answers, and nobody can ask it.
        let status = if status == Status::Online && app.port_held.is_some() { Status::Waiting } else { status };
        let shown = app.active().filter(|instance| instance.status(wanted) == status);
        let held = app.port_held.as_ref().map(|held| held.holder.clone());
        AppStatus {
            name: app.config.name.clone(),
            aliases: app.config.aliases.clone(),
            status,
            health: overall_health(app, &active),
            port: app.config.port,
            slot: app.slot,
            pid: active.iter().find_map(|instance| instance.pid),
            uptime_ms: active.iter().filter_map(|instance| instance.uptime_ms).min(),
            restarts: app.restarts,
            cpu_percent: None,
            memory_bytes: None,
            memory_limit_bytes: app.config.max_memory_restart,
            release: release_of(app).map(|release| release.id.clone()),
            other: other_slot(app, now),
            deploying: None,
            traffic: None,
            swaps: app.swaps,
            last_drain_ms: app.last_drain.map(millis),
            reason: shown.filter_map(Instance::reason).next().or(held),
            next_at: next_at(app, now),
            instances,
            last_exit: first.and_then(|instance| instance.last_exit.clone()).or_else(|| app.exits.front().cloned()),
        }
    }
}

/// What it runs from. A run of a job is not replaced when its leader goes over to another release.
fn release_of(app: &App) -> Option<&Release> {
    let runs = app.active().filter(|_| app.config.is_job()).find_map(Instance::release);
    runs.or(app.cast(app.slot).release.as_ref())
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The slot that is not active, while there is anything in it.
fn other_slot(app: &App, now: Now) -> Option<OtherSlot> {
    let slot = opposite(app.slot);
    let (phase, by, since) = match &app.other {
        Other::Rising(rollover) => {
            let phase = if rollover.staged { OtherPhase::Staged } else { OtherPhase::Starting };
            (phase, rollover.by.clone(), rollover.at)
        }
        Other::Retiring(retreat) if retreat.warm_until.is_some() => (OtherPhase::Warm, retreat.by.clone(), retreat.at),
        Other::Retiring(Retreat { by, at, .. }) => (OtherPhase::Draining, by.clone(), *at),
        Other::Empty if app.is_slot_at_rest(slot) => return None,
        Other::Empty => (OtherPhase::Stopping, "supervisor".to_owned(), now.wall),
    };
    let of_slot = || app.instances.iter().filter(|instance| instance.slot == slot);
    let drained = |instance: &Instance| matches!(instance.state, State::Draining { .. });
    let is_through = phase == OtherPhase::Draining && !of_slot().any(drained);
    let phase = if is_through { OtherPhase::Stopping } else { phase };
    let release = app.cast(slot).release.as_ref().map(|release| release.id.clone());
    let warm_until = app.retreat().filter(|_| phase == OtherPhase::Warm).and_then(|retreat| retreat.warm_until);
    let until = warm_until.and_then(|until| now.wall.checked_add(until.saturating_sub(now.mono)).ok());
    Some(OtherSlot { slot, phase, release, by, since, until, in_flight: None })
}

fn instance_status(app: &App, instance: &Instance, wanted: bool, now: Now) -> InstanceStatus {
    let uptime = instance.state.uptime(now);
    InstanceStatus {
        slot: instance.slot,
        index: instance.index,
        pid: instance.live().map(|live| live.pid),
        port: app.config.port.filter(|_| app.config.proxy.is_none()),
        status: instance.status(wanted),
        health: instance.health(),
        memory_bytes: None,
        cpu_percent: None,
        uptime_ms: uptime.map(millis),
        in_flight: None,
    }
}

/// An app is as far as the least far of its instances; trouble shows first.
fn overall_status(instances: &[&InstanceStatus]) -> Status {
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
fn overall_health(app: &App, instances: &[&InstanceStatus]) -> Health {
    if app.config.is_job() && app.is_at_rest() {
        return app.exits.front().map_or(Health::Unknown, |exit| job_health(app, exit));
    }
    let any = |health| instances.iter().any(|instance| instance.health == health);
    match (any(Health::Unhealthy), any(Health::Unknown)) {
        (true, _) => Health::Unhealthy,
        (false, true) => Health::Unknown,
        (false, false) if instances.is_empty() => Health::Unknown,
        (false, false) => Health::Healthy,
    }
}

fn job_health(app: &App, exit: &LastExit) -> Health {
    let good = |code: &i32| *code == 0 || app.config.stop_exit_codes.contains(code);
    match exit.reason {
        ExitReason::Exit if exit.code.as_ref().is_some_and(good) => Health::Healthy,
        ExitReason::Stop | ExitReason::Restart | ExitReason::Deploy => Health::Unknown,
        ExitReason::Exit
        | ExitReason::Signal
        | ExitReason::Oom
        | ExitReason::Memory
        | ExitReason::Unhealthy
        | ExitReason::SpawnFailed => Health::Unhealthy,
    }
}

/// When something goes on by itself: a delayed restart, a retried start, a job's next time.
fn next_at(app: &App, now: Now) -> Option<Timestamp> {
    let due = app.active().find_map(|instance| match &instance.state {
        State::Backoff { until, .. } => Some(*until),
        State::Errored { retry_at, .. } => *retry_at,
        State::Resting { .. }
        | State::Waiting { .. }
        | State::Spawning { .. }
        | State::Starting { .. }
        | State::Online { .. }
        | State::Draining { .. }
        | State::Ending { .. } => None,
    });
    match due {
        Some(at) => now.wall.checked_add(at.saturating_sub(now.mono)).ok(),
        None => app.next_tick.filter(|_| app.desired),
    }
}

/// `300 ms`, `1.2 s`, `12 s`, `2 m 5 s`, `2 h`: a span as a sentence wants it.
pub(super) fn seconds(span: Duration) -> String {
    let millis = span.as_millis();
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..10_000 if millis % 1000 >= 100 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        1000..120_000 => format!("{} s", millis / 1000),
        120_000..3_600_000 => two_units(millis / 1000, 60, ("m", "s")),
        _ => two_units(millis / 60_000, 60, ("h", "m")),
    }
}

fn two_units(count: u128, per: u128, (large, small): (&str, &str)) -> String {
    match count % per {
        0 => format!("{} {large}", count / per),
        rest => format!("{} {large} {rest} {small}", count / per),
    }
}

/// `512M`, in powers of 1024, as the configuration writes it.
pub(super) fn bytes(count: u64) -> String {
    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    const GIB: u64 = 1024 * MIB;
    if count < MIB {
        format!("{}K", count / KIB)
    } else if count < 10 * GIB {
        format!("{}M", count / MIB)
    } else {
        format!("{}G", count / GIB)
    }
}
