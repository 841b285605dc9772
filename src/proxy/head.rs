//! Is a request passed on, and what do the two heads say on the other side?

use super::answers::Own;
use hyper::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Scheme;
use hyper::http::{Method, Request, Uri, Version, request, response};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const DEPLOYMENT: HeaderName = HeaderName::from_static("x-deployment-id");
const HTTP: HeaderValue = HeaderValue::from_static("http");

/// Who is connected, in the words that an instance is told.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    forwarded_for: HeaderValue,
    port: HeaderValue,
    /// For HTTP/1.0, which need not say it.
    host: HeaderValue,
}

impl Client {
    pub(super) fn new(peer: SocketAddr, public: SocketAddr) -> Client {
        let address = peer.ip().to_canonical();
        let public = SocketAddr::new(public.ip().to_canonical(), public.port());
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HTTP);
        Client {
            address,
            forwarded_for: value(address.to_string()),
            port: HeaderValue::from(public.port()),
            host: value(public.to_string()),
        }
    }
}

/// Which of the headers that are treated here a head has; found in one walk, for most heads have next to none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen(u32);

impl Seen {
    /// Who speaks for whom.
    const FORWARDED: u32 = 1 << 8;
    const EXPECT: u32 = Seen::FORWARDED << 1;
    const DEPLOYMENT: u32 = Seen::FORWARDED << 2;
    const CONNECTION: u32 = 1;
    const TRANSFER_ENCODING: u32 = 1 << 1;
    const TE: u32 = 1 << 2;
    const UPGRADE: u32 = 1 << 3;
    const KEEP_ALIVE: u32 = 1 << 4;

    pub(super) fn of(headers: &HeaderMap) -> Seen {
        Seen(headers.keys().fold(0, |seen, name| seen | Seen::bit(name.as_str())))
    }

    fn bit(name: &str) -> u32 {
        match name {
            "connection" => Seen::CONNECTION,
            "transfer-encoding" => Seen::TRANSFER_ENCODING,
            "te" => Seen::TE,
            "upgrade" => Seen::UPGRADE,
            "keep-alive" => Seen::KEEP_ALIVE,
            "proxy-authenticate" => 1 << 5,
            "proxy-authorization" => 1 << 6,
            "proxy-connection" => 1 << 7,
            "expect" => Seen::EXPECT,
            "x-deployment-id" => Seen::DEPLOYMENT,
            "forwarded" | "x-real-ip" => Seen::FORWARDED,
            name if name.starts_with("x-forwarded-") => Seen::FORWARDED,
            _ => 0,
        }
    }

    fn has(self, what: u32) -> bool {
        self.0 & what != 0
    }
}

/// In the order of their bits in [`Seen`].
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::TE,
    header::UPGRADE,
    KEEP_ALIVE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
];

/// Decides whether a request can be passed on; one that could mean something else to somebody else cannot.
pub(super) fn check(request: &request::Parts, seen: Seen, has_body: bool) -> Result<(), Own> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Own::malformed("The request names more than one host."));
    }
    match host {
        Some(host) if !is_host(host.as_bytes()) => {
            return Err(Own::malformed("The Host header of the request is malformed."));
        }
        None if request.version != Version::HTTP_10 => return Err(Own::malformed("The request names no host.")),
        Some(_) | None => {}
    }
    check_target(request, host)?;
    if seen.has(Seen::EXPECT)
        && let Some(expect) = request.headers.get(header::EXPECT)
        && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Own::EXPECTATION);
    }
    if has_body && request.method == Method::TRACE {
        return Err(Own::malformed("A TRACE request has no body."));
    }
    Ok(())
}

/// RFC 9112, 3.2: origin-form; absolute-form where it says what Host says; asterisk-form of OPTIONS.
fn check_target(request: &request::Parts, host: Option<&HeaderValue>) -> Result<(), Own> {
    if request.method == Method::CONNECT {
        return Err(Own::malformed("This is no proxy to connect through."));
    }
    let uri = &request.uri;
    let Some(authority) = uri.authority() else {
        return match uri.path() {
            "*" if request.method != Method::OPTIONS => Err(Own::malformed("The target of the request is malformed.")),
            _ => Ok(()),
        };
    };
    if uri.scheme() != Some(&Scheme::HTTP) {
        return Err(Own::malformed("The target of the request is malformed."));
    }
    match host {
        // This is also where userinfo fails: a Host has none.
        Some(host) if authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) => Ok(()),
        None if is_host(authority.as_str().as_bytes()) => Ok(()),
        Some(_) | None => Err(Own::malformed("The target and the Host header of the request differ.")),
    }
}

