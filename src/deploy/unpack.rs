//! A tar archive that somebody else packed → a directory: everything in it, nothing outside of it.
//!
//! No entry is written through a link, whoever made that; links are made as they are, and followed by nobody here.

mod entries;

use super::backup::Figures;
use super::{is_full, why};
use crate::api::Refusal;
use crate::linux::folder::Folder;
use entries::{Entries, Entry, Kind, some};
use flate2::read::MultiGzDecoder;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs::{FileTimes, Permissions};
use std::io::{self, Cursor, Read, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Each holds a descriptor, of which there are some thousand.
const DEEPEST: usize = 256;
/// What a directory has that the archive does not name.
const MODE: u32 = 0o755;
/// What packers put first, and their names.
const PACKINGS: [(&[u8], &str); 4] =
    [(b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ", "xz"), (b"BZh", "bzip2"), (b"PK\x03\x04", "zip")];
const GZIP: &[u8] = b"\x1f\x8b";

/// Why there is nothing, or half of it, in the directory.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Whoever was asked wanted no more of it.
    #[error("the unpacking was stopped")]
    Stopped,
    #[error("nothing came")]
    Nothing,
    #[error("there is no file in the archive")]
    Empty,
    #[error("the archive is packed with {0}")]
    Packing(&'static str),
    #[error("what came is no tar archive")]
    NoArchive,
    #[error("the archive ends in the middle")]
    Truncated,
    #[error("the archive is damaged: {0}")]
    Unsound(String),
    #[error("{} in the archive {why}", .path.display())]
    Entry { path: PathBuf, why: String },
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Unpacks `stream`, plain or gzip, into the directory `into`, which is there and in which nobody else works. Files are
/// the caller's and keep their modes, save what would make them run as somebody (setuid, setgid, sticky); a directory
/// stays its owner's to change. `go_on` is asked at least at every read, and a stream that has nothing just now is to
/// say `WouldBlock` a few times a second.
///
/// # Errors
/// Why it is not all there. What was unpacked until then is, and for the caller to remove.
pub fn unpack(
    stream: impl Read,
    into: &Path,
    go_on: &mut dyn FnMut(Figures) -> ControlFlow<()>,
) -> Result<Figures, UnpackError> {
    let stream = opened(stream, go_on)?;
    let top = Folder::open(into).map_err(|source| UnpackError::Write { path: into.to_owned(), source })?;
    let mut entries = Entries::new(stream, go_on);
    let mut way = Way { top, levels: Vec::new() };
    let mut block = vec![0; 64 << 10];
    while let Some(entry) = entries.next()? {
        let at = At { path: plain(&entry.path)? };
        way.put(&at, entry, &mut entries, &mut block)?;
    }
    way.leave(0)?;
    if entries.figures.entries == 0 {
        return Err(UnpackError::Empty);
    }
    Ok(entries.figures)
}

/// Reads all of it as [`unpack`] would, and writes nothing. `hear` is given each path, and where it leads if it is a link.
///
/// # Errors
/// What can be told of the archive by itself is wrong with it.
pub(super) fn look_through(
    stream: impl Read,
    go_on: &mut dyn FnMut(Figures) -> ControlFlow<()>,
    hear: &mut dyn FnMut(&[OsString], Option<&OsStr>),
) -> Result<Figures, UnpackError> {
    let stream = opened(stream, go_on)?;
    let mut entries = Entries::new(stream, go_on);
    while let Some(Entry { path, kind, .. }) = entries.next()? {
        let at = At { path: plain(&path)? };
        match kind {
            Kind::Refused(why) => return Err(at.refused(why)),
            Kind::Link(target) => hear(&at.path, Some(OsStr::from_bytes(&target))),
            Kind::OtherName(other) => {
                plain(&other)?;
                hear(&at.path, None);
            }
            Kind::File | Kind::Directory => hear(&at.path, None),
        }
    }
    if entries.figures.entries == 0 {
        return Err(UnpackError::Empty);
    }
    Ok(entries.figures)
}

/// Told apart by what stands first.
fn opened<'s>(
    mut stream: impl Read + 's,
    go_on: &mut dyn FnMut(Figures) -> ControlFlow<()>,
) -> Result<Box<dyn Read + 's>, UnpackError> {
    let (mut first, mut length) = ([0; 6], 0);
    while length < first.len() {
        match some(&mut stream, &mut first[length..], &mut || go_on(Figures::default()))? {
            0 => break,
            read => length += read,
        }
    }
    let first = first[..length].to_vec();
    if first.is_empty() {
        return Err(UnpackError::Nothing);
    }
    if let Some((_, packing)) = PACKINGS.iter().find(|(magic, _)| first.starts_with(magic)) {
        return Err(UnpackError::Packing(packing));
    }
    let is_gzip = first.starts_with(GZIP);
    let whole = Cursor::new(first).chain(stream);
    Ok(if is_gzip { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

/// Where an entry goes, below the top.
struct At {
    path: Vec<OsString>,
}

impl At {
    fn whole(&self) -> PathBuf {
        self.path.iter().collect()
    }

    fn refused(&self, why: impl Into<String>) -> UnpackError {
        UnpackError::Entry { path: self.whole(), why: why.into() }
    }

    fn unwritten(&self, source: io::Error) -> UnpackError {
        UnpackError::Write { path: self.whole(), source }
    }

    /// What stands there is no directory: a link does not count as one.
    fn astray(&self, source: io::Error) -> UnpackError {
        match source.raw_os_error() {
            Some(libc::ENOTDIR | libc::ELOOP) => self.refused("leads through a link or a file"),
            _ => self.unwritten(source),
        }
    }
}

/// The directories that lead to where the last entry went, held open: the next one mostly goes there, too.
struct Way {
    top: Folder,
    levels: Vec<Level>,
}

struct Level {
    name: OsString,
    folder: Folder,
    /// The mode and the time that it gets once nothing more is put into it.
    last: Option<(u32, Option<SystemTime>)>,
}

impl Way {
    fn put(&mut self, at: &At, entry: Entry, entries: &mut Entries<'_>, block: &mut [u8]) -> Result<(), UnpackError> {
        let Entry { kind, mode, modified, .. } = entry;
        let Some((name, parents)) = at.path.split_last() else {
            // The top itself stays as it is.
            return match kind {
                Kind::Directory => Ok(()),
                Kind::File | Kind::Link(_) | Kind::OtherName(_) | Kind::Refused(_) => {
                    Err(UnpackError::Unsound("an entry has no name".to_owned()))
                }
            };
        };
        match kind {
            Kind::Refused(why) => Err(at.refused(why)),
            Kind::Directory => {
                self.enter(&at.path, at)?;
                if let Some(level) = self.levels.last_mut() {
                    // Setgid hands the group on, sticky keeps others' hands off. And what its owner could not write to,
                    // no prune could remove.
                    level.last = Some((mode & 0o3777 | 0o700, Some(modified)));
                }
                Ok(())
            }
            Kind::Link(target) => {
                let folder = self.clear(parents, name, at)?;
                folder.make_link(name, OsStr::from_bytes(&target)).map_err(|source| at.unwritten(source))
            }
            Kind::OtherName(other) => self.name_again(at, &plain(&other)?),
            Kind::File => {
                let folder = self.clear(parents, name, at)?;
                let mut file = folder.make_file(name).map_err(|source| at.unwritten(source))?;
                loop {
                    match entries.read(block)? {
                        0 => break,
                        read => file.write_all(&block[..read]).map_err(|source| at.unwritten(source))?,
                    }
                }
                let finished = file
                    .set_permissions(Permissions::from_mode(mode & 0o777))
                    .and_then(|()| file.set_times(FileTimes::new().set_modified(modified)));
                finished.map_err(|source| at.unwritten(source))
            }
        }
    }

    /// One more name for a file that is there.
    fn name_again(&mut self, at: &At, other: &[OsString]) -> Result<(), UnpackError> {
        let (Some((name, parents)), Some((other_name, other_parents))) = (at.path.split_last(), other.split_last())
        else {
            return Err(at.refused("is a hard link to a directory"));
        };
        if at.path == other {
            return Ok(());
        }
        let mut of: Option<Folder> = None;
        for parent in other_parents {
            let next = of.as_ref().unwrap_or(&self.top).folder(parent);
            of = Some(next.map_err(|_| at.refused("is a hard link to what was not in the archive before it"))?);
        }
        match of.as_ref().unwrap_or(&self.top).look(other_name) {
            Ok(there) if there.is_file() => {}
            Ok(_) => return Err(at.refused("is a hard link to what is no file")),
            Err(_) => return Err(at.refused("is a hard link to what was not in the archive before it")),
        }
        self.clear(parents, name, at)?;
        let made = self.folder().make_other_name(name, of.as_ref().unwrap_or(&self.top), other_name);
        made.map_err(|source| at.unwritten(source))
    }

    /// The directory in which the name is free now: the later one counts, as with tar.
    fn clear(&mut self, parents: &[OsString], name: &OsStr, at: &At) -> Result<&Folder, UnpackError> {
        self.enter(parents, at)?;
        let folder = self.folder();
        match folder.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => Err(at.refused("was a directory before")),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at.unwritten(error)),
            Ok(()) | Err(_) => Ok(folder),
        }
    }

    fn folder(&self) -> &Folder {
        self.levels.last().map_or(&self.top, |level| &level.folder)
    }

    /// Goes to that directory, making what is not there.
    fn enter(&mut self, path: &[OsString], at: &At) -> Result<(), UnpackError> {
        if path.len() > DEEPEST {
            return Err(at.refused(format!("lies deeper than {DEEPEST} directories")));
        }
        let common = self.levels.iter().zip(path).take_while(|(level, name)| level.name == **name).count();
        self.leave(common)?;
        for name in &path[common..] {
            let within = self.folder();
            let (folder, last) = match within.folder(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    (within.make_folder(name).map_err(|source| at.unwritten(source))?, Some((MODE, None)))
                }
                opened => (opened.map_err(|error| at.astray(error))?, None),
            };
            self.levels.push(Level { name: name.clone(), folder, last });
        }
        Ok(())
    }

    /// Leaves all but the first so many directories.
    fn leave(&mut self, kept: usize) -> Result<(), UnpackError> {
        while self.levels.len() > kept {
            let path: PathBuf = self.levels.iter().map(|level| level.name.as_os_str()).collect();
            let Some(Level { folder, last, .. }) = self.levels.pop() else { break };
            if let Some((mode, modified)) = last {
                folder.finish(mode, modified).map_err(|source| UnpackError::Write { path, source })?;
            }
        }
        Ok(())
    }
}

/// The components of a path that stays inside; none for the top itself.
fn plain(path: &[u8]) -> Result<Vec<OsString>, UnpackError> {
    let refused = |why: &str| {
        let path = PathBuf::from(OsString::from_vec(path.to_owned()));
        UnpackError::Entry { path, why: why.to_owned() }
    };
    if path.starts_with(b"/") {
        return Err(refused("is an absolute path"));
    }
    if path.contains(&0) {
        return Err(refused("has a zero byte in its name"));
    }
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." {
            return Err(refused("leads out with .."));
        }
        parts.push(OsString::from_vec(part.to_owned()));
    }
    Ok(parts)
}

