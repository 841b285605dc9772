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
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A larger answer is not searched for `expect_body`, bytes.
const LARGEST_BODY: usize = 256 * 1024;
/// The built-in look at a port is quick; a `/proc` that hangs is no answer.
const PORT_TIMEOUT: Duration = Duration::from_secs(3);
const NO_PORT: &str = "it has no port to ask on";

/// One probe; bad ones say why in one sentence.
pub(super) async fn ask(shared: &Arc<Shared>, id: RunId, check: &Check) -> Result<(), String> {
    let run = shared.runs.get(id).ok_or("it is gone")?;
    // Behind the proxy each run has a port of its own, of which the check knows nothing.
    match (check, run.port()) {
        (Check::Port(_), Some(port)) => own_port(&run, port, PORT_TIMEOUT).await.map(drop),
        (Check::Port(_), None) => Err(NO_PORT.to_owned()),
        (Check::Probe { kind, timeout, .. }, port) => probe(shared, &run, kind, (port, *timeout)).await,
    }
}

async fn probe(
    shared: &Arc<Shared>,
    run: &Arc<Run>,
    kind: &ProbeKind,
    (port, patience): (Option<u16>, Duration),
) -> Result<(), String> {
    if let ProbeKind::Command(command) = kind {
        if let Some(port) = port.filter(|_| run.address().is_none()) {
            own_port(run, port, patience).await?;
        }
        return probe_command::ask(shared, run, command, patience).await;
    }
    let Some(port) = port else { return Err(NO_PORT.to_owned()) };
    let asking = async {
        let stream = connect(run, port, patience).await?;
        match kind {
            ProbeKind::Http { path, expect_status, expect_body, headers } => {
                http(stream, port, path, headers, (*expect_status, expect_body.as_deref())).await
            }
            ProbeKind::Tcp | ProbeKind::Command(_) => Ok(()),
        }
    };
    timeout(patience, asking).await.unwrap_or_else(|_| Err(format!("no answer within {} s", patience.as_secs_f64())))
}

/// Is the listener on that port one of its own processes? Where it was seen, it is believed to be.
async fn own_port(run: &Arc<Run>, port: u16, patience: Duration) -> Result<SocketAddr, String> {
    let looking = run.clone();
    let look = tokio::task::spawn_blocking(move || {
        let pids: Vec<i32> = looking.tree.processes().iter().map(|process| process.id.pid).collect();
        match ports::listens(port, &pids) {
            Listening::Own(address) => Ok(address),
            Listening::No => Err(elsewhere(port, &ports::listened_to_by(&pids))),
            Listening::Stranger(holder) => Err(format!("port {port} is held by {}", who(&holder))),
        }
    });
    let address = match timeout(patience, look).await {
        Ok(Ok(found)) => found?,
        Ok(Err(_)) | Err(_) => return Err(format!("cannot look at port {port}")),
    };
    run.is_seen_at(address);
    Ok(address)
}

/// Nothing listens where it was told to; on `others` it does.
fn elsewhere(port: u16, others: &[u16]) -> String {
    let Some(other) = others.first() else { return format!("nothing listens on port {port}") };
    format!(
        "listens on port {other} instead of {port}: does its start script name a port? use --port {{port}} or $PORT"
    )
}

/// Where it was seen last. One that refuses may listen elsewhere by now: then there.
async fn connect(run: &Arc<Run>, port: u16, patience: Duration) -> Result<TcpStream, String> {
    if let Some(address) = run.address()
        && let Ok(stream) = TcpStream::connect(address).await
    {
        return Ok(stream);
    }
    let address = own_port(run, port, patience).await?;
    TcpStream::connect(address).await.map_err(|error| {
        if error.kind() == std::io::ErrorKind::ConnectionRefused {
            return "connection refused".to_owned();
        }
        format!("cannot connect to {address}: {error}")
    })
}

async fn http(
    stream: TcpStream,
    port: u16,
    path: &str,
    headers: &BTreeMap<String, String>,
    (wanted, wanted_body): (StatusRange, Option<&str>),
) -> Result<(), String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| format!("no HTTP: {}", sentence(&error)))?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get(path).header("user-agent", concat!("infissi/", env!("CARGO_PKG_VERSION")));
    if !headers.keys().any(|name| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", format!("localhost:{port}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_that_listens_elsewhere_is_told_how_to_listen_where_it_was_told_to() {
        assert_eq!(elsewhere(21_004, &[]), "nothing listens on port 21004");
        assert_eq!(
            elsewhere(21_004, &[3000, 9229]),
            "listens on port 3000 instead of 21004: does its start script name a port? use --port {port} or $PORT"
        );
    }
}
