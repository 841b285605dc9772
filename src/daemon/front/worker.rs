//! One worker process: its start, the channel to it, its end.

use crate::daemon::clock;
use crate::daemon::launch::sentence;
use crate::linux::exit::ended;
use crate::linux::pidfd::pidfd_send_signal;
use crate::linux::signal::signal_number;
use crate::linux::spawn::Launched;
use crate::proxy::channel::{Order, Report};
use crate::proxy::channel_stream::{Frame, Incoming, Outgoing, both_ways};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// Orders that wait for the worker to read them. One that is so far behind is stuck.
const ORDERS: usize = 4096;

/// Never used twice by one supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct WorkerId(pub(super) u64);

/// What comes from a worker.
pub(super) enum News {
    Said(Report, Vec<OwnedFd>),
    /// The channel is closed and its process has ended. How, where it was our child: `exit code 1`.
    Gone(Option<String>),
}

/// One worker, as long as its channel is open.
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) born: Duration,
    /// How often it was asked in a row without an answer.
    pub(super) unanswered: u32,
    /// Where the next supervisor finds it. None before it is shown, or where it has no place.
    pub(super) door: Option<PathBuf>,
    orders: mpsc::Sender<(Order, Vec<Arc<OwnedFd>>)>,
    pidfd: Option<Arc<OwnedFd>>,
}

/// The process at the other end.
pub(super) enum Process {
    Child(Launched),
    /// An earlier supervisor started it, and noted which one it is.
    Met(OwnedFd),
    /// The same, without a note.
    Unknown,
}

impl Worker {
    /// Speaks to a worker over `stream`; what it says arrives at `news`. `reaped` is told when our child was waited for.
    pub(super) fn over(
        id: WorkerId,
        stream: UnixStream,
        process: Process,
        news: mpsc::Sender<(WorkerId, News)>,
        reaped: impl FnOnce(i32) + Send + 'static,
    ) -> Worker {
        let (incoming, outgoing) = both_ways(stream);
        let (orders, queue) = mpsc::channel(ORDERS);
        let (child, pidfd) = match process {
            Process::Child(child) => (Some(child.pid), Some(child.pidfd)),
            Process::Met(pidfd) => (None, Some(pidfd)),
            Process::Unknown => (None, None),
        };
        let pidfd = pidfd.map(Arc::new);
        let held = pidfd.clone();
        tokio::spawn(tell(outgoing, queue));
        tokio::spawn(async move {
            listen(incoming, id, &news).await;
            let how = match held {
                Some(pidfd) => end(&pidfd).await,
                None => None,
            };
            if let Some(pid) = child {
                reaped(pid);
            }
            let _nobody_listens = news.send((id, News::Gone(how))).await;
        });
        Worker { id, born: clock::now().mono, unanswered: 0, door: None, orders, pidfd }
    }

    pub(super) fn order(&self, order: Order) {
        self.order_with(order, Vec::new());
    }

    /// The descriptors go along. A worker that has stopped reading is killed: another one takes its place.
    pub(super) fn order_with(&self, order: Order, along: Vec<Arc<OwnedFd>>) {
        match self.orders.try_send((order, along)) {
            // One that is gone is told of as such.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                warn!("the proxy worker takes no orders any more: it is killed");
                self.kill();
            }
        }
    }

    pub(super) fn kill(&self) {
        if let Some(pidfd) = &self.pidfd {
            kill(pidfd);
        }
    }
}

fn kill(pidfd: &OwnedFd) {
    // One that has ended is what is wanted.
    let _gone = signal_number("KILL").map(|signal| pidfd_send_signal(pidfd.as_fd(), signal));
}

/// The channel is closed: a worker that nobody can tell anything would serve its last routes for ever.
async fn end(pidfd: &OwnedFd) -> Option<String> {
    kill(pidfd);
    ended(pidfd).await.ok().map(|exit| exit.to_string())
}

/// Until nobody gives orders any more, or nobody takes them.
async fn tell(mut outgoing: Outgoing<Order>, mut queue: mpsc::Receiver<(Order, Vec<Arc<OwnedFd>>)>) {
    while let Some((order, along)) = queue.recv().await {
        let along: Vec<BorrowedFd<'_>> = along.iter().map(|fd| fd.as_fd()).collect();
        if let Err(error) = outgoing.send(&order, &along).await {
            debug!("the channel to the proxy worker takes nothing more: {}", sentence(&error));
            return;
        }
    }
}

/// Until the worker is gone, or says what makes no sense.
async fn listen(mut incoming: Incoming<Report>, id: WorkerId, news: &mpsc::Sender<(WorkerId, News)>) {
    loop {
        match incoming.next().await {
            Ok(Some(Frame { words, descriptors })) => {
                if news.send((id, News::Said(words, descriptors))).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                warn!("the proxy worker cannot be understood: {}", sentence(&error));
                return;
            }
        }
    }
}
