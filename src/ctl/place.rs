//! Which supervisor is meant: the socket that was named, or the first that answers.

use super::arguments::GlobalOptions;
use super::failure::Failure;
use crate::api::{Client, ClientError, Refusal, RefusalCode, with_causes};
use crate::config::{self, Caller, SocketCandidate, SocketsError};
use crate::linux::user::{name_and_home, own_uid};
use std::path::{Path, PathBuf};

/// The socket's name in the runtime directory.
const SOCKET: &str = "supervisor.sock";

/// A client that is connected. Every place that was tried is named when none answers.
pub(crate) fn connect(global: &GlobalOptions) -> Result<Client, Failure> {
    let mut failures: Vec<(ClientError, String)> = Vec::new();
    for SocketCandidate { socket, from } in candidates(global)? {
        let mut client = Client::new(socket_of(&socket))?;
        match client.connect() {
            Ok(()) => return Ok(client),
            Err(error) => failures.push((error, from)),
        }
    }
    Err(nobody(failures))
}

/// Who this process is, for the tables of places.
pub(crate) fn caller() -> Caller<'static> {
    let uid = own_uid();
    // Root's places are the system's.
    let (user, home) = if uid == 0 { None } else { name_and_home(uid) }.unzip();
    let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    Caller { uid, user, home, cwd, env: &|name| std::env::var_os(name) }
}

fn candidates(global: &GlobalOptions) -> Result<Vec<SocketCandidate>, Failure> {
    config::sockets(global.socket.as_deref(), global.config.as_deref(), &caller()).map_err(|error| {
        let code = match &error {
            SocketsError::Config(_) | SocketsError::Places(_) => RefusalCode::BadConfig,
        };
        Refusal::new(code, with_causes(&error)).into()
    })
}

/// A directory is meant as the runtime directory.
fn socket_of(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(SOCKET) } else { path.to_owned() }
}

fn nobody(mut failures: Vec<(ClientError, String)>) -> Failure {
    if failures.len() == 1
        && let Some((only, _)) = failures.pop()
    {
        return only.into();
    }
    // The hint of a supervisor that is there but cannot be reached helps more than "start one".
    let there = |(error, _): &(ClientError, String)| !matches!(error, ClientError::NoSocket { .. });
    let best = failures.iter().position(there).unwrap_or(0);
    let mut message = String::from("no supervisor answers; tried");
    let mut hint = None;
    for (index, (error, from)) in failures.into_iter().enumerate() {
        let error = error.into_body().error;
        message.push_str(&format!("\n  {from}: {}", error.message));
        if index == best {
            hint = error.hint;
        }
    }
    Failure::new(RefusalCode::NoSupervisor, message, hint.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_none_answers_every_place_is_named_with_its_reason() {
        let directory = tempfile::tempdir().unwrap();
        let none = directory.path().join("none");
        let dead = directory.path().join("dead");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let error = |socket: &Path| Client::new(socket).unwrap().connect().unwrap_err();
        let tried = vec![(error(&none), "the system's supervisor".to_owned()), (error(&dead), "yours".to_owned())];
        let Failure::Answered(body) = nobody(tried) else { panic!("an answer") };
        let lines: Vec<&str> = body.error.message.lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[1].contains("the system's supervisor: there is no supervisor socket"), "{lines:?}");
        assert!(lines[2].contains("yours: nobody listens"), "{lines:?}");
        assert_eq!(body.error.code.exit_code(), 3);
    }

    #[test]
    fn a_directory_stands_for_the_socket_in_it() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(socket_of(directory.path()), directory.path().join("supervisor.sock"));
        assert_eq!(socket_of(Path::new("/nowhere/s")), Path::new("/nowhere/s"));
    }
}
