//! How the last deploy of a root ended: `deploys/last.json`. It is written when a deploy begins, as it will be if the
//! process is killed, and again at its end; what lies between is in the journal of its release.

use super::lock::Holder;
use super::record::{Record, State};
use super::root::Root;
use crate::api::{DeployEnd, Deploying, LastDeploy};
use crate::linux::atomic::replace_file;
use crate::linux::identity::{Identity, read_file_as};
use jiff::Timestamp;
use std::path::PathBuf;

/// A longer file is none of ours, bytes.
const LARGEST: u64 = 64 << 10;
/// The step at which the supervisor takes over.
pub const ACTIVATION: &str = "its activation";

impl From<Holder> for Deploying {
    fn from(holder: Holder) -> Deploying {
        let Holder { pid, by, since, id, step, .. } = holder;
        Deploying { by, pid, since, release: id, step }
    }
}

/// One is begun, with the lock held.
pub fn begin_last(root: &Root, by: &str, now: Timestamp) -> LastDeploy {
    let by = by.to_owned();
    let end = DeployEnd::CutOff;
    let last = LastDeploy { by, began: now, ended: None, end, release: None, step: None, why: None };
    save(root, &last);
    last
}

/// It is over. `is_interrupted`: it was asked to end; `why`: it failed, in a sentence. What its journal says goes before.
pub fn end_last(root: &Root, last: LastDeploy, is_interrupted: bool, why: Option<String>, now: Timestamp) {
    let record = record_of(root, &last);
    let end = match record.as_ref().map(|record| record.state) {
        Some(State::Live) => DeployEnd::Deployed,
        Some(State::Staged) => DeployEnd::Staged,
        Some(State::Activating) => DeployEnd::Left,
        Some(State::Failed) => DeployEnd::Failed,
        Some(State::Building) | None if is_interrupted => DeployEnd::Interrupted,
        Some(State::Building) | None => DeployEnd::Failed,
    };
    let why = record.as_ref().and_then(|record| record.why.clone()).or(why);
    save(root, &LastDeploy { ended: Some(now), end, why, ..with(last, record) });
}

/// None: there was none, or it is not for us to see.
pub fn last(root: &Root) -> Option<LastDeploy> {
    let text = read_file_as(&Identity::own(), &file(root), LARGEST).ok()?;
    let last: LastDeploy = serde_json::from_slice(&text).ok()?;
    if last.ended.is_some() {
        return Some(last);
    }
    let record = record_of(root, &last);
    Some(with(last, record))
}

fn with(last: LastDeploy, record: Option<Record>) -> LastDeploy {
    let Some(record) = record else { return last };
    let step = match record.state {
        State::Live | State::Staged => None,
        State::Building | State::Activating | State::Failed if record.is_built() => Some(ACTIVATION.to_owned()),
        State::Building | State::Activating | State::Failed => Some(record.step),
    };
    LastDeploy { release: Some(record.id), step, ..last }
}

/// The journal that it has begun, if it came so far.
fn record_of(root: &Root, last: &LastDeploy) -> Option<Record> {
    Record::all(root).into_iter().next().filter(|record| record.at >= last.began)
}

/// A courtesy: a full disk must not end a deploy here.
fn save(root: &Root, last: &LastDeploy) {
    let Ok(text) = serde_json::to_vec_pretty(last) else { return };
    let _untold = replace_file(&file(root), &text, 0o644, false);
}

fn file(root: &Root) -> PathBuf {
    root.deploys().join("last.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{OtherPhase, OtherSlot, Releases, Setback, Slot};
    use crate::deploy::record::tests::made;

    fn minute(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    #[test]
    fn one_that_is_killed_was_cut_off_where_its_journal_says() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        assert_eq!(last(&root), None);
        made(&root, "before", 1, State::Live);
        begin_last(&root, "ann", minute(2));
        let told = last(&root).unwrap();
        assert_eq!((told.end, told.release, told.step), (DeployEnd::CutOff, None, None), "it made none");
        made(&root, "two", 3, State::Building);
        let told = last(&root).unwrap();
        assert_eq!((told.release.as_deref(), told.step.as_deref()), (Some("two"), Some("npm ci")));
        made(&root, "two", 3, State::Activating);
        assert_eq!(last(&root).unwrap().step.as_deref(), Some(ACTIVATION));
    }

    #[test]
    fn each_end_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        root.prepare().unwrap();
        let ended = |state: Option<State>, is_interrupted: bool| {
            let begun = begin_last(&root, "ann", minute(2));
            if let Some(state) = state {
                made(&root, "two", 3, state);
            }
            end_last(&root, begun, is_interrupted, Some("it is so".to_owned()), minute(4));
            let told = last(&root).unwrap();
            assert_eq!(told.ended, Some(minute(4)));
            told.end
        };
        assert_eq!(ended(None, true), DeployEnd::Interrupted);
        assert_eq!(ended(None, false), DeployEnd::Failed);
        assert_eq!(ended(Some(State::Failed), false), DeployEnd::Failed);
        assert_eq!(ended(Some(State::Activating), true), DeployEnd::Left);
        assert_eq!(ended(Some(State::Staged), false), DeployEnd::Staged);
        assert_eq!(ended(Some(State::Live), false), DeployEnd::Deployed);
    }

    #[test]
    fn from_its_activation_on_the_supervisor_knows_better() {
        let known = |active: &str, other: Option<OtherPhase>, bad: &[&str], why: Option<&str>| Releases {
            app: "web".to_owned(),
            root: "/nowhere".to_owned(),
            keep: 3,
            slot: Slot::Blue,
            active: Some(active.to_owned()),
            trying: None,
            other: other.map(|phase| OtherSlot {
                slot: Slot::Green,
                phase,
                release: Some("two".to_owned()),
                by: "ann".to_owned(),
                since: minute(1),
                until: None,
                in_flight: None,
            }),
            bad: bad.iter().map(|id| (*id).to_owned()).collect(),
            in_use: Vec::new(),
            setback: why.map(|why| Setback { release: "two".to_owned(), why: why.to_owned() }),
        };
        let told = |end: DeployEnd, known: Releases| {
            let (release, step, why) = (Some("two".to_owned()), Some(ACTIVATION.to_owned()), None);
            let last = LastDeploy { by: "ann".to_owned(), began: minute(2), ended: None, end, release, step, why };
            last.told_by(&known).end
        };
        let (left, cut) = (DeployEnd::Left, DeployEnd::CutOff);
        assert_eq!(told(cut, known("two", None, &[], None)), DeployEnd::Deployed);
        assert_eq!(told(left, known("two", None, &[], Some("failed before"))), DeployEnd::Deployed);
        assert_eq!(told(cut, known("one", Some(OtherPhase::Starting), &[], None)), left);
        assert_eq!(told(cut, known("one", Some(OtherPhase::Staged), &[], None)), DeployEnd::Staged);
        assert_eq!(told(cut, known("one", None, &[], Some("exited"))), DeployEnd::Failed);
        assert_eq!(told(DeployEnd::Deployed, known("one", None, &["two"], Some("exited"))), DeployEnd::FlippedBack);
        assert_eq!(
            told(DeployEnd::Deployed, known("one", None, &[], None)),
            DeployEnd::Deployed,
            "rolled back by hand"
        );
        assert_eq!(told(cut, known("one", None, &[], None)), cut);
    }
}
