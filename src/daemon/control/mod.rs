//! The control socket: HTTP and JSON for whoever the kernel says it is.

mod accepting;
mod actions;
mod admission;
mod answer;
mod asking;
mod backup;
mod course;
mod deploys;
mod exposition;
mod look;
pub(super) mod metrics;
mod places;
mod release;
mod routes;
mod selector;
mod streams;
mod traffic;
mod unprobed;
mod upgrade;

use super::shared::Shared;
use crate::linux::descriptors::is_listening;
use crate::linux::peer::Peer;
use accepting::Accepting;
use admission::Visitor;
use axum::body::Body;
use axum::http::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use places::{Place, Places};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tower::ServiceExt;

/// A request's head has to be there within this time; an idle connection is closed after it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// No head of ours is larger, bytes.
const LARGEST_HEAD: usize = 16 * 1024;
/// What waits to be sent to a client that does not read, bytes. hyper's own is 400 KiB.
const LARGEST_BUFFER: usize = 64 * 1024;

/// The socket's name in the file system, known by what it is: only that is taken away in the end.
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Goes on with the socket that the program before this one listened on, so that whoever connects meanwhile waits there;
/// else with one of our own.
///
/// # Errors
/// The path cannot be bound.
pub(super) fn open(socket: &Path, passed_on: Option<OwnedFd>) -> io::Result<(UnixListener, SocketFile)> {
    let passed_on = passed_on.filter(|passed_on| is_listening(passed_on)).map(StdUnixListener::from);
    let is_here = |listener: &StdUnixListener| listener.local_addr().is_ok_and(|at| at.as_pathname() == Some(socket));
    match (passed_on.filter(is_here), SocketFile::at(socket)) {
        (Some(listener), Ok(file)) => {
            listener.set_nonblocking(true)?;
            Ok((UnixListener::from_std(listener)?, file))
        }
        (Some(_) | None, Ok(_) | Err(_)) => bind(socket),
    }
}

/// Takes the socket's path over from a dead supervisor; the lock on the runtime directory says that there is no living
/// one. Anyone may connect: who it is decides.
///
/// # Errors
/// The path cannot be bound.
fn bind(socket: &Path) -> io::Result<(UnixListener, SocketFile)> {
    match std::fs::remove_file(socket) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    Ok((listener, SocketFile::at(socket)?))
}

impl SocketFile {
    fn at(socket: &Path) -> io::Result<SocketFile> {
        let made = std::fs::symlink_metadata(socket)?;
        Ok(SocketFile { path: socket.to_owned(), device: made.dev(), inode: made.ino() })
    }

    /// Whatever else has its place by now stays. What cannot be removed is in nobody's way: [`bind`] replaces it.
    pub(super) fn remove(&self) {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode)) {
            let _replaced_at_the_next_start = std::fs::remove_file(&self.path);
        }
    }
}

/// Accepts until the process ends.
pub(super) async fn serve(shared: Arc<Shared>, listener: UnixListener) {
    let router = routes::router(shared.clone());
    let places = Places::default();
    let mut accepting = Accepting::on("the control socket");
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                accepting.failed(&error).await;
                continue;
            }
        };
        let Ok(peer) = Peer::of(&stream) else { continue };
        let place = places.take(peer.uid);
        let evicted = place.evicted();
        let (router, shared, visitor) = (router.clone(), shared.clone(), Visitor::new(peer));
        tokio::spawn(async move {
            tokio::select! {
                () = connection(stream, router, &place, (&shared, &visitor)) => {}
                () = evicted => {}
            }
        });
    }
}

/// How every connection is served, but for its limits of time.
fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).max_header_size(LARGEST_HEAD);
    http
}

async fn connection(stream: UnixStream, router: axum::Router, place: &Place, (shared, visitor): (&Shared, &Visitor)) {
    let service = tower::service_fn(move |mut request: Request<hyper::body::Incoming>| {
        let at_work = place.at_work();
        let router = router.clone();
        async move {
            request.extensions_mut().insert(visitor.caller(shared).await);
            let response = router.oneshot(request.map(Body::new)).await;
            response.map(|response| response.map(|body| at_work.until_sent(body)))
        }
    });
    let served = http()
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(LARGEST_BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(error) = served {
        tracing::trace!("a control connection ended: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_supervisors_socket_is_replaced_and_only_our_own_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("supervisor.sock");
        let (first, its_file) = bind(&path).unwrap();
        let (_second, own_file) = bind(&path).unwrap();
        drop(first);
        its_file.remove();
        assert!(path.exists(), "the second one's socket is not the first one's to remove");
        own_file.remove();
        assert!(!path.exists());
        own_file.remove();
    }
}
