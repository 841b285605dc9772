//! HTTP/1.1 and WebSocket on a raw socket: nothing is retried, and how an exchange ended is told apart.

use crate::ledger::{Outcome, Signature};
use crate::machine::now;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// RFC 6455's own example of a key and what is to be answered to it.
const KEY: (&str, &str) = ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const MASK: [u8; 4] = [0x12, 0x9b, 0x5f, 0xe7];
/// Normal closure, 1000.
const GOODBYE: [u8; 2] = [0x03, 0xe8];

/// One connection to the public port.
pub(crate) struct Connection {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Of the request under way: whether any of it was taken by the kernel.
    sent: bool,
    /// Of the answer under way: whether any of it has come.
    answered: bool,
    /// An exchange that takes longer has failed.
    patience: Duration,
    until: Instant,
}

pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Which instance gave it; none: it is the proxy's own.
    pub(crate) fn signature(&self) -> Option<Signature> {
        self.header("x-app").map(Signature::parse)
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    fn chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
    }
}

impl Connection {
    pub(crate) fn open(port: u16, patience: Duration) -> Result<Connection, Outcome> {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&to, patience).map_err(|error| match error {
            refused if refused.kind() == ErrorKind::ConnectionRefused => Outcome::Refused,
            reset if reset.kind() == ErrorKind::ConnectionReset => Outcome::ResetBeforeSend,
            late if is_timeout(&late) => Outcome::Timeout,
            other => Outcome::Wrong(format!("cannot connect: {other}")),
        })?;
        let ready = stream.set_nodelay(true).and_then(|()| stream.set_write_timeout(Some(patience)));
        ready.map_err(|error| Outcome::Wrong(format!("cannot set up the socket: {error}")))?;
        let until = now() + patience;
        Ok(Connection { stream, unread: Vec::new(), sent: false, answered: false, patience, until })
    }

    /// The server has closed it already, which a client that looks before it writes can see.
    pub(crate) fn is_closed(&self) -> bool {
        let mut one = [0];
        if self.stream.set_nonblocking(true).is_err() {
            return true;
        }
        let peeked = self.stream.peek(&mut one);
        let blocking = self.stream.set_nonblocking(false);
        // Anything that comes unasked belongs to no answer.
        !peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) || blocking.is_err()
    }

    /// A new exchange begins.
    pub(crate) fn begin(&mut self) {
        (self.sent, self.answered) = (false, false);
        self.go_on();
    }

    /// An exchange in which something happens may take its time.
    pub(crate) fn go_on(&mut self) {
        self.until = now() + self.patience;
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Outcome> {
        match self.stream.write_all(bytes) {
            Ok(()) => {
                self.sent = true;
                Ok(())
            }
            Err(error) if is_timeout(&error) => Err(Outcome::Timeout),
            Err(_) if self.sent => Err(Outcome::ResetAfterSend),
            Err(_) => Err(Outcome::ResetBeforeSend),
        }
    }

    /// More bytes than before.
    fn receive(&mut self) -> Result<(), Outcome> {
        let left = self.until.saturating_duration_since(now());
        if left.is_zero() {
            return Err(Outcome::Timeout);
        }
        let mut buffer = [0; 32 * 1024];
        let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut buffer));
        match read {
            Ok(0) if self.answered => Err(Outcome::Truncated),
            Ok(0) => Err(Outcome::EarlyEof),
            Ok(read) => {
                self.answered = true;
                self.unread.extend_from_slice(&buffer[..read]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) if is_timeout(&error) => Err(Outcome::Timeout),
            Err(_) if self.answered => Err(Outcome::Truncated),
            Err(_) => Err(Outcome::ResetAfterSend),
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, Outcome> {
        while self.unread.len() < length {
            self.receive()?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    fn line(&mut self) -> Result<String, Outcome> {
        let end = loop {
            match self.unread.windows(2).position(|two| two == b"\r\n") {
                Some(end) => break end,
                None => self.receive()?,
            }
        };
        let line = self.take(end + 2)?;
        Ok(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    /// The head of the answer, interim ones passed over.
    pub(crate) fn head(&mut self) -> Result<Head, Outcome> {
        loop {
            let first = self.line()?;
            let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
            let Some(status) = status else { return Err(Outcome::Wrong(format!("no answer but {first:?}"))) };
            let mut headers = Vec::new();
            loop {
                let line = self.line()?;
                if line.is_empty() {
                    break;
                }
                let Some((name, value)) = line.split_once(':') else {
                    return Err(Outcome::Wrong(format!("no header but {line:?}")));
                };
                headers.push((name.to_owned(), value.trim().to_owned()));
            }
            if !(100..200).contains(&status) || status == 101 {
                return Ok(Head { status, headers });
            }
        }
    }

    /// The next piece of a chunked body; none: it is complete.
    pub(crate) fn chunk(&mut self) -> Result<Option<Vec<u8>>, Outcome> {
        let size = self.line()?;
        let length = usize::from_str_radix(&size, 16);
        let Ok(length) = length else { return Err(Outcome::Wrong(format!("no chunk's size but {size:?}"))) };
        let mut chunk = self.take(length + 2)?;
        if chunk.split_off(length) != b"\r\n" {
            return Err(Outcome::Wrong("a chunk longer than its size".to_owned()));
        }
        self.go_on();
        Ok((length > 0).then_some(chunk))
    }

    /// All of the body, and nothing behind it.
    pub(crate) fn body(&mut self, head: &Head) -> Result<Vec<u8>, Outcome> {
        let mut body = Vec::new();
        if head.chunked() {
            while let Some(chunk) = self.chunk()? {
                body.extend(chunk);
            }
        } else {
            let length = head.header("content-length").and_then(|length| length.parse().ok());
            let Some(length) = length else { return Err(Outcome::Wrong("a body of unknown length".to_owned())) };
            body = self.take(length)?;
        }
        match self.unread.len() {
            0 => Ok(body),
            more => Err(Outcome::Wrong(format!("{more} bytes behind the answer"))),
        }
    }

    /// Becomes a WebSocket.
    pub(crate) fn upgrade(&mut self, path: &str) -> Result<Head, Outcome> {
        let (key, accept) = KEY;
        self.send(
            format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            )
            .as_bytes(),
        )?;
        let head = self.head()?;
        if head.status == 101 && head.header("sec-websocket-accept") != Some(accept) {
            return Err(Outcome::Wrong("a handshake with another key".to_owned()));
        }
        Ok(head)
    }

    /// A message there and back.
    pub(crate) fn say(&mut self, text: &str) -> Result<(), Outcome> {
        self.go_on();
        self.send(&masked(TEXT, text.as_bytes()))?;
        let frame = self.frame()?;
        match frame == (TEXT, text.as_bytes().to_vec()) {
            true => Ok(()),
            false => Err(Outcome::Wrong(format!("not the echo of {text:?} but {frame:?}"))),
        }
    }

    /// The closing handshake, and the end of the connection after it.
    pub(crate) fn part(&mut self) -> Result<(), Outcome> {
        self.go_on();
        self.send(&masked(CLOSE, &GOODBYE))?;
        let frame = self.frame()?;
        if frame != (CLOSE, GOODBYE.to_vec()) {
            return Err(Outcome::Wrong(format!("no closing frame but {frame:?}")));
        }
        match self.receive() {
            Err(Outcome::Truncated) => Ok(()),
            Err(other) => Err(other),
            Ok(()) => Err(Outcome::Wrong("something after the closing frame".to_owned())),
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), Outcome> {
        let head = self.take(2)?;
        let length = match head[1] {
            126 => self.take(2)?.into_iter().fold(0, |sum, byte| sum << 8 | usize::from(byte)),
            short if short < 126 => usize::from(short),
            other => return Err(Outcome::Wrong(format!("a frame's length of {other}"))),
        };
        Ok((head[0], self.take(length)?))
    }
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126).unwrap();
    let mut frame = vec![first, 0x80 | length];
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn is_timeout(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
