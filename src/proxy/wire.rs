//! A client's socket, watched: what the connection waits for and since when, so that one timer can judge it.

use super::body::Coming;
use super::channel::Limits;
use super::framing::Framing;
use super::gather;
use super::target::Target;
use super::upgrade::Tunnel;
use crate::linux::descriptors::{self, Ending};
use hyper::Version;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// What is known of one client's connection; shared by its socket, its requests and their bodies.
#[derive(Debug)]
pub(super) struct Wire {
    phase: Cell<Phase>,
    /// Since when the client wants nothing, or when its head began; while it is answered, of no meaning.
    since: Cell<Instant>,
    /// Since when an instance waits for more of the request's body.
    body_awaited: Cell<Option<Instant>>,
    /// Since when the client takes nothing of what it is sent.
    is_full: Cell<Option<Instant>>,
    /// The client sends no more.
    has_ended: Cell<bool>,
    /// Since when a client that sends no more has not been seen to be there all the same.
    unseen: Cell<Option<Instant>>,
    /// Nobody is there for the answer.
    is_abandoned: Cell<bool>,
    /// Bytes of its next request came before its answer was on its way.
    is_ahead: Cell<bool>,
    is_request_whole: Cell<bool>,
    /// The request's body is malformed, or its client went away in the middle of it.
    is_request_broken: Cell<bool>,
    is_stream: Cell<bool>,
    /// The client has said that it asks for nothing more.
    is_last: Cell<bool>,
    /// Of HTTP/1.0: the end of the connection may be the end of an answer.
    is_old: Cell<bool>,
    requests: Cell<u64>,
    framing: RefCell<Framing>,
    tunnel: RefCell<Option<Tunnel>>,
    /// The instance whose answer is being sent: when it is cut the answer ends, whether or not its client takes any of it.
    answering: RefCell<Option<Rc<Target>>>,
    /// Where the rest of the request goes while it is answered.
    asking: RefCell<Option<Coming>>,
    /// Somebody else needs the place.
    is_dismissed: Cell<bool>,
    task: RefCell<Option<Waker>>,
    /// Kept by the crowd.
    pub(super) place: Cell<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between two requests.
    Idle,
    /// A head has begun; its time is not running yet.
    Begun,
    Head,
    /// From a complete head to the end of the answer.
    Busy,
    /// The answer is complete, but perhaps not yet on its way.
    Answered,
}

/// Why a client's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// It sent a part of a head: it is told.
    Head,
    Idle,
    Body,
    /// It reads nothing.
    Reading,
}

impl Wire {
    pub(super) fn new(now: Instant) -> Wire {
        Wire {
            phase: Cell::new(Phase::Idle),
            since: Cell::new(now),
            body_awaited: Cell::default(),
            is_full: Cell::default(),
            has_ended: Cell::default(),
            unseen: Cell::default(),
            is_abandoned: Cell::default(),
            is_ahead: Cell::default(),
            is_request_whole: Cell::new(true),
            is_request_broken: Cell::default(),
            is_stream: Cell::default(),
            is_last: Cell::default(),
            is_old: Cell::default(),
            requests: Cell::default(),
            framing: RefCell::default(),
            tunnel: RefCell::default(),
            answering: RefCell::default(),
            asking: RefCell::default(),
            is_dismissed: Cell::default(),
            task: RefCell::default(),
            place: Cell::default(),
        }
    }

    /// A head is complete. False when it says two things about its length.
    pub(super) fn request_begins(&self, version: Version, has_body: bool, is_last: bool) -> bool {
        self.is_last.set(is_last);
        self.is_old.set(version == Version::HTTP_10);
        self.phase.set(Phase::Busy);
        self.is_request_whole.set(!has_body);
        self.is_request_broken.set(false);
        self.is_stream.set(false);
        self.is_ahead.set(false);
        self.requests.set(self.requests.get() + 1);
        !self.framing.borrow().refuses(self.requests.get())
    }

    pub(super) fn request_is_whole(&self) {
        self.is_request_whole.set(true);
        self.body_awaited.set(None);
    }

    pub(super) fn request_breaks(&self) {
        self.is_request_broken.set(true);
        self.body_awaited.set(None);
    }

    /// Then it is no fault of the instance that there is no answer, or no whole one.
    pub(super) fn is_request_broken(&self) -> bool {
        self.is_request_broken.get()
    }