impl UnpackError {
    /// As an answer: what, why, and the next step. Nothing of the archive is left by then.
    pub fn refusal(&self) -> Refusal {
        let hint = match self {
            UnpackError::Stopped => "run it again when it suits",
            UnpackError::Nothing | UnpackError::Empty => {
                "did what packs it fail? tar czf - -C DIR . packs what is in a directory"
            }
            UnpackError::Packing(_) | UnpackError::NoArchive => "plain tar and tar.gz are taken: tar czf - -C DIR .",
            UnpackError::Truncated => "was what packs it, or the connection, cut off? send it again",
            UnpackError::Unsound(_) => "send it again; ssh without -t, for a terminal changes what passes through it",
            UnpackError::Entry { .. } => "pack only files, directories and links: tar czf - -C DIR .",
            UnpackError::Read(_) => "send it again",
            UnpackError::Write { source, .. } if is_full(source) => "make room on that disk, and send it again",
            UnpackError::Write { .. } => "look at the disk and its rights: df, ls -ld",
        };
        let message = match self.source().and_then(|source| source.downcast_ref::<io::Error>()) {
            Some(cause) => format!("{self}: {}", why(cause)),
            None => self.to_string(),
        };
        super::failed(message).hint(hint)
    }
}

#[cfg(test)]
mod tests;
