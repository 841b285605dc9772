//! The worker: obeys the supervisor that attached last, and serves on while there is none.
//!
//! ```text
//! stdin, worker.sock ──Attach──▶ the newest is obeyed ──it ends──▶ the last routes are served
//!                                      │ Leave                          (until somebody attaches)
//!                                      ▼
//!                       no listeners; obeys on, and ends with its last connection
//! ```

use super::channel::{Order, PROTOCOL, Report};
use super::channel_stream::{ChannelError, Frame, Incoming, Outgoing, both_ways};
use super::counters::Present;
use super::figures::Figures;
use super::listeners::Listeners;
use super::news::News;
use super::routes::{AppRoute, Routes};
use super::say::{Sometimes, say};
use crate::linux::peer::Peer;
use crate::linux::{confine, descriptors, heap};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// Between two reports of figures.
const FIGURES_EVERY: Duration = Duration::from_millis(250);
/// A supervisor that connects says so within this time.
const ATTACH_WITHIN: Duration = Duration::from_secs(5);
/// Connections that have not attached yet.
const MOST_UNATTACHED: u64 = 8;
/// So many connections leave holes in the heap that are worth giving back.
const CROWD: u64 = 256;
/// After a failed accept, so as not to spin.
const PAUSE: Duration = Duration::from_millis(100);
/// All their descriptors fit into one Hello.
const MOST_LISTENERS: usize = descriptors::MOST_DESCRIPTORS;
/// Retired targets whose state it has not read.
const MOST_UNTOLD: usize = 10_000;
/// Descriptors that are not for connections: the channel, the listeners, the runtime's own.
const OWN_DESCRIPTORS: u64 = 512;

pub(super) struct Worker {
    pub(super) routes: Routes,
    /// What goes wrong with clients.
    pub(super) trouble: Sometimes,
    listeners: Listeners,
    news: Rc<News>,
    supervisor_uid: u32,
    /// Dropping it ends the attachment.
    attached: RefCell<Option<oneshot::Sender<()>>>,
    /// Where the next supervisor attaches, also to one that leaves: its clients are to find the routes of then. Dropping it
    /// closes that.
    door: RefCell<Option<oneshot::Sender<()>>>,
    unattached: Cell<u64>,
    connections: Cell<u64>,
    /// The most that there were since memory was given back.
    peak: Cell<u64>,
    /// Connections that there were when the heap was put into large pages.
    large_pages_for: Cell<u64>,
    most_connections: u64,
    lingering: Rc<()>,
    end: Notify,
}

/// Why an order cannot be obeyed: its supervisor is not one that we understand.
type Misunderstood = &'static str;

/// The role: runs until it is told to end, or has nothing left to serve; the exit code.
pub fn run() -> u8 {
    heap::keep_little();
    match prepare_and_serve() {
        Ok(()) => 0,
        Err(error) => {
            say(format_args!("cannot serve: {error}"));
            1
        }
    }
}

fn prepare_and_serve() -> io::Result<()> {
    let channel = StdUnixStream::from(descriptors::take_stdin()?);
    let supervisor = Peer::of(&channel)
        .map_err(|_no_socket| io::Error::other("the worker is started by infissi-supervisord itself, not by hand"))?;
    channel.set_nonblocking(true)?;
    let limit = confine::confine()?;
    confine::ignore_hangup_and_interrupt()?;
    confine::be_named(c"infissi-proxy");
    std::panic::set_hook(Box::new(|panic| say(format_args!("a mistake of ours: {panic}"))));
    let worker = Rc::new(Worker::new(supervisor.uid, limit));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let channel = UnixStream::from_std(channel)?;
        tokio::task::spawn_local(attend(worker.clone(), channel, None));
        worker.end.notified().await;
        Ok(())
    })
}

impl Worker {
    fn new(supervisor_uid: u32, descriptors: u64) -> Worker {
        let news = Rc::new(News::default());
        Worker {
            routes: Routes::new(news.clone()),
            trouble: Sometimes::default(),
            listeners: Listeners::default(),
            news,
            supervisor_uid,
            attached: RefCell::default(),
            door: RefCell::default(),
            unattached: Cell::default(),
            connections: Cell::default(),
            peak: Cell::default(),
            large_pages_for: Cell::default(),
            // Each may need one to an instance as well.
            most_connections: descriptors.saturating_sub(OWN_DESCRIPTORS).max(descriptors / 2) / 2,
            lingering: Rc::default(),
            end: Notify::new(),
        }
    }

