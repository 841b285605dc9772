//! Which program runs, and which one takes its place: whatever is to be found by now where it was started from.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How the kernel marks a path whose file has lost its name, proc_pid_exe(5).
const GONE: &[u8] = b" (deleted)";

/// From where the program is executed that this process is; to be asked at its start.
///
/// # Errors
/// /proc is not there.
pub(in crate::daemon) fn own_path() -> io::Result<PathBuf> {
    Ok(named(std::env::current_exe()?.into_os_string()))
}

fn named(told: OsString) -> PathBuf {
    let bytes = told.as_bytes();
    PathBuf::from(OsString::from_vec(bytes.strip_suffix(GONE).unwrap_or(bytes).to_vec()))
}

/// A file with a program, as one looks at it: another one is another build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon) struct Build {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Build {
    /// # Errors
    /// There is no such file, or it may not be seen.
    pub(in crate::daemon) fn at(path: impl AsRef<Path>) -> io::Result<Build> {
        let file = std::fs::metadata(path)?;
        // Also its rights, and not only what is in it.
        let changed = (file.ctime(), file.ctime_nsec());
        Ok(Build { device: file.dev(), inode: file.ino(), size: file.size(), changed })
    }

    /// Of what this process executes.
    ///
    /// # Errors
    /// /proc is not there.
    pub(in crate::daemon) fn own() -> io::Result<Build> {
        Build::at("/proc/self/exe")
    }
}

/// From one program to another.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct Way {
    pub(in crate::daemon) program: PathBuf,
    pub(in crate::daemon) build: Build,
    /// Names this upgrade: nanoseconds since the machine booted.
    pub(in crate::daemon) id: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_looked_for_where_it_was() {
        for (told, path) in [("/usr/bin/x (deleted)", "/usr/bin/x"), ("/usr/bin/x", "/usr/bin/x")] {
            assert_eq!(named(OsString::from(told)), Path::new(path));
        }
        assert_eq!(Build::own().unwrap(), Build::at(own_path().unwrap()).unwrap());
    }

    #[test]
    fn a_copy_of_a_program_is_another_build() {
        let dir = tempfile::tempdir().unwrap();
        let (one, copy) = (dir.path().join("one"), dir.path().join("copy"));
        std::fs::write(&one, "program").unwrap();
        std::fs::copy(&one, &copy).unwrap();
        assert_ne!(Build::at(&one).unwrap(), Build::at(&copy).unwrap());
        assert_eq!(Build::at(&one).unwrap(), Build::at(&one).unwrap());
    }
}
