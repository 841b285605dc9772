//! The other end of the control socket: ask, wait, read lines as they come.
//!
//! Blocking from outside. Inside, hyper over a runtime of the calling thread alone, so that a command starts no
//! threads and answers in the time of one round trip.

use super::reply::{ErrorBody, Refusal, RefusalCode};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long a connection may take to be accepted.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer may take that waits for no work.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is taken in one piece, in bytes.
const LARGEST_ANSWER: usize = 64 << 20;
/// The longest line of a stream, in bytes.
const LONGEST_LINE: usize = 16 << 20;

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is nothing at the socket's path.
    #[error("there is no supervisor socket at {}", .socket.display())]
    NoSocket { socket: PathBuf },
    /// The socket is there, and nobody listens.
    #[error("nobody listens on {}: the supervisor is not running", .socket.display())]
    NotRunning { socket: PathBuf },
    /// The way to the socket is closed to this user.
    #[error("no permission to reach {}", .socket.display())]
    NoPermission { socket: PathBuf },
    #[error("cannot connect to {}", .socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    /// It listens and says nothing.
    #[error("the supervisor on {} gave no answer within {} s", .socket.display(), .after.as_secs())]
    Silent { socket: PathBuf, after: Duration },
    /// The connection ended before the answer did.
    #[error("the supervisor ended the connection in the middle of an answer")]
    CutShort { source: Box<dyn std::error::Error + Send + Sync> },
    /// What came is not the answer of a supervisor of this version.
    #[error("the answer to {asked} makes no sense")]
    Garbled { asked: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// The supervisor answered, and the answer is no.
    #[error(transparent)]
    Refused(Box<RefusedError>),
    #[error("cannot set up the connection's event loop")]
    Setup { source: io::Error },
}

/// What the supervisor said when it said no.
#[derive(Debug, thiserror::Error)]
#[error("{}", .body.error)]
pub struct RefusedError {
    pub body: ErrorBody,
}

impl ClientError {
    /// Did nobody answer, as opposed to an answer that is no?
    pub fn is_unreachable(&self) -> bool {
        match self {
            ClientError::NoSocket { .. }
            | ClientError::NotRunning { .. }
            | ClientError::NoPermission { .. }
            | ClientError::Connect { .. }
            | ClientError::Silent { .. } => true,
            ClientError::CutShort { .. }
            | ClientError::Garbled { .. }
            | ClientError::Refused(_)
            | ClientError::Setup { .. } => false,
        }
    }

    /// The same as a refusal: a code, a sentence with its causes, the next step; with the results of each app
    /// where the supervisor gave them.
    pub fn into_body(self) -> ErrorBody {
        let message = with_causes(&self);
        let (code, hint) = match self {
            ClientError::Refused(refused) => return refused.body,
            ClientError::NoSocket { .. } | ClientError::NotRunning { .. } => (
                RefusalCode::NoSupervisor,
                "start it: `systemctl start infissi-supervisor`, or `infissi-supervisord` by hand",
            ),
            ClientError::NoPermission { .. } => {
                (RefusalCode::NoSupervisor, "run infissi-ctl as the user that the supervisor runs as, or with sudo")
            }
            ClientError::Connect { .. } => {
                (RefusalCode::NoSupervisor, "is the path right? `--socket PATH` names another one")
            }
            ClientError::Silent { .. } => (
                RefusalCode::NoSupervisor,
                "it may be hung or the machine overloaded: see `journalctl -u infissi -n 50`",
            ),
            ClientError::CutShort { .. } => {
                (RefusalCode::Failed, "it may have crashed or been stopped: see `journalctl -u infissi -n 50`")
            }
            ClientError::Garbled { .. } => {
                (RefusalCode::Failed, "supervisor and infissi-ctl may be of different versions: `infissi-ctl version`")
            }
            ClientError::Setup { .. } => (RefusalCode::Failed, "too many open files?"),
        };
        ErrorBody { error: Refusal::new(code, message).hint(hint), results: Vec::new() }
    }
}

/// The error and what caused it, as one sentence.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let more = source.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = source.source();
    }
    text
}

/// A connection to one supervisor, made when the first request needs it and kept for the next.
pub struct Client {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
    connection: Option<SendRequest<Full<Bytes>>>,
    answer_timeout: Duration,
}