/// A name, an IPv4 or a bracketed IPv6 address, and perhaps a port (RFC 3986, 3.2.2, without what no host is called).
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.strip_prefix(b"[") {
        Some(bracketed) => {
            let Some(end) = bracketed.iter().position(|byte| *byte == b']') else { return false };
            let (name, port) = (&bracketed[..end], &bracketed[end + 1..]);
            let is_address = name.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
            if !is_address || !(port.is_empty() || port.starts_with(b":")) {
                return false;
            }
            (name, port.get(1..).unwrap_or_default())
        }
        None => match host.iter().position(|byte| *byte == b':') {
            Some(colon) => (&host[..colon], &host[colon + 1..]),
            None => (host, &b""[..]),
        },
    };
    let is_named =
        name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':'));
    let number = std::str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok());
    let is_port = port.is_empty() || port[0].is_ascii_digit() && number.is_some();
    !name.is_empty() && is_named && is_port
}

/// The deployment that served the page that this request comes from.
pub(super) fn deployment(request: &request::Parts, seen: Seen) -> Option<String> {
    let of_query = || {
        let query = request.uri.query()?;
        query.split('&').find_map(|pair| pair.strip_prefix("dpl="))
    };
    let of_header = seen.has(Seen::DEPLOYMENT).then(|| request.headers.get(DEPLOYMENT)?.to_str().ok()).flatten();
    of_header.or_else(of_query).map(str::to_owned)
}

/// Does the client ask for another protocol? Not with a body, and not for HTTP/2, whose requests would pass unseen.
pub(super) fn upgrade(request: &request::Parts, seen: Seen, has_body: bool) -> Option<HeaderValue> {
    if !seen.has(Seen::UPGRADE)
        || has_body
        || request.version != Version::HTTP_11
        || !names(&request.headers, "upgrade")
    {
        return None;
    }
    let upgrade = request.headers.get(header::UPGRADE)?;
    let is_h2 = upgrade.as_bytes().len() >= 2 && upgrade.as_bytes()[..2].eq_ignore_ascii_case(b"h2");
    (!is_h2).then(|| upgrade.clone())
}

/// What the instance is sent instead.
pub(super) fn to_origin(
    request: &mut request::Parts,
    seen: Seen,
    client: &Client,
    is_trusted: bool,
    upgrade: Option<HeaderValue>,
) {
    request.version = Version::HTTP_11;
    let mut host = None;
    if let Some(authority) = request.uri.authority() {
        host = HeaderValue::from_str(authority.as_str()).ok();
        let path = request.uri.path_and_query().cloned();
        request.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    let headers = &mut request.headers;
    let takes_trailers = seen.has(Seen::TE) && headers.get_all(header::TE).iter().any(|te| has_token(te, "trailers"));
    strip_hop_by_hop(headers, seen);
    if seen.has(Seen::EXPECT) {
        headers.remove(header::EXPECT);
    }
    if seen.has(Seen::TRANSFER_ENCODING) {
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if takes_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Some(upgrade) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, upgrade);
    }
    headers.entry(header::HOST).or_insert_with(|| host.unwrap_or_else(|| client.host.clone()));
    forwarded(headers, seen, client, is_trusted);
}

