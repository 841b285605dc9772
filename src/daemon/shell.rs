//! The loop: the world becomes events, effects become acts.

mod departure;

use super::clock;
use super::endings::Endings;
use super::front::{Publication, REPLACED_WITHIN};
use super::launch::{Landing, Order};
use super::live_link::LiveLinks;
use super::notice::{AppView, Ask, Notice};
use super::run_records::Memory;
use super::runs::Run;
use super::service_manager::ServiceManager;
use super::shared::Shared;
use super::signals::{Signal, Signals};
use super::upgrade::Leaving;
use super::{exit_watch, probes, tally};
use crate::config::Config;
use crate::linux::failpoint;
use crate::linux::tree::Signalled;
use crate::supervisor::{Effect, Event, Kept, Reply, Request, RequestId, RunId, SpawnRefusal, Supervisor};
use departure::Departure;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::io::{IsTerminal, stdin};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, trace, warn};

/// A disk that takes no state for so long does not keep an app from starting.
pub(super) const SAVE_PATIENCE: Duration = Duration::from_secs(2);
/// How often a disk that took no state is tried again.
const SAVE_RETRY: Duration = Duration::from_secs(10);
/// After `shutdown_timeout`, what cannot be killed is left behind.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Shell {
    core: Supervisor,
    shared: Arc<Shared>,
    manager: Arc<ServiceManager>,
    notices: mpsc::UnboundedReceiver<Notice>,
    asks: mpsc::Receiver<Ask>,
    signals: Signals,
    /// Not yet performed: what stands behind a save waits for it.
    queue: VecDeque<Effect>,
    /// What the queue waits for.
    saving: Option<Saving>,
    /// The number of the last save: what becomes of those before it no longer matters.
    last_save: u64,
    /// What the links to the active releases are to follow, once the routes do.
    links_follow: Option<BTreeMap<String, Kept>>,
    links: Arc<LiveLinks>,
    /// The last save failed.
    save_again_at: Option<Duration>,
    replies: HashMap<RequestId, oneshot::Sender<Reply>>,
    endings: Endings,
    exit_by: Option<Duration>,
    /// Another program is to take our place.
    departure: Option<Departure>,
    /// Started by hand.
    on_terminal: bool,
    /// What runs goes on by an older configuration: this one is applied first.
    to_apply: Option<Arc<Config>>,
    /// Nothing is published yet that an earlier supervisor had open.
    unclaimed: bool,
    /// Something changed that is worth remembering.
    changed: bool,
    done: bool,
}

#[derive(Clone, Copy)]
struct Saving {
    save: u64,
    since: Duration,
}

impl Shell {
    pub(super) fn new(
        (core, to_apply): (Supervisor, Option<Arc<Config>>),
        shared: Arc<Shared>,
        notices: mpsc::UnboundedReceiver<Notice>,
        asks: mpsc::Receiver<Ask>,
        signals: Signals,
    ) -> Shell {
        // A supervisor that was killed between a swap and its link has a successor that sees to it.
        let links_follow = Some(core.kept());
        let last_save = shared.first_save;
        let save_again_at = shared.state_is_unsaved().then(|| clock::now().mono + SAVE_RETRY);
        let manager = shared.launcher.manager.clone();
        Shell {
            core,
            shared,
            manager,
            notices,
            asks,
            signals,
            queue: VecDeque::new(),
            saving: None,
            last_save,
            links_follow,
            links: Arc::default(),
            save_again_at,
            replies: HashMap::new(),
            endings: Endings::default(),
            exit_by: None,
            departure: None,
            on_terminal: stdin().is_terminal(),
            to_apply,
            unclaimed: true,
            changed: false,
            done: false,
        }
    }

    /// Runs until everything is at rest after a shutdown, or until another program is to go on.
    pub(super) async fn run(mut self) -> Option<Leaving> {
        self.feed(Event::Began);
        if let Some(config) = self.to_apply.take() {
            let (id, by) = (self.shared.next_request(), "supervisor".to_owned());
            self.request(id, by, Request::Apply { config, wait: false });
        }
        loop {
            self.perform_queue();
            if std::mem::take(&mut self.changed) {
                let apps = self.core.remembered();
                self.shared.remember(Memory { save: self.last_save, apps });
                if self.manager.is_there() {
                    self.manager.stands(&tally::of(&self.core.view(clock::now())));
                }
            }
            self.manager.press_on(clock::now().mono, self.shared.logs.is_alive());
            if self.done {
                return None;
            }
            if let Some(packed) = self.leave() {
                return Some(self.left_with(packed));
            }
            let wake = self.sleep();
            tokio::select! {
                Some(notice) = self.notices.recv() => self.noticed(notice),
                Some(ask) = self.asks.recv() => self.asked(ask),
                signal = self.signals.next() => self.signalled(signal),
                () = tokio::time::sleep(wake) => self.woke(),
            }
        }
    }

