//! Where and how the lines of one app are kept.

use crate::linux::fs_rights::FsOwner;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// One app's logs. Two apps must not share both `dir` and `name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    pub app: Arc<str>,
    /// Absolute; made when it is missing.
    pub dir: PathBuf,
    /// `NAME-combined.log`, `NAME-out.log`, `NAME-error.log`. One path component.
    pub name: String,
    /// Put before each line of a text file; a JSON line always has its time.
    pub timestamps: bool,
    pub format: LogFormat,
    /// Bytes; a file is rotated before it would grow beyond. 0: never by size.
    pub max_size: u64,
    /// Rotated files kept of each of the three.
    pub keep: u32,
    /// Gzip rotated files.
    pub compress: bool,
    /// Bytes; all files of the app together. The oldest rotated ones go first, and a file is rotated at a third of it
    /// at the latest, so that the live ones alone stay within it. 0: no limit.
    pub max_total: u64,
    /// Rotate at local midnight as well.
    pub daily: bool,
    /// With whose rights the files are opened, renamed and removed: the app's user, where the directory is in that
    /// user's hands and we are root.
    pub owner: Option<FsOwner>,
    /// Whom a new file is given to (uid, gid), where the directory is ours.
    pub chown_to: Option<(u32, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    /// `{"time":"…","app":"…","stream":"out","line":"…"}`
    Json,
}

/// What a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    Out,
    Err,
}

impl Stream {
    /// The word in a JSON line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Stream::Out => "out",
            Stream::Err => "err",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
