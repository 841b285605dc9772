//! A request on its way to an instance: its head, then its body as it comes from the client.

use super::request_head::{Question, line};
use crate::proxy::body::RequestBody;
use crate::proxy::gather;
use crate::proxy::head::{self, Client};
use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame};
use hyper::http::header::{self, HeaderMap, HeaderName};
use std::collections::HashSet;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::net::TcpStream;

/// A longer buffer is not kept for the next request, bytes.
const KEPT: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Sending {
    /// What is to be written, in this order: the head, or the size of a chunk; so much of it is written.
    words: Vec<u8>,
    written: usize,
    /// A piece of the body.
    data: Bytes,
    /// The line end of a chunk.
    line_end: &'static [u8],
    body: Option<Outgoing>,
    has_begun: bool,
    has_stopped: bool,
}

/// What is still to come of a body.
#[derive(Debug)]
struct Outgoing {
    body: RequestBody,
    is_chunked: bool,
    /// Which trailers the head has announced.
    announced: HashSet<HeaderName>,
}

/// Why nothing more is sent.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The client's part is malformed, or it went away.
    ByClient,
    ByInstance,
}

impl Sending {
    /// The body is taken; [`Sending::unsent`] gives it back.
    pub(super) fn begin(&mut self, question: &Question, client: &Client, body: &mut RequestBody) {
        self.rest();
        question.write(&mut self.words, client);
        self.body = question.has_body.then(|| Outgoing {
            body: std::mem::take(body),
            is_chunked: question.is_chunked(),
            announced: announced(&question.parts.headers),
        });
    }

    /// The request's body, to be sent elsewhere. Nothing of the request must have been sent.
    pub(super) fn unsent(&mut self) -> RequestBody {
        self.body.take().map(|outgoing| outgoing.body).unwrap_or_default()
    }

    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// All of it is written.
    pub(super) fn is_over(&self) -> bool {
        !self.has_stopped && self.body.is_none() && !self.has_more()
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// Nothing more of it is sent.
    pub(super) fn stop(&mut self) {
        *self = Sending { has_begun: true, has_stopped: true, ..Sending::default() };
    }

    /// Until the next request.
    pub(super) fn rest(&mut self) {
        self.words.clear();
        self.words.shrink_to(KEPT);
        (self.written, self.has_begun) = (0, false);
    }

    /// Writes on. Ready when all is written, or nothing more will be.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, stream: &mut TcpStream) -> Poll<Result<(), Stopped>> {
        loop {
            ready!(self.poll_flush(cx, stream)).map_err(|_| Stopped::ByInstance)?;
            let Some(outgoing) = &mut self.body else { return Poll::Ready(Ok(())) };
            let next = ready!(Pin::new(&mut outgoing.body).poll_frame(cx));
            let frame = next.transpose().map_err(|_| Stopped::ByClient)?;
            self.words.clear();
            self.written = 0;
            match frame.map(Frame::into_data) {
                // An empty chunk would be the last one.
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) if outgoing.is_chunked => {
                    self.words.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                    (self.data, self.line_end) = (data, b"\r\n");
                }
                Some(Ok(data)) => {
                    self.data = data;
                    if outgoing.body.is_end_stream() {
                        self.body = None;
                    }
                }
                Some(Err(trailers)) => self.end(trailers.into_trailers().ok()),
                None => self.end(None),
            }
        }
    }

    fn end(&mut self, trailers: Option<HeaderMap>) {
        let Some(Outgoing { is_chunked: true, announced, .. }) = self.body.take() else { return };
        self.words.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.iter().flatten() {
            if announced.contains(name) && head::is_trailer(name) {
                line(&mut self.words, name, value.as_bytes());
            }
        }
        self.words.extend_from_slice(b"\r\n");
    }

    fn has_more(&self) -> bool {
        self.written < self.words.len() || !self.data.is_empty() || !self.line_end.is_empty()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, stream: &mut TcpStream) -> Poll<io::Result<()>> {
        while self.has_more() {
            let words = &self.words[self.written..];
            let pieces = [IoSlice::new(words), IoSlice::new(&self.data), IoSlice::new(self.line_end)];
            let count = if self.data.is_empty() && self.line_end.is_empty() { 1 } else { 3 };
            let mut written = ready!(gather::poll_write(Pin::new(&mut *stream), cx, &pieces[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.has_begun = true;
            let of_words = written.min(words.len());
            self.written += of_words;
            written -= of_words;
            let of_data = written.min(self.data.len());
            self.data.advance(of_data);
            self.line_end = &self.line_end[written - of_data..];
        }
        Poll::Ready(Ok(()))
    }
}

fn announced(headers: &HeaderMap) -> HashSet<HeaderName> {
    let values = headers.get_all(header::TRAILER).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}
