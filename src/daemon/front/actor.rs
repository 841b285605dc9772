//! The task between the loop and the proxy: opens the public addresses, keeps a worker at them, tells what it says.

use super::doors::{Doors, Trouble, collide, held};
use super::drains::Drains;
use super::figures::{Figures, Serving};
use super::routes::Publication;
use super::worker::{News, Worker, WorkerId};
use super::{Front, Wish};
use crate::daemon::clock;
use crate::daemon::notice::Notice;
use crate::linux::spawn::Launched;
use crate::proxy::channel::{Listener, Order, PROTOCOL, Report};
use crate::supervisor::RunId;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, info, warn};

/// Where the next supervisor finds the worker, in the runtime directory.
const SOCKET: &str = "worker.sock";
/// A worker of an earlier supervisor answers within this time, or is taken for dead.
const HELLO_PATIENCE: Duration = Duration::from_secs(2);
/// What an earlier supervisor had open and nobody has asked for by then is closed.
const CLAIM: Duration = Duration::from_secs(10);
/// An address that somebody else has is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// One that our own worker is about to close is there in a moment.
const SOON: Duration = Duration::from_millis(20);
/// A worker that lived less dies in a row.
const STEADY: Duration = Duration::from_secs(1);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A worker that was told to end is killed after this.
const END_PATIENCE: Duration = Duration::from_secs(2);
/// What the workers said and is not yet looked at.
const NEWS: usize = 64;

/// What the task needs of the daemon around it.
pub(in crate::daemon) struct World {
    pub runtime_dir: PathBuf,
    /// Starts a worker with this as its stdin; blocks.
    pub launch: Box<dyn Fn(OwnedFd) -> Result<Launched, String> + Send + Sync>,
    /// Our child with this pid was waited for.
    pub reaped: Box<dyn Fn(i32) + Send + Sync>,
    pub notify: Box<dyn Fn(Notice) + Send + Sync>,
    /// A happening, one sentence.
    pub announce: Box<dyn Fn(String) + Send + Sync>,
}

/// Whether a worker of an earlier supervisor was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon) enum Met {
    Nobody,
    AWorker,
}

/// Meets the worker of an earlier supervisor, if there is one, and begins.
pub(in crate::daemon) async fn start(world: World) -> (Front, Met) {
    let (wishes, wishes_in) = mpsc::unbounded_channel();
    let figures = Arc::new(Figures::default());
    let mut actor = Actor::new(world, figures.clone());
    let met = actor.meet().await;
    tokio::spawn(actor.run(wishes_in));
    (Front { wishes, figures }, met)
}

/// One app that was published.
struct FrontApp {
    publication: Publication,
    /// What the loop was told last.
    told: Option<Told>,
    /// Not all its addresses are ours: when to try again. None while it is looked who has one.
    retry_at: Option<Duration>,
}

#[derive(PartialEq, Eq)]
enum Told {
    Open,
    Held(String),
}

/// What a thread found out.
enum Found {
    /// Who has an address of this app.
    Holder {
        app: String,
        holder: String,
    },
    Started {
        started: Result<Launched, String>,
        channel: UnixStream,
        attaching: Option<UnixListener>,
    },
}

/// Whether a worker has the listeners.
enum Serves {
    /// Nobody has to be there, or is to be there before this time.
    Nobody {
        from: Duration,
    },
    /// A thread starts it.
    Starting,
    Current(Worker),
}

struct Actor {
    world: Arc<World>,
    figures: Arc<Figures>,
    apps: BTreeMap<String, FrontApp>,
    doors: Doors,
    unclaimed_until: Option<Duration>,
    serves: Serves,
    /// Workers that others have taken the place of, as long as they have connections.
    leaving: Vec<Worker>,
    next_worker: u64,
    /// Before the next start, after deaths in a row.
    delay: Duration,
    drains: Drains,
    /// Those that were published and are not over.
    runs: HashSet<RunId>,
    /// The new worker's socket before it has said Hello.
    attaching_at: Option<PathBuf>,
    ending: Option<Ending>,
    news: (mpsc::Sender<(WorkerId, News)>, mpsc::Receiver<(WorkerId, News)>),
    found: (mpsc::UnboundedSender<Found>, mpsc::UnboundedReceiver<Found>),
}

