//! A client's connection: asks, takes the whole answer, and judges it.

use crate::load::Body;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Instant;

pub(crate) struct Client {
    stream: TcpStream,
    state: State,
    /// Of an answer, until it is complete.
    head: Vec<u8>,
}

#[derive(Clone, Copy)]
enum State {
    Idle,
    /// The connection is not there yet.
    Connecting {
        asked: Instant,
    },
    Head {
        asked: Instant,
    },
    /// So many bytes are still to come.
    Body {
        asked: Instant,
        left: usize,
    },
    /// The answer is complete; the proxy is to close.
    Ending,
}

/// What an event made of a client.
pub(crate) enum Step {
    Waiting,
    /// The answer is complete; with `Connection: close` it is over only with [`Step::Over`].
    Answered {
        asked: Instant,
    },
    Over,
}

/// What a client asks for, as a browser words it.
pub(crate) struct Question {
    text: Vec<u8>,
    body: Body,
    keep_alive: bool,
}

impl Question {
    pub(crate) fn new(body: Body, keep_alive: bool) -> Question {
        let text = format!(
            "GET {} HTTP/1.1\r\nHost: crm.example.org\r\nConnection: {}\r\n\
             User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
             Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
             Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://crm.example.org/customers?page=2\r\n\
             Cookie: session=7d1f0c7e5a9b4c0f8e21; theme=dark\r\n\r\n",
            body.path(),
            if keep_alive { "keep-alive" } else { "close" },
        );
        Question { text: text.into_bytes(), body, keep_alive }
    }
}

impl Client {
    /// From one of many loopback addresses: one alone would run out of ports while closed connections rest in
    /// TIME_WAIT.
    pub(crate) fn connect(epoll: &Epoll, token: u64, to: SocketAddrV4, source: u8) -> Client {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
        socket::setsockopt(&socket, sockopt::IpBindAddressNoPort, &true).unwrap();
        socket::setsockopt(&socket, sockopt::TcpNoDelay, &true).unwrap();
        let source = SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, source), 0);
        socket::bind(socket.as_raw_fd(), &SockaddrIn::from(source)).unwrap();
        match socket::connect(socket.as_raw_fd(), &SockaddrIn::from(to)) {
            Ok(()) | Err(nix::errno::Errno::EINPROGRESS) => {}
            Err(error) => panic!("a connection to {to}: {error}"),
        }
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, token)).unwrap();
        Client { stream: TcpStream::from(socket), state: State::Idle, head: Vec::new() }
    }

    pub(crate) fn ask(&mut self, epoll: &Epoll, token: u64, question: &Question, asked: Instant) {
        match self.stream.write(&question.text) {
            Ok(sent) => {
                assert_eq!(sent, question.text.len(), "a socket takes a whole request");
                if matches!(self.state, State::Connecting { .. }) {
                    epoll.modify(&self.stream, &mut EpollEvent::new(EpollFlags::EPOLLIN, token)).unwrap();
                }
                self.state = State::Head { asked };
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                epoll.modify(&self.stream, &mut EpollEvent::new(EpollFlags::EPOLLOUT, token)).unwrap();
                self.state = State::Connecting { asked };
            }
            Err(error) => panic!("a request is taken: {error}"),
        }
    }

    pub(crate) fn go_on(&mut self, epoll: &Epoll, token: u64, question: &Question, scratch: &mut [u8]) -> Step {
        if let State::Connecting { asked } = self.state {
            self.ask(epoll, token, question, asked);
            return Step::Waiting;
        }
        loop {
            let read = match self.stream.read(scratch) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Waiting,
                Err(error) => panic!("an answer: {error}"),
            };
            let (asked, left, body) = match self.state {
                State::Ending if read == 0 => return Step::Over,
                State::Idle | State::Connecting { .. } | State::Ending => panic!("{read} bytes that nobody asked for"),
                State::Head { asked } => {
                    self.head.extend_from_slice(&scratch[..read]);
                    let Some(end) = self.head.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
                    assert!(self.head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&self.head[..end]));
                    let body = self.head.len() - end - 4;
                    self.head.clear();
                    (asked, question.body.length(), body)
                }
                State::Body { asked, left } => (asked, left, read),
            };
            assert!(read > 0, "an answer comes to its end");
            let left = left.checked_sub(body).expect("no byte is added to an answer");
            if left == 0 {
                self.state = if question.keep_alive { State::Idle } else { State::Ending };
                return Step::Answered { asked };
            }
            self.state = State::Body { asked, left };
        }
    }
}
