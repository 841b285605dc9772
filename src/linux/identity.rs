//! Who an app is run as.

use super::fs_rights::{FsOwner, own_groups, with_rights_of};
use nix::unistd::{Gid, Uid, User};
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A user with everything that a process of theirs starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, the primary one among them.
    pub groups: Vec<u32>,
    pub name: String,
    pub home: PathBuf,
    pub shell: PathBuf,
}

/// Why a user cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("there is no user named {name:?} on this machine")]
    NoSuchUser { name: String },
    #[error("the user id {uid} has no entry in the user database (/etc/passwd)")]
    NoSuchUid { uid: u32 },
    #[error("cannot look up the user {name}")]
    Lookup { name: String, source: io::Error },
}

impl Identity {
    /// The user of that login name, by getpwnam(3) and getgrouplist(3).
    ///
    /// # Errors
    /// When there is no such user, or the user database cannot be read.
    pub fn of_name(name: &str) -> Result<Identity, IdentityError> {
        let lookup = |source: nix::Error| IdentityError::Lookup { name: name.to_owned(), source: source.into() };
        let user = User::from_name(name)
            .map_err(lookup)?
            .ok_or_else(|| IdentityError::NoSuchUser { name: name.to_owned() })?;
        Identity::of_user(user)
    }

    /// The user of that id, by getpwuid(3) and getgrouplist(3).
    ///
    /// # Errors
    /// When the id has no entry, or the user database cannot be read.
    pub fn of_uid(uid: u32) -> Result<Identity, IdentityError> {
        let lookup = |source: nix::Error| IdentityError::Lookup { name: uid.to_string(), source: source.into() };
        let user = User::from_uid(Uid::from_raw(uid)).map_err(lookup)?.ok_or(IdentityError::NoSuchUid { uid })?;
        Identity::of_user(user)
    }

    /// Whose rights to files it has.
    pub fn fs_owner(&self) -> FsOwner {
        FsOwner { uid: self.uid, gid: self.gid, groups: self.groups.clone() }
    }

    /// The user that this process is.
    ///
    /// A container may run under an id without a name: its number is the name then, and `$HOME` the home.
    pub fn own() -> Identity {
        let uid = Uid::effective().as_raw();
        let known = Identity::of_uid(uid);
        let groups = own_groups();
        match known {
            Ok(known) => Identity { gid: Gid::effective().as_raw(), groups, ..known },
            Err(_) => Identity {
                uid,
                gid: Gid::effective().as_raw(),
                groups,
                name: uid.to_string(),
                home: std::env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from),
                shell: PathBuf::from("/bin/sh"),
            },
        }
    }

    fn of_user(user: User) -> Result<Identity, IdentityError> {
        let lookup = |source: io::Error| IdentityError::Lookup { name: user.name.clone(), source };
        let name = CString::new(user.name.as_str()).map_err(|nul| lookup(nul.into()))?;
        let groups = nix::unistd::getgrouplist(&name, user.gid).map_err(|errno| lookup(errno.into()))?;
        let groups = groups.into_iter().map(Gid::as_raw).collect();
        let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
        Ok(Identity { uid, gid, groups, name: user.name, home: user.dir, shell: user.shell })
    }
}

/// Runs `act` with `identity`'s rights to files, on the calling thread only ([`with_rights_of`]).
///
/// # Errors
/// When the kernel does not let the thread take the identity; `act` has not run then.
pub fn with_fs_identity<T>(identity: &Identity, act: impl FnOnce() -> T) -> io::Result<T> {
    with_rights_of(&identity.fs_owner(), act)
}

/// Reads a whole regular file with `identity`'s rights, so that a link planted by that user leads nowhere that they
/// could not go by themselves. A pipe or a device is refused before it can make the reader wait.
///
/// # Errors
/// When the file cannot be opened or read by that user, is no regular file, or is longer than `max_bytes`.
pub fn read_file_as(identity: &Identity, path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let file = with_fs_identity(identity, || open_regular(path))??;
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let complaint = format!("the file is longer than {max_bytes} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, complaint));
    }
    Ok(bytes)
}