struct Ending {
    ended: oneshot::Sender<()>,
    kill_at: Option<Duration>,
}

impl Actor {
    fn new(world: World, figures: Arc<Figures>) -> Actor {
        Actor {
            world: Arc::new(world),
            figures,
            apps: BTreeMap::new(),
            doors: Doors::default(),
            unclaimed_until: None,
            serves: Serves::Nobody { from: Duration::ZERO },
            leaving: Vec::new(),
            next_worker: 0,
            delay: Duration::ZERO,
            drains: Drains::default(),
            runs: HashSet::new(),
            attaching_at: None,
            ending: None,
            news: mpsc::channel(NEWS),
            found: mpsc::unbounded_channel(),
        }
    }

    /// Until the worker has ended as it was told to, or nobody is left to have a wish.
    async fn run(mut self, mut wishes: mpsc::UnboundedReceiver<Wish>) {
        loop {
            let wake = self.sleep();
            tokio::select! {
                wish = wishes.recv() => match wish {
                    Some(wish) => self.wished(wish),
                    None => return,
                },
                Some((worker, news)) = self.news.1.recv() => self.heard(worker, news),
                Some(found) = self.found.1.recv() => self.found(found),
                () = tokio::time::sleep(wake) => {}
            }
            self.press_on();
            if self.is_ended() {
                return self.ended();
            }
        }
    }

    /// How long nothing is due.
    fn sleep(&self) -> Duration {
        let start = match self.serves {
            Serves::Nobody { from } if self.is_needed() => Some(from),
            Serves::Nobody { .. } | Serves::Starting | Serves::Current(_) => None,
        };
        let kill = self.ending.as_ref().and_then(|ending| ending.kill_at);
        let retries = self.apps.values().filter_map(|app| app.retry_at);
        let due = retries.chain(start).chain(kill).chain(self.unclaimed_until).min();
        due.map_or(Duration::from_secs(86_400), |due| due.saturating_sub(clock::now().mono))
    }

    /// Does what is due.
    fn press_on(&mut self) {
        let now = clock::now().mono;
        if self.unclaimed_until.is_some_and(|until| until <= now) {
            self.unclaimed_until = None;
            self.close_unclaimed(now);
        }
        let due = |app: &FrontApp| app.retry_at.is_some_and(|at| at <= now);
        let retries: Vec<String> = self.apps.iter().filter(|(_, app)| due(app)).map(|(name, _)| name.clone()).collect();
        for app in retries {
            self.open_doors(&app, now);
        }
        match self.serves {
            Serves::Nobody { from } if self.is_needed() && from <= now => self.start_worker(),
            Serves::Nobody { .. } | Serves::Starting | Serves::Current(_) => {}
        }
        if let Some(ending) = &mut self.ending
            && ending.kill_at.is_some_and(|at| at <= now)
        {
            warn!("the proxy worker does not end: it is killed");
            ending.kill_at = None;
            self.workers().for_each(Worker::kill);
        }
    }

    fn wished(&mut self, wish: Wish) {
        match wish {
            Wish::Publish(publication) => self.publish(publication),
            Wish::Drain(run) => self.drain(run),
            Wish::Cut(run) => self.order(&Order::Cut { target: run.0 }),
            Wish::Over(run) => {
                self.runs.remove(&run);
                self.drains.forget(run);
                self.figures.forget_run(run);
            }
            Wish::Remove(app) => self.remove(&app),
            Wish::End(ended) => {
                self.ending = Some(Ending { ended, kill_at: Some(clock::now().mono + END_PATIENCE) });
                self.order(&Order::Exit);
            }
        }
    }

    fn publish(&mut self, publication: Publication) {
        let now = clock::now().mono;
        let route = &publication.route;
        let warm = route.warm.iter().flat_map(|warm| &warm.targets);
        for target in route.active.iter().chain(warm) {
            let run = RunId(target.target);
            self.runs.insert(run);
            self.drains.forget(run);
        }
        let name = route.app.clone();
        let before = self.apps.get(&name);
        if before.is_none_or(|before| before.publication.route != *route) {
            self.order(&Order::Route(route.clone()));
        }
        let told = self.apps.remove(&name).and_then(|before| before.told).filter(|_| publication.open);
        let app = FrontApp { publication, told, retry_at: None };
        self.apps.insert(name.clone(), app);
        self.open_doors(&name, now);
    }

