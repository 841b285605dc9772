//! Where a backup is unpacked, and where what it replaces is kept: `ROOT/restores/ID`. The name of the directory tells
//! how far it has come.

use super::note::{Note, Places};
use super::parts::{Part, Parts};
use super::{Found, GoOn, Unrestored, unpacked};
use crate::api::Refusal;
use crate::deploy::backup::{Figures, OUT};
use crate::deploy::root::Root;
use crate::deploy::{cannot, failed};
use crate::linux::atomic::{exchange, move_to};
use crate::linux::disk::sync;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const UNPACKING: &str = ".unpacking";
const PLACING: &str = ".placing";
const LEFT: &str = "left";

pub struct Staging {
    /// ROOT, whose paths are replaced.
    base: PathBuf,
    /// ROOT/restores/ID
    finished: PathBuf,
    /// What it is called now.
    dir: PathBuf,
    /// What changes places, once it does.
    note: Note,
}

/// What earlier restores left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swept {
    /// It was cut off before anything was touched, and is removed.
    Unpacking(PathBuf),
    /// It was cut off while paths changed places: all of them are again as before, and what had come is kept there.
    Placing(PathBuf),
    /// It was cut off when everything was in its place, which stays: what it had replaced is kept there.
    Placed(PathBuf),
}

impl Swept {
    pub fn in_words(&self) -> String {
        match self {
            Swept::Unpacking(_) => {
                "a restore was cut off before it touched anything: what it had unpacked is removed".to_owned()
            }
            Swept::Placing(dir) => format!(
                "a restore was cut off while it put files into place: what was there before is there again, and what it \
                 had put there is in {}/{LEFT}",
                dir.display()
            ),
            Swept::Placed(dir) => format!(
                "a restore was cut off after it had put all files into place, where they stay; what it had replaced is \
                 in {}/before",
                dir.display()
            ),
        }
    }
}

/// What earlier restores have kept, the oldest first.
pub fn kept(root: &Root) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.restores()).into_iter().flatten().flatten();
    let mut kept: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    kept.sort();
    kept
}

/// What others before have left is brought to its end, with the deploy's lock held.
///
/// # Errors
/// The disk or its rights are against it: what is where, and the next step.
pub fn sweep(root: &Root) -> Result<Vec<Swept>, Refusal> {
    let mut swept = Vec::new();
    for dir in kept(root) {
        let name = dir.to_string_lossy().into_owned();
        if name.ends_with(UNPACKING) {
            fs::remove_dir_all(&dir).map_err(cannot("remove", &dir))?;
            swept.push(Swept::Unpacking(dir));
        } else if let Some(finished) = name.strip_suffix(PLACING) {
            let finished = PathBuf::from(finished);
            let base = root.dir().to_owned();
            let note = Note::read(&dir);
            let is_half_way = note.is_some();
            let mut staging = Staging { base, finished: finished.clone(), dir, note: note.unwrap_or_default() };
            if is_half_way {
                staging.put_back()?;
            }
            staging.finish()?;
            swept.push(if is_half_way { Swept::Placing(finished) } else { Swept::Placed(finished) });
        }
    }
    Ok(swept)
}

