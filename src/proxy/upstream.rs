//! One connection to an instance, driven by whoever has a request on it: it has no task of its own.

use super::body::RequestBody;
use super::hush::Hush;
use super::{gather, head};
use crate::linux::descriptors;
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::unconstrained;

/// What an origin that announces nothing keeps an idle connection for: Node's default.
const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The most that is kept of one message in memory, in each direction, bytes.
pub(super) const BUFFER: usize = 64 * 1024;

/// What has passed on a connection since its request began.
#[derive(Default)]
struct Line {
    /// The instance has sent something.
    has_heard: Cell<bool>,
    /// The head of the request is still to be kept.
    keeps: Cell<bool>,
    kept: RefCell<Vec<u8>>,
}

pub(super) struct Upstream {
    sender: SendRequest<RequestBody>,
    /// None once it has ended without an answer.
    connection: Option<Connection<TokioIo<OriginStream>, RequestBody>>,
    /// The number of its socket, which lives in `connection`.
    socket: RawFd,
    line: Rc<Line>,
    /// It has answered before.
    is_reused: bool,
    /// Polled once more after that, hyper would shut down the socket, which may be a tunnel's.
    has_ended: bool,
    keep_alive: Duration,
}

/// Why there is no answer.
pub(super) enum Broken {
    /// Not a byte of the request was sent.
    Unsent(Box<Request<RequestBody>>),
    /// The instance may have begun to execute it. Here it is once more if that does no harm.
    Sent(Option<Box<Request<RequestBody>>>),
}

impl Upstream {
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Box<Upstream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let socket = stream.as_raw_fd();
        let line = Rc::new(Line::default());
        let stream = TokioIo::new(OriginStream { stream, line: line.clone() });
        let handshake = Builder::new().max_buf_size(BUFFER).handshake(stream).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        let keep_alive = DEFAULT_KEEP_ALIVE;
        let connection = Some(connection);
        Ok(Box::new(Upstream { sender, connection, socket, line, is_reused: false, has_ended: false, keep_alive }))
    }

    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// How long the origin keeps the connection while it is idle.
    pub(super) fn keep_alive(&self) -> Duration {
        self.keep_alive
    }

    pub(super) fn announces(&mut self, keep_alive: Option<Duration>) {
        self.keep_alive = keep_alive.unwrap_or(DEFAULT_KEEP_ALIVE);
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) fn exchange(
        &mut self,
        request: Request<RequestBody>,
        hush: &Hush,
    ) -> impl Future<Output = Result<Response<Incoming>, Broken>> {
        self.line.has_heard.set(false);
        self.line.keeps.set(self.is_reused && is_repeatable(&request));
        self.line.kept.borrow_mut().clear();
        // Boxed, for it has room for the request, and would be moved along with whatever waits for it. Unconstrained, for
        // it is asked without a waker, and must not say that it is not there when the task has done enough for a turn.
        let answer = Box::pin(unconstrained(self.sender.try_send_request(request)));
        self.answered(answer, hush)
    }

    async fn answered(
        &mut self,
        mut answer: Pin<Box<impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>>>>,
        hush: &Hush,
    ) -> Result<Response<Incoming>, Broken> {
        let answered = poll_fn(|cx| {
            let has_ended = self.poll(cx, hush).is_ready();
            // Whatever arrives does so in the poll above, which wakes this task by the socket.
            let mut nobody = Context::from_waker(Waker::noop());
            match answer.as_mut().poll(&mut nobody) {
                Poll::Ready(answered) => Poll::Ready(Some(answered)),
                Poll::Pending if has_ended => {
                    // One that ended while it rested has not looked at the request, and gives it back.
                    self.connection = None;
                    Poll::Ready(match answer.as_mut().poll(&mut nobody) {
                        Poll::Ready(answered) => Some(answered),
                        Poll::Pending => None,
                    })
                }
                Poll::Pending => Poll::Pending,
            }
        });
        match answered.await {
            Some(Ok(response)) => Ok(response),
            Some(Err(mut broken)) => match broken.take_message() {
                Some(request) => Err(Broken::Unsent(Box::new(request))),
                None => Err(Broken::Sent(self.again())),
            },
            None => Err(Broken::Sent(self.again())),
        }
    }

    /// The request that was sent, if it may be executed twice and the connection had been used before: then its end may
    /// have nothing to do with it (RFC 9110, 9.2.2; RFC 9112, 9.3.1).
    fn again(&self) -> Option<Box<Request<RequestBody>>> {
        let was_silent = !self.line.has_heard.get();
        was_silent.then(|| head::reread(&self.line.kept.borrow()))?.map(|head| Box::new(head.map(RequestBody::none)))
    }

    /// Moves both bodies on. Ready when the connection is at its end.
    pub(super) fn poll(&mut self, cx: &Context<'_>, hush: &Hush) -> Poll<()> {
        self.poll_with(&hush.waker(cx))
    }

    fn poll_with(&mut self, waker: &Waker) -> Poll<()> {
        if let Some(connection) = &mut self.connection
            && !self.has_ended
        {
            std::task::ready!(Pin::new(connection).poll(&mut Context::from_waker(waker))).ok();
            self.has_ended = true;
        }
        Poll::Ready(())
    }

    /// May another request be sent on it? Asked when an answer is complete.
    pub(super) fn rests(&mut self) -> bool {
        self.is_reused = true;
        // Without a waker: nobody needs to run when the origin ends it while it rests.
        self.poll_with(Waker::noop()).is_pending() && self.sender.is_ready()
    }

    /// Has it rested undisturbed? Its end may have come without the runtime knowing of it; what is sent then is lost.
    pub(super) fn is_still_there(&self) -> bool {
        descriptors::is_quiet(self.socket)
    }

    /// After a 101: the socket, and what the instance has already sent in the new protocol.
    pub(super) async fn into_stream(mut self: Box<Self>) -> Option<(TcpStream, Bytes)> {
        // The connection has nothing more to say in HTTP.
        poll_fn(|cx| self.poll_with(cx.waker())).await;
        let parts = self.connection?.into_parts();
        Some((parts.io.into_inner().stream, parts.read_buf))
    }
}

/// The socket; it notes what passes.
struct OriginStream {
    stream: TcpStream,
    line: Rc<Line>,
}

impl OriginStream {
    fn keep(&self, pieces: &[IoSlice<'_>]) {
        // All of it is offered at once: a request that may be sent again has no body.
        if self.line.keeps.take() {
            let mut kept = self.line.kept.borrow_mut();
            pieces.iter().for_each(|piece| kept.extend_from_slice(piece));
        }
    }
}

impl AsyncRead for OriginStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.line.has_heard.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OriginStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.keep(&[IoSlice::new(buf)]);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.keep(bufs);
        gather::poll_write(Pin::new(&mut self.stream), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// May it be executed twice, and is all of it in its head?
pub(super) fn is_repeatable(request: &Request<RequestBody>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}
