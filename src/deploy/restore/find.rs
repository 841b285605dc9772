//! The archive that is meant: by its name, its path, or as the latest; and whose backup it says it is.

use super::super::backup::{list, mark_in, marked_for};
use super::super::{cannot, failed};
use crate::api::{BackupPlan, Refusal};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Instead of a name: the newest that was made for the app.
const LATEST: &str = "latest";

/// An archive, held open: what becomes of its name does not matter any more.
#[derive(Debug)]
pub struct Found {
    /// Of which it is to be restored.
    app: String,
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    pub whose: Whose,
    file: File,
}

/// Of which app it says that it is a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    Own,
    /// It was not made by `backup`, and says nothing.
    Unsaid,
    Anothers(String),
}

impl Found {
    /// All of it, from its beginning.
    ///
    /// # Errors
    /// lseek(2)'s.
    pub(super) fn stream(&self) -> Result<impl Read + use<>, Refusal> {
        let rewound = self.file.try_clone().and_then(|mut file| file.rewind().map(|()| file));
        Ok(BufReader::with_capacity(64 << 10, rewound.map_err(cannot("read", &self.path))?))
    }

    /// How to find another one.
    pub(super) fn others(&self) -> String {
        which(&self.app)
    }

    /// Its name without the directory.
    pub fn name(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// # Errors
/// There is none of that name, it is no file that can be read, or it is another app's and that was not asked for.
pub fn find(plan: &BackupPlan, word: &str, anothers_too: bool) -> Result<Found, Refusal> {
    let BackupPlan { app, dir, .. } = plan;
    // As people copy it: a relative `dir` has `..` in it.
    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| PathBuf::from(dir));
    let path = if word == LATEST { latest(&dir, app)? } else { named(&dir, app, word)? };
    // A pipe in its place is nothing to wait for.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
    let mut file = file.map_err(cannot("read", &path))?;
    let there = file.metadata().map_err(cannot("look at", &path))?;
    if !there.is_file() {
        return Err(failed(format!("{} is no file", path.display())).hint(which(app)));
    }
    let whose = whose(&mut file, app).map_err(cannot("read", &path))?;
    if let (Whose::Anothers(other), false) = (&whose, anothers_too) {
        let message = format!("{} is a backup of {other}, not of {app}", path.display());
        return Err(failed(message).hint(format!("{}; if it is meant all the same: --force", which(app))));
    }
    Ok(Found { app: app.clone(), path, size: there.len(), whose, file })
}

fn which(app: &str) -> String {
    format!("infissi-ctl backups {app} shows which there are")
}

fn latest(dir: &Path, app: &str) -> Result<PathBuf, Refusal> {
    let kept = list(dir, app).map_err(cannot("read", dir))?;
    let others = !kept.is_empty();
    kept.into_iter().find(|kept| kept.is_own).map(|kept| kept.path).ok_or_else(|| {
        let refusal = failed(format!("infissi-ctl has made no backup of {app} in {}", dir.display()));
        let hint = if others {
            format!("name one of the others: {}", which(app))
        } else {
            format!("infissi-ctl backup {app}")
        };
        refusal.hint(hint)
    })
}

fn named(dir: &Path, app: &str, word: &str) -> Result<PathBuf, Refusal> {
    if word.contains('/') {
        return Ok(PathBuf::from(word));
    }
    let places = [dir.join(word), dir.join(format!("{word}.tar.gz")), PathBuf::from(word)];
    places
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| failed(format!("there is no backup {word:?} of {app} in {}", dir.display())).hint(which(app)))
}

fn whose(file: &mut File, app: &str) -> io::Result<Whose> {
    let mark = mark_in(&*file);
    file.rewind()?;
    Ok(match mark.as_deref().and_then(marked_for) {
        Some(of) if of == app => Whose::Own,
        Some(of) => Whose::Anothers(of),
        None => Whose::Unsaid,
    })
}
