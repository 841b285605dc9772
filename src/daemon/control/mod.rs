//! The control socket: HTTP and JSON for whoever the kernel says it is.

mod actions;
mod admission;
mod answer;
mod asking;
mod look;
pub(super) mod metrics;
mod places;
mod routes;
mod selector;
mod streams;

use super::shared::Shared;
use crate::linux::peer::Peer;
use admission::Caller;
use axum::Extension;
use axum::body::Body;
use axum::http::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use places::{Place, Places};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
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
/// After a failed accept (no descriptors left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes the socket's path over from a dead supervisor; the lock on the state directory says that there is no living
/// one. Anyone may connect: who it is decides.
///
/// # Errors
/// The path cannot be bound.
pub(super) fn bind(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Accepts until the process ends.
pub(super) async fn serve(shared: Arc<Shared>, listener: UnixListener) {
    let router = routes::router(shared.clone());
    let places = Places::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept on the control socket: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(peer) = Peer::of(&stream) else { continue };
        let place = places.take(peer.uid);
        let evicted = place.evicted();
        let caller = Caller::new(peer, &shared.config().supervisor.control, shared.launcher.own.uid);
        let router = router.clone().layer(Extension(caller));
        tokio::spawn(async move {
            tokio::select! {
                () = connection(stream, router, &place) => {}
                () = evicted => {}
            }
        });
    }
}

async fn connection(stream: UnixStream, router: axum::Router, place: &Place) {
    let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
        let at_work = place.at_work();
        let router = router.clone();
        async move {
            let response = router.oneshot(request.map(Body::new)).await;
            response.map(|response| response.map(|body| at_work.until_sent(body)))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_header_size(LARGEST_HEAD)
        .max_buf_size(LARGEST_BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await;
    if let Err(error) = served {
        tracing::trace!("a control connection ended: {error}");
    }
}
