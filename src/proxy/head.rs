//! Is a request passed on, and what of its head matters for that?

use super::answers::Own;
use hyper::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Scheme;
use hyper::http::{Method, Version, request};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const DEPLOYMENT: HeaderName = HeaderName::from_static("x-deployment-id");

/// Who is connected, in the words that an instance is told.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    pub(super) forwarded_for: String,
    pub(super) port: String,
    /// For HTTP/1.0, which need not say it.
    pub(super) host: String,
    /// All header lines about it that do not depend on the request.
    pub(super) forwarded: Vec<u8>,
}

impl Client {
    pub(super) fn new(peer: SocketAddr, public: SocketAddr) -> Client {
        let address = peer.ip().to_canonical();
        let public = SocketAddr::new(public.ip().to_canonical(), public.port());
        let (forwarded_for, port) = (address.to_string(), public.port().to_string());
        let lines =
            [(FORWARDED_FOR, forwarded_for.as_str()), (FORWARDED_PROTO, "http"), (FORWARDED_PORT, port.as_str())];
        let forwarded: String = lines.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        Client { address, forwarded_for, port, host: public.to_string(), forwarded: forwarded.into_bytes() }
    }
}

/// Which of the headers that are treated here a head has; found in one walk, for most heads have next to none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen(u32);

impl Seen {
    /// What concerns one connection alone (RFC 9110, 7.6.1).
    pub(super) const HOP_BY_HOP: u32 = 0xff;
    pub(super) const CONNECTION: u32 = 1;
    pub(super) const TRANSFER_ENCODING: u32 = 1 << 1;
    pub(super) const TE: u32 = 1 << 2;
    const UPGRADE: u32 = 1 << 3;
    /// Who speaks for whom.
    pub(super) const FORWARDED: u32 = 1 << 8;
    pub(super) const EXPECT: u32 = 1 << 9;
    const DEPLOYMENT: u32 = 1 << 10;

    pub(super) fn of(headers: &HeaderMap) -> Seen {
        Seen(headers.keys().fold(0, |seen, name| seen | Seen::bit(name.as_str())))
    }

    pub(super) fn bit(name: &str) -> u32 {
        match name {
            "connection" => Seen::CONNECTION,
            "transfer-encoding" => Seen::TRANSFER_ENCODING,
            "te" => Seen::TE,
            "upgrade" => Seen::UPGRADE,
            "keep-alive" => 1 << 4,
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

    pub(super) fn has(self, what: u32) -> bool {
        self.0 & what != 0
    }
}

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

/// Does the client say that it asks for nothing more?
pub(super) fn is_last(request: &request::Parts, seen: Seen) -> bool {
    seen.has(Seen::CONNECTION) && names(&request.headers, "close")
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
    let mut asked = upgrade.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let is_h2 = asked.any(|protocol| protocol.get(..2).is_some_and(|name| name.eq_ignore_ascii_case(b"h2")));
    (!is_h2).then(|| upgrade.clone())
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type
        .and_then(|value| value.get(..EVENT_STREAM.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}

/// What `Connection` names (RFC 9110, 7.6.1); but nothing that says where a message ends or whom it is for, whatever a
/// sender calls it.
pub(super) fn named_by_connection(headers: &HeaderMap) -> HashSet<HeaderName> {
    const KEPT: [HeaderName; 4] = [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION];
    let values = headers.get_all(header::CONNECTION).iter();
    let tokens = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    tokens
        .filter(|token| !token.eq_ignore_ascii_case(b"close") && !token.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|token| HeaderName::from_bytes(token).ok())
        .filter(|name| !KEPT.contains(name) && !is_forwarded(name))
        .collect()
}

/// Who speaks for whom is not the client's to take away.
fn is_forwarded(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded-") || *name == header::FORWARDED || *name == REAL_IP
}

/// May it stand behind a body? Nothing that decides what a head does (RFC 9110, 6.5.1).
pub(super) fn is_trailer(name: &HeaderName) -> bool {
    const OF_HEADS: [HeaderName; 14] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::EXPECT,
        header::HOST,
        header::MAX_FORWARDS,
        header::SET_COOKIE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::TE,
    ];
    Seen::bit(name.as_str()) & (Seen::HOP_BY_HOP | Seen::FORWARDED) == 0 && !OF_HEADS.contains(name)
}

fn names(headers: &HeaderMap, token: &str) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| has_token(value, token))
}

pub(super) fn has_token(value: &HeaderValue, token: &str) -> bool {
    let mut tokens = value.as_bytes().split(|byte| *byte == b',');
    tokens.any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}
