//! One client's connection, from its first byte to its last.

use super::answers::Own;
use super::forward::Forward;
use super::head::Client;
use super::routes::AppRoute;
use super::upstream::BUFFER;
use super::wire::{ClientStream, Late, Wire};
use crate::linux::descriptors;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a client may go on sending after the last answer. Closing a socket that has unread bytes resets it, and the
/// reset may overtake the answer (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(2);

/// How a connection came to its end.
enum End {
    Closed,
    /// hyper has told it so.
    Malformed {
        is_too_long: bool,
    },
    Late(Late),
    Dismissed,
    /// In the middle of an answer.
    Cut,
    /// The same, by the instance, and towards a client that cannot tell.
    BrokeOff,
}

/// Serves a client until it or we end the connection. `public` is the address that the client connected to.
pub(crate) async fn serve(stream: TcpStream, peer: SocketAddr, public: SocketAddr, app: Rc<AppRoute>) {
    let limits = app.limits();
    let wire = Rc::new(Wire::new(Instant::now()));
    let socket = stream.as_raw_fd();
    let _member = Member::of(&app, &wire);
    let forward = Rc::new(Forward { app: app.clone(), wire: wire.clone(), client: Client::new(peer, public) });
    let service = service_fn(move |request| forward.clone().request(request));
    let head = usize::try_from(limits.head).unwrap_or(usize::MAX);
    let mut connection = Builder::new()
        // Its own look at a busy client costs a buffer each time; see Wire::look.
        .half_close(true)
        .max_header_size(head)
        .max_buf_size(head.max(BUFFER))
        .serve_connection(TokioIo::new(ClientStream::new(stream, wire.clone())), service);

    let idle = Duration::from_millis(limits.idle_ms);
    let mut timer = pin!(sleep_until(Instant::now() + idle));
    let mut is_armed = false;
    let end = poll_fn(|cx| {
        wire.belongs_to(cx.waker());
        if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(match ended {
                Err(error) if error.is_parse() => End::Malformed { is_too_long: error.is_parse_too_large() },
                Err(error) if error.is_user() && wire.is_old() => End::BrokeOff,
                Ok(()) | Err(_) => End::Closed,
            });
        }
        if wire.is_abandoned() {
            // Its 101 may not be out.
            drop(wire.take_tunnel());
            return Poll::Ready(End::Closed);
        }
        let has_begun = wire.settle();
        if !wire.ask(cx) {
            return Poll::Ready(End::BrokeOff);
        }
        if wire.is_dismissed() {
            return Poll::Ready(End::Dismissed);
        }
        if wire.is_cut() {
            return Poll::Ready(End::Cut);
        }
        if has_begun && let Some((due, _)) = wire.due(&limits) {
            timer.as_mut().reset(due.min(Instant::now() + idle));
            is_armed = false;
        }
        // Nothing ever waits for less than the timer does, except a head; so it is set anew only when it is over.
        while !is_armed || timer.is_elapsed() {
            is_armed = timer.as_mut().poll(cx).is_pending();
            if is_armed {
                break;
            }
            let now = Instant::now();
            match wire.due(&limits) {
                Some((due, late)) if due <= now => return Poll::Ready(End::Late(late)),
                Some((due, _)) => timer.as_mut().reset(due.min(now + idle)),
                // Nobody is woken for an end behind bytes that are not read: it is looked at in the turn before.
                None => timer.as_mut().reset(now + idle),
            }
        }
        Poll::Pending
    })
    .await;

    let parts = connection.into_parts();
    drop(parts.service);
    let stream = parts.io.into_inner().into_stream();
    match end {
        End::Closed => {
            if let Some(tunnel) = wire.take_tunnel() {
                return Box::pin(tunnel.run(stream, parts.read_buf)).await;
            }
        }
        End::Malformed { is_too_long } => {
            app.counters().refused();
            app.counters().answer(if is_too_long { 431 } else { 400 });
        }
        End::Late(Late::Head) => {
            app.counters().refused();
            app.counters().answer(Own::SLOW.status.as_u16());
            return Box::pin(refuse(stream, Own::SLOW)).await;
        }
        End::Cut => {
            app.counters().upstream_error();
            return if wire.is_old() {
                reset(stream)
            };
        }
        End::BrokeOff => return reset(stream),
        End::Late(Late::Idle | Late::Body | Late::Reading) | End::Dismissed => return,
    }
    // It said that nothing more comes, and nothing has: then the answer cannot be lost in a reset.
    let is_over = wire.is_over() && parts.read_buf.is_empty() && descriptors::is_quiet(socket);
    if !wire.has_ended() && !is_over {
        Box::pin(part(stream)).await;
    }
}

/// One of the app's crowd.
struct Member {
    app: Rc<AppRoute>,
    wire: Rc<Wire>,
}

impl Member {
    fn of(app: &Rc<AppRoute>, wire: &Rc<Wire>) -> Member {
        app.crowd().enter(wire);
        Member { app: app.clone(), wire: wire.clone() }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.app.crowd().leave(&self.wire);
    }
}

/// Answers on a connection whose request was not read.
async fn refuse(mut stream: TcpStream, own: Own) {
    if let Ok(Ok(())) = timeout(LINGER, stream.write_all(&own.bytes())).await {
        part(stream).await;
    }
}

/// Ends it in such a way that nobody takes what came for all there is.
fn reset(stream: TcpStream) {
    // If it cannot be set, the socket is closed in the usual way.
    let _ = stream.set_zero_linger();
}

/// Tells the client that nothing more comes, and lets it read up to there before the socket is closed.
async fn part(mut stream: TcpStream) {
    let mut ignored = [0; 4096];
    let ends = async {
        // Not done yet where hyper expected another protocol to go on: after CONNECT, or the preface of HTTP/2.
        let _ = stream.shutdown().await;
        while stream.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
    };
    let _ = timeout(LINGER, ends).await;
}
