//! The directory of the backups while one is made: its lock, the archive under a name of its own, `{out}`. They go with
//! the value, and what a killed one left goes with the next.

use super::error::BackupError;
use crate::api::BackupPlan;
use crate::linux::atomic::give_new_name;
use jiff::Zoned;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub(super) struct Place {
    app: String,
    dir: PathBuf,
    draft: PathBuf,
    out: PathBuf,
    lock: PathBuf,
    /// Held as long as it is open: flock(2). No command inherits it.
    _held: File,
}

impl Place {
    /// The directory, made if need be, with the only right to make a backup of that app in it.
    pub(super) fn take(plan: &BackupPlan, now: &Zoned) -> Result<Place, BackupError> {
        let dir = PathBuf::from(&plan.dir);
        let refused = |source: io::Error| refusal(plan, source);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(refused)?;
        // As people copy it: a relative `dir` has `..` in it.
        let dir = fs::canonicalize(&dir).map_err(refused)?;
        let hidden = |end: &str| dir.join(format!(".backup-{}{end}", plan.app));
        let lock = hidden(".lock");
        let held = loop {
            let mut file = open_lock(&lock).map_err(refused)?;
            match file.try_lock() {
                Ok(()) if is_still(&file, &lock) => break file,
                // Whoever had it took the file away in the same moment.
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(busy(plan, &mut file, now)),
                Err(TryLockError::Error(source)) => return Err(refused(source)),
            }
        };
        // Each has an `{out}` of its own: a command of one that was killed may still go on.
        let out = hidden(&format!(".{}.out", std::process::id()));
        let place = Place { app: plan.app.clone(), draft: hidden(".tar.gz.new"), out, dir, lock, _held: held };
        place.clear();
        // The pid is a courtesy.
        let _unsigned = place.sign();
        Ok(place)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The archive until it has its name.
    pub(super) fn draft(&self) -> &Path {
        &self.draft
    }

    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    pub(super) fn has_out(&self) -> bool {
        self.out.is_dir()
    }

    /// Makes `{out}`, empty and private.
    pub(super) fn make_out(&self) -> Result<PathBuf, BackupError> {
        let made = DirBuilder::new().mode(0o700).create(&self.out);
        made.map_err(|source| BackupError::Write { dir: self.dir.clone(), source })?;
        Ok(self.out.clone())
    }

    /// The file of the archive, empty.
    pub(super) fn begin(&self) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.draft)
    }

    /// The archive gets its name, which has to be free.
    pub(super) fn publish(&self, path: &Path) -> io::Result<()> {
        give_new_name(&self.draft, path)
    }

    /// Our pid, for whoever comes meanwhile.
    fn sign(&self) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).truncate(true).open(&self.lock)?;
        writeln!(file, "{}", std::process::id())
    }

    /// `.backup-APP.PID.out`
    fn is_out(&self, name: &OsStr) -> bool {
        let inner = name.to_str().and_then(|name| name.strip_prefix(".backup-")?.strip_suffix(".out"));
        let pid = inner.and_then(|inner| inner.strip_prefix(self.app.as_str())?.strip_prefix('.'));
        pid.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()))
    }

    fn clear(&self) {
        // What is not there need not go.
        let _no_draft = fs::remove_file(&self.draft);
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for out in entries.filter(|entry| self.is_out(&entry.file_name())) {
            let _gone = fs::remove_dir_all(out.path());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
        // While it is held: who comes next either finds it locked or makes a new one.
        let _gone = fs::remove_file(&self.lock);
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(path)
}

/// Is the file that we have locked the one that others would lock?
fn is_still(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (held.dev(), held.ino()) == (there.dev(), there.ino())
}

fn busy(plan: &BackupPlan, file: &mut File, now: &Zoned) -> BackupError {
    let mut text = String::new();
    let pid = file.take(32).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
    let begun = file.metadata().ok().map(|found| found.mtime() * 1000);
    let since_ms = begun.map(|begun| u64::try_from(now.timestamp().as_millisecond() - begun).unwrap_or(0));
    BackupError::Busy { app: plan.app.clone(), pid, since_ms }
}

fn refusal(plan: &BackupPlan, source: io::Error) -> BackupError {
    let dir = PathBuf::from(&plan.dir);
    if source.kind() == io::ErrorKind::PermissionDenied {
        return BackupError::NotAllowed { user: plan.user.clone(), dir, source };
    }
    if super::error::is_full(&source) {
        return BackupError::Write { dir, source };
    }
    BackupError::Dir { dir, source }
}
