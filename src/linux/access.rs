//! What this process may do with a file, before it tries.

use nix::unistd::{AccessFlags, access};
use std::io;
use std::path::Path;

/// May this process write there? By access(2), so for its real user.
///
/// # Errors
/// EACCES, or EROFS on a file system that is mounted read-only.
pub fn may_write(path: &Path) -> io::Result<()> {
    Ok(access(path, AccessFlags::W_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        may_write(directory.path()).unwrap();
        // No user may: proc(5) is no place for files.
        may_write(Path::new("/proc/self/environ-of-nobody")).unwrap_err();
    }
}
