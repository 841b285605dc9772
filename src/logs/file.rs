//! One log file: whole lines go to its end, it is rotated by rename, and it outlives a full disk.
//!
//! ```text
//!            write fails, cannot be opened
//!   Writing ───────────────────────────────▶ Dropping (lines are counted)
//!      ▲                                        │ a try each second: there is room again
//!      └──── "[infissi] N lines were dropped" ──┘
//! ```

use super::app::{Env, Place};
use super::archive::{FileMark, Form, Kind, live_path, rotated_path};
use super::journal::{Journal, Noted};
use super::stamp::FileStamp;
use crate::linux::failpoint;
use crate::linux::logfile::{FileId, as_owner, has_room, open_to_append, reason, rename_to_new};
use memchr::{memchr, memchr_iter, memrchr};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a file is looked for at its path while it is written, and how often what failed is tried again.
const EACH: Duration = Duration::from_secs(1);
/// Room that must be there before lines are taken again, lest the first one fills the disk anew. In bytes.
const ROOM: u64 = 16 * 1024;

/// Something about the files that the operator should know; told once when it begins and once when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogNotice {
    /// The file takes no lines: they are dropped and counted, and the app goes on.
    Dropping { app: Arc<str>, path: PathBuf, error: String },
    /// It takes lines again.
    Recovered { app: Arc<str>, path: PathBuf, dropped_lines: u64 },
    /// The file cannot be rotated or opened anew; lines go on into the one that is open.
    Hindered { app: Arc<str>, path: PathBuf, operation: &'static str, error: String },
}

impl LogNotice {
    pub fn app(&self) -> &Arc<str> {
        match self {
            LogNotice::Dropping { app, .. } | LogNotice::Recovered { app, .. } | LogNotice::Hindered { app, .. } => app,
        }
    }
}

impl fmt::Display for LogNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogNotice::Dropping { path, error, .. } => {
                write!(f, "cannot write log file {}: {error}; lines are dropped and counted", path.display())
            }
            LogNotice::Recovered { path, dropped_lines, .. } => {
                write!(f, "log file {} is written again; {dropped_lines} lines were dropped", path.display())
            }
            LogNotice::Hindered { path, operation, error, .. } => {
                write!(f, "cannot {operation} log file {}: {error}; it is written on", path.display())
            }
        }
    }
}

pub(super) struct LogFile {
    kind: Kind,
    open: Option<Open>,
    dropping: Option<Dropping>,
    /// A rotation or reopening failed; not tried again before this.
    hindered_until: Option<Instant>,
    /// Bytes.
    pub(super) written: u64,
    /// Lines.
    pub(super) dropped: u64,
}

struct Open {
    file: File,
    id: FileId,
    size: u64,
    looked_at: Instant,
    /// Its size when it was last found at its path: what came after is carried over if it has been deleted since.
    safe_size: u64,
    /// The last byte is not a newline.
    torn: bool,
    noted: Noted,
}

struct Dropping {
    error: String,
    lines: u64,
    retry_at: Instant,
}

/// What could not be written, and why.
struct Unwritten<'a> {
    lines: &'a [u8],
    error: io::Error,
}

impl LogFile {
    pub(super) fn new(kind: Kind) -> LogFile {
        LogFile { kind, open: None, dropping: None, hindered_until: None, written: 0, dropped: 0 }
    }

    /// Appends whole lines, rotating where they would not fit; what the disk does not take is counted.
    pub(super) fn write(&mut self, place: &mut Place, env: &Env<'_>, lines: &[u8]) {
        if self.dropping.is_some() && !self.recover(place, env) {
            self.count_dropped(lines);
            return;
        }
        self.look(place, env);
        if let Err(Unwritten { lines, error }) = self.append(place, env, lines) {
            self.begin_dropping(place, env, &error);
            self.count_dropped(lines);
        }
    }

