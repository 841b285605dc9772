//! One connection to an instance, driven by whoever has a request on it: it has no task of its own.
//!
//! hyper speaks to the clients, whoever they are. The instances' side is written here: a connection of hyper's has two
//! halves that talk to one another over channels, takes a request apart that might have to be sent once more, and hides
//! whether a byte of it was sent. httparse, its parser, reads the heads.

mod answer_head;
mod decoder;
mod request_head;
mod sending;

pub(super) use answer_head::AnswerHead;
pub(super) use request_head::Question;

use super::body::RequestBody;
use super::head::Client;
use crate::linux::descriptors;
use bytes::{Bytes, BytesMut};
use decoder::Decoder;
use hyper::body::Frame;
use hyper::http::Method;
use sending::{Sending, Stopped};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// The most that is read at a time, bytes. A client that does not read what it is sent costs about three of these.
pub(super) const BUFFER: usize = 32 * 1024;
/// A longer head of an answer is a mistake, bytes.
const LONGEST_HEAD: usize = 64 * 1024;
/// What is read at a time at first, bytes; as much again when that was too little, up to [`BUFFER`].
const READ: usize = 8 * 1024;

#[derive(Debug)]
pub(super) struct Upstream {
    stream: TcpStream,
    /// What the instance has sent and nobody has taken.
    came: BytesMut,
    read_size: usize,
    sending: Sending,
    answer: Decoder,
    is_to_head: bool,
    /// The client's part of the request broke off.
    is_forsaken: bool,
    /// The instance has sent something since the request began.
    has_heard: bool,
    /// It has answered before.
    is_reused: bool,
    keep_alive: Duration,
    /// When it was last known that the instance had not finished its answer: it counts an idle time from later on.
    unfinished: Instant,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// Not a byte of the request was sent: here is its body.
    Unsent(RequestBody),
    /// The instance may have begun to execute it, but has not said a byte.
    Silent,
    Sent,
}

/// The answer ended before it was complete.
#[derive(Debug)]
pub(super) struct Incomplete;

