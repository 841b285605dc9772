//! What SQLite keeps beside a database: with another state of it, it would do harm.

use crate::deploy::checkout::COMPANIONS;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is read when the database is opened.
pub(super) const JOURNALS: [&str; 2] = ["-wal", "-journal"];

pub(super) fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// What it is named after, if its name has one of these ends.
pub(super) fn without(path: &Path, ends: &[&str]) -> Option<PathBuf> {
    let name = path.file_name()?.as_bytes();
    let name = ends.iter().find_map(|end| name.strip_suffix(end.as_bytes())).filter(|name| !name.is_empty())?;
    Some(path.with_file_name(OsStr::from_bytes(name)))
}

pub(super) fn is_journal(path: &Path) -> bool {
    without(path, &COMPANIONS).is_some()
}

/// The database that this is kept beside.
pub(super) fn beside_database(path: &Path, ends: &[&str]) -> Option<PathBuf> {
    without(path, ends).filter(|database| database.is_file())
}

/// A database and its journals, whichever of them this is.
pub(super) fn together(path: &Path) -> Vec<PathBuf> {
    let database = without(path, &JOURNALS).unwrap_or_else(|| path.to_owned());
    let journals = JOURNALS.map(|end| with(&database, end));
    [database].into_iter().chain(journals).collect()
}

/// A sentence, where this is the journal of a database.
pub(super) fn in_use(journal: &Path) -> Option<String> {
    let database = beside_database(journal, &JOURNALS)?;
    Some(format!(
        "{} is a database in use: its copy is as good as the moment, and an exact one needs the app stopped",
        database.display()
    ))
}
