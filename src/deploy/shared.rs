//! What all releases have in common: a link in each, to one place outside.

use super::step::Audience;
use super::{Sourced, cannot, failed};
use crate::api::{Refusal, SharedLink};
use crate::linux::disk::sync;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Puts the links into the release. What stands there in the source makes way; a directory whose target is not there
/// yet becomes the target.
///
/// # Errors
/// Something that is to be linked is nowhere: not at its target, and not as a directory in the source. Or a link on the way
/// leads out of the release. Or the audience has had enough.
pub fn link_shared(links: &[SharedLink], release: &Path, audience: &mut dyn Audience) -> Result<(), Sourced> {
    refuse_missing(links, release)?;
    for SharedLink { path, target } in links {
        let (link, target) = (release.join(path), PathBuf::from(target));
        parents_within(release, Path::new(path))?;
        if !target.exists() {
            let parent = target.parent().unwrap_or(Path::new("/"));
            std::fs::create_dir_all(parent).map_err(cannot("make", parent))?;
            first_content(&link, &target, audience)?;
        }
        clear(&link).map_err(cannot("remove", &link))?;
        symlink(&target, &link).map_err(cannot("make the link", &link))?;
    }
    Ok(())
}

/// All of it or nothing: what is cut off in the middle is not taken for the whole by the next deploy.
fn first_content(source: &Path, target: &Path, audience: &mut dyn Audience) -> Result<(), Sourced> {
    let mut half = target.as_os_str().to_owned();
    half.push(".half-copied");
    let half = PathBuf::from(half);
    clear(&half).map_err(cannot("remove", &half))?;
    let copied = super::copy::copy_tree(source, &half, &[], audience).and_then(|_| {
        sync(&half).map_err(cannot("write", &half))?;
        Ok(std::fs::rename(&half, target).map_err(cannot("make", target))?)
    });
    copied.inspect_err(|_| drop(clear(&half)))
}

fn refuse_missing(links: &[SharedLink], release: &Path) -> Result<(), Refusal> {
    let missing =
        links.iter().find(|link| !Path::new(&link.target).exists() && !is_directory(&release.join(&link.path)));
    let Some(SharedLink { path, target }) = missing else { return Ok(()) };
    let message = format!("there is no {target}, which is to be {path} in every release");
    let hint = format!("put the file there, or make the directory: mkdir -p {}", shell_words::quote(target));
    Err(failed(message).hint(hint))
}

fn clear(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the directories between the release and the path; none of them may be a link, which could lead anywhere.
pub(super) fn parents_within(release: &Path, path: &Path) -> Result<(), Refusal> {
    let mut at = release.to_owned();
    for part in path.parent().unwrap_or(Path::new("")) {
        at.push(part);
        match std::fs::symlink_metadata(&at) {
            Ok(there) if there.is_dir() => {}
            Ok(_) => {
                let message = format!("{} is no directory of the release itself", at.display());
                return Err(failed(message).hint("what stands in the source there cannot be shared or bridged into"));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir(&at).map_err(cannot("make", &at))?;
            }
            Err(error) => return Err(cannot("look at", &at)(error)),
        }
    }
    Ok(())
}

fn is_directory(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|there| there.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::step::tests::Ear;

    fn linked(links: &[SharedLink], release: &Path) -> Result<(), Refusal> {
        match link_shared(links, release, &mut Ear::patient()) {
            Err(Sourced::Failed(refusal)) => Err(refusal),
            Ok(()) => Ok(()),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn link(path: &str, target: &Path) -> SharedLink {
        SharedLink { path: path.to_owned(), target: target.display().to_string() }
    }

    #[test]
    fn a_link_takes_the_place_of_what_the_source_has_there() {
        let dir = tempfile::tempdir().unwrap();
        let (release, shared) = (dir.path().join("release"), dir.path().join("shared"));
        std::fs::create_dir_all(release.join("public/uploads")).unwrap();
        std::fs::write(release.join("public/uploads/.gitkeep"), "").unwrap();
        std::fs::write(release.join(".env"), "of the source").unwrap();
        std::fs::create_dir(&shared).unwrap();
        std::fs::write(shared.join(".env"), "A=1").unwrap();
        let links = [link(".env", &shared.join(".env")), link("public/uploads", &shared.join("public/uploads"))];
        linked(&links, &release).unwrap();
        assert_eq!(std::fs::read_to_string(release.join(".env")).unwrap(), "A=1");
        assert!(shared.join("public/uploads/.gitkeep").exists(), "what came with the source is its first content");
        std::fs::write(release.join("public/uploads/a.png"), "").unwrap();
        assert!(shared.join("public/uploads/a.png").exists());
    }

    #[test]
    fn what_is_nowhere_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("shared/.env");
        let refused = linked(&[link(".env", &target)], dir.path()).unwrap_err();
        assert!(refused.message.starts_with(&format!("there is no {}", target.display())));
        assert!(refused.hint.unwrap().contains("mkdir -p"));
    }

    #[test]
    fn a_link_in_the_source_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let (release, outside) = (dir.path().join("release"), dir.path().join("outside"));
        std::fs::create_dir(&release).unwrap();
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, release.join("public")).unwrap();
        let refused = linked(&[link("public/uploads", &outside)], &release).unwrap_err();
        assert!(refused.message.contains("is no directory of the release itself"), "{}", refused.message);
        assert_eq!(std::fs::read_dir(outside).unwrap().count(), 0);
    }
}
