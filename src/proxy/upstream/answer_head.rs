//! The head of an instance's answer: what the client is told of it, and where the body ends (RFC 9112, 6.3).

use super::decoder::Decoder;
use crate::proxy::framing::digits;
use bytes::{Bytes, BytesMut};
use hyper::ext::ReasonPhrase;
use hyper::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::{Response, StatusCode, response};
use std::mem::MaybeUninit;
use std::time::Duration;

/// What an origin that announces nothing keeps an idle connection for: Node's default.
const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// An origin that announces more is believed no more than this.
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(600);
/// More header lines are a mistake.
const MOST_HEADERS: usize = 100;

/// A head, without what concerns the instance's connection alone.
#[derive(Debug)]
pub(in crate::proxy) struct AnswerHead {
    pub(in crate::proxy) parts: response::Parts,
    /// The protocol that it goes over to, with a 101.
    pub(in crate::proxy) upgrade: Option<HeaderValue>,
    pub(super) body: Decoder,
    /// How long the connection is kept while it is idle; zero when it ends with this answer.
    pub(super) keep_alive: Duration,
}

/// Not what HTTP/1.1 is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Takes a whole head off what has come; none while it is not whole. Hints (1xx) before it are left away.
pub(super) fn take(came: &mut BytesMut, is_to_head: bool) -> Result<Option<AnswerHead>, Malformed> {
    while let Some(end) = end_of_head(came) {
        let head = parse(&came.split_to(end).freeze(), is_to_head)?;
        let is_hint = head.parts.status.is_informational() && head.parts.status != StatusCode::SWITCHING_PROTOCOLS;
        if !is_hint {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// Behind the empty line. A line may end with LF alone (RFC 9112, 2.2).
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|end| match &bytes[end + 1..] {
        [b'\n', ..] => Some(end + 2),
        [b'\r', b'\n', ..] => Some(end + 3),
        _ => None,
    })
}

fn parse(bytes: &Bytes, is_to_head: bool) -> Result<AnswerHead, Malformed> {
    let mut room = [const { MaybeUninit::uninit() }; MOST_HEADERS];
    let mut raw = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut raw, bytes, &mut room);
    let (Ok(httparse::Status::Complete(length)), Some(version), Some(code)) = (parsed, raw.version, raw.code) else {
        return Err(Malformed);
    };
    if length != bytes.len() {
        return Err(Malformed);
    }
    let status = StatusCode::from_u16(code).map_err(|_| Malformed)?;
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    if let Some(reason) = raw.reason.filter(|reason| !reason.is_empty() && Some(*reason) != status.canonical_reason())
        && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
    {
        parts.extensions.insert(reason);
    }
    let mut told = Told::default();
    parts.headers.reserve(raw.headers.len());
    for line in raw.headers.iter() {
        if !told.takes(line)? {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Malformed)?;
            let value = HeaderValue::from_maybe_shared(bytes.slice_ref(line.value)).map_err(|_| Malformed)?;
            parts.headers.append(name, value);
        }
    }
    let is_old = version == 0;
    let body = told.body(status, is_to_head, is_old)?;
    // A length beside chunks is not the body's; one that is said twice, or as a list, is written anew by whoever knows it.
    if told.coding.is_some() || matches!(told.length, Length::Repeated(_) | Length::Contradictory) {
        parts.headers.remove(header::CONTENT_LENGTH);
    }
    told.named.iter().for_each(|name| strip(&mut parts.headers, name));
    let keep_alive = match told.is_last || is_old {
        // One of HTTP/1.0 is not asked again: not every request could be sent to it.
        true => Duration::ZERO,
        false => told.keep_alive.unwrap_or(DEFAULT_KEEP_ALIVE),
    };
    Ok(AnswerHead { parts, upgrade: told.upgrade, body, keep_alive })
}

/// What `Connection` names, but nothing that says where a message ends.
fn strip(headers: &mut HeaderMap, name: &HeaderName) {
    if *name != header::CONTENT_LENGTH {
        headers.remove(name);
    }
}

/// What a head says of its connection and of its body's end (RFC 9110, 7.6.1).
#[derive(Default)]
struct Told {
    is_last: bool,
    named: Vec<HeaderName>,
    keep_alive: Option<Duration>,
    length: Length,
    coding: Option<Coding>,
    upgrade: Option<HeaderValue>,
}

#[derive(Default)]
enum Length {
    #[default]
    Unsaid,
    /// Said once, as a number.
    Plain(u64),
    /// Several times the same.
    Repeated(u64),
    Contradictory,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Chunked,
    /// Its end is the end of the connection.
    Other,
}

impl Told {
    /// True for what goes no further; the rest is the client's.
    fn takes(&mut self, line: &httparse::Header<'_>) -> Result<bool, Malformed> {
        let is = |name: &str| line.name.eq_ignore_ascii_case(name);
        // Its length tells nearly every name apart from those that matter.
        match line.name.len() {
            10 if is("connection") => self.connection(line.value),
            10 if is("keep-alive") => self.keep_alive = timeout(line.value),
            14 if is("content-length") => {
                self.length.add(line.value);
                return Ok(false);
            }
            17 if is("transfer-encoding") => {
                let last = line.value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
                let is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
                self.coding = Some(if is_chunked { Coding::Chunked } else { Coding::Other });
            }
            7 if is("upgrade") => self.upgrade = Some(HeaderValue::from_bytes(line.value).map_err(|_| Malformed)?),
            2 if is("te") => {}
            16 if is("proxy-connection") => {}
            18 if is("proxy-authenticate") => {}
            19 if is("proxy-authorization") => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn connection(&mut self, value: &[u8]) {
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                self.is_last = true;
            } else if !token.eq_ignore_ascii_case(b"keep-alive")
                && let Ok(name) = HeaderName::from_bytes(token)
            {
                self.named.push(name);
            }
        }
    }

