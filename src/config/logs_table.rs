//! `[apps.NAME.logs]`: where an app's output is kept and how much of it.

use super::app::{LogFormat, LogsConfig};
use super::keys;
use super::notes::Notes;
use super::table::{Found, Setting, View};
use super::{units, values};
use std::path::{Component, PathBuf};

/// Rotating more often than every few lines is no rotation.
const LEAST_FILE: u64 = 1 << 10;
const MAX_SIZE: u64 = 10 << 20;
const MAX_TOTAL: u64 = 1 << 30;

/// `is_root`: the reader is, and writes nowhere on the word of a file that somebody else owns.
pub(super) fn logs(view: &View<'_>, app: &str, is_root: bool, notes: &mut Notes<'_>) -> LogsConfig {
    let table = view.sub("logs", notes);
    table.refuse_unknown(&keys::LOGS, notes);
    let (max_size, max_total) = sizes(&table, notes);
    let count =
        |found: &Found<'_>, notes: &mut Notes<'_>| values::number(found, notes, "a count of files", 0..=100_000);
    LogsConfig {
        dir: table
            .read("dir", notes, |found, notes| directory(found, is_root, notes))
            .value()
            .filter(|dir| !dir.as_os_str().is_empty()),
        name: table.read("name", notes, log_name).or(app.to_owned()),
        timestamps: table.read("timestamps", notes, values::flag).or(true),
        format: table.read("format", notes, values::log_format).or(LogFormat::Text),
        max_size,
        keep: table.read("keep", notes, count).or(30),
        compress: table.read("compress", notes, values::flag).or(true),
        max_total,
        daily: table.read("daily", notes, values::flag).or(false),
    }
}

fn sizes(table: &View<'_>, notes: &mut Notes<'_>) -> (u64, u64) {
    let size = |found: &Found<'_>, notes: &mut Notes<'_>| values::size(found, notes, LEAST_FILE);
    let max_size = table.read("max_size", notes, size);
    let max_total = table.read("max_total", notes, size);
    let place = match (&max_size, &max_total) {
        (Setting::Bad, _) | (_, Setting::Bad) => None,
        (max_size, max_total) => max_total.found().or(max_size.found()).cloned(),
    };
    let (max_size, max_total) = (max_size.or(MAX_SIZE), max_total.or(MAX_TOTAL));
    if let Some(place) = place.filter(|_| max_total < max_size) {
        let shown = units::show_size;
        let what = format!("max_total ({}) is less than max_size ({}) of one file", shown(max_total), shown(max_size));
        notes.blame(&place, what, "make max_total the larger one");
    }
    (max_size, max_total)
}

fn directory(found: &Found<'_>, is_root: bool, notes: &mut Notes<'_>) -> Option<PathBuf> {
    let path = values::path(found, notes)?;
    let within = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if is_root && !within && notes.sources().files[found.file].owner != 0 {
        let expected = "write a relative one, which lies in the supervisor's log directory, or chown the file to root";
        notes.blame(found, "only a file that root owns may name any directory", expected);
        return None;
    }
    Some(path.components().filter(|part| *part != Component::CurDir).collect())
}

fn log_name(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<String> {
    if !found.own {
        notes.blame(found, "apps would write into each other's files", "write it into each app's own [logs] table");
        return None;
    }
    values::name(found, notes)
}
