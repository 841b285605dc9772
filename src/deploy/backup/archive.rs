//! Files, directories and links → one tar.gz, read and written in a stream: what is in memory is a block, and the names
//! of the directories on the way.

use super::choose::{Choice, Standing, Verdict};
use super::error::BackupError;
use super::place::Place;
use super::{Figures, Watch, shelf};
use crate::linux::folder::Folder;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use jiff::Zoned;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, BufWriter, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// So many things that are not as they should be are told one by one.
const MOST_NOTES: usize = 50;

pub(super) struct Archive {
    tar: tar::Builder<GzEncoder<BufWriter<File>>>,
    dir: PathBuf,
    /// Device and inode of the directory of the backups, which are in no backup.
    shelf: (u64, u64),
    figures: Figures,
    notes: Vec<String>,
    more_notes: u64,
}

/// A directory on the way, and what of it is still to come.
struct Level {
    folder: Folder,
    names: std::vec::IntoIter<OsString>,
    /// In the archive.
    path: PathBuf,
    standing: Standing,
    /// Until it has its entry: one that only leads somewhere gets it with the first thing below.
    unwritten: Option<Metadata>,
    is_shelf: bool,
}

impl Archive {
    pub(super) fn begin(place: &Place, app: &str, now: &Zoned) -> Result<Archive, BackupError> {
        let failed = |source| BackupError::Write { dir: place.dir().to_owned(), source };
        let file = place.begin().map_err(failed)?;
        let shelf = std::fs::metadata(place.dir()).map_err(failed)?;
        let seconds = u32::try_from(now.timestamp().as_second()).unwrap_or(0);
        let header = GzBuilder::new().comment(shelf::mark(app)).mtime(seconds);
        let gzip = header.write(BufWriter::with_capacity(64 << 10, file), Compression::default());
        Ok(Archive {
            tar: tar::Builder::new(gzip),
            dir: place.dir().to_owned(),
            shelf: (shelf.dev(), shelf.ino()),
            figures: Figures::default(),
            notes: Vec::new(),
            more_notes: 0,
        })
    }

    /// Puts in what is chosen below `base`; `prefix` stands before its paths.
    pub(super) fn add(
        &mut self,
        base: &Path,
        prefix: Option<&Path>,
        choice: &mut Choice,
        watch: &mut dyn Watch,
    ) -> Result<(), BackupError> {
        let read = |source| BackupError::Read { path: base.to_owned(), source };
        let folder = Folder::open(base).map_err(read)?;
        let found = folder.metadata().map_err(read)?;
        let path = prefix.unwrap_or(Path::new("")).to_owned();
        let mut way = vec![self.level(folder, path, choice.start(), &found).map_err(read)?];
        way[0].unwritten = prefix.map(|_| found);
        while let Some(level) = way.last_mut() {
            let Some(name) = level.names.next() else {
                way.pop();
                continue;
            };
            if !watch.goes_on(self.figures) {
                return Err(BackupError::Stopped);
            }
            if level.is_shelf && shelf::is_of_backups(&name) {
                continue;
            }
            let standing = match choice.judge(&level.standing, &name) {
                Verdict::Leave => continue,
                Verdict::Way(standing) | Verdict::Take(standing) => standing,
            };
            self.visit(&mut way, &name, standing, watch)?;
        }
        Ok(())
    }

    /// One name in the last directory of the way.
    fn visit(
        &mut self,
        way: &mut Vec<Level>,
        name: &OsStr,
        standing: Standing,
        watch: &mut dyn Watch,
    ) -> Result<(), BackupError> {
        let Some(level) = way.last() else { return Ok(()) };
        let path = level.path.join(name);
        let was_named = standing.is_taken() && !level.standing.is_taken();
        let found = match level.folder.look(name) {
            Ok(found) => found,
            Err(error) => return self.went(path, error),
        };
        let is_taken = standing.is_taken();
        if found.is_dir() {
            let below = level.folder.folder(name).and_then(|folder| self.level(folder, path.clone(), standing, &found));
            match below {
                Ok(below) => way.push(Level { unwritten: Some(found), ..below }),
                Err(error) => return self.went(path, error),
            }
            return if is_taken { self.write_way(way) } else { Ok(()) };
        }
        if !is_taken {
            return Ok(());
        }
        self.write_way(way)?;
        let Some(Level { folder, .. }) = way.last() else { return Ok(()) };
        if found.is_file() {
            return self.add_file(folder, name, path, watch);
        }
        if found.is_symlink() {
            if was_named {
                self.note(format!("{} is a link and kept as one, without what it leads to", path.display()));
            }
            return self.add_link(folder, name, path, &found);
        }
        self.note(format!("{} is a socket, a pipe or a device and was left out", path.display()));
        Ok(())
    }

