//! There is a worker as long as somebody has to be at the doors: started, replaced when it dies.

use super::{Actor, Found, Serves};
use crate::daemon::clock;
use crate::daemon::front::figures::Serving;
use crate::daemon::front::record::Record;
use crate::daemon::front::worker::{Process, Worker, WorkerId};
use crate::daemon::notice::Notice;
use crate::linux::failpoint;
use crate::linux::proc::ProcessId;
use crate::linux::spawn::Launched;
use crate::proxy::channel::{Order, PROTOCOL};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// Where the next supervisor finds the worker, in the runtime directory.
const SOCKET: &str = "worker.sock";
/// Begins the name of one that is not to be found as the worker at the doors: not yet, or no more.
pub(super) const HIDDEN: &str = ".worker-";
/// The same, of one that leaves.
const LEFT: &str = ".worker-left-";
/// A worker that lived less dies in a row.
const STEADY: Duration = Duration::from_secs(1);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

impl Actor {
    /// Has anybody to be at the doors?
    pub(super) fn is_needed(&self) -> bool {
        let open = self.apps.values().any(|app| app.publication.open);
        self.ending.is_none() && (open || !self.doors.all().is_empty())
    }

    pub(super) fn start_worker(&mut self) {
        let (channel, stdin) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => {
                warn!("no channel for the proxy worker: {error}");
                return self.later();
            }
        };
        self.serves = Serves::Starting;
        let attaching = self.bind_socket();
        let (world, found) = (self.world.clone(), self.finds_to.clone());
        tokio::task::spawn_blocking(move || {
            let started = (world.launch)(stdin.into());
            let _task_is_gone = found.send(Found::Started { started, channel, attaching });
        });
    }

    /// Where the next supervisor will attach, under a name at which nobody looks yet.
    pub(super) fn bind_socket(&mut self) -> Option<UnixListener> {
        // Of one that died before it was there.
        let _gone = self.attaching_at.take().map(std::fs::remove_file);
        let path = self.world.runtime_dir.join(format!("{HIDDEN}{}", self.next_worker));
        let bind = || -> io::Result<UnixListener> {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let listener = UnixListener::bind(&path)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let bound = bind().inspect_err(|error| {
            warn!("cannot open {}: {error}; the next supervisor will not find the proxy worker", path.display());
        });
        self.attaching_at = bound.is_ok().then_some(path);
        bound.ok()
    }

    pub(super) fn started(&mut self, child: Launched, channel: UnixStream, attaching: Option<UnixListener>) {
        let process = ProcessId { pid: child.pid, start_time: child.start_time };
        let pid = child.pid;
        let Some(worker) = self.speak_to(channel, Process::Child(child)) else { return self.later() };
        let along = attaching.map(|listener| Arc::new(OwnedFd::from(listener)));
        worker.order_with(Order::Attach { protocol: PROTOCOL }, along.into_iter().collect());
        if self.ending.is_some() {
            worker.order(Order::Exit);
        }
        for app in self.apps.values() {
            worker.order(Order::Route(app.publication.route.clone()));
        }
        for door in self.doors.all() {
            let order = Order::Listen { listener: door.listener, app: door.app.clone() };
            worker.order_with(order, vec![door.socket.clone()]);
        }
        for nobody in self.obeyed.keys() {
            worker.order(Order::Retire { target: *nobody });
        }
        info!("the proxy worker runs as pid {pid}");
        self.figures.serves(Some(Serving { pid, version: env!("CARGO_PKG_VERSION").to_owned() }));
        self.serves = Serves::Current(worker);
        self.record = Some(Record::new(process));
        self.ask_for_relief();
        failpoint::here("worker.started");
    }

    /// None where the channel cannot be used; the worker at its other end ends by itself then.
    pub(super) fn speak_to(&mut self, channel: UnixStream, process: Process) -> Option<Worker> {
        let stream = channel.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(channel));
        let stream = stream.inspect_err(|error| warn!("no channel to the proxy worker: {error}")).ok()?;
        self.next_worker += 1;
        let world = self.world.clone();
        Some(Worker::over(WorkerId(self.next_worker), stream, process, self.news_to.clone(), move |pid| {
            (world.reaped)(pid);
        }))
    }

    /// After one more death in a row.
    pub(super) fn later(&mut self) {
        self.delay = (self.delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
        self.serves = Serves::Nobody { from: clock::now().mono + self.delay };
        // Who waits for it would wait too long.
        self.obeyed.clear();
    }

    pub(super) fn is_current(&self, id: WorkerId) -> bool {
        matches!(&self.serves, Serves::Current(worker) if worker.id == id)
    }

    /// It can be attached to from now on, and found where it does not answer.
    pub(super) fn show_socket(&mut self, id: WorkerId) {
        let is_current = self.is_current(id);
        let Some(hidden) = self.attaching_at.take_if(|_| is_current) else { return };
        let noted = self.record.take().map_or(Ok(()), |record| record.write(&self.world.runtime_dir));
        if let Err(error) = noted {
            warn!("the next supervisor will not know which process the proxy worker is: {error}");
        }
        self.set_aside();
        if let Err(error) = std::fs::rename(&hidden, self.socket()) {
            warn!("the next supervisor will not find the proxy worker: {} stays there: {error}", hidden.display());
        }
        failpoint::here("worker.shown");
    }

    /// Who is not at the doors any more is not to be found as who is, but beside it: its clients are to have the routes of
    /// the next supervisor as well.
    pub(super) fn set_aside(&mut self) {
        let (shown, runtime_dir) = (self.socket(), &self.world.runtime_dir);
        for worker in self.leaving.iter_mut().chain(&mut self.unheard) {
            if worker.door.as_ref() == Some(&shown) {
                worker.door = Some(moved(shown.clone(), runtime_dir));
            }
        }
    }

    /// The place of one that leaves from now on, or did before.
    pub(super) fn as_left(&self, path: PathBuf) -> PathBuf {
        match path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(LEFT)) {
            true => path,
            false => moved(path, &self.world.runtime_dir),
        }
    }

    pub(super) fn gone(&mut self, id: WorkerId, how: Option<String>) {
        self.figures.worker_is_gone(id);
        for (run, (requests, streams)) in self.drains.worker_is_gone(id) {
            (self.world.notify)(Notice::InFlight { run, requests, streams });
        }
        for left in self.leaving.extract_if(.., |worker| worker.id == id) {
            let _not_there = left.door.map(std::fs::remove_file);
        }
        self.unrelieved.retain(|worker| *worker != id);
        if let Some(worker) = self.unheard.take_if(|worker| worker.id == id) {
            let _not_there = worker.door.map(std::fs::remove_file);
            // Nobody has its ports any more.
            self.retry_all();
        }
        let born = match &self.serves {
            Serves::Current(worker) if worker.id == id => worker.born,
            Serves::Current(_) | Serves::Starting | Serves::Nobody { .. } => return,
        };
        let now = clock::now().mono;
        self.serves = Serves::Nobody { from: now };
        let pid = self.figures.serving().map_or(0, |serving| serving.pid);
        self.figures.serves(None);
        if self.ending.is_some() {
            return;
        }
        self.deaths = if now.saturating_sub(born) < STEADY { self.deaths + 1 } else { 1 };
        if self.deaths > 1 {
            self.later();
        } else {
            self.delay = Duration::ZERO;
        }
        self.figures.restarted();
        let how = how.map(|how| format!(" ({how})")).unwrap_or_default();
        let next = match self.delay {
            Duration::ZERO => "another one takes over".to_owned(),
            delay => format!("another one takes over in {} ms", delay.as_millis()),
        };
        (self.world.announce)(format!("the proxy worker, pid {pid}, ended{how}; {next}"));
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.world.runtime_dir.join(SOCKET)
    }
}

/// To a name that nobody has yet.
fn moved(path: PathBuf, runtime_dir: &Path) -> PathBuf {
    let mut names = (0u32..).map(|number| runtime_dir.join(format!("{LEFT}{number}")));
    let Some(left) = names.find(|name| !name.exists()) else { return path };
    match std::fs::rename(&path, &left) {
        Ok(()) => left,
        Err(error) => {
            let stays = path.display();
            warn!("the next supervisor will not find a proxy worker that leaves: {stays} stays there: {error}");
            path
        }
    }
}
