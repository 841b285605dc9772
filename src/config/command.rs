//! A command: shell words without a shell, and the placeholders in them.

use super::notes::Notes;
use super::table::Found;
use super::values;
use toml::de::DeValue;

/// What a command may hold in braces.
pub(super) const PLACEHOLDERS: &[&str] = &["port", "host", "slot", "app", "instance"];
/// Words that only mean something to a shell.
const SHELL_WORDS: &[&str] = &["&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"];

/// The argument vector of a text or a list of texts, never empty.
pub(super) fn command(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Vec<String>> {
    command_with(found, notes, PLACEHOLDERS)
}

/// As [`command`], with these placeholders.
pub(super) fn command_with(
    found: &Found<'_>,
    notes: &mut Notes<'_>,
    placeholders: &[&'static str],
) -> Option<Vec<String>> {
    let words = match found.value {
        DeValue::String(_) => split(found, notes)?,
        DeValue::Array(_) => values::list(found, notes, "", values::text)?,
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Table(_) => {
            let expected = "write a text such as \"npm start\" or a list of texts";
            notes.blame(found, format!("{} is not a command", found.shown()), expected);
            return None;
        }
    };
    if words.first().is_none_or(|program| program.trim().is_empty()) {
        notes.blame(found, "the command is empty", "write the program and its arguments, such as \"npm start\"");
        return None;
    }
    refuse_misspelt(found, &words, placeholders, notes)?;
    Some(words)
}

fn split(found: &Found<'_>, notes: &mut Notes<'_>) -> Option<Vec<String>> {
    let text = values::text(found, notes)?;
    let Ok(words) = shell_words::split(&text) else {
        notes.blame(found, "a quote is not closed", "close it, or write the command as a list of texts");
        return None;
    };
    if let Some(word) = words.iter().find(|word| SHELL_WORDS.contains(&word.as_str())) {
        let expected = format!("write [\"sh\", \"-c\", \"…\"], or a list of texts to pass {word} on as it is");
        notes.blame(found, format!("{word} needs a shell, and none is used"), expected);
        return None;
    }
    if let Some(assignment) = words.first().filter(|word| is_assignment(word)) {
        let name = assignment.split('=').next().unwrap_or_default();
        let what = format!("setting {name} in the command needs a shell, and none is used");
        notes.blame(found, what, format!("write env = {{ {name} = \"…\" }}"));
        return None;
    }
    Some(words)
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

fn refuse_misspelt(
    found: &Found<'_>,
    words: &[String],
    placeholders: &[&'static str],
    notes: &mut Notes<'_>,
) -> Option<()> {
    let mut names = words.iter().flat_map(|word| in_braces(word));
    let misspelt = names.find_map(|name| Some((name, meant(name, placeholders)?)));
    if let Some((name, meant)) = misspelt {
        notes.blame(found, format!("there is no {{{name}}}"), format!("did you mean {{{meant}}}?"));
        return None;
    }
    Some(())
}

/// Does the command ask for the port?
pub(super) fn names_port(words: &[String]) -> bool {
    words.iter().flat_map(|word| in_braces(word)).any(|name| name == "port")
}

/// A placeholder that stands in the command.
pub(super) fn placeholder(words: &[String]) -> Option<&str> {
    words.iter().flat_map(|word| in_braces(word)).find(|name| PLACEHOLDERS.contains(name))
}

/// The words that stand directly in braces: `a{port}{x y}` → `port`.
pub(super) fn in_braces(text: &str) -> impl Iterator<Item = &str> {
    let inner = |part| str::split_once(part, '}').map(|(name, _)| name);
    text.split('{').skip(1).filter_map(inner).filter(|name| {
        !name.is_empty() && name.len() <= 20 && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
    })
}

/// The placeholder that a word in braces looks like without being it. Other braces are the app's own.
fn meant(name: &str, placeholders: &[&'static str]) -> Option<&'static str> {
    let lower = name.to_lowercase();
    placeholders
        .iter()
        .copied()
        .find(|known| {
            let allowed = if known.len() > 4 { 2 } else { 1 };
            name != *known && strsim::osa_distance(&lower, known) <= allowed
        })
        .filter(|_| !placeholders.contains(&name))
}
