//! `live`: the link to an app's active release, for people and scripts. It follows what the supervisor has decided,
//! and decides nothing.

use super::users::Users;
use crate::config::{AppConfig, Config};
use crate::linux::failpoint;
use crate::linux::identity::with_fs_identity;
use crate::supervisor::{Kept, Release};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Where the links lead.
#[derive(Default)]
pub(super) struct LiveLinks {
    /// The number of the newest state that was followed: a slow disk must not bring an older one back.
    followed: Mutex<u64>,
}

impl LiveLinks {
    /// Moves the links that lead elsewhere than to the active release. `number` grows with every state. Blocks.
    pub(super) fn follow(&self, number: u64, kept: &BTreeMap<String, Kept>, config: &Config, users: &Users) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if *followed > number {
            return;
        }
        *followed = number;
        for app in &config.apps {
            let Some(release) = kept.get(&app.name).and_then(|kept| kept.release.as_ref()) else { continue };
            if let Err(why) = follow(app, release, users) {
                tracing::warn!("{}: the link live does not lead to release {}: {why}", app.name, release.id);
            }
        }
    }
}

fn follow(app: &AppConfig, release: &Release, users: &Users) -> Result<(), String> {
    let Some(deploy) = &app.deploy else { return Ok(()) };
    // Relative, so that the whole root may be moved.
    let target = release.dir.strip_prefix(&deploy.root).unwrap_or(&release.dir);
    let live = deploy.live();
    if std::fs::read_link(&live).is_ok_and(|there| there == target) {
        return Ok(());
    }
    // With the rights of the app's user: a link that is planted in the root leads no further than that user goes.
    let user = users.find(&app.in_release(&release.dir))?;
    with_fs_identity(&user, || replace_link(target, &live)).flatten().map_err(|error| error.to_string())
}

/// Whoever looks finds the old link or the new one.
fn replace_link(target: &Path, link: &Path) -> io::Result<()> {
    // One name for all of them: nobody else makes one meanwhile, and what was left is found.
    let beside = PathBuf::from(format!("{}.new", link.display()));
    let _left_by_a_crash = std::fs::remove_file(&beside);
    symlink(target, &beside)?;
    failpoint::here("live.made");
    std::fs::rename(&beside, link).inspect_err(|_| {
        let _gone = std::fs::remove_file(&beside);
    })?;
    failpoint::here("live.moved");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_replaced_and_a_directory_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let live = dir.path().join("live");
        for target in ["releases/one", "releases/two"] {
            replace_link(Path::new(target), &live).unwrap();
            assert_eq!(std::fs::read_link(&live).unwrap(), Path::new(target));
        }
        std::fs::remove_file(&live).unwrap();
        std::fs::create_dir(&live).unwrap();
        assert!(replace_link(Path::new("releases/one"), &live).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
