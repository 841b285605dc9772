//! The directory of an app's releases: whose it is, what stands where in it, how much room there is.

use super::{cannot, failed};
use crate::api::Refusal;
use crate::linux::disk::{Room, room};
use crate::linux::identity::Identity;
use crate::linux::user::own_uid;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A checkout with its dependencies is some ten thousand files.
const LEAST_INODES: u64 = 20_000;

#[derive(Debug, Clone)]
pub struct Root {
    dir: PathBuf,
}

impl Root {
    pub fn new(dir: impl Into<PathBuf>) -> Root {
        Root { dir: dir.into() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn release(&self, id: &str) -> PathBuf {
        self.dir.join("releases").join(id)
    }

    pub fn deploys(&self) -> PathBuf {
        self.dir.join("deploys")
    }

    /// Where the journal and the log of one deploy are.
    pub fn deploy(&self, id: &str) -> PathBuf {
        self.deploys().join(id)
    }

    pub fn log(&self, id: &str) -> PathBuf {
        self.deploy(id).join("deploy.log")
    }

    /// What installs have made and later releases begin with.
    pub fn kept(&self) -> PathBuf {
        self.dir.join("cache")
    }

    /// Is there a release of that id, or was one begun, or a restore?
    pub fn has(&self, id: &str) -> bool {
        let taken = [self.release(id), self.deploy(id), self.restores().join(id)];
        taken.iter().any(|path| std::fs::symlink_metadata(path).is_ok())
    }

    /// This id, with a number behind it where it is taken: two may begin in one second.
    pub fn unused(&self, id: String) -> String {
        let numbered = (2_u32..).map(|number| format!("{id}-{number}"));
        std::iter::once(id.clone()).chain(numbered).find(|id| !self.has(id)).unwrap_or(id)
    }

    /// Where a restore unpacks, and keeps what it has replaced.
    pub fn restores(&self) -> PathBuf {
        self.dir.join("restores")
    }

    pub fn mirror(&self) -> PathBuf {
        self.dir.join("repo.git")
    }

    pub fn lock(&self) -> PathBuf {
        self.dir.join("deploy.lock")
    }

    /// Its owner; where it is not there yet, whoever we are, for it would be ours.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn owner(&self) -> Result<u32, Refusal> {
        match std::fs::metadata(&self.dir) {
            Ok(there) if there.is_dir() => Ok(there.uid()),
            Ok(_) => Err(failed(format!("{} is no directory", self.dir.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(own_uid()),
            Err(error) => Err(cannot("look at", &self.dir)(error)),
        }
    }

    /// The name of that user, else its number.
    pub fn owner_name(uid: u32) -> String {
        Identity::of_uid(uid).map_or_else(|_| uid.to_string(), |user| user.name)
    }

    /// Makes what is not there yet.
    ///
    /// # Errors
    /// The disk or its rights are against it.
    pub fn prepare(&self) -> Result<(), Refusal> {
        for dir in [self.dir.clone(), self.dir.join("releases"), self.deploys(), self.dir.join("shared")] {
            std::fs::create_dir_all(&dir).map_err(cannot("make", &dir))?;
        }
        Ok(())
    }

    /// # Errors
    /// The disk has less room than `min_free`, bytes, or too few inodes for another release.
    pub fn check_room(&self, min_free: u64, app: &str) -> Result<(), Refusal> {
        let (room, there) = self.check_bytes(min_free, app)?;
        let inodes = room.inodes.filter(|left| *left < LEAST_INODES);
        if let Some(left) = inodes {
            let message = format!("only {left} more files can be made on the disk of {}", there.display());
            return Err(failed(message).hint(format!("a release needs up to {LEAST_INODES}: remove files there")));
        }
        Ok(())
    }

    /// What is left, and where.
    ///
    /// # Errors
    /// The disk has less room than `min_free`, bytes.
    pub fn check_bytes(&self, min_free: u64, app: &str) -> Result<(Room, &Path), Refusal> {
        // Before the first deploy only what is above it is there.
        let there = self.dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
        let room = room(there).map_err(cannot("look at the disk of", there))?;
        if room.bytes < min_free {
            let (left, asked) = (size(room.bytes), size(min_free));
            let message = format!("{left} are left on the disk of {}, and min_free asks for {asked}", there.display());
            let hint = format!("make room, or set a lower min_free in [apps.{app}.deploy] and run infissi-ctl apply");
            return Err(failed(message).hint(hint));
        }
        Ok((room, there))
    }
}

/// In whole megabytes, for `1G` says little about what is short.
fn size(bytes: u64) -> String {
    format!("{} MB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_begin_in_one_second_have_two_names() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let id = || root.unused("20261126-152353".to_owned());
        assert_eq!(id(), "20261126-152353");
        std::fs::create_dir_all(root.release("20261126-152353")).unwrap();
        std::fs::create_dir_all(root.deploy("20261126-152353-2")).unwrap();
        assert_eq!(id(), "20261126-152353-3");
    }

    #[test]
    fn a_full_disk_is_told_in_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path().join("not/yet/there"));
        root.check_room(1, "web").unwrap();
        let refused = root.check_room(u64::MAX, "web").unwrap_err();
        assert!(refused.message.contains("min_free asks for 17592186044415 MB"), "{}", refused.message);
        assert!(refused.hint.unwrap().contains("[apps.web.deploy]"));
    }

    #[test]
    fn what_is_missing_is_made_and_a_file_in_its_place_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path().join("crm"));
        root.prepare().unwrap();
        root.prepare().unwrap();
        assert!(root.release("x").parent().unwrap().is_dir() && root.deploys().is_dir());
        assert_eq!(root.owner().unwrap(), own_uid());
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(Root::new(&file).owner().unwrap_err().message.ends_with("is no directory"));
    }
}
