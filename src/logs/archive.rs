//! Rotated files: which ones are exactly this app's, and which have to go.

use super::settings::{LogSettings, Stream};
use super::stamp::FileStamp;
use crate::linux::fs_rights::FsOwner;
use crate::linux::logfile::as_owner;
use std::io;
use std::path::{Path, PathBuf};

/// One of an app's three files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Combined,
    Out,
    Error,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Combined, Kind::Out, Kind::Error];

    pub(super) fn of(stream: Stream) -> Kind {
        match stream {
            Stream::Out => Kind::Out,
            Stream::Err => Kind::Error,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Combined => "combined",
            Kind::Out => "out",
            Kind::Error => "error",
        }
    }
}

/// How a rotated file lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    Plain,
    Gzip,
    /// A gzip under way, or left behind by a crash.
    HalfGzip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rotated {
    pub(super) kind: Kind,
    pub(super) stamp: FileStamp,
    pub(super) form: Form,
    pub(super) size: u64,
}

/// How far one file had been written at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMark {
    /// The last file rotated before.
    pub(super) rotated: Option<FileStamp>,
    /// Bytes of the file that was live.
    pub(super) size: u64,
}

/// How far the three files of an app had been written at a moment, for a reader that must stop exactly there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    pub(super) combined: FileMark,
    pub(super) out: FileMark,
    pub(super) error: FileMark,
}

impl Marks {
    pub(super) fn of(&self, kind: Kind) -> FileMark {
        match kind {
            Kind::Combined => self.combined,
            Kind::Out => self.out,
            Kind::Error => self.error,
        }
    }
}

/// `NAME-out.log`
pub(super) fn live_path(dir: &Path, name: &str, kind: Kind) -> PathBuf {
    dir.join(format!("{name}-{}.log", kind.word()))
}

/// `NAME-out-20261122-200102.123.log` or `….log.gz`
pub(super) fn rotated_path(dir: &Path, name: &str, kind: Kind, stamp: FileStamp, form: Form) -> PathBuf {
    let suffix = match form {
        Form::Plain => "",
        Form::Gzip => ".gz",
        Form::HalfGzip => ".gz.tmp",
    };
    dir.join(format!("{name}-{}-{stamp}.log{suffix}", kind.word()))
}

/// The inverse of [`rotated_path`]: nothing but the whole pattern is this app's, so that `a` never takes the files of
/// `a-b` for its own.
fn parse(name: &str, file: &str) -> Option<(Kind, FileStamp, Form)> {
    let rest = file.strip_prefix(name)?.strip_prefix('-')?;
    let kind = Kind::ALL.into_iter().find(|kind| rest.starts_with(kind.word()))?;
    let rest = rest.strip_prefix(kind.word())?.strip_prefix('-')?;
    let (stamp, suffix) = rest.split_once(".log")?;
    let form = match suffix {
        "" => Form::Plain,
        ".gz" => Form::Gzip,
        ".gz.tmp" => Form::HalfGzip,
        _ => return None,
    };
    Some((kind, FileStamp::parse(stamp)?, form))
}

/// Every rotated file of an app, oldest first. A missing directory has none.
pub(super) fn list(dir: &Path, name: &str, owner: Option<&FsOwner>) -> io::Result<Vec<Rotated>> {
    let mut found = Vec::new();
    as_owner(owner, || {
        let entries = match std::fs::read_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Some((kind, stamp, form)) = entry.file_name().to_str().and_then(|file| parse(name, file)) else {
                continue;
            };
            // Gone in between, or not a file: nothing of ours.
            if let Ok(meta) = entry.metadata()
                && meta.is_file()
            {
                found.push(Rotated { kind, stamp, form, size: meta.len() });
            }
        }
        Ok(())
    })?;
    found.sort_by_key(|file| (file.stamp, file.kind, file.form));
    Ok(found)
}

/// The rotated files of one app as its writer knows them, oldest first. Nobody else makes any, so the directory is read
/// once and not at each rotation.
#[derive(Default)]
pub(super) struct Archive {
    files: Vec<Rotated>,
}

impl Archive {
    /// Reads the directory and clears away what a crash left half-done there.
    pub(super) fn load(settings: &LogSettings) -> io::Result<Archive> {
        let found = list(&settings.dir, &settings.name, settings.owner.as_ref())?;
        let plain = |file: &Rotated| {
            found.iter().any(|other| other.form == Form::Plain && other.kind == file.kind && other.stamp == file.stamp)
        };
        let (rubbish, files): (Vec<Rotated>, Vec<Rotated>) = found.iter().partition(|file| match file.form {
            Form::Plain => false,
            // The plain file is removed last: while it is there, it is the one to trust.
            Form::Gzip => plain(file),
            Form::HalfGzip => true,
        });
        rubbish.iter().for_each(|file| remove(settings, file));
        Ok(Archive { files })
    }

