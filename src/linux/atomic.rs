//! Files that are replaced whole or not at all.

use super::failpoint;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Puts `bytes` at `path` with the permission bits `mode`: a reader, and whoever comes after a crash, finds the old
/// file or the new one. A link at `path` is replaced, not followed.
///
/// `durable` makes it outlast a power cut and waits for the disk (0.5 ms idle, tens of ms on a busy one); without it
/// the change outlasts the process only.
///
/// # Errors
/// Whatever the file system refuses, a full disk above all. The old file is intact then and nothing is left beside
/// it, save that a failed sync of the directory comes after the new file is in its place.
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    let new = name_beside(path)?;
    failpoint::file(path, "begun");
    let replaced = write_new(&new, bytes, mode, durable).and_then(|()| {
        failpoint::file(path, "written");
        std::fs::rename(&new, path)
    });
    if let Err(error) = replaced {
        let _gone = std::fs::remove_file(&new);
        return Err(error);
    }
    failpoint::file(path, "renamed");
    if durable {
        sync_directory(path)?;
    }
    Ok(())
}

/// Removes what writers that were killed have left unfinished in a directory in which nobody else writes now.
pub fn clear_unfinished(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(".new")) {
            let _gone = std::fs::remove_file(entry.path());
        }
    }
}

/// Gives a finished file its name, durably; a name that is taken is left to whom it belongs. Both are of one directory.
///
/// # Errors
/// `AlreadyExists` where the name is taken; link(2)'s and rename(2)'s.
pub fn give_new_name(file: &Path, name: &Path) -> io::Result<()> {
    match std::fs::hard_link(file, name) {
        Ok(()) => std::fs::remove_file(file)?,
        // There are file systems without hard links (vfat, some network ones): there only a glance comes first.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !taken(name) => std::fs::rename(file, name)?,
        Err(_) => return Err(io::ErrorKind::AlreadyExists.into()),
    }
    sync_directory(name)
}

/// Two paths change places, whatever stands there, so that neither is ever missing: renameat2(2), Linux 3.15. File
/// systems that cannot do that (NFS) have a moment in which `one` is missing. Both are of one file system.
///
/// # Errors
/// renameat2(2)'s and rename(2)'s. Both are where they were then.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            let aside = name_beside(other)?;
            std::fs::rename(one, &aside)?;
            if let Err(error) = std::fs::rename(other, one) {
                std::fs::rename(&aside, one)?;
                return Err(error);
            }
            std::fs::rename(&aside, other)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// A path gets another name of the same file system, which has to be free: renameat2(2).
///
/// # Errors
/// `AlreadyExists` where the name is taken; renameat2(2)'s.
pub fn move_to(path: &Path, name: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, path, AT_FDCWD, name, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(()),
        // There only a glance comes first.
        Err(Errno::EINVAL | Errno::ENOSYS) if !taken(name) => std::fs::rename(path, name),
        Err(Errno::EINVAL | Errno::ENOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(errno) => Err(errno.into()),
    }
}

fn taken(name: &Path) -> bool {
    std::fs::symlink_metadata(name).is_ok()
}

/// In the same directory, for a rename stays on one file system; hidden, and different for every write.
fn name_beside(path: &Path) -> io::Result<PathBuf> {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    };
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}-{}.new", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(beside))
}

fn write_new(new: &Path, bytes: &[u8], mode: u32, durable: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    // Explicitly, for the umask has its say at creation.
    file.set_permissions(Permissions::from_mode(mode))?;
    if durable {
        file.sync_all()?;
    }
    Ok(())
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::mount::{MntFlags, MsFlags, mount, umount2};

    fn names_in(dir: &Path) -> Vec<OsString> {
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_file_is_made_and_replaced_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        for (bytes, mode, durable) in [("first", 0o600, true), ("second", 0o644, false)] {
            replace_file(&path, bytes.as_bytes(), mode, durable).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), bytes);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert_eq!(names_in(dir.path()), ["state.json"]);
    }

    #[test]
    fn a_link_is_replaced_and_its_target_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        std::fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        replace_file(&link, b"new", 0o600, false).unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
    }

    #[test]
    fn what_cannot_be_replaced_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        std::fs::create_dir(&path).unwrap();
        assert!(replace_file(&path, b"new", 0o600, true).is_err());
        assert_eq!(names_in(dir.path()), ["state.json"]);
    }

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path(".new"), "new").unwrap();
        std::fs::write(path("taken"), "old").unwrap();
        assert_eq!(give_new_name(&path(".new"), &path("taken")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        give_new_name(&path(".new"), &path("free")).unwrap();
        assert_eq!(std::fs::read_to_string(path("free")).unwrap(), "new");
        assert_eq!(std::fs::read_to_string(path("taken")).unwrap(), "old");
        assert!(!path(".new").exists());
    }

    #[test]
    fn paths_change_places_and_a_taken_one_is_not_moved_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir(path("one")).unwrap();
        std::fs::write(path("one/file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", path("two")).unwrap();
        exchange(&path("one"), &path("two")).unwrap();
        assert!(path("one").is_symlink() && path("two/file").exists());
        assert_eq!(exchange(&path("two"), &path("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(move_to(&path("two"), &path("one")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        move_to(&path("two"), &path("three")).unwrap();
        assert!(path("three/file").exists() && !path("two").exists());
    }

    #[test]
    fn many_writers_of_one_file_leave_one_whole_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        std::thread::scope(|scope| {
            for letter in b'a'..=b'h' {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..50 {
                        replace_file(path, &[letter; 10_000], 0o600, false).unwrap();
                    }
                });
            }
        });
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes, vec![bytes[0]; 10_000]);
        assert_eq!(names_in(dir.path()), ["state.json"]);
    }

    /// A file system of 64 KiB, gone with the value.
    struct SmallDisk(tempfile::TempDir);

    impl SmallDisk {
        /// None where we may not mount.
        fn new() -> Option<SmallDisk> {
            let dir = tempfile::tempdir().unwrap();
            mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some("size=64k")).ok()?;
            Some(SmallDisk(dir))
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _unmounted = umount2(self.0.path(), MntFlags::MNT_DETACH);
        }
    }

    #[test]
    fn a_full_disk_keeps_the_old_file() {
        let Some(disk) = SmallDisk::new() else { return };
        let path = disk.0.path().join("state.json");
        replace_file(&path, b"old", 0o600, true).unwrap();
        let error = replace_file(&path, &vec![b'x'; 100_000], 0o600, true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names_in(disk.0.path()), ["state.json"]);
    }
}
