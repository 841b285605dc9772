//! Who of the retired runs still has what in flight, over all workers: one that is replaced may still be answering.

use super::worker::WorkerId;
use crate::supervisor::RunId;
use std::collections::HashMap;

/// Requests and streams.
pub(super) type InFlight = (u64, u64);

/// By run: what each worker that was asked has said; none before its first answer.
#[derive(Debug, Default)]
pub(super) struct Drains(HashMap<RunId, HashMap<WorkerId, Option<InFlight>>>);

impl Drains {
    /// These workers are asked. What is known at once: nothing, where nobody is.
    pub(super) fn begin(&mut self, run: RunId, asked: impl Iterator<Item = WorkerId>) -> Option<InFlight> {
        let said = asked.map(|worker| (worker, None)).collect();
        self.0.insert(run, said);
        self.sum(run)
    }

    /// A worker answers. The sum, once all have; none about a run that is not drained.
    pub(super) fn said(&mut self, worker: WorkerId, run: RunId, in_flight: InFlight) -> Option<InFlight> {
        *self.0.get_mut(&run)?.get_mut(&worker)? = Some(in_flight);
        self.sum(run)
    }

    /// A worker is gone, and what it had in flight with it. The sums that are known by that.
    pub(super) fn worker_is_gone(&mut self, worker: WorkerId) -> Vec<(RunId, InFlight)> {
        let asked: Vec<RunId> =
            self.0.iter_mut().filter_map(|(run, said)| said.remove(&worker).map(|_| *run)).collect();
        asked.into_iter().filter_map(|run| Some((run, self.sum(run)?))).collect()
    }

    /// It is over, or has its traffic again.
    pub(super) fn forget(&mut self, run: RunId) {
        self.0.remove(&run);
    }

    fn sum(&self, run: RunId) -> Option<InFlight> {
        let said = self.0.get(&run)?;
        said.values().try_fold((0, 0), |(requests, streams), said| {
            let (more_requests, more_streams) = (*said)?;
            Some((requests + more_requests, streams + more_streams))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: RunId = RunId(7);
    const OLD: WorkerId = WorkerId(1);
    const NEW: WorkerId = WorkerId(2);

    #[test]
    fn without_a_worker_nothing_is_in_flight() {
        assert_eq!(Drains::default().begin(RUN, std::iter::empty()), Some((0, 0)));
    }

    #[test]
    fn what_is_in_flight_is_known_once_every_worker_has_said_it() {
        let mut drains = Drains::default();
        assert_eq!(drains.begin(RUN, [OLD, NEW].into_iter()), None);
        assert_eq!(drains.said(OLD, RUN, (2, 1)), None);
        assert_eq!(drains.said(NEW, RUN, (1, 0)), Some((3, 1)));
        assert_eq!(drains.said(OLD, RUN, (0, 1)), Some((1, 1)));
        assert_eq!(drains.said(NEW, RunId(8), (0, 0)), None, "nobody drains that one");
    }

    #[test]
    fn what_a_dead_worker_had_is_no_longer_in_flight() {
        let mut drains = Drains::default();
        drains.begin(RUN, [OLD, NEW].into_iter());
        drains.said(OLD, RUN, (2, 1));
        assert_eq!(drains.worker_is_gone(OLD), [], "the other one has not said anything yet");
        assert_eq!(drains.worker_is_gone(NEW), [(RUN, (0, 0))]);
        assert_eq!(drains.worker_is_gone(NEW), []);
    }
}
