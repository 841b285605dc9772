//! `[apps.NAME.backup]`: what of an app is kept, where, and how much of it.

use super::app::BackupConfig;
use super::command;
use super::keys;
use super::notes::Notes;
use super::pattern::{Pattern, PatternError};
use super::table::{Found, Setting, View};
use super::values;
use std::path::Path;

/// `base`: what relative paths begin at. `whole`: what is kept unless `include` says something else.
pub(super) fn backup(view: &View<'_>, base: &Path, whole: &str, notes: &mut Notes<'_>) -> Option<BackupConfig> {
    let table = view.sub("backup", notes);
    table.refuse_unknown(&keys::BACKUP, notes);
    let paths = "write a list of paths or globs, such as [\"uploads\", \"data/*.db\"]";
    let list = |key: &str, notes: &mut Notes<'_>| {
        table.read(key, notes, |found, notes| values::list(found, notes, paths, pattern))
    };
    let include = list("include", notes);
    if let Setting::Set(chosen, found) = &include
        && chosen.is_empty()
    {
        notes.blame(found, "nothing would be kept", "write what is to be kept, or leave it out");
    }
    let exclude = list("exclude", notes).or(Vec::new());
    let before = table.read("before", notes, before).or(Vec::new());
    let keep = table
        .read("keep", notes, |found, notes| values::number(found, notes, "a count of backups", 1..=100_000))
        .or(10);
    let dir = table.read("dir", notes, values::path);
    let own = view.own().get("backup").filter(|found| found.value.is_table());
    if let (Some(own), Setting::Absent) = (&own, &dir) {
        notes.blame(own, "it does not say where the backups go", "add dir = \"DIRECTORY\"");
    }
    let dir = values::resolve(base, &dir.value()?);
    let include = include.value().or_else(|| Some(vec![Pattern::parse(whole).ok()?])).unwrap_or_default();
    Some(BackupConfig { dir, base: base.to_owned(), include, exclude, before, keep })
}

fn pattern(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Pattern> {
    let path = values::path(found, notes)?;
    match Pattern::parse(path.to_str()?) {
        Ok(pattern) => Some(pattern),
        Err(PatternError::LeadsOut) => {
            let expected = "write one below the app's cwd, or below the root of its [deploy] table";
            notes.blame(found, format!("{} leads out of the app's directory", found.shown()), expected);
            None
        }
        Err(PatternError::Glob(kind)) => {
            let what = format!("{} is not a path or glob: {kind}", found.shown());
            notes.blame(found, what, "write one like \"uploads\" or \"data/*.db\"");
            None
        }
    }
}

fn before(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Vec<Vec<String>>> {
    let items = found.items(notes, "write a list of commands, such as [\"pg_dump -f {out}/db.sql crm\"]")?;
    let commands: Vec<Option<Vec<String>>> = items.iter().map(|item| one_before(item, notes)).collect();
    commands.into_iter().collect()
}

fn one_before(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Vec<String>> {
    let words = command::command_with(found, notes, &["out"])?;
    if words[0].starts_with('-') {
        let expected = "write each command whole, as one text: [\"pg_dump -f {out}/db.sql crm\"]";
        notes.blame(found, format!("{} is an option, not a command", found.shown()), expected);
        return None;
    }
    let foreign = words.iter().flat_map(|word| command::in_braces(word));
    if let Some(name) = foreign.into_iter().find(|name| command::PLACEHOLDERS.contains(name)) {
        let expected = "write {out} for what is to be kept; [\"sh\", \"-c\", \"…\"] has the app's variables";
        notes.blame(found, format!("there is no {{{name}}} here"), expected);
        return None;
    }
    Some(words)
}
