//! A tree of files, copied as it is: modes, links, empty directories.

use super::{cannot, failed};
use crate::api::Refusal;
use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Copies `from` to `to`, which is made. Names in `without` are left out at the top.
///
/// # Errors
/// Something cannot be read or written, or is no file, directory or link.
pub(super) fn copy_tree(from: &Path, to: &Path, without: &[&str]) -> Result<(), Refusal> {
    std::fs::create_dir_all(to).map_err(cannot("make", to))?;
    for entry in std::fs::read_dir(from).map_err(cannot("read", from))? {
        let entry = entry.map_err(cannot("read", from))?;
        let name = entry.file_name();
        if without.iter().any(|left_out| OsStr::new(left_out) == name) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        let kind = entry.file_type().map_err(cannot("look at", &source))?;
        if kind.is_dir() {
            copy_tree(&source, &target, &[])?;
        } else if kind.is_symlink() {
            let leads = std::fs::read_link(&source).map_err(cannot("read", &source))?;
            symlink(leads, &target).map_err(cannot("make the link", &target))?;
        } else if kind.is_file() {
            std::fs::copy(&source, &target).map_err(cannot("copy to", &target))?;
        } else {
            return Err(failed(format!("{} is no file, directory or link", source.display())));
        }
    }
    let mode = std::fs::metadata(from).map_err(cannot("look at", from))?.permissions();
    // Last: a directory that may not be written to has to be filled first.
    std::fs::set_permissions(to, mode).map_err(cannot("set the mode of", to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn modes_links_and_empty_directories_come_along() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("bin")).unwrap();
        std::fs::create_dir_all(from.join(".git/objects")).unwrap();
        std::fs::create_dir_all(from.join("empty")).unwrap();
        std::fs::write(from.join("bin/run"), "#!/bin/sh").unwrap();
        std::fs::set_permissions(from.join("bin/run"), Permissions::from_mode(0o755)).unwrap();
        symlink("bin/run", from.join("run")).unwrap();
        copy_tree(&from, &to, &[".git"]).unwrap();
        assert_eq!(std::fs::metadata(to.join("bin/run")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(std::fs::read_link(to.join("run")).unwrap(), Path::new("bin/run"));
        assert!(to.join("empty").is_dir() && !to.join(".git").exists());
        nix::unistd::mkfifo(&from.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(copy_tree(&from, &dir.path().join("again"), &[]).unwrap_err().message.contains("pipe is no file"));
    }
}
