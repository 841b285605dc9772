//! An instance: answers with its name, at once or when it is told to, or echoes.

use infissi::proxy::channel::TargetPlace;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;

/// A connection that takes nothing for so long is full.
const STALLED: Duration = Duration::from_millis(300);

/// `/slow` is answered when it is released, `/echo` becomes an upgrade that echoes, `/endless` never stops, `/garbled`
/// breaks off in a chunk, `/deaf` takes nothing of the body, `/once` ends the connection unannounced; anything else is
/// answered at once.
pub(crate) struct Origin {
    pub(crate) target: u64,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: u64,
    arrived: Semaphore,
    released: Semaphore,
    requests: AtomicU64,
    connections: AtomicU64,
}

impl Origin {
    pub(crate) async fn start(target: u64) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target,
            arrived: Semaphore::new(0),
            released: Semaphore::new(0),
            requests: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        tokio::spawn(accept(listener, shared.clone()));
        Origin { target, address, shared }
    }

    pub(crate) fn place(&self) -> TargetPlace {
        TargetPlace { target: self.target, address: self.address }
    }

    pub(crate) fn name(&self) -> String {
        self.shared.name()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Open connections of the worker.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits for the next `/slow` or `/echo` to be here.
    pub(crate) async fn arrival(&self) {
        crate::process::soon(self.shared.arrived.acquire()).await.unwrap().forget();
    }

    /// Lets one `/slow` be answered.
    pub(crate) fn release(&self) {
        self.shared.released.add_permits(1);
    }
}

impl Shared {
    fn name(&self) -> String {
        format!("origin {}", self.target)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            shared.connections.fetch_add(1, Ordering::SeqCst);
            // However it ended: the story is about the worker.
            let _ended = serve(stream, &shared).await;
            shared.connections.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(path) = head(&mut stream).await? {
        shared.requests.fetch_add(1, Ordering::SeqCst);
        if path == "/echo" {
            return echo(stream.into_inner(), shared).await;
        }
        if path == "/endless" {
            return endless(stream.into_inner(), shared).await;
        }
        if path == "/garbled" {
            let garbled = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n";
            stream.write_all(garbled).await?;
            continue;
        }
        if path == "/deaf" {
            shared.arrived.add_permits(1);
            shared.released.acquire().await.unwrap().forget();
            return Ok(());
        }
        if path == "/slow" {
            shared.arrived.add_permits(1);
            shared.released.acquire().await.unwrap().forget();
        }
        let body = shared.name();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await?;
        if path == "/once" {
            return Ok(());
        }
    }
    Ok(())
}

/// The path of the next request; none at the end.
async fn head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut path = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            return Ok(path);
        }
        path = path.or_else(|| line.split(' ').nth(1).map(str::to_owned));
    }
}

async fn echo(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").await?;
    shared.arrived.add_permits(1);
    let mut bytes = [0; 1024];
    loop {
        let read = stream.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&bytes[..read]).await?;
    }
}

/// Arrives when nobody takes any more of it.
async fn endless(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let length = u64::MAX / 2;
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes()).await?;
    let piece = vec![b'x'; 64 * 1024];
    loop {
        let mut writing = std::pin::pin!(stream.write_all(&piece));
        if let Ok(written) = tokio::time::timeout(STALLED, &mut writing).await {
            written?;
        } else {
            shared.arrived.add_permits(1);
            writing.await?;
        }
    }
}

/// Somewhere that refuses connections, for as long as this lives.
pub(crate) struct Nowhere {
    place: TargetPlace,
    _reserved: TcpSocket,
}

impl Nowhere {
    pub(crate) fn new(target: u64) -> Nowhere {
        let reserved = TcpSocket::new_v4().unwrap();
        reserved.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let place = TargetPlace { target, address: reserved.local_addr().unwrap() };
        Nowhere { place, _reserved: reserved }
    }

    pub(crate) fn place(&self) -> TargetPlace {
        self.place.clone()
    }
}
