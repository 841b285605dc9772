//! What the core wants done.

use super::event::{RequestId, RunId};
use super::health::Check;
use crate::api::{ActionResult, EventKind, Plan, Refusal, Setback, Slot};
use crate::config::AppConfig;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Write this durably before the effects after it are performed: of each app what is to outlive a power cut.
    Save(BTreeMap<String, Kept>),
    /// Start the process, behind the proxy on a free private port, else on its own port if that is free; answered by
    /// `Spawned` or `SpawnRefused`.
    Spawn {
        run: RunId,
        app: Arc<AppConfig>,
        slot: Slot,
        index: u16,
        release: Option<Release>,
    },
    /// What the public finds from now on at an app behind the proxy. `open`: its public addresses are listened on, and
    /// answered by `PortOpen` or, as long as somebody else has one, `PortHeld`. `active` gets the requests, which are
    /// held while it is empty; `warm` those that carry its deployment id. An app without `proxy` leaves the proxy.
    Publish {
        app: Arc<AppConfig>,
        open: bool,
        active: Vec<RunId>,
        warm: Vec<RunId>,
    },
    /// This run was taken out of what is published: answered by `InFlight`, at once and at each change to zero.
    Drain {
        run: RunId,
    },
    /// What the proxy still has with this run is closed.
    Cut {
        run: RunId,
    },
    /// Ask every process of the tree to end, each once, or with signal 0 only wait for that; answered by `TreeEmpty`, now
    /// or later.
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

impl Effect {
    pub fn word(&self) -> &'static str {
        match self {
            Effect::Save(_) => "save",
            Effect::Spawn { .. } => "spawn",
            Effect::Publish { .. } => "publish",
            Effect::Drain { .. } => "drain",
            Effect::Cut { .. } => "cut",
            Effect::Stop { .. } => "stop",
            Effect::Kill { .. } => "kill",
            Effect::Signal { .. } => "signal",
            Effect::Probe { .. } => "probe",
            Effect::OpenLogs { .. } => "open-logs",
            Effect::CloseLogs { .. } => "close-logs",
            Effect::Announce(_) => "announce",
            Effect::Reply { .. } => "reply",
            Effect::Exit => "exit",
        }
    }
}

/// What outlives a power cut of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub desired: bool,
    /// The active slot.
    pub slot: Slot,
    /// Of the active slot.
    pub release: Option<Release>,
    /// Releases that failed after they went live: ids.
    pub bad: Vec<String>,
    /// Why the release that was to be active last is not.
    pub setback: Option<Setback>,
}

/// A built directory of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    pub id: String,
    /// Absolute.
    pub dir: PathBuf,
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
