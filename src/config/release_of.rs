//! `release_of`: an app of the configuration that has releases, and where they are.

use super::app::{AppConfig, EnvFile, ReleaseOf, live_in};
use super::app_table::Draft;
use super::dependencies::{known, refuse_unknown};
use super::notes::Notes;
use super::table::Found;
use super::values::resolve as under;
use std::path::PathBuf;

/// An app, as one that somebody wants to run from its release.
struct Leader {
    name: String,
    /// None without a `deploy` that is right.
    root: Option<PathBuf>,
    is_deployed: bool,
    /// Whose release it runs from itself, as it is written.
    follows: Option<String>,
    is_follower: bool,
}

/// Puts the app's name where `release_of` used an alias, and its releases where paths are to begin in one; notes what
/// has none.
pub(super) fn resolve(drafts: &mut [Draft<'_>], notes: &mut Notes<'_>) {
    let known = known(drafts);
    let leaders: Vec<Leader> = drafts.iter().map(Leader::of).collect();
    for (place, draft) in drafts.iter_mut().enumerate() {
        let (Some(of), Some(found)) = (&draft.config.release_of, &draft.release_of) else { continue };
        match known.get(&of.app) {
            Some(leader) if *leader == place => {
                notes.blame(
                    found,
                    "it is this app itself",
                    "write the name of another one, which has a [deploy] table",
                );
            }
            Some(leader) => {
                if let Some(of) = leaders[*leader].led(found, notes) {
                    begin_in_it(&mut draft.config, of);
                }
            }
            None => refuse_unknown(&of.app, found, &known, notes),
        }
    }
}

impl Leader {
    fn of(draft: &Draft<'_>) -> Leader {
        Leader {
            name: draft.config.name.clone(),
            root: draft.config.deploy.as_ref().map(|deploy| deploy.root.clone()),
            is_deployed: draft.is_deployed,
            follows: draft.config.release_of.as_ref().map(|of| of.app.clone()),
            is_follower: draft.release_of.is_some(),
        }
    }

    /// None, and noted, where it has no releases; what is wrong with itself is not told once more.
    fn led(&self, found: &Found<'_>, notes: &mut Notes<'_>) -> Option<ReleaseOf> {
        let name = &self.name;
        if let Some(follows) = &self.follows {
            let what = format!("{name} has no releases of its own: it runs from those of {follows}");
            notes.blame(found, what, format!("write {follows:?}"));
        } else if !self.is_deployed && !self.is_follower {
            let expected = format!("give [apps.{name}.deploy] a root, or name another app");
            notes.blame(found, format!("{name} has no releases"), expected);
        }
        self.root.clone().map(|root| ReleaseOf { app: name.clone(), root })
    }
}

/// Its relative paths begin in the live release, and what is kept of it in the root.
fn begin_in_it(config: &mut AppConfig, of: ReleaseOf) {
    let live = live_in(&of.root);
    config.cwd = under(&live, &config.cwd);
    config.path.iter_mut().for_each(|path| *path = under(&live, path));
    config.env_file = config.env_file.take().map(|file| EnvFile { path: under(&live, &file.path), ..file });
    if let Some(backup) = &mut config.backup {
        (backup.base, backup.dir) = (under(&of.root, &backup.base), under(&of.root, &backup.dir));
    }
    config.release_of = Some(of);
}
