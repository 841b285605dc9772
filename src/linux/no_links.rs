//! A directory that is where its path says, and nowhere that a link leads to.

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Why a path does not serve.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error("{} is no absolute path without . and ..", .path.display())]
    Unplain { path: PathBuf },
    #[error("there is no {}", .at.display())]
    Missing { at: PathBuf },
    #[error("{} is a link", .at.display())]
    Link { at: PathBuf },
    #[error("{} is no directory", .at.display())]
    NotADirectory { at: PathBuf },
    #[error("cannot look at {}", .at.display())]
    Look { at: PathBuf, source: io::Error },
}

/// The owner (uid) of the directory at `path`, opened component by component: a link anywhere on the way is refused.
///
/// # Errors
/// There is no such directory, or the way to it is not as plain as that.
pub fn owner_of_directory(path: &Path) -> Result<u32, StepError> {
    let mut components = path.components();
    let plain = components.next() == Some(Component::RootDir)
        && components.all(|component| matches!(component, Component::Normal(_)));
    if !plain {
        return Err(StepError::Unplain { path: path.to_owned() });
    }
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut at = PathBuf::from("/");
    let look = |at: &Path, errno: nix::Error| {
        if errno == nix::Error::ENOENT {
            return StepError::Missing { at: at.to_owned() };
        }
        StepError::Look { at: at.to_owned(), source: errno.into() }
    };
    let mut held = open("/", flags, Mode::empty()).map_err(|errno| look(&at, errno))?;
    let mut owner = fstat(&held).map_err(|errno| look(&at, errno))?.st_uid;
    for name in path.components().skip(1) {
        at.push(name);
        held = openat(&held, name.as_os_str(), flags, Mode::empty()).map_err(|errno| look(&at, errno))?;
        let found = fstat(&held).map_err(|errno| look(&at, errno))?;
        match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => owner = found.st_uid,
            SFlag::S_IFLNK => return Err(StepError::Link { at }),
            _ => return Err(StepError::NotADirectory { at }),
        }
    }
    Ok(owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn refusal(path: &Path) -> String {
        owner_of_directory(path).unwrap_err().to_string()
    }

    #[test]
    fn a_directory_has_its_owner_and_a_link_on_the_way_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("releases/one")).unwrap();
        std::fs::write(base.join("releases/file"), "").unwrap();
        symlink("one", base.join("releases/two")).unwrap();
        symlink("releases", base.join("elsewhere")).unwrap();
        assert_eq!(owner_of_directory(&base.join("releases/one")).unwrap(), nix::unistd::geteuid().as_raw());
        assert_eq!(refusal(&base.join("releases/two")), format!("{}/releases/two is a link", base.display()));
        assert_eq!(refusal(&base.join("elsewhere/one")), format!("{}/elsewhere is a link", base.display()));
        assert_eq!(refusal(&base.join("releases/file")), format!("{}/releases/file is no directory", base.display()));
        assert_eq!(refusal(&base.join("releases/none")), format!("there is no {}/releases/none", base.display()));
        assert!(refusal(&base.join("releases/../releases/one")).contains("no absolute path"));
        assert!(refusal(Path::new("releases/one")).contains("no absolute path"));
    }
}
