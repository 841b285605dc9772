//! Which paths change places: those that the backup table means, as large as can be, so that few renames do it. What it
//! leaves out stays where it is.

use crate::api::{BackupPlan, Refusal};
use crate::deploy::backup::{Choice, OUT, Standing, Verdict, is_of_backups};
use crate::deploy::{cannot, failed};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What stands in a root beside what is shared: releases come back as releases, the rest is made anew by a deploy.
const OF_THE_ROOT: [&str; 8] = ["releases", "deploys", "repo.git", "cache", "live", "deploy.lock", "restores", OUT];
/// So many paths are told one by one.
const MOST_TOLD: usize = 20;

/// A path below the root that is replaced whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub path: PathBuf,
    pub is_in_backup: bool,
    pub is_there: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parts {
    pub parts: Vec<Part>,
    /// In the archive, and not meant by the table.
    pub left: Paths,
    /// Meant by the table, and not in the archive: as it is, it stays.
    pub missing: Paths,
    /// There now, in a directory that is replaced, and not in the archive.
    pub newer: Paths,
}

/// The first of them, and how many there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Paths {
    pub first: Vec<PathBuf>,
    pub count: u64,
}

impl Paths {
    fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.first.len() < MOST_TOLD {
            self.first.push(path.to_owned());
        }
    }
}

impl Parts {
    /// Of what is unpacked in `files` and is to come to `base`.
    ///
    /// # Errors
    /// Something cannot be looked at, or is on another disk, where no rename leads.
    pub fn of(plan: &BackupPlan, base: &Path, files: &Path) -> Result<Parts, Refusal> {
        let mut choice = Choice::of(plan).map_err(|error| error.refusal())?;
        let standing = choice.start();
        let disk = std::fs::metadata(base).map_err(cannot("look at", base))?.dev();
        let shelf = std::fs::metadata(&plan.dir).ok().map(|shelf| (shelf.dev(), shelf.ino()));
        let mut walk = Walk { choice, base, files, disk, shelf, found: Parts::default() };
        let (parts, _) = walk.below(Path::new(""), &standing)?;
        Ok(Parts { parts, ..walk.found })
    }

    /// Is a name at the top of the archive one that comes back as it is?
    ///
    /// # Errors
    /// The patterns of the plan make no sense.
    pub fn means(plan: &BackupPlan, top: &OsStr) -> Result<bool, Refusal> {
        let mut choice = Choice::of(plan).map_err(|error| error.refusal())?;
        let standing = choice.start();
        Ok(!is_of_the_root(top) && !matches!(choice.judge(&standing, top), Verdict::Leave))
    }
}

fn is_of_the_root(name: &OsStr) -> bool {
    OF_THE_ROOT.iter().any(|own| name == *own)
}

struct Walk<'w> {
    choice: Choice,
    base: &'w Path,
    files: &'w Path,
    disk: u64,
    /// Device and inode of the directory of the backups, which are in none and stay where they are.
    shelf: Option<(u64, u64)>,
    found: Parts,
}

impl Walk<'_> {
    /// The parts below a directory that is on both sides, and whether these are all that is in it.
    fn below(&mut self, at: &Path, standing: &Standing) -> Result<(Vec<Part>, bool), Refusal> {
        let (mut parts, mut is_whole) = (Vec::new(), true);
        let mut names = names(&self.base.join(at))?;
        names.append(&mut self::names(&self.files.join(at))?);
        let is_shelf = look(&self.base.join(at))?.map(|dir| (dir.dev(), dir.ino())) == self.shelf;
        for name in names {
            let path = at.join(&name);
            let is_root = at == Path::new("");
            if (is_root && is_of_the_root(&name)) || (is_shelf && is_of_backups(&name)) {
                is_whole = false;
                continue;
            }
            let (here, new) = (look(&self.base.join(&path))?, look(&self.files.join(&path))?);
            let within = match self.choice.judge(standing, &name) {
                Verdict::Leave => {
                    is_whole = false;
                    if new.is_some() {
                        self.found.left.add(&path);
                    }
                    continue;
                }
                Verdict::Way(within) | Verdict::Take(within) => within,
            };
            // What is left alone may be a mount.
            if here.as_ref().is_some_and(|here| here.dev() != self.disk) {
                return Err(another_disk(&self.base.join(&path)));
            }
            let is_dir = |there: &Option<Metadata>| there.as_ref().is_some_and(Metadata::is_dir);
            let part = Part { path, is_in_backup: new.is_some(), is_there: here.is_some() };
            if is_dir(&here) && is_dir(&new) {
                let (below, is_all) = self.below(&part.path, &within)?;
                if is_all && within.is_taken() {
                    parts.push(part);
                } else {
                    parts.extend(below);
                    is_whole = false;
                }
            } else if within.is_taken() || (here.is_none() && is_dir(&new)) {
                match (part.is_in_backup, standing.is_taken()) {
                    (true, _) => parts.push(part),
                    (false, true) => {
                        self.found.newer.add(&part.path);
                        parts.push(part);
                    }
                    // Nothing says that it was there when the backup was made.
                    (false, false) => {
                        is_whole = false;
                        self.found.missing.add(&part.path);
                    }
                }
            } else {
                // A directory that only leads somewhere, on one side.
                is_whole = false;
                if new.is_some() {
                    self.found.left.add(&part.path);
                }
            }
        }
        Ok((parts, is_whole))
    }
}

fn names(dir: &Path) -> Result<BTreeSet<OsString>, Refusal> {
    let entries = std::fs::read_dir(dir).map_err(cannot("read", dir))?;
    entries.map(|entry| Ok(entry.map_err(cannot("read", dir))?.file_name())).collect()
}

fn look(path: &Path) -> Result<Option<Metadata>, Refusal> {
    match std::fs::symlink_metadata(path) {
        Ok(there) => Ok(Some(there)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("look at", path)(error)),
    }
}

fn another_disk(path: &Path) -> Refusal {
    let message =
        format!("{} is on a disk of its own, and what is restored could only be copied there", path.display());
    failed(message).hint("nothing was touched; unpack it with --into DIRECTORY and copy what is missed by hand")
}