    /// How long nothing is due.
    fn sleep(&self) -> Duration {
        let now = clock::now();
        let save = self.saving.map(|saving| saving.since + SAVE_PATIENCE);
        let manager = self.manager.deadline();
        let leave = self.departure.as_ref().map(Departure::deadline);
        let due =
            [self.core.deadline(now), self.endings.deadline(), save, self.save_again_at, self.exit_by, manager, leave]
                .into_iter()
                .flatten()
                .min();
        // A day is as good as never, and a clock is looked at again then.
        due.map_or(Duration::from_secs(86_400), |due| due.saturating_sub(now.mono))
    }

    fn woke(&mut self) {
        let now = clock::now();
        if self.saving.is_some_and(|saving| saving.since + SAVE_PATIENCE <= now.mono) {
            self.saving = None;
            self.shared.warn_state("the disk has not taken the desired state in 2 s; going on without");
        }
        if self.save_again_at.is_some_and(|at| at <= now.mono) {
            self.queue.push_front(Effect::Save(self.core.kept()));
        }
        if self.exit_by.is_some_and(|at| at <= now.mono) {
            warn!("some processes cannot be ended; leaving them behind");
            self.done = true;
        }
        self.look_at_endings();
        self.feed(Event::Tick);
    }

    fn noticed(&mut self, notice: Notice) {
        match notice {
            Notice::Landed { run, landing } => self.landed(run, landing),
            Notice::Exited { run, exit } => self.exited(run, exit),
            Notice::Probed { run, outcome } => self.feed(Event::Probed { run, outcome }),
            Notice::OverLimit { run, bytes, available } => self.feed(Event::MemorySampled { run, bytes, available }),
            Notice::PortHeld { app, holder } => self.feed(Event::PortHeld { app, holder }),
            Notice::PortOpen { app } => self.feed(Event::PortOpen { app }),
            Notice::InFlight { run, requests, streams } => self.feed(Event::InFlight { run, requests, streams }),
            Notice::Traffic { run, answered, errors } => self.feed(Event::Traffic { run, answered, errors }),
            Notice::Saved { save, result } => self.saved(save, result),
        }
    }

