//! The paths of the control socket, with names and queries encoded.

use super::request::{EventsQuery, LogsQuery};
use std::fmt::Write;

pub const SUPERVISOR: &str = "/v1/supervisor";
pub const APPS: &str = "/v1/apps";
pub const OVERVIEW: &str = "/v1/overview";
pub const APPLY: &str = "/v1/apply";
pub const SHUTDOWN: &str = "/v1/shutdown";
pub const UPGRADE: &str = "/v1/upgrade";

/// `/v1/apps/{app}`.
pub fn app(app: &str) -> String {
    format!("{APPS}/{}", encoded(app))
}

/// `/v1/apps/{app}/exec`.
pub fn exec(app: &str) -> String {
    format!("{APPS}/{}/exec", encoded(app))
}

/// `/v1/apps/{app}/backup`.
pub fn backup(app: &str) -> String {
    format!("{APPS}/{}/backup", encoded(app))
}

/// `/v1/apps/{app}/exec` as in that release.
pub fn exec_in(app: &str, release: &str) -> String {
    let mut path = exec(app);
    Query::new(&mut path).add("release", release);
    path
}

/// `/v1/apps/{app}/releases`.
pub fn releases(app: &str) -> String {
    format!("{APPS}/{}/releases", encoded(app))
}

/// `/v1/apps/{app}/deploy`.
pub fn deploy(app: &str) -> String {
    format!("{APPS}/{}/deploy", encoded(app))
}

/// `/v1/apps/{selector}/{verb}`: a selector is names, aliases and globs with commas between, or `all`.
pub fn act(selector: &str, verb: &str, wait: bool, hard: bool) -> String {
    let mut path = format!("{APPS}/{}/{verb}", encoded(selector));
    let mut query = Query::new(&mut path);
    if wait {
        query.add("wait", "true");
    }
    if hard {
        query.add("hard", "true");
    }
    path
}

/// The words of a selector. A comma within the braces of a glob is the glob's.
pub fn selector_words(selector: &str) -> Vec<&str> {
    let (mut words, mut begin, mut depth) = (Vec::new(), 0, 0_u32);
    for (at, byte) in selector.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                words.push(&selector[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    words.push(&selector[begin..]);
    words.into_iter().map(str::trim).filter(|word| !word.is_empty()).collect()
}

/// `/v1/apps/{selector}/logs`, or `/v1/logs` for all apps.
pub fn logs(selector: Option<&str>, asked: &LogsQuery) -> String {
    let LogsQuery { lines, follow, stream, since, until, grep } = asked;
    let mut path = match selector {
        Some(selector) => format!("{APPS}/{}/logs", encoded(selector)),
        None => String::from("/v1/logs"),
    };
    let mut query = Query::new(&mut path);
    if let Some(lines) = lines {
        query.add("lines", &lines.to_string());
    }
    if *follow {
        query.add("follow", "true");
    }
    if let Some(stream) = stream {
        query.add("stream", &stream.to_string());
    }
    if let Some(since) = since {
        query.add("since", &since.to_string());
    }
    if let Some(until) = until {
        query.add("until", &until.to_string());
    }
    if let Some(grep) = grep {
        query.add("grep", grep);
    }
    path
}

/// `/v1/events`.
pub fn events(asked: &EventsQuery) -> String {
    let EventsQuery { follow, after } = asked;
    let mut path = String::from("/v1/events");
    let mut query = Query::new(&mut path);
    if *follow {
        query.add("follow", "true");
    }
    if let Some(after) = after {
        query.add("after", &after.to_string());
    }
    path
}

struct Query<'a> {
    path: &'a mut String,
    separator: char,
}

impl<'a> Query<'a> {
    fn new(path: &'a mut String) -> Query<'a> {
        Query { path, separator: '?' }
    }

    fn add(&mut self, key: &str, value: &str) {
        self.path.push(self.separator);
        self.path.push_str(key);
        self.path.push('=');
        self.path.push_str(&encoded(value));
        self.separator = '&';
    }
}

/// Percent-encoded: everything but the unreserved characters of RFC 3986, section 2.3.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _always = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Stream;

    #[test]
    fn a_selector_cannot_leave_its_segment() {
        assert_eq!(act("a,b*/../ü", "stop", true, false), "/v1/apps/a%2Cb%2A%2F..%2F%C3%BC/stop?wait=true");
        assert_eq!(act("all", "restart", true, true), "/v1/apps/all/restart?wait=true&hard=true");
        assert_eq!(app("a b"), "/v1/apps/a%20b");
    }

    #[test]
    fn commas_part_words_but_not_the_alternatives_of_a_glob() {
        assert_eq!(selector_words("a, b,,c"), ["a", "b", "c"]);
        assert_eq!(selector_words("*-{blue,green},shop"), ["*-{blue,green}", "shop"]);
        assert_eq!(selector_words("a},b"), ["a}", "b"]);
        assert!(selector_words(" , ").is_empty());
    }

    #[test]
    fn a_query_carries_what_was_asked_for_and_nothing_else() {
        assert_eq!(logs(None, &LogsQuery::default()), "/v1/logs");
        let since = "2026-01-02T03:04:05Z".parse().unwrap();
        let asked = LogsQuery {
            lines: Some(5),
            follow: true,
            stream: Some(Stream::Err),
            since: Some(since),
            until: None,
            grep: Some("a&b=c".to_owned()),
        };
        assert_eq!(
            logs(Some("web"), &asked),
            "/v1/apps/web/logs?lines=5&follow=true&stream=err&since=2026-01-02T03%3A04%3A05Z&grep=a%26b%3Dc"
        );
        assert_eq!(events(&EventsQuery { follow: true, after: Some(7) }), "/v1/events?follow=true&after=7");
    }
}