    fn body(&self, status: StatusCode, is_to_head: bool, is_old: bool) -> Result<Decoder, Malformed> {
        if is_to_head
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        {
            return Ok(Decoder::none());
        }
        match (self.coding, &self.length) {
            (Some(_), _) if is_old => Err(Malformed),
            (Some(Coding::Chunked), _) => Ok(Decoder::chunked()),
            (Some(Coding::Other), _) | (None, Length::Unsaid) => Ok(Decoder::until_end()),
            (None, Length::Plain(length) | Length::Repeated(length)) => Ok(Decoder::length(*length)),
            (None, Length::Contradictory) => Err(Malformed),
        }
    }
}

impl Length {
    fn add(&mut self, value: &[u8]) {
        let mut numbers = value.split(|byte| *byte == b',').map(|number| digits(number.trim_ascii()));
        let first = numbers.next().flatten();
        let is_list = value.contains(&b',');
        let same = first.filter(|first| numbers.all(|number| number == Some(*first)));
        *self = match (&*self, same) {
            (Length::Unsaid, Some(length)) if !is_list => Length::Plain(length),
            (Length::Unsaid, Some(length)) => Length::Repeated(length),
            (Length::Plain(before) | Length::Repeated(before), Some(length)) if *before == length => {
                Length::Repeated(length)
            }
            (Length::Unsaid | Length::Plain(_) | Length::Repeated(_) | Length::Contradictory, _) => {
                Length::Contradictory
            }
        };
    }
}

/// Of `timeout=5, max=100`, seconds.
fn timeout(value: &[u8]) -> Option<Duration> {
    let mut parameters = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let seconds = parameters.find_map(|parameter| {
        let (name, seconds) = parameter.split_at_checked(b"timeout=".len())?;
        name.eq_ignore_ascii_case(b"timeout=").then_some(seconds)
    })?;
    digits(seconds.trim_ascii()).map(|seconds| Duration::from_secs(seconds).min(LONGEST_KEEP_ALIVE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn taken(head: &str) -> Result<Option<AnswerHead>, Malformed> {
        take(&mut BytesMut::from(head), false)
    }

    fn whole(head: &str) -> AnswerHead {
        taken(head).unwrap().unwrap()
    }

    #[test]
    fn a_head_is_taken_when_it_is_whole_and_what_is_behind_it_stays() {
        let head = "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\n";
        for end in 0..head.len() {
            let mut came = BytesMut::from(&head[..end]);
            assert!(take(&mut came, false).unwrap().is_none());
            assert_eq!(came.len(), end, "nothing is lost");
        }
        let mut came = BytesMut::from(format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n{head}ok").as_str());
        let answer = take(&mut came, false).unwrap().unwrap();
        assert_eq!((answer.parts.status.as_u16(), &came[..]), (200, &b"ok"[..]));
        assert_eq!(answer.parts.headers.len(), 2);
    }

    #[test]
    fn the_connection_is_kept_for_as_long_as_it_is_announced() {
        let kept = |lines: &str| whole(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n")).keep_alive.as_secs();
        assert_eq!(kept(""), 5);
        assert_eq!(kept("Keep-Alive: max=7, Timeout=9\r\n"), 9);
        assert_eq!(kept("Keep-Alive: timeout=18446744073709551615\r\n"), 600);
        assert_eq!(kept("Keep-Alive: timeout=9\r\nConnection: Close\r\n"), 0);
        assert_eq!(whole("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n").keep_alive.as_secs(), 0);
    }

    #[test]
    fn what_concerns_the_connection_is_not_the_clients() {
        let head = whole(
            "HTTP/1.1 200 OK\r\nConnection: x-own, keep-alive, content-length\r\nX-Own: 1\r\nTE: a\r\nUpgrade: h2c\r\n\
             Content-Length: 3\r\nProxy-Connection: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
        );
        let names: BTreeSet<&str> = head.parts.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, BTreeSet::from(["content-length", "set-cookie"]));
        assert_eq!(head.parts.headers.get_all("set-cookie").iter().count(), 2);
    }

    #[test]
    fn a_reason_of_its_own_is_kept() {
        let of = |line: &str| whole(&format!("{line}\r\n\r\n")).parts.extensions.get::<ReasonPhrase>().cloned();
        assert_eq!(of("HTTP/1.1 200 OK"), None);
        assert_eq!(of("HTTP/1.1 200 Fine").unwrap().as_bytes(), b"Fine");
    }

    #[test]
    fn what_is_no_head_is_malformed() {
        for head in ["HTTP/1.1 099 No\r\n\r\n", "\r\n\r\n", "HTTP/1.1 200 OK\r\n x\r\n\r\n", "ICY 200 OK\r\n\r\n"] {
            assert_eq!(taken(head).unwrap_err(), Malformed, "{head:?}");
        }
    }
}