    /// With one more connection there might be no descriptor for the instances.
    pub(super) fn is_full(&self) -> bool {
        self.connections.get() >= self.most_connections
    }

    /// After a crowd has left, most of its memory is to be given back: seldom, for everybody waits meanwhile.
    fn shrink(&self) {
        let connections = self.connections.get();
        if self.peak.get() >= CROWD && connections <= self.peak.get() / 8 {
            self.peak.set(connections);
            self.large_pages_for.set(0);
            heap::give_back();
        }
    }

    /// With so many requests at a time each comes upon memory that was used a while ago: a twentieth of the CPU time went
    /// into looking up where its small pages are (benches/README.md). Again when there are half as many more connections.
    fn use_large_pages(&self, in_flight: u64) {
        let connections = self.connections.get();
        if in_flight >= CROWD && connections * 2 > self.large_pages_for.get() * 3 {
            self.large_pages_for.set(connections);
            let _they_stay_small = heap::into_large_pages();
        }
    }

    /// A place among those that are turned away; none when too many are.
    pub(super) fn lingering(&self, most: usize) -> Option<Rc<()>> {
        (Rc::strong_count(&self.lingering) <= most).then(|| self.lingering.clone())
    }

    /// Ends the worker when it leaves or nobody is attached, and nothing is left to serve.
    pub(super) fn end_if_idle(&self) {
        let has_a_future = self.attached.borrow().is_some() && !self.routes.is_leaving();
        if !has_a_future && self.connections.get() == 0 && self.listeners.len() == 0 {
            self.end.notify_one();
        }
    }

    fn obey(self: &Rc<Worker>, frame: Frame<Order>) -> Result<(), Misunderstood> {
        let Frame { words, descriptors } = frame;
        if self.news.untold() > MOST_UNTOLD {
            return Err("it does not read what it asks for");
        }
        match words {
            Order::Attach { .. } => return Err("it attached twice"),
            Order::Listen { listener, app } => return self.listen(listener, &app, descriptors),
            Order::Unlisten { listener } => self.listeners.unlisten(listener),
            Order::Route(route) => self.routes.publish(route),
            Order::Remove { app } => self.routes.remove(&app),
            Order::Retire { target } => self.routes.retire(target),
            Order::Cut { target } => self.routes.cut(target),
            Order::Leave => self.leave(),
            Order::Exit => self.end.notify_one(),
        }
        Ok(())
    }

    fn listen(self: &Rc<Worker>, listener: u64, app: &str, descriptors: Vec<OwnedFd>) -> Result<(), Misunderstood> {
        let Ok([socket]) = <[OwnedFd; 1]>::try_from(descriptors) else {
            return Err("a listener came without its descriptor");
        };
        if !descriptors::is_listening(&socket) {
            return Err("a descriptor came that is no listening socket");
        }
        if self.listeners.len() >= MOST_LISTENERS && !self.listeners.has(listener) {
            return Err("more listeners came than one can be told of");
        }
        if self.routes.is_leaving() {
            return Ok(());
        }
        self.listeners.listen(self, listener, app, socket).map_err(|_error| "a listener came that is of no use")
    }

    fn leave(&self) {
        self.routes.leave();
        self.listeners.leave();
        self.end_if_idle();
    }

    /// From now on nobody else is obeyed; resolves when somebody newer is.
    fn attach(self: &Rc<Worker>, descriptors: Vec<OwnedFd>) -> oneshot::Receiver<()> {
        if let Some(socket) = descriptors.into_iter().next() {
            self.open_door(socket);
        }
        let (superseding, superseded) = oneshot::channel();
        self.attached.replace(Some(superseding));
        superseded
    }

    /// Without it nobody else can attach, but what is there is served.
    fn open_door(self: &Rc<Worker>, socket: OwnedFd) {
        if !descriptors::is_listening(&socket) {
            return say("cannot wait for another supervisor: a descriptor came that is no listening socket");
        }
        let listener = StdUnixListener::from(socket);
        let listener = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
        match listener {
            Ok(listener) => {
                let (close, closed) = oneshot::channel();
                self.door.replace(Some(close));
                tokio::task::spawn_local(answer_the_door(self.clone(), listener, closed));
            }
            Err(error) => say(format_args!("cannot wait for another supervisor: {error}")),
        }
    }
}

/// A client's connection, from its accept until it is dropped.
pub(super) struct Visit {
    worker: Rc<Worker>,
    _of_app: Present,
}

