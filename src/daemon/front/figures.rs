//! What the workers have counted, kept so that a worker's death loses no count: read by `list` without asking anybody.

use super::worker::WorkerId;
use crate::api::Traffic;
use crate::proxy::channel::{AppFigures, LATENCY_BOUNDS, TargetFigures};
use crate::supervisor::RunId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(in crate::daemon) struct Figures(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    /// Of workers that are gone.
    base: Counts,
    /// Of those that are there.
    workers: HashMap<WorkerId, Counts>,
    serving: Option<Serving>,
    restarts: u64,
}

#[derive(Debug, Default)]
struct Counts {
    apps: HashMap<String, AppFigures>,
    targets: HashMap<u64, TargetFigures>,
}

/// The worker that has the listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) struct Serving {
    pub pid: i32,
    pub version: String,
}

/// Of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::daemon) struct OfRun {
    pub requests: u64,
    pub streams: u64,
    pub answered: u64,
    pub errors: u64,
}

impl Figures {
    /// Of an app, since the first worker's start.
    pub(in crate::daemon) fn of_app(&self, app: &str) -> Traffic {
        let books = self.books();
        let mut sum = AppFigures::default();
        for counts in books.all() {
            if let Some(figures) = counts.apps.get(app) {
                add(&mut sum, figures);
            }
        }
        traffic(sum)
    }

    pub(in crate::daemon) fn of_run(&self, run: RunId) -> OfRun {
        self.books().of_run(run)
    }

    /// The worker that serves now.
    pub(in crate::daemon) fn serving(&self) -> Option<Serving> {
        self.books().serving.clone()
    }

    /// Open connections of clients, now.
    pub(in crate::daemon) fn connections(&self) -> u64 {
        self.books().all().flat_map(|counts| counts.apps.values()).map(|figures| figures.connections).sum()
    }

    /// Workers that ended unasked.
    pub(in crate::daemon) fn restarts(&self) -> u64 {
        self.books().restarts
    }

    pub(super) fn serves(&self, serving: Option<Serving>) {
        self.books().serving = serving;
    }

    pub(super) fn restarted(&self) {
        self.books().restarts += 1;
    }

    /// A worker's newest figures of what changed. `known`: an app or a run that nobody knows any more is left out.
    /// Returns those runs, as they are now.
    pub(super) fn take(
        &self,
        worker: WorkerId,
        (apps, targets): (Vec<AppFigures>, Vec<TargetFigures>),
        known: (impl Fn(&str) -> bool, impl Fn(RunId) -> bool),
    ) -> Vec<(RunId, OfRun)> {
        let mut books = self.books();
        let counts = books.workers.entry(worker).or_default();
        let apps = apps.into_iter().filter(|figures| known.0(&figures.app));
        counts.apps.extend(apps.map(|figures| (figures.app.clone(), figures)));
        let runs: Vec<RunId> =
            targets.iter().map(|figures| RunId(figures.target)).filter(|run| known.1(*run)).collect();
        let targets = targets.into_iter().filter(|figures| known.1(RunId(figures.target)));
        counts.targets.extend(targets.map(|figures| (figures.target, figures)));
        runs.into_iter().map(|run| (run, books.of_run(run))).collect()
    }

    /// What it had counted stays; what it had open is gone with it.
    pub(super) fn worker_is_gone(&self, worker: WorkerId) {
        let mut books = self.books();
        let Some(last) = books.workers.remove(&worker) else { return };
        for (app, mut figures) in last.apps {
            (figures.connections, figures.held, figures.requests, figures.streams) = (0, 0, 0, 0);
            add(books.base.apps.entry(app).or_default(), &figures);
        }
        for (target, mut figures) in last.targets {
            (figures.requests, figures.streams) = (0, 0);
            add_target(books.base.targets.entry(target).or_default(), &figures);
        }
    }

    pub(super) fn forget_run(&self, run: RunId) {
        let mut books = self.books();
        books.base.targets.remove(&run.0);
        for counts in books.workers.values_mut() {
            counts.targets.remove(&run.0);
        }
    }

