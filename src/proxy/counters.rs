//! What is counted of an app, and the one way to count each thing.

use super::channel::{AppFigures, LATENCY_BOUNDS};
use super::news::News;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The fields of [`AppFigures`], counted as things happen.
#[derive(Debug)]
pub(crate) struct Counters {
    connections: Cell<u64>,
    held: Cell<u64>,
    /// Kept by claims.
    pub(super) requests: Cell<u64>,
    pub(super) streams: Cell<u64>,
    answers: [Cell<u64>; 5],
    refused: Cell<u64>,
    hold_timeouts: Cell<u64>,
    upstream_errors: Cell<u64>,
    retries: Cell<u64>,
    latency: [Cell<u64>; LATENCY_BOUNDS.len() + 1],
    latency_sum_us: Cell<u64>,
    news: Rc<News>,
}

impl Counters {
    pub(super) fn new(news: Rc<News>) -> Counters {
        Counters {
            connections: Cell::default(),
            held: Cell::default(),
            requests: Cell::default(),
            streams: Cell::default(),
            answers: Default::default(),
            refused: Cell::default(),
            hold_timeouts: Cell::default(),
            upstream_errors: Cell::default(),
            retries: Cell::default(),
            latency: Default::default(),
            latency_sum_us: Cell::default(),
            news,
        }
    }

    /// A client's connection, while the guard lives.
    pub(super) fn connection(self: &Rc<Counters>) -> Present {
        Present::new(self, |counters| &counters.connections)
    }

    /// A request that waits for somebody to answer, while the guard lives.
    pub(super) fn held(self: &Rc<Counters>) -> Present {
        Present::new(self, |counters| &counters.held)
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.get()
    }

    /// An answer of this status went to a client, from an instance or from us.
    pub(crate) fn answer(&self, status: u16) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = self.answers.get(class) {
            self.add(count, 1);
        }
    }

    /// The last byte of an answer is on its way, this long after the head of its request. Not for streams.
    pub(crate) fn took(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS.partition_point(|bound| *bound < us);
        self.add(&self.latency[bucket], 1);
        self.add(&self.latency_sum_us, us);
    }

    /// The proxy itself refused a request: malformed, too large, too slow, over a limit.
    pub(crate) fn refused(&self) {
        self.add(&self.refused, 1);
    }

    pub(super) fn hold_timeout(&self) {
        self.add(&self.hold_timeouts, 1);
    }

    /// An instance refused, reset or ended a connection before an answer was complete.
    pub(crate) fn upstream_error(&self) {
        self.add(&self.upstream_errors, 1);
    }

    pub(crate) fn retry(&self) {
        self.add(&self.retries, 1);
    }

    pub(super) fn figures(&self, app: &str) -> AppFigures {
        AppFigures {
            app: app.to_owned(),
            connections: self.connections.get(),
            held: self.held.get(),
            requests: self.requests.get(),
            streams: self.streams.get(),
            answers: self.answers.each_ref().map(Cell::get),
            refused: self.refused.get(),
            hold_timeouts: self.hold_timeouts.get(),
            upstream_errors: self.upstream_errors.get(),
            retries: self.retries.get(),
            latency: self.latency.iter().map(Cell::get).collect(),
            latency_sum_us: self.latency_sum_us.get(),
        }
    }

    fn add(&self, count: &Cell<u64>, more: u64) {
        count.set(count.get().wrapping_add(more));
        self.news.counted();
    }
}

/// One of what is counted "now".
#[derive(Debug)]
pub(crate) struct Present {
    counters: Rc<Counters>,
    count: fn(&Counters) -> &Cell<u64>,
}

impl Present {
    fn new(counters: &Rc<Counters>, count: fn(&Counters) -> &Cell<u64>) -> Present {
        counters.add(count(counters), 1);
        Present { counters: counters.clone(), count }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let count = (self.count)(&self.counters);
        count.set(count.get().saturating_sub(1));
        self.counters.news.counted();
    }
}
