//! What an app looks like from outside: the rows of `list`, the page of `show`, the supervisor itself.

use super::deploy::{Deploying, LastDeploy};
use super::words::{ExitReason, Health, Slot, Status, Stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One app, as `list --json` and `GET /v1/apps` give it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    pub name: String,
    pub aliases: Vec<String>,
    pub status: Status,
    pub health: Health,
    /// The public port; none for a worker.
    pub port: Option<u16>,
    pub slot: Slot,
    /// The leader of the active slot.
    pub pid: Option<i32>,
    /// Milliseconds since the active slot became online.
    pub uptime_ms: Option<u64>,
    /// Unplanned restarts since the app was first started, or since `reset`.
    pub restarts: u64,
    /// Of one core, over the last seconds; may pass 100.
    pub cpu_percent: Option<f64>,
    /// The whole process tree, in bytes.
    pub memory_bytes: Option<u64>,
    /// `max_memory_restart`, in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Of the active slot.
    pub release: Option<String>,
    /// What goes on with its other slot.
    #[serde(default)]
    pub other: Option<OtherSlot>,
    /// The deploy that goes on.
    #[serde(default)]
    pub deploying: Option<Deploying>,
    /// What goes through the proxy; none where the app binds its port itself.
    #[serde(default)]
    pub traffic: Option<Traffic>,
    /// Swaps of the active slot since the supervisor's start.
    #[serde(default)]
    pub swaps: u64,
    /// From when the last instance to drain got no more requests until it was asked to end, milliseconds.
    #[serde(default)]
    pub last_drain_ms: Option<u64>,
    /// Why it is in this status, where the status alone does not say it: who holds its port, what it waits
    /// for, why it gave up.
    pub reason: Option<String>,
    /// When a waiting or backing-off app goes on.
    pub next_at: Option<Timestamp>,
    pub instances: Vec<InstanceStatus>,
    pub last_exit: Option<LastExit>,
}

/// One process tree of an app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InstanceStatus {
    pub slot: Slot,
    pub index: u16,
    pub pid: Option<i32>,
    pub port: Option<u16>,
    pub status: Status,
    pub health: Health,
    pub memory_bytes: Option<u64>,
    pub cpu_percent: Option<f64>,
    pub uptime_ms: Option<u64>,
    /// Requests under way through the proxy; none where the app binds its port itself.
    pub in_flight: Option<u64>,
}

/// The slot that is not active, while it is anything but empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OtherSlot {
    pub slot: Slot,
    pub phase: OtherPhase,
    pub release: Option<String>,
    /// Who caused it: a user's name, or `supervisor`.
    pub by: String,
    pub since: Timestamp,
    /// While it is warm: until when.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Requests and streams that it still has, while it drains.
    pub in_flight: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OtherPhase {
    /// A rollover before its swap.
    Starting,
    /// Healthy, waits for `swap`.
    Staged,
    /// It was active and is kept, so that going back is instant.
    Warm,
    /// It was active and finishes what it has claimed.
    Draining,
    /// It is being ended.
    Stopping,
}

/// What goes through the proxy. Counts are since the supervisor's start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Open connections of clients, now.
    pub connections: u64,
    /// Requests that wait for an answer or receive one, now.
    pub in_flight: u64,
    /// WebSockets, other upgrades and event streams, now.
    pub streams: u64,
    /// Requests that wait because nobody can answer, now.
    pub held: u64,
    pub requests: u64,
    /// Answers by class: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub answers: [u64; 5],
    /// Refused by the proxy itself: malformed, too large, too slow, over a limit.
    pub refused: u64,
    pub hold_timeouts: u64,
    /// Connections that an instance refused, reset or ended before an answer was complete.
    pub upstream_errors: u64,
    pub retries: u64,
    /// Upper bounds of the histogram's buckets, microseconds; the last bucket has none.
    pub latency_bounds_us: Vec<u64>,
    /// Requests in each bucket, not cumulative; one more than bounds.
    pub latency: Vec<u64>,
    pub latency_sum_us: u64,
    /// Estimated from the histogram, microseconds.
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastExit {
    /// The exit status, 0 to 255; none when a signal ended it or it is not known.
    pub code: Option<i32>,
    /// The signal's name, as `SIGTERM`.
    pub signal: Option<String>,
    pub reason: ExitReason,
    pub at: Timestamp,
    /// One sentence more, where there is one: which probe failed how, why the spawn failed.
    pub detail: Option<String>,
}