impl Client {
    /// A client of the supervisor that listens on `socket`; nothing is connected yet.
    ///
    /// # Errors
    /// The kernel gives no event loop: no descriptors left.
    pub fn new(socket: impl Into<PathBuf>) -> Result<Client, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| ClientError::Setup { source })?;
        Ok(Client { socket: socket.into(), runtime, connection: None, answer_timeout: ANSWER_TIMEOUT })
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// How long an answer may take that waits for no work; 10 s unless set.
    pub fn set_answer_timeout(&mut self, limit: Duration) {
        self.answer_timeout = limit;
    }

    /// Connects, if that is not done yet.
    ///
    /// # Errors
    /// Nobody answers, one variant a reason.
    pub fn connect(&mut self) -> Result<(), ClientError> {
        if self.connection.as_ref().is_some_and(|connection| !connection.is_closed()) {
            return Ok(());
        }
        let socket = &self.socket;
        self.connection = Some(self.runtime.block_on(open(socket))?);
        Ok(())
    }

    /// Asks and parses the answer.
    ///
    /// # Errors
    /// Nobody answers in time, the answer makes no sense, or it is a refusal.
    pub fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, ClientError> {
        let reused = self.connection.is_some();
        let body = match self.ask(Method::GET, path, Bytes::new()) {
            // The supervisor may have closed a connection that had been idle, or have been replaced since.
            Err(ClientError::CutShort { .. }) if reused => self.ask(Method::GET, path, Bytes::new())?,
            answer => answer?,
        };
        parse(&Method::GET, path, &body)
    }

    /// Asks for a change that is accepted at once, and parses the answer.
    ///
    /// # Errors
    /// As [`Client::get`]; it is never sent twice.
    pub fn post<T: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let answer = self.ask(Method::POST, path, to_json(path, body)?)?;
        parse(&Method::POST, path, &answer)
    }

    /// Asks for work and waits for its end, however long it takes, calling `tick` every so often. When `tick`
    /// breaks, the answer is no longer waited for and the result is `None`; the work goes on.
    ///
    /// # Errors
    /// As [`Client::get`], without a limit of time.
    pub fn post_and_wait<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
        every: Duration,
        tick: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Option<T>, ClientError> {
        let body = to_json(path, body)?;
        self.connect()?;
        let Some(mut connection) = self.connection.take() else { return Ok(None) };
        let answer = {
            let mut exchange = pin!(exchange(&mut connection, Method::POST, path, body));
            // `tick` is called outside the event loop, so that it may ask things with a client of its own.
            loop {
                match self.runtime.block_on(async { timeout(every, exchange.as_mut()).await }) {
                    Ok(answer) => break answer?,
                    Err(_not_yet) if tick().is_break() => return Ok(None),
                    Err(_not_yet) => {}
                }
            }
        };
        self.connection = Some(connection);
        parse(&Method::POST, path, &answer).map(Some)
    }

    /// Reads an answer of lines as they come, until it ends or `chunk` breaks. `chunk` is given one or more whole
    /// lines at a time, as many as have arrived.
    ///
    /// # Errors
    /// As [`Client::get`]; the first answer has a limit of time, the lines have none.
    pub fn lines(&mut self, path: &str, chunk: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), ClientError> {
        self.connect()?;
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        let request = request(Method::GET, path, Bytes::new());
        let (limit, socket) = (self.answer_timeout, &self.socket);
        self.runtime.block_on(async {
            let answer = within(limit, socket, async { connection.send_request(request).await.map_err(cut_short) });
            let answer = good(answer.await?, &Method::GET, path).await?;
            whole_lines(answer.into_body(), path, chunk).await
        })
    }

    fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        self.connect()?;
        // Not put back when the exchange fails: the connection's state is not known then.
        let Some(mut connection) = self.connection.take() else { return Ok(Bytes::new()) };
        let answer = self.runtime.block_on(within(
            self.answer_timeout,
            &self.socket,
            exchange(&mut connection, method, path, body),
        ));
        if matches!(answer, Ok(_) | Err(ClientError::Refused(_))) {
            self.connection = Some(connection);
        }
        answer
    }
}

