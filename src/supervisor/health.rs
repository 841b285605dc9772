//! How an instance is asked whether it is well, and what its answers add up to.

use super::Now;
use crate::api::Health;
use crate::config::{AppConfig, ProbeKind};
use std::time::Duration;

/// While an instance starts it is asked this often.
pub(super) const STARTING_INTERVAL: Duration = Duration::from_millis(250);
/// A worker without a probe is online when it has run this long.
const WORKER_SETTLES: Duration = Duration::from_secs(1);

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// Its own tree accepts on this port.
    Port(u16),
    /// The probe of its configuration; the timeout bounds one answer.
    Probe { kind: ProbeKind, port: Option<u16>, timeout: Duration },
}

impl Check {
    /// What is looked at for this app; none for a worker without a probe, and for a job.
    pub fn of(app: &AppConfig) -> Option<Check> {
        if app.is_job() {
            return None;
        }
        match (&app.health.probe, app.port) {
            (Some(kind), port) => Some(Check::Probe { kind: kind.clone(), port, timeout: app.health.timeout }),
            (None, Some(port)) => Some(Check::Port(port)),
            (None, None) => None,
        }
    }
}

/// The answers so far, and when to ask next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Watch {
    ask_at: Option<Duration>,
    asking: bool,
    good: u32,
    bad: u32,
    pub(super) health: Health,
    pub(super) last_failure: Option<String>,
}

/// What an answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Unchanged,
    /// Enough good answers in a row.
    BecameHealthy,
    /// Enough bad answers in a row.
    BecameUnhealthy,
}

/// When an app without any check counts as online, after its spawn.
pub(super) fn settles_after(app: &AppConfig) -> Duration {
    if app.is_job() { Duration::ZERO } else { WORKER_SETTLES }
}

impl Watch {
    /// For an instance that was spawned just now.
    pub(super) fn starting(app: &AppConfig, now: Now) -> Watch {
        let ask_at = Check::of(app).map(|_| now.mono + STARTING_INTERVAL / 2);
        Watch { ask_at, asking: false, good: 0, bad: 0, health: Health::Unknown, last_failure: None }
    }

    /// For the same instance once it is online: a built-in check has said what it can, a probe goes on. `proven`: it is
    /// online because its check was good.
    pub(super) fn online(mut self, app: &AppConfig, proven: bool, now: Now) -> Watch {
        self.asking = false;
        self.good = 0;
        self.bad = 0;
        self.health = if proven && Check::of(app).is_some() { Health::Healthy } else { Health::Unknown };
        self.rearm(app, now);
        self
    }

    /// The configuration changed under it: a probe that is gone says nothing any more.
    pub(super) fn rearm(&mut self, app: &AppConfig, now: Now) {
        self.ask_at = app.health.probe.as_ref().filter(|_| !app.is_job()).map(|_| now.mono + app.health.interval);
        if Check::of(app).is_none() {
            self.health = Health::Unknown;
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.ask_at.filter(|_| !self.asking)
    }

    /// Is it time to ask? Then it counts as asked.
    pub(super) fn ask(&mut self, now: Now, interval: Duration) -> bool {
        let due = self.deadline().is_some_and(|at| at <= now.mono);
        if due {
            self.asking = true;
            self.ask_at = Some(now.mono + interval);
        }
        due
    }

    pub(super) fn answer(&mut self, outcome: Result<(), String>, needs: (u32, u32)) -> Verdict {
        self.asking = false;
        match outcome {
            Ok(()) => {
                self.good = self.good.saturating_add(1);
                self.bad = 0;
                if self.health != Health::Healthy && self.good >= needs.0 {
                    self.health = Health::Healthy;
                    return Verdict::BecameHealthy;
                }
            }
            Err(failure) => {
                self.last_failure = Some(failure);
                self.bad = self.bad.saturating_add(1);
                self.good = 0;
                if self.health != Health::Unhealthy && self.bad >= needs.1 {
                    self.health = Health::Unhealthy;
                    return Verdict::BecameUnhealthy;
                }
            }
        }
        Verdict::Unchanged
    }
}

/// Good answers in a row that make it online; the built-in check is believed at once.
pub(super) fn good_needed(app: &AppConfig) -> u32 {
    if app.health.probe.is_some() { app.health.healthy } else { 1 }
}