impl Visit {
    pub(super) fn of(worker: &Rc<Worker>, app: &Rc<AppRoute>) -> Visit {
        worker.connections.set(worker.connections.get() + 1);
        worker.peak.set(worker.peak.get().max(worker.connections.get()));
        Visit { worker: worker.clone(), _of_app: app.counters().connection() }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.worker.connections.set(self.worker.connections.get().saturating_sub(1));
        self.worker.shrink();
        self.worker.end_if_idle();
    }
}

/// Lets in who has the supervisor's uid, as the kernel says.
async fn answer_the_door(worker: Rc<Worker>, listener: UnixListener, mut closed: oneshot::Receiver<()>) {
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut closed => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        match Peer::of(stream.as_fd()) {
            Ok(peer) if peer.uid == worker.supervisor_uid && worker.unattached.get() < MOST_UNATTACHED => {
                tokio::task::spawn_local(attend(worker.clone(), stream, Some(ATTACH_WITHIN)));
            }
            Ok(peer) if peer.uid == worker.supervisor_uid => {}
            Ok(peer) => worker.trouble.say(format_args!("the user with id {} may not attach", peer.uid)),
            Err(error) => worker.trouble.say(format_args!("somebody unknown may not attach: {error}")),
        }
    }
}

/// One connection of a supervisor, from its first word.
async fn attend(worker: Rc<Worker>, stream: UnixStream, patience: Option<Duration>) {
    let (mut incoming, outgoing) = both_ways(stream);
    worker.unattached.set(worker.unattached.get() + 1);
    let first = match patience {
        Some(patience) => timeout(patience, incoming.next()).await.unwrap_or(Ok(None)),
        None => incoming.next().await,
    };
    worker.unattached.set(worker.unattached.get() - 1);
    match first {
        // Whatever its protocol is: it hears ours, and what we do not understand ends the connection.
        Ok(Some(Frame { words: Order::Attach { .. }, descriptors })) => {
            let superseded = worker.attach(descriptors);
            tokio::select! {
                // Whoever is superseded is not obeyed any more, whatever has come from it.
                biased;
                _ = superseded => return,
                () = obey_all(&worker, incoming) => {}
                () = report_all(&worker, outgoing) => {}
            }
            worker.attached.take();
        }
        Ok(Some(_)) => say("a supervisor gave orders before it attached"),
        Ok(None) => {}
        Err(error) => say(chain(&error)),
    }
    worker.end_if_idle();
}

async fn obey_all(worker: &Rc<Worker>, mut incoming: Incoming<Order>) {
    loop {
        match incoming.next().await {
            Ok(Some(frame)) => {
                if let Err(why) = worker.obey(frame) {
                    return say(format_args!("the supervisor is not understood, and not obeyed any more: {why}"));
                }
            }
            Ok(None) => return,
            Err(error) => return say(chain(&error)),
        }
    }
}

/// Never ends: what the supervisor said before it stopped listening is still to be obeyed.
async fn report_all(worker: &Rc<Worker>, mut outgoing: Outgoing<Report>) {
    if let Err(error) = report(worker, &mut outgoing).await {
        say(chain(&error));
    }
    std::future::pending().await
}

/// However slowly it is read: each report is made when there is room for it, of what is true then.
async fn report(worker: &Worker, outgoing: &mut Outgoing<Report>) -> Result<(), ChannelError> {
    let (listeners, sockets) = worker.listeners.told()?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let pid = i32::try_from(std::process::id()).unwrap_or(0);
    let hello = Report::Hello { protocol: PROTOCOL, version, pid, listeners };
    outgoing.send(&hello, &sockets.iter().map(AsFd::as_fd).collect::<Vec<_>>()).await?;
    drop(sockets);
    let news = &worker.news;
    let mut figures = Figures::default();
    let mut next_figures = Instant::now();
    news.counted();
    loop {
        while let Some(target) = news.take_drained() {
            let (requests, streams) = worker.routes.in_flight(target);
            outgoing.send(&Report::InFlight { target, requests, streams }, &[]).await?;
        }
        if !news.has_counted() {
            news.changed().await;
        } else if Instant::now() < next_figures {
            // More news or the time: whichever comes first is looked at above.
            let _came = timeout_at(next_figures, news.changed()).await;
        } else {
            next_figures = Instant::now() + FIGURES_EVERY;
            news.take_counted();
            if let Some(changes) = figures.changes(&worker.routes) {
                outgoing.send(&changes, &[]).await?;
            }
            worker.use_large_pages(figures.in_flight());
            worker.routes.forget_what_is_over();
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(format!("the channel to the supervisor ended: {error}"), |said, cause| format!("{said}: {cause}"))
}
