//! The instance behind the proxies: answers from memory, as Node would word it, and faster than any proxy asks.

use crate::load::Body;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

pub(crate) struct Origin {
    listener: TcpListener,
    small: Vec<u8>,
    large: Vec<u8>,
    conversations: Vec<Option<Conversation>>,
}

struct Conversation {
    stream: TcpStream,
    /// Of a request that has not come to its end.
    head: Vec<u8>,
    answering: Option<Answering>,
}

struct Answering {
    body: Body,
    sent: usize,
}

impl Origin {
    pub(crate) fn open(epoll: &Epoll, token: u64) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXCONN).unwrap();
        listener.set_nonblocking(true).unwrap();
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, token)).unwrap();
        Origin { listener, small: answer(Body::Small), large: answer(Body::Large), conversations: Vec::new() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// `token` gives what the epoll is to say for a conversation.
    pub(crate) fn accept(&mut self, epoll: &Epoll, token: impl Fn(usize) -> u64) {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true).unwrap();
            stream.set_nodelay(true).unwrap();
            let free = self.conversations.iter().position(Option::is_none).unwrap_or_else(|| {
                self.conversations.push(None);
                self.conversations.len() - 1
            });
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, token(free))).unwrap();
            self.conversations[free] = Some(Conversation { stream, head: Vec::new(), answering: None });
        }
    }

    pub(crate) fn go_on(&mut self, epoll: &Epoll, index: usize, token: u64, scratch: &mut [u8]) {
        let Some(conversation) = &mut self.conversations[index] else { return };
        let was_stuck = conversation.answering.is_some();
        if !was_stuck {
            match conversation.stream.read(scratch) {
                Ok(0) => return self.conversations[index] = None,
                Ok(read) => conversation.head.extend_from_slice(&scratch[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.conversations[index] = None,
            }
            if !conversation.head.ends_with(b"\r\n\r\n") {
                return;
            }
            let asked = Body::ALL.into_iter().find(|body| conversation.head[4..].starts_with(body.path().as_bytes()));
            conversation.answering = Some(Answering { body: asked.expect("a proxy asks what it was asked"), sent: 0 });
            conversation.head.clear();
        }
        let Some(answering) = &mut conversation.answering else { return };
        let answer = match answering.body {
            Body::Small => &self.small,
            Body::Large => &self.large,
        };
        while answering.sent < answer.len() {
            match conversation.stream.write(&answer[answering.sent..]) {
                Ok(sent) => answering.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return self.conversations[index] = None,
            }
        }
        let is_stuck = answering.sent < answer.len();
        if !is_stuck {
            conversation.answering = None;
        }
        if is_stuck != was_stuck {
            let interest = if is_stuck { EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            epoll.modify(&conversation.stream, &mut EpollEvent::new(interest, token)).unwrap();
        }
    }
}

fn answer(body: Body) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nCache-Control: private, no-cache\r\n\
         ETag: \"5f3a-1c9e\"\r\nVary: Accept-Encoding\r\nContent-Length: {}\r\nDate: Sun, 22 Nov 2026 22:00:00 GMT\r\n\
         Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n",
        body.length()
    )
    .into_bytes();
    answer.resize(answer.len() + body.length(), b'x');
    answer
}
