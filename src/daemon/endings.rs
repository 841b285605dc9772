//! The trees that are being ended: who of them is over, and what is due to the others.

use super::runs::Run;
use crate::linux::tree::Signalled;
use crate::supervisor::RunId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tracing::debug;

/// How often they are looked at when nothing announces itself.
const LOOK: Duration = Duration::from_millis(100);
/// How long it is tried to remove an empty tree's cgroup; at the end of the supervisor they go in any case.
const CGROUP_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Endings {
    trees: HashMap<RunId, EndingTree>,
    /// Their trees are empty, their cgroups could not be removed yet.
    emptied: Vec<Emptied>,
    /// The next look that counts: those that children's ends bring come as they come.
    look_at: Option<Duration>,
}

struct EndingTree {
    run: Arc<Run>,
    pressure: Pressure,
}

/// A cgroup to be removed: busy for a moment after its last process died.
struct Emptied {
    run: Arc<Run>,
    until: Duration,
}

enum Pressure {
    Asked { signal: i32, signalled: Signalled },
    Killed,
}

impl Endings {
    /// Asks every process of the tree to end.
    pub(super) fn stop(&mut self, run: Arc<Run>, signal: i32, now: Duration) {
        let mut signalled = Signalled::default();
        run.tree.signal_politely(signal, &mut signalled);
        self.trees.insert(run.id, EndingTree { run, pressure: Pressure::Asked { signal, signalled } });
        self.look_at.get_or_insert(now + LOOK);
    }

    /// Ends every process of the tree, whether it was asked before or not.
    pub(super) fn kill(&mut self, run: Arc<Run>, now: Duration) {
        run.tree.kill();
        self.trees.insert(run.id, EndingTree { run, pressure: Pressure::Killed });
        self.look_at.get_or_insert(now + LOOK);
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.look_at
    }

    /// Those of which nothing is left; they are forgotten here.
    pub(super) fn over(&mut self) -> Vec<Arc<Run>> {
        let over: Vec<Arc<Run>> =
            self.trees.values().filter(|ending| ending.run.is_over()).map(|ending| ending.run.clone()).collect();
        for run in &over {
            self.trees.remove(&run.id);
        }
        over
    }

    /// Its tree is empty: removes its cgroup, now or a little later.
    pub(super) fn clean_up(&mut self, run: Arc<Run>, now: Duration) {
        if run.tree.cleanup().is_err() {
            self.emptied.push(Emptied { run, until: now + CGROUP_PATIENCE });
            self.look_at.get_or_insert(now + LOOK);
        }
    }

    fn remove_cgroups(&mut self, now: Duration) {
        self.emptied.retain(|Emptied { run, until }| {
            let Err(error) = run.tree.cleanup() else { return false };
            let again = now < *until;
            if !again {
                debug!("the cgroup of run {} stays for now: {error}", run.id);
            }
            again
        });
    }

    /// When a look is due: npm and shells that stayed behind alone are signalled, and who survived a kill by forking is
    /// killed again.
    pub(super) fn press_on(&mut self, now: Duration) {
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.remove_cgroups(now);
        self.look_at = (!self.trees.is_empty() || !self.emptied.is_empty()).then_some(now + LOOK);
        for ending in self.trees.values_mut() {
            match &mut ending.pressure {
                Pressure::Killed => ending.run.tree.kill(),
                Pressure::Asked { signal, signalled } => {
                    ending.run.tree.signal_left_behind(*signal, signalled);
                }
            }
        }
    }
}