    pub(super) fn forget_app(&self, app: &str) {
        let mut books = self.books();
        books.base.apps.remove(app);
        for counts in books.workers.values_mut() {
            counts.apps.remove(app);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn all(&self) -> impl Iterator<Item = &Counts> {
        std::iter::once(&self.base).chain(self.workers.values())
    }

    fn of_run(&self, run: RunId) -> OfRun {
        let mut sum = TargetFigures::default();
        for figures in self.all().filter_map(|counts| counts.targets.get(&run.0)) {
            add_target(&mut sum, figures);
        }
        OfRun { requests: sum.requests, streams: sum.streams, answered: sum.answered, errors: sum.errors }
    }
}

fn add(sum: &mut AppFigures, more: &AppFigures) {
    let AppFigures { app: _, connections, held, requests, streams, answers, .. } = more;
    sum.connections += connections;
    sum.held += held;
    sum.requests += requests;
    sum.streams += streams;
    for (sum, more) in sum.answers.iter_mut().zip(answers) {
        *sum += more;
    }
    sum.refused += more.refused;
    sum.hold_timeouts += more.hold_timeouts;
    sum.upstream_errors += more.upstream_errors;
    sum.retries += more.retries;
    sum.latency.resize(LATENCY_BOUNDS.len() + 1, 0);
    for (sum, more) in sum.latency.iter_mut().zip(&more.latency) {
        *sum += more;
    }
    sum.latency_sum_us += more.latency_sum_us;
}

fn add_target(sum: &mut TargetFigures, more: &TargetFigures) {
    sum.requests += more.requests;
    sum.streams += more.streams;
    sum.answered += more.answered;
    sum.errors += more.errors;
}

fn traffic(figures: AppFigures) -> Traffic {
    Traffic {
        connections: figures.connections,
        in_flight: figures.requests,
        streams: figures.streams,
        held: figures.held,
        requests: figures.answers.iter().sum(),
        answers: figures.answers,
        refused: figures.refused,
        hold_timeouts: figures.hold_timeouts,
        upstream_errors: figures.upstream_errors,
        retries: figures.retries,
        latency_bounds_us: LATENCY_BOUNDS.to_vec(),
        p50_us: quantile(&figures.latency, 0.50),
        p99_us: quantile(&figures.latency, 0.99),
        latency: figures.latency,
        latency_sum_us: figures.latency_sum_us,
    }
}

/// The time within which that part of the requests was done, microseconds: as if a bucket's were spread evenly over it.
/// None without any; beyond the last bound nothing but that bound is known.
fn quantile(latency: &[u64], part: f64) -> Option<u64> {
    let total: u64 = latency.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = part * total as f64;
    let mut before = 0.0;
    let lower_bounds = std::iter::once(&0).chain(&LATENCY_BOUNDS);
    for ((count, upper), lower) in latency.iter().zip(&LATENCY_BOUNDS).zip(lower_bounds) {
        let count = *count as f64;
        if count > 0.0 && before + count >= rank {
            let share = (rank - before) / count;
            return Some(lower + ((upper - lower) as f64 * share).round() as u64);
        }
        before += count;
    }
    LATENCY_BOUNDS.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: WorkerId = WorkerId(1);
    const SECOND: WorkerId = WorkerId(2);

    fn web(ok: u64, failed: u64) -> AppFigures {
        let mut latency = vec![0; LATENCY_BOUNDS.len() + 1];
        latency[1] = ok + failed;
        AppFigures {
            app: "web".to_owned(),
            connections: 3,
            answers: [0, ok, 0, 0, failed],
            latency,
            ..AppFigures::default()
        }
    }

    fn target(answered: u64, errors: u64) -> TargetFigures {
        TargetFigures { target: 7, requests: 1, streams: 2, answered, errors }
    }

    fn take(figures: &Figures, worker: WorkerId, app: AppFigures, of: TargetFigures) -> Vec<(RunId, OfRun)> {
        figures.take(worker, (vec![app], vec![of]), (|app: &str| app == "web", |run| run == RunId(7)))
    }

    #[test]
    fn a_workers_death_loses_no_count_and_all_that_was_open() {
        let figures = Figures::default();
        take(&figures, FIRST, web(10, 1), target(11, 1));
        take(&figures, FIRST, web(20, 2), target(22, 2));
        let traffic = figures.of_app("web");
        assert_eq!((traffic.connections, traffic.requests, traffic.answers), (3, 22, [0, 20, 0, 0, 2]));
        assert_eq!(figures.of_run(RunId(7)), OfRun { requests: 1, streams: 2, answered: 22, errors: 2 });
        figures.worker_is_gone(FIRST);
        let traffic = figures.of_app("web");
        assert_eq!((traffic.connections, traffic.requests), (0, 22));
        let runs = take(&figures, SECOND, web(5, 0), target(5, 0));
        assert_eq!(runs, [(RunId(7), OfRun { requests: 1, streams: 2, answered: 27, errors: 2 })]);
        assert_eq!((figures.connections(), figures.of_app("web").latency[1]), (3, 27));
    }

    #[test]
    fn nothing_is_kept_of_what_nobody_knows_any_more() {
        let figures = Figures::default();
        take(&figures, FIRST, web(10, 1), target(11, 1));
        figures.forget_run(RunId(7));
        figures.forget_app("web");
        assert_eq!((figures.of_app("web").requests, figures.of_run(RunId(7))), (0, OfRun::default()));
        let stranger = AppFigures { app: "old".to_owned(), ..web(9, 9) };
        let runs = take(&figures, FIRST, stranger, TargetFigures { target: 3, ..target(9, 9) });
        assert_eq!((runs.len(), figures.of_app("old").requests), (0, 0));
    }

    #[test]
    fn quantiles_lie_where_their_bucket_does() {
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[0; 15], 0.5), None);
        let mut latency = [0; 15];
        latency[0] = 98;
        latency[8] = 2;
        assert_eq!(quantile(&latency, 0.50), Some(255));
        assert_eq!(quantile(&latency, 0.99), Some(175_000));
        let slow = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(quantile(&slow, 0.99), Some(10_000_000));
    }
}
