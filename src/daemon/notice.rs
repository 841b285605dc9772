//! What reaches the loop from the tasks and threads around it.

use super::launch::Landing;
use super::upgrade::Upgrade;
use crate::api::{AppStatus, LastExit, Plan, Refusal, Setback};
use crate::config::Config;
use crate::supervisor::{LeaderExit, Release, Reply, Request, RequestId, RunId, SpawnRefusal};
use std::io;
use std::sync::Arc;
use tokio::sync::oneshot;

/// From the world.
pub(super) enum Notice {
    /// A launch ended, one way or the other.
    Landed {
        run: RunId,
        landing: Result<Box<Landing>, SpawnRefusal>,
    },
    /// A leader was reaped.
    Exited {
        run: RunId,
        exit: LeaderExit,
    },
    Probed {
        run: RunId,
        outcome: Result<(), String>,
    },
    /// A tree is over its limit: bytes, confirmed; and what the machine has left.
    OverLimit {
        run: RunId,
        bytes: u64,
        available: u64,
    },
    /// Somebody else has a public address of this app, or it cannot be ours: a sentence.
    PortHeld {
        app: String,
        holder: String,
    },
    PortOpen {
        app: String,
    },
    /// What a drained run still has.
    InFlight {
        run: RunId,
        requests: u64,
        streams: u64,
    },
    /// What a run has answered through the proxy so far, and how much of it badly.
    Traffic {
        run: RunId,
        answered: u64,
        errors: u64,
    },
    /// The desired state is on the disk, or could not be put there: by the number of the save.
    Saved {
        save: u64,
        result: io::Result<()>,
    },
}

/// From the control socket.
pub(super) enum Ask {
    Request {
        id: RequestId,
        by: String,
        request: Request,
        reply: oneshot::Sender<Reply>,
    },
    Apply {
        id: RequestId,
        by: String,
        config: Arc<Config>,
        wait: bool,
        /// Told at once whether this configuration is in force now.
        taken: oneshot::Sender<bool>,
        reply: oneshot::Sender<Reply>,
    },
    /// Another program is to take the place of this one, as soon as nothing is in the way.
    Upgrade {
        upgrade: Upgrade,
        /// Told when that is so, or why it was not for too long. What is given along is dropped once whoever asked has the
        /// answer: only then it is done.
        accepted: oneshot::Sender<Result<oneshot::Sender<()>, Refusal>>,
    },
    /// Who asked is gone.
    Abandoned {
        id: RequestId,
    },
    /// What an `apply` would do, and why it would be refused now.
    Plan {
        config: Arc<Config>,
        reply: oneshot::Sender<(Plan, Option<Refusal>)>,
    },
    List {
        reply: oneshot::Sender<Vec<AppStatus>>,
    },
    App {
        name: String,
        reply: oneshot::Sender<Option<AppView>>,
    },
}

/// What the core knows of one app.
pub(super) struct AppView {
    pub status: AppStatus,
    pub exits: Vec<LastExit>,
    pub probe_failure: Option<String>,
    /// The releases that failed after they went live: ids.
    pub bad: Vec<String>,
    /// The one that is started in the place of the one behind it, and is not up yet: ids.
    pub trying: Option<(String, Option<String>)>,
    /// What its active slot is made from.
    pub release: Option<Release>,
    /// Those of its own releases that any process runs from: ids.
    pub in_use: Vec<String>,
    pub setback: Option<Setback>,
}
