//! How the process trees of a story behave.

use crate::configs::ms;
use infissi::api::Slot;
use infissi::supervisor::LeaderExit;
use std::time::Duration;

/// How one process tree behaves.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) spawn_takes: Duration,
    pub(crate) refused: Option<String>,
    /// Its checks are good from this age on; never, when none.
    pub(crate) ready: Option<Duration>,
    /// Its checks are bad again from this age on.
    pub(crate) sick: Option<Duration>,
    pub(crate) probe_takes: Duration,
    /// Its leader ends by itself at this age.
    pub(crate) ends: Option<(Duration, LeaderExit)>,
    /// How long it takes to end when asked; it does not, when none.
    pub(crate) obeys: Option<Duration>,
    pub(crate) obeys_with: LeaderExit,
    /// What it leaves when its leader ended, and how long that takes to end when asked.
    pub(crate) leftovers: Option<Option<Duration>>,
    /// So many kills it survives, by forking meanwhile.
    pub(crate) survives: u32,
    /// Bytes it grows by each second.
    pub(crate) leaks: u64,
    /// How long after the start of its drain its last request, and its last stream, has ended.
    pub(crate) requests: Duration,
    pub(crate) streams: Duration,
    /// The proxy says nothing of what it has in flight.
    pub(crate) untold: bool,
}

impl Script {
    pub(crate) fn good() -> Script {
        Script {
            spawn_takes: ms(1),
            refused: None,
            ready: Some(ms(300)),
            sick: None,
            probe_takes: ms(2),
            ends: None,
            obeys: Some(ms(50)),
            obeys_with: code(143),
            leftovers: None,
            survives: 0,
            leaks: 0,
            requests: Duration::ZERO,
            streams: Duration::ZERO,
            untold: false,
        }
    }

    pub(crate) fn crashes(after: Duration, exit: LeaderExit) -> Script {
        Script { ends: Some((after, exit)), ..Script::good() }
    }

    pub(crate) fn refused(reason: &str) -> Script {
        Script { refused: Some(reason.to_owned()), ..Script::good() }
    }

    pub(crate) fn ready_after(span: Duration) -> Script {
        Script { ready: Some(span), ..Script::good() }
    }

    pub(crate) fn never_ready() -> Script {
        Script { ready: None, ..Script::good() }
    }

    pub(crate) fn stubborn() -> Script {
        Script { obeys: None, ..Script::good() }
    }
}

pub(crate) fn code(code: i32) -> LeaderExit {
    LeaderExit { code: Some(code), signal: None, oom: false }
}

pub(crate) fn killed_by(signal: &str) -> LeaderExit {
    LeaderExit { code: None, signal: Some(signal.to_owned()), oom: false }
}

#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) app: String,
    pub(crate) slot: Slot,
    pub(crate) index: u16,
    pub(crate) release: Option<String>,
    /// The fingerprint of its configuration.
    pub(crate) made_by: u64,
    pub(crate) script: Script,
    /// It listens on a private port.
    pub(crate) proxied: bool,
    /// Its own port, where it binds the public one itself.
    pub(crate) port: Option<u16>,
    /// Bytes over which it is replaced.
    pub(crate) limit: Option<u64>,
    /// It was published, so that requests may be in flight.
    pub(crate) served: bool,
    /// When its drain began, and what was told of it since.
    pub(crate) drained: Option<Duration>,
    pub(crate) in_flight: Option<(u64, u64)>,
    pub(crate) cut: bool,
    /// It was told to take so much memory that it may be ended at once.
    pub(crate) endangers: bool,
    /// None before its program was entered.
    pub(crate) since: Option<Duration>,
    pub(crate) leader: bool,
    pub(crate) leftovers: bool,
    pub(crate) announced_empty: bool,
    pub(crate) asked: bool,
}

impl Tree {
    /// What it has in flight so long after the start of its drain.
    pub(crate) fn left(&self, elapsed: Duration) -> (u64, u64) {
        let open = |takes: Duration, count| if self.leader && elapsed < takes { count } else { 0 };
        (open(self.script.requests, 3), open(self.script.streams, 2))
    }

    pub(crate) fn exists(&self) -> bool {
        self.leader || self.leftovers
    }
}
