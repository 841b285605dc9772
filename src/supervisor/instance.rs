//! One instance: a process tree of an app, from its spawn to its last process.
//!
//! ```text
//! Resting ─→ Waiting ─→ Spawning ─→ Starting ─→ Online ─→ Draining   (behind the proxy, as planned)
//!    ↑          ↑          │            │          │          │
//!    │          │          ↓            └────┬─────┴──────────┘
//!    ├──── Backoff ←── Errored               ↓
//!    └───────────────────────────────────  Ending   (done when its tree is empty)
//! ```

use super::Now;
use super::backoff::Streak;
use super::effect::Release;
use super::event::{LeaderExit, RunId};
use super::health::{Check, Watch, settles_after};
use crate::api::{ExitReason, Health, LastExit, Slot, Status};
use crate::config::AppConfig;
use jiff::Timestamp;
use std::time::Duration;

#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) slot: Slot,
    pub(super) index: u16,
    pub(super) state: State,
    pub(super) streak: Streak,
    pub(super) last_exit: Option<LastExit>,
    /// The last thing a probe complained about, kept after the instance that it was about.
    pub(super) probe_failure: Option<String>,
    /// Its port is somebody else's: kept over the attempts to start.
    pub(super) held: Option<Held>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) holder: String,
    pub(super) since: Duration,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    /// No process. `done`: it ended as it may and rests although its app should run.
    Resting {
        done: bool,
    },
    /// No process yet: something has to happen first.
    Waiting {
        wait: Wait,
        since: Duration,
    },
    /// The spawn is under way.
    Spawning {
        run: RunId,
        generation: u64,
        proxied: bool,
        release: Option<Release>,
    },
    /// The process runs and is not ready.
    Starting {
        live: Live,
        watch: Watch,
        due: Due,
    },
    Online {
        live: Live,
        watch: Watch,
        since: Duration,
    },
    /// It gets no more requests and finishes those that it has.
    Draining {
        live: Live,
        drain: Drain,
    },
    /// The tree is asked to end, or its leader ended by itself and what it left is.
    Ending {
        live: Live,
        ending: Ending,
    },
    /// A restart is delayed.
    Backoff {
        until: Duration,
        reason: String,
    },
    /// It cannot be started, or is given up; `retry_at` where it is tried again.
    Errored {
        reason: String,
        retry_at: Option<Duration>,
    },
}

/// What happens if a starting instance is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing says that it is ready, so at this time it is.
    Settles(Duration),
    /// Its check has to say so by then.
    GivesUp(Duration),
}

/// A process tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) run: RunId,
    pub(super) pid: i32,
    /// The app's generation that it was spawned for.
    pub(super) generation: u64,
    pub(super) spawned: Duration,
    /// It listens on a private port; else it binds the public one itself.
    pub(super) proxied: bool,
    /// What it runs from.
    pub(super) release: Option<Release>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wait {
    /// This app, from whose release it is to run, has none yet.
    Release(String),
    /// These are not ready.
    Dependencies(Vec<String>),
    /// Somebody else holds the port (`Instance::held` says who); asked again then.
    Port { retry_at: Duration },
    /// A job's next time.
    Schedule,
}

/// The time between the routes and the signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Drain {
    /// Why it ends.
    pub(super) cause: Cause,
    pub(super) since: Duration,
    /// What is still in flight then is cut off.
    pub(super) requests_by: Duration,
    pub(super) streams_by: Duration,
    /// Requests and streams, as far as was told.
    pub(super) left: Option<(u64, u64)>,
    /// The proxy was asked.
    pub(super) told: bool,
    /// How long it had been online.
    pub(super) online_for: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) cause: Cause,
    pub(super) since: Duration,
    /// What is left is killed then, and again while something is left.
    pub(super) kill_at: Duration,
    pub(super) killed: bool,
    pub(super) leader: Option<LeaderExit>,
    /// How long it had been online.
    pub(super) online_for: Duration,
    /// Somebody asked for a start meanwhile: it runs again, however it ended.
    pub(super) start_after: bool,
}

/// Why it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its leader ended unasked.
    Itself,
    /// Somebody asked.
    Asked(ExitReason),
    /// We replace it: a breach, a failing probe, a job over its time.
    Replaced(ExitReason, String),
}

