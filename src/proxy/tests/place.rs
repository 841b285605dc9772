//! A proxy on a thread of its own, an origin that does what the test says, and a client that sends bytes.

use crate::proxy::channel::{Limits, Network, Route, TargetPlace, Warm};
use crate::proxy::connection;
use crate::proxy::news::News;
use crate::proxy::routes::Routes;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Nothing that goes well takes this long.
pub(super) const LONG: Duration = Duration::from_secs(20);
const APP: &str = "app";

type Act = Box<dyn FnOnce(&Routes) + Send>;

/// The proxy; it ends with this.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    acts: UnboundedSender<Act>,
}

impl Proxy {
    /// With these instances, numbered from 1.
    pub(super) fn before(origins: &[&Origin]) -> Proxy {
        Proxy::with(route(origins))
    }

    pub(super) fn with(route: Route) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (acts, mut to_do) = unbounded_channel::<Act>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let routes = Routes::new(Rc::new(News::default()));
                routes.publish(route);
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    tokio::select! {
                        accepted = listener.accept() => {
                            let (stream, peer) = accepted.unwrap();
                            let app = routes.app(APP);
                            let limit = u64::from(app.limits().connections);
                            if app.counters().connections() >= limit && !app.crowd().makes_room() {
                                continue;
                            }
                            let present = app.counters().connection();
                            stream.set_nodelay(true).unwrap();
                            tokio::task::spawn_local(async move {
                                connection::serve(stream, peer, address, app).await;
                                drop(present);
                            });
                        }
                        act = to_do.recv() => match act {
                            Some(act) => act(&routes),
                            None => return,
                        },
                    }
                }
            });
        });
        Proxy { address, acts }
    }

    /// Does something in the proxy and waits until it is done.
    pub(super) fn with_routes<R: Send + 'static>(&self, act: impl FnOnce(&Routes) -> R + Send + 'static) -> R {
        let (done, wait) = mpsc::channel();
        self.acts.send(Box::new(move |routes| drop(done.send(act(routes))))).ok().unwrap();
        wait.recv_timeout(LONG).unwrap()
    }

    pub(super) fn publish(&self, route: Route) {
        self.with_routes(|routes| routes.publish(route));
    }

    /// Requests and streams of an instance.
    pub(super) fn in_flight(&self, target: u64) -> (u64, u64) {
        self.with_routes(move |routes| routes.in_flight(target))
    }

    pub(super) fn figures(&self) -> crate::proxy::channel::AppFigures {
        self.with_routes(|routes| routes.app(APP).counters().figures(APP))
    }

    pub(super) fn client(&self) -> Client {
        Client::new(TcpStream::connect(self.address).unwrap())
    }

    /// One request on a connection of its own, and all that comes back.
    pub(super) fn exchange(&self, bytes: &str) -> String {
        let mut client = self.client();
        client.send(bytes);
        client.rest()
    }
}

pub(super) fn route(origins: &[&Origin]) -> Route {
    Route {
        app: APP.into(),
        active: places(1, origins),
        active_deployment: None,
        warm: None,
        hold_ms: 10_000,
        trusted: Vec::new(),
        limits: Limits { connections: 1000, header_timeout_ms: 10_000, head: 32 * 1024, idle_ms: 80_000 },
    }
}

pub(super) fn places(first: u64, origins: &[&Origin]) -> Vec<TargetPlace> {
    (first..).zip(origins).map(|(target, origin)| TargetPlace { target, address: origin.address }).collect()
}

pub(super) fn warm(deployment: &str, targets: Vec<TargetPlace>) -> Option<Warm> {
    Some(Warm { deployment: Some(deployment.into()), targets })
}

pub(super) fn loopback() -> Network {
    Network { address: Ipv4Addr::LOCALHOST.into(), prefix: 8 }
}

/// Waits until the condition holds.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}

/// An instance: each connection is served by the script, on a thread of its own.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicU64>,
}

impl Origin {
    /// The script gets each connection and its number, from 1.
    pub(super) fn new(script: impl Fn(Client, u64) + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (script, connections) = (Arc::new(script), Arc::new(AtomicU64::new(0)));
        let counted = connections.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
                let script = script.clone();
                thread::spawn(move || script(Client::new(stream), number));
            }
        });
        Origin { address, connections }
    }

    /// One that answers every request with this, as long as the connection lives.
    pub(super) fn answering(answer: &'static str) -> Origin {
        Origin::new(move |mut connection, _| {
            while !connection.head().is_empty() {
                connection.send(answer);
            }
        })
    }

    /// One that tells each request's head back.
    pub(super) fn echoing_heads() -> Origin {
        Origin::new(|mut connection, _| {
            loop {
                let head = connection.head();
                if head.is_empty() {
                    return;
                }
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len()));
            }
        })
    }

    /// How many connections it has had.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

/// One end of a connection, byte by byte; the proxy's clients and the origins' sides are alike in that.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(super) fn new(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, read: Vec::new() }
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // Whoever has gone is noticed by what they do not answer.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    pub(super) fn ends(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Goes away without a word.
    pub(super) fn resets(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _entered = runtime.enter();
        self.stream.set_nonblocking(true).unwrap();
        tokio::net::TcpStream::from_std(self.stream).unwrap().set_zero_linger().unwrap();
    }

    /// The next head, with its empty line; empty when the other side has ended.
    pub(super) fn head(&mut self) -> String {
        self.until(b"\r\n\r\n")
    }

    /// Everything up to and with the mark; empty when the other side has ended before.
    pub(super) fn until(&mut self, mark: &[u8]) -> String {
        loop {
            if let Some(at) = self.read.windows(mark.len()).position(|part| part == mark) {
                return String::from_utf8(self.read.drain(..at + mark.len()).collect()).unwrap();
            }
            if !self.more() {
                return String::new();
            }
        }
    }

    pub(super) fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert!(self.more(), "ended after {} of {length} bytes", self.read.len());
        }
        self.read.drain(..length).collect()
    }

    /// An answer with a Content-Length.
    pub(super) fn answer(&mut self) -> (String, String) {
        let head = self.head();
        let length = value(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let body = self.exactly(length);
        (head, String::from_utf8(body).unwrap())
    }

    /// All that comes until the other side ends.
    pub(super) fn rest(&mut self) -> String {
        while self.more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    pub(super) fn get(&mut self, path: &str) -> (String, String) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.answer()
    }

    fn more(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(read) => {
                self.read.extend_from_slice(&chunk[..read]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => {
                panic!("after {:?}: {error}", self.read[..self.read.len().min(500)].escape_ascii().to_string())
            }
        }
    }
}

/// Of a header in a head.
pub(super) fn value<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(super) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}
