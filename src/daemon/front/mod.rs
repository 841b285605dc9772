//! What the public finds: the supervisor's side of the proxy.
//!
//! In reading order: `actor` (one task that takes what the loop wants published and keeps a worker at it), `doors` (the
//! public addresses), `process`, `worker` and `record` (its
//! start, the channel to it, and what the next supervisor is to know of it), `routes` (an app's runs as the worker's
//! targets), `drains` (who of the retired has what in flight) and `figures` (what the workers have counted).

mod actor;
mod doors;
mod drains;
mod figures;
mod process;
mod record;
mod routes;
#[cfg(test)]
mod tests;
mod worker;

pub(super) use actor::{Met, Stored, World, start};
pub(super) use figures::{Figures, OfRun, Serving};
pub(super) use routes::Publication;

use crate::supervisor::RunId;
use record::Record;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How often it is looked whether a worker still obeys: one that has not answered twice is replaced.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Three looks at a worker that is stuck, and the start of another one.
pub(super) const REPLACED_WITHIN: Duration = Duration::from_secs(20);

/// Does a worker live that is noted in this runtime directory?
pub(super) fn has_worker(runtime_dir: &Path) -> bool {
    Record::read(runtime_dir).and_then(Record::open).is_some()
}

/// How the loop talks to the task.
pub(super) struct Front {
    wishes: mpsc::UnboundedSender<Wish>,
    figures: Arc<Figures>,
}

/// From the loop.
enum Wish {
    Publish(Publication),
    /// An earlier supervisor has published it.
    Known(RunId),
    Drain(RunId),
    Cut(RunId),
    /// Its tree is empty.
    Over(RunId),
    /// What an earlier supervisor published and this one has not is over.
    CloseUnclaimed,
    /// Hand out the sockets of all public addresses once more, by name.
    Copies(oneshot::Sender<Vec<(String, OwnedFd)>>),
    /// Tell when everything before is obeyed.
    Obeyed(oneshot::Sender<()>),
    /// The app is gone.
    Remove(String),
    /// All apps are stopped: end the worker, and tell when it is gone.
    End(oneshot::Sender<()>),
}

impl Front {
    pub(super) fn publish(&self, publication: Publication) {
        self.wish(Wish::Publish(publication));
    }

    /// A run that goes on from an earlier supervisor: the worker may have requests in flight with it.
    pub(super) fn knows(&self, run: RunId) {
        self.wish(Wish::Known(run));
    }

    pub(super) fn drain(&self, run: RunId) {
        self.wish(Wish::Drain(run));
    }

    pub(super) fn cut(&self, run: RunId) {
        self.wish(Wish::Cut(run));
    }

    pub(super) fn over(&self, run: RunId) {
        self.wish(Wish::Over(run));
    }

    pub(super) fn remove(&self, app: String) {
        self.wish(Wish::Remove(app));
    }

    /// What an earlier supervisor had open and this one has not published by now is closed.
    pub(super) fn close_unclaimed(&self) {
        self.wish(Wish::CloseUnclaimed);
    }

    /// The sockets of all public addresses once more, by name, for the program that takes over: the worker has them, too,
    /// but may be gone by then.
    pub(super) fn copies(&self) -> oneshot::Receiver<Vec<(String, OwnedFd)>> {
        let (copies, answer) = oneshot::channel();
        self.wish(Wish::Copies(copies));
        answer
    }

    /// Returns when the worker has obeyed what it was told before this; false when it has not in this time, or there is
    /// none for a while.
    pub(super) async fn is_obeyed(&self, within: Duration) -> bool {
        let (obeyed, done) = oneshot::channel();
        self.wish(Wish::Obeyed(obeyed));
        matches!(timeout(within, done).await, Ok(Ok(())))
    }

    /// Ends the worker; returns when it is gone.
    pub(super) async fn end(&self) {
        let (ended, gone) = oneshot::channel();
        self.wish(Wish::End(ended));
        let _task_is_gone = gone.await;
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.figures
    }

    fn wish(&self, wish: Wish) {
        // The task is gone only when the process ends.
        let _gone = self.wishes.send(wish);
    }
}
