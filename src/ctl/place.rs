//! Which supervisor is meant: the socket that was named, or the first that answers.

use super::arguments::GlobalOptions;
use super::failure::Failure;
use crate::api::{Client, ClientError, ErrorBody, RefusalCode};
use std::path::{Path, PathBuf};

/// The socket's name in the runtime directory.
const SOCKET: &str = "supervisor.sock";

/// A client that is connected. Every place that was tried is named when none answers.
pub(crate) fn connect(global: &GlobalOptions) -> Result<Client, Failure> {
    let mut failures: Vec<ClientError> = Vec::new();
    for socket in candidates(global)? {
        let mut client = Client::new(socket)?;
        match client.connect() {
            Ok(()) => return Ok(client),
            Err(error) => failures.push(error),
        }
    }
    Err(nobody(failures))
}

fn candidates(global: &GlobalOptions) -> Result<Vec<PathBuf>, Failure> {
    let named = global.socket.clone().or_else(|| std::env::var_os("INFISSI_SOCKET").map(PathBuf::from));
    if let Some(named) = named.filter(|path| !path.as_os_str().is_empty()) {
        return Ok(vec![socket_of(&named)]);
    }
    Ok(vec![Path::new("/run/infissi").join(SOCKET)])
}

/// A directory is meant as the runtime directory.
fn socket_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(SOCKET) } else { path.to_owned() }
}

fn nobody(mut failures: Vec<ClientError>) -> Failure {
    if failures.len() == 1
        && let Some(only) = failures.pop()
    {
        return only.into();
    }
    // The hint of a supervisor that is there but cannot be reached helps more than "start one".
    let best = failures.iter().position(|error| !matches!(error, ClientError::NoSocket { .. })).unwrap_or(0);
    let mut message = String::from("no supervisor answers; tried");
    let mut hint = None;
    for (index, error) in failures.into_iter().enumerate() {
        let body: ErrorBody = error.into_body();
        message.push_str("\n  ");
        message.push_str(&body.error.message);
        if index == best {
            hint = body.error.hint;
        }
    }
    Failure::new(RefusalCode::NoSupervisor, message, hint.unwrap_or_default())
}
