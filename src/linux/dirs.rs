//! The supervisor's own directories: made by it, owned by it, written by nobody else.

use nix::unistd::{Gid, Uid};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a directory cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    #[error("cannot make the directory {}", dir.display())]
    Make { dir: PathBuf, source: io::Error },
    #[error("cannot use the directory {}", dir.display())]
    Open { dir: PathBuf, source: io::Error },
    #[error("{} is a link; give the directory that it leads to", dir.display())]
    Link { dir: PathBuf },
    #[error("{} is not a directory", dir.display())]
    NotADirectory { dir: PathBuf },
    #[error("the directory {} belongs to user id {owner}, not to the supervisor's {own}", dir.display())]
    Foreign { dir: PathBuf, owner: u32, own: u32 },
    #[error("others may write to the directory {} (mode {mode:04o}); give one of the supervisor's own", dir.display())]
    OpenToOthers { dir: PathBuf, mode: u32 },
}

/// Makes `dir` with the permission bits `mode`, and its parents with 0755, or checks one that is there: no link,
/// owned by this process's user, not writable by others, nor by a group other than the process's primary one. The
/// bits of one that is there stay as its owner set them.
///
/// # Errors
/// When it cannot be made, or fails the check.
pub fn own_directory(dir: &Path, mode: u32) -> Result<(), DirError> {
    let make = |source| DirError::Make { dir: dir.to_owned(), source };
    if let Some(parent) = dir.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(make)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        // Explicitly, for the umask has its say at creation.
        Ok(()) => open(dir)?.set_permissions(Permissions::from_mode(mode)).map_err(make),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check(dir),
        Err(error) => Err(make(error)),
    }
}

fn check(dir: &Path) -> Result<(), DirError> {
    let found = open(dir)?.metadata().map_err(|source| DirError::Open { dir: dir.to_owned(), source })?;
    let own = Uid::effective().as_raw();
    if found.uid() != own {
        return Err(DirError::Foreign { dir: dir.to_owned(), owner: found.uid(), own });
    }
    // A umask of 002 gives the primary group the right to write; on such systems it has the user as its only member.
    let is_own_group = found.gid() == Gid::effective().as_raw();
    let forbidden = if is_own_group { 0o002 } else { 0o022 };
    if found.mode() & forbidden != 0 {
        return Err(DirError::OpenToOthers { dir: dir.to_owned(), mode: found.mode() & 0o7777 });
    }
    Ok(())
}

/// Held by a descriptor, so that what is checked is what was opened.
fn open(dir: &Path) -> Result<File, DirError> {
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags).open(dir).map_err(|source| match std::fs::symlink_metadata(dir) {
        Ok(found) if found.is_symlink() => DirError::Link { dir: dir.to_owned() },
        Ok(found) if !found.is_dir() => DirError::NotADirectory { dir: dir.to_owned() },
        Ok(_) | Err(_) => DirError::Open { dir: dir.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(dir: &Path) -> u32 {
        std::fs::metadata(dir).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_directory_is_made_with_its_parents_and_found_again() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("state/infissi/run");
        for _ in 0..2 {
            own_directory(&dir, 0o755).unwrap();
            assert_eq!(mode_of(&dir), 0o755);
        }
        own_directory(&base.path().join("private"), 0o700).unwrap();
        assert_eq!(mode_of(&base.path().join("private")), 0o700);
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused() {
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), Permissions::from_mode(0o1777)).unwrap();
        let error = own_directory(base.path(), 0o700).unwrap_err().to_string();
        assert!(error.starts_with("others may write to the directory /"), "{error}");
        assert!(error.contains("(mode 1777); give one of the supervisor's own"), "{error}");
        assert_eq!(mode_of(base.path()), 0o1777);
    }

    #[test]
    fn links_files_and_foreign_directories_are_refused() {
        let base = tempfile::tempdir().unwrap();
        let (link, file) = (base.path().join("link"), base.path().join("file"));
        std::os::unix::fs::symlink(base.path(), &link).unwrap();
        std::fs::write(&file, "").unwrap();
        assert!(matches!(own_directory(&link, 0o700), Err(DirError::Link { .. })));
        assert!(matches!(own_directory(&file, 0o700), Err(DirError::NotADirectory { .. })));
        assert!(matches!(own_directory(&file.join("below"), 0o700), Err(DirError::Make { .. })));
        let foreign = base.path().join("foreign");
        std::fs::create_dir(&foreign).unwrap();
        if std::os::unix::fs::chown(&foreign, Some(65534), None).is_ok() && Uid::effective().is_root() {
            assert!(matches!(own_directory(&foreign, 0o700), Err(DirError::Foreign { owner: 65534, own: 0, .. })));
        }
    }
}
