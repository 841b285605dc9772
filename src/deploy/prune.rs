//! What goes: releases that were not finished or failed, before a deploy; old good ones, after it. Never one that runs.

use super::last::ACTIVATION;
use super::record::{Record, State};
use super::root::Root;
use super::step::{FETCH, Workshop};
use super::{cannot, why};
use crate::api::{Refusal, Releases};
use std::io;

/// What became of a deploy that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// Its deploy was cut off at this step; it is removed.
    Unfinished { id: String, by: String, step: String },
    /// It had failed, and has been there for a look.
    Failed { id: String },
    /// Nobody waited for its end, and it is well.
    Live { id: String },
    /// It could not be removed: a sentence.
    Kept { id: String, why: String },
}

/// Clears up what earlier deploys have left; to be called with the lock held.
///
/// # Errors
/// A journal that cannot be written.
pub fn recover(root: &Root, known: &Releases) -> Result<Vec<Recovered>, Refusal> {
    let mut recovered = Vec::new();
    Workshop::end_leftovers(root, FETCH);
    unlock_mirror(root);
    for mut record in Record::all(root) {
        let id = record.id.clone();
        match record.state {
            State::Live => {}
            // Swapped to, or activated although it had been given up.
            State::Staged | State::Building | State::Activating | State::Failed
                if known.active.as_ref() == Some(&id) =>
            {
                record.state = State::Live;
                record.save(root)?;
                recovered.push(Recovered::Live { id });
            }
            State::Building | State::Activating | State::Failed if known.runs(&id) => {}
            State::Staged => {}
            State::Building | State::Activating => {
                // Its steps may have outlived it, and would go on writing.
                Workshop::end_leftovers(root, &id);
                let is_ready = record.state == State::Activating;
                let step = if is_ready { ACTIVATION.to_owned() } else { record.step.clone() };
                let by = record.by.clone();
                recovered.push(removed(root, &id, Recovered::Unfinished { id: id.clone(), by, step }));
            }
            State::Failed => recovered.push(removed(root, &id, Recovered::Failed { id: id.clone() })),
        }
    }
    Ok(recovered)
}

/// A git that was killed leaves the lock files of its mirror, and the next one would refuse to work. Nobody else works
/// there: the deploy's lock is held.
fn unlock_mirror(root: &Root) {
    let mut open = vec![root.mirror()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            if kind.as_ref().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != "objects" {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "lock") {
                let _git_says_so = std::fs::remove_file(path);
            }
        }
    }
}

fn removed(root: &Root, id: &str, done: Recovered) -> Recovered {
    match remove(root, id) {
        Ok(()) => done,
        Err(refusal) => Recovered::Kept { id: id.to_owned(), why: refusal.message },
    }
}

/// Keeps the newest good releases, as many as `known.keep`, and what runs; bad ones have been there for a look, and
/// staged ones for a swap. The ids
/// of those that went, and why one could not.
pub fn prune(root: &Root, known: &Releases) -> (Vec<String>, Vec<String>) {
    let records: Vec<Record> = Record::all(root).into_iter().filter(Record::is_good).collect();
    let (running, rest): (Vec<&Record>, Vec<&Record>) = records.iter().partition(|record| known.runs(&record.id));
    // One that was staged and never had the traffic is none to go back to.
    let is_of_no_use = |record: &&Record| record.state == State::Staged || known.bad.contains(&record.id);
    let (bad, good): (Vec<&Record>, Vec<&Record>) = rest.into_iter().partition(is_of_no_use);
    let old = good.into_iter().skip((known.keep as usize).saturating_sub(running.len())).chain(bad);
    let (mut gone, mut complaints) = (Vec::new(), Vec::new());
    for Record { id, .. } in old {
        match remove(root, id) {
            Ok(()) => gone.push(id.clone()),
            Err(refusal) => complaints.push(refusal.message),
        }
    }
    (gone, complaints)
}

