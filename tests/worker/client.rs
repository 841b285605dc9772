//! A client that never retries and never hides what happened.

use crate::process::soon;
use nix::libc::linger;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn is_last(&self) -> bool {
        self.head.contains("connection: close\r\n")
    }
}

/// One connection, one request.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<Answer> {
    Client::connect(address).await?.get(path).await
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Client> {
        Ok(Client { stream: BufReader::new(soon(TcpStream::connect(address)).await?) })
    }

    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.ask(path).await?;
        self.answer().await
    }

    pub(crate) async fn ask(&mut self, path: &str) -> io::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await
    }

    /// All of the answer to a request that is the connection's last, as it came.
    pub(crate) async fn last_words(&mut self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        // A reset is an end, too: what came before it counts.
        let _end = soon(self.stream.read_to_end(&mut heard)).await;
        String::from_utf8(heard).unwrap()
    }

    /// Asks `/echo` and has it turn into a stream of bytes.
    pub(crate) async fn upgrade(&mut self) {
        let request = "GET /echo HTTP/1.1\r\nHost: shop.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        self.stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(self.answer().await.unwrap().status, 101);
    }

    /// Says something on an upgraded connection and hears it back.
    pub(crate) async fn hears_its_echo(&mut self) -> io::Result<()> {
        self.stream.write_all(b"hello").await?;
        let mut heard = [0; 5];
        soon(self.stream.read_exact(&mut heard)).await?;
        assert_eq!(&heard, b"hello");
        Ok(())
    }

    pub(crate) async fn answer(&mut self) -> io::Result<Answer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if soon(self.stream.read_line(&mut head)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        soon(self.stream.read_exact(&mut body)).await?;
        Ok(Answer { status, head, body: String::from_utf8(body).unwrap() })
    }

    /// Sends bytes as they are, until they are all gone or nobody takes them for a while; how many went.
    pub(crate) async fn pours(&mut self, piece: &[u8], most: usize) -> usize {
        let mut poured = 0;
        while poured < most {
            match timeout(Duration::from_millis(500), self.stream.write(piece)).await {
                Ok(Ok(more)) => poured += more,
                Ok(Err(_)) | Err(_) => break,
            }
        }
        poured
    }

    /// Goes away without another word: the other side sees a reset.
    pub(crate) fn vanishes(self) {
        let at_once = linger { l_onoff: 1, l_linger: 0 };
        nix::sys::socket::setsockopt(self.stream.get_ref(), nix::sys::socket::sockopt::Linger, &at_once).unwrap();
    }

    /// True when the other side has ended the connection, in whatever way.
    pub(crate) async fn is_ended(&mut self) -> bool {
        !matches!(soon(self.stream.read(&mut [0; 64])).await, Ok(1..))
    }
}
