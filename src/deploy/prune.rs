//! What goes: releases that were not finished or failed, before a deploy; old good ones, after it. Never one that runs.

use super::dependencies::clear_half;
use super::last::ACTIVATION;
use super::record::{Record, State};
use super::root::Root;
use super::step::{FETCH, Workshop};
use super::written::{Written, written};
use super::{cannot, why};
use crate::api::{Refusal, Releases};
use crate::linux::proc;
use jiff::Timestamp;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A command line is told so far, bytes.
const LONGEST_COMMAND: usize = 80;

/// What became of a deploy that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// Its deploy was cut off at this step; it is removed.
    Unfinished { id: String, by: String, step: String },
    /// It had failed, and has been there for a look.
    Failed { id: String },
    /// Nobody waited for its end, and it is well.
    Live { id: String },
    /// It is not removed: a sentence.
    Kept { id: String, why: String },
}

/// What the supervisor says at this moment, asked right before a release goes: the deploy's lock keeps nobody from going
/// back to it. None: it does not answer.
type Ask<'a> = &'a mut dyn FnMut() -> Option<Releases>;

/// Clears up what earlier deploys have left; to be called with the lock held.
///
/// # Errors
/// A journal that cannot be written.
pub fn recover(root: &Root, (known, ask): (&Releases, Ask<'_>), now: Timestamp) -> Result<Vec<Recovered>, Refusal> {
    let mut recovered = clear_unfinished(root, (known, &mut *ask), now)?;
    for record in Record::all(root) {
        let id = record.id.clone();
        if record.state != State::Failed || known.runs(&id) {
            continue;
        }
        // Whatever its journal says: somebody may have gone over to it by hand, and back.
        recovered.push(match has_writes(root, known, &record, now).or_else(|| is_taken(&id, ask)) {
            Some(why) => Recovered::Kept { id, why },
            None => removed(root, &id, Recovered::Failed { id: id.clone() }),
        });
    }
    Ok(recovered)
}

/// Only what was cut off; what has failed stays for a look. To be called with the lock held.
///
/// # Errors
/// A journal that cannot be written.
pub fn clear_unfinished(
    root: &Root,
    (known, ask): (&Releases, Ask<'_>),
    now: Timestamp,
) -> Result<Vec<Recovered>, Refusal> {
    let mut recovered = Vec::new();
    Workshop::end_leftovers(root, FETCH);
    unlock_mirror(root);
    clear_half_removed(root);
    clear_half(root);
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
            State::Building | State::Activating if known.runs(&id) => {}
            State::Staged | State::Failed => {}
            State::Building | State::Activating => {
                // Its steps may have outlived it, and would go on writing.
                Workshop::end_leftovers(root, &id);
                // Nobody has seen what became of it: it may have had the traffic until somebody went back.
                let asked = record.went_live.is_some();
                let kept = || has_writes(root, known, &record, now).or_else(|| is_taken(&id, ask));
                if let Some(why) = asked.then(kept).flatten() {
                    recovered.push(Recovered::Kept { id, why });
                    continue;
                }
                let is_ready = record.state == State::Activating;
                let step = if is_ready { ACTIVATION.to_owned() } else { record.step.clone() };
                let by = record.by.clone();
                recovered.push(removed(root, &id, Recovered::Unfinished { id: id.clone(), by, step }));
            }
        }
    }
    Ok(recovered)
}