/// Removes a release with its log. It is out of `releases` at once, so that none is ever found half removed.
///
/// # Errors
/// Something in it cannot be removed.
pub fn remove(root: &Root, id: &str) -> Result<(), Refusal> {
    let (release, deploy) = (root.release(id), root.deploy(id));
    let gone = deploy.join("removed");
    match std::fs::rename(&release, &gone) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Without a directory of its deploy to go to it is removed where it is.
        Err(_) => std::fs::remove_dir_all(&release).map_err(cannot("remove", &release))?,
    }
    match std::fs::remove_dir_all(&deploy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(super::failed(format!("cannot remove {}: {}", deploy.display(), why(&error))))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{OtherPhase, OtherSlot, Slot};
    use crate::deploy::record::tests::made;

    fn known(root: &Root, active: &str, other: Option<&str>, keep: u32) -> Releases {
        let other = other.map(|release| OtherSlot {
            slot: Slot::Green,
            phase: OtherPhase::Draining,
            release: Some(release.to_owned()),
            by: "ann".to_owned(),
            since: jiff::Timestamp::UNIX_EPOCH,
            until: None,
            in_flight: None,
        });
        Releases {
            app: "web".to_owned(),
            root: root.dir().display().to_string(),
            keep,
            slot: Slot::Blue,
            active: Some(active.to_owned()),
            other,
            bad: Vec::new(),
            in_use: Vec::new(),
            setback: None,
        }
    }

    fn left(root: &Root) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(root.dir().join("releases"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_good_ones_stay_and_what_runs_and_what_was_made_by_hand() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        for minute in 1..=6 {
            made(&root, &minute.to_string(), minute, State::Live);
        }
        std::fs::create_dir(root.release("by-hand")).unwrap();
        // Gone back to an old one, and another still drains.
        let known = Releases { bad: vec!["6".to_owned()], ..known(&root, "1", Some("2"), 3) };
        let (gone, complaints) = prune(&root, &known);
        assert_eq!((gone.join(" "), complaints), ("4 3 6".to_owned(), Vec::new()));
        assert_eq!(left(&root), ["1", "2", "5", "by-hand"]);
        assert!(!root.deploy("4").exists());
    }

    #[test]
    fn one_that_a_worker_still_runs_from_stays_however_old_or_bad_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        for minute in 1..=5 {
            made(&root, &minute.to_string(), minute, State::Live);
        }
        let of = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        let known = Releases { bad: of(&["2"]), in_use: of(&["1", "2", "5"]), ..known(&root, "5", None, 1) };
        let (gone, complaints) = prune(&root, &known);
        assert_eq!((gone.join(" "), complaints), ("4 3".to_owned(), Vec::new()));
        assert_eq!(left(&root), ["1", "2", "5"]);
    }

    #[test]
    fn a_cut_off_deploy_leaves_nothing_and_one_that_nobody_waited_for_counts() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        for (id, minute, state) in [
            ("good", 1, State::Live),
            ("live", 2, State::Activating),
            ("half", 3, State::Building),
            ("bad", 4, State::Failed),
            ("rising", 5, State::Activating),
            ("dead", 6, State::Activating),
        ] {
            made(&root, id, minute, state);
        }
        let recovered = recover(&root, &known(&root, "live", Some("rising"), 3)).unwrap();
        let cut_off = |id: &str, step: &str| Recovered::Unfinished {
            id: id.to_owned(),
            by: "ann".to_owned(),
            step: step.to_owned(),
        };
        assert_eq!(
            recovered,
            [
                cut_off("dead", ACTIVATION),
                Recovered::Failed { id: "bad".to_owned() },
                cut_off("half", "npm ci"),
                Recovered::Live { id: "live".to_owned() },
            ]
        );
        assert_eq!(left(&root), ["good", "live", "rising"]);
        assert_eq!(Record::all(&root).iter().find(|record| record.id == "live").unwrap().state, State::Live);
    }
}
