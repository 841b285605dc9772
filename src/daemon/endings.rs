//! The trees that are being ended: who of them is over, and what is due to the others.

use super::runs::Run;
use crate::linux::tree::Signalled;
use crate::supervisor::RunId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How often they are looked at when nothing announces itself.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(super) struct Endings {
    trees: HashMap<RunId, EndingTree>,
    /// The next look that counts: those that children's ends bring come as they come.
    look_at: Option<Duration>,
}

struct EndingTree {
    run: Arc<Run>,
    pressure: Pressure,
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

    /// When a look is due: npm and shells that stayed behind alone are signalled, and who survived a kill by forking is
    /// killed again.
    pub(super) fn press_on(&mut self, now: Duration) {
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        self.look_at = (!self.trees.is_empty()).then_some(now + LOOK);
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
