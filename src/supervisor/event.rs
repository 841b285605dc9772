//! What the world tells the core.

use super::effect::Release;
use crate::api::Way;
use crate::config::Config;
use std::fmt;
use std::sync::Arc;

/// One spawned process tree; never used twice by one supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// One request that wants one reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

#[derive(Debug, Clone)]
pub enum Event {
    /// The supervisor is ready to act: what should run is started.
    Began,
    /// A deadline may have passed.
    Tick,
    /// Somebody asks for something and waits for a reply.
    Requested { id: RequestId, by: String, request: Request },
    /// Who asked is gone; the work goes on, no reply is wanted.
    Abandoned { id: RequestId },
    /// The process exists and its program has been entered. Comes before anything else about the run.
    Spawned { run: RunId, pid: i32 },
    /// There is no process.
    SpawnRefused { run: RunId, refusal: SpawnRefusal },
    /// The leader ended; others of its tree may live.
    Exited { run: RunId, exit: LeaderExit },
    /// No process of the tree is left.
    TreeEmpty { run: RunId },
    /// A probe answered: good, or bad with one sentence.
    Probed { run: RunId, outcome: Result<(), String> },
    /// The tree's memory now, in bytes, confirmed where it is over the limit; and what the machine has left.
    MemorySampled { run: RunId, bytes: u64, available: u64 },
    /// Somebody else listens on a public address of this app: a whole sentence. Asked again by who told it.
    PortHeld { app: String, holder: String },
    /// All its public addresses are ours.
    PortOpen { app: String },
    /// What a drained run still has in flight through the proxy.
    InFlight { run: RunId, requests: u64, streams: u64 },
    /// Answers that a run has given through the proxy so far, and how many of them were 5xx or broken.
    Traffic { run: RunId, answered: u64, errors: u64 },
}

#[derive(Debug, Clone)]
pub enum Request {
    /// Start these and what they depend on.
    Start {
        apps: Vec<String>,
        wait: bool,
    },
    Stop {
        apps: Vec<String>,
        wait: bool,
    },
    /// `hard`: stop first, even where a rollover is possible.
    Restart {
        apps: Vec<String>,
        wait: bool,
        hard: bool,
    },
    /// Make the other slot active: the staged one, or back to the warm one.
    Swap {
        apps: Vec<String>,
        wait: bool,
    },
    /// Go over to this release.
    Activate {
        app: String,
        release: Release,
        way: Way,
        wait: bool,
    },
    /// The release that is being started, or is staged, is not to become active.
    Cancel {
        apps: Vec<String>,
    },
    /// Zero the counters; a delayed or given-up start is tried at once.
    Reset {
        apps: Vec<String>,
    },
    /// Send a signal to each process of the trees.
    Signal {
        apps: Vec<String>,
        signal: i32,
        /// As `SIGHUP`.
        name: String,
    },
    /// Go over to this configuration, touching only what changed.
    Apply {
        config: Arc<Config>,
        wait: bool,
    },
    /// Stop everything, dependents first, and end. `hurry`: whoever asked will not wait, what still runs is killed.
    Shutdown {
        hurry: bool,
    },
}

/// How a leader ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderExit {
    /// The exit status; none when a signal ended it or it is not known.
    pub code: Option<i32>,
    /// The signal's name, as `SIGKILL`.
    pub signal: Option<String>,
    /// The kernel's OOM killer took a process of this tree.
    pub oom: bool,
}

/// Why there is no process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpawnRefusal {
    /// Somebody else listens on the app's port: a whole sentence, `port 3000 is held by pid 77 (node old.js)`.
    PortHeld { holder: String },
    /// A fact of the machine is against it: a whole sentence, `"npm" is not in PATH (/usr/bin:/bin)`.
    Failed { reason: String },
}

impl LeaderExit {
    /// It is gone, and nobody saw how.
    pub const UNKNOWN: LeaderExit = LeaderExit { code: None, signal: None, oom: false };
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for LeaderExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.code, &self.signal, self.oom) {
            (_, _, true) => write!(f, "was ended by the kernel because memory ran out"),
            (Some(code), _, false) => write!(f, "exited with code {code}"),
            (None, Some(signal), false) => write!(f, "was ended by {signal}"),
            (None, None, false) => write!(f, "ended in an unknown way"),
        }
    }
}
