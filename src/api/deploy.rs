//! What a deploy has to know of its app: where its releases are, which of them run, how the next one is made.

use super::status::OtherSlot;
use super::words::Slot;
use serde::{Deserialize, Serialize};

/// `GET /v1/apps/{app}/releases`: the directory of the releases, and which of them the supervisor knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Releases {
    /// The app's own name, however it was named.
    pub app: String,
    /// Absolute.
    pub root: String,
    /// How many good ones are kept.
    pub keep: u32,
    pub slot: Slot,
    /// The id of the one in the active slot.
    pub active: Option<String>,
    /// What goes on in the other slot.
    pub other: Option<OtherSlot>,
    /// Those that failed after they had the traffic.
    pub bad: Vec<String>,
    /// Those that any process runs from, one of an app with `release_of` or one that is still ending, too.
    #[serde(default)]
    pub in_use: Vec<String>,
}

/// `GET /v1/apps/{app}/deploy`: how a release is made. Given to those who may change the app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployPlan {
    #[serde(flatten)]
    pub releases: Releases,
    pub repo: Option<String>,
    pub branch: Option<String>,
    pub shared: Vec<SharedLink>,
    /// Argument vectors; none: what the lock file in the release says.
    pub steps: Option<Vec<Vec<String>>>,
    pub migrate: Vec<Vec<String>>,
    /// Directories within a release.
    pub bridge: Vec<String>,
    pub warm_ms: u64,
    pub min_free_bytes: u64,
    /// Is a backup made before anything else?
    pub backup: bool,
    /// Where the app runs as long as it has no release, if its `cwd` says so.
    #[serde(default)]
    pub plain_dir: Option<String>,
    /// As whom the app runs, as far as that is known before there is a release.
    pub user: Option<String>,
    pub uid: Option<u32>,
}

/// A path within a release and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedLink {
    pub path: String,
    /// Absolute.
    pub target: String,
}

impl Releases {
    /// Is it in one of the slots, or does anything run from it?
    pub fn runs(&self, id: &str) -> bool {
        let other = self.other.as_ref().and_then(|other| other.release.as_deref());
        self.active.as_deref() == Some(id) || other == Some(id) || self.in_use.iter().any(|used| used == id)
    }
}
