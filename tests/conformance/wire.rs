//! What is valid on the wire, read as strictly as RFC 9112 lets one write: the judge of both directions.
//!
//! Stricter than a server has to be: what the proxy writes is its own work, so there is no excuse for an extension of
//! a chunk, a folded line, two framing headers or a lone line feed.

use crate::machine::shown;

/// Header lines in their order: the name as it was written, the value without the space around it.
pub(crate) type Headers = Vec<(String, String)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Headers,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) version: String,
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Headers,
    pub(crate) length: Length,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// Of a request without framing; of an answer that can have no body.
    None,
    Known(usize),
    Chunked,
    /// Of an answer alone: the body ends with the connection.
    Close,
}

/// What is wrong with the bytes.
pub(crate) type Fault = String;
/// Something and how many bytes it took; none while more must come.
type Parsed<T> = Result<Option<(T, usize)>, Fault>;

/// Bytes as text, each byte a character: nothing is lost and nothing is invalid.
pub(crate) fn latin(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The values of a header, whatever the case of its name.
pub(crate) fn values<'a>(headers: &'a Headers, name: &str) -> Vec<&'a str> {
    headers.iter().filter(|(had, _)| had.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
}

impl Request {
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name)
    }
}

impl Answer {
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        values(&self.headers, name)
    }

    pub(crate) fn text(&self) -> String {
        latin(&self.body)
    }
}

/// The head of a request, and how its body ends.
pub(crate) fn request_head(bytes: &[u8]) -> Parsed<(Request, Length)> {
    let Some((start, headers, used)) = head(bytes)? else { return Ok(None) };
    let parts: Vec<&str> = start.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else { return Err(format!("a request line {start:?}")) };
    if !is_token(method) || target.is_empty() || !target.chars().all(|char| char.is_ascii_graphic()) {
        return Err(format!("a request line {start:?}"));
    }
    if values(&headers, "host").len() != 1 {
        return Err(format!("Host {:?}", values(&headers, "host")));
    }
    let length = framing(&headers)?.unwrap_or(Length::None);
    let (method, target) = (method.to_owned(), target.to_owned());
    Ok(Some(((Request { method, target, headers, body: Vec::new(), trailers: Vec::new() }, length), used)))
}

/// One whole request.
pub(crate) fn request(bytes: &[u8]) -> Parsed<Request> {
    let Some(((mut request, length), head)) = request_head(bytes)? else { return Ok(None) };
    let Some(((body, trailers), used)) = body(&bytes[head..], length, false)? else { return Ok(None) };
    (request.body, request.trailers) = (body, trailers);
    Ok(Some((request, head + used)))
}

/// All that came over one connection: the requests that are whole, and what is left.
pub(crate) fn requests(bytes: &[u8]) -> Result<(Vec<Request>, &[u8]), Fault> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while let Some((one, used)) = request(rest)? {
        found.push(one);
        rest = &rest[used..];
    }
    Ok((found, rest))
}

/// The head of an answer to a request of this method, and how its body ends.
pub(crate) fn answer_head(bytes: &[u8], method: &str) -> Parsed<Answer> {
    let Some((start, headers, used)) = head(bytes)? else { return Ok(None) };
    let mut parts = start.splitn(3, ' ');
    let (version, code) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let status = code.parse().ok().filter(|status| (100..600).contains(status) && code.len() == 3);
    let (Some(status), "HTTP/1.1" | "HTTP/1.0") = (status, version) else {
        return Err(format!("a status line {start:?}"));
    };
    let framed = framing(&headers)?;
    let bodiless = method == "HEAD" || matches!(status, 100..200 | 204 | 304);
    if matches!(status, 100..200 | 204) && framed.is_some() {
        return Err(format!("a {status} with a framing header"));
    }
    let length = if bodiless { Length::None } else { framed.unwrap_or(Length::Close) };
    let version = version.to_owned();
    Ok(Some((Answer { version, status, headers, body: Vec::new(), trailers: Vec::new(), length }, used)))
}

/// One whole answer; `ended` says that the connection was closed in order behind these bytes.
pub(crate) fn answer(bytes: &[u8], method: &str, ended: bool) -> Parsed<Answer> {
    let Some((mut answer, head)) = answer_head(bytes, method)? else { return Ok(None) };
    let Some(((body, trailers), used)) = body(&bytes[head..], answer.length, ended)? else { return Ok(None) };
    (answer.body, answer.trailers) = (body, trailers);
    Ok(Some((answer, head + used)))
}

/// First line, header lines, bytes used.
type Head = (String, Headers, usize);

