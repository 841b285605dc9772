//! The connections to one instance that wait for their next request, and how long each may.

use super::upstream::Upstream;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// An origin ends an idle connection on its own time; a request that is on its way then is lost. So we end it first.
const MARGIN: Duration = Duration::from_secs(1);

/// Idle connections to one target.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    shelf: Rc<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// The one that was used last is at the back, and is used first.
    idle: RefCell<VecDeque<Idle>>,
    is_closed: Cell<bool>,
    is_swept: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    upstream: Box<Upstream>,
    until: Instant,
}

impl Pool {
    /// The connection that was used last, if the origin still keeps it. The kernel is asked: what is sent on one that has
    /// ended is lost, and what came while it rested would be taken for an answer.
    pub(super) fn take(&self, now: Instant) -> Option<Box<Upstream>> {
        let mut idle = self.shelf.idle.borrow_mut();
        while let Some(last) = idle.pop_back() {
            if now < last.until && last.upstream.is_still_there() {
                return Some(last.upstream);
            }
        }
        None
    }

    /// Keeps a connection whose answer is complete, if it can be used once more.
    pub(super) fn put(&self, mut upstream: Box<Upstream>, now: Instant) {
        let Some(until) = upstream.kept_until().checked_sub(MARGIN).filter(|until| now < *until) else { return };
        if self.shelf.is_closed.get() || !upstream.rests() {
            return;
        }
        self.shelf.idle.borrow_mut().push_back(Idle { upstream, until });
        if !self.shelf.is_swept.replace(true) {
            tokio::task::spawn_local(sweep(Rc::downgrade(&self.shelf)));
        }
    }

    /// Ends the idle connections; one that becomes idle from now on is closed instead of kept.
    pub(crate) fn close(&self) {
        self.shelf.is_closed.set(true);
        self.shelf.idle.borrow_mut().clear();
    }
}

/// Ends what nobody came for, until nothing is left.
async fn sweep(shelf: Weak<Shelf>) {
    loop {
        let Some(present) = shelf.upgrade() else { return };
        let next = present.idle.borrow().iter().map(|idle| idle.until).min();
        let Some(next) = next else {
            present.is_swept.set(false);
            return;
        };
        drop(present);
        // Not to the moment: what is over its time is not used anyway.
        sleep_until(next + MARGIN / 4).await;
        let Some(present) = shelf.upgrade() else { return };
        let now = Instant::now();
        present.idle.borrow_mut().retain(|idle| now < idle.until);
    }
}
