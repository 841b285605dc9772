//! When an app that ended without being asked runs again.
//!
//! The first restart after a healthy spell is immediate; then the delay doubles from `backoff.initial` to
//! `backoff.max`, until the app has been online for `min_uptime`.

use super::event::LeaderExit;
use crate::config::{AppConfig, Autorestart};
use std::time::Duration;

/// How many unplanned ends came in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Streak {
    /// Unplanned ends since the last healthy spell.
    ends: u32,
    /// Delays given since the last healthy spell.
    delays: u32,
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
    /// It could not be started.
    NotSpawned,
}

impl Streak {
    /// One more unplanned end, after `online_for` of being online.
    pub(super) fn after(&mut self, end: End<'_>, online_for: Duration, app: &AppConfig) -> Next {
        if let End::Itself(exit) = end {
            if exit.code.is_some_and(|code| app.stop_exit_codes.contains(&code)) {
                return Next::Rest;
            }
            let clean = exit.code == Some(0);
            match app.autorestart {
                Autorestart::Always => {}
                Autorestart::OnFailure if clean => return Next::Rest,
                Autorestart::OnFailure => {}
                Autorestart::Never if clean => return Next::Rest,
                Autorestart::Never => return Next::GiveUp { reason: format!("it {exit}; autorestart is off") },
            }
        }
        let healthy_spell = online_for >= app.min_uptime && !matches!(end, End::NotSpawned);
        if healthy_spell {
            *self = Streak::default();
        }
        self.ends = self.ends.saturating_add(1);
        if app.max_restarts > 0 && self.ends > app.max_restarts {
            return Next::GiveUp { reason: format!("gave up after {} restarts in a row", app.max_restarts) };
        }
        if healthy_spell {
            return Next::Restart { after: Duration::ZERO };
        }
        let after = delay(self.delays, app.backoff.initial, app.backoff.max);
        self.delays = self.delays.saturating_add(1);
        Next::Restart { after }
    }
}

fn delay(given: u32, initial: Duration, max: Duration) -> Duration {
    let factor = 1u32.checked_shl(given).filter(|factor| *factor > 0);
    factor.and_then(|factor| initial.checked_mul(factor)).unwrap_or(max).min(max)
}
