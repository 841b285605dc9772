//! A client that says exactly the bytes it is given and keeps exactly the bytes it gets.

use crate::machine::PATIENCE;
use crate::wire::{self, Answer};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Between two pieces of a slow client.
const TRICKLE: Duration = Duration::from_millis(20);

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    seen: Vec<u8>,
    end: Option<End>,
}

/// How the proxy ended the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
    /// It did not.
    Open,
}

/// How a request goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    AtOnce,
    ByteByByte,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(to: SocketAddr) -> Client {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, seen: Vec::new(), end: None }
    }

    /// A proxy that refuses does not have to listen to the rest: what it no longer takes is no fault.
    pub(crate) fn send(&mut self, bytes: &[u8], pace: Pace) {
        let piece = match pace {
            Pace::AtOnce => bytes.len().max(1),
            Pace::ByteByByte => 1,
        };
        for piece in bytes.chunks(piece) {
            if self.stream.write_all(piece).is_err() {
                return;
            }
        }
    }

    /// Says that nothing more comes.
    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next whole answer to a request of this method; an error says what came instead.
    pub(crate) fn answer(&mut self, method: &str) -> Result<Answer, String> {
        loop {
            let ended = self.end == Some(End::Closed);
            if let Some((answer, used)) = wire::answer(&self.seen, method, ended)? {
                self.seen.drain(..used);
                return Ok(answer);
            }
            if let Some(end) = self.end {
                return Err(format!("{end:?} after {}", crate::machine::shown(&self.seen)));
            }
            self.more();
        }
    }

    /// The next final answer; interim ones are passed over.
    #[track_caller]
    pub(crate) fn final_answer(&mut self, method: &str) -> Answer {
        loop {
            let answer = self.answer(method).unwrap();
            if answer.status == 101 || answer.status >= 200 {
                return answer;
            }
        }
    }

    /// So many bytes, whatever they are; fewer when the connection ends.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        while self.seen.len() < count && self.end.is_none() {
            self.more();
        }
        self.seen.drain(..count.min(self.seen.len())).collect()
    }

    /// Reads until this has come, wherever it stands.
    #[track_caller]
    pub(crate) fn until(&mut self, bytes: &[u8]) {
        while !self.seen.windows(bytes.len()).any(|window| window == bytes) {
            assert_eq!(self.end, None, "{} does not come", crate::machine::shown(bytes));
            self.more();
        }
    }

    /// Sends it unless something has been heard by the time that a slow client takes for it.
    pub(crate) fn trickle(&mut self, bytes: &[u8]) -> bool {
        self.stream.set_read_timeout(Some(TRICKLE)).unwrap();
        self.more();
        if self.end == Some(End::Open) {
            self.end = None;
        }
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let goes_on = self.seen.is_empty() && self.end.is_none();
        goes_on && self.stream.write_all(bytes).is_ok()
    }

    /// What came and was not taken yet.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.seen
    }

    pub(crate) fn read_to_end(&mut self) -> End {
        while self.end.is_none() {
            self.more();
        }
        self.end.unwrap()
    }

    fn more(&mut self) {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.end = Some(End::Closed),
            Ok(read) => self.seen.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.end = Some(End::Open),
            Err(_) => self.end = Some(End::Reset),
        }
    }
}
