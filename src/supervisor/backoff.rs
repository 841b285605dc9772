//! When an app that ended without being asked runs again.
//!
//! The first restart after a healthy spell is immediate; then the delay doubles from `backoff.initial` to
//! `backoff.max`, until the app has been online for `min_uptime`.

use super::event::LeaderExit;
use crate::config::{AppConfig, Autorestart};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How much went wrong in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Streak {
    /// Unplanned ends since the last healthy spell.
    ends: u32,
    /// Delays given since the last healthy spell.
    delays: u32,
    /// Spawns refused since the last one that was not.
    refusals: u32,
}

/// What follows an unplanned end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// It ended as it may: it rests until it is started.
    Rest,
    /// It failed and is not restarted.
    GiveUp {
        reason: String,
    },
    Restart {
        after: Duration,
    },
}

/// How an instance came to its unplanned end.
#[derive(Debug, Clone, Copy)]
pub(super) enum End<'a> {
    /// By itself.
    Itself(&'a LeaderExit),
    /// We ended it to replace it: a breach, a failing probe.
    Replaced,
}

impl Streak {
    /// One more unplanned end, after `online_for` of being online; `why` goes on after “it ”.
    pub(super) fn after(&mut self, end: End<'_>, why: &str, online_for: Duration, app: &AppConfig) -> Next {
        if let End::Itself(exit) = end {
            if may_rest(exit, app) {
                return Next::Rest;
            }
            if app.autorestart == Autorestart::Never {
                return Next::GiveUp { reason: format!("{why}, and autorestart is off") };
            }
        }
        let healthy_spell = online_for >= app.min_uptime;
        if healthy_spell {
            *self = Streak::default();
        }
        self.ends = self.ends.saturating_add(1);
        if app.max_restarts > 0 && self.ends > app.max_restarts {
            let reason = format!("gave up after {} restarts in a row; the last time it {why}", app.max_restarts);
            return Next::GiveUp { reason };
        }
        if healthy_spell {
            return Next::Restart { after: Duration::ZERO };
        }
        let after = delay(self.delays, app);
        self.delays = self.delays.saturating_add(1);
        Next::Restart { after }
    }

    /// It could not be spawned: that is no crash, and is tried again after the delay returned.
    pub(super) fn refused(&mut self, app: &AppConfig) -> Duration {
        let after = delay(self.refusals, app);
        self.refusals = self.refusals.saturating_add(1);
        after
    }

    pub(super) fn spawned(&mut self) {
        self.refusals = 0;
    }
}

/// Did it end as it may, so that nothing follows?
pub(super) fn may_rest(exit: &LeaderExit, app: &AppConfig) -> bool {
    if exit.oom {
        return false;
    }
    let listed = exit.code.is_some_and(|code| app.stop_exit_codes.contains(&code));
    let clean = exit.code == Some(0);
    match app.autorestart {
        Autorestart::Always => listed || (clean && app.is_job()),
        Autorestart::OnFailure | Autorestart::Never => listed || clean,
    }
}

pub(super) fn delay(given: u32, app: &AppConfig) -> Duration {
    let factor = 1u32.checked_shl(given);
    factor.and_then(|factor| app.backoff.initial.checked_mul(factor)).unwrap_or(app.backoff.max).min(app.backoff.max)
}