    fn drain(&mut self, run: RunId) {
        let asked: Vec<WorkerId> = match self.runs.contains(&run) {
            true => self.workers().map(|worker| worker.id).collect(),
            false => Vec::new(),
        };
        if !asked.is_empty() {
            self.order(&Order::Retire { target: run.0 });
        }
        if let Some((requests, streams)) = self.drains.begin(run, asked.into_iter()) {
            (self.world.notify)(Notice::InFlight { run, requests, streams });
        }
    }

    fn remove(&mut self, app: &str) {
        if self.apps.remove(app).is_none() {
            return;
        }
        self.close(clock::now().mono, |door| door.app != app);
        self.order(&Order::Remove { app: app.to_owned() });
        self.figures.forget_app(app);
    }

    /// Brings an app's public addresses to what was published: new ones are open before old ones are closed.
    fn open_doors(&mut self, name: &str, now: Duration) {
        let Some(app) = self.apps.get_mut(name) else { return };
        app.retry_at = None;
        let wanted = if app.publication.open { app.publication.listen.clone() } else { Vec::new() };
        let mut trouble = None;
        for address in &wanted {
            if !self.doors.is_open(name, *address)
                && let Err(found) = self.open_door(name, *address, &wanted, now)
            {
                trouble.get_or_insert((*address, found));
            }
        }
        match trouble {
            None => {
                self.close(now, |door| door.app != name || wanted.contains(&door.address));
                if !wanted.is_empty() {
                    self.tell(name, Told::Open);
                }
            }
            Some((_, Trouble::Closing)) => self.retry(name, now + SOON),
            Some((_, Trouble::Refused(why))) => {
                self.tell(name, Told::Held(why));
                self.retry(name, now + RETRY);
            }
            Some((address, Trouble::Held)) => self.ask_who_holds(name, address),
        }
    }

    fn open_door(
        &mut self,
        app: &str,
        address: SocketAddr,
        wanted: &[SocketAddr],
        now: Duration,
    ) -> Result<(), Trouble> {
        let elsewhere =
            self.doors.all().iter().find(|door| door.address == address && !self.apps.contains_key(&door.app));
        let door = match elsewhere.cloned() {
            // An earlier supervisor had it open for an app of another name.
            Some(unclaimed) => {
                let door = self.doors.add(app, address, unclaimed.socket);
                self.close(now, |door| door.listener != unclaimed.listener);
                door
            }
            None => {
                // An address of its own that it has no more use for can be in the way.
                self.close(now, |door| {
                    door.app != app || wanted.contains(&door.address) || !collide(door.address, address)
                });
                self.doors.open(app, address, now)?
            }
        };
        if let Serves::Current(worker) = &self.serves {
            let order = Order::Listen { listener: door.listener, app: door.app };
            worker.order_with(order, vec![door.socket]);
        }
        Ok(())
    }

    fn close(&mut self, now: Duration, wanted: impl Fn(&super::doors::Door) -> bool) {
        for door in self.doors.close(now, wanted) {
            if let Serves::Current(worker) = &self.serves {
                worker.order(Order::Unlisten { listener: door.listener });
            }
        }
    }

    fn close_unclaimed(&mut self, now: Duration) {
        let unclaimed = |door: &&super::doors::Door| !self.apps.contains_key(&door.app);
        let apps: HashSet<String> = self.doors.all().iter().filter(unclaimed).map(|door| door.app.clone()).collect();
        self.close(now, |door| !apps.contains(&door.app));
        for app in apps {
            self.order(&Order::Remove { app });
        }
    }

    /// Every process is looked at for that: on another thread.
    fn ask_who_holds(&self, app: &str, address: SocketAddr) {
        let (found, app) = (self.found.0.clone(), app.to_owned());
        tokio::task::spawn_blocking(move || {
            let _task_is_gone = found.send(Found::Holder { app, holder: held(address) });
        });
    }

    fn retry(&mut self, app: &str, at: Duration) {
        if let Some(app) = self.apps.get_mut(app) {
            app.retry_at = Some(at);
        }
    }

