//! `node_modules`, installed once for all releases that would install the same: a copy as the install left it is kept
//! below the root, and the next release gets a copy of that. No two releases ever write to the same files.

mod key;
mod survey;

use super::backup::Figures;
use super::copy::copy_tree;
use super::root::Root;
use super::step::{Audience, Workshop};
use super::{Sourced, failed, why};
use crate::api::Refusal;
use crate::linux::atomic::replace_file;
use crate::linux::disk::{room, sync};
use crate::linux::identity::{Identity, read_file_as};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const MODULES: &str = "node_modules";
const NOTE: &str = "kept.json";
/// Until it is whole.
const HALF: &str = ".half";
/// As many are kept, those that were used last: two branches, or back and forth over an update.
const MOST: usize = 2;
const LARGEST_NOTE: u64 = 64 << 10;

/// What is known of an install before it is done.
pub struct Installation {
    key: String,
    step: String,
    /// Of the release without `node_modules`.
    before: u64,
}

/// What is known of a `node_modules` that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The command that made it, and how long that took.
    pub step: String,
    pub took_ms: u64,
    pub entries: u64,
    pub bytes: u64,
}

impl Installation {
    /// None where this is no step of which it is known what it does; or there is something at `node_modules` already.
    ///
    /// # Errors
    /// The audience has had enough.
    pub fn look(
        (command, name): (&[String], &str),
        release: &Path,
        env: &[(OsString, OsString)],
        workshop: &mut Workshop<'_>,
    ) -> Result<Option<Installation>, Sourced> {
        if !key::installs(command) || release.join(MODULES).symlink_metadata().is_ok() {
            return Ok(None);
        }
        let key = key::key(command, release, env, workshop)?;
        Ok(Some(Installation { key, step: name.to_owned(), before: survey::outside(release) }))
    }

    /// Copies what is kept into the release; none where nothing is, or it is not what it was, and is gone now.
    ///
    /// # Errors
    /// It cannot be copied, or the audience has had enough. Nothing of it is in the release then.
    pub fn reuse(&self, root: &Root, release: &Path, audience: &mut dyn Audience) -> Result<Option<Kept>, Sourced> {
        let place = root.kept().join(&self.key);
        let Some(kept) = read(&place) else { return Ok(None) };
        let target = release.join(MODULES);
        let copied = copy_tree(&place.join(MODULES), &target, &[], audience);
        let is_whole =
            matches!(&copied, Ok(Figures { entries, bytes }) if (*entries, *bytes) == (kept.entries, kept.bytes));
        if is_whole {
            // The order in which they go. By the clock of the disk, which nothing here asks for.
            let _goes_earlier = File::open(place.join(NOTE)).and_then(|note| note.set_modified(now_of(audience)));
            return Ok(Some(kept));
        }
        remove(&target)?;
        copied?;
        // Somebody was at it, or the disk lost something.
        remove(&place)?;
        Ok(None)
    }

    /// Keeps a copy of what the install has made. The inner value says why not, and goes on after "not kept: ".
    ///
    /// # Errors
    /// The audience has had enough.
    pub fn keep(
        self,
        root: &Root,
        release: &Path,
        (took_ms, min_free): (u64, u64),
        audience: &mut dyn Audience,
    ) -> Result<Result<(), String>, Sourced> {
        if survey::outside(release) != self.before {
            return Ok(Err(format!("`{}` has written to other places, too", self.step)));
        }
        let modules = release.join(MODULES);
        let found = match survey::look(&modules, release, audience)? {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let kept = Kept { step: self.step, took_ms, entries: found.entries, bytes: found.bytes };
        match store(root, &self.key, &modules, (&kept, min_free), audience) {
            Ok(()) => Ok(Ok(())),
            Err(Sourced::Failed(refusal)) => {
                // What is left of it goes with the next that is kept.
                clear_half(root);
                Ok(Err(refusal.message))
            }
            Err(error @ (Sourced::Interrupted | Sourced::Output(_))) => Err(error),
        }
    }
}

fn store(
    root: &Root,
    key: &str,
    modules: &Path,
    (kept, min_free): (&Kept, u64),
    audience: &mut dyn Audience,
) -> Result<(), Sourced> {
    let (half, place) = (root.kept().join(HALF), root.kept().join(key));
    remove(&half)?;
    let room = room(root.dir()).map_err(super::cannot("look at the disk of", root.dir()))?;
    if room.bytes.saturating_sub(kept.bytes) < min_free {
        return Err(failed("it would leave less than min_free on the disk").into());
    }
    std::fs::create_dir_all(&half).map_err(super::cannot("make", &half))?;
    let copied = copy_tree(modules, &half.join(MODULES), &[], audience)?;
    if (copied.entries, copied.bytes) != (kept.entries, kept.bytes) {
        return Err(failed("it changed while it was copied").into());
    }
    let text = serde_json::to_vec_pretty(kept).unwrap_or_default();
    let note = half.join(NOTE);
    replace_file(&note, &text, 0o644, false).map_err(super::cannot("write", &note))?;
    // On the disk before it has its name: after a power cut, too, what has one is whole.
    sync(&half).map_err(super::cannot("write", &half))?;
    remove(&place)?;
    std::fs::rename(&half, &place).map_err(super::cannot("make", &place))?;
    prune(root);
    Ok(())
}

/// The newest stay.
fn prune(root: &Root) {
    let mut places: Vec<(SystemTime, PathBuf)> = places(root)
        .map(|place| {
            (place.join(NOTE).metadata().and_then(|note| note.modified()).unwrap_or(SystemTime::UNIX_EPOCH), place)
        })
        .collect();
    places.sort();
    for (_, place) in places.iter().rev().skip(MOST) {
        let _next_time = remove(place);
    }
}

/// What a kill in the middle of it has left. A courtesy: the next one that is kept says what is against it.
pub(super) fn clear_half(root: &Root) {
    let _tried = remove(&root.kept().join(HALF));
}

/// What the kept ones hold, bytes.
pub fn kept_bytes(root: &Root) -> u64 {
    places(root).filter_map(|place| read(&place)).map(|kept| kept.bytes).sum()
}

/// Removes them all.
///
/// # Errors
/// Something in them cannot be removed.
pub fn clear_kept(root: &Root) -> Result<(), Refusal> {
    remove(&root.kept())
}

fn places(root: &Root) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(root.kept()).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn read(place: &Path) -> Option<Kept> {
    serde_json::from_slice(&read_file_as(&Identity::own(), &place.join(NOTE), LARGEST_NOTE).ok()?).ok()
}

/// Whatever it is, a link itself and not what it leads to. With its note first: what is half gone is not used.
fn remove(path: &Path) -> Result<(), Refusal> {
    let removed = match path.symlink_metadata() {
        Ok(there) if there.is_dir() => {
            let _none = std::fs::remove_file(path.join(NOTE));
            std::fs::remove_dir_all(path)
        }
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed(format!("cannot remove {}: {}", path.display(), why(&error))))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn now_of(audience: &dyn Audience) -> SystemTime {
    Timestamp::into(audience.now())
}

#[cfg(test)]
mod tests;