    fn append<'a>(&mut self, place: &mut Place, env: &Env<'_>, mut lines: &'a [u8]) -> Result<(), Unwritten<'a>> {
        while !lines.is_empty() {
            let open = match self.opened(place, env) {
                Ok(open) => open,
                Err(error) => return Err(Unwritten { lines, error }),
            };
            let mut fitting = fitting(lines, open.size, place.max_size());
            if fitting == 0 {
                if self.rotate(place, env) {
                    continue;
                }
                fitting = lines.len();
            }
            // Still open: a failed rotation leaves it so, a successful one goes round.
            let Some(open) = &mut self.open else { continue };
            let (done, result) = open.put(&lines[..fitting], env.journal);
            self.written += done as u64;
            lines = &lines[done..];
            if let Err(error) = result {
                return Err(Unwritten { lines, error });
            }
        }
        Ok(())
    }

    fn opened(&mut self, place: &Place, env: &Env<'_>) -> io::Result<&mut Open> {
        match self.open.take() {
            Some(open) => Ok(self.open.insert(open)),
            None => Ok(self.open.insert(Open::at(place, self.kind, env.now.mono)?)),
        }
    }

    /// Opens it now, so that what is wrong with it is known before the first line.
    pub(super) fn open(&mut self, place: &Place, env: &Env<'_>) {
        if let Err(error) = self.opened(place, env) {
            self.begin_dropping(place, env, &error);
        }
    }

    /// Opens what is at its path now, as after SIGUSR1.
    pub(super) fn reopen(&mut self, place: &Place, env: &Env<'_>) {
        let Some(old) = self.open.take() else { return self.open(place, env) };
        match Open::at(place, self.kind, env.now.mono) {
            Ok(new) if new.id == old.id => self.open = Some(old),
            Ok(new) => {
                self.hindered_until = None;
                let new = self.open.insert(new);
                if let Err(error) = new.carry_over(&old, env.journal) {
                    self.begin_dropping(place, env, &error);
                }
            }
            // Whoever moved it away still has the lines; a deleted one would swallow them.
            Err(error) if old.file.metadata().is_ok_and(|meta| meta.nlink() > 0) => {
                self.open = Some(old);
                self.hinder(place, env, "open anew the", &error);
            }
            Err(error) => self.begin_dropping(place, env, &error),
        }
    }

    /// Each second of writing: is the open file still the one at its path?
    fn look(&mut self, place: &Place, env: &Env<'_>) {
        let Some(open) = &self.open else { return };
        if env.now.mono.saturating_duration_since(open.looked_at) >= EACH {
            self.look_now(place, env);
        }
    }

    fn look_now(&mut self, place: &Place, env: &Env<'_>) {
        let Some(open) = &mut self.open else { return };
        open.looked_at = env.now.mono;
        let path = place.live(self.kind);
        match as_owner(place.settings.owner.as_ref(), || fs::symlink_metadata(&path)) {
            Ok(meta) if FileId::of(&meta) == open.id => {
                // Somebody may have emptied it or written to it.
                open.size = meta.len();
                open.safe_size = meta.len();
            }
            Ok(_) | Err(_) => self.reopen(place, env),
        }
    }

    /// Moves the file aside and begins a new one. False: it could not be moved and is written on.
    pub(super) fn rotate(&mut self, place: &mut Place, env: &Env<'_>) -> bool {
        if self.hindered_until.is_some_and(|until| env.now.mono < until) {
            return false;
        }
        // What is renamed must be what is open, not what somebody put there in the last second.
        let before = self.open.as_ref().map(|open| open.id);
        self.look_now(place, env);
        let Some(open) = &self.open else { return true };
        if before != Some(open.id) || open.size == 0 {
            return true;
        }
        let size = open.size;
        match place.move_aside(self.kind, env.now.wall) {
            Ok(stamp) => {
                self.open = None;
                self.hindered_until = None;
                place.archive.add(self.kind, stamp, size);
                place.untidy = true;
                if place.settings.compress {
                    place.to_compress.push((self.kind, stamp));
                }
                failpoint::here("logs.rotated");
                true
            }
            Err(error) => {
                self.hinder(place, env, "rotate", &error);
                false
            }
        }
    }

