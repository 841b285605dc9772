//! A directory held open, and what is in it: each name opened where it stands, no link followed.

use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// An open directory. What happens to the path that led there does not matter any more.
#[derive(Debug)]
pub struct Folder {
    held: OwnedFd,
}

impl Folder {
    /// The directory that `path` leads to, links on the way included.
    ///
    /// # Errors
    /// open(2)'s.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Folder { held: openat(AT_FDCWD, path, flags, Mode::empty())? })
    }

    /// Of the directory itself.
    ///
    /// # Errors
    /// fstat(2)'s.
    pub fn metadata(&self) -> io::Result<Metadata> {
        File::from(self.held.try_clone()?).metadata()
    }

    /// The names in it, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// getdents(2)'s.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        // A descriptor of its own: reading moves its offset.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut names = Vec::new();
        for entry in Dir::openat(self.held.as_fd(), ".", flags, Mode::empty())?.iter() {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// What stands under that name: a link itself, not what it leads to.
    ///
    /// # Errors
    /// open(2)'s and fstat(2)'s.
    pub fn look(&self, name: &OsStr) -> io::Result<Metadata> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        File::from(openat(self.held.as_fd(), name, flags, Mode::empty())?).metadata()
    }

    /// The directory of that name.
    ///
    /// # Errors
    /// ENOTDIR for anything else, a link to a directory too; open(2)'s.
    pub fn folder(&self, name: &OsStr) -> io::Result<Folder> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Folder { held: openat(self.held.as_fd(), name, flags, Mode::empty())? })
    }

    /// The file of that name, for reading. A pipe or a device that took its place is opened without waiting: look at
    /// what came.
    ///
    /// # Errors
    /// ELOOP for a link; open(2)'s.
    pub fn file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        Ok(File::from(openat(self.held.as_fd(), name, flags, Mode::empty())?))
    }

    /// Where the link of that name leads.
    ///
    /// # Errors
    /// EINVAL for what is no link; readlink(2)'s.
    pub fn link(&self, name: &OsStr) -> io::Result<OsString> {
        Ok(readlinkat(self.held.as_fd(), name)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_in_a_directory_is_opened_where_it_stands() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("sub")).unwrap();
        std::fs::write(temp.path().join("file"), "text").unwrap();
        symlink("sub", temp.path().join("link")).unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        assert_eq!(folder.names().unwrap(), ["file", "link", "sub"]);
        assert_eq!(folder.names().unwrap().len(), 3, "read again");
        let name = OsStr::new;
        assert!(folder.look(name("link")).unwrap().is_symlink());
        assert!(folder.look(name("sub")).unwrap().is_dir());
        assert_eq!(folder.link(name("link")).unwrap(), "sub");
        assert_eq!(io::read_to_string(folder.file(name("file")).unwrap()).unwrap(), "text");
        assert!(folder.folder(name("sub")).unwrap().names().unwrap().is_empty());
        assert_eq!(folder.folder(name("link")).unwrap_err().raw_os_error(), Some(libc::ENOTDIR));
        assert_eq!(folder.file(name("link")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert_eq!(folder.look(name("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
