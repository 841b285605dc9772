//! Whose directory a path leads to, told only where nobody else could have led it elsewhere.

use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// What path_resolution(7) allows.
const MOST_LINKS: usize = 40;
/// Group or others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Why nobody's word on the owner can be believed.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    #[error("there is no directory {}", .path.display())]
    Missing { path: PathBuf },
    #[error("{} is no directory", .path.display())]
    NotADirectory { path: PathBuf },
    #[error("cannot look at {}", .path.display())]
    Look { path: PathBuf, source: io::Error },
    /// Somebody other than its owner and root can make the path lead elsewhere.
    #[error("{} is in the hands of others than root and the owner of {}", .hands.display(), .path.display())]
    InOtherHands { path: PathBuf, hands: PathBuf },
}

/// One step of the way.
struct Step {
    path: PathBuf,
    stat: FileStat,
}

/// The owner (uid) of the directory at `path`, an absolute one. Every directory and link on the way has to belong to
/// root or to that owner, and nobody else may be able to write there: else a link put in the way would choose the
/// owner. Each step is held open while the next is taken, so that nothing changes in between.
///
/// # Errors
/// There is no such directory, or its owner is not to be believed.
pub fn believable_owner(path: &Path) -> Result<u32, OwnerError> {
    let look = |source: io::Error| match source.raw_os_error() {
        Some(libc::ENOENT) => OwnerError::Missing { path: path.to_owned() },
        Some(libc::ENOTDIR) => OwnerError::NotADirectory { path: path.to_owned() },
        Some(_) | None => OwnerError::Look { path: path.to_owned(), source },
    };
    let steps = walk(path).map_err(look)?;
    let Some(last) = steps.last() else { return Ok(0) };
    if !is(last, SFlag::S_IFDIR) {
        return Err(OwnerError::NotADirectory { path: path.to_owned() });
    }
    let owner = last.stat.st_uid;
    match steps.iter().take(steps.len() - 1).find(|step| !in_good_hands(step, owner)) {
        Some(step) => Err(OwnerError::InOtherHands { path: path.to_owned(), hands: step.path.clone() }),
        None => Ok(owner),
    }
}

fn in_good_hands(step: &Step, owner: u32) -> bool {
    let FileStat { st_uid, st_gid, st_mode, .. } = step.stat;
    let known = st_uid == 0 || st_uid == owner;
    if is(step, SFlag::S_IFLNK) {
        // A link has no rights of its own: who may replace it is said by its directory.
        return known;
    }
    // Many systems give each user a group of the same number and let it write.
    let own_group = st_mode & 0o002 == 0 && st_gid == owner && st_gid != 0;
    known && (st_mode & WRITABLE_BY_OTHERS == 0 || st_mode & STICKY != 0 || own_group)
}

fn is(step: &Step, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(step.stat.st_mode) & SFlag::S_IFMT == kind
}

fn walk(path: &Path) -> io::Result<Vec<Step>> {
    let mut ahead: VecDeque<OsString> = names(path);
    let mut at = open(None, OsStr::new("/"))?;
    let mut place = PathBuf::from("/");
    let mut held: Vec<(OwnedFd, PathBuf)> = Vec::new();
    let mut steps = vec![Step { path: place.clone(), stat: fstat(&at)? }];
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            if let Some((before, path)) = held.pop() {
                (at, place) = (before, path);
            }
            continue;
        }
        let next = open(Some(&at), &name)?;
        let step = Step { path: place.join(&name), stat: fstat(&next)? };
        if is(&step, SFlag::S_IFLNK) {
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let target = PathBuf::from(readlinkat(&at, name.as_os_str())?);
            if target.is_absolute() {
                at = open(None, OsStr::new("/"))?;
                place = PathBuf::from("/");
                held.clear();
            }
            for name in names(&target).into_iter().rev() {
                ahead.push_front(name);
            }
        } else {
            held.push((std::mem::replace(&mut at, next), place));
            place = step.path.clone();
        }
        steps.push(step);
    }
    // What the path led to is the last word, also after `..` or a link to a place already seen.
    steps.push(Step { path: place, stat: fstat(&at)? });
    Ok(steps)
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn open(below: Option<&OwnedFd>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = match below {
        Some(directory) => openat(directory, name, flags, Mode::empty()),
        None => nix::fcntl::open(name, flags, Mode::empty()),
    };
    Ok(opened?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

    const BOB: u32 = 65_534;

    fn give(path: &Path, uid: u32) {
        lchown(path, Some(uid), Some(uid)).unwrap();
    }

    fn is_root() -> bool {
        nix::unistd::geteuid().is_root()
    }

    #[test]
    fn a_directory_has_its_owner() {
        let temp = tempfile::tempdir().unwrap();
        let own = nix::unistd::geteuid().as_raw();
        assert_eq!(believable_owner(temp.path()).unwrap(), own);
        assert_eq!(
            believable_owner(&temp.path().join("x/../.")).unwrap_err().to_string().split(' ').next(),
            Some("there")
        );
        assert_eq!(believable_owner(Path::new("/")).unwrap(), 0);
    }

    #[test]
    fn what_is_not_there_or_no_directory_is_said() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        assert!(matches!(believable_owner(&temp.path().join("nope")), Err(OwnerError::Missing { .. })));
        assert!(matches!(believable_owner(&temp.path().join("file")), Err(OwnerError::NotADirectory { .. })));
        assert!(matches!(believable_owner(&temp.path().join("file/x")), Err(OwnerError::NotADirectory { .. })));
    }

    #[test]
    fn a_users_link_into_roots_directory_makes_nobody_root() {
        if !is_root() {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = temp.path().join("bob");
        fs::create_dir(&home).unwrap();
        give(&home, BOB);
        let app = home.join("app");
        fs::create_dir(&app).unwrap();
        give(&app, BOB);
        assert_eq!(believable_owner(&app).unwrap(), BOB);
        fs::rename(&app, home.join("app.real")).unwrap();
        symlink(temp.path(), &app).unwrap();
        give(&app, BOB);
        assert!(matches!(believable_owner(&app), Err(OwnerError::InOtherHands { .. })));
        // And a directory of root's in bob's hands is bob's to exchange.
        fs::create_dir(home.join("roots")).unwrap();
        assert!(matches!(believable_owner(&home.join("roots")), Err(OwnerError::InOtherHands { .. })));
    }

    #[test]
    fn roots_own_links_are_followed() {
        if !is_root() {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let (real, link) = (temp.path().join("real"), temp.path().join("link"));
        fs::create_dir(&real).unwrap();
        chown(&real, Some(BOB), Some(BOB)).unwrap();
        symlink("real", &link).unwrap();
        assert_eq!(believable_owner(&link).unwrap(), BOB);
        symlink("loop", temp.path().join("loop")).unwrap();
        assert!(matches!(believable_owner(&temp.path().join("loop")), Err(OwnerError::Look { .. })));
    }

    #[test]
    fn a_directory_that_everyone_may_write_is_in_other_hands() {
        if !is_root() {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let (open, app) = (temp.path().join("open"), temp.path().join("open/app"));
        fs::create_dir_all(&app).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(believable_owner(&app), Err(OwnerError::InOtherHands { .. })));
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        assert_eq!(believable_owner(&app).unwrap(), 0);
    }
}
