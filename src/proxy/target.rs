//! One instance as the worker sees it: where it is, what it has in flight, and when it has nothing left.
//!
//! ```text
//! routed ──Route without it──▶ passed over ──nothing in flight──▶ forgotten, its pool closed
//!    ◀──────Route with it────────┘   └──Retire──▶ the same, told by InFlight
//! ```

use super::channel::TargetFigures;
use super::counters::Counters;
use super::news::News;
use super::pool::Pool;
use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// An instance, from the first route that names it until nothing of it is left.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) id: u64,
    pub(crate) address: SocketAddr,
    /// Closed once the target is in no route and has nothing in flight. What comes back to it later must not be kept.
    pub(crate) pool: Pool,
    requests: Cell<u64>,
    streams: Cell<u64>,
    /// Which of its app's claims the last one was, counted from 1.
    last_claim: Cell<u64>,
    answered: Cell<u64>,
    errors: Cell<u64>,
    standing: Cell<Standing>,
    is_cut: Cell<bool>,
    news: Rc<News>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Routed,
    /// In no route any more.
    PassedOver,
    /// And the supervisor waits for its end.
    Retired,
}

impl Target {
    pub(super) fn new(id: u64, address: SocketAddr, news: Rc<News>) -> Target {
        Target {
            id,
            address,
            pool: Pool::default(),
            requests: Cell::new(0),
            streams: Cell::new(0),
            last_claim: Cell::new(0),
            answered: Cell::new(0),
            errors: Cell::new(0),
            standing: Cell::new(Standing::Routed),
            is_cut: Cell::new(false),
            news,
        }
    }

    /// Counts a request, the `number`th of its app; dropping the claim uncounts it.
    pub(super) fn claim(self: &Rc<Target>, app: Rc<Counters>, number: u64) -> Claim {
        self.last_claim.set(number);
        app.requests.set(app.requests.get() + 1);
        self.requests.set(self.requests.get() + 1);
        self.news.counted();
        Claim { target: self.clone(), app, is_stream: false, was_ok: None }
    }

    /// Whatever is in flight there ends.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    /// Does something for as long as it is not cut. Whoever is at it is woken for that by [`super::routes::Routes::cut`].
    pub(crate) async fn unless_cut<T>(&self, act: impl Future<Output = T>) -> Option<T> {
        let mut act = pin!(act);
        poll_fn(|cx| match act.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.is_cut.get() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    pub(super) fn cut(&self) {
        self.is_cut.set(true);
        self.pool.close();
    }

    pub(super) fn route(&self) {
        self.standing.set(Standing::Routed);
    }

    /// May a route name it again? Not when it was cut, nor when its pool is closed because it was over.
    pub(super) fn can_serve(&self) -> bool {
        !self.is_cut.get() && (self.standing.get() == Standing::Routed || self.load() > 0)
    }

    /// True when nothing of it is left, so that it can be forgotten.
    pub(super) fn pass_over(&self) -> bool {
        if self.standing.get() == Standing::Routed {
            self.standing.set(Standing::PassedOver);
        }
        self.settle()
    }

    /// Its `InFlight` is reported now and at each zero to come.
    pub(super) fn retire(&self) {
        self.standing.set(Standing::Retired);
        self.settle();
        self.news.drained(self.id);
    }

    pub(super) fn in_flight(&self) -> (u64, u64) {
        (self.requests.get(), self.streams.get())
    }

    pub(super) fn figures(&self) -> TargetFigures {
        TargetFigures {
            target: self.id,
            requests: self.requests.get(),
            streams: self.streams.get(),
            answered: self.answered.get(),
            errors: self.errors.get(),
        }
    }

    /// What it is compared by when one is chosen.
    pub(super) fn load(&self) -> u64 {
        self.requests.get() + self.streams.get()
    }

    /// Which of equally busy ones is chosen: the smallest.
    pub(super) fn last_claim(&self) -> u64 {
        self.last_claim.get()
    }

    /// The pool goes before the report: Node closes only once nobody holds a connection to it.
    fn settle(&self) -> bool {
        let is_over = self.standing.get() != Standing::Routed && self.load() == 0;
        if is_over {
            self.pool.close();
        }
        is_over
    }

    fn uncount(&self, count: &Cell<u64>) {
        count.set(count.get().saturating_sub(1));
        self.news.counted();
        self.settle();
        if count.get() == 0 && self.standing.get() == Standing::Retired {
            self.news.drained(self.id);
        }
    }
}

/// A request, or the stream that came of it, counted on its target until this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    target: Rc<Target>,
    app: Rc<Counters>,
    is_stream: bool,
    /// None before an answer.
    was_ok: Option<bool>,
}

impl Claim {
    pub(crate) fn target(&self) -> &Rc<Target> {
        &self.target
    }

    /// It is a WebSocket, another upgrade or an event stream from now on, and drains on its own time.
    pub(crate) fn becomes_stream(&mut self) {
        if self.is_stream {
            return;
        }
        self.is_stream = true;
        let (target, app) = (&self.target, &self.app);
        target.streams.set(target.streams.get() + 1);
        app.streams.set(app.streams.get() + 1);
        app.requests.set(app.requests.get().saturating_sub(1));
        target.uncount(&target.requests);
    }

    /// The instance answered, or failed to; 5xx and a connection that broke are not `ok`. An answer that began well and
    /// breaks off is one that failed.
    pub(crate) fn answered(&mut self, ok: bool) {
        let target = &self.target;
        let (is_first, is_worse) = (self.was_ok.is_none(), !ok && self.was_ok != Some(false));
        if is_first || is_worse {
            self.was_ok = Some(ok);
            target.answered.set(target.answered.get() + u64::from(is_first));
            target.errors.set(target.errors.get() + u64::from(is_worse));
            target.news.counted();
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let (of_target, of_app) = match self.is_stream {
            true => (&self.target.streams, &self.app.streams),
            false => (&self.target.requests, &self.app.requests),
        };
        of_app.set(of_app.get().saturating_sub(1));
        self.target.uncount(of_target);
    }
}
