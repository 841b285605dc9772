//! A stored line → its time, its stream, and what the app wrote.

use crate::logs::settings::Stream;
use crate::logs::stamp::{LINE_STAMP, parse_line_stamp};
use jiff::Timestamp;
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parser {
    /// As the app wrote it.
    Raw,
    /// With a time before it or in JSON: both, since the settings may have changed between two lines.
    Timed,
}

pub(super) struct Parsed<'a> {
    pub(super) at: Option<Timestamp>,
    pub(super) stream: Option<Stream>,
    pub(super) body: Cow<'a, [u8]>,
}

#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    line: Cow<'a, str>,
}

impl Parser {
    pub(super) fn is_timed(self) -> bool {
        self == Parser::Timed
    }

    pub(super) fn parse(self, line: &[u8]) -> Parsed<'_> {
        let untimed = Parsed { at: None, stream: None, body: Cow::Borrowed(line) };
        match self {
            Parser::Raw => untimed,
            Parser::Timed => stamped(line).or_else(|| json(line)).unwrap_or(untimed),
        }
    }
}

fn stamped(line: &[u8]) -> Option<Parsed<'_>> {
    let at = parse_line_stamp(line)?;
    let body = line[LINE_STAMP..].strip_prefix(b" ")?;
    Some(Parsed { at: Some(at), stream: None, body: Cow::Borrowed(body) })
}

fn json(line: &[u8]) -> Option<Parsed<'_>> {
    if !line.starts_with(br#"{"time":""#) {
        return None;
    }
    let json: JsonLine<'_> = serde_json::from_slice(line).ok()?;
    let stream = [Stream::Out, Stream::Err].into_iter().find(|stream| stream.word() == json.stream);
    let body = match json.line {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    Some(Parsed { at: Some(parse_line_stamp(json.time.as_bytes())?), stream, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_back_without_its_time_whatever_the_format_was() {
        let at: Timestamp = "2026-11-22T18:01:02.123Z".parse().unwrap();
        let text = Parser::Timed.parse(b"2026-11-22T20:01:02.123+02:00  \xffindented");
        assert_eq!((text.at, text.stream, &*text.body), (Some(at), None, &b" \xffindented"[..]));
        let json =
            Parser::Timed.parse(br#"{"time":"2026-11-22T20:01:02.123+02:00","app":"a","stream":"err","line":"a\tb"}"#);
        assert_eq!((json.at, json.stream, &*json.body), (Some(at), Some(Stream::Err), &b"a\tb"[..]));
    }

    #[test]
    fn what_is_neither_is_left_as_it_is() {
        for line in [&b"plain"[..], b"", br#"{"time":"now"}"#, br#"{"time":"#, b"2026-11-22T20:01:02.123+02:00"] {
            let parsed = Parser::Timed.parse(line);
            assert_eq!((parsed.at, &*parsed.body), (None, line));
        }
        let own = b"2026-11-22T20:01:02.123+02:00 the app's own time";
        assert_eq!(&*Parser::Raw.parse(own).body, own);
    }
}
