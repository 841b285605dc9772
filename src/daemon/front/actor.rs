//! The task between the loop and the proxy: opens the public addresses, keeps a worker at them, tells what it says.

mod keeping;
mod meeting;
mod opening;
mod parting;
mod storing;
mod watching;

use super::doors::Doors;
use super::drains::Drains;
use super::figures::Figures;
use super::record::Record;
use super::routes::Publication;
use super::worker::{News, Worker, WorkerId};
use super::{Front, Wish};
use crate::daemon::clock;
use crate::daemon::notice::Notice;
use crate::linux::ports::Handshake;
use crate::linux::spawn::Launched;
use crate::proxy::channel::{Order, Report};
use crate::supervisor::RunId;
use parting::Parting;
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
pub(in crate::daemon) use storing::Stored;
use storing::Storing;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

/// A worker that was told to end is killed after this.
const END_PATIENCE: Duration = Duration::from_secs(2);
const KILL_PATIENCE: Duration = Duration::from_secs(1);
/// What the workers said and is not yet looked at.
const NEWS: usize = 64;

type Keep = dyn Fn(&str, BorrowedFd<'_>) + Send + Sync;

/// What the task needs of the daemon around it.
pub(in crate::daemon) struct World {
    pub runtime_dir: PathBuf,
    /// Starts a worker with this as its stdin; blocks.
    pub launch: Box<dyn Fn(OwnedFd) -> Result<Launched, String> + Send + Sync>,
    /// The process with this pid is our child, and not for others to wait for.
    pub knows: Box<dyn Fn(i32) + Send + Sync>,
    /// Our child with this pid was waited for.
    pub reaped: Box<dyn Fn(i32) + Send + Sync>,
    pub notify: Box<dyn Fn(Notice) + Send + Sync>,
    /// A happening, one sentence.
    pub announce: Box<dyn Fn(String) + Send + Sync>,
    /// For the next supervisor, under this name.
    pub keep: Box<Keep>,
    pub let_go: Box<dyn Fn(&str) + Send + Sync>,
    /// How often it is looked whether the workers still obey.
    pub look_every: Duration,
}

/// Whether a worker of an earlier supervisor was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::daemon) enum Met {
    Nobody,
    AWorker,
}

/// Meets the worker of an earlier supervisor, if there is one, and begins. `stored` are the public addresses that were
/// kept for us.
pub(in crate::daemon) async fn start(world: World, stored: Vec<Stored>) -> (Front, Met) {
    let (wishes, wishes_in) = mpsc::unbounded_channel();
    let figures = Arc::new(Figures::default());
    let mut actor = Actor::new(world, figures.clone());
    actor.storing = Storing::of(stored);
    let met = actor.meet().await;
    tokio::spawn(actor.run(wishes_in));
    (Front { wishes, figures }, met)
}

/// One app that was published.
struct FrontApp {
    publication: Publication,
    /// What the loop was told last.
    told: Option<Told>,
    /// Not all its addresses are ours, or it has some to give up: when to see to it.
    retry_at: Option<Duration>,
    /// How often in a row nobody was seen to have an address that is held.
    unseen: u32,
    /// When to ask again who has an address that is held. None while that is being looked for.
    ask_from: Option<Duration>,
}

impl FrontApp {
    /// Is it to be found at this address?
    fn wants(&self, address: SocketAddr) -> bool {
        self.publication.open && self.publication.listen.contains(&address)
    }

