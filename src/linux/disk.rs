//! Room on a file system.

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::statvfs::statvfs;
use std::fs::File;
use std::io;
use std::path::Path;

/// What is left for us on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What an unprivileged process may still write.
    pub bytes: u64,
    /// How many files may still be made; none where the file system has no fixed number (btrfs, some network ones).
    pub inodes: Option<u64>,
}

/// The room where `path` is.
///
/// # Errors
///
/// statvfs(3)'s: mostly a path that does not exist.
pub fn room(path: &Path) -> io::Result<Room> {
    let stat = statvfs(path)?;
    Ok(Room {
        bytes: stat.blocks_available() * stat.fragment_size(),
        inodes: Some(stat.files_available()).filter(|_| stat.files() > 0),
    })
}

/// Lets what is read of a synced file come from the disk, where the kernel listens: posix_fadvise(2).
pub fn forget_cached(file: &File) {
    let _only_slower = posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
}

/// Waits until everything on the file system of `path` is on the disk: syncfs(2), Linux 2.6.39.
///
/// # Errors
/// The path does not exist, or the disk has not taken something (since Linux 5.8).
pub fn sync(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::syncfs(File::open(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_room_and_a_missing_one_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        assert!(room(directory.path()).unwrap().bytes > 0);
        sync(directory.path()).unwrap();
        assert_eq!(room(&directory.path().join("nowhere")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