    /// Once, until it is something else.
    fn tell(&mut self, name: &str, told: Told) {
        let Some(app) = self.apps.get_mut(name) else { return };
        if app.told.as_ref() == Some(&told) {
            return;
        }
        let app_name = name.to_owned();
        (self.world.notify)(match &told {
            Told::Open => Notice::PortOpen { app: app_name },
            Told::Held(holder) => Notice::PortHeld { app: app_name, holder: holder.clone() },
        });
        app.told = Some(told);
    }

    fn found(&mut self, found: Found) {
        match found {
            Found::Holder { app, holder } => {
                let waits = |app: &FrontApp| app.publication.open && app.retry_at.is_none();
                let still = self.apps.get(&app).is_some_and(waits);
                let missing = |app: &FrontApp| {
                    let name = &app.publication.route.app;
                    app.publication.listen.iter().any(|address| !self.doors.is_open(name, *address))
                };
                if still && self.apps.get(&app).is_some_and(missing) {
                    self.tell(&app, Told::Held(holder));
                    self.retry(&app, clock::now().mono + RETRY);
                }
            }
            Found::Started { started: Ok(child), channel, attaching } => self.started(child, channel, attaching),
            Found::Started { started: Err(why), .. } => {
                self.later();
                let delay = self.delay.as_millis();
                (self.world.announce)(format!(
                    "the proxy worker cannot be started: {why}; the next try is in {delay} ms"
                ));
            }
        }
    }

    /// Has anybody to be at the doors?
    fn is_needed(&self) -> bool {
        let open = self.apps.values().any(|app| app.publication.open);
        self.ending.is_none() && (open || !self.doors.all().is_empty())
    }

