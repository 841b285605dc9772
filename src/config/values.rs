//! One value of the file → one of ours, or a mistake noted.

use super::notes::Notes;
use super::table::Found;
use super::{LogFormat, StatusRange, units};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::de::{DeInteger, DeValue};

pub(super) fn text(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<String> {
    let DeValue::String(text) = found.value else {
        let expected = match found.value {
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                format!("put it in quotes: \"{}\"", found.shown())
            }
            DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => "write one text in quotes".to_owned(),
        };
        notes.blame(found, format!("{} is not a text", found.shown()), expected);
        return None;
    };
    if text.contains('\0') {
        notes.blame(found, "a NUL character stands in it", "leave it out");
        return None;
    }
    Some(text.to_string())
}

/// A text that is not empty.
pub(super) fn word(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<String> {
    let text = text(found, notes)?;
    if text.trim().is_empty() {
        notes.blame(found, "it is empty", "write a value or leave the key out");
        return None;
    }
    Some(text)
}

pub(super) fn flag(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<bool> {
    let DeValue::Boolean(flag) = found.value else {
        notes.blame(found, format!("{} is not true or false", found.shown()), "write true or false, without quotes");
        return None;
    };
    Some(*flag)
}

/// A list of texts, each read by `each`. All mistakes in it are noted.
pub(super) fn list<T>(
    found: &Found<'_>,
    notes: &mut Notes<'_>,
    expected: &str,
    each: impl Fn(&Found<'_>, &mut Notes<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let items = found.items(notes, expected)?;
    let read: Vec<Option<T>> = items.iter().map(|item| each(item, notes)).collect();
    read.into_iter().collect()
}

fn integer(number: &DeInteger<'_>) -> Option<i128> {
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A whole number within `range`; `thing` is what the number is.
pub(super) fn number<T: TryFrom<i128>>(
    found: &Found<'_>,
    notes: &mut Notes<'_>,
    thing: &str,
    range: RangeInclusive<i128>,
) -> Option<T> {
    let value = match found.value {
        DeValue::Integer(number) => integer(number).filter(|value| range.contains(value)),
        DeValue::String(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    let value = value.and_then(|value| T::try_from(value).ok());
    if value.is_none() {
        let expected = format!("write a number from {} to {}", range.start(), range.end());
        notes.blame(found, format!("{} is not {thing}", found.shown()), expected);
    }
    value
}

pub(super) fn port(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<u16> {
    number(found, notes, "a port", 1..=65535)
}

/// A duration of at least `least` and at most ten years.
pub(super) fn duration(found: &Found<'_>, notes: &mut Notes<'_>, least: Duration) -> Option<Duration> {
    let bare = match found.value {
        DeValue::Integer(number) => integer(number).map(|number| number.to_string()),
        DeValue::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() => {
            Some(text.to_string())
        }
        DeValue::String(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    if let Some(bare) = bare.filter(|bare| bare.len() < 20 && !bare.starts_with('-')) {
        notes.blame(found, format!("{} has no unit", found.shown()), format!("write \"{bare}ms\" or \"{bare}s\""));
        return None;
    }
    let Some(duration) = found.value.as_str().and_then(units::duration) else {
        let expected = "write whole numbers with units, such as \"1500ms\", \"10s\", \"5m\" or \"1h30m\"";
        notes.blame(found, format!("{} is not a duration", found.shown()), expected);
        return None;
    };
    if duration < least || duration > units::LONGEST {
        let (what, limit) = match duration < least {
            true => ("too short", format!("write at least \"{}\"", units::show_duration(least))),
            false => ("too long", format!("write at most \"{}\"", units::show_duration(units::LONGEST))),
        };
        notes.blame(found, format!("{} is {what}", found.shown()), limit);
        return None;
    }
    Some(duration)
}

/// Bytes, at least `least`.
pub(super) fn size(found: &Found<'_>, notes: &mut Notes<'_>, least: u64) -> Option<u64> {
    let bytes = match found.value {
        DeValue::String(text) => units::size(text),
        DeValue::Integer(number) => integer(number).and_then(|number| u64::try_from(number).ok()),
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    };
    // More than an i64 holds would not survive other programs' JSON.
    let Some(bytes) = bytes.filter(|bytes| *bytes <= i64::MAX as u64) else {
        let expected = "write a whole number with its unit, such as \"512K\", \"300M\" or \"1G\"";
        notes.blame(found, format!("{} is not a size", found.shown()), expected);
        return None;
    };
    if bytes < least {
        let expected = format!("write at least \"{}\" (units are K, M, G, T)", units::show_size(least));
        notes.blame(found, format!("{} is too small", found.shown()), expected);
        return None;
    }
    Some(bytes)
}

/// A path as written, not empty, without a tilde that nobody would expand.
pub(super) fn path(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<PathBuf> {
    let text = word(found, notes)?;
    if text == "~" || text.starts_with("~/") {
        notes.blame(found, format!("~ is not expanded in {}", found.shown()), "write the whole path");
        return None;
    }
    Some(PathBuf::from(text))
}

/// `path` under `base`, its `.` parts taken out; `..` stays, for a link may come before it.
pub(super) fn resolve(base: &Path, path: &Path) -> PathBuf {
    base.join(path).components().collect()
}

pub(super) fn log_format(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<LogFormat> {
    match found.value.as_str() {
        Some("text") => Some(LogFormat::Text),
        Some("json") => Some(LogFormat::Json),
        _ => {
            notes.blame(found, format!("{} is not a format", found.shown()), "write \"text\" or \"json\"");
            None
        }
    }
}

pub(super) fn statuses(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<StatusRange> {
    let written = match found.value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            String::new()
        }
    };
    let (first, last) = written.split_once('-').unwrap_or((&written, &written));
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|status| (100..=599).contains(status));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Some(StatusRange { first, last }),
        _ => {
            let expected = "write one from 100 to 599 or a range, such as \"200-299\"";
            notes.blame(found, format!("{} is not an HTTP status", found.shown()), expected);
            None
        }
    }
}

/// Is it a name for an app, an alias or a log? The reason when not.
pub(super) fn name_fault(name: &str) -> Option<&'static str> {
    let right = name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !right {
        return Some("write up to 64 letters, digits, dots, dashes and underscores, a letter or digit first");
    }
    (name == "all").then_some("choose another, all means every app")
}

pub(super) fn name(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<String> {
    let name = text(found, notes)?;
    if let Some(expected) = name_fault(&name) {
        notes.blame(found, format!("{} is not a name", found.shown()), expected);
        return None;
    }
    Some(name)
}
