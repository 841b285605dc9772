//! What the core wants done.

use super::event::{RequestId, RunId};
use super::health::Check;
use crate::api::{ActionResult, EventKind, Plan, Refusal, Slot};
use crate::config::AppConfig;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write the desired state durably before the effects after it are performed: app → should it run?
    SaveDesired(BTreeMap<String, bool>),
    /// Check that the port is free, then start the process; answered by `Spawned` or `SpawnRefused`.
    Spawn {
        run: RunId,
        app: Arc<AppConfig>,
        slot: Slot,
        index: u16,
    },
    /// Ask every process of the tree to end, each once; answered by `TreeEmpty`, now or later.
    Stop {
        run: RunId,
        signal: i32,
    },
    /// End what is left of the tree; comes again each second until `TreeEmpty`.
    Kill {
        run: RunId,
    },
    /// Send a signal that somebody asked for.
    Signal {
        run: RunId,
        signal: i32,
    },
    /// Probe once; answered by `Probed`.
    Probe {
        run: RunId,
        check: Check,
    },
    /// The app's log settings are these from now on.
    OpenLogs {
        app: Arc<AppConfig>,
    },
    /// The app is gone; its log files stay.
    CloseLogs {
        app: String,
    },
    /// Tell who follows the events.
    Announce(Announcement),
    Reply {
        id: RequestId,
        reply: Reply,
    },
    /// Everything is at rest: end the supervisor.
    Exit,
}

/// A happening, before it has its number and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    pub app: Option<String>,
    pub kind: EventKind,
    pub by: Option<String>,
    pub slot: Option<Slot>,
    pub pid: Option<i32>,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// What became of each app.
    Actions(Vec<ActionResult>),
    Applied {
        plan: Plan,
        results: Vec<ActionResult>,
    },
    Refused(Refusal),
}
