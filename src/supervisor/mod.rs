//! The decisions, pure: `handle(event, now)` → effects. No process, no file, no clock, no socket.
//!
//! Everything that happens to an app (restart, crash, breach, apply, shutdown) contends for the one state
//! machine in here, so every ordering of them can be played in a test on a virtual clock.

mod adopt;
mod app;
mod apply;
mod backoff;
mod burst;
mod core;
mod drain;
mod effect;
mod event;
mod follow;
mod heal;
mod health;
mod instance;
mod pending;
mod publish;
mod reconcile;
mod remembered;
mod requests;
mod roles;
mod rollover;
mod room;
mod run;
mod shutdown;
mod successor;
mod trial;
mod view;

pub use self::core::Supervisor;
pub use adopt::Survivor;
pub use apply::plan;
pub use effect::{Announcement, Effect, Kept, Release, Reply};
pub use event::{Event, LeaderExit, Request, RequestId, RunId, SpawnRefusal};
pub use follow::refuse_follower;
pub use health::Check;
pub use remembered::Remembered;
pub use room::second_copy;

use jiff::Timestamp;
use std::time::Duration;

/// The time, as an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the machine booted, suspended time included; never goes back.
    pub mono: Duration,
    /// The calendar; may jump.
    pub wall: Timestamp,
}
