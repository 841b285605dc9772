//! A directory held open, and what is in it: each name opened where it stands, no link followed.

use nix::dir::Dir;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::{File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

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

    /// Makes a directory, for its owner until it gets its mode.
    ///
    /// # Errors
    /// EEXIST where anything has that name; mkdir(2)'s.
    pub fn make_folder(&self, name: &OsStr) -> io::Result<Folder> {
        mkdirat(self.held.as_fd(), name, Mode::S_IRWXU)?;
        self.folder(name)
    }

    /// Makes a file for writing, for its owner until it gets its mode.
    ///
    /// # Errors
    /// EEXIST where anything has that name, a link too; open(2)'s.
    pub fn make_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(self.held.as_fd(), name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?))
    }

    /// Makes a link that leads to `target`, wherever that is.
    ///
    /// # Errors
    /// EEXIST where anything has that name; symlink(2)'s.
    pub fn make_link(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
        Ok(symlinkat(target, self.held.as_fd(), name)?)
    }

    /// Gives what is called `other` in the directory `of` this name, too. A link itself, not what it leads to.
    ///
    /// # Errors
    /// EEXIST where anything has that name; link(2)'s.
    pub fn make_other_name(&self, name: &OsStr, of: &Folder, other: &OsStr) -> io::Result<()> {
        Ok(linkat(of.held.as_fd(), other, self.held.as_fd(), name, AtFlags::empty())?)
    }

    /// Removes the file or link of that name.
    ///
    /// # Errors
    /// EISDIR for a directory; unlink(2)'s.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(self.held.as_fd(), name, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Sets the directory's own mode, and when it was changed where that is given.
    ///
    /// # Errors
    /// fchmod(2)'s and futimens(3)'s.
    pub fn finish(&self, mode: u32, modified: Option<SystemTime>) -> io::Result<()> {
        let held = File::from(self.held.try_clone()?);
        held.set_permissions(Permissions::from_mode(mode))?;
        modified.map_or(Ok(()), |modified| held.set_times(FileTimes::new().set_modified(modified)))
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

    #[test]
    fn what_is_made_in_a_directory_takes_no_place_that_is_taken_and_follows_no_link() {
        let temp = tempfile::tempdir().unwrap();
        symlink("elsewhere", temp.path().join("link")).unwrap();
        let (folder, name) = (Folder::open(temp.path()).unwrap(), OsStr::new);
        folder.make_file(name("file")).unwrap();
        folder.make_folder(name("sub")).unwrap().make_link(name("up"), name("../file")).unwrap();
        folder.make_other_name(name("again"), &folder, name("file")).unwrap();
        assert_eq!(folder.names().unwrap(), ["again", "file", "link", "sub"]);
        assert_eq!(std::fs::read_link(temp.path().join("sub/up")).unwrap(), Path::new("../file"));
        for taken in ["file", "sub", "link"].map(name) {
            let taken = [
                folder.make_file(taken).map(drop),
                folder.make_folder(taken).map(drop),
                folder.make_link(taken, name("x")),
                folder.make_other_name(taken, &folder, name("file")),
            ];
            assert!(taken.iter().all(|made| made.as_ref().unwrap_err().kind() == io::ErrorKind::AlreadyExists));
        }
        folder.remove(name("link")).unwrap();
        assert_eq!(folder.remove(name("sub")).unwrap_err().raw_os_error(), Some(libc::EISDIR));
        let long_ago = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(60);
        folder.finish(0o750, Some(long_ago)).unwrap();
        let found = folder.metadata().unwrap();
        assert_eq!((found.permissions().mode() & 0o7777, found.modified().unwrap()), (0o750, long_ago));
    }
}