fn open_regular(path: &Path) -> io::Result<File> {
    // Not blocking: opening a named pipe would wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn nobody() -> Identity {
        Identity::of_name("nobody").expect("every Linux has a user nobody")
    }

    fn is_root() -> bool {
        Uid::effective().is_root()
    }

    /// A directory that anyone may enter, as apps' directories are.
    fn open_dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        dir
    }

    #[test]
    fn a_user_is_found_by_name_and_by_id() {
        let root = Identity::of_name("root").unwrap();
        assert_eq!((root.uid, root.gid, root.name.as_str()), (0, 0, "root"));
        assert_eq!(root.home, Path::new("/root"));
        assert!(root.groups.contains(&0));
        assert_eq!(Identity::of_uid(nobody().uid).unwrap(), nobody());
        assert_eq!(Identity::own().uid, Uid::effective().as_raw());
    }

    #[test]
    fn an_unknown_user_is_named() {
        let error = Identity::of_name("fastusr").unwrap_err();
        assert_eq!(error.to_string(), "there is no user named \"fastusr\" on this machine");
        let error = Identity::of_uid(3_999_999).unwrap_err();
        assert_eq!(error.to_string(), "the user id 3999999 has no entry in the user database (/etc/passwd)");
    }

    #[test]
    fn a_thread_borrows_a_users_rights_and_gives_them_back() {
        if !is_root() {
            return;
        }
        let dir = open_dir();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "of root").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let made = dir.path().join("made");

        let read = with_fs_identity(&nobody(), || {
            std::fs::write(&made, "").unwrap();
            std::fs::read(&secret)
        })
        .unwrap();

        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let made = std::fs::metadata(&made).unwrap();
        assert_eq!((made.uid(), made.gid()), (nobody().uid, nobody().gid));
        assert_eq!(std::fs::read(&secret).unwrap(), b"of root");
    }

    #[test]
    fn a_thread_that_was_there_before_keeps_its_own_rights() {
        if !is_root() {
            return;
        }
        let dir = open_dir();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "of root").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let (ask, asked) = std::sync::mpsc::channel::<()>();
        let (answer, answered) = std::sync::mpsc::channel();
        let bystander = std::thread::spawn(move || {
            asked.recv().unwrap();
            answer.send(std::fs::read(&secret).is_ok()).unwrap();
        });
        let could_read = with_fs_identity(&nobody(), || {
            ask.send(()).unwrap();
            answered.recv().unwrap()
        });
        assert!(could_read.unwrap());
        bystander.join().unwrap();
    }

    #[test]
    fn a_panic_gives_the_rights_back_too() {
        if !is_root() {
            return;
        }
        let status = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let ids = |status: String| -> Vec<String> {
            let wanted = ["Uid:", "Gid:", "Groups:", "CapEff:"];
            status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name))).map(str::to_owned).collect()
        };
        let before = ids(status());
        let panicked = std::panic::catch_unwind(|| with_fs_identity(&nobody(), || panic!("inside")));
        assert!(panicked.is_err());
        assert_eq!(ids(status()), before);
    }

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let dir = open_dir();
        let own = Identity::own();
        let file = dir.path().join(".env");
        std::fs::write(&file, "A=1\n").unwrap();
        assert_eq!(read_file_as(&own, &file, 4).unwrap(), b"A=1\n");
        assert_eq!(read_file_as(&own, &file, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);

        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
        assert_eq!(read_file_as(&own, &pipe, 4).unwrap_err().to_string(), "it is not a regular file");
        assert_eq!(read_file_as(&own, dir.path(), 4).unwrap_err().to_string(), "it is not a regular file");
        assert_eq!(read_file_as(&own, &dir.path().join("none"), 4).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_link_planted_by_an_app_user_opens_nothing_new() {
        if !is_root() {
            return;
        }
        let dir = open_dir();
        let link = dir.path().join(".env");
        std::os::unix::fs::symlink("/etc/shadow", &link).unwrap();
        assert_eq!(read_file_as(&nobody(), &link, 1 << 20).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
