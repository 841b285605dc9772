//! What the socket answers to an action: results, plans, log lines, and refusals as sentences.

use super::deploy::SharedLink;
use super::status::OutputLine;
use super::words::{Health, Stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The answer to an action on one or more apps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionReply {
    pub results: Vec<ActionResult>,
}

/// What became of one app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionResult {
    pub app: String,
    /// One sentence: `restarted in 1.2 s, pid 4711`, `was already stopped`.
    pub message: String,
    /// Why it failed, when it did.
    pub error: Option<Refusal>,
    /// Its last output, when it failed.
    #[serde(default)]
    pub last_lines: Vec<OutputLine>,
}

/// A request that was not done: what, why, and the next step. `{"error": …}` on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: RefusalCode,
    pub message: String,
    /// What to type or do next.
    pub hint: Option<String>,
}

/// The body of every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: Refusal,
    /// Each app's own result, where the request was about several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<ActionResult>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// It was tried and failed.
    Failed,
    /// The request itself makes no sense.
    Usage,
    /// The configuration has mistakes.
    BadConfig,
    /// Nothing answers on the socket (made by the client).
    NoSupervisor,
    NoSuchApp,
    /// No such route.
    NotFound,
    NotAllowed,
    /// Something else is under way.
    Busy,
    TooLarge,
    /// Too many connections.
    Overloaded,
}

impl RefusalCode {
    /// The HTTP status that carries it.
    pub fn http_status(self) -> u16 {
        match self {
            RefusalCode::Failed => 500,
            RefusalCode::Usage => 400,
            RefusalCode::BadConfig => 422,
            RefusalCode::NoSupervisor => 502,
            RefusalCode::NoSuchApp | RefusalCode::NotFound => 404,
            RefusalCode::NotAllowed => 403,
            RefusalCode::Busy => 409,
            RefusalCode::TooLarge => 413,
            RefusalCode::Overloaded => 503,
        }
    }

    /// infissi-ctl's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            RefusalCode::Failed | RefusalCode::NotFound | RefusalCode::TooLarge => 1,
            RefusalCode::Usage | RefusalCode::BadConfig => 2,
            RefusalCode::NoSupervisor => 3,
            RefusalCode::NoSuchApp => 4,
            RefusalCode::NotAllowed | RefusalCode::Busy | RefusalCode::Overloaded => 5,
        }
    }
}

impl Refusal {
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into(), hint: None }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Refusal {
        self.hint = Some(hint.into());
        self
    }
}

/// What `apply` would do, or did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub steps: Vec<PlanStep>,
    /// Changes of `[supervisor]` that take a new start of the supervisor.
    pub needs_supervisor_restart: Vec<String>,
}

/// What happens to one app, and which keys are the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    pub app: String,
    pub action: PlanAction,
    /// Key paths that differ: `env.NODE_ENV`, `max_memory_restart`.
    pub changed: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanAction {
    /// A new app, started.
    Start,
    /// A new app that is not started (`autostart = false`).
    Add,
    /// An app that is no longer there: stopped and forgotten.
    Stop,
    /// Its process has to be a new one: the other slot takes over before it ends.
    Rollover,
    /// Its process has to be a new one, and ends before that is started.
    Restart,
    /// The running process is not touched.
    ChangeInPlace,
}

/// The answer to `apply`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApplyReply {
    pub plan: Plan,
    pub dry_run: bool,
    /// Of a dry run: why this would be refused now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What became of each, when it was done.
    pub results: Vec<ActionResult>,
}

/// `POST /v1/apps/{app}/probe`: one probe of each instance, now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeReply {
    pub app: String,
    pub health: Health,
    /// What the probe answered: `200 OK in 3 ms`, `connection refused`.
    pub message: String,
    pub took_ms: u64,
}

/// `GET /v1/apps/{app}/exec`: what it takes to run a command as an instance of the app would. Given only to those
/// who may see the environment's values: admins and the app's own user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecPlan {
    /// Absolute.
    pub cwd: String,
    pub user: String,
    pub uid: u32,
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The whole environment, in order.
    pub env: Vec<(String, String)>,
}

/// `GET /v1/apps/{app}/backup`: what belongs to a backup of the app, and as whom it is made. Given to those who may
/// have an [`ExecPlan`], with which its commands are run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupPlan {
    pub app: String,
    pub user: String,
    pub uid: u32,
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// Absolute: what `include` and `exclude` are relative to.
    pub base: String,
    /// Absolute: the directory of its releases, if it has any; `base` is that, then.
    #[serde(default)]
    pub root: Option<String>,
    /// What its releases share and `base` does not hold: in no backup.
    #[serde(default)]
    pub outside: Vec<SharedLink>,
    /// Absolute: where the backups go.
    pub dir: String,
    /// Paths and globs, never empty.
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    /// Argument vectors, `{out}` not yet put in.
    pub before: Vec<Vec<String>>,
    /// At least 1.
    pub keep: u32,
}

/// `POST /v1/upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeReply {
    /// Names the upgrade that begins now: `GET /v1/supervisor` tells how it ended.
    pub id: u64,
    /// Versions: of what runs, and of what takes over.
    pub from: String,
    pub to: String,
    /// Absolute.
    pub program: String,
}

/// One line of `GET …/logs`, NDJSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogRecord {
    Line {
        app: String,
        stream: Stream,
        /// None where the file carries no timestamps.
        at: Option<Timestamp>,
        /// Lossily decoded where it is not UTF-8.
        line: String,
    },
    /// The reader was too slow: so many lines of this app were left out here.
    Dropped { app: String, dropped: u64 },
}

impl fmt::Display for PlanAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PlanAction::Start => "start",
            PlanAction::Add => "add",
            PlanAction::Stop => "stop",
            PlanAction::Rollover => "rollover",
            PlanAction::Restart => "restart",
            PlanAction::ChangeInPlace => "change in place",
        })
    }
}
