//! What an earlier supervisor has left running, found again: each tree whole, with its pipes, its port and its cgroup.

use super::exit_watch;
use super::front::{Front, Publication};
use super::kept_pipes::{self, LastWords};
use super::launch::Launcher;
use super::run_records::{Memory, PortRecord, RunRecord};
use super::runs::{Run, RunPort};
use super::shared::Shared;
use crate::api::Slot;
use crate::config::{AppConfig, Config};
use crate::linux::cgroup::Cgroup;
use crate::linux::inherited::Inherited;
use crate::linux::pidfd::pidfd_open;
use crate::linux::pipe;
use crate::linux::ports::{self, Listening};
use crate::linux::proc::ProcStat;
use crate::linux::strays::Spared;
use crate::linux::tree::Tree;
use crate::linux::{failpoint, fallback};
use crate::supervisor::{Kept, RunId, Survivor};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// How often the user of an app whose output is dropped is looked up.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(2);

/// The worker of an earlier supervisor takes its first orders within this time, or the start does not wait for it.
const OBEY_PATIENCE: Duration = Duration::from_secs(2);

/// What can be gone on with.
pub(super) struct Found {
    pub memory: Memory,
    /// The apps of what runs and cannot be gone on with.
    pub given_up: BTreeSet<String>,
    trees: Vec<FoundTree>,
    last_words: Vec<LastWords>,
}

struct FoundTree {
    run: Arc<Run>,
    survivor: Survivor,
    /// Readable when its leader has ended.
    pidfd: OwnedFd,
    /// Its leader is our child: the program before this one started it, in this process.
    is_child: bool,
    /// Its standard output and error.
    output: [OwnedFd; 2],
}

/// To be called before any child is reaped: the status of those that the program before this one started is not to be
/// taken by anybody else.
pub(super) fn know_children(launcher: &Launcher) {
    let leaders = launcher.records.all().into_iter().map(|record| record.leader());
    let children = leaders.filter(|leader| leader.stat().is_some_and(|stat| is_child(&stat)));
    children.for_each(|leader| launcher.children.knows(leader.pid));
}

fn is_child(stat: &ProcStat) -> bool {
    stat.ppid == std::process::id().cast_signed()
}

/// Of a child of ours that has ended it is still to be learnt how.
fn counts(stat: &ProcStat) -> bool {
    stat.is_alive() || is_child(stat)
}

/// Looks for it. Blocks.
///
/// # Errors
/// Something that runs cannot be gone on with, and there is a way back to whoever can: a sentence. Nothing is forgotten.
pub(super) fn find(launcher: &Launcher, mut inherited: Inherited) -> Result<Found, String> {
    let kept: Vec<String> = inherited.names().map(str::to_owned).collect();
    let records = launcher.records.all();
    let (mut trees, mut not_found, mut given_up) = (Vec::new(), Vec::new(), BTreeSet::new());
    for record in records {
        let (run, leader, app) = (RunId(record.run), record.leader(), record.app.clone());
        match found(launcher, &mut inherited, record) {
            Some(tree) => trees.push(tree),
            None => {
                not_found.push((run, leader.pid));
                given_up.extend(leader.stat().filter(counts).map(|_| app));
            }
        }
    }
    refuse(&given_up)?;
    for (run, pid) in not_found {
        launcher.records.forget(run);
        launcher.children.forget(pid);
    }
    let last_words = kept_pipes::last_words(&mut inherited);
    for FoundTree { run, output, .. } in &trees {
        // Some may have been opened anew.
        kept_pipes::keep(&launcher.manager, run.id, &run.app, output.each_ref());
    }
    let go_on = trees.iter().map(|tree| (tree.run.id, tree.run.app.as_str()));
    let are_read = last_words.iter().map(|last| (last.run, last.app.as_str()));
    let claimed: HashSet<String> = go_on.chain(are_read).flat_map(|(run, app)| kept_pipes::names(run, app)).collect();
    for name in kept.iter().filter(|name| !claimed.contains(*name)) {
        launcher.manager.let_go(name);
    }
    Ok(Found { memory: launcher.records.remembered(), given_up, trees, last_words })
}

/// What runs is not ended for an upgrade.
fn refuse(given_up: &BTreeSet<String>) -> Result<(), String> {
    if given_up.is_empty() || !fallback::is_armed() {
        return Ok(());
    }
    let apps: Vec<&str> = given_up.iter().map(String::as_str).collect();
    Err(format!("it cannot go on with what runs of {}", apps.join(", ")))
}

