//! An origin that keeps every byte it is sent, and answers as the test plays it.

use crate::machine::PATIENCE;
use crate::wire::{self, Request};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

/// What the origin does with a connection; an error ends it.
pub(crate) type Play = dyn Fn(&mut Upstream) -> io::Result<()> + Send + Sync;

pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    ending: Arc<AtomicBool>,
    accepting: Option<JoinHandle<usize>>,
    ended: Receiver<Vec<u8>>,
}

impl Origin {
    pub(crate) fn start(play: impl Fn(&mut Upstream) -> io::Result<()> + Send + Sync + 'static) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let ending = Arc::new(AtomicBool::new(false));
        let (tell, ended) = channel();
        let (play, until): (Arc<Play>, _) = (Arc::new(play), Arc::clone(&ending));
        let accepting = Some(thread::spawn(move || accept(&listener, &until, &play, &tell)));
        Origin { address, ending, accepting, ended }
    }

    /// Answers each request with its first line and its body, in one piece.
    pub(crate) fn echo() -> Origin {
        Origin::start(|upstream| {
            while let Some(request) = upstream.request()? {
                upstream.say(&echo(&request))?;
                if request.values("connection").contains(&"close") {
                    return upstream.close();
                }
            }
            Ok(())
        })
    }

    /// The bytes of each connection in the order of their ends, once the proxy has closed them all.
    #[track_caller]
    pub(crate) fn end(mut self) -> Vec<Vec<u8>> {
        let accepted = self.stop();
        let next = || match self.ended.recv_timeout(PATIENCE) {
            Ok(bytes) => bytes,
            Err(_) => panic!("the proxy never closes its connection to the origin"),
        };
        (0..accepted).map(|_| next()).collect()
    }

    /// Takes what waits in the backlog, then nothing more; how many connections there were.
    fn stop(&mut self) -> usize {
        self.ending.store(true, Ordering::SeqCst);
        // Connections are accepted in their order: behind this one there is none of the proxy's.
        let _last = TcpStream::connect(self.address);
        self.accepting.take().map_or(0, |accepting| accepting.join().unwrap())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn echo(request: &Request) -> Vec<u8> {
    let body = [format!("{} {}\n", request.method, request.target).as_bytes(), &request.body].concat();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), if request.method == "HEAD" { b"" } else { &body }].concat()
}

fn accept(listener: &TcpListener, until: &AtomicBool, play: &Arc<Play>, tell: &Sender<Vec<u8>>) -> usize {
    for nth in 0.. {
        let (stream, _) = listener.accept().unwrap();
        if until.load(Ordering::SeqCst) {
            return nth;
        }
        stream.set_nodelay(true).unwrap();
        let (play, tell) = (Arc::clone(play), tell.clone());
        thread::spawn(move || {
            let mut upstream = Upstream { stream, bytes: Vec::new(), taken: 0 };
            // How it ended is the play's affair; what counts is what came.
            let _ended = play(&mut upstream);
            // Whoever hears this may look: the test may be over.
            let _heard = tell.send(upstream.bytes);
        });
    }
    unreachable!("connections are countable")
}

/// One connection of the proxy.
pub(crate) struct Upstream {
    pub(crate) stream: TcpStream,
    /// All that came.
    pub(crate) bytes: Vec<u8>,
    /// How much of it was a request already.
    taken: usize,
}

impl Upstream {
    /// The next whole request; none when the proxy closes, or sends what is none: then the rest is kept for the judge.
    pub(crate) fn request(&mut self) -> io::Result<Option<Request>> {
        loop {
            match wire::request(&self.bytes[self.taken..]) {
                Ok(Some((request, used))) => {
                    self.taken += used;
                    return Ok(Some(request));
                }
                Ok(None) if self.more()? => {}
                Ok(None) => return Ok(None),
                Err(_) => {
                    self.say(b"HTTP/1.1 500 What is this\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
                    self.close()?;
                    return Ok(None);
                }
            }
        }
    }

    /// The next request's head, while its body may be still to come.
    pub(crate) fn head(&mut self) -> io::Result<Option<Request>> {
        loop {
            match wire::request_head(&self.bytes[self.taken..]) {
                Ok(Some(((request, _), used))) => {
                    self.taken += used;
                    return Ok(Some(request));
                }
                Ok(None) if self.more()? => {}
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }

    /// So many bytes behind what was taken; fewer when the proxy closes.
    pub(crate) fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.bytes.len() < self.taken + count && self.more()? {}
        let end = self.bytes.len().min(self.taken + count);
        let taken = self.bytes[self.taken..end].to_vec();
        self.taken = end;
        Ok(taken)
    }

    pub(crate) fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Ends our direction in order, then reads to the end of the other.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.rest()
    }

    /// Ends both with a reset.
    pub(crate) fn reset(&mut self) -> io::Result<()> {
        use nix::libc::linger;
        let at_once = linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(&self.stream, nix::sys::socket::sockopt::Linger, &at_once)?;
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// Reads to the end.
    pub(crate) fn rest(&mut self) -> io::Result<()> {
        while self.more()? {}
        Ok(())
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let read = self.stream.read(&mut buffer)?;
        self.bytes.extend_from_slice(&buffer[..read]);
        Ok(read > 0)
    }
}
