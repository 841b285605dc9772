//! The public ports: which ones this worker accepts on, and whom it lets in.
//!
//! A listening socket is shared: the supervisor has it, and during a change of workers the other one. Closing it here
//! takes nothing from them.

use super::channel::Listener;
use super::connection;
use super::routes::AppRoute;
use super::say::say;
use super::worker::{Visit, Worker};
use crate::linux::listener;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// After a failed accept (no descriptors or no memory left), so as not to spin; the clients wait in the queue.
const PAUSE: Duration = Duration::from_millis(100);
/// Failed accepts after which a port that is to be closed is closed.
const TRIES: u32 = 20;
/// How long one that is turned away has for its request, so that our answer is not lost in a reset.
const LINGER: Duration = Duration::from_secs(1);
/// So many linger at a time; further ones see the connection reset.
const MOST_LINGERING: usize = 256;

const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n\
                    Retry-After: 1\r\nConnection: close\r\n\r\nToo many connections\n";

#[derive(Debug, Default)]
pub(super) struct Listeners {
    open: RefCell<BTreeMap<u64, Open>>,
}

#[derive(Debug)]
struct Open {
    app: String,
    address: SocketAddr,
    socket: std::net::TcpListener,
    stop: oneshot::Sender<Stop>,
}

/// How a port is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// What waits there is accepted first.
    Emptied,
    /// Others have it, and accept what waits there.
    AtOnce,
}

impl Listeners {
    /// Accepts there for this app from now on; a listener of the same number is replaced.
    ///
    /// # Errors
    /// The descriptor is no TCP socket, or cannot be waited on.
    pub(super) fn listen(&self, worker: &Rc<Worker>, listener: u64, app: &str, socket: OwnedFd) -> io::Result<()> {
        let socket = std::net::TcpListener::from(socket);
        socket.set_nonblocking(true)?;
        // Its connections inherit it.
        listener::send_at_once(&socket)?;
        let address = socket.local_addr()?;
        let accepting = TcpListener::from_std(socket.try_clone()?)?;
        let (stop, stopped) = oneshot::channel();
        self.open.borrow_mut().insert(listener, Open { app: app.to_owned(), address, socket, stop });
        tokio::task::spawn_local(accept(worker.clone(), worker.routes.app(app), accepting, stopped));
        Ok(())
    }

    /// Accepts what waits there, and closes it. An unknown one is closed already.
    pub(super) fn unlisten(&self, listener: u64) {
        if let Some(open) = self.open.borrow_mut().remove(&listener) {
            let _it_has_stopped = open.stop.send(Stop::Emptied);
        }
    }

    /// Closes all of them here.
    pub(super) fn leave(&self) {
        self.open.borrow_mut().clear();
    }

    pub(super) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    pub(super) fn has(&self, listener: u64) -> bool {
        self.open.borrow().contains_key(&listener)
    }

    /// What a supervisor that attaches is given back: the listeners, and descriptors of them in the same order.
    pub(super) fn told(&self) -> io::Result<(Vec<Listener>, Vec<OwnedFd>)> {
        let open = self.open.borrow();
        let told = |(listener, open): (&u64, &Open)| Listener {
            listener: *listener,
            app: open.app.clone(),
            address: open.address,
        };
        let descriptors: io::Result<Vec<OwnedFd>> = open.values().map(Open::share).collect();
        Ok((open.iter().map(told).collect(), descriptors?))
    }
}

impl Open {
    fn share(&self) -> io::Result<OwnedFd> {
        let socket: BorrowedFd<'_> = self.socket.as_fd();
        socket.try_clone_to_owned()
    }
}

async fn accept(worker: Rc<Worker>, app: Rc<AppRoute>, listener: TcpListener, mut stopped: oneshot::Receiver<Stop>) {
    let stop = loop {
        tokio::select! {
            biased;
            // Dropped with its entry when the port is left or replaced.
            stop = &mut stopped => break stop.unwrap_or(Stop::AtOnce),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => welcome(&worker, &app, stream, peer),
                Err(error) if concerns_one_client(&error) => {}
                Err(error) => {
                    worker.trouble.say(format_args!("cannot accept connections for {}: {error}", app.name()));
                    sleep(PAUSE).await;
                }
            },
        }
    };
    if stop == Stop::Emptied {
        empty(&worker, &app, listener).await;
    }
    worker.end_if_idle();
}

/// The socket itself is asked, for the runtime may not have heard yet of what waits there.
async fn empty(worker: &Rc<Worker>, app: &Rc<AppRoute>, listener: TcpListener) {
    let Ok(listener) = listener.into_std() else { return };
    let mut failed = 0;
    while failed < TRIES {
        match listener.accept() {
            Ok((stream, peer)) => {
                let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                // No descriptor for it could be registered: it is one more client that is lost to a full machine.
                if let Ok(stream) = stream {
                    welcome(worker, app, stream, peer);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if concerns_one_client(&error) => {}
            Err(_) => {
                failed += 1;
                sleep(PAUSE).await;
            }
        }
    }
    say(format_args!("a port of {} is closed with clients waiting", app.name()));
}

/// It went away before it was accepted, or its network did (accept(2)); the next one may be fine.
fn concerns_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

fn welcome(worker: &Rc<Worker>, app: &Rc<AppRoute>, stream: TcpStream, peer: SocketAddr) {
    // Removed and added again it has another route than when the port was opened.
    let app = worker.routes.find(app.name()).unwrap_or_else(|| app.clone());
    let is_crowded = app.counters().connections() >= u64::from(app.limits().connections);
    let has_room = !(is_crowded || worker.is_full()) || app.crowd().makes_room();
    if !has_room && (is_crowded || !worker.routes.makes_room()) {
        app.counters().refused();
        app.counters().answer(503);
        turn_away(worker, stream);
        return;
    }
    // It fails only for a client that is gone already.
    let Ok(public) = stream.local_addr() else { return };
    let visit = Visit::of(worker, &app);
    tokio::task::spawn_local(async move {
        connection::serve(stream, peer, public, app).await;
        drop(visit);
    });
}

/// Answered without waiting for the request, which is then read and dropped.
fn turn_away(worker: &Rc<Worker>, mut stream: TcpStream) {
    let Some(place) = worker.lingering(MOST_LINGERING) else { return };
    tokio::task::spawn_local(async move {
        let answer = async {
            stream.write_all(FULL.as_bytes()).await?;
            stream.shutdown().await?;
            while stream.read(&mut [0; 1024]).await? > 0 {}
            io::Result::Ok(())
        };
        // However it ended, it is over.
        let _ended = timeout(LINGER, answer).await;
        drop(place);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_one_too_many_is_as_long_as_it_says() {
        let (head, body) = FULL.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
