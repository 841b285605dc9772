//! The files that an `include` pattern names.

use super::sources::Trouble;
use globset::GlobBuilder;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// The files that `pattern` (relative to `base`) names, sorted. A `*`, `?`, `[…]` or `{…}` stays within one directory
/// level and skips names that begin with a dot, and may match nothing; a name without any of them must exist.
pub(super) fn matches(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, Trouble> {
    if pattern.is_empty() || pattern.contains("**") || pattern.contains('\0') {
        return Err(Trouble {
            what: format!("{pattern:?} is not a path or pattern of files"),
            expected: "write one like \"apps.d/*.toml\"".to_owned(),
        });
    }
    if !is_glob(pattern) {
        return Ok(vec![base.join(pattern)]);
    }
    let mut found = vec![if Path::new(pattern).is_absolute() { PathBuf::from("/") } else { base.to_owned() }];
    for component in Path::new(pattern).components() {
        match component {
            Component::RootDir | Component::Prefix(_) | Component::CurDir => {}
            Component::ParentDir => found.iter_mut().for_each(|path| path.push("..")),
            Component::Normal(name) => match name.to_str().filter(|name| is_glob(name)) {
                None => found.iter_mut().for_each(|path| path.push(name)),
                Some(glob) => found = one_level(&found, glob)?,
            },
        }
    }
    found.retain(|path| !path.is_dir() && path.symlink_metadata().is_ok());
    found.sort();
    Ok(found)
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

fn one_level(directories: &[PathBuf], glob: &str) -> Result<Vec<PathBuf>, Trouble> {
    let matcher = GlobBuilder::new(glob).literal_separator(true).build().map_err(|error| Trouble {
        what: format!("{glob:?} is not a pattern: {}", error.kind()),
        expected: "write one like \"apps.d/*.toml\"".to_owned(),
    })?;
    let matcher = matcher.compile_matcher();
    let mut found = Vec::new();
    for directory in directories {
        // An empty path is the current directory to everyone but read_dir.
        let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let entries = match std::fs::read_dir(listed) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(unreadable(listed, &error)),
        };
        for entry in entries {
            let name = entry.map_err(|error| unreadable(listed, &error))?.file_name();
            if !name.as_encoded_bytes().starts_with(b".") && matcher.is_match(&name) {
                found.push(directory.join(name));
            }
        }
    }
    Ok(found)
}

fn unreadable(directory: &Path, error: &std::io::Error) -> Trouble {
    Trouble {
        what: format!("cannot read the directory {}: {error}", directory.display()),
        expected: "make it readable or take it out of include".to_owned(),
    }
}
