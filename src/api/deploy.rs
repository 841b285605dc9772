//! What a deploy has to know of its app: where its releases are, which of them run, how the next one is made.

use super::status::{OtherPhase, OtherSlot};
use super::words::Slot;
use jiff::Timestamp;
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
    /// The id of the one in the active slot; while another one is started in its place, still of that one.
    pub active: Option<String>,
    /// The one that is started in the place of the active one, and is not up yet.
    #[serde(default)]
    pub trying: Option<String>,
    /// What goes on in the other slot.
    pub other: Option<OtherSlot>,
    /// Those that failed after they had the traffic.
    pub bad: Vec<String>,
    /// Those that any process runs from, one of an app with `release_of` or one that is still ending, too.
    #[serde(default)]
    pub in_use: Vec<String>,
    /// Why the release that was to be active last is not.
    #[serde(default)]
    pub setback: Option<Setback>,
}

/// A release that did not become active, or did not stay it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setback {
    pub release: String,
    /// Goes on after “it ”.
    pub why: String,
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
    /// What a second slot beside the active one asks of the machine; none where there is none to be: nothing runs, or
    /// it may not run twice.
    #[serde(default)]
    pub memory: Option<MemoryPlan>,
}

/// A deploy that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploying {
    pub by: String,
    pub pid: u32,
    pub since: Timestamp,
    /// Once there is one.
    pub release: Option<String>,
    /// What it does now.
    pub step: String,
}

/// The deploy that was begun last and is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDeploy {
    pub by: String,
    pub began: Timestamp,
    /// None: nobody was there to see it.
    pub ended: Option<Timestamp>,
    pub end: DeployEnd,
    /// None where it came to none.
    pub release: Option<String>,
    /// What it did last, where it did not come to its end.
    pub step: Option<String>,
    /// One sentence.
    pub why: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployEnd {
    /// It is live, or was until another took its place.
    Deployed,
    Staged,
    /// Nobody follows it any more, and the supervisor goes on with it.
    Left,
    Failed,
    /// It had the traffic or the place of the one before, and failed: that one has it again.
    FlippedBack,
    /// Somebody wanted it to end, and it did before anything was live.
    Interrupted,
    /// Its process ended before it was asked for, and before anything was live.
    CutOff,
}

impl LastDeploy {
    /// What became of it by the supervisor's own word, which counts from when it was asked to go over to the release.
    #[must_use]
    pub fn told_by(self, known: &Releases) -> LastDeploy {
        let is = |release: Option<&String>| self.release.is_some() && release == self.release.as_ref();
        let was_left = matches!(self.end, DeployEnd::Left | DeployEnd::CutOff);
        if is(known.trying.as_ref()) && was_left {
            return LastDeploy { end: DeployEnd::Left, ..self };
        }
        let setback = known.setback.as_ref().filter(|setback| is(Some(&setback.release)));
        if let Some(setback) = setback.filter(|_| !is(known.active.as_ref())) {
            let had_traffic = known.bad.contains(&setback.release);
            let end = if had_traffic { DeployEnd::FlippedBack } else { DeployEnd::Failed };
            let why = Some(format!("it {}", setback.why));
            return LastDeploy { end, why, ..self };
        }
        let other = known.other.as_ref().filter(|other| is(other.release.as_ref())).map(|other| other.phase);
        let end = match other {
            _ if is(known.active.as_ref()) => DeployEnd::Deployed,
            Some(OtherPhase::Staged) if was_left => DeployEnd::Staged,
            Some(OtherPhase::Starting) if was_left => DeployEnd::Left,
            Some(_) | None => self.end,
        };
        LastDeploy { end, ..self }
    }
}

/// Figures in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// What the machine can still give, or the narrowest of the cgroups that the app is in; with what the other slot
    /// gives back.
    pub available: u64,
    /// What the active slot uses.
    pub used: u64,
    /// What another slot is reckoned to need.
    pub needed: u64,
    /// Does `max_memory_restart` say how much it may use at all?
    #[serde(default)]
    pub is_limited: bool,
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
        [self.active.as_deref(), self.trying.as_deref(), other].contains(&Some(id))
            || self.in_use.iter().any(|used| used == id)
    }

    /// The release that is being started or is staged; a restart of the active one is none.
    pub fn rising(&self) -> Option<&str> {
        let other = self.other.as_ref();
        let other = other.filter(|other| matches!(other.phase, OtherPhase::Starting | OtherPhase::Staged));
        let beside = other.and_then(|other| other.release.as_deref()).filter(|id| self.active.as_deref() != Some(id));
        self.trying.as_deref().or(beside)
    }
}