    /// Is it to be found on this port, at whatever address?
    fn is_on(&self, port: u16) -> bool {
        self.publication.open && self.publication.listen.iter().any(|address| address.port() == port)
    }
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
        address: SocketAddr,
        holder: Option<String>,
    },
    /// Who was in the middle of a handshake on the port of this listener, at this time or after it.
    Handshakes {
        listener: u64,
        looked: Duration,
        found: HashSet<Handshake>,
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
    storing: Storing,
    partings: Vec<Parting>,
    serves: Serves,
    /// Workers that others have taken the place of, as long as they have connections.
    leaving: Vec<Worker>,
    /// Those of them that are not told yet: nobody else is at the doors.
    unrelieved: Vec<WorkerId>,
    /// What the one at the doors answers once it is there for them.
    relief: Option<u64>,
    /// Of an earlier supervisor, and without a word so far: nobody waits for what it has in flight.
    unheard: Option<Worker>,
    next_worker: u64,
    /// Before the next start, after deaths in a row.
    delay: Duration,
    /// How many in a row, each after a short life.
    deaths: u32,
    drains: Drains,
    /// Those that were published and are not over.
    runs: HashSet<RunId>,
    /// The new worker's socket before it has said Hello.
    attaching_at: Option<PathBuf>,
    /// Which process that is.
    record: Option<Record>,
    look_at: Duration,
    /// Who waits until the worker has obeyed, by the target that it was asked about.
    obeyed: BTreeMap<u64, oneshot::Sender<()>>,
    /// Counts down from the greatest: no run has such a number.
    next_nobody: u64,
    ending: Option<Ending>,
    /// From the workers.
    news: mpsc::Receiver<(WorkerId, News)>,
    news_to: mpsc::Sender<(WorkerId, News)>,
    /// From the threads.
    finds: mpsc::UnboundedReceiver<Found>,
    finds_to: mpsc::UnboundedSender<Found>,
}

struct Ending {
    ended: oneshot::Sender<()>,
    kill_at: Option<Duration>,
    /// What is not gone by then is left behind: it may be an earlier supervisor's child, and not ours to kill.
    give_up_at: Duration,
}

impl Actor {
    fn new(world: World, figures: Arc<Figures>) -> Actor {
        let (news_to, news) = mpsc::channel(NEWS);
        let (finds_to, finds) = mpsc::unbounded_channel();
        Actor {
            figures,
            apps: BTreeMap::new(),
            doors: Doors::default(),
            storing: Storing::default(),
            partings: Vec::new(),
            serves: Serves::Nobody { from: Duration::ZERO },
            leaving: Vec::new(),
            unrelieved: Vec::new(),
            relief: None,
            unheard: None,
            next_worker: 0,
            delay: Duration::ZERO,
            deaths: 0,
            drains: Drains::default(),
            runs: HashSet::new(),
            attaching_at: None,
            record: None,
            look_at: clock::now().mono + world.look_every,
            obeyed: BTreeMap::new(),
            next_nobody: u64::MAX,
            ending: None,
            news,
            news_to,
            finds,
            finds_to,
            world: Arc::new(world),
        }
    }