/// What the removal of a release has left that was cut off itself: its journal goes first.
fn clear_half_removed(root: &Root) {
    for deploy in std::fs::read_dir(root.deploys()).into_iter().flatten().flatten() {
        let dir = deploy.path();
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        if dir.is_dir() && (is_there(&gone(&dir)) || !is_there(&Record::file(&dir))) {
            let _next_time = std::fs::remove_dir_all(&dir);
        }
    }
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

/// Why it is not to go, at the last moment.
fn is_taken(id: &str, ask: Ask<'_>) -> Option<String> {
    match ask() {
        Some(known) if !known.runs(id) => None,
        Some(_) => Some(format!("release {id} is kept: it has been gone over to")),
        None => Some(format!("release {id} is kept: the supervisor does not say whether it runs")),
    }
}

fn removed(root: &Root, id: &str, done: Recovered) -> Recovered {
    match remove(root, id) {
        Ok(()) => done,
        Err(refusal) => {
            Recovered::Kept { id: id.to_owned(), why: format!("{id} could not be removed: {}", refusal.message) }
        }
    }
}

/// What a prune leaves.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// So many of the newest good releases, what runs among them.
    pub good: u32,
    /// Those that failed stay for a look.
    pub failed: bool,
    /// Releases that the app has written into go all the same.
    pub written: bool,
}

/// What became of the old ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    pub gone: Vec<String>,
    /// What those took on the disk, bytes.
    pub freed: u64,
    /// Each with the reason, a sentence.
    pub kept: Vec<(String, String)>,
}