fn head(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let Some((lines, used)) = lines(bytes)? else { return Ok(None) };
    let (start, rest) = lines.split_first().ok_or("an empty line instead of a head")?;
    Ok(Some((start.clone(), headers(rest)?, used)))
}

/// The lines up to an empty one.
fn lines(bytes: &[u8]) -> Parsed<Vec<String>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some((line, used)) = line(&bytes[at..])? {
        at += used;
        if line.is_empty() {
            return Ok(Some((found, at)));
        }
        found.push(line);
    }
    Ok(None)
}

/// Up to CR LF, with no other control character than a tab.
fn line(bytes: &[u8]) -> Parsed<String> {
    for (at, byte) in bytes.iter().enumerate() {
        match (byte, bytes.get(at + 1)) {
            (b'\r', None) => return Ok(None),
            (b'\r', Some(b'\n')) => return Ok(Some((latin(&bytes[..at]), at + 2))),
            (b'\t' | b' '..=b'~' | 0x80.., _) => {}
            (0..=b'\x1f' | 0x7f, _) => return Err(format!("a control character in {}", shown(&bytes[..=at]))),
        }
    }
    Ok(None)
}

fn headers(lines: &[String]) -> Result<Headers, Fault> {
    let parse = |line: &String| {
        let (name, value) = line.split_once(':').filter(|(name, _)| is_token(name))?;
        Some((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
    };
    lines.iter().map(|line| parse(line).ok_or_else(|| format!("a header line {line:?}"))).collect()
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char))
}

/// At most one framing header, and nothing in it to be understood in two ways.
fn framing(headers: &Headers) -> Result<Option<Length>, Fault> {
    let (codings, lengths) = (values(headers, "transfer-encoding"), values(headers, "content-length"));
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(None),
        (["chunked"], []) => Ok(Some(Length::Chunked)),
        ([], [digits]) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(|length| Some(Length::Known(length))).map_err(|_| format!("Content-Length {digits}"))
        }
        _ => Err(format!("Transfer-Encoding {codings:?} with Content-Length {lengths:?}")),
    }
}

fn body(bytes: &[u8], length: Length, ended: bool) -> Parsed<(Vec<u8>, Headers)> {
    match length {
        Length::None => Ok(Some(((Vec::new(), Vec::new()), 0))),
        Length::Known(length) => Ok(bytes.get(..length).map(|body| ((body.to_vec(), Vec::new()), length))),
        Length::Close => Ok(ended.then(|| ((bytes.to_vec(), Vec::new()), bytes.len()))),
        Length::Chunked => chunks(bytes),
    }
}

fn chunks(bytes: &[u8]) -> Parsed<(Vec<u8>, Headers)> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some((digits, used)) = line(&bytes[at..])? else { return Ok(None) };
        at += used;
        let hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(&digits, 16).ok().filter(|_| hex);
        let size = size.ok_or_else(|| format!("a chunk size {digits:?}"))?;
        if size == 0 {
            let Some((trailers, used)) = lines(&bytes[at..])? else { return Ok(None) };
            return Ok(Some(((body, headers(&trailers)?), at + used)));
        }
        let end = at.checked_add(size).ok_or("a chunk beyond all memory")?;
        let (Some(data), Some(after)) = (bytes.get(at..end), bytes.get(end..end + 2)) else { return Ok(None) };
        if after != b"\r\n" {
            return Err(format!("{} behind a chunk", shown(after)));
        }
        body.extend_from_slice(data);
        at = end + 2;
    }
}

#[test]
fn the_judge_takes_nothing_that_can_be_read_in_two_ways() {
    let host = "POST / HTTP/1.1\r\nHost: h\r\n";
    for bad in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        "Content-Length: 1\r\nContent-Length: 1\r\n\r\n".to_owned(),
        "Content-Length: +1\r\n\r\n".to_owned(),
        "Transfer-Encoding: x\r\n\r\n".to_owned(),
        "A: b\n\r\n".to_owned(),
        " A: b\r\n\r\n".to_owned(),
        "A : b\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n".to_owned(),
    ] {
        assert!(request(format!("{host}{bad}").as_bytes()).is_err(), "{bad:?}");
    }
    let two = format!("{host}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: u\r\n\r\n{host}\r\nPO");
    let (found, rest) = requests(two.as_bytes()).unwrap();
    assert_eq!((found.len(), found[0].body.as_slice(), rest), (2, b"x".as_slice(), b"PO".as_slice()));
    assert_eq!(found[0].trailers, [("T".to_owned(), "u".to_owned())]);
}