    fn level(&self, folder: Folder, path: PathBuf, standing: Standing, found: &Metadata) -> io::Result<Level> {
        let names = folder.names()?.into_iter();
        let is_shelf = (found.dev(), found.ino()) == self.shelf;
        Ok(Level { folder, names, path, standing, unwritten: None, is_shelf })
    }

    /// What was listed a moment ago and is something else now, or nothing, is told; what cannot be read ends the backup.
    fn went(&mut self, path: PathBuf, error: io::Error) -> Result<(), BackupError> {
        if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)) {
            return Err(BackupError::Read { path, source: error });
        }
        self.note(format!("{} went away meanwhile", path.display()));
        Ok(())
    }

    fn write_way(&mut self, way: &mut [Level]) -> Result<(), BackupError> {
        for level in way {
            let Some(found) = level.unwritten.take() else { continue };
            let written = self.tar.append_data(&mut header(&found, 0), &level.path, io::empty());
            written.map_err(|source| self.unwritten(source))?;
            self.figures.entries += 1;
        }
        Ok(())
    }

    fn add_link(&mut self, folder: &Folder, name: &OsStr, path: PathBuf, found: &Metadata) -> Result<(), BackupError> {
        let target = match folder.link(name) {
            Ok(target) => target,
            Err(error) => return self.went(path, error),
        };
        let written = self.tar.append_link(&mut header(found, 0), &path, &target);
        written.map_err(|source| self.unwritten(source))?;
        self.figures.entries += 1;
        Ok(())
    }

    fn add_file(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        path: PathBuf,
        watch: &mut dyn Watch,
    ) -> Result<(), BackupError> {
        let opened = folder.file(name).and_then(|file| Ok((file.metadata()?, file)));
        let (found, file) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.went(path, error),
        };
        if !found.is_file() {
            self.note(format!("{} became something else meanwhile", path.display()));
            return Ok(());
        }
        let size = found.len();
        let mut content = Content { file, left: size, was_short: false, end: None, figures: self.figures, watch };
        let written = self.tar.append_data(&mut header(&found, size), &path, &mut content);
        let Content { file, was_short, end, figures, .. } = content;
        self.figures = Figures { entries: figures.entries + 1, bytes: figures.bytes };
        if let Err(error) = written {
            return Err(match end {
                Some(End::Unreadable(source)) => BackupError::Read { path, source },
                Some(End::Stopped) => BackupError::Stopped,
                None => self.unwritten(error),
            });
        }
        let changed =
            |now: Metadata| (now.len(), now.mtime(), now.mtime_nsec()) != (size, found.mtime(), found.mtime_nsec());
        if was_short || file.metadata().is_ok_and(changed) {
            self.note(format!("{} changed while it was read", path.display()));
        }
        Ok(())
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(note);
        } else {
            self.more_notes += 1;
        }
    }

    fn unwritten(&self, source: io::Error) -> BackupError {
        BackupError::Write { dir: self.dir.clone(), source }
    }

    /// Everything on the disk; what was put in, and what was not as it should be.
    pub(super) fn finish(self) -> Result<(Figures, Vec<String>), BackupError> {
        let Archive { tar, dir, figures, mut notes, more_notes, .. } = self;
        let file = tar.into_inner().and_then(GzEncoder::finish).and_then(|file| Ok(file.into_inner()?));
        file.and_then(|file| file.sync_all()).map_err(|source| BackupError::Write { dir, source })?;
        if more_notes > 0 {
            notes.push(format!("and {more_notes} more"));
        }
        Ok((figures, notes))
    }
}

fn header(found: &Metadata, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(found);
    // The type has a field of its own, and a time before 1970 has none.
    header.set_mode(found.mode() & 0o7777);
    header.set_mtime(u64::try_from(found.mtime()).unwrap_or(0));
    header.set_size(size);
    header
}

/// As much of a file as was said beforehand, whatever becomes of it meanwhile: filled up with zeros where it shrank.
struct Content<'w> {
    file: File,
    left: u64,
    was_short: bool,
    end: Option<End>,
    figures: Figures,
    watch: &'w mut dyn Watch,
}

/// Why it ended before its time.
enum End {
    Unreadable(io::Error),
    Stopped,
}

impl Read for Content<'_> {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(block.len());
        if wanted == 0 {
            return Ok(0);
        }
        if !self.watch.goes_on(self.figures) {
            self.end = Some(End::Stopped);
            return Err(io::Error::other("stopped"));
        }
        let mut read = 0;
        if !self.was_short {
            read = match self.file.read(&mut block[..wanted]) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => {
                    self.end = Some(End::Unreadable(error));
                    return Err(io::Error::other("unreadable"));
                }
            };
        }
        if read == 0 {
            self.was_short = true;
            block[..wanted].fill(0);
            read = wanted;
        }
        self.left -= read as u64;
        self.figures.bytes += read as u64;
        Ok(read)
    }
}
