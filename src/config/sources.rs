//! The text of supervisor.toml and of the files it includes, read once.

use super::include;
use super::mistake::{Mistake, Mistakes};
use super::table;
use serde::{Deserialize, Serialize};
use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A larger file is refused, bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// More included text than this, or more files, is refused.
const LARGEST_TOTAL: usize = 16 << 20;
const MOST_FILES: usize = 1000;

/// The main file first, then what it includes. Equal when nothing on disk that matters has changed: the daemon stores
/// the sources it applied and compares them with what it reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sources {
    pub(super) files: Vec<Source>,
    /// Includes that could not be read: told together with the mistakes in what could.
    pub(super) unread: Vec<Mistake>,
}

/// One file as it was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Source {
    /// Absolute, links not resolved.
    pub(super) path: PathBuf,
    /// As it was given, for messages.
    pub(super) shown: String,
    pub(super) text: String,
    /// The uid.
    pub(super) owner: u32,
    /// See [`others_may_write`].
    pub(super) writable_by_others: bool,
}

impl PartialEq for Source {
    fn eq(&self, other: &Source) -> bool {
        // Not `shown`: the same file named another way is the same file.
        self.path == other.path
            && self.text == other.text
            && self.owner == other.owner
            && self.writable_by_others == other.writable_by_others
    }
}

impl Eq for Source {}

impl Sources {
    /// Reads `path` and what its `[supervisor] include` names.
    ///
    /// # Errors
    /// When the main file cannot be read. A faulty include is told by [`parse`](super::parse()), with everything else.
    pub fn read(path: &Path) -> Result<Sources, Mistakes> {
        let mut reading = Reading { sources: Sources { files: Vec::new(), unread: Vec::new() }, seen: Vec::new() };
        reading.file(path, Wanted::Main)?;
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        for (pattern, place) in reading.sources.includes() {
            if let Err(trouble) = reading.include(&base, &pattern) {
                let main = &reading.sources.files[0];
                let mistake = Mistake::at(
                    main.shown.clone(),
                    &main.text,
                    place,
                    "supervisor.include".to_owned(),
                    trouble.what,
                    trouble.expected,
                );
                reading.sources.unread.push(mistake);
            }
        }
        Ok(reading.sources)
    }

    /// A text that comes from no disk, as if it stood in `path` and `owner` (a uid) owned it.
    pub fn from_text(path: &Path, text: &str, owner: u32) -> Sources {
        let source = Source {
            path: path.to_owned(),
            shown: path.display().to_string(),
            text: text.to_owned(),
            owner,
            writable_by_others: false,
        };
        Sources { files: vec![source], unread: Vec::new() }
    }

    /// The absolute paths of all files, the main one first.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|source| source.path.as_path())
    }

    /// The patterns of the main file's `include` with their places; what is no text is told by `parse`.
    fn includes(&self) -> Vec<(String, std::ops::Range<usize>)> {
        let (root, _) = table::read(&self.files[0].text);
        let include = root.get_ref().get("supervisor").and_then(|supervisor| supervisor.get_ref().get("include"));
        let items = include.and_then(|include| include.get_ref().as_array());
        let text =
            |item: &toml::Spanned<toml::de::DeValue<'_>>| Some((item.get_ref().as_str()?.to_owned(), item.span()));
        items.into_iter().flatten().filter_map(text).collect()
    }
}

/// An include that was not read.
pub(super) struct Trouble {
    pub(super) what: String,
    pub(super) expected: String,
}

enum Wanted {
    Main,
    Included,
}

struct Reading {
    sources: Sources,
    /// Device and inode: a file that two patterns match is read once.
    seen: Vec<(u64, u64)>,
}

impl Reading {
    fn include(&mut self, base: &Path, pattern: &str) -> Result<(), Trouble> {
        for path in include::matches(base, pattern)? {
            if let Err(faults) = self.file(&path, Wanted::Included) {
                self.sources.unread.extend(faults.mistakes);
            }
            let total: usize = self.sources.files.iter().map(|file| file.text.len()).sum();
            if self.sources.files.len() > MOST_FILES || total > LARGEST_TOTAL {
                return Err(Trouble {
                    what: format!("{pattern:?} names more than {MOST_FILES} files or 16M of text"),
                    expected: "name fewer files".to_owned(),
                });
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, wanted: Wanted) -> Result<(), Mistakes> {
        let shown = path.display().to_string();
        let faulty =
            |what: String, expected: &str| Mistakes::from(Mistake::of_file(shown.clone(), what, expected.to_owned()));
        let remedy = match wanted {
            Wanted::Main => "create it (infissi-ctl init DIR prints a start) or name another with --config",
            Wanted::Included => "make it readable or take it out of include",
        };
        let cannot_read = |error: std::io::Error| faulty(format!("cannot read: {error}"), remedy);
        // Not blocking: a FIFO put into an included directory would hold us up for ever.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(cannot_read)?;
        let about = file.metadata().map_err(cannot_read)?;
        if !about.is_file() {
            return Err(faulty("is not a file".to_owned(), remedy));
        }
        if self.seen.contains(&(about.dev(), about.ino())) {
            return Ok(());
        }
        let bytes = bounded(&file).map_err(cannot_read)?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(faulty("is larger than 1M".to_owned(), "split it and use include"));
        }
        let text = String::from_utf8(bytes).map_err(|error| not_utf8(shown.clone(), &error))?;
        let path = std::path::absolute(path).map_err(cannot_read)?;
        self.seen.push((about.dev(), about.ino()));
        let writable_by_others = others_may_write(&about);
        self.sources.files.push(Source { path, shown, text, owner: about.uid(), writable_by_others });
        Ok(())
    }
}

/// Has anybody but the owner the right to write? Not counted is the owner's private group, which by custom has the
/// owner's number and is why a umask of 002 is harmless.
pub(super) fn others_may_write(about: &Metadata) -> bool {
    about.mode() & 0o002 != 0 || (about.mode() & 0o020 != 0 && about.gid() != about.uid())
}

fn bounded(file: &File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn not_utf8(file: String, error: &std::string::FromUtf8Error) -> Mistakes {
    let at = error.utf8_error().valid_up_to();
    let byte = error.as_bytes()[at];
    let text = String::from_utf8_lossy(error.as_bytes());
    let what = format!("the byte 0x{byte:02x} is not UTF-8");
    Mistake::at(file, &text, at..at + 1, String::new(), what, "save the file as UTF-8".to_owned()).into()
}
