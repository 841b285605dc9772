//! The worker of an earlier supervisor: met at the start, given orders again or sent away.
//!
//! ```text
//! connect ──Hello in time──▶ goes on with our orders, or leaves to another one where it is of another build than we are
//!         ──it ends────────▶ nobody was there
//!         ──silent─────────▶ unheard ──Hello──▶ gives its ports to who wants them, and leaves
//! ```

use super::{Actor, Met, Serves, Told};
use crate::daemon::clock;
use crate::daemon::front::figures::Serving;
use crate::daemon::front::record::Record;
use crate::daemon::front::worker::{News, Process, Worker};
use crate::proxy::channel::{Listener, Order, PROTOCOL, Report};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::time::timeout;
use tracing::{debug, info, warn};

/// A worker of an earlier supervisor answers within this time, or nobody waits for it.
const HELLO_PATIENCE: Duration = Duration::from_secs(2);

impl Actor {
    /// A worker that outlived its supervisor still serves: it is given orders again, or another one is given its place.
    pub(super) async fn meet(&mut self) -> Met {
        let Ok(Ok(stream)) = timeout(HELLO_PATIENCE, tokio::net::UnixStream::connect(self.socket())).await else {
            return Met::Nobody;
        };
        let record = Record::read(&self.world.runtime_dir);
        let process = record.and_then(Record::open).map_or(Process::Unknown, Process::Met);
        let Some(worker) = stream.into_std().ok().and_then(|stream| self.speak_to(stream, process)) else {
            return Met::Nobody;
        };
        worker.order(Order::Attach { protocol: PROTOCOL });
        match timeout(HELLO_PATIENCE, self.news.recv()).await {
            Ok(Some((_, News::Said(Report::Hello { protocol, version, pid, listeners }, sockets)))) => {
                self.adopt(listeners, sockets);
                let is_ours = record.is_some_and(Record::is_of_our_program) && version == env!("CARGO_PKG_VERSION");
                self.met(worker, is_ours && protocol == PROTOCOL, Serving { pid, version });
                Met::AWorker
            }
            Ok(None | Some((_, News::Gone(_)))) => Met::Nobody,
            Ok(Some((_, News::Said(..)))) | Err(_) => {
                warn!("a proxy worker of an earlier supervisor is there and says nothing: another one takes its place");
                self.unheard = Some(worker);
                Met::AWorker
            }
        }
    }

    fn met(&mut self, worker: Worker, is_ours: bool, serving: Serving) {
        let pid = serving.pid;
        if is_ours {
            info!("the proxy worker of an earlier supervisor, pid {pid}, goes on");
            self.figures.serves(Some(serving));
            self.serves = Serves::Current(worker);
        } else {
            info!("the proxy worker of an earlier supervisor, pid {pid}, is of another build: it leaves");
            worker.order(Order::Leave);
            self.leaving.push(worker);
        }
    }

    fn adopt(&mut self, listeners: Vec<Listener>, sockets: Vec<OwnedFd>) {
        for (Listener { listener, app, address }, socket) in listeners.into_iter().zip(sockets) {
            if self.doors.adopt(listener, app, address, socket).is_none() {
                debug!("listener {listener} of the proxy worker is not what it says");
            }
        }
    }

    /// It comes to itself after another one has its place. Only now may it leave: its ports are ours before it closes
    /// them, so that nobody who waits there is lost, and its clients find the routes of today.
    pub(super) fn comes_to_itself(&mut self, worker: Worker, listeners: Vec<Listener>, sockets: Vec<OwnedFd>) {
        info!("the proxy worker of an earlier supervisor has come to itself: it leaves");
        for (Listener { address, .. }, socket) in listeners.into_iter().zip(sockets) {
            let wants = self.apps.iter().find(|(name, app)| app.wants(address) && !self.doors.is_open(name, address));
            let Some(name) = wants.map(|(name, _)| name.clone()) else { continue };
            if let Some(door) = self.doors.adopt(self.doors.unused(), name, address, socket) {
                self.tell_to_listen(door);
            }
        }
        for app in self.apps.values() {
            worker.order(Order::Route(app.publication.route.clone()));
        }
        worker.order(Order::Leave);
        self.leaving.push(worker);
        self.retry_all();
    }

    /// What kept an address from being ours may be over.
    pub(super) fn retry_all(&mut self) {
        let now = clock::now().mono;
        for app in self.apps.values_mut().filter(|app| app.told != Some(Told::Open)) {
            app.retry_at = Some(now);
        }
    }
}
