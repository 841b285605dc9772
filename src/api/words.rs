//! The plain words that configuration, decisions and the socket share.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the two places where the instances of one generation of an app live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    Blue,
    Green,
}

/// What an app or an instance is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Stopped,
    Starting,
    Online,
    Stopping,
    Backoff,
    Errored,
    Waiting,
}

/// What its probe says of an instance; `unknown` before the first answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    Healthy,
    Unhealthy,
    Unknown,
}

/// Why an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitReason {
    /// It exited by itself.
    Exit,
    /// A signal that we did not send ended it.
    Signal,
    /// The kernel's OOM killer ended it.
    Oom,
    /// It passed `max_memory_restart`.
    Memory,
    /// It failed its probe, or did not become ready within `start_timeout`.
    Unhealthy,
    /// It was asked to stop.
    Stop,
    /// It was asked to restart.
    Restart,
    /// Another release replaced it.
    Deploy,
    /// It could not be started.
    SpawnFailed,
}

/// One of an app's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    Out,
    Err,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Slot::Blue => "blue",
            Slot::Green => "green",
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::Stopped => "stopped",
            Status::Starting => "starting",
            Status::Online => "online",
            Status::Stopping => "stopping",
            Status::Backoff => "backoff",
            Status::Errored => "errored",
            Status::Waiting => "waiting",
        })
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
            Health::Unknown => "unknown",
        })
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ExitReason::Exit => "exit",
            ExitReason::Signal => "signal",
            ExitReason::Oom => "oom",
            ExitReason::Memory => "memory",
            ExitReason::Unhealthy => "unhealthy",
            ExitReason::Stop => "stop",
            ExitReason::Restart => "restart",
            ExitReason::Deploy => "deploy",
            ExitReason::SpawnFailed => "spawn-failed",
        })
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stream::Out => "out",
            Stream::Err => "err",
        })
    }
}
