//! An env file → variables, by the grammar of Node's `--env-file`.

/// The file cannot be variables of a process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct DotenvError {
    /// From 1.
    pub line: usize,
    pub what: String,
}

/// The variables of an env file in the order in which they first stand there, the last value of each.
///
/// The grammar is that of Node's `util.parseEnv` (lib/internal and src/node_dotenv.cc): `NAME=value` lines with an
/// optional `export`; values bare up to a `#`, or in `"`, `'` or `` ` `` over several lines, with `\n` a new line only
/// in `"`; nothing is expanded; a line without `=` is passed over, and a quote that is never closed is part of the value.
/// Where Node 20 stumbles we do what later ones and the dotenv package do: tabs count as blanks, a byte order mark is
/// dropped, and a line that begins with `=` ends nothing but itself.
///
/// # Errors
/// What cannot be put into an environment: text that is not UTF-8, and NUL characters.
pub fn parse_dotenv(bytes: &[u8]) -> Result<Vec<(String, String)>, DotenvError> {
    let line_of = |at: usize| 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
    if let Some(at) = memchr::memchr(0, bytes) {
        return Err(DotenvError { line: line_of(at), what: "a NUL character stands in it".to_owned() });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| DotenvError { line: line_of(error.valid_up_to()), what: "it is not UTF-8".to_owned() })?;
    // As Node does: a carriage return is dropped wherever it stands.
    let text = text.trim_start_matches('\u{feff}').replace('\r', "");
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut rest = text.as_str();
    while let Some((name, value, after)) = next(rest) {
        rest = after;
        match variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => variables.push((name, value)),
        }
    }
    Ok(variables)
}

/// The next variable and what comes after it.
fn next(mut rest: &str) -> Option<(String, String, &str)> {
    loop {
        rest = rest.trim_start_matches(blank_or_newline);
        if rest.is_empty() {
            return None;
        }
        let (line, after) = split_line(rest);
        let name = line.split_once('=').map(|(name, _)| name.trim_matches(blank)).unwrap_or_default();
        let name = name.strip_prefix("export ").map_or(name, |name| name.trim_start_matches(blank));
        if line.starts_with('#') || name.is_empty() {
            rest = after;
            continue;
        }
        let equals = line.find('=')?;
        let (value, after) = value(&rest[equals + 1..]);
        return Some((name.to_owned(), value, after));
    }
}

/// The value that `rest` begins with and what comes after its line.
fn value(rest: &str) -> (String, &str) {
    let trimmed = rest.trim_start_matches(blank);
    if let Some(quote) = trimmed.chars().next().filter(|first| ['"', '\'', '`'].contains(first))
        && let Some((quoted, after)) = trimmed[1..].split_once(quote)
    {
        let value = if quote == '"' { quoted.replace("\\n", "\n") } else { quoted.to_owned() };
        return (value, split_line(after).1);
    }
    let (line, after) = split_line(trimmed);
    // A quote that is never closed takes its whole line as it is, a comment and blanks too.
    if line.starts_with(['"', '\'', '`']) {
        return (line.to_owned(), after);
    }
    let bare = line.split('#').next().unwrap_or_default();
    (bare.trim_matches(blank).to_owned(), after)
}

fn split_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

fn blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

fn blank_or_newline(c: char) -> bool {
    blank(c) || c == '\n'
}