/// Everything about one app: `show` and `GET /v1/apps/{app}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppDetail {
    #[serde(flatten)]
    pub status: AppStatus,
    pub command: Vec<String>,
    pub cwd: String,
    /// The user it runs as.
    pub user: Option<String>,
    /// Names, never values, of the environment that an instance gets.
    pub env_names: Vec<String>,
    pub log_files: LogFiles,
    /// Its public addresses, which the proxy serves; none where the app binds its port itself or has no port.
    #[serde(default)]
    pub listen: Vec<String>,
    pub depends_on: Vec<String>,
    /// The app from whose live release it runs.
    #[serde(default)]
    pub release_of: Option<String>,
    /// The probe in words: `GET /api/health`, `tcp`, `its port`.
    pub probe: String,
    pub schedule: Option<String>,
    /// What last went wrong with the probe.
    pub probe_failure: Option<String>,
    /// The newest first, at most 10.
    pub exits: Vec<LastExit>,
    /// The last output lines of the run that ended last, oldest first.
    pub last_lines: Vec<OutputLine>,
    /// The process tree now: pid, parent, command, memory.
    pub processes: Vec<ProcessRow>,
    /// `memory_max`, in bytes.
    #[serde(default)]
    pub memory_max_bytes: Option<u64>,
    /// Why that is not in force.
    #[serde(default)]
    pub no_memory_max: Option<String>,
    /// Lines dropped because the disk did not take them, since start.
    pub log_lines_dropped: u64,
    #[serde(default)]
    pub last_deploy: Option<LastDeploy>,
    /// What to type next, where something is wrong.
    pub next_steps: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFiles {
    pub combined: String,
    pub out: String,
    pub error: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRow {
    pub pid: i32,
    pub parent: i32,
    pub command: String,
    pub memory_bytes: u64,
}

/// One line of output, lossily decoded where it is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputLine {
    pub stream: Stream,
    pub line: String,
}

/// `GET /v1/overview`: what `list` shows, in one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Overview {
    pub apps: Vec<AppStatus>,
    pub config: ConfigStatus,
    /// As in [`SupervisorStatus`].
    pub warnings: Vec<String>,
}

/// `GET /v1/supervisor`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SupervisorStatus {
    pub version: String,
    pub pid: i32,
    pub uptime_ms: u64,
    /// Its own proportional set size, in bytes.
    pub memory_bytes: u64,
    pub config: ConfigStatus,
    pub socket: String,
    pub state_dir: String,
    pub log_dir: String,
    pub host: HostStatus,
    /// The first and the last of the private ports of instances behind the proxy.
    #[serde(default)]
    pub port_range: Option<[u16; 2]>,
    /// The proxy worker, once an app needed one.
    #[serde(default)]
    pub worker: Option<WorkerStatus>,
    /// Where its program is.
    #[serde(default)]
    pub program: Option<ProgramStatus>,
    /// How the last upgrade ended, in the life of this process.
    #[serde(default)]
    pub upgrade: Option<UpgradeStatus>,
    /// How process trees are kept: `cgroup` or `session`.
    pub trees: String,
    /// What the operator should know: state not written, no cgroup, running as root.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramStatus {
    /// Absolute: where it was started from.
    pub path: String,
    /// Another build than the one that runs is there by now, or none.
    pub replaced: bool,
}

/// How one program took the place of another, or did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeStatus {
    /// As in [`UpgradeReply`](super::UpgradeReply).
    pub id: u64,
    /// Versions.
    pub from: String,
    pub to: String,
    pub at: Timestamp,
    /// So long nobody decided; what runs went on.
    pub took_ms: u64,
    /// Why the new one gave up, where the old one goes on.
    pub failed: Option<String>,
}

/// The process that has the public ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    pub pid: i32,
    pub version: String,
    /// Its proportional set size in bytes, or what is private to it where that may not be seen.
    pub memory_bytes: u64,
    /// Open connections of clients.
    pub connections: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigStatus {
    pub path: String,
    pub applied_at: Timestamp,
    /// The files differ from what was applied.
    pub changed: bool,
    /// The mistakes, when the supervisor started on a faulty file and runs the last applied configuration.
    pub faulty: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    pub memory_total_bytes: u64,
    pub memory_available_bytes: u64,
    pub load_1: f64,
    pub cpus: usize,
}