    /// A stamp for the file to be rotated now: later than any of its kind, also when the clock was set back.
    pub(super) fn next_stamp(&self, kind: Kind, now: FileStamp) -> FileStamp {
        self.last(kind).map_or(now, |last| now.max(last.next()))
    }

    pub(super) fn last(&self, kind: Kind) -> Option<FileStamp> {
        self.files.iter().rev().find(|file| file.kind == kind).map(|file| file.stamp)
    }

    pub(super) fn add(&mut self, kind: Kind, stamp: FileStamp, size: u64) {
        self.files.push(Rotated { kind, stamp, form: Form::Plain, size });
        self.files.sort_by_key(|file| (file.stamp, file.kind));
    }

    /// A gzip has taken the place of a plain file.
    pub(super) fn compressed(&mut self, kind: Kind, stamp: FileStamp, size: u64) {
        for file in self.files.iter_mut().filter(|file| file.kind == kind && file.stamp == stamp) {
            (file.form, file.size) = (Form::Gzip, size);
        }
    }

    pub(super) fn plain(&self) -> impl Iterator<Item = &Rotated> {
        self.files.iter().filter(|file| file.form == Form::Plain)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Removes what is beyond `keep` of each kind, then the oldest until all is within `max_total` beside `live` bytes.
    pub(super) fn trim(&mut self, settings: &LogSettings, live: u64) {
        for kind in Kind::ALL {
            let count = self.files.iter().filter(|file| file.kind == kind).count();
            let mut excess = count.saturating_sub(settings.keep as usize);
            self.remove_while(settings, |file| {
                let goes = file.kind == kind && excess > 0;
                excess -= usize::from(goes);
                goes
            });
        }
        if settings.max_total > 0 {
            let mut excess = (self.bytes() + live).saturating_sub(settings.max_total);
            self.remove_while(settings, |file| {
                let goes = excess > 0;
                excess = excess.saturating_sub(if goes { file.size } else { 0 });
                goes
            });
        }
    }

    /// Removes every rotated file.
    pub(super) fn clear(&mut self, settings: &LogSettings) {
        self.remove_while(settings, |_| true);
    }

    fn remove_while(&mut self, settings: &LogSettings, mut goes: impl FnMut(&Rotated) -> bool) {
        self.files.retain(|file| {
            let goes = goes(file);
            if goes {
                remove(settings, file);
            }
            !goes
        });
    }
}

/// Both forms: the gzip may just have come or be about to.
fn remove(settings: &LogSettings, file: &Rotated) {
    let path = |form| rotated_path(&settings.dir, &settings.name, file.kind, file.stamp, form);
    let _ = as_owner(settings.owner.as_ref(), || {
        match file.form {
            Form::Plain => {
                let _ = std::fs::remove_file(path(Form::Plain));
                let _ = std::fs::remove_file(path(Form::Gzip));
            }
            Form::Gzip | Form::HalfGzip => {
                let _ = std::fs::remove_file(path(file.form));
            }
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_pattern_is_an_apps_own() {
        for own in [
            "a-out-20261122-200102.123.log",
            "a-error-20261122-200102.123.log.gz",
            "a-combined-20261122-200102.123.log.gz.tmp",
        ] {
            assert!(parse("a", own).is_some(), "{own}");
        }
        for foreign in [
            "a-out.log",
            "a-b-out-20261122-200102.123.log",
            "a-out-out-20261122-200102.123.log",
            "aa-out-20261122-200102.123.log",
            "a-out-20261122-200102.123.log.bak",
            "a-out-20261122-200102.123.log.gz.old",
            "a-out-20261122-200102.123-out.log",
            "a-out-1-20261122-200102.123.log",
            "a-outer-20261122-200102.123.log",
            "a-out-20261122-200102.123",
            "x-a-out-20261122-200102.123.log",
        ] {
            assert!(parse("a", foreign).is_none(), "{foreign}");
        }
    }

    #[test]
    fn a_path_reads_back_as_what_it_was_made_of() {
        let stamp = FileStamp::parse("20261122-200102.123").unwrap();
        for kind in Kind::ALL {
            for form in [Form::Plain, Form::Gzip, Form::HalfGzip] {
                let path = rotated_path(Path::new("/x"), "my-app.log", kind, stamp, form);
                let file = path.file_name().unwrap().to_str().unwrap();
                assert_eq!(parse("my-app.log", file), Some((kind, stamp, form)));
            }
        }
    }
}