impl Upstream {
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Box<Upstream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(Upstream {
            stream,
            came: BytesMut::new(),
            read_size: READ,
            sending: Sending::default(),
            answer: Decoder::none(),
            is_to_head: false,
            is_forsaken: false,
            has_heard: false,
            is_reused: false,
            keep_alive: Duration::ZERO,
            unfinished: Instant::now(),
        }))
    }

    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Until when the origin keeps the connection while it is idle.
    pub(super) fn kept_until(&self) -> Instant {
        self.unfinished + self.keep_alive
    }

    /// Begins to send a request, whose answer is waited for by [`Upstream::poll_head`]. `now` is not after now.
    pub(super) fn ask(&mut self, question: &Question, client: &Client, body: &mut RequestBody, now: Instant) {
        self.sending.begin(question, client, body);
        self.is_to_head = question.parts.method == Method::HEAD;
        (self.has_heard, self.is_forsaken) = (false, false);
        self.unfinished = now;
    }

    /// Sends on, and waits for the head of the answer.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, Broken>> {
        if self.is_reused && !self.sending.has_begun() && !self.is_quiet() {
            return Poll::Ready(Err(Broken::Unsent(self.sending.unsent())));
        }
        match self.poll_send(cx) {
            Err(Stopped::ByClient) => return Poll::Ready(Err(Broken::Sent)),
            Err(Stopped::ByInstance) if !self.sending.has_begun() => {
                return Poll::Ready(Err(Broken::Unsent(self.sending.unsent())));
            }
            // It may have said why: what it has sent before is read all the same.
            Err(Stopped::ByInstance) | Ok(()) => {}
        }
        loop {
            let Ok(head) = answer_head::take(&mut self.came, self.is_to_head) else {
                return Poll::Ready(Err(Broken::Sent));
            };
            if let Some(mut head) = head {
                self.answer = std::mem::replace(&mut head.body, Decoder::none());
                self.keep_alive = head.keep_alive;
                return Poll::Ready(Ok(head));
            }
            if self.came.len() > LONGEST_HEAD {
                return Poll::Ready(Err(Broken::Sent));
            }
            if !matches!(ready!(self.poll_read(cx)), Ok(1..)) {
                return Poll::Ready(Err(if self.has_heard { Broken::Sent } else { Broken::Silent }));
            }
        }
    }

    /// The next piece of the answer's body; sends on what is left of the request's.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Incomplete>>> {
        let _what_the_instance_takes_no_more_is_missed_by_nobody = self.poll_send(cx);
        if self.is_forsaken {
            return Poll::Ready(Some(Err(Incomplete)));
        }
        loop {
            match self.take_frame() {
                Ok(None) if self.is_complete() => return Poll::Ready(None),
                Ok(None) => {}
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Err(incomplete) => return Poll::Ready(Some(Err(incomplete))),
            }
            match ready!(self.poll_read(cx)) {
                Ok(1..) => {}
                Ok(0) if self.answer.end().is_ok() => return Poll::Ready(None),
                Ok(0) | Err(_) => return Poll::Ready(Some(Err(Incomplete))),
            }
        }
    }

    /// Nothing of the request is left to be sent.
    pub(super) fn is_asked(&self) -> bool {
        self.sending.is_over() || self.sending.has_stopped()
    }

    /// Sends on while the client takes nothing of the answer: it may want to be rid of its request first. False when the
    /// client's part broke off.
    pub(super) fn asks_on(&mut self, cx: &mut Context<'_>) -> bool {
        !matches!(self.poll_send(cx), Err(Stopped::ByClient))
    }

    /// What has come of the answer's body already.
    pub(super) fn take_frame(&mut self) -> Result<Option<Frame<Bytes>>, Incomplete> {
        self.answer.take(&mut self.came).map_err(|_| Incomplete)
    }

    /// The whole answer was taken.
    pub(super) fn is_complete(&self) -> bool {
        self.answer.is_over()
    }

    /// Bytes of the answer that are still to be taken, if that is known.
    pub(super) fn left(&self) -> Option<u64> {
        self.answer.left()
    }

    /// May another request be sent on it? Asked when an answer is complete.
    pub(super) fn rests(&mut self) -> bool {
        let is_through = self.sending.is_over() && self.came.is_empty() && self.is_quiet();
        if is_through {
            self.is_reused = true;
            self.sending.rest();
            if self.read_size > READ {
                (self.came, self.read_size) = (BytesMut::new(), READ);
            }
        }
        is_through
    }

    /// Has it rested undisturbed? Its end may have come without the runtime knowing of it; what is sent then is lost.
    pub(super) fn is_still_there(&self) -> bool {
        descriptors::is_quiet(self.stream.as_raw_fd())
    }

    /// After a 101: the socket, and what the instance has already sent in the new protocol.
    pub(super) fn into_stream(self) -> (TcpStream, Bytes) {
        (self.stream, self.came.freeze())
    }

    /// As far as the runtime knows. It asks the kernel only when something has come.
    fn is_quiet(&self) -> bool {
        matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Stopped> {
        if self.sending.is_over() {
            return Ok(());
        }
        let Poll::Ready(Err(stopped)) = self.sending.poll(cx, &mut self.stream) else { return Ok(()) };
        self.is_forsaken = matches!(stopped, Stopped::ByClient);
        if self.sending.has_begun() {
            self.sending.stop();
        }
        Err(stopped)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.came.reserve(self.read_size);
        let room = self.came.capacity() - self.came.len();
        let read = pin!(self.stream.read_buf(&mut self.came)).poll(cx);
        match &read {
            Poll::Pending => self.unfinished = Instant::now(),
            Poll::Ready(Ok(length)) => {
                self.has_heard |= *length > 0;
                if *length == room {
                    self.read_size = (self.read_size * 2).min(BUFFER);
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        read
    }
}
