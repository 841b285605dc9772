//! What an earlier supervisor has left running, found again: each tree whole, with its pipes, its port and its cgroup.

use super::exit_watch;
use super::launch::Launcher;
use super::run_records::{Memory, PortRecord, RunRecord};
use super::runs::{Run, RunPort};
use super::shared::Shared;
use crate::api::Slot;
use crate::config::Config;
use crate::linux::cgroup::Cgroup;
use crate::linux::inherited::Inherited;
use crate::linux::pidfd::pidfd_open;
use crate::linux::pipe;
use crate::linux::ports::{self, Listening};
use crate::linux::strays::Spared;
use crate::linux::tree::Tree;
use crate::supervisor::{RunId, Survivor};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tracing::{debug, info, warn};

/// What can be gone on with.
pub(super) struct Found {
    pub memory: Memory,
    trees: Vec<FoundTree>,
}

struct FoundTree {
    run: Arc<Run>,
    survivor: Survivor,
    /// Readable when its leader has ended.
    pidfd: OwnedFd,
    /// Its standard output and error.
    output: [OwnedFd; 2],
}

/// Looks for it. Blocks.
pub(super) fn find(launcher: &Launcher, mut inherited: Inherited) -> Found {
    let records = launcher.records.all();
    let trees = records.into_iter().filter_map(|record| {
        let run = RunId(record.run);
        let tree = found(launcher, &mut inherited, record);
        if tree.is_none() {
            launcher.records.forget(run);
        }
        tree
    });
    Found { memory: launcher.records.remembered(), trees: trees.collect() }
}

/// None: its leader is gone, or something of it cannot be taken over; what is left of it is to be ended.
fn found(launcher: &Launcher, inherited: &mut Inherited, record: RunRecord) -> Option<FoundTree> {
    let leader = record.leader();
    // The descriptor first: whoever has the pid then keeps it.
    let pidfd = pidfd_open(leader.pid).ok()?;
    let stat = leader.stat().filter(|stat| stat.is_alive())?;
    let cgroup = match &record.cgroup {
        Some(path) => Some(Cgroup::open(path.clone()).inspect_err(|error| debug!("{}: {error}", path.display())).ok()?),
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
    let [Some(out), Some(err)] = record.pipes.map(reopened) else { return None };
    let port = match record.port {
        Some(PortRecord::Private(port)) => Some(RunPort::Private(launcher.ports.reserve(port)?)),
        Some(PortRecord::Public(port)) => Some(RunPort::Public(port)),
        None => None,
    };
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
    Some(FoundTree { run: Arc::new(run), survivor, pidfd, output: [out, err] })
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

    /// These have no place any more.
    pub(super) fn leave(&mut self, launcher: &Launcher, homeless: &[RunId]) {
        self.trees.retain(|tree| !homeless.contains(&tree.run.id));
        for run in homeless {
            launcher.records.forget(*run);
        }
    }

    /// Is anybody there in this slot of the app?
    pub(super) fn has(&self, app: &str, slot: Slot) -> bool {
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
        self.trees.iter().map(|tree| tree.run.id.0 + 1).max().unwrap_or(1)
    }

    /// They are ours from here on: their output, their end.
    pub(super) fn go_on(self, shared: &Arc<Shared>, config: &Config) {
        let count = self.trees.len();
        for FoundTree { run, pidfd, output, .. } in self.trees {
            let app = config.app(&run.app).filter(|app| app.name == run.app);
            let user = app.and_then(|app| {
                let user = shared.launcher.users.find(app);
                user.inspect_err(|why| warn!("the output of {} is dropped: {why}", run.app)).ok()
            });
            match app.zip(user) {
                Some((app, user)) => shared.take_output(run.id, app, &user, output),
                None => shared.drop_output(&run, output),
            }
            shared.runs.add(run.clone());
            shared.front.knows(run.id);
            tokio::spawn(exit_watch::watch_adopted(shared.clone(), run, pidfd));
        }
        // Of what ended together with the earlier supervisor that one had lines in its hands, too.
        let owed = shared.logs.owed().iter().filter(|name| shared.outputs.settings(name).is_none());
        for app in owed.filter_map(|name| config.app(name).filter(|app| app.name == *name)) {
            shared.open_logs(app);
        }
        shared.logs.settle();
        match count {
            0 => {}
            1 => info!("1 process tree of an earlier supervisor goes on"),
            _ => info!("{count} process trees of an earlier supervisor go on"),
        }
    }
}
