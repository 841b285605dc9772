//! What happened, one record a happening: `GET /v1/events`, `infissi-ctl events`.

use super::words::Slot;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One happening. `seq` grows by one and starts at 1 with each supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    pub seq: u64,
    pub at: Timestamp,
    pub app: Option<String>,
    pub kind: EventKind,
    /// Who asked for it: a user's name, or `supervisor` where it decided by itself.
    pub by: String,
    pub slot: Option<Slot>,
    pub pid: Option<i32>,
    /// One sentence.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Somebody asked for something.
    Requested,
    /// A process was started.
    Started,
    /// A process of an earlier supervisor goes on under this one.
    Adopted,
    /// It became ready.
    Online,
    /// It is being stopped.
    Stopping,
    /// It did not end in time and was killed.
    Killed,
    /// Its tree is empty, as asked.
    Stopped,
    /// It ended without being asked.
    Exited,
    /// A restart is delayed.
    Backoff,
    /// It is not going to be restarted, or cannot be started.
    Errored,
    /// It waits for a dependency, its time.
    Waiting,
    /// Its port is somebody else's, or not ours to open: it waits for that.
    PortHeld,
    /// Its memory passed the limit.
    Breach,
    /// Its probe changed its answer.
    Health,
    /// A scheduled tick was skipped.
    Skipped,
    /// A configuration was applied.
    Applied,
    /// The other slot got the traffic.
    Swapped,
    /// A new slot did not become healthy; the old one goes on.
    RolloverFailed,
    /// The new slot failed while the old one was warm: the old one has the traffic again.
    FlippedBack,
    /// Lines were dropped, or are taken again.
    Logs,
    /// The proxy worker ended unasked, or cannot be started.
    Proxy,
    /// The supervisor started, or shuts down.
    Supervisor,
}