    fn hinder(&mut self, place: &Place, env: &Env<'_>, operation: &'static str, error: &io::Error) {
        if self.hindered_until.is_none() {
            let (app, path) = (Arc::clone(&place.settings.app), place.live(self.kind));
            (env.notice)(LogNotice::Hindered { app, path, operation, error: reason(error) });
        }
        self.hindered_until = Some(env.now.mono + EACH);
    }

    fn begin_dropping(&mut self, place: &Place, env: &Env<'_>, error: &io::Error) {
        let (error, retry_at) = (reason(error), env.now.mono + EACH);
        match &mut self.dropping {
            Some(dropping) => (dropping.error, dropping.retry_at) = (error, retry_at),
            None => {
                self.dropping = Some(Dropping { error: error.clone(), lines: 0, retry_at });
                let (app, path) = (Arc::clone(&place.settings.app), place.live(self.kind));
                (env.notice)(LogNotice::Dropping { app, path, error });
            }
        }
    }

    fn count_dropped(&mut self, lines: &[u8]) {
        let count = memchr_iter(b'\n', lines).count() as u64;
        self.dropped += count;
        if let Some(dropping) = &mut self.dropping {
            dropping.lines += count;
        }
    }

    /// Tries, once a second, whether the file takes lines again; the first is the one that says how many are missing.
    pub(super) fn recover(&mut self, place: &mut Place, env: &Env<'_>) -> bool {
        let Some(dropping) = &self.dropping else { return true };
        if env.now.mono < dropping.retry_at {
            return false;
        }
        let (lines, cause) = (dropping.lines, dropping.error.clone());
        self.look_now(place, env);
        if let Err(error) = self.take_up(place, env, lines, &cause) {
            self.begin_dropping(place, env, &error);
            return false;
        }
        self.dropping = None;
        let (app, path) = (Arc::clone(&place.settings.app), place.live(self.kind));
        (env.notice)(LogNotice::Recovered { app, path, dropped_lines: lines });
        true
    }

    fn take_up(&mut self, place: &Place, env: &Env<'_>, lines: u64, cause: &str) -> io::Result<()> {
        let kind = self.kind;
        let open = self.opened(place, env)?;
        if !has_room(&open.file, open.size, ROOM) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        if lines == 0 {
            return Ok(());
        }
        let text = place.render_notice(kind, env, &format!("[infissi] {lines} lines were dropped: {cause}\n"));
        let (done, result) = open.put(&text, env.journal);
        self.written += done as u64;
        result
    }

    /// When a timer must try again what failed.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.dropping.as_ref().map(|dropping| dropping.retry_at)
    }

    /// Empties the file.
    pub(super) fn empty(&mut self, place: &Place, env: &Env<'_>) -> io::Result<()> {
        self.look_now(place, env);
        let open = self.opened(place, env)?;
        open.file.set_len(0)?;
        (open.size, open.safe_size, open.torn) = (0, 0, false);
        Ok(())
    }

    /// Bytes in the live file.
    pub(super) fn size(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.size)
    }

    /// When it was last written to, by the file system's clock.
    pub(super) fn modified(&self) -> Option<std::time::SystemTime> {
        self.open.as_ref().and_then(|open| open.file.metadata().ok()?.modified().ok())
    }

    pub(super) fn mark(&self, place: &Place) -> FileMark {
        FileMark { rotated: place.archive.last(self.kind), size: self.size() }
    }

    /// Why it drops lines now.
    pub(super) fn error(&self) -> Option<&str> {
        self.dropping.as_ref().map(|dropping| dropping.error.as_str())
    }
}

/// How many bytes of `lines`, whole lines, go into a file of `size` bytes; an empty file takes at least one line.
pub(super) fn fitting(lines: &[u8], size: u64, max_size: u64) -> usize {
    let room = usize::try_from(max_size.saturating_sub(size)).unwrap_or(usize::MAX);
    if lines.len() <= room {
        return lines.len();
    }
    match memrchr(b'\n', &lines[..room]) {
        Some(newline) => newline + 1,
        None if size == 0 => memchr(b'\n', lines).map_or(lines.len(), |newline| newline + 1),
        None => 0,
    }
}

