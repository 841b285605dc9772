//! What has changed since the supervisor was last told: the moment of a change costs a flag, however slowly it reads.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use tokio::sync::Notify;

/// Shared by everything that counts. What is told is looked up when it is told, so that it is never old, and so that a
/// supervisor that does not read costs a set of numbers.
#[derive(Debug, Default)]
pub(crate) struct News {
    figures: Cell<bool>,
    in_flight: RefCell<BTreeSet<u64>>,
    changed: Notify,
}

impl News {
    /// A figure is another one than before.
    pub(crate) fn counted(&self) {
        if !self.figures.replace(true) {
            self.changed.notify_one();
        }
    }

    /// What a retired target has in flight is worth a report.
    pub(crate) fn drained(&self, target: u64) {
        if self.in_flight.borrow_mut().insert(target) {
            self.changed.notify_one();
        }
    }

    /// Takes whether figures changed.
    pub(crate) fn take_counted(&self) -> bool {
        self.figures.take()
    }

    pub(crate) fn has_counted(&self) -> bool {
        self.figures.get()
    }

    /// Takes the next target whose `InFlight` is to be told.
    pub(crate) fn take_drained(&self) -> Option<u64> {
        self.in_flight.borrow_mut().pop_first()
    }

    /// Targets whose `InFlight` is still to be told.
    pub(crate) fn untold(&self) -> usize {
        self.in_flight.borrow().len()
    }

    /// Waits for the next change of any kind; one from before the call counts.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
