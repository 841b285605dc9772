//! A forwarder that does on request what a proxy must never do, so that the ledger can prove that it sees it.

use crate::machine::{POLL, command, eventually, get, now};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

/// The demo app, without a supervisor.
pub(crate) struct Origin {
    child: Child,
    pub(crate) port: u16,
}

impl Origin {
    pub(crate) fn start(port: u16, release: &str, nonces: &Path) -> Origin {
        Origin::start_with(port, release, nonces, "")
    }

    /// With this DEMO_FAULT.
    pub(crate) fn start_with(port: u16, release: &str, nonces: &Path, fault: &str) -> Origin {
        let mut node = command("node");
        node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/demo/server.js"));
        node.env("PORT", port.to_string()).env("HOST", "127.0.0.1").env("DEMO_NONCES", nonces);
        node.env("DEMO_FAULT", fault).env("INFISSI_RELEASE", release).env("INFISSI_SLOT", release);
        let child = node.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        assert!(eventually(|| get(port, "/api/health").is_some()), "the origin does not answer");
        Origin { child, port }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // Over already: then there is nobody to kill.
        let _over = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What it does wrong; no more than one thing at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A POST is sent to the origin once more, on another connection.
    SendTwice,
    /// And that to another origin.
    SendTwiceTo(u16),
    /// An answer is cut off after so many bytes, and the connection closed.
    Truncate(usize),
    /// One byte of an answer is changed.
    Garble,
    /// Its own error page.
    Page,
    /// Accepts and says nothing.
    Silence,
    /// Kept connections are closed when they have been idle for 5 s.
    CloseIdle,
}

/// A public port whose bytes go to an origin.
pub(crate) struct Forwarder {
    port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    origin: AtomicU16,
    fault: Mutex<Fault>,
    closed: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

impl Forwarder {
    pub(crate) fn start(port: u16, origin: u16) -> Forwarder {
        let shared = Shared {
            origin: AtomicU16::new(origin),
            fault: Mutex::new(Fault::None),
            closed: AtomicBool::new(false),
            connections: Mutex::default(),
        };
        let mut forwarder = Forwarder { port, shared: Arc::new(shared), acceptor: None };
        forwarder.open();
        forwarder
    }

    pub(crate) fn fault(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Later connections go there.
    pub(crate) fn route(&self, origin: u16) {
        self.shared.origin.store(origin, Ordering::SeqCst);
    }

    /// Listens (again).
    pub(crate) fn open(&mut self) {
        self.shared.closed.store(false, Ordering::SeqCst);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::clone(&self.shared);
        self.acceptor = Some(thread::spawn(move || shared.accept(&listener)));
    }

    /// Listens no more; what waits to be accepted is reset by the kernel.
    pub(crate) fn close(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
    }

    /// Ends every connection where it is.
    pub(crate) fn drop_connections(&self) {
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            // Closed by its client already.
            let _closed = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.close();
        self.drop_connections();
    }
}

impl Shared {
    fn accept(self: &Arc<Shared>, listener: &TcpListener) {
        while !self.closed.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((client, _)) => {
                    client.set_nonblocking(false).unwrap();
                    client.set_nodelay(true).unwrap();
                    self.connections.lock().unwrap().push(client.try_clone().unwrap());
                    let shared = Arc::clone(self);
                    thread::spawn(move || shared.forward(client));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(Duration::from_millis(2)),
                Err(error) => panic!("cannot accept: {error}"),
            }
        }
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn forward(&self, mut client: TcpStream) {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, self.origin.load(Ordering::SeqCst)));
        let Ok(origin) = TcpStream::connect(to) else { return };
        origin.set_nodelay(true).unwrap();
        let (from, back) = (origin.try_clone().unwrap(), client.try_clone().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| self.answers(from, back));
            self.requests(&mut client, origin, to);
        });
    }

    fn requests(&self, client: &mut TcpStream, mut origin: TcpStream, to: SocketAddr) {
        let mut buffer = [0; 32 * 1024];
        let mut last = now();
        loop {
            let closes = self.fault() == Fault::CloseIdle && now() - last > Duration::from_secs(5);
            // Only so often does it look whether something is wrong with it.
            client.set_read_timeout(Some(POLL)).unwrap();
            let read = match client.read(&mut buffer) {
                Ok(read @ 1..) => read,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) && !closes => {
                    continue;
                }
                Ok(0) | Err(_) => break,
            };
            last = now();
            let bytes = &buffer[..read];
            match self.fault() {
                Fault::Silence => continue,
                Fault::Page => {
                    let page = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad";
                    // Whoever is gone by now does not read it.
                    let _gone = client.write_all(page);
                    break;
                }
                Fault::SendTwice => send_again(to, bytes),
                Fault::SendTwiceTo(port) => send_again(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), bytes),
                Fault::None | Fault::Truncate(_) | Fault::Garble | Fault::CloseIdle => {}
            }
            if origin.write_all(bytes).is_err() {
                break;
            }
        }
        let _ended = origin.shutdown(Shutdown::Both);
        let _ended = client.shutdown(Shutdown::Both);
    }

    fn answers(&self, mut origin: TcpStream, mut client: TcpStream) {
        let mut buffer = [0; 32 * 1024];
        while let Ok(read @ 1..) = origin.read(&mut buffer) {
            let mut bytes = &mut buffer[..read];
            let mut cut = false;
            match self.fault() {
                Fault::Truncate(length) if read > length => (bytes, cut) = (&mut bytes[..length], true),
                Fault::Garble => bytes[read - 1] ^= 1,
                Fault::None
                | Fault::Truncate(_)
                | Fault::SendTwice
                | Fault::SendTwiceTo(_)
                | Fault::Page
                | Fault::Silence
                | Fault::CloseIdle => {}
            }
            if client.write_all(bytes).is_err() || cut {
                break;
            }
        }
        let _ended = client.shutdown(Shutdown::Both);
        let _ended = origin.shutdown(Shutdown::Both);
    }
}

/// Waits until the answer begins: then it is executed.
fn send_again(to: SocketAddr, request: &[u8]) {
    let mut again = TcpStream::connect(to).unwrap();
    again.write_all(request).unwrap();
    let _began = again.read(&mut [0; 16]);
}
