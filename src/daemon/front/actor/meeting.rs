//! The worker of an earlier supervisor: met at the start, given orders again or sent away.
//!
//! ```text
//! connect ──Hello in time──▶ goes on with our orders, or leaves to another one where it is of another build than we are
//!         ──it ends────────▶ nobody was there
//!         ──was never shown▶ gives us its ports, and leaves
//!         ──was leaving────▶ gets the orders of today, and leaves on
//!         ──silent─────────▶ unheard ──Hello──▶ gives its ports to who wants them, and leaves
//! ```

use super::keeping::HIDDEN;
use super::{Actor, Met, Serves, Told};
use crate::daemon::clock;
use crate::daemon::front::figures::Serving;
use crate::daemon::front::record::Record;
use crate::daemon::front::worker::{News, Process, Worker};
use crate::proxy::channel::{Listener, Order, PROTOCOL, Report};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{timeout, timeout_at};
use tracing::{debug, info, warn};

/// A worker of an earlier supervisor answers within this time, or nobody waits for it.
const HELLO_PATIENCE: Duration = Duration::from_secs(2);

/// What a worker says first.
struct Hello {
    /// Of our program, and speaks as we do.
    is_ours: bool,
    serving: Serving,
    listeners: Vec<Listener>,
    sockets: Vec<OwnedFd>,
}

impl Actor {
    /// A worker that outlived its supervisor still serves: it is given orders again, or another one is given its place.
    pub(super) async fn meet(&mut self) -> Met {
        let mut met = Met::Nobody;
        if let Some((mut worker, said)) = self.greet(self.socket(), Record::read(&self.world.runtime_dir)).await {
            met = Met::AWorker;
            worker.door = Some(self.socket());
            match said {
                Some(Hello { is_ours, serving, listeners, sockets }) => {
                    self.adopt(listeners, sockets);
                    self.met(worker, is_ours, serving);
                }
                None => {
                    warn!(
                        "a proxy worker of an earlier supervisor is there and says nothing: another one takes its place"
                    );
                    self.unheard = Some(worker);
                }
            }
        }
        for path in self.hidden_sockets() {
            let path = self.as_left(path);
            match self.greet(path.clone(), None).await {
                Some((mut worker, Some(Hello { serving, listeners, sockets, .. }))) => {
                    met = Met::AWorker;
                    info!("another proxy worker of an earlier supervisor, pid {}, leaves", serving.pid);
                    worker.door = Some(path);
                    // Where its supervisor was killed before it could be found it still has them.
                    self.take_ports(listeners, sockets);
                    self.relieve(worker);
                }
                // The next supervisor may hear something of it.
                Some((_, None)) => {}
                None => drop(std::fs::remove_file(path)),
            }
        }
        self.ask_for_relief();
        met
    }

    /// None: nobody is there. A worker that says nothing in time may come to itself.
    async fn greet(&mut self, socket: PathBuf, record: Option<Record>) -> Option<(Worker, Option<Hello>)> {
        let stream = timeout(HELLO_PATIENCE, tokio::net::UnixStream::connect(socket)).await.ok()?.ok()?;
        let process = self.process(record);
        let worker = self.speak_to(stream.into_std().ok()?, process)?;
        worker.order(Order::Attach { protocol: PROTOCOL });
        let until = tokio::time::Instant::now() + HELLO_PATIENCE;
        loop {
            match timeout_at(until, self.news.recv()).await {
                Ok(Some((id, news))) if id != worker.id => self.heard(id, news),
                Ok(Some((_, News::Said(Report::Hello { protocol, version, pid, listeners }, sockets)))) => {
                    let is_ours = record.is_some_and(Record::is_of_our_program) && version == env!("CARGO_PKG_VERSION");
                    let is_ours = is_ours && protocol == PROTOCOL;
                    let hello = Hello { is_ours, serving: Serving { pid, version }, listeners, sockets };
                    return Some((worker, Some(hello)));
                }
                Ok(None | Some((_, News::Gone(_)))) => return None,
                Ok(Some((_, News::Said(..)))) | Err(_) => return Some((worker, None)),
            }
        }
    }

    fn process(&self, noted: Option<Record>) -> Process {
        let Some((noted, pidfd)) = noted.and_then(|noted| Some((noted, noted.open()?))) else {
            return Process::Unknown;
        };
        if !noted.is_our_child() {
            return Process::Met(pidfd);
        }
        let child = noted.launched(pidfd);
        (self.world.knows)(child.pid);
        Process::Child(child)
    }

    /// Where workers listen that were not shown yet, or are to leave.
    fn hidden_sockets(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.world.runtime_dir).into_iter().flatten().flatten();
        let hidden = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(HIDDEN));
        hidden.map(|entry| entry.path()).collect()
    }

    fn met(&mut self, worker: Worker, is_ours: bool, serving: Serving) {
        let pid = serving.pid;
        if is_ours {
            info!("the proxy worker of an earlier supervisor, pid {pid}, goes on");
            self.figures.serves(Some(serving));
            self.serves = Serves::Current(worker);
        } else {
            info!("the proxy worker of an earlier supervisor, pid {pid}, is of another build: it leaves");
            self.relieve(worker);
        }
    }

    /// It leaves when another one is at the doors: were we killed before, nobody else would be.
    fn relieve(&mut self, worker: Worker) {
        self.unrelieved.push(worker.id);
        self.leaving.push(worker);
    }

    /// What the one at the doors answers to this, it answers after all that it was told before.
    pub(super) fn ask_for_relief(&mut self) {
        if self.unrelieved.is_empty() {
            return;
        }
        let nobody = self.nobody();
        if let Serves::Current(worker) = &self.serves {
            worker.order(Order::Retire { target: nobody });
            self.relief = Some(nobody);
        }
    }

    /// Somebody is at the doors, or there are none.
    pub(super) fn are_relieved(&mut self) {
        self.relief = None;
        // Whoever looks for the worker at the doors would find one that leaves.
        self.set_aside();
        let relieved = std::mem::take(&mut self.unrelieved);
        self.leaving
            .iter()
            .filter(|worker| relieved.contains(&worker.id))
            .for_each(|worker| worker.order(Order::Leave));
    }

    fn adopt(&mut self, listeners: Vec<Listener>, sockets: Vec<OwnedFd>) {
        for (Listener { listener, app, address }, socket) in listeners.into_iter().zip(sockets) {
            if self.doors.adopt(listener, app, address, socket).is_none() {
                debug!("listener {listener} of the proxy worker is not what it says");
            }
        }
    }

    /// Of a worker that leaves: those that no other one has.
    fn take_ports(&mut self, listeners: Vec<Listener>, sockets: Vec<OwnedFd>) {
        for (Listener { app, address, .. }, socket) in listeners.into_iter().zip(sockets) {
            if self.doors.is_open(&app, address) {
                continue;
            }
            if let Some(door) = self.doors.adopt(self.doors.unused(), app, address, socket) {
                self.tell_to_listen(door);
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
        self.relieve(worker);
        self.ask_for_relief();
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