    fn saved(&mut self, save: u64, result: io::Result<()>) {
        if self.saving.is_some_and(|saving| saving.save == save) {
            self.saving = None;
        }
        if save != self.last_save {
            return;
        }
        match result {
            Ok(()) => self.shared.state_is_well(),
            Err(error) => {
                self.save_again_at = Some(clock::now().mono + SAVE_RETRY);
                self.shared.warn_state(&format!("the desired state is not saved: {error}"));
            }
        }
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Request { id, by, request, reply } => {
                self.replies.insert(id, reply);
                self.request(id, by, request);
            }
            Ask::Apply { id, by, config, wait, taken, reply } => {
                self.replies.insert(id, reply);
                self.request(id, by, Request::Apply { config: config.clone(), wait });
                let _applier_is_gone = taken.send(Arc::ptr_eq(self.core.config(), &config));
            }
            Ask::Upgrade { upgrade, accepted } => self.departure = Some(Departure::new(upgrade, accepted)),
            Ask::Abandoned { id } => {
                if self.replies.remove(&id).is_some() {
                    self.feed(Event::Abandoned { id });
                }
            }
            Ask::Plan { config, reply } => drop(reply.send(self.core.plan(&config, clock::now()))),
            Ask::List { reply } => drop(reply.send(self.core.view(clock::now()))),
            Ask::App { name, reply } => {
                drop(reply.send(self.view(&name)));
            }
        }
    }

    fn view(&self, name: &str) -> Option<AppView> {
        let (status, exits, probe_failure) = self.core.view_app(name, clock::now())?;
        let deploy = self.core.config().app(name).and_then(|app| app.deploy.as_ref());
        let in_use = deploy.map(|deploy| self.core.releases_in_use(&deploy.releases())).unwrap_or_default();
        let (bad, setback) = (self.core.bad_releases(name), self.core.setback(name));
        let release = self.core.release(name).cloned();
        let trying = self.core.trying(name);
        Some(AppView { status, exits, probe_failure, bad, trying, setback, release, in_use })
    }

    fn request(&mut self, id: RequestId, by: String, request: Request) {
        match &request {
            Request::Shutdown { hurry } => {
                let gentle = self.core.config().supervisor.shutdown_timeout;
                let patience = if *hurry { LAST_PATIENCE } else { gentle + LAST_PATIENCE };
                let by = clock::now().mono + patience;
                self.exit_by = Some(self.exit_by.map_or(by, |before| before.min(by)));
                self.manager.is_stopping();
            }
            Request::Start { .. }
            | Request::Stop { .. }
            | Request::Restart { .. }
            | Request::Swap { .. }
            | Request::Cancel { .. }
            | Request::Activate { .. }
            | Request::Reset { .. }
            | Request::Signal { .. }
            | Request::Apply { .. } => {}
        }
        self.feed(Event::Requested { id, by, request });
        // Not the one that was asked for: a supervisor that shuts down takes none.
        self.shared.set_config(self.core.config().clone());
    }

    fn signalled(&mut self, signal: Signal) {
        match signal {
            Signal::Child => {
                self.shared.launcher.children.reap_orphans();
                self.look_at_endings();
            }
            Signal::Shutdown => {
                let id = self.shared.next_request();
                // Ctrl-C once more: the operator has no more patience.
                let hurry = self.exit_by.is_some();
                self.request(id, "a signal".to_owned(), Request::Shutdown { hurry });
            }
            // The kernel sends the same signal when the terminal is closed: then nobody is left to run this for.
            Signal::Apply if self.on_terminal && !stdin().is_terminal() => self.signalled(Signal::Shutdown),
            Signal::Apply => super::apply::by_signal(self.shared.clone()),
            Signal::Reopen => self.shared.logs.reopen(),
        }
    }

    fn feed(&mut self, event: Event) {
        match &event {
            Event::Tick | Event::Probed { .. } | Event::InFlight { .. } | Event::Traffic { .. } => trace!(?event, "in"),
            Event::Began
            | Event::Requested { .. }
            | Event::Abandoned { .. }
            | Event::Spawned { .. }
            | Event::SpawnRefused { .. }
            | Event::Exited { .. }
            | Event::TreeEmpty { .. }
            | Event::PortHeld { .. }
            | Event::PortOpen { .. }
            | Event::MemorySampled { .. } => debug!(?event, "in"),
        }
        let effects = self.core.handle(event, clock::now());
        self.changed |= effects.iter().any(|effect| !matches!(effect, Effect::Probe { .. }));
        self.queue.extend(effects);
    }

    fn perform_queue(&mut self) {
        while self.saving.is_none() {
            let Some(effect) = self.queue.pop_front() else {
                if std::mem::take(&mut self.unclaimed) {
                    self.shared.front.close_unclaimed();
                }
                return self.move_links();
            };
            match &effect {
                Effect::Probe { .. } | Effect::Announce(_) => trace!(?effect, "out"),
                Effect::Save(_)
                | Effect::Publish { .. }
                | Effect::Drain { .. }
                | Effect::Cut { .. }
                | Effect::Spawn { .. }
                | Effect::Stop { .. }
                | Effect::Kill { .. }
                | Effect::Signal { .. }
                | Effect::OpenLogs { .. }
                | Effect::CloseLogs { .. }
                | Effect::Reply { .. }
                | Effect::Exit => debug!(?effect, "out"),
            }
            let word = effect.word();
            failpoint::step(word, "begun");
            self.perform(effect);
            failpoint::step(word, "done");
        }
    }

    /// With the state on the disk and the routes swapped, the links follow; in their own time.
    fn move_links(&mut self) {
        let Some(kept) = self.links_follow.take() else { return };
        let (shared, links, number) = (self.shared.clone(), self.links.clone(), self.last_save);
        let config = self.core.config().clone();
        tokio::task::spawn_blocking(move || links.follow(number, &kept, &config, &shared.launcher.users));
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Publish { app, open, active, warm } => {
                let runs = |ids: Vec<RunId>| -> Vec<Arc<Run>> {
                    ids.into_iter().filter_map(|id| self.shared.runs.get(id)).collect()
                };
                match Publication::new(&app, open, &runs(active), &runs(warm)) {
                    Some(publication) => self.shared.front.publish(publication),
                    None => self.shared.front.remove(app.name.clone()),
                }
            }
            Effect::Drain { run } => self.shared.front.drain(run),
            Effect::Cut { run } => self.shared.front.cut(run),
            Effect::Save(kept) => {
                self.save_again_at = None;
                self.last_save += 1;
                self.links_follow = Some(kept.clone());
                self.saving = Some(Saving { save: self.last_save, since: clock::now().mono });
                self.shared.save_kept(self.last_save, kept);
            }
            Effect::Spawn { run, app, slot, index, release } => {
                let shared = self.shared.clone();
                let port_range = self.core.config().supervisor.port_range.clone();
                let order = Order { run, app, slot, index, release, port_range };
                tokio::task::spawn_blocking(move || {
                    let landing = shared.launcher.launch(&order, |user, output| {
                        shared.take_output(order.run, &order.app, user, output);
                    });
                    let landing = landing.map(Box::new);
                    shared.notify(Notice::Landed { run, landing });
                });
            }
            Effect::Stop { run, signal } => self.stop(run, signal),
            Effect::Kill { run } => self.kill(run),
            Effect::Signal { run, signal } => {
                if let Some(run) = self.shared.runs.get(run) {
                    run.tree.signal_politely(signal, &mut Signalled::default());
                }
            }
            Effect::Probe { run, check } => {
                let shared = self.shared.clone();
                tokio::spawn(async move {
                    let outcome = probes::ask(&shared, run, &check).await;
                    shared.notify(Notice::Probed { run, outcome });
                });
            }
            Effect::OpenLogs { app } => {
                let shared = self.shared.clone();
                tokio::task::spawn_blocking(move || shared.open_logs(&app));
            }
            Effect::CloseLogs { app } => {
                self.shared.close_logs(&app);
                self.shared.front.remove(app);
            }
            Effect::Announce(announcement) => self.shared.events.add(announcement, clock::now().wall),
            Effect::Reply { id, reply } => {
                let Some(waiting) = self.replies.remove(&id) else {
                    if let Reply::Refused(refusal) = reply {
                        warn!("nobody is told that it is refused: {refusal}");
                    }
                    return;
                };
                let shared = self.shared.clone();
                tokio::spawn(async move {
                    // What is reported done is what the next request finds.
                    if !shared.front.is_obeyed(REPLACED_WITHIN).await {
                        warn!("the proxy worker has not obeyed yet what is reported as done");
                    }
                    drop(waiting.send(reply));
                });
            }
            Effect::Exit => self.done = true,
        }
    }

    fn landed(&mut self, run: RunId, landing: Result<Box<Landing>, SpawnRefusal>) {
        let Landing { run: tree, pidfd } = match landing {
            Ok(landing) => *landing,
            Err(refusal) => return self.feed(Event::SpawnRefused { run, refusal }),
        };
        let tree = Arc::new(tree);
        let pid = tree.pid;
        self.shared.runs.add(tree.clone());
        tokio::spawn(exit_watch::watch(self.shared.clone(), tree, pidfd));
        self.feed(Event::Spawned { run, pid });
    }

    fn exited(&mut self, run: RunId, exit: crate::supervisor::LeaderExit) {
        self.feed(Event::Exited { run, exit });
        self.look_at_endings();
    }

    fn stop(&mut self, id: RunId, signal: i32) {
        let Some(run) = self.shared.runs.get(id) else { return };
        if run.is_over() {
            return self.over(&run);
        }
        self.endings.stop(run, signal, clock::now().mono);
    }

    fn kill(&mut self, id: RunId) {
        if let Some(run) = self.shared.runs.get(id) {
            self.endings.kill(run, clock::now().mono);
        }
        self.look_at_endings();
    }

    fn look_at_endings(&mut self) {
        for run in self.endings.over() {
            self.over(&run);
        }
        self.endings.press_on(clock::now().mono);
    }

    fn over(&mut self, run: &Arc<Run>) {
        self.shared.runs.remove(run.id);
        failpoint::here("over.begun");
        self.shared.launcher.records.forget(run.id);
        failpoint::here("over.forgotten");
        self.shared.front.over(run.id);
        self.shared.finish_logs(run.id, &run.app);
        self.endings.clean_up(run.clone(), clock::now().mono);
        self.feed(Event::TreeEmpty { run: run.id });
    }
}