impl State {
    /// The tree that exists.
    pub(super) fn live(&self) -> Option<&Live> {
        match self {
            State::Starting { live, .. }
            | State::Online { live, .. }
            | State::Draining { live, .. }
            | State::Ending { live, .. } => Some(live),
            State::Resting { .. }
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => None,
        }
    }

    /// Its process does its work, or is about to.
    pub(super) fn is_running(&self) -> bool {
        self.watch().is_some()
    }

    pub(super) fn watch(&self) -> Option<&Watch> {
        match self {
            State::Starting { watch, .. } | State::Online { watch, .. } => Some(watch),
            State::Resting { .. }
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Draining { .. }
            | State::Ending { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => None,
        }
    }

    /// How long it has been online, at `now`; none when it is not.
    pub(super) fn uptime(&self, now: Now) -> Option<Duration> {
        match self {
            State::Online { since, .. } => Some(now.mono.saturating_sub(*since)),
            State::Draining { drain, .. } => Some(drain.online_for),
            State::Resting { .. }
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Starting { .. }
            | State::Ending { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => None,
        }
    }
}

impl Due {
    /// For a process that was spawned, or whose configuration changed, just now.
    pub(super) fn of(app: &AppConfig, now: Now) -> Due {
        match Check::of(app) {
            Some(_) => Due::GivesUp(now.mono + app.health.start_timeout),
            None => Due::Settles(now.mono + settles_after(app)),
        }
    }
}

impl Instance {
    pub(super) fn new(slot: Slot, index: u16) -> Instance {
        Instance {
            slot,
            index,
            state: State::Resting { done: false },
            streak: Streak::default(),
            last_exit: None,
            probe_failure: None,
            held: None,
        }
    }

    /// The tree that exists now.
    pub(super) fn live(&self) -> Option<&Live> {
        self.state.live()
    }

    /// The run that exists or is being made.
    pub(super) fn run(&self) -> Option<RunId> {
        if let State::Spawning { run, .. } = &self.state {
            return Some(*run);
        }
        self.live().map(|live| live.run)
    }

    /// The configuration changed under it: it is watched by the new one.
    pub(super) fn follow(&mut self, config: &AppConfig, now: Now) {
        match &mut self.state {
            State::Starting { watch, due, .. } => {
                *watch = Watch::starting(config, now);
                *due = Due::of(config, now);
            }
            State::Online { watch, .. } => watch.rearm(config, now),
            State::Resting { .. }
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Draining { .. }
            | State::Ending { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => {}
        }
    }

    /// The generation of the tree that exists or is being made.
    pub(super) fn generation(&self) -> Option<u64> {
        if let State::Spawning { generation, .. } = &self.state {
            return Some(*generation);
        }
        self.live().map(|live| live.generation)
    }

    /// What the tree that exists or is being made runs from.
    pub(super) fn release(&self) -> Option<&Release> {
        if let State::Spawning { release, .. } = &self.state {
            return release.as_ref();
        }
        self.live().and_then(|live| live.release.as_ref())
    }

    /// No process, none under way.
    pub(super) fn is_at_rest(&self) -> bool {
        self.run().is_none()
    }

    /// It ended as it may and rests although its app should run.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Resting { done: true })
    }

    /// It failed, and is started later or not at all.
    pub(super) fn is_held_back(&self) -> bool {
        matches!(self.state, State::Backoff { .. } | State::Errored { .. })
    }

    pub(super) fn is_online(&self) -> bool {
        matches!(self.state, State::Online { .. })
    }

    /// Online, and its probe does not say otherwise.
    pub(super) fn is_well(&self) -> bool {
        self.is_online() && self.health() != Health::Unhealthy
    }

    pub(super) fn is_online_in(&self, wanted: u64) -> bool {
        matches!(&self.state, State::Online { live, .. } if live.generation >= wanted)
    }

    pub(super) fn is_of_generation_up_to(&self, newest: u64) -> bool {
        self.live().is_some_and(|live| live.generation <= newest)
    }

    pub(super) fn status(&self, wanted: bool) -> Status {
        match &self.state {
            State::Resting { .. } => Status::Stopped,
            State::Waiting { .. } => Status::Waiting,
            State::Spawning { .. } | State::Starting { .. } | State::Online { .. } if !wanted => Status::Stopping,
            State::Spawning { .. } if self.held.is_some() => Status::Waiting,
            State::Spawning { .. } | State::Starting { .. } => Status::Starting,
            State::Online { .. } => Status::Online,
            State::Draining { .. } | State::Ending { .. } => Status::Stopping,
            State::Backoff { .. } => Status::Backoff,
            State::Errored { .. } => Status::Errored,
        }
    }

    pub(super) fn health(&self) -> Health {
        self.state.watch().map_or(Health::Unknown, |watch| watch.health)
    }

    /// Why it is not up although nothing went wrong: somebody else holds its port, or what it needs is not ready.
    pub(super) fn obstacle(&self) -> Option<String> {
        match (&self.state, &self.held) {
            (State::Waiting { wait: Wait::Dependencies(apps), .. }, _) => Some(format!("it {}", waits_for(apps))),
            (State::Waiting { wait: Wait::Release(app), .. }, _) => Some(unreleased(app)),
            (_, Some(held)) => Some(held.holder.clone()),
            (_, None) => None,
        }
    }

    /// The app whose first release it waits for.
    pub(super) fn awaited_leader(&self) -> Option<&String> {
        if let State::Waiting { wait: Wait::Release(app), .. } = &self.state { Some(app) } else { None }
    }

    /// Why it is where it is, where its status does not say it.
    pub(super) fn reason(&self) -> Option<String> {
        match &self.state {
            State::Waiting { wait, .. } => match wait {
                Wait::Release(app) => Some(unreleased(app)),
                Wait::Dependencies(apps) => Some(waits_for(apps)),
                Wait::Port { .. } => self.held.as_ref().map(|held| held.holder.clone()),
                Wait::Schedule => None,
            },
            State::Backoff { reason, .. } | State::Errored { reason, .. } => Some(reason.clone()),
            State::Ending { ending, .. } => match &ending.cause {
                Cause::Itself => Some("its leader ended; what it left running is being ended".to_owned()),
                Cause::Replaced(_, detail) => Some(detail.clone()),
                Cause::Asked(_) => None,
            },
            State::Starting { watch, .. } | State::Online { watch, .. } => {
                watch.last_failure.clone().filter(|_| watch.health != Health::Healthy)
            }
            State::Draining { drain, .. } => Some(drain.said()),
            State::Spawning { .. } => self.held.as_ref().map(|held| held.holder.clone()),
            State::Resting { .. } => None,
        }
    }

    /// The next moment at which something is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Starting { watch, due: Due::Settles(at) | Due::GivesUp(at), .. } => {
                Some(watch.deadline().map_or(*at, |ask| ask.min(*at)))
            }
            State::Online { watch, .. } => watch.deadline(),
            State::Draining { drain, .. } => Some(drain.deadline()),
            State::Ending { ending, .. } => Some(ending.kill_at),
            State::Backoff { until, .. } => Some(*until),
            State::Errored { retry_at, .. } => *retry_at,
            State::Waiting { wait: Wait::Port { retry_at }, .. } => Some(*retry_at),
            State::Waiting { wait: Wait::Release(_) | Wait::Dependencies(_) | Wait::Schedule, .. }
            | State::Resting { .. }
            | State::Spawning { .. } => None,
        }
    }
}

