//! `[apps.NAME.deploy]`: where the releases are, what they are made from and how, and how long the one before is kept
//! at hand.

use super::app::{DeployConfig, SharedPath};
use super::app_table::wait;
use super::command;
use super::keys;
use super::notes::Notes;
use super::table::{Found, Setting, View};
use super::values;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;
use toml::de::DeValue;

/// Less is a forgotten unit.
const LEAST_FREE: u64 = 1 << 20;

/// None without a table of the app's own. `base`: the directory that a relative `root` begins at.
pub(super) fn deploy(view: &View<'_>, base: &Path, notes: &mut Notes<'_>) -> Option<DeployConfig> {
    let table = view.sub("deploy", notes);
    table.refuse_unknown(&keys::DEPLOY, notes);
    let root = table.read("root", notes, |found, notes| {
        if !found.own {
            notes.blame(found, "apps cannot share it", "write it into each app's own [deploy] table");
            return None;
        }
        values::path(found, notes)
    });
    let own = view.own().get("deploy").filter(|found| found.value.is_table());
    if let (Some(own), Setting::Absent) = (&own, &root) {
        notes.blame(own, "it does not say where the releases are", "add root = \"DIRECTORY\"");
    }
    let root = root.value().map(|root| values::resolve(base, &root));
    let repo = table.read("repo", notes, |found, notes| repo(found, base, notes));
    let branch = table.read("branch", notes, branch);
    if let Some(found) = branch.found().filter(|found| found.own && table.get("repo").is_none()) {
        notes.blame(found, "there is no repository that could have it", "add repo = \"…\" or leave it out");
    }
    let deploy = DeployConfig {
        repo: repo.value(),
        branch: branch.value(),
        shared: shared(&table, root.as_deref().unwrap_or(base), notes),
        steps: table.read("steps", notes, commands).value(),
        migrate: table.read("migrate", notes, commands).or(Vec::new()),
        bridge: table.read("bridge", notes, bridge).or(Vec::new()),
        keep: table.read("keep", notes, |found, notes| values::number(found, notes, "a count", 1..=100)).or(3),
        warm: wait(&table, "warm", Duration::ZERO, notes).or(Duration::from_secs(60)),
        min_free: table.read("min_free", notes, |found, notes| values::size(found, notes, LEAST_FREE)).or(1 << 30),
        backup: table.read("backup", notes, values::flag).or(false),
        root: PathBuf::new(),
    };
    root.map(|root| DeployConfig { root, ..deploy })
}

/// A backup that is to be made needs to be said where and of what. `has_backup`: whether that is.
pub(super) fn refuse_backup_of_nothing(view: &View<'_>, name: &str, has_backup: bool, notes: &mut Notes<'_>) {
    let table = view.sub("deploy", notes);
    if has_backup || !table.read("backup", notes, values::flag).or(false) {
        return;
    }
    if let Some(found) = table.get("backup") {
        let expected = format!("write [apps.{name}.backup] with dir = \"DIRECTORY\", or leave it out");
        notes.blame(&found, "there is no [backup] table that says what to keep, and where", expected);
    }
}

/// `git@host:path`, a URL, or a directory, which may be relative to the file.
fn repo(found: &Found<'_>, base: &Path, notes: &mut Notes<'_>) -> Option<String> {
    let text = values::word(found, notes)?;
    if text.starts_with('-') || text.contains(char::is_control) {
        let expected = "write one like \"git@github.com:you/app.git\", \"https://…\" or a directory";
        notes.blame(found, format!("{} is no repository", found.shown()), expected);
        return None;
    }
    if text.contains(':') {
        return Some(text);
    }
    let path = values::path(found, notes)?;
    Some(values::resolve(base, &path).to_string_lossy().into_owned())
}

fn branch(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<String> {
    let text = values::word(found, notes)?;
    // git-check-ref-format(1), as far as it could be mistaken for something else.
    let odd = |c: char| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c);
    if text.starts_with('-') || text.contains("..") || text.contains(odd) {
        notes.blame(found, format!("{} cannot be a branch", found.shown()), "write its name, such as \"main\"");
        return None;
    }
    Some(text)
}

/// What every release has in common: a path within the release and what it leads to.
fn shared(table: &View<'_>, root: &Path, notes: &mut Notes<'_>) -> Vec<SharedPath> {
    let expected =
        "write a list of paths, such as [\".env\", { path = \"public/uploads\", target = \"/srv/uploads\" }]";
    let Some(items) = table.get("shared").and_then(|found| found.items(notes, expected)) else { return Vec::new() };
    let mut shared: Vec<SharedPath> = Vec::new();
    for item in items {
        let Some(one) = shared_path(&item, root, notes) else { continue };
        let clash = shared.iter().find(|other| other.path.starts_with(&one.path) || one.path.starts_with(&other.path));
        if let Some(other) = clash {
            let what = format!("{} lies within {} or is the same", one.path.display(), other.path.display());
            notes.blame(&item, what, "take one of them out");
            continue;
        }
        shared.push(one);
    }
    shared
}

fn shared_path(found: &Found<'_>, root: &Path, notes: &mut Notes<'_>) -> Option<SharedPath> {
    if let DeValue::Table(_) = found.value {
        let layer = found.table(notes)?;
        let view = View { layers: vec![layer] };
        view.refuse_unknown(&keys::SHARED, notes);
        let Some(path) = view.get("path") else {
            notes.blame(found, "it does not say which path of a release it is", "add path = \"…\"");
            return None;
        };
        let path = within_release(&path, notes)?;
        let target = match view.get("target") {
            None => root.join("shared").join(&path),
            Some(target) => values::resolve(root, &values::path(&target, notes)?),
        };
        return Some(SharedPath { path, target });
    }
    let path = within_release(found, notes)?;
    Some(SharedPath { target: root.join("shared").join(&path), path })
}

fn bridge(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Vec<PathBuf>> {
    let expected = "write a list of directories of a release, such as [\".next/static\"]";
    values::list(found, notes, expected, within_release)
}

/// A relative path that stays within the release, and is not the whole of it.
fn within_release(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<PathBuf> {
    let path = values::path(found, notes)?;
    let plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let path: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    if !plain || path.as_os_str().is_empty() {
        let what = format!("{} is no path within a release", found.shown());
        notes.blame(found, what, "write one relative to the release, without ..");
        return None;
    }
    Some(path)
}

/// Commands that are run one after the other, each without a shell.
fn commands(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Vec<Vec<String>>> {
    values::list(found, notes, "write a list of commands, such as [\"npm ci\", \"npm run build\"]", |item, notes| {
        let words = command::command(item, notes)?;
        if let Some(name) = command::placeholder(&words) {
            let what = format!("{{{name}}} stands in it, and no instance runs it");
            notes.blame(item, what, format!("take {{{name}}} out"));
            return None;
        }
        Some(words)
    })
}