    /// Until the worker has ended as it was told to, or nobody is left to have a wish.
    async fn run(mut self, mut wishes: mpsc::UnboundedReceiver<Wish>) {
        loop {
            let wake = self.sleep();
            tokio::select! {
                wish = wishes.recv() => match wish {
                    Some(wish) => {
                        self.wished(wish);
                        // Of apps that are changed together each finds what the others have given up.
                        while let Ok(wish) = wishes.try_recv() {
                            self.wished(wish);
                        }
                    }
                    None => return,
                },
                Some((worker, news)) = self.news.recv() => self.heard(worker, news),
                Some(found) = self.finds.recv() => self.found(found),
                () = tokio::time::sleep(wake) => {}
            }
            self.press_on();
            self.store();
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
        let kill = self.ending.as_ref().map(|ending| ending.kill_at.unwrap_or(ending.give_up_at));
        let retries = self.apps.values().filter_map(|app| app.retry_at);
        let looks = self.partings.iter().filter_map(|parting| parting.look_at).chain(self.next_look());
        let due = retries.chain(start).chain(kill).chain(looks).min();
        due.map_or(Duration::from_secs(86_400), |due| due.saturating_sub(clock::now().mono))
    }

    /// Does what is due.
    fn press_on(&mut self) {
        let now = clock::now().mono;
        self.open_what_is_due(now);
        self.look_at_partings(now);
        match self.serves {
            Serves::Nobody { from } if self.is_needed() && from <= now => self.start_worker(),
            Serves::Nobody { .. } | Serves::Starting | Serves::Current(_) => {}
        }
        if !self.unrelieved.is_empty() && !self.is_needed() {
            self.are_relieved();
        }
        self.look_after_workers(now);
        if let Some(ending) = &mut self.ending
            && ending.kill_at.is_some_and(|at| at <= now)
        {
            warn!("the proxy worker does not end: it is killed");
            ending.kill_at = None;
            self.workers().chain(&self.unheard).for_each(Worker::kill);
        }
    }

    fn wished(&mut self, wish: Wish) {
        match wish {
            Wish::Publish(publication) => self.publish(publication),
            Wish::Known(run) => {
                self.runs.insert(run);
            }
            Wish::Drain(run) => self.drain(run),
            Wish::Cut(run) => self.order(&Order::Cut { target: run.0 }),
            Wish::Over(run) => {
                self.runs.remove(&run);
                self.drains.forget(run);
                self.figures.forget_run(run);
            }
            Wish::Remove(app) => self.remove(&app),
            Wish::CloseUnclaimed => self.close_unclaimed(clock::now().mono),
            Wish::Copies(copies) => drop(copies.send(self.doors.copies())),
            Wish::Obeyed(obeyed) => {
                self.open_what_is_due(clock::now().mono);
                self.ask_whether_obeyed(obeyed);
            }
            Wish::End(ended) => {
                let kill_at = clock::now().mono + END_PATIENCE;
                self.ending = Some(Ending { ended, kill_at: Some(kill_at), give_up_at: kill_at + KILL_PATIENCE });
                self.workers().chain(&self.unheard).for_each(|worker| worker.order(Order::Exit));
            }
        }
    }

    /// What a worker answers about a target that nobody is, it answers after all that it was told before.
    fn ask_whether_obeyed(&mut self, obeyed: oneshot::Sender<()>) {
        self.obeyed.retain(|_, obeyed| !obeyed.is_closed());
        let nobody = self.nobody();
        match &self.serves {
            Serves::Nobody { .. } if !self.is_needed() => {
                let _nobody_waits = obeyed.send(());
                return;
            }
            // It dies again and again.
            Serves::Nobody { from } if *from > clock::now().mono => return,
            // Asked when it is there.
            Serves::Nobody { .. } | Serves::Starting => {}
            Serves::Current(worker) => worker.order(Order::Retire { target: nobody }),
        }
        self.obeyed.insert(nobody, obeyed);
    }

    /// The number of a target that nobody is.
    fn nobody(&mut self) -> u64 {
        self.next_nobody -= 1;
        self.next_nobody + 1
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
        let before = self.apps.remove(&name);
        let same_place = |before: &FrontApp| publication.open && before.publication.listen == publication.listen;
        let told = before.filter(same_place).and_then(|before| before.told);
        self.apps.insert(name, FrontApp { publication, told, retry_at: Some(now), unseen: 0, ask_from: Some(now) });
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

    fn found(&mut self, found: Found) {
        match found {
            Found::Holder { app, address, holder } => self.holder_is(&app, address, holder),
            Found::Handshakes { listener, looked, found } => self.handshakes_are(listener, looked, &found),
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

    fn heard(&mut self, id: WorkerId, news: News) {
        match news {
            News::Said(Report::Hello { listeners, .. }, sockets) => {
                match self.unheard.take_if(|worker| worker.id == id) {
                    Some(worker) => self.comes_to_itself(worker, listeners, sockets),
                    None => self.show_socket(id),
                }
            }
            News::Said(Report::InFlight { target, requests, streams }, _) => {
                let run = RunId(target);
                if target > self.next_nobody {
                    self.has_answered(id);
                }
                if self.is_current(id) && self.relief == Some(target) {
                    self.are_relieved();
                }
                if self.is_current(id)
                    && let Some(obeyed) = self.obeyed.remove(&target)
                {
                    let _nobody_waits = obeyed.send(());
                }
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

    fn is_ended(&self) -> bool {
        let Some(ending) = &self.ending else { return false };
        let all_are_gone = matches!(self.serves, Serves::Nobody { .. }) && self.leaving.is_empty();
        let all_are_gone = all_are_gone && self.unheard.is_none();
        all_are_gone || ending.give_up_at <= clock::now().mono
    }

    fn ended(self) {
        let _not_there = std::fs::remove_file(self.socket());
        Record::remove(&self.world.runtime_dir);
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
}
