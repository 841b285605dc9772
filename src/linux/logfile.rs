//! Opens, renames and removes log files so that no planted link, FIFO or foreign right can redirect them.

use super::fs_rights::{FsOwner, with_rights_of};
use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Which file a path led to: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    pub dev: u64,
    pub ino: u64,
}

impl FileId {
    pub fn of(meta: &fs::Metadata) -> FileId {
        FileId { dev: meta.dev(), ino: meta.ino() }
    }
}

/// Does `act` with the file-system rights of `owner`, on this thread only; as ourselves where there is none.
///
/// # Errors
/// What `act` returns; permission denied where the rights cannot be taken.
pub fn as_owner<T>(owner: Option<&FsOwner>, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    match owner {
        Some(owner) => with_rights_of(owner, act)?,
        None => act(),
    }
}

const PLAIN_OPEN: i32 = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;

/// Opens a log file to append to (and to read back), or makes it, mode 0640, with its directories.
///
/// # Errors
/// A link, a FIFO or anything else that is not a regular file is refused.
pub fn open_to_append(path: &Path, chown_to: Option<(u32, u32)>) -> io::Result<File> {
    for _ in 0..8 {
        match OpenOptions::new().read(true).append(true).custom_flags(PLAIN_OPEN).open(path) {
            Ok(file) => return only_regular(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(explain(error)),
        }
        match make(path, chown_to) {
            Ok(file) => return Ok(file),
            // Somebody made it between the two: look again.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let Some(dir) = path.parent() else { return Err(error) };
                DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "it appears and disappears"))
}

/// Makes a new file, mode 0640.
///
/// # Errors
/// Already exists, where there is anything of that name.
pub fn make(path: &Path, chown_to: Option<(u32, u32)>) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).append(true).create_new(true).mode(0o640).custom_flags(PLAIN_OPEN).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o640))?;
    if let Some((uid, gid)) = chown_to {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    Ok(file)
}

/// Opens a log file to read.
///
/// # Errors
/// A link, a FIFO or anything else that is not a regular file is refused.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(PLAIN_OPEN).open(path).map_err(explain)?;
    only_regular(file)
}

/// Cuts a log file back to `length` bytes, where it is the one that is meant and has grown to `until` at most: whatever
/// lies beyond is somebody else's.
///
/// # Errors
/// It cannot be opened or cut.
pub fn cut_back(path: &Path, id: FileId, length: u64, until: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).custom_flags(PLAIN_OPEN).open(path).map_err(explain)?;
    let found = file.metadata()?;
    if found.is_file() && FileId::of(&found) == id && (length + 1..=until).contains(&found.len()) {
        file.set_len(length)?;
    }
    Ok(())
}

fn only_regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

fn explain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ELOOP) => io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link"),
        _ => error,
    }
}

/// Renames, and never over anything that is there.
///
/// # Errors
/// Already exists, where `to` is taken. A file system that cannot promise it (EINVAL, rename(2)) renames plainly.
pub fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    let (old, new) = (CString::new(from.as_os_str().as_bytes())?, CString::new(to.as_os_str().as_bytes())?);
    // SAFETY: two NUL-terminated strings that outlive the call; the kernel only reads them.
    #[expect(unsafe_code, reason = "nix has renameat2 for glibc only")]
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            old.as_ptr(),
            libc::AT_FDCWD,
            new.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EINVAL | libc::ENOSYS) if fs::symlink_metadata(to).is_err() => fs::rename(from, to),
        _ => Err(error),
    }
}

/// Is there room for `bytes` more at the end of `file`? Yes, where the file system cannot say.
pub fn has_room(file: &File, size: u64, bytes: u64) -> bool {
    let (Ok(size), Ok(bytes)) = (i64::try_from(size), i64::try_from(bytes)) else { return true };
    match nix::fcntl::fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, size, bytes) {
        Err(Errno::ENOSPC | Errno::EDQUOT | Errno::EIO | Errno::EROFS | Errno::EFBIG) => false,
        Ok(()) | Err(_) => true,
    }
}

/// The cause in words, without the number that std appends.
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

/// Makes this thread give way to everything else: nice 19, idle I/O class (ioprio_set(2)).
pub fn give_way() {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    const IOPRIO_IDLE: i32 = 3 << 13;
    // SAFETY: plain numbers; id 0 is the calling thread for both (setpriority(2), ioprio_set(2)). A refusal is harmless.
    #[expect(unsafe_code, reason = "no wrapper for ioprio_set, nor for a thread's nice value")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, 19);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_users_rights_are_taken_for_the_act_alone() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (secret, shared) = (dir.path().join("secret"), dir.path().join("shared"));
        for (path, mode, group) in [(&secret, 0o600, 0), (&shared, 0o640, 54321)] {
            fs::write(path, "text").unwrap();
            std::os::unix::fs::chown(path, Some(0), Some(group)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let owner = FsOwner { uid: 65534, gid: 65534, groups: vec![54321] };
        let refused = as_owner(Some(&owner), || open_to_read(&secret)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(as_owner(Some(&owner), || open_to_read(&shared)).is_ok(), "its groups count");
        let groupless = FsOwner { groups: Vec::new(), ..owner };
        assert!(as_owner(Some(&groupless), || open_to_read(&shared)).is_err(), "ours do not");
        assert!(open_to_read(&secret).is_ok(), "and all is given back");
    }

    #[test]
    fn a_rename_never_goes_over_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        assert_eq!(rename_to_new(&from, &to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::remove_file(&to).unwrap();
        rename_to_new(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
    }

    #[test]
    fn a_device_is_no_log_file() {
        assert_eq!(open_to_append(Path::new("/dev/null"), None).unwrap_err().to_string(), "it is not a regular file");
        assert_eq!(open_to_read(Path::new("/")).unwrap_err().to_string(), "it is not a regular file");
    }
}
