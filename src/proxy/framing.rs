//! Where each request of a client begins and ends, told from the bytes themselves; and whether a head says two things
//! about its length.
//!
//! hyper reads such a head in one way and forgets the other, so that nobody behind it could still see both. What reaches
//! an instance is written anew and says one thing; but whoever sends two means one of them for somebody else.

use memchr::memchr;

/// Follows one client's bytes as they come in.
#[derive(Debug, Default)]
pub(super) struct Framing {
    place: Place,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// Heads that are complete.
    heads: u64,
    lengths: Lengths,
    /// The first head that is to be refused, counted from 1. What comes after it is not looked at.
    refused: Option<u64>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    RequestLine,
    Header,
    /// So many bytes of a body, or of a chunk and its line end.
    Body {
        left: u64,
        is_chunk: bool,
    },
    ChunkSize,
    Trailer,
    Lost,
}

/// What the head says about the length of its body so far.
#[derive(Debug, Default, Clone, Copy)]
struct Lengths {
    content_length: Option<u64>,
    is_chunked: bool,
}

impl Framing {
    /// Is this request, counted from 1, one that says two things?
    pub(super) fn refuses(&self, request: u64) -> bool {
        self.refused.is_some_and(|refused| refused <= request)
    }

    /// Has all of this request come, counted from 1, with its body? False when the bytes did not tell.
    pub(super) fn is_whole(&self, request: u64) -> bool {
        let is_behind = matches!(self.place, Place::RequestLine | Place::Header);
        self.heads > request || self.heads == request && is_behind
    }

    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.place {
                Place::Lost => return,
                Place::Body { left, is_chunk } => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[here..];
                    self.place = match (left - here as u64, is_chunk) {
                        (0, true) => Place::ChunkSize,
                        (0, false) => Place::RequestLine,
                        (left, is_chunk) => Place::Body { left, is_chunk },
                    };
                }
                Place::RequestLine | Place::Header | Place::ChunkSize | Place::Trailer => {
                    let Some(end) = memchr(b'\n', bytes) else {
                        self.line.extend_from_slice(bytes);
                        return;
                    };
                    let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
                    bytes = rest;
                    if self.line.is_empty() {
                        self.line_ends(line);
                    } else {
                        let mut whole = std::mem::take(&mut self.line);
                        whole.extend_from_slice(line);
                        self.line_ends(&whole);
                    }
                }
            }
        }
    }

    fn line_ends(&mut self, line: &[u8]) {
        let (line, is_bare) = line.strip_suffix(b"\r").map_or((line, true), |line| (line, false));
        match self.place {
            // Empty lines before a request are no request (RFC 9112, 2.2).
            Place::RequestLine if line.is_empty() => {}
            Place::RequestLine => {
                self.lengths = Lengths::default();
                self.place = Place::Header;
                // hyper leaves a fragment away; there is none in a request (RFC 9112, 3.2).
                if memchr(b'#', line).is_some() {
                    self.refuse();
                }
            }
            Place::Header if line.is_empty() => {
                self.heads += 1;
                self.place = match self.lengths {
                    Lengths { is_chunked: true, .. } => Place::ChunkSize,
                    Lengths { content_length: None | Some(0), .. } => Place::RequestLine,
                    Lengths { content_length: Some(left), .. } => Place::Body { left, is_chunk: false },
                };
            }
            Place::Header => self.header(line),
            Place::ChunkSize => match chunk_size(line) {
                Some(0) => self.place = Place::Trailer,
                Some(size) => self.place = Place::Body { left: size.saturating_add(2), is_chunk: true },
                // hyper ends the request there.
                None => self.place = Place::Lost,
            },
            // To hyper no line ends there, nor does the body.
            Place::Trailer if is_bare => self.refuse(),
            Place::Trailer if line.is_empty() => self.place = Place::RequestLine,
            Place::Trailer | Place::Body { .. } | Place::Lost => {}
        }
    }

    fn header(&mut self, line: &[u8]) {
        // Two letters tell nearly every header apart from the two that matter.
        match line.first().map(u8::to_ascii_lowercase) {
            Some(b'c') => {
                let Some(value) = value_of(line, b"content-length:") else { return };
                let length = digits(value);
                if length.is_none() || self.lengths.content_length.is_some() || self.lengths.is_chunked {
                    return self.refuse();
                }
                self.lengths.content_length = length;
            }
            Some(b't') => {
                let Some(value) = value_of(line, b"transfer-encoding:") else { return };
                let is_chunked = value.eq_ignore_ascii_case(b"chunked");
                if !is_chunked || self.lengths.content_length.is_some() || self.lengths.is_chunked {
                    return self.refuse();
                }
                self.lengths.is_chunked = true;
            }
            Some(_) | None => {}
        }
    }

    fn refuse(&mut self) {
        self.refused = Some(self.heads + 1);
        self.place = Place::Lost;
    }
}

fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (head, value) = line.split_at_checked(name.len())?;
    head.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

pub(super) fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Of `1a;name=value`
pub(super) fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|byte| *byte == b';').next()?.trim_ascii();
    if size.is_empty() || !size.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the requests are refused, however the bytes are cut.
    fn refused(bytes: &str) -> Option<u64> {
        let mut whole = Framing::default();
        whole.read(bytes.as_bytes());
        let mut single = Framing::default();
        bytes.as_bytes().iter().for_each(|byte| single.read(std::slice::from_ref(byte)));
        assert_eq!(whole.refused, single.refused, "{bytes:?}");
        whole.refused
    }

    #[test]
    fn a_head_with_one_length_passes() {
        assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), None);
        assert_eq!(refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"), None);
        assert_eq!(refused("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"), None);
    }

    #[test]
    fn a_head_with_two_lengths_is_refused() {
        for lengths in [
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\ncontent-length: 6",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: 99999999999999999999",
            "Content-Length:",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "transfer-encoding: chunked\r\nCONTENT-LENGTH: 0",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
        ] {
            assert_eq!(refused(&format!("POST / HTTP/1.1\r\nHost: a\r\n{lengths}\r\n\r\n")), Some(1), "{lengths}");
        }
    }

    #[test]
    fn the_request_after_a_body_is_looked_at_too() {
        let two = "Content-Length: 1\r\nContent-Length: 1\r\n\r\n";
        for body in [
            "Content-Length: 5\r\n\r\nGET #",
            "Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nGET #\r\n0\r\nTrailer: #\r\n\r\n",
            "\r\n",
        ] {
            let first = format!("POST / HTTP/1.1\r\nHost: a\r\n{body}");
            assert_eq!(refused(&format!("{first}\r\nGET / HTTP/1.1\r\n\r\n")), None, "{body}");
            assert_eq!(refused(&format!("{first}GET / HTTP/1.1\r\n{two}")), Some(2), "{body}");
        }
    }

    #[test]
    fn what_follows_trailers_that_do_not_end_is_refused() {
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
        assert_eq!(refused(&format!("{chunked}X: y\r\n\r\nGET / HTTP/1.1\r\n\r\n")), None);
        assert_eq!(refused(&format!("{chunked}X: y\n\r\nGET / HTTP/1.1\r\n\r\n")), Some(2));
        assert_eq!(refused(&format!("{chunked}\nGET / HTTP/1.1\r\n\r\n")), Some(2));
    }

    #[test]
    fn a_fragment_is_refused() {
        assert_eq!(refused("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"), Some(1));
        assert_eq!(refused("GET /a HTTP/1.1\r\nHost: a\r\nCookie: #\r\n\r\n"), None);
    }
}
