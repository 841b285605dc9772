//! A worker that does nothing any more, frozen or caught in a mistake of ours, is ended: another one takes its place.

use super::{Actor, Serves};
use crate::daemon::front::worker::{Worker, WorkerId};
use crate::proxy::channel::Order;
use std::cmp::Ordering;
use std::time::Duration;

/// Counted in looks and not in time: of a machine that slept, or a group of processes that was stopped and goes on,
/// nobody has failed to answer.
const MOST_UNANSWERED: u32 = 2;

impl Actor {
    /// When the workers are asked next; nobody is there to ask otherwise.
    pub(super) fn next_look(&self) -> Option<Duration> {
        let somebody = self.workers().chain(&self.unheard).next();
        somebody.map(|_| self.look_at)
    }

    /// Asks each worker something that it answers after all that it was told before.
    pub(super) fn look_after_workers(&mut self, now: Duration) {
        if now < self.look_at {
            return;
        }
        self.look_at = now + self.world.look_every;
        let question = self.nobody();
        let mut is_stuck = false;
        for worker in self.workers_mut() {
            match worker.unanswered.cmp(&MOST_UNANSWERED) {
                Ordering::Less => worker.order(Order::Retire { target: question }),
                Ordering::Equal => {
                    is_stuck = true;
                    worker.kill();
                }
                // Its end is awaited.
                Ordering::Greater => continue,
            }
            worker.unanswered += 1;
        }
        if is_stuck {
            (self.world.announce)("the proxy worker obeys no order any more: it is killed".to_owned());
        }
    }

    /// It has obeyed what it was told before it was asked.
    pub(super) fn has_answered(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers_mut().find(|worker| worker.id == id) {
            worker.unanswered = 0;
        }
    }

    fn workers_mut(&mut self) -> impl Iterator<Item = &mut Worker> {
        let current = match &mut self.serves {
            Serves::Current(worker) => Some(worker),
            Serves::Nobody { .. } | Serves::Starting => None,
        };
        current.into_iter().chain(&mut self.leaving).chain(&mut self.unheard)
    }
}