    /// Would its client take the end of the connection for the end of the answer?
    pub(super) fn is_old(&self) -> bool {
        self.is_old.get()
    }

    pub(super) fn waits_for_body(&self) {
        if self.body_awaited.get().is_none() {
            self.body_awaited.set(Some(Instant::now()));
        }
    }

    /// The answer goes on for as long as the client listens.
    pub(super) fn becomes_stream(&self) {
        self.is_stream.set(true);
        if self.unseen.get().is_some() {
            self.abandon();
        }
    }

    pub(super) fn answer_is_over(&self, now: Instant) {
        self.phase.set(Phase::Answered);
        self.since.set(now);
        self.body_awaited.set(None);
        self.answering.take();
        self.asking.take();
    }

    pub(super) fn answers_for(&self, target: Rc<Target>) {
        self.answering.replace(Some(target));
    }

    pub(super) fn asks_on(&self, coming: Coming) {
        self.asking.replace(Some(coming));
    }

    /// Moves the rest of the request on when nobody else does, for the client takes nothing of the answer. False when
    /// the request broke off.
    pub(super) fn ask(&self, cx: &mut Context<'_>) -> bool {
        if self.is_full.get().is_some()
            && let Some(coming) = &*self.asking.borrow()
            && let Some(upstream) = &mut *coming.borrow_mut()
        {
            return upstream.asks_on(cx);
        }
        true
    }

    /// The instance of the answer that is being sent was cut.
    pub(super) fn is_cut(&self) -> bool {
        self.answering.borrow().as_ref().is_some_and(|target| target.is_cut())
    }

    pub(super) fn becomes_tunnel(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }

    pub(super) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.borrow_mut().take()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// Nothing more is to come from it, as it has said itself.
    pub(super) fn is_over(&self) -> bool {
        self.is_last.get() && self.is_request_whole.get()
    }

    /// Since when it is idle, if it is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.phase.get() == Phase::Idle && !self.is_dismissed.get()).then(|| self.since.get())
    }

    /// Ends the connection if it is still idle when its task runs.
    pub(super) fn dismiss(&self) {
        self.is_dismissed.set(true);
        self.wake();
    }

    pub(super) fn is_dismissed(&self) -> bool {
        self.is_dismissed.get() && matches!(self.phase.get(), Phase::Idle)
    }

    /// Its answer is to be its last.
    pub(super) fn is_unwanted(&self) -> bool {
        self.is_dismissed.get()
    }

    pub(super) fn belongs_to(&self, task: &Waker) {
        let mut own = self.task.borrow_mut();
        if own.is_none() {
            *own = Some(task.clone());
        }
    }

    /// Looks at what has become of it after each turn. True when a part of a head is there.
    pub(super) fn settle(&self) -> bool {
        if self.phase.get() == Phase::Answered && self.is_full.get().is_none() {
            self.phase.set(if self.is_ahead.take() { Phase::Begun } else { Phase::Idle });
        }
        let is_begun = self.phase.get() == Phase::Begun;
        if is_begun {
            self.since.set(Instant::now());
            self.phase.set(Phase::Head);
        }
        is_begun
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned.get()
    }

    /// hyper does not read while a request is answered; what its client does meanwhile is looked at here. One that has
    /// sent its request and shuts down its side still wants the answer, but is believed no longer than one that idles. Of
    /// an event stream it has seen enough.
    fn look(&self, socket: RawFd) {
        match descriptors::end_of(socket) {
            None => {}
            Some(Ending::Said) if self.is_stream.get() => self.abandon(),
            Some(Ending::Said) if self.unseen.get().is_some() => {}
            Some(Ending::Said) => self.unseen.set(Some(Instant::now())),
            Some(Ending::Broken) => self.abandon(),
        }
    }

    fn abandon(&self) {
        self.is_abandoned.set(true);
        self.wake();
    }

    /// When its time is over, and why; the earliest of what it waits for.
    pub(super) fn due(&self, limits: &Limits) -> Option<(Instant, Late)> {
        let idle = Duration::from_millis(limits.idle_ms);
        let phase = match self.phase.get() {
            Phase::Idle => Some((self.since.get() + idle, Late::Idle)),
            Phase::Begun | Phase::Head => {
                Some((self.since.get() + Duration::from_millis(limits.header_timeout_ms), Late::Head))
            }
            Phase::Busy | Phase::Answered => None,
        };
        let body = self.body_awaited.get().map(|since| (since + idle, Late::Body));
        let reading = self.is_full.get().map(|since| (since + idle, Late::Reading));
        let unseen = self.unseen.get().map(|since| (since + idle, Late::Idle));
        [phase, body, reading, unseen].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    pub(super) fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    fn read(&self, bytes: &[u8]) {
        match self.phase.get() {
            Phase::Idle => self.phase.set(Phase::Begun),
            // While a part of the answer is still here, nobody waits for that head.
            Phase::Answered => self.is_ahead.set(true),
            Phase::Begun | Phase::Head | Phase::Busy => {}
        }
        self.body_awaited.set(None);
        if self.is_full.get().is_some() && !self.is_request_whole.get() {
            // It is busy with its request, and reads afterwards.
            self.is_full.set(Some(Instant::now()));
        }
        self.framing.borrow_mut().read(bytes);
    }

    /// Is there a request that has come, whether or not an instance has taken it, and an answer that is not out?
    fn is_served(&self) -> bool {
        let is_whole = || self.is_request_whole.get() || self.framing.borrow().is_whole(self.requests.get());
        matches!(self.phase.get(), Phase::Busy | Phase::Answered) && is_whole()
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        if self.unseen.get().is_some() && result.is_ready() {
            self.unseen.set(Some(Instant::now()));
        }
        match result {
            Poll::Pending if self.is_full.get().is_none() => self.is_full.set(Some(Instant::now())),
            Poll::Pending => {}
            Poll::Ready(_) if self.is_full.take().is_some() => self.since.set(Instant::now()),
            Poll::Ready(_) => {}
        }
    }
}