impl Open {
    fn at(place: &Place, kind: Kind, now: Instant) -> io::Result<Open> {
        let path = place.live(kind);
        let file = as_owner(place.settings.owner.as_ref(), || open_to_append(&path, place.settings.chown_to))?;
        let meta = file.metadata()?;
        let size = meta.len();
        let torn = ends_torn(&file, size);
        Ok(Open { id: FileId::of(&meta), size, looked_at: now, safe_size: size, torn, noted: Noted::default(), file })
    }

    /// Writes whole lines. Returns the bytes of them that are in the file for good, in whole lines too: half a line that
    /// the disk took is cut off again, or given its newline before the next one where that fails.
    fn put(&mut self, lines: &[u8], journal: &Journal) -> (usize, io::Result<()>) {
        journal.note(&mut self.noted, self.id, self.size, lines.len() + usize::from(self.torn));
        failpoint::here("logs.noted");
        if self.torn {
            match self.file.write(b"\n") {
                Ok(written) => self.size += written as u64,
                Err(error) => return (0, Err(error)),
            }
            self.torn = false;
        }
        let mut done = 0;
        while done < lines.len() {
            match self.file.write(&lines[done..]) {
                Ok(0) => return self.cut_back(lines, done, io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    done += written;
                    self.size += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.cut_back(lines, done, error),
            }
        }
        failpoint::here("logs.written");
        (done, Ok(()))
    }

    fn cut_back(&mut self, lines: &[u8], done: usize, error: io::Error) -> (usize, io::Result<()>) {
        let whole = memrchr(b'\n', &lines[..done]).map_or(0, |newline| newline + 1);
        let half = (done - whole) as u64;
        if half > 0 {
            // Only where nobody else has written behind us.
            let ours = self.file.metadata().is_ok_and(|meta| meta.len() == self.size);
            if ours && self.file.set_len(self.size - half).is_ok() {
                self.size -= half;
            } else {
                self.torn = true;
            }
        }
        (whole, Err(error))
    }

    /// Takes over what was written into `old` after it had been deleted: nobody else can reach it there.
    fn carry_over(&mut self, old: &Open, journal: &Journal) -> io::Result<()> {
        let found = old.file.metadata()?;
        if found.nlink() > 0 {
            return Ok(());
        }
        let left = found.len().saturating_sub(old.safe_size);
        journal.note(&mut self.noted, self.id, self.size, usize::try_from(left).unwrap_or(usize::MAX));
        let (mut at, mut block) = (old.safe_size, vec![0; 64 * 1024]);
        loop {
            match old.file.read_at(&mut block, at)? {
                0 => {
                    // Nobody else has them: they stay when what comes next is cut off.
                    self.noted = Noted::default();
                    return Ok(());
                }
                read => {
                    self.file.write_all(&block[..read])?;
                    self.size += read as u64;
                    at += read as u64;
                }
            }
        }
    }
}

/// A crash, or somebody's editor, may have left half a line at the end.
fn ends_torn(file: &File, size: u64) -> bool {
    let mut last = [b'\n'];
    size > 0 && file.read_at(&mut last, size - 1).is_ok() && last[0] != b'\n'
}

impl Place {
    /// Renames the live file to the name of this moment.
    fn move_aside(&self, kind: Kind, now: jiff::Timestamp) -> io::Result<FileStamp> {
        let settings = &self.settings;
        let live = live_path(&settings.dir, &settings.name, kind);
        let mut stamp = self.archive.next_stamp(kind, FileStamp::of(now));
        as_owner(settings.owner.as_ref(), || {
            for _ in 0..1000 {
                let path = |form| rotated_path(&settings.dir, &settings.name, kind, stamp, form);
                match rename_to_new(&live, &path(Form::Plain)) {
                    Ok(()) => return Ok(stamp),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => stamp = stamp.next(),
                    Err(error) => return Err(error),
                }
            }
            Err(io::Error::from(io::ErrorKind::AlreadyExists))
        })
    }
}
