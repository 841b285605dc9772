//! What only one app may have: a name, its log files, its releases.

use super::app_table::Draft;
use super::notes::{Notes, Place};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Notes every name and log file that two apps claim.
/// `log_dir` is where the log files are that name no directory.
pub(super) fn refuse(drafts: &[Draft<'_>], log_dir: Option<&Path>, notes: &mut Notes<'_>) {
    let mut names: HashMap<String, &Draft<'_>> = HashMap::new();
    let mut files: HashMap<(PathBuf, String), &Draft<'_>> = HashMap::new();
    let mut roots: BTreeMap<PathBuf, &Draft<'_>> = BTreeMap::new();
    // An app's name goes before anybody's alias.
    for draft in drafts {
        let first = *names.entry(draft.config.name.clone()).or_insert(draft);
        if first.head != draft.head {
            let what = format!("{} is defined twice, first at {}", draft.key, shown(&first.head, notes));
            notes.blame_at(draft.head.clone(), &draft.key, what, "give one of them another name");
        }
    }
    for draft in drafts {
        for (alias, found) in draft.config.aliases.iter().zip(&draft.aliases) {
            if let Some(first) = names.get(alias) {
                let what = format!("{alias:?} is already {}", first.key);
                notes.blame(found, what, "choose another alias");
            } else {
                names.insert(alias.clone(), draft);
            }
        }
        let logs = &draft.config.logs;
        let dir = log_dir.unwrap_or(Path::new("")).join(logs.dir.as_deref().unwrap_or(Path::new("")));
        let file = (dir.components().collect::<PathBuf>(), logs.name.clone());
        if let Some(first) = files.get(&file).filter(|first| first.config.name != draft.config.name) {
            let what = format!("{} already writes to the logs named {:?}", first.key, logs.name);
            let key = format!("{}.logs", draft.key);
            notes.blame_at(draft.head.clone(), &key, what, "choose another name or dir in [logs]");
        }
        files.entry(file).or_insert(draft);
        // Each would remove the releases that the other runs, or deploy with the rights of the other's owner.
        if let Some(deploy) = &draft.config.deploy {
            let root = deploy.root.components().collect::<PathBuf>();
            let shared = roots.iter().find(|(other, first)| {
                first.config.name != draft.config.name && (root.starts_with(other) || other.starts_with(&root))
            });
            if let Some((other, first)) = shared {
                let what = match *other == root {
                    true => format!("{} already has its releases in {}", first.key, root.display()),
                    false => format!(
                        "{} and the root of {}, {}, lie in one another",
                        root.display(),
                        first.key,
                        other.display()
                    ),
                };
                let key = format!("{}.deploy.root", draft.key);
                notes.blame_at(draft.head.clone(), &key, what, "give each app a root of its own");
            }
            roots.entry(root).or_insert(draft);
        }
    }
}

fn shown(place: &Place, notes: &Notes<'_>) -> String {
    let source = &notes.sources().files[place.file];
    let line = source.text[..place.span.start].matches('\n').count() + 1;
    format!("{}:{line}", source.shown)
}