impl Ending {
    /// What goes on after “it ”.
    pub(super) fn why(&self) -> String {
        match &self.cause {
            Cause::Itself => self.leader.as_ref().unwrap_or(&LeaderExit::UNKNOWN).to_string(),
            Cause::Asked(reason) => format!("was asked to end ({reason})"),
            Cause::Replaced(_, detail) => detail.clone(),
        }
    }

    /// What goes into the books when the tree is empty.
    pub(super) fn record(&self, at: Timestamp) -> LastExit {
        let leader = self.leader.clone().unwrap_or(LeaderExit::UNKNOWN);
        let (reason, detail) = match &self.cause {
            Cause::Asked(reason) => (*reason, None),
            Cause::Replaced(reason, detail) => (*reason, Some(detail.clone())),
            Cause::Itself if leader.oom => (ExitReason::Oom, Some(leader.to_string())),
            Cause::Itself if leader.signal.is_some() => (ExitReason::Signal, None),
            Cause::Itself => (ExitReason::Exit, None),
        };
        LastExit { code: leader.code, signal: leader.signal, reason, at, detail }
    }
}

/// `waits for api, db to be ready`
pub(super) fn waits_for(apps: &[String]) -> String {
    format!("waits for {} to be ready", apps.join(", "))
}

/// `current has no release yet`
pub(super) fn unreleased(app: &str) -> String {
    format!("{app} has no release yet")
}
