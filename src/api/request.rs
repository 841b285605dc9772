//! What is asked over the socket: bodies and query strings.

use super::words::Stream;
use serde::{Deserialize, Serialize};

/// `?wait=true` of the actions: answer when it is done, not when it is accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionQuery {
    #[serde(default)]
    pub wait: bool,
    /// Restart: stop first, even where a rollover would be possible.
    #[serde(default)]
    pub hard: bool,
}

/// `POST /v1/apps/{app}/signal`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalBody {
    /// `HUP`, `SIGHUP` or a number.
    pub signal: String,
}

/// `POST /v1/apps/{app}/activate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivateBody {
    /// Absolute, below the app's `deploy.root/releases`.
    pub release_dir: String,
    /// The directory's name when absent.
    pub release_id: Option<String>,
    /// Leave it healthy and unswapped.
    #[serde(default)]
    pub stage: bool,
    /// Stop what serves first, as there is no memory for both. Requests are held meanwhile; when it does not become
    /// healthy, what ran before is started again.
    #[serde(default)]
    pub stop_first: bool,
}

/// How an app goes over to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Beside what serves, which is replaced once it is healthy.
    Beside,
    /// Beside what serves, and left healthy and unswapped.
    Staged,
    /// In the place of what serves, which is stopped first.
    StopFirst,
}

impl ActivateBody {
    /// None: what it asks for excludes one another.
    pub fn way(&self) -> Option<Way> {
        match (self.stage, self.stop_first) {
            (false, false) => Some(Way::Beside),
            (true, false) => Some(Way::Staged),
            (false, true) => Some(Way::StopFirst),
            (true, true) => None,
        }
    }
}

/// `GET /v1/apps/{app}/exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecQuery {
    /// As in that release, which need not be active.
    pub release: Option<String>,
}

/// `POST /v1/apply`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyBody {
    #[serde(default)]
    pub dry_run: bool,
}

/// `GET /v1/apps/{app}/logs` and `GET /v1/logs`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogsQuery {
    /// The last so many lines; 15 when absent and no `since` is given, at most 100,000.
    pub lines: Option<usize>,
    #[serde(default)]
    pub follow: bool,
    pub stream: Option<Stream>,
    /// RFC 3339.
    pub since: Option<jiff::Timestamp>,
    /// RFC 3339.
    pub until: Option<jiff::Timestamp>,
    /// A regular expression over the line's bytes.
    pub grep: Option<String>,
}

/// `GET /v1/events`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    #[serde(default)]
    pub follow: bool,
    /// Only those after this sequence number.
    pub after: Option<u64>,
}