/// None: its leader is gone, or something of it cannot be taken over; what is left of it is to be ended.
fn found(launcher: &Launcher, inherited: &mut Inherited, record: RunRecord) -> Option<FoundTree> {
    let leader = record.leader();
    if failpoint::refuses("start.find-a-tree") {
        return None;
    }
    // The descriptor first: whoever has the pid then keeps it.
    let pidfd = pidfd_open(leader.pid).ok()?;
    let stat = leader.stat().filter(counts)?;
    let cgroup = match &record.cgroup {
        Some(path) => Some(Cgroup::open(path.clone()).inspect_err(|error| debug!("{}: {error}", path.display())).ok()?),
        None => None,
    };
    let port = match record.port {
        Some(PortRecord::Private(port)) => Some(RunPort::Private(launcher.ports.reserve(port)?)),
        Some(PortRecord::Public(port)) => Some(RunPort::Public(port)),
        None => None,
    };
    let mark = format!("{}.{}", launcher.state_id, record.run);
    let tree = Tree::new(leader, mark, cgroup).with_pipes(record.pipes).with_reaper(stat.ppid);
    let pids: Vec<i32> = tree.processes().iter().map(|process| process.id.pid).collect();
    // Somebody has to read them: an app whose output nobody takes stands still.
    let reopened = |inode| {
        inherited.pipe(inode).or_else(|| match pipe::reopen(inode, &pids) {
            Ok(pipe) => pipe.or_else(nothing),
            Err(error) => {
                debug!("the output of pid {} cannot be read on: {error}", leader.pid);
                None
            }
        })
    };
    let output = record.pipes.map(reopened);
    let output = kept_pipes::both(inherited, (RunId(record.run), &record.app), output)?;
    let survivor = Survivor {
        run: RunId(record.run),
        made_by: record.made_by.filter(|_| record.version == env!("CARGO_PKG_VERSION")),
        app: record.app.clone(),
        slot: record.slot,
        index: record.index,
        pid: leader.pid,
        spawned: record.spawned,
        proxied: matches!(port, Some(RunPort::Private(_))),
        release: record.release.clone(),
    };
    let run = Run::new(survivor.run, &record.app, (record.slot, record.index), tree, record.spawned);
    let run = run.told(port, record.deployment, record.release);
    if let Some(port) = run.port()
        && let Listening::Own(address) = ports::listens(port, &pids)
    {
        run.is_seen_at(address);
    }
    Some(FoundTree { run: Arc::new(run), survivor, pidfd, is_child: is_child(&stat), output })
}

/// To the app's files as they were kept until now, if it has any.
fn take_output(shared: &Arc<Shared>, config: &Config, (run, app): (RunId, &str), output: [OwnedFd; 2]) {
    let known = config.app(app).filter(|known| known.name == app);
    if let Some(Err(why)) = known.map(|known| shared.open_logs_kept_so(known)) {
        warn!("the output of {app} is dropped until its user is known: {why}");
        tokio::spawn(open_once_known(shared.clone(), app.to_owned()));
    }
    shared.attach(run, app, output);
}

/// A user that cannot be looked up now may be found later, and its app writes on meanwhile.
async fn open_once_known(shared: Arc<Shared>, app: String) {
    loop {
        tokio::time::sleep(LOOK_UP_AGAIN).await;
        let (opening, name) = (shared.clone(), app.clone());
        let is_over = tokio::task::spawn_blocking(move || {
            let is_open = || opening.outputs.settings(&name).is_some();
            let config = opening.config();
            let known = config.app(&name).filter(|known| known.name == name && !is_open());
            known.inspect(|known| opening.open_logs(known)).is_none() || is_open()
        });
        if is_over.await.unwrap_or(true) {
            return;
        }
    }
}