fn forwarded(headers: &mut HeaderMap, seen: Seen, client: &Client, is_trusted: bool) {
    let host = headers.get(header::HOST).cloned();
    if !seen.has(Seen::FORWARDED) {
        headers.insert(FORWARDED_FOR, client.forwarded_for.clone());
        headers.insert(FORWARDED_PROTO, HTTP);
        headers.insert(FORWARDED_PORT, client.port.clone());
        if let Some(host) = host {
            headers.insert(FORWARDED_HOST, host);
        }
        return;
    }
    if !is_trusted {
        remove_all(headers, |name| name.starts_with("x-forwarded-"));
        headers.remove(header::FORWARDED);
        headers.remove(REAL_IP);
    }
    let by_others = joined(headers, &FORWARDED_FOR);
    let all = by_others.and_then(|mut all| {
        all.extend_from_slice(b", ");
        all.extend_from_slice(client.forwarded_for.as_bytes());
        HeaderValue::try_from(all).ok()
    });
    headers.insert(FORWARDED_FOR, all.unwrap_or_else(|| client.forwarded_for.clone()));
    headers.entry(FORWARDED_PROTO).or_insert(HTTP);
    headers.entry(FORWARDED_PORT).or_insert_with(|| client.port.clone());
    if let Some(host) = host {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
}

/// What the client is sent instead. Gives how long the origin keeps its connection, if it says so.
pub(super) fn to_client(response: &mut response::Parts) -> Option<Duration> {
    let version = std::mem::replace(&mut response.version, Version::HTTP_11);
    let headers = &mut response.headers;
    let seen = Seen::of(headers);
    let keep_alive = match version {
        // Without chunks: not every request could be sent to it.
        Version::HTTP_10 => Some(Duration::ZERO),
        _ if seen.has(Seen::KEEP_ALIVE) => headers.get(KEEP_ALIVE).and_then(timeout),
        _ => None,
    };
    // A length beside chunks is not the body's; one that is said twice, or as a list, is written anew.
    if seen.has(Seen::TRANSFER_ENCODING) || !is_one_number(headers, &header::CONTENT_LENGTH) {
        headers.remove(header::CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers, seen);
    keep_alive
}

pub(super) fn is_event_stream(response: &response::Parts) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    let content_type = response.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type
        .and_then(|value| value.get(..EVENT_STREAM.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}

/// Of `timeout=5, max=100`, seconds.
fn timeout(keep_alive: &HeaderValue) -> Option<Duration> {
    let mut parameters = keep_alive.to_str().ok()?.split(',');
    let seconds = parameters.find_map(|parameter| parameter.trim().strip_prefix("timeout="))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// What concerns one connection alone (RFC 9110, 7.6.1), and what `Connection` names; but nothing that says where a
/// message ends or whom it is for, whatever a sender calls it.
fn strip_hop_by_hop(headers: &mut HeaderMap, seen: Seen) {
    const KEPT: [HeaderName; 4] = [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];
    if seen.has(Seen::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|token| !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive"))
            .filter_map(|token| HeaderName::from_bytes(token).ok())
            .filter(|name| !KEPT.contains(name) && !is_forwarded(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for (bit, name) in HOP_BY_HOP.iter().enumerate() {
        if seen.has(1 << bit) {
            headers.remove(name);
        }
    }
}

/// Who speaks for whom is not the client's to take away.
fn is_forwarded(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded-") || *name == header::FORWARDED || *name == REAL_IP
}

/// What stands behind a body decides nothing that a head does (RFC 9110, 6.5.1): hyper leaves away most of that, this is
/// the rest.
pub(super) fn strip_trailers(trailers: &mut HeaderMap) {
    let seen = Seen::of(trailers);
    strip_hop_by_hop(trailers, seen);
    for name in [header::COOKIE, header::EXPECT] {
        trailers.remove(name);
    }
    remove_all(trailers, |name| name.starts_with("x-forwarded-"));
    trailers.remove(header::FORWARDED);
    trailers.remove(REAL_IP);
}

fn remove_all(headers: &mut HeaderMap, is_meant: impl Fn(&str) -> bool) {
    let meant: Vec<HeaderName> = headers.keys().filter(|name| is_meant(name.as_str())).cloned().collect();
    for name in meant {
        headers.remove(name);
    }
}

/// All values of a header, in one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let mut values = headers.get_all(name).iter();
    let mut all = values.next()?.as_bytes().to_vec();
    for value in values {
        all.extend_from_slice(b", ");
        all.extend_from_slice(value.as_bytes());
    }
    Some(all)
}

fn is_one_number(headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut values = headers.get_all(name).iter();
    let is_number = values.next().is_some_and(|value| value.as_bytes().iter().all(u8::is_ascii_digit));
    is_number && values.next().is_none()
}

fn names(headers: &HeaderMap, token: &str) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| has_token(value, token))
}

fn has_token(value: &HeaderValue, token: &str) -> bool {
    let mut tokens = value.as_bytes().split(|byte| *byte == b',');
    tokens.any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// A request without a body, from the head that hyper wrote for it.
pub(super) fn reread(head: &[u8]) -> Option<Request<()>> {
    let mut lines = std::str::from_utf8(head.strip_suffix(b"\r\n\r\n")?).ok()?.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let mut request = Request::builder().method(words.next()?).uri(words.next()?);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        request = request.header(name, value.as_bytes());
    }
    request.body(()).ok()
}
