//! The backups that are there: their names, whose they are, which are the oldest.

use flate2::read::GzDecoder;
use jiff::Zoned;
use jiff::civil::DateTime;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const NAME: &str = "backup-%Y%m%d-%H%M%S.tar.gz";
const MARK: &str = "infissi backup of ";

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub name: String,
    pub path: PathBuf,
    pub size: u64,
    /// When it was begun, by its name: local time.
    pub at: DateTime,
    /// Made by [`super::make`], for this app; else by other means, and nobody knows of what.
    pub is_own: bool,
}

/// `backup-20261126-180000.tar.gz`.
pub(super) fn name(at: &Zoned) -> String {
    at.strftime(NAME).to_string()
}

/// What the archive says of itself, in the comment of its gzip header (RFC 1952): two apps that share a directory have
/// backups of the same names.
pub(super) fn mark(app: &str) -> String {
    format!("{MARK}{app}")
}

/// The backups in `dir` that are this app's or nobody's, the newest first.
///
/// # Errors
/// The directory cannot be read; none is no error.
pub fn list(dir: &Path, app: &str) -> io::Result<Vec<Kept>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut kept = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Some((name, at)) = entry.file_name().to_str().and_then(|name| Some((name.to_owned(), begun(name)?))) else {
            continue;
        };
        let path = entry.path();
        // One that went meanwhile is none.
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        let mark = mark_of(&path);
        let is_own = mark.as_deref() == Some(self::mark(app).as_bytes());
        let is_anothers = !is_own && mark.is_some_and(|mark| mark.starts_with(MARK.as_bytes()));
        if found.is_file() && !is_anothers {
            kept.push(Kept { name, path, size: found.len(), at, is_own });
        }
    }
    kept.sort_by(|one, other| other.name.cmp(&one.name));
    Ok(kept)
}

/// The name of this app's newest.
pub(super) fn newest(dir: &Path, app: &str) -> Option<String> {
    list(dir, app).ok()?.into_iter().find(|kept| kept.is_own).map(|kept| kept.name)
}

/// Removes all but the newest `keep` of this app's, `made` among them; the names that went, and what did not go.
pub(super) fn prune(dir: &Path, app: &str, keep: u32, made: &Path) -> (Vec<String>, Vec<String>) {
    let (mut pruned, mut notes) = (Vec::new(), Vec::new());
    let kept = match list(dir, app) {
        Ok(kept) => kept,
        Err(error) => {
            return (pruned, vec![format!("older backups are all kept: cannot read {}: {error}", dir.display())]);
        }
    };
    // The one just made is never the one to go, whatever the clock said before.
    let older = kept.into_iter().filter(|kept| kept.is_own && kept.path != made);
    for kept in older.skip(usize::try_from(keep).unwrap_or(usize::MAX).saturating_sub(1)) {
        match fs::remove_file(&kept.path) {
            Ok(()) => pruned.push(kept.name),
            Err(error) => notes.push(format!("{} is still there: {error}", kept.name)),
        }
    }
    (pruned, notes)
}

/// Is it a backup, or something of one that is being made?
pub(in crate::deploy) fn is_of_backups(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(".backup-") || begun(name).is_some())
}

/// The time in a name of exactly that form.
fn begun(name: &str) -> Option<DateTime> {
    let at = DateTime::strptime(NAME, name).ok()?;
    (at.strftime(NAME).to_string() == name).then_some(at)
}

fn mark_of(path: &Path) -> Option<Vec<u8>> {
    // Whoever may write here could have put a pipe or a link under such a name.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let is_file = file.metadata().is_ok_and(|found| found.is_file());
    mark_in(is_file.then_some(file)?)
}

/// The comment of a gzip header, if there is one to be read; what is read for that is read.
pub(in crate::deploy) fn mark_in(stream: impl io::Read) -> Option<Vec<u8>> {
    GzDecoder::new(stream).header()?.comment().map(<[u8]>::to_vec)
}

/// The app of a mark.
pub(in crate::deploy) fn marked_for(mark: &[u8]) -> Option<String> {
    let app = mark.strip_prefix(MARK.as_bytes())?;
    Some(String::from_utf8_lossy(app).into_owned())
}
