//! Pages that were opened before a deploy go on asking for the files of their own release: those are put beside the new
//! ones.

use super::copy::copy_file;
use super::record::Record;
use super::root::Root;
use super::shared::parents_within;
use super::step::Audience;
use super::{Sourced, cannot, failed};
use crate::api::Refusal;
use std::io;
use std::path::{Path, PathBuf};

/// As many files are no static files of a page any more.
const MOST: usize = 100_000;

/// Copies the files below `paths` of the good releases that are there into the release `id`, where it has none of that
/// name; what was copied. What these had themselves been given is not passed on, else it would never end.
///
/// # Errors
/// The disk does not take them, or the audience has had enough.
pub fn bridge(root: &Root, id: &str, paths: &[String], audience: &mut dyn Audience) -> Result<Vec<PathBuf>, Sourced> {
    let mut copied = Vec::new();
    if paths.is_empty() {
        return Ok(copied);
    }
    let release = root.release(id);
    for earlier in Record::all(root).iter().filter(|record| record.is_good() && record.id != id) {
        let from = root.release(&earlier.id);
        for path in paths.iter().filter(|path| is_directory(&from.join(path))) {
            for file in files(&from, Path::new(path))? {
                if audience.tick().is_break() {
                    return Err(Sourced::Interrupted);
                }
                if earlier.bridged.contains(&file) || release.join(&file).symlink_metadata().is_ok() {
                    continue;
                }
                parents_within(&release, &file)?;
                let target = release.join(&file);
                copy_file(&from.join(&file), &target, audience)?;
                copied.push(file);
            }
        }
    }
    Ok(copied)
}

/// The files below a directory of a release, relative to the release. Links are not followed.
fn files(release: &Path, below: &Path) -> Result<Vec<PathBuf>, Refusal> {
    let (mut found, mut open) = (Vec::new(), vec![below.to_owned()]);
    while let Some(dir) = open.pop() {
        let at = release.join(&dir);
        let entries = std::fs::read_dir(&at).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        for entry in entries.map_err(cannot("read", &at))? {
            let kind = entry.file_type().map_err(cannot("look at", &at))?;
            let path = dir.join(entry.file_name());
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
        if found.len() > MOST {
            let message = format!("{} has more than {MOST} files to bridge", release.join(below).display());
            return Err(failed(message).hint("name a smaller directory in bridge"));
        }
    }
    Ok(found)
}

fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|there| there.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::record::State;
    use crate::deploy::record::tests::made;
    use crate::deploy::step::tests::Ear;

    #[test]
    fn files_of_earlier_releases_come_along_but_not_those_that_came_along_with_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let paths = ["static".to_owned()];
        let put = |id: &str, file: &str| {
            let path = root.release(id).join("static").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, id).unwrap();
        };
        let mut copied = Vec::new();
        for (minute, id) in ["one", "two", "three"].iter().enumerate() {
            let mut record = made(&root, id, i64::try_from(minute).unwrap(), State::Live);
            put(id, "same.js");
            put(id, &format!("chunks/{id}.js"));
            record.bridged = bridge(&root, id, &paths, &mut Ear::patient()).unwrap();
            record.bridged.sort();
            record.save(&root).unwrap();
            copied.push(record.bridged);
        }
        let chunk = |id: &str| PathBuf::from(format!("static/chunks/{id}.js"));
        assert_eq!(copied, [vec![], vec![chunk("one")], vec![chunk("one"), chunk("two")]]);
        assert_eq!(std::fs::read_to_string(root.release("three").join("static/same.js")).unwrap(), "three");
        // With the first gone, so are its files.
        super::super::remove(&root, "one").unwrap();
        made(&root, "four", 9, State::Building);
        let interrupted = bridge(&root, "four", &paths, &mut Ear::until(2));
        assert!(matches!(interrupted, Err(Sourced::Interrupted)), "{interrupted:?}");
        std::fs::remove_dir_all(root.release("four").join("static")).unwrap();
        let mut four = bridge(&root, "four", &paths, &mut Ear::patient()).unwrap();
        four.sort();
        assert_eq!(four, [chunk("three"), chunk("two"), PathBuf::from("static/same.js")]);
        assert_eq!(std::fs::read_to_string(root.release("four").join("static/same.js")).unwrap(), "three");
    }
}