impl Staging {
    /// A directory for it, with the deploy's lock held; what was left by others before.
    ///
    /// # Errors
    /// The disk or its rights are against it.
    pub fn begin(root: &Root, id: &str) -> Result<(Staging, Vec<Swept>), Refusal> {
        let restores = root.restores();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&restores);
        made.map_err(cannot("make", &restores))?;
        let swept = sweep(root)?;
        let finished = restores.join(id);
        let dir = restores.join(format!("{id}{UNPACKING}"));
        DirBuilder::new().mode(0o700).create(&dir).map_err(cannot("make", &dir))?;
        let staging = Staging { base: root.dir().to_owned(), finished, dir, note: Note::default() };
        let files = staging.files();
        DirBuilder::new().mode(0o700).create(&files).map_err(cannot("make", &files))?;
        Ok((staging, swept))
    }

    /// Where it is once it is over.
    pub fn kept(&self) -> &Path {
        &self.finished
    }

    /// What is unpacked and has not found its place.
    pub fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// Where that is once it is over.
    pub fn left(&self) -> PathBuf {
        self.finished.join(LEFT)
    }

    /// # Errors
    /// Why it is not all there.
    pub fn unpack(&self, found: &Found, go_on: GoOn<'_>) -> Result<Figures, Unrestored> {
        let figures = unpacked(found, &self.files(), go_on)?;
        // No part of the app's files: nothing is to be put where they stand.
        self.put_aside(OUT)?;
        sync(&self.dir).map_err(cannot("write", &self.dir))?;
        Ok(figures)
    }

    /// Takes a path of the archive out of what is put into place.
    ///
    /// # Errors
    /// rename(2)'s.
    pub fn put_aside(&self, path: &str) -> Result<(), Refusal> {
        let (from, to) = (self.files().join(path), self.dir.join(path));
        if fs::symlink_metadata(&from).is_err() {
            return Ok(());
        }
        parents(&to)?;
        move_to(&from, &to).map_err(cannot("move", &from))
    }

    /// The parts change places with what is there: all of them or, where one cannot, none.
    ///
    /// # Errors
    /// One cannot.
    pub fn place(&mut self, parts: &Parts) -> Result<(), Refusal> {
        self.note = Note::of(&parts.parts, &self.base)?;
        self.note.write(&self.dir)?;
        self.rename(PLACING)?;
        let placed = parts.parts.iter().try_for_each(|part| self.place_one(part));
        placed.and_then(|()| self.end_note()).map_err(|refusal| {
            match self.put_back().and_then(|()| self.rename(UNPACKING)) {
                Ok(()) => refusal.hint("what was there before is there again; unpack it by hand: --into DIRECTORY"),
                Err(worse) => failed(format!("{}, and then {}", refusal.message, worse.message))
                    .hint(worse.hint.unwrap_or_default()),
            }
        })
    }

    fn place_one(&self, part: &Part) -> Result<(), Refusal> {
        let (live, new) = (self.base.join(&part.path), self.files().join(&part.path));
        let before = self.before().join(&part.path);
        let failed = cannot("replace", &live);
        parents(&before)?;
        match (part.is_in_backup, part.is_there) {
            (true, true) => exchange(&live, &new).and_then(|()| move_to(&new, &before)).map_err(&failed),
            (true, false) => move_to(&new, &live).map_err(&failed),
            (false, _) => move_to(&live, &before).map_err(&failed),
        }
    }

    /// Everything is again as it was before.
    ///
    /// # Errors
    /// Something is not: what, and where it is instead.
    pub fn put_back(&mut self) -> Result<(), Refusal> {
        // Of what has been all in place: cut off now, it is half way again. Where that cannot be written, so be it.
        let _unwritten = self.note.write(&self.dir);
        self.note.put_back(&Places { base: &self.base, before: &self.before(), files: &self.files() })?;
        self.end_note()
    }

    /// What is as it is now stays so.
    fn end_note(&self) -> Result<(), Refusal> {
        sync(&self.dir).map_err(cannot("write", &self.dir))?;
        Note::remove(&self.dir)
    }

    /// What was there before, if anything is kept of it.
    pub fn before(&self) -> PathBuf {
        self.dir.join("before")
    }

    /// It is over: the directory gets its name, and what has not found its place is `left` in it.
    ///
    /// # Errors
    /// rename(2)'s.
    pub fn finish(&mut self) -> Result<(), Refusal> {
        let (files, left) = (self.files(), self.dir.join(LEFT));
        remove_empty(&files);
        remove_empty(&self.before());
        if files.exists() {
            move_to(&files, &left).map_err(cannot("rename", &files))?;
        }
        let is_empty = fs::read_dir(&self.dir).is_ok_and(|mut entries| entries.next().is_none());
        self.rename("")?;
        if is_empty {
            let _gone = fs::remove_dir(&self.dir);
        }
        Ok(())
    }

    fn rename(&mut self, end: &str) -> Result<(), Refusal> {
        let mut name = self.finished.clone().into_os_string();
        name.push(end);
        let name = PathBuf::from(name);
        move_to(&self.dir, &name).map_err(cannot("rename", &self.dir))?;
        self.dir = name;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.dir.to_string_lossy().ends_with(UNPACKING) {
            // What stays of it is removed by the next.
            let _gone = fs::remove_dir_all(&self.dir);
        }
    }
}

fn parents(path: &Path) -> Result<(), Refusal> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(cannot("make", parent))
}

/// Removes a directory in which there are only directories.
fn remove_empty(dir: &Path) {
    let below = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_empty(&entry.path());
    }
    // The others stay for what is in them.
    let _not_empty: io::Result<()> = fs::remove_dir(dir);
}
