//! What is known of each release beside its files, and the journal of its deploy: `deploys/ID/release.json`.

use super::cannot;
use super::root::Root;
use crate::api::Refusal;
use crate::linux::atomic::replace_file;
use crate::linux::identity::{Identity, read_file_as};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A larger journal is none of ours, bytes: the bridged files may be many.
const LARGEST: u64 = 32 << 20;

/// How far a release has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Half-made: its deploy goes on, or was cut off.
    Building,
    /// Ready, and the supervisor is asked to go over to it.
    Activating,
    /// It was looked at by the supervisor and waits for a swap.
    Staged,
    /// It was healthy and had the traffic.
    Live,
    /// Kept for a look until the next deploy.
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    pub state: State,
    pub by: String,
    /// When it was begun.
    pub at: Timestamp,
    /// `main of git@…`, `the directory …`.
    pub source: String,
    pub commit: Option<String>,
    /// That was made before it was begun.
    #[serde(default)]
    pub backup: Option<PathBuf>,
    /// What was begun last.
    pub step: String,
    pub steps: Vec<StepTook>,
    /// Why it failed, one sentence.
    #[serde(default)]
    pub why: Option<String>,
    /// When the supervisor was asked to go over to it: what is written into it later is the app's.
    #[serde(default)]
    pub went_live: Option<Timestamp>,
    /// Files of earlier releases that were put into it: the next one is not to take them for its own.
    #[serde(default)]
    pub bridged: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepTook {
    pub step: String,
    pub took_ms: u64,
    /// What an earlier one had made was copied instead.
    #[serde(default)]
    pub reused: bool,
}

impl StepTook {
    pub fn of(step: &str, took_ms: u64) -> StepTook {
        StepTook { step: step.to_owned(), took_ms, reused: false }
    }
}

impl Record {
    /// Durable when it returns: what it says comes before what is done.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn save(&self, root: &Root) -> Result<(), Refusal> {
        let dir = root.deploy(&self.id);
        std::fs::create_dir_all(&dir).map_err(cannot("make", &dir))?;
        let file = Record::file(&dir);
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        replace_file(&file, &text, 0o644, true).map_err(cannot("write", &file))
    }

    /// In the directory of its deploy.
    pub(super) fn file(deploy: &Path) -> PathBuf {
        deploy.join("release.json")
    }

    /// All that are there, the newest first. What cannot be read is passed over: it is nobody's release then.
    pub fn all(root: &Root) -> Vec<Record> {
        let entries = std::fs::read_dir(root.deploys()).into_iter().flatten().flatten();
        let own = Identity::own();
        let read = |dir: PathBuf| -> Option<Record> {
            // Root may look, too: a pipe in its place is nothing to wait for.
            let text = read_file_as(&own, &Record::file(&dir), LARGEST).ok()?;
            let record: Record = serde_json::from_slice(&text).ok()?;
            // One that was moved there by hand would speak for another.
            (dir.file_name()?.to_str()? == record.id).then_some(record)
        };
        let mut records: Vec<Record> = entries.filter_map(|entry| read(entry.path())).collect();
        records.sort_by(|one, other| (other.at, &other.id).cmp(&(one.at, &one.id)));
        records
    }

    /// Did every step of it go well?
    pub fn is_built(&self) -> bool {
        let is_done = || self.steps.last().is_some_and(|last| last.step == self.step);
        match self.state {
            State::Building => false,
            State::Failed => is_done(),
            State::Activating | State::Staged | State::Live => true,
        }
    }

    /// Was it ever well?
    pub fn is_good(&self) -> bool {
        match self.state {
            State::Live | State::Staged => true,
            State::Building | State::Activating | State::Failed => false,
        }
    }
}

/// The release to go back to from `active`: the newest that had the traffic, is there, is not bad, and is older.
pub fn previous<'r>(records: &'r [Record], root: &Root, active: Option<&str>, bad: &[String]) -> Option<&'r Record> {
    let current = records.iter().find(|record| Some(record.id.as_str()) == active);
    records.iter().find(|record| {
        let older = current.is_none_or(|current| (record.at, &record.id) < (current.at, &current.id));
        let fits = record.state == State::Live && !bad.contains(&record.id) && Some(record.id.as_str()) != active;
        older && fits && root.release(&record.id).is_dir()
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Of the n-th minute, with its directory.
    pub(in crate::deploy) fn made(root: &Root, id: &str, minute: i64, state: State) -> Record {
        let record = Record {
            id: id.to_owned(),
            state,
            by: "ann".to_owned(),
            at: Timestamp::from_second(minute * 60).unwrap(),
            source: "main".to_owned(),
            commit: None,
            backup: None,
            step: "npm ci".to_owned(),
            steps: Vec::new(),
            why: None,
            went_live: None,
            bridged: Vec::new(),
        };
        record.save(root).unwrap();
        std::fs::create_dir_all(root.release(id)).unwrap();
        record
    }

    #[test]
    fn records_are_found_again_in_the_order_of_their_making() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let (two, one) = (made(&root, "a", 2, State::Failed), made(&root, "b", 1, State::Live));
        std::fs::create_dir(root.deploys().join("empty")).unwrap();
        std::fs::create_dir(root.deploys().join("moved")).unwrap();
        std::fs::copy(root.deploy("b").join("release.json"), root.deploy("moved").join("release.json")).unwrap();
        assert_eq!(Record::all(&root), [two, one]);
    }

    #[test]
    fn a_release_is_built_when_its_last_step_went_well() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = made(&Root::new(dir.path()), "a", 1, State::Failed);
        assert!(!record.is_built());
        record.steps.push(StepTook::of(&record.step, 1));
        assert!(record.is_built(), "it failed later, by its probe");
        record.state = State::Building;
        assert!(!record.is_built());
    }

    #[test]
    fn one_goes_back_to_the_newest_good_release_before() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        for (id, minute, state) in [
            ("1", 1, State::Live),
            ("2", 2, State::Live),
            ("3", 3, State::Failed),
            ("4", 4, State::Staged),
            ("5", 5, State::Live),
            ("6", 6, State::Live),
        ] {
            made(&root, id, minute, state);
        }
        let records = Record::all(&root);
        let back =
            |active: &str, bad: &[String]| previous(&records, &root, Some(active), bad).map(|record| record.id.clone());
        assert_eq!(back("6", &[]).as_deref(), Some("5"));
        assert_eq!(back("6", &["5".to_owned()]).as_deref(), Some("2"));
        assert_eq!(back("2", &[]).as_deref(), Some("1"));
        assert_eq!(back("1", &[]), None);
        std::fs::remove_dir(root.release("5")).unwrap();
        assert_eq!(back("6", &[]).as_deref(), Some("2"));
    }
}