    fn start_worker(&mut self) {
        let (channel, stdin) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => {
                warn!("no channel for the proxy worker: {error}");
                return self.later();
            }
        };
        self.serves = Serves::Starting;
        let attaching = self.bind_socket();
        let (world, found) = (self.world.clone(), self.found.0.clone());
        tokio::task::spawn_blocking(move || {
            let started = (world.launch)(stdin.into());
            let _task_is_gone = found.send(Found::Started { started, channel, attaching });
        });
    }

    /// Where the next supervisor will attach, under a name at which nobody looks yet.
    fn bind_socket(&mut self) -> Option<UnixListener> {
        let path = self.world.runtime_dir.join(format!(".worker-{}", self.next_worker));
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

    fn started(&mut self, child: Launched, channel: UnixStream, attaching: Option<UnixListener>) {
        let pid = child.pid;
        let Some(worker) = self.speak_to(channel, Some(child)) else { return self.later() };
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
        info!("the proxy worker runs as pid {pid}");
        self.figures.serves(Some(Serving { pid, version: env!("CARGO_PKG_VERSION").to_owned() }));
        self.serves = Serves::Current(worker);
    }

    /// None where the channel cannot be used; the worker at its other end ends by itself then.
    fn speak_to(&mut self, channel: UnixStream, child: Option<Launched>) -> Option<Worker> {
        let stream = channel.set_nonblocking(true).and_then(|()| tokio::net::UnixStream::from_std(channel));
        let stream = stream.inspect_err(|error| warn!("no channel to the proxy worker: {error}")).ok()?;
        self.next_worker += 1;
        let world = self.world.clone();
        Some(Worker::over(WorkerId(self.next_worker), stream, child, self.news.0.clone(), move |pid| {
            (world.reaped)(pid);
        }))
    }

    /// After one more death in a row.
    fn later(&mut self) {
        self.delay = (self.delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
        self.serves = Serves::Nobody { from: clock::now().mono + self.delay };
    }

    fn heard(&mut self, id: WorkerId, news: News) {
        match news {
            News::Said(Report::Hello { .. }, _) => self.show_socket(id),
            News::Said(Report::InFlight { target, requests, streams }, _) => {
                let run = RunId(target);
                if let Some((requests, streams)) = self.drains.said(id, run, (requests, streams)) {
                    (self.world.notify)(Notice::InFlight { run, requests, streams });
                }
            }
            News::Said(Report::Figures { apps, targets }, _) => {
                let known = (|app: &str| self.apps.contains_key(app), |run: RunId| self.runs.contains(&run));
                for (run, of_run) in self.figures.take(id, (apps, targets), known) {
                    (self.world.notify)(Notice::Traffic { run, answered: of_run.answered, errors: of_run.errors });
                }
            }
            News::Gone(how) => self.gone(id, how),
        }
    }

    /// It can be attached to from now on.
    fn show_socket(&mut self, id: WorkerId) {
        let is_current = matches!(&self.serves, Serves::Current(worker) if worker.id == id);
        let Some(hidden) = self.attaching_at.take_if(|_| is_current) else { return };
        if let Err(error) = std::fs::rename(&hidden, self.socket()) {
            warn!("the next supervisor will not find the proxy worker: {} stays there: {error}", hidden.display());
        }
    }

    fn gone(&mut self, id: WorkerId, how: Option<String>) {
        self.figures.worker_is_gone(id);
        for (run, (requests, streams)) in self.drains.worker_is_gone(id) {
            (self.world.notify)(Notice::InFlight { run, requests, streams });
        }
        self.leaving.retain(|worker| worker.id != id);
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
        if now.saturating_sub(born) < STEADY {
            self.later()
        } else {
            self.delay = Duration::ZERO
        }
        self.figures.restarted();
        let how = how.map(|how| format!(" ({how})")).unwrap_or_default();
        let next = match self.delay {
            Duration::ZERO => "another one takes over".to_owned(),
            delay => format!("another one takes over in {} ms", delay.as_millis()),
        };
        (self.world.announce)(format!("the proxy worker, pid {pid}, ended{how}; {next}"));
    }

    fn is_ended(&self) -> bool {
        self.ending.is_some() && matches!(self.serves, Serves::Nobody { .. }) && self.leaving.is_empty()
    }

    fn ended(self) {
        let _not_there = std::fs::remove_file(self.socket());
        if let Some(Ending { ended, .. }) = self.ending {
            let _nobody_waits = ended.send(());
        }
    }

    /// To every worker: one that leaves still answers.
    fn order(&self, order: &Order) {
        for worker in self.workers() {
            worker.order(order.clone());
        }
    }

    fn workers(&self) -> impl Iterator<Item = &Worker> {
        let current = match &self.serves {
            Serves::Current(worker) => Some(worker),
            Serves::Nobody { .. } | Serves::Starting => None,
        };
        current.into_iter().chain(&self.leaving)
    }

    fn socket(&self) -> PathBuf {
        self.world.runtime_dir.join(SOCKET)
    }

    /// A worker that outlived its supervisor still serves: it is given orders again, or another one is given its place.
    async fn meet(&mut self) -> Met {
        let Ok(Ok(stream)) = timeout(HELLO_PATIENCE, tokio::net::UnixStream::connect(self.socket())).await else {
            return Met::Nobody;
        };
        let Some(worker) = stream.into_std().ok().and_then(|stream| self.speak_to(stream, None)) else {
            return Met::Nobody;
        };
        worker.order(Order::Attach { protocol: PROTOCOL });
        let hello = timeout(HELLO_PATIENCE, self.news.1.recv()).await;
        let Ok(Some((_, News::Said(Report::Hello { protocol, version, pid, listeners }, sockets)))) = hello else {
            warn!("a proxy worker of an earlier supervisor is there and says nothing");
            return Met::Nobody;
        };
        self.adopt(listeners, sockets);
        self.unclaimed_until = Some(clock::now().mono + CLAIM);
        if protocol == PROTOCOL {
            info!("the proxy worker of an earlier supervisor, pid {pid}, goes on");
            self.figures.serves(Some(Serving { pid, version }));
            self.serves = Serves::Current(worker);
        } else {
            info!("the proxy worker of an earlier supervisor, pid {pid}, speaks another language: it leaves");
            worker.order(Order::Leave);
            self.leaving.push(worker);
        }
        Met::AWorker
    }

    fn adopt(&mut self, listeners: Vec<Listener>, sockets: Vec<OwnedFd>) {
        for (Listener { listener, app, address }, socket) in listeners.into_iter().zip(sockets) {
            if self.doors.adopt(listener, app, address, socket).is_none() {
                debug!("listener {listener} of the proxy worker is not what it says");
            }
        }
    }
}
