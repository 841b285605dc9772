//! What a restore is about to replace, noted beside it while paths change places: of one that is cut off meanwhile
//! everything can be put back, at whatever instant that was.

use super::parts::Part;
use crate::api::Refusal;
use crate::deploy::{cannot, failed, why};
use crate::linux::atomic::{exchange, move_to, replace_file};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const NAME: &str = "placing.json";

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Note {
    parts: Vec<Noted>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    path: OsString,
    /// The inode of what was there before, which no rename changes. None where nothing was.
    before: Option<u64>,
}

/// Where a part may be.
pub(super) struct Places<'p> {
    pub(super) base: &'p Path,
    pub(super) before: &'p Path,
    pub(super) files: &'p Path,
}

impl Note {
    /// Of what is to come to `base`, before any of it does.
    ///
    /// # Errors
    /// Something cannot be looked at.
    pub(super) fn of(parts: &[Part], base: &Path) -> Result<Note, Refusal> {
        let noted = |part: &Part| {
            let live = base.join(&part.path);
            let before = inode(&live).map_err(cannot("look at", &live))?;
            Ok(Noted { path: part.path.clone().into(), before })
        };
        Ok(Note { parts: parts.iter().map(noted).collect::<Result<_, Refusal>>()? })
    }

    /// # Errors
    /// The disk is full or its rights are against it.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Refusal> {
        let path = dir.join(NAME);
        let bytes = serde_json::to_vec(self).map_err(|error| failed(format!("cannot note the restore: {error}")))?;
        replace_file(&path, &bytes, 0o600, true).map_err(cannot("write", &path))
    }

    /// None where there is none, or none that makes sense.
    pub(super) fn read(dir: &Path) -> Option<Note> {
        serde_json::from_slice(&fs::read(dir.join(NAME)).ok()?).ok()
    }

    /// Nothing is to be put back any more.
    ///
    /// # Errors
    /// unlink(2)'s.
    pub(super) fn remove(dir: &Path) -> Result<(), Refusal> {
        let path = dir.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", &path)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Everything is again as it was before; what had come is among the files again. What is so already stays.
    ///
    /// # Errors
    /// Something is not: what, and the next step.
    pub(super) fn put_back(&self, places: &Places<'_>) -> Result<(), Refusal> {
        let mut outcome = Ok(());
        for noted in self.parts.iter().rev() {
            let put_back = noted.put_back(places).map_err(|error| {
                let [live, before, new] = [places.base, places.before, places.files].map(|dir| dir.join(&noted.path));
                let message = format!("{} could not be put back: {}", live.display(), why(&error));
                failed(message).hint(format!("it is {} or {}: move it by hand", before.display(), new.display()))
            });
            // The others all the same.
            outcome = outcome.and(put_back);
        }
        outcome
    }
}

impl Noted {
    fn put_back(&self, places: &Places<'_>) -> io::Result<()> {
        let (live, new) = (places.base.join(&self.path), places.files.join(&self.path));
        let before = places.before.join(&self.path);
        let Some(old) = self.before else {
            return if inode(&new)?.is_none() && inode(&live)?.is_some() { aside(&live, &new) } else { Ok(()) };
        };
        for place in [&before, &new] {
            if inode(place)? == Some(old) {
                // The app may have removed meanwhile what had come.
                match inode(&live)? {
                    Some(_) => exchange(&live, place)?,
                    None => move_to(place, &live)?,
                }
            }
        }
        if inode(&before)?.is_some() && inode(&new)?.is_none() { aside(&before, &new) } else { Ok(()) }
    }
}

fn aside(path: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    move_to(path, to)
}

fn inode(path: &Path) -> io::Result<Option<u64>> {
    match fs::symlink_metadata(path) {
        Ok(there) => Ok(Some(there.ino())),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}