/// In the place of a pipe that no process of the tree has any more: there is nothing to read.
fn nothing() -> Option<OwnedFd> {
    File::open("/dev/null").ok().map(OwnedFd::from)
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.trees.is_empty()
    }

    pub(super) fn survivors(&self) -> Vec<Survivor> {
        self.trees.iter().map(|tree| tree.survivor.clone()).collect()
    }

    /// These have no place any more: they are ended, and what they still write is read.
    ///
    /// # Errors
    /// There is a way back to whoever has a place for them: a sentence. They stay.
    pub(super) fn leave(&mut self, launcher: &Launcher, homeless: &[RunId]) -> Result<(), String> {
        let left = self.trees.iter().filter(|tree| homeless.contains(&tree.run.id));
        self.given_up.extend(left.map(|tree| tree.run.app.clone()));
        refuse(&self.given_up)?;
        let (left, kept) = self.trees.drain(..).partition(|tree| homeless.contains(&tree.run.id));
        self.trees = kept;
        let left: Vec<FoundTree> = left;
        self.last_words.extend(left.into_iter().map(|FoundTree { run, output, .. }| {
            launcher.records.forget(run.id);
            launcher.children.forget(run.pid);
            LastWords { run: run.id, app: run.app.clone(), output: output.map(Some) }
        }));
        Ok(())
    }

    /// Where nobody of the earlier supervisor goes on, what comes waits for ours.
    pub(super) async fn hold_requests(&self, front: &Front, config: &Config, kept: &BTreeMap<String, Kept>) {
        let wanted = |app: &&Arc<AppConfig>| kept.get(&app.name).map_or(app.autostart, |kept| kept.desired);
        let goes_on = |app: &&Arc<AppConfig>| {
            let slot = kept.get(&app.name).map_or(Slot::Blue, |kept| kept.slot);
            self.has(&app.name, slot)
        };
        for app in config.apps.iter().filter(wanted).filter(|app| !goes_on(app)) {
            if let Some(publication) = Publication::new(app, true, &[], &[]) {
                front.publish(publication);
            }
        }
        if !front.is_obeyed(OBEY_PATIENCE).await {
            warn!("the proxy worker of an earlier supervisor does not obey yet");
        }
    }

    /// Is anybody there in this slot of the app?
    fn has(&self, app: &str, slot: Slot) -> bool {
        self.trees.iter().any(|tree| tree.run.app == app && tree.run.slot == slot)
    }

    /// Whom nobody is to end: also what somebody has started by `exec` and waits for.
    pub(super) fn spared(&self, state_id: &str) -> Spared {
        let trees = || self.trees.iter().map(|tree| &tree.run.tree);
        let executed = std::iter::once(format!("{state_id}.exec"));
        Spared {
            marks: trees().map(|tree| tree.mark().to_owned()).chain(executed).collect(),
            cgroups: trees().filter_map(|tree| Some(tree.cgroup()?.path().to_owned())).collect(),
        }
    }

    /// Above the number of each.
    pub(super) fn first_free_run(&self) -> u64 {
        let last_words = self.last_words.iter().map(|last| last.run);
        self.trees.iter().map(|tree| tree.run.id).chain(last_words).map(|run| run.0 + 1).max().unwrap_or(1)
    }

    /// They are ours from here on: their output, their end.
    pub(super) fn go_on(self, shared: &Arc<Shared>, config: &Config) {
        failpoint::here("start.goes-on");
        let count = self.trees.len();
        let mut ended = Vec::new();
        for LastWords { run, app, output } in self.last_words {
            let [Some(out), Some(err)] = output.map(|pipe| pipe.or_else(nothing)) else { continue };
            take_output(shared, config, (run, &app), [out, err]);
            ended.push((run, app));
        }
        for FoundTree { run, pidfd, is_child, output, .. } in self.trees {
            take_output(shared, config, (run.id, &run.app), output);
            shared.runs.add(run.clone());
            shared.front.knows(run.id);
            if is_child {
                tokio::spawn(exit_watch::watch(shared.clone(), run, pidfd));
            } else {
                tokio::spawn(exit_watch::watch_adopted(shared.clone(), run, pidfd));
            }
        }
        // Of what ended together with the earlier supervisor that one had lines in its hands, too.
        let owed = shared.logs.owed().iter().filter(|name| shared.outputs.settings(name).is_none());
        for app in owed.filter_map(|name| config.app(name).filter(|app| app.name == *name)) {
            let _told = shared
                .open_logs_kept_so(app)
                .inspect_err(|why| warn!("a line that {} has begun may be missing in its logs: {why}", app.name));
        }
        shared.logs.settle();
        // Not before all others are attached: what is in hand goes on first.
        for (run, app) in ended {
            shared.finish_logs(run, &app);
        }
        match count {
            0 => {}
            1 => info!("1 process tree of an earlier supervisor goes on"),
            _ => info!("{count} process trees of an earlier supervisor go on"),
        }
    }
}