/// Keeps the newest good releases and what runs; bad ones have been there for a look, and staged ones for a swap. What
/// the app has written into one, or somebody works in, is kept, too.
pub fn prune(root: &Root, (known, ask): (&Releases, Ask<'_>), keep: Keep, now: Timestamp) -> Pruned {
    let is_over = |record: &Record| match record.state {
        State::Live | State::Staged => true,
        // No deploy is under way: it is what one that was cut off has left.
        State::Failed | State::Activating => !keep.failed,
        State::Building => false,
    };
    let records: Vec<Record> = Record::all(root).into_iter().filter(is_over).collect();
    let (running, rest): (Vec<&Record>, Vec<&Record>) = records.iter().partition(|record| known.runs(&record.id));
    // One that was staged and never had the traffic is none to go back to.
    let is_of_no_use = |record: &&Record| record.state != State::Live || known.bad.contains(&record.id);
    let (bad, good): (Vec<&Record>, Vec<&Record>) = rest.into_iter().partition(is_of_no_use);
    let old = good.into_iter().skip((keep.good as usize).saturating_sub(running.len())).chain(bad);
    let mut pruned = Pruned::default();
    for record in old {
        let id = record.id.clone();
        let dir = root.release(&id);
        let written = (!keep.written).then(|| has_writes(root, known, record, now)).flatten();
        let bytes = weight(&dir);
        // Last: what takes its time comes before it.
        if let Some(why) = written.or_else(|| is_taken(&id, ask)).or_else(|| someone_in(&dir)) {
            pruned.kept.push((id, why));
            continue;
        }
        match remove(root, &id) {
            Ok(()) => {
                pruned.gone.push(id);
                pruned.freed += bytes;
            }
            Err(refusal) => pruned.kept.push((id, refusal.message)),
        }
    }
    pruned
}

/// Why it is not to go without a word: the app has written into it since it went live.
fn has_writes(root: &Root, known: &Releases, record: &Record, now: Timestamp) -> Option<String> {
    let (app, id) = (&known.app, &record.id);
    // One that no deploy has brought live may have been gone over to: its steps ended with its log.
    let end = || Timestamp::try_from(root.log(id).metadata().ok()?.modified().ok()?).ok();
    let what = match written(&root.release(id), record.went_live.or_else(end)?, now) {
        Written::Nothing => return None,
        Written::Files(files) => {
            let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            format!("{app} has written into it since it went live ({})", files.join(", "))
        }
        Written::Unknown(why) => format!("nobody can tell whether {app} has written into it: {why}"),
    };
    Some(format!(
        "release {id} is kept: {what}; what is to last belongs into shared in [apps.{app}.deploy], and \
         infissi-ctl releases {app} --prune {} --written removes it all the same",
        known.keep
    ))
}

/// A worker that runs from it, or a shell: as far as we may see that.
fn someone_in(release: &Path) -> Option<String> {
    let pid = proc::working_in(&release.canonicalize().ok()?)?;
    let command = proc::command(pid, LONGEST_COMMAND);
    let id = release.file_name().unwrap_or_default().display();
    Some(format!("release {id} is kept: pid {pid} ({command}) runs in it"))
}

/// What would be free without it, bytes: what has other names stays.
fn weight(dir: &Path) -> u64 {
    let (mut bytes, mut open) = (0, vec![dir.to_owned()]);
    while let Some(at) = open.pop() {
        let Ok(there) = at.symlink_metadata() else { continue };
        if there.is_dir() {
            open.extend(std::fs::read_dir(&at).into_iter().flatten().flatten().map(|entry| entry.path()));
        } else if there.nlink() > 1 {
            continue;
        }
        bytes += there.blocks() * 512;
    }
    bytes
}

/// Removes a release with its log. It is out of `releases` at once, so that none is ever found half removed.
///
/// # Errors
/// Something in it cannot be removed.
pub fn remove(root: &Root, id: &str) -> Result<(), Refusal> {
    let (release, deploy) = (root.release(id), root.deploy(id));
    match std::fs::rename(&release, gone(&deploy)) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Without a directory of its deploy to go to it is removed where it is.
        Err(_) => std::fs::remove_dir_all(&release).map_err(cannot("remove", &release))?,
    }
    let _all_goes = std::fs::remove_file(Record::file(&deploy));
    match std::fs::remove_dir_all(&deploy) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(super::failed(format!("cannot remove {}: {}", deploy.display(), why(&error))))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Where a release is while it is being removed.
fn gone(deploy: &Path) -> PathBuf {
    deploy.join("removed")
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
            since: Timestamp::UNIX_EPOCH,
            until: None,
            in_flight: None,
        });
        Releases {
            app: "web".to_owned(),
            root: root.dir().display().to_string(),
            keep,
            slot: Slot::Blue,
            active: Some(active.to_owned()),
            trying: None,
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
        let pruned = prune(
            &root,
            (&known, &mut || Some(known.clone())),
            Keep { good: 3, failed: true, written: false },
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!((pruned.gone.join(" "), pruned.kept), ("4 3 6".to_owned(), Vec::new()));
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
        let pruned = prune(
            &root,
            (&known, &mut || Some(known.clone())),
            Keep { good: known.keep, failed: true, written: false },
            Timestamp::UNIX_EPOCH,
        );
        assert_eq!((pruned.gone.join(" "), pruned.kept), ("4 3".to_owned(), Vec::new()));
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
        let recovered = {
            let known = known(&root, "live", Some("rising"), 3);
            recover(&root, (&known, &mut || Some(known.clone())), Timestamp::UNIX_EPOCH).unwrap()
        };
        let cut_off = |id: &str, step: &str| Recovered::Unfinished {
            id: id.to_owned(),
            by: "ann".to_owned(),
            step: step.to_owned(),
        };
        assert_eq!(
            recovered,
            [
                cut_off("dead", ACTIVATION),
                cut_off("half", "npm ci"),
                Recovered::Live { id: "live".to_owned() },
                Recovered::Failed { id: "bad".to_owned() },
            ]
        );
        assert_eq!(left(&root), ["good", "live", "rising"]);
        assert_eq!(Record::all(&root).iter().find(|record| record.id == "live").unwrap().state, State::Live);
    }

    #[test]
    fn what_the_app_has_written_into_is_kept_until_somebody_says_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        for minute in 1..=4 {
            let mut record = made(&root, &minute.to_string(), minute, State::Live);
            record.went_live = Some(Timestamp::from_second(minute * 60).unwrap());
            record.save(&root).unwrap();
        }
        std::fs::write(root.release("2").join("dev.db"), "data").unwrap();
        let now = std::fs::metadata(root.release("2").join("dev.db")).unwrap().modified().unwrap();
        let (now, known) = (Timestamp::try_from(now).unwrap(), known(&root, "4", None, 1));
        let pruned =
            prune(&root, (&known, &mut || Some(known.clone())), Keep { good: 1, failed: true, written: false }, now);
        assert_eq!(pruned.gone, ["3", "1"]);
        let (id, why) = &pruned.kept[0];
        assert!(id == "2" && why.contains("(dev.db)") && why.contains("--prune 1 --written"), "{why}");
        let pruned =
            prune(&root, (&known, &mut || Some(known.clone())), Keep { good: 0, failed: false, written: true }, now);
        assert!(pruned.gone == ["2"] && pruned.freed >= 4096, "{pruned:?}");
        assert_eq!(left(&root), ["4"], "what runs is never removed");
    }

    #[test]
    fn a_removal_that_was_cut_off_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        for id in ["moved", "half", "whole"] {
            made(&root, id, 1, State::Live);
        }
        std::fs::rename(root.release("moved"), gone(&root.deploy("moved"))).unwrap();
        std::fs::remove_dir(root.release("half")).unwrap();
        std::fs::write(root.log("half"), "said").unwrap();
        std::fs::remove_file(Record::file(&root.deploy("half"))).unwrap();
        std::fs::create_dir_all(root.kept().join(".half/node_modules")).unwrap();
        let known = known(&root, "whole", None, 3);
        clear_unfinished(&root, (&known, &mut || Some(known.clone())), Timestamp::UNIX_EPOCH).unwrap();
        let left: Vec<_> = std::fs::read_dir(root.deploys()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["whole"]);
        assert_eq!(std::fs::read_dir(root.kept()).unwrap().count(), 0);
    }

    /// Failed, written into by the app, and gone back from.
    #[test]
    fn one_that_was_gone_over_to_by_hand_is_kept_with_what_the_app_has_written() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        made(&root, "good", 1, State::Live);
        let mut record = made(&root, "busy", 2, State::Failed);
        record.went_live = Some(Timestamp::from_second(120).unwrap());
        record.save(&root).unwrap();
        std::fs::write(root.release("busy").join("dev.db"), "data").unwrap();
        let now = std::fs::metadata(root.release("busy").join("dev.db")).unwrap().modified().unwrap();
        let known = known(&root, "good", None, 3);
        let now = Timestamp::try_from(now).unwrap();
        let recovered = recover(&root, (&known, &mut || Some(known.clone())), now).unwrap();
        assert!(matches!(&recovered[..], [Recovered::Kept { why, .. }] if why.contains("(dev.db)")), "{recovered:?}");
        assert_eq!(left(&root), ["busy", "good"]);
    }

    #[test]
    fn one_that_is_gone_back_to_at_the_last_moment_stays_and_so_does_every_one_when_nobody_says() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        for (id, minute, state) in
            [("old", 1, State::Live), ("new", 2, State::Live), ("cut", 3, State::Activating), ("bad", 4, State::Failed)]
        {
            let mut record = made(&root, id, minute, state);
            record.went_live = Some(Timestamp::UNIX_EPOCH);
            record.save(&root).unwrap();
        }
        let (before, keep) = (known(&root, "new", None, 1), Keep { good: 1, failed: true, written: false });
        for then in [Some(["old", "cut", "bad"]), None] {
            let then = then.map(|ids| Releases { in_use: ids.map(str::to_owned).into(), ..before.clone() });
            let mut ask = || then.clone();
            let recovered = recover(&root, (&before, &mut ask), Timestamp::UNIX_EPOCH).unwrap();
            assert!(recovered.iter().all(|one| matches!(one, Recovered::Kept { .. })), "{recovered:?}");
            let pruned = prune(&root, (&before, &mut ask), keep, Timestamp::UNIX_EPOCH);
            assert!(pruned.gone.is_empty() && pruned.kept[0].0 == "old", "{pruned:?}");
            assert_eq!(left(&root), ["bad", "cut", "new", "old"]);
        }
    }
}