async fn open(socket: &Path) -> Result<SendRequest<Full<Bytes>>, ClientError> {
    let stream = within(CONNECT_TIMEOUT, socket, async {
        loop {
            match UnixStream::connect(socket).await {
                // A full backlog: unix(7) connects do not wait in line when they may not block.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other.map_err(|error| unreachable(socket, error)),
            }
        }
    })
    .await?;
    let (connection, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(cut_short)?;
    // Its errors reach the request that is under way.
    tokio::spawn(async { drop(driver.await) });
    Ok(connection)
}

fn unreachable(socket: &Path, source: io::Error) -> ClientError {
    let socket = socket.to_owned();
    if source.kind() == io::ErrorKind::NotFound {
        ClientError::NoSocket { socket }
    } else if source.kind() == io::ErrorKind::ConnectionRefused {
        ClientError::NotRunning { socket }
    } else if source.kind() == io::ErrorKind::PermissionDenied {
        ClientError::NoPermission { socket }
    } else {
        ClientError::Connect { socket, source }
    }
}

async fn within<T>(
    limit: Duration,
    socket: &Path,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_elapsed) => Err(ClientError::Silent { socket: socket.to_owned(), after: limit }),
    }
}

async fn exchange(
    connection: &mut SendRequest<Full<Bytes>>,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Bytes, ClientError> {
    let answer = connection.send_request(request(method.clone(), path, body)).await;
    let answer = answer.map_err(|error| not_an_answer(&method, path, error))?;
    let answer = good(answer, &method, path).await?;
    whole(answer.into_body(), &method, path).await
}

fn request(method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    let headers = request.headers_mut();
    headers.insert(hyper::header::HOST, hyper::header::HeaderValue::from_static("localhost"));
    headers.insert(
        hyper::header::USER_AGENT,
        hyper::header::HeaderValue::from_static(concat!("infissi-ctl/", env!("CARGO_PKG_VERSION"))),
    );
    if method == Method::POST {
        headers.insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    }
    *request.method_mut() = method;
    // `routes` makes only paths that are in order; a wrong one asks for nothing.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

/// The answer, if it is 2xx; else what it says.
async fn good(answer: Response<Incoming>, method: &Method, path: &str) -> Result<Response<Incoming>, ClientError> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = whole(answer.into_body(), method, path).await?;
    let body = serde_json::from_slice(&text).unwrap_or_else(|_| unexplained(status, method, path));
    Err(ClientError::Refused(Box::new(RefusedError { body })))
}

fn unexplained(status: StatusCode, method: &Method, path: &str) -> ErrorBody {
    let code = if status == StatusCode::NOT_FOUND { RefusalCode::NotFound } else { RefusalCode::Failed };
    let error = Refusal::new(code, format!("the supervisor answered {method} {path} with {status} and no reason"))
        .hint("supervisor and infissi-ctl may be of different versions: `infissi-ctl version`");
    ErrorBody { error, results: Vec::new() }
}

async fn whole(body: Incoming, method: &Method, path: &str) -> Result<Bytes, ClientError> {
    match Limited::new(body, LARGEST_ANSWER).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(source) if source.is::<hyper::Error>() => Err(ClientError::CutShort { source }),
        Err(source) => Err(ClientError::Garbled { asked: format!("{method} {path}"), source }),
    }
}

async fn whole_lines(
    mut body: Incoming,
    path: &str,
    chunk: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    let mut pending = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(cut_short)?.into_data() else { continue };
        pending.extend_from_slice(&data);
        if let Some(end) = memchr::memrchr(b'\n', &pending) {
            let lines = pending.split_to(end + 1);
            if chunk(&lines).is_break() {
                return Ok(());
            }
        }
        if pending.len() > LONGEST_LINE {
            let source = "a line without end".into();
            return Err(ClientError::Garbled { asked: format!("GET {path}"), source });
        }
    }
    if !pending.is_empty() {
        let _ended = chunk(&pending);
    }
    Ok(())
}

fn not_an_answer(method: &Method, path: &str, error: hyper::Error) -> ClientError {
    if error.is_parse() {
        return ClientError::Garbled { asked: format!("{method} {path}"), source: error.into() };
    }
    cut_short(error)
}

fn cut_short(error: hyper::Error) -> ClientError {
    ClientError::CutShort { source: error.into() }
}

fn to_json(path: &str, body: &impl Serialize) -> Result<Bytes, ClientError> {
    let json = serde_json::to_vec(body);
    json.map(Bytes::from)
        .map_err(|source| ClientError::Garbled { asked: format!("POST {path}"), source: source.into() })
}

fn parse<T: DeserializeOwned>(method: &Method, path: &str, body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body)
        .map_err(|source| ClientError::Garbled { asked: format!("{method} {path}"), source: source.into() })
}

#[cfg(test)]
mod tests;