/// The socket itself, as hyper reads and writes it.
#[derive(Debug)]
pub(super) struct ClientStream {
    stream: TcpStream,
    wire: Rc<Wire>,
}

impl ClientStream {
    pub(super) fn new(stream: TcpStream, wire: Rc<Wire>) -> ClientStream {
        ClientStream { stream, wire }
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        match &buf.filled()[before..] {
            [] => self.wire.has_ended.set(true),
            bytes => self.wire.read(bytes),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wire.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = gather::poll_write(Pin::new(&mut self.stream), cx, bufs);
        self.wire.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is kept here. hyper asks at the end of each turn, so that this is also where the client is watched.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.wire.is_served() && self.stream.poll_read_ready(cx).is_ready() {
            let socket = self.stream.as_raw_fd();
            self.wire.look(socket);
            // A read that filled its buffer exactly leaves the runtime in the belief that there is more.
            let is_more = || if descriptors::is_quiet(socket) { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) };
            if self.stream.try_io(Interest::READABLE, is_more).is_err() {
                let _is_woken_by_what_comes = self.stream.poll_read_ready(cx);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Whoever has the socket next decides how it ends.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { connections: 1, header_timeout_ms: 100, head: 4096, idle_ms: 1000 };

    fn late(wire: &Wire) -> Option<Late> {
        wire.due(&LIMITS).map(|(_, late)| late)
    }

    #[test]
    fn the_time_for_a_head_runs_once_the_answer_before_it_has_left() {
        let wire = Wire::new(Instant::now());
        wire.read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        wire.request_begins(Version::HTTP_11, false, false);
        wire.answer_is_over(Instant::now());
        wire.wrote(&Poll::Pending);
        wire.read(b"GET / HT");
        assert_eq!((wire.settle(), late(&wire)), (false, Some(Late::Reading)));
        wire.wrote(&Poll::Ready(Ok(1)));
        assert_eq!((wire.settle(), late(&wire)), (true, Some(Late::Head)));
    }

    #[test]
    fn a_client_that_sends_no_more_is_seen_by_what_it_takes() {
        let (here, there) = std::os::unix::net::UnixStream::pair().unwrap();
        let wire = Wire::new(Instant::now());
        wire.read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        wire.request_begins(Version::HTTP_11, false, false);
        wire.look(here.as_raw_fd());
        assert_eq!(late(&wire), None);
        there.shutdown(std::net::Shutdown::Write).unwrap();
        wire.look(here.as_raw_fd());
        let (due, _) = wire.due(&LIMITS).unwrap();
        wire.wrote(&Poll::Ready(Ok(1)));
        assert!(wire.due(&LIMITS).is_some_and(|(again, late)| again > due && late == Late::Idle));
        assert!(!wire.is_abandoned());
        wire.becomes_stream();
        assert!(wire.is_abandoned(), "of a stream it has seen enough");
    }
}
