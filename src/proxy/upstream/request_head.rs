//! What an instance is asked: the head of a client's request, written anew.

use crate::proxy::head::{self, Client, Seen};
use hyper::http::header::{self, HeaderName, HeaderValue};
use hyper::http::request;
use std::collections::HashSet;

/// A request as its client sent it, and what is known of it.
#[derive(Debug)]
pub(in crate::proxy) struct Question {
    pub(in crate::proxy) parts: request::Parts,
    pub(in crate::proxy) seen: Seen,
    /// The protocol that it asks for.
    pub(in crate::proxy) upgrade: Option<HeaderValue>,
    /// Are the X-Forwarded headers of its client believed?
    pub(in crate::proxy) is_trusted: bool,
    pub(in crate::proxy) has_body: bool,
}

impl Question {
    pub(in crate::proxy) fn is_chunked(&self) -> bool {
        self.has_body && self.seen.has(Seen::TRANSFER_ENCODING)
    }

    /// May it be executed twice, and is all of it in its head (RFC 9110, 9.2.2)?
    pub(in crate::proxy) fn is_repeatable(&self) -> bool {
        self.parts.method.is_idempotent() && !self.has_body
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, client: &Client) {
        let request::Parts { method, uri, headers, .. } = &self.parts;
        [method.as_str(), " ", uri.path()].iter().for_each(|word| out.extend_from_slice(word.as_bytes()));
        if let Some(query) = uri.query() {
            out.push(b'?');
            out.extend_from_slice(query.as_bytes());
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let named = if self.seen.has(Seen::CONNECTION) { head::named_by_connection(headers) } else { HashSet::new() };
        for (name, value) in headers {
            if self.passes(name) && !named.contains(name) {
                line(out, name, value.as_bytes());
            }
        }
        if !headers.contains_key(header::HOST) {
            line(out, &header::HOST, self.host(client));
        }
        if self.seen.has(Seen::TE) && headers.get_all(header::TE).iter().any(|te| head::has_token(te, "trailers")) {
            line(out, &header::TE, b"trailers");
        }
        if self.is_chunked() {
            line(out, &header::TRANSFER_ENCODING, b"chunked");
        }
        if let Some(upgrade) = &self.upgrade {
            line(out, &header::CONNECTION, b"upgrade");
            line(out, &header::UPGRADE, upgrade.as_bytes());
        }
        self.forwarded(out, client);
        out.extend_from_slice(b"\r\n");
    }

    /// HTTP/1.0 need not say it.
    fn host<'h>(&'h self, client: &'h Client) -> &'h [u8] {
        let said = self.parts.headers.get(header::HOST).map(HeaderValue::as_bytes);
        let of_target = || self.parts.uri.authority().map(|authority| authority.as_str().as_bytes());
        said.or_else(of_target).unwrap_or(client.host.as_bytes())
    }

    /// Not what concerns the client's connection alone (RFC 9110, 7.6.1), nor what others say of who speaks for whom.
    fn passes(&self, name: &HeaderName) -> bool {
        let bit = Seen::bit(name.as_str());
        let is_ours = bit == Seen::EXPECT || bit & Seen::HOP_BY_HOP != 0;
        let is_others = bit == Seen::FORWARDED && (!self.is_trusted || *name == head::FORWARDED_FOR);
        !is_ours && !is_others
    }

    fn forwarded(&self, out: &mut Vec<u8>, client: &Client) {
        if !self.is_trusted || !self.seen.has(Seen::FORWARDED) {
            out.extend_from_slice(&client.forwarded);
            return line(out, &head::FORWARDED_HOST, self.host(client));
        }
        let headers = &self.parts.headers;
        out.extend_from_slice(head::FORWARDED_FOR.as_str().as_bytes());
        out.extend_from_slice(b": ");
        for before in headers.get_all(head::FORWARDED_FOR) {
            out.extend_from_slice(before.as_bytes());
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(client.forwarded_for.as_bytes());
        out.extend_from_slice(b"\r\n");
        let lacks = |name: &HeaderName| !headers.contains_key(name);
        if lacks(&head::FORWARDED_PROTO) {
            line(out, &head::FORWARDED_PROTO, b"http");
        }
        if lacks(&head::FORWARDED_PORT) {
            line(out, &head::FORWARDED_PORT, client.port.as_bytes());
        }
        if lacks(&head::FORWARDED_HOST) {
            line(out, &head::FORWARDED_HOST, self.host(client));
        }
    }
}

pub(super) fn line(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
