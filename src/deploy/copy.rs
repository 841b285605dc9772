//! A tree of files, copied as it is: modes, times, links, empty directories. Never by hard links: whoever wrote to one
//! copy would write to all.

use super::backup::Figures;
use super::step::Audience;
use super::{Sourced, cannot, failed};
use std::ffi::OsStr;
use std::fs::{File, FileTimes, Metadata, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

/// So much of a file is copied before it is asked again whether to go on, bytes.
const PIECE: u64 = 64 << 20;

/// Copies `from` to `to`, which is made; what was copied. Names in `without` are left out at the top. Files keep their
/// modes, save what would make them run as somebody.
///
/// # Errors
/// Something cannot be read or written, or is no file, directory or link; or the audience has had enough.
pub(super) fn copy_tree(
    from: &Path,
    to: &Path,
    without: &[&str],
    audience: &mut dyn Audience,
) -> Result<Figures, Sourced> {
    let mut figures = Figures::default();
    copy_directory(from, to, without, &mut figures, audience)?;
    Ok(figures)
}

fn copy_directory(
    from: &Path,
    to: &Path,
    without: &[&str],
    figures: &mut Figures,
    audience: &mut dyn Audience,
) -> Result<(), Sourced> {
    std::fs::create_dir_all(to).map_err(cannot("make", to))?;
    for entry in std::fs::read_dir(from).map_err(cannot("read", from))? {
        let entry = entry.map_err(cannot("read", from))?;
        let name = entry.file_name();
        if without.iter().any(|left_out| OsStr::new(left_out) == name) {
            continue;
        }
        if audience.tick().is_break() {
            return Err(Sourced::Interrupted);
        }
        let (source, target) = (entry.path(), to.join(&name));
        let kind = entry.file_type().map_err(cannot("look at", &source))?;
        figures.entries += 1;
        if kind.is_dir() {
            copy_directory(&source, &target, &[], figures, audience)?;
        } else if kind.is_symlink() {
            let leads = std::fs::read_link(&source).map_err(cannot("read", &source))?;
            symlink(leads, &target).map_err(cannot("make the link", &target))?;
        } else if kind.is_file() {
            figures.bytes += copy_file(&source, &target, audience)?;
        } else {
            return Err(failed(format!("{} is no file, directory or link", source.display())).into());
        }
    }
    let mode = std::fs::metadata(from).map_err(cannot("look at", from))?.permissions();
    // Last: a directory that may not be written to has to be filled first.
    Ok(std::fs::set_permissions(to, mode).map_err(cannot("set the mode of", to))?)
}

/// Copies one file to where there is none; its bytes.
///
/// # Errors
/// As [`copy_tree`].
pub(super) fn copy_file(source: &Path, target: &Path, audience: &mut dyn Audience) -> Result<u64, Sourced> {
    // A pipe that took its place meanwhile is not waited for.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(source);
    let from = opened.map_err(cannot("read", source))?;
    let found = from.metadata().map_err(cannot("look at", source))?;
    if !found.is_file() {
        return Err(failed(format!("{} is no file any more", source.display())).into());
    }
    let written = cannot("copy to", target);
    let mut to = File::create_new(target).map_err(&written)?;
    let mut bytes = 0;
    loop {
        // By copy_file_range(2), which shares the blocks where the file system can (btrfs, XFS): copies of theirs own
        // as soon as one is written to.
        match io::copy(&mut (&from).take(PIECE), &mut to).map_err(&written)? {
            0 => break,
            piece => bytes += piece,
        }
        if bytes >= PIECE && audience.tick().is_break() {
            return Err(Sourced::Interrupted);
        }
    }
    finish(&to, &found).map_err(&written)?;
    Ok(bytes)
}

fn finish(to: &File, found: &Metadata) -> io::Result<()> {
    to.set_permissions(Permissions::from_mode(found.mode() & 0o777))?;
    to.set_times(FileTimes::new().set_modified(found.modified()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::step::tests::Ear;
    use std::time::{Duration, SystemTime};

    #[test]
    fn modes_times_links_and_empty_directories_come_along() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("bin")).unwrap();
        std::fs::create_dir_all(from.join(".git/objects")).unwrap();
        std::fs::create_dir_all(from.join("empty")).unwrap();
        std::fs::write(from.join("bin/run"), "#!/bin/sh").unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        File::open(from.join("bin/run")).unwrap().set_modified(long_ago).unwrap();
        std::fs::set_permissions(from.join("bin/run"), Permissions::from_mode(0o4755)).unwrap();
        symlink("bin/run", from.join("run")).unwrap();
        let copied = copy_tree(&from, &to, &[".git"], &mut Ear::patient()).unwrap();
        assert_eq!(copied, Figures { entries: 4, bytes: 9 });
        let found = std::fs::metadata(to.join("bin/run")).unwrap();
        assert_eq!((found.mode() & 0o7777, found.modified().unwrap()), (0o755, long_ago));
        assert_eq!(std::fs::read_link(to.join("run")).unwrap(), Path::new("bin/run"));
        assert!(to.join("empty").is_dir() && !to.join(".git").exists());
        nix::unistd::mkfifo(&from.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let again = copy_tree(&from, &dir.path().join("again"), &[], &mut Ear::patient());
        assert!(matches!(again, Err(Sourced::Failed(refusal)) if refusal.message.contains("pipe is no file")));
    }

    #[test]
    fn it_ends_when_nobody_wants_more_of_it() {
        let dir = tempfile::tempdir().unwrap();
        for name in 0..10 {
            std::fs::write(dir.path().join(name.to_string()), "").unwrap();
        }
        let to = tempfile::tempdir().unwrap();
        let done = copy_tree(dir.path(), to.path(), &[], &mut Ear::until(5));
        assert!(matches!(done, Err(Sourced::Interrupted)), "{done:?}");
        assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 4);
    }
}
