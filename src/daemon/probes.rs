//! One look at an instance: does its own tree accept, what does it answer, what does the command say?

use super::launch::{sentence, who};
use super::probe_command;
use super::runs::Run;
use super::shared::Shared;
use crate::config::{ProbeKind, StatusRange};
use crate::linux::ports::{self, Listening};
use crate::supervisor::{Check, RunId};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A larger answer is not searched for `expect_body`, bytes.
const LARGEST_BODY: usize = 256 * 1024;
/// The built-in look at a port is quick; a `/proc` that hangs is no answer.
const PORT_TIMEOUT: Duration = Duration::from_secs(3);

/// One probe; bad ones say why in one sentence.
pub(super) async fn ask(shared: &Arc<Shared>, id: RunId, check: &Check) -> Result<(), String> {
    let run = shared.runs.get(id).ok_or("it is gone")?;
    match check {
        Check::Port(port) => own_port(&run, *port, PORT_TIMEOUT).await.map(drop),
        Check::Probe { kind, port, timeout } => probe(shared, &run, kind, (*port, *timeout)).await,
    }
}

async fn probe(
    shared: &Arc<Shared>,
    run: &Arc<Run>,
    kind: &ProbeKind,
    (port, patience): (Option<u16>, Duration),
) -> Result<(), String> {
    let address = match port {
        Some(port) if !run.owns_port.load(Ordering::Relaxed) => Some(own_port(run, port, patience).await?),
        Some(port) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => None,
    };
    if let ProbeKind::Command(command) = kind {
        return probe_command::ask(shared, run, command, patience).await;
    }
    let asking = async {
        match (kind, address) {
            (ProbeKind::Tcp, Some(address)) => connect(address).await.map(drop),
            (ProbeKind::Http { path, expect_status, expect_body, headers }, Some(address)) => {
                let body = expect_body.as_deref();
                http(connect(address).await?, address, path, headers, (*expect_status, body)).await
            }
            (ProbeKind::Tcp | ProbeKind::Http { .. } | ProbeKind::Command(_), _) => {
                Err("it has no port to ask on".to_owned())
            }
        }
    };
    timeout(patience, asking).await.unwrap_or_else(|_| Err(format!("no answer within {} s", patience.as_secs_f64())))
}

/// Is the listener on that port one of its own processes? Once seen, it is believed.
async fn own_port(run: &Arc<Run>, port: u16, patience: Duration) -> Result<SocketAddr, String> {
    let looking = run.clone();
    let look = tokio::task::spawn_blocking(move || {
        let pids: Vec<i32> = looking.tree.processes().iter().map(|process| process.id.pid).collect();
        ports::listens(port, &pids)
    });
    match timeout(patience, look).await {
        Ok(Ok(Listening::Own(address))) => {
            run.owns_port.store(true, Ordering::Relaxed);
            Ok(address)
        }
        Ok(Ok(Listening::No)) => Err(format!("nothing listens on port {port} yet")),
        Ok(Ok(Listening::Stranger(holder))) => Err(format!("port {port} is held by {}", who(&holder))),
        Ok(Err(_)) | Err(_) => Err(format!("cannot look at port {port}")),
    }
}

/// Over loopback; an app that listens on IPv6 alone is reached there.
async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let refused = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::ConnectionRefused {
            return "connection refused".to_owned();
        }
        format!("cannot connect: {error}")
    };
    match TcpStream::connect(address).await {
        Ok(stream) => Ok(stream),
        Err(error) => {
            let other = SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()));
            TcpStream::connect(other).await.map_err(|_| refused(error))
        }
    }
}

async fn http(
    stream: TcpStream,
    address: SocketAddr,
    path: &str,
    headers: &BTreeMap<String, String>,
    (wanted, wanted_body): (StatusRange, Option<&str>),
) -> Result<(), String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("no HTTP: {}", sentence(&error)))?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get(path).header("user-agent", concat!("infissi/", env!("CARGO_PKG_VERSION")));
    if !headers.keys().any(|name| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", format!("localhost:{}", address.port()));
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request =
        request.header("connection", "close").body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await;
    let outcome = match answer {
        Ok(answer) => judge(path, answer, wanted, wanted_body).await,
        Err(error) => Err(format!("GET {path}: {}", sentence(&error))),
    };
    connection.abort();
    outcome
}

async fn judge(
    path: &str,
    answer: hyper::Response<Incoming>,
    wanted: StatusRange,
    wanted_body: Option<&str>,
) -> Result<(), String> {
    let status = answer.status().as_u16();
    if status < wanted.first || status > wanted.last {
        return Err(format!("GET {path} answered {status}, not {}-{}", wanted.first, wanted.last));
    }
    let Some(part) = wanted_body else { return Ok(()) };
    let body = Limited::new(answer.into_body(), LARGEST_BODY).collect().await;
    let body = body.map_err(|error| format!("GET {path}: {error}"))?.to_bytes();
    if memchr::memmem::find(&body, part.as_bytes()).is_none() {
        return Err(format!("GET {path} answered {status} without {part:?} in its body"));
    }
    Ok(())
}
