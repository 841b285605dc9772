//! A backup → the place of what it was made of: found, read through, unpacked beside, and only then put into place with
//! a rename for each path. What was there before is kept.
//!
//! ```text
//! ROOT/restores/ID.unpacking   until all of it is there: what is cut off is removed by the next restore
//! ROOT/restores/ID.placing     while paths change places: of what is cut off then the next restore or deploy puts all back
//! ROOT/restores/ID             before/ what was there, backup-out/ the dumps, left/ what was not put back
//! ```

mod contents;
mod find;
mod note;
mod parts;
mod staging;
#[cfg(test)]
mod tests;

pub use contents::{Code, Contents};
pub use find::{Found, Whose, find};
pub use parts::{Part, Parts, Paths};
pub use staging::{Staging, Swept, kept, sweep};

use super::backup::Figures;
use super::unpack::{UnpackError, unpack};
use super::{Root, cannot, failed, id, why};
use crate::api::{Refusal, with_causes};
use crate::linux::disk::room;
use jiff::Timestamp;
use std::fs::{DirBuilder, Metadata};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Asked a few times a second, with how much it is so far: does it go on?
pub type GoOn<'g> = &'g mut dyn FnMut(Figures) -> ControlFlow<()>;

/// What a file takes on the disk beside its content, bytes: at most a block that it does not fill, and its inode.
const OVERHEAD: u64 = 4096;

/// Why a backup was not restored.
#[derive(Debug)]
pub enum Unrestored {
    /// Whoever was asked wanted no more of it.
    Stopped,
    Refused(Refusal),
}

impl From<Refusal> for Unrestored {
    fn from(refusal: Refusal) -> Unrestored {
        Unrestored::Refused(refusal)
    }
}

/// A name for a restore that no other has had, and no release either.
pub fn new_id(root: &Root, now: Timestamp) -> String {
    root.unused(format!("{}-restored", id(now, None)))
}

/// Is there room on the disk of `dir` for all of it?
///
/// # Errors
/// There is not.
pub fn check_room(dir: &Path, figures: Figures) -> Result<(), Refusal> {
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let room = room(there).map_err(cannot("look at the disk of", there))?;
    let needed = needed(figures);
    if room.bytes < needed {
        let (needed, free) = (needed.div_ceil(1 << 20), room.bytes >> 20);
        let message =
            format!("the backup takes {needed} MB, and {free} MB are left on the disk of {}", there.display());
        return Err(failed(message).hint("make room there, or unpack it on another disk: --into DIRECTORY"));
    }
    if let Some(inodes) = room.inodes.filter(|inodes| *inodes < figures.entries) {
        let message =
            format!("{} files are in the backup, and {inodes} can be made in {}", figures.entries, there.display());
        return Err(failed(message).hint("remove files there, or unpack it on another disk: --into DIRECTORY"));
    }
    Ok(())
}

/// What it takes on the disk, bytes.
pub fn needed(figures: Figures) -> u64 {
    figures.bytes.saturating_add(figures.entries.saturating_mul(OVERHEAD))
}

/// Unpacks into a new directory, which gets the mode of `like`, and touches nothing else.
///
/// # Errors
/// Why it is not there. Nothing is left then.
pub fn unpack_into(found: &Found, dir: &Path, like: Option<&Metadata>, go_on: GoOn<'_>) -> Result<Figures, Unrestored> {
    let made = DirBuilder::new().mode(0o700).create(dir);
    made.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            let refusal = failed(format!("there is a {} already", dir.display()));
            return refusal.hint("name a directory that is not there yet: --into DIRECTORY");
        }
        cannot("make", dir)(error).hint("name a directory that the app's user can make: --into DIRECTORY")
    })?;
    let unpacked = unpacked(found, dir, go_on);
    let finished = unpacked.and_then(|figures| {
        if let Some(like) = like {
            let mode = PermissionsExt::from_mode(like.permissions().mode() & 0o777);
            std::fs::set_permissions(dir, mode).map_err(cannot("set the mode of", dir))?;
        }
        crate::linux::disk::sync(dir).map_err(cannot("write", dir))?;
        Ok(figures)
    });
    finished.inspect_err(|_| drop(std::fs::remove_dir_all(dir)))
}

fn unpacked(found: &Found, dir: &Path, go_on: GoOn<'_>) -> Result<Figures, Unrestored> {
    let stream = found.stream()?;
    unpack(stream, dir, go_on).map_err(|error| unsound(found, error))
}

fn unsound(found: &Found, error: UnpackError) -> Unrestored {
    let path = found.path.display();
    let refusal = match error {
        UnpackError::Stopped => return Unrestored::Stopped,
        UnpackError::Write { path, source } => {
            let message = format!("cannot unpack {}: {}", path.display(), why(&source));
            failed(message).hint("nothing was touched; look at the disk, or unpack it elsewhere: --into DIRECTORY")
        }
        error @ UnpackError::Entry { .. } => {
            let hint = "no backup of infissi-ctl is like that: see what is in it with tar -tvzf";
            failed(format!("{path} is not to be trusted: {}; nothing was touched", with_causes(&error))).hint(hint)
        }
        UnpackError::Nothing
        | UnpackError::Empty
        | UnpackError::Packing(_)
        | UnpackError::NoArchive
        | UnpackError::Truncated
        | UnpackError::Unsound(_)
        | UnpackError::Read(_) => {
            let message = format!("{path} cannot be restored: {}; nothing was touched", with_causes(&error));
            failed(message).hint(format!("take another one: {}", found.others()))
        }
    };
    Unrestored::Refused(refusal)
}
