//! Does an app stay up? One that fails and is started again looks well in between.

use super::{Finding, bad, good, unwise};
use crate::api::{AppDetail, ExitReason, Health, LastExit, Status};
use crate::ctl::exits;
use crate::ctl::list::does;
use jiff::{SignedDuration, Timestamp};

/// So many unplanned exits within [`LATELY`] are no accident.
const OFTEN: usize = 3;
const LATELY: SignedDuration = SignedDuration::from_mins(10);

pub(super) fn of(app: &AppDetail, now: Timestamp) -> Finding {
    let status = &app.status;
    let reason = status.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let what = format!("{} {}{reason}", status.name, does(status.status));
    let next = format!("infissi-ctl show {} tells what it said last", status.name);
    match status.status {
        Status::Errored | Status::Backoff => bad(what, &next),
        Status::Starting => match app.exits.first().filter(|exit| is_unplanned(exit)) {
            None => good(what),
            Some(exit) => {
                let what = format!("{what}; the last time it failed: {}", exits::sentence(exit));
                // Anything may fall once.
                if lately(app, now) > 1 { bad(what, &next) } else { unwise(what, Some(&next)) }
            }
        },
        // A job that waits for its time is as it should be, if its last run was.
        Status::Waiting if status.reason.is_some() => {
            unwise(what, Some("it goes on by itself as soon as that is over"))
        }
        Status::Waiting if status.health == Health::Unhealthy => {
            unwise(format!("{what}, and its last run failed{}", last(app)), Some(&next))
        }
        Status::Online if status.health == Health::Unhealthy => {
            let failure = app.probe_failure.as_deref().map(|failure| format!(": {failure}")).unwrap_or_default();
            unwise(format!("{what}, but unhealthy{failure}"), Some(&next))
        }
        Status::Online if app.schedule.is_none() && lately(app, now) >= OFTEN => {
            let count = lately(app, now);
            let minutes = LATELY.as_mins();
            unwise(format!("{what}, after {count} unplanned exits within {minutes} minutes{}", last(app)), Some(&next))
        }
        Status::Online | Status::Stopped | Status::Stopping | Status::Waiting => good(what),
    }
}

fn lately(app: &AppDetail, now: Timestamp) -> usize {
    app.exits.iter().filter(|exit| is_unplanned(exit) && now.duration_since(exit.at) <= LATELY).count()
}

fn last(app: &AppDetail) -> String {
    let exit = app.exits.iter().find(|exit| is_unplanned(exit));
    exit.map(|exit| format!(": {}", exits::sentence(exit))).unwrap_or_default()
}

fn is_unplanned(exit: &LastExit) -> bool {
    match exit.reason {
        ExitReason::Exit
        | ExitReason::Signal
        | ExitReason::Oom
        | ExitReason::Memory
        | ExitReason::Unhealthy
        | ExitReason::SpawnFailed => true,
        ExitReason::Stop | ExitReason::Restart | ExitReason::Deploy => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::ctl::sample::{self, at};

    const NOW: &str = "2026-01-02T03:04:05Z";

    fn exit(reason: ExitReason, at_time: &str) -> LastExit {
        LastExit { code: Some(1), signal: None, reason, at: at(at_time), detail: None }
    }

    fn app(status: Status, exits: Vec<LastExit>) -> AppDetail {
        let mut detail = sample::detail();
        detail.status = sample::app("web");
        detail.status.status = status;
        detail.exits = exits;
        detail
    }

    #[test]
    fn an_app_that_keeps_failing_to_start_is_bad_also_while_it_is_tried_again() {
        let failed = || vec![exit(ExitReason::Exit, "2026-01-02T03:04:01Z"); 2];
        let mut waits = app(Status::Backoff, failed());
        waits.status.reason = Some("exited with code 1; starts again after 12 s".to_owned());
        let found = of(&waits, at(NOW));
        assert_eq!(
            (found.verdict, found.what.as_str()),
            (Verdict::Bad, "web backs off: exited with code 1; starts again after 12 s")
        );
        assert_eq!(found.next.as_deref(), Some("infissi-ctl show web tells what it said last"));
        let found = of(&app(Status::Starting, failed()), at(NOW));
        assert_eq!(
            (found.verdict, found.what.as_str()),
            (Verdict::Bad, "web is starting; the last time it failed: exited with code 1")
        );
        assert_eq!(of(&app(Status::Starting, failed().split_off(1)), at(NOW)).verdict, Verdict::Unwise, "only once");
        let asked = vec![exit(ExitReason::Restart, "2026-01-02T03:04:01Z")];
        assert_eq!(of(&app(Status::Starting, asked), at(NOW)).verdict, Verdict::Good, "somebody restarts it");
        assert_eq!(of(&app(Status::Starting, Vec::new()), at(NOW)).verdict, Verdict::Good);
    }

    #[test]
    fn an_app_that_comes_up_and_does_not_stay_up_is_unwise() {
        let exits = |at_time| vec![exit(ExitReason::Signal, at_time); OFTEN];
        let found = of(&app(Status::Online, exits("2026-01-02T03:00:00Z")), at(NOW));
        assert_eq!(
            (found.verdict, found.what.as_str()),
            (Verdict::Unwise, "web is online, after 3 unplanned exits within 10 minutes: exited with code 1")
        );
        assert_eq!(of(&app(Status::Online, exits("2026-01-02T02:00:00Z")), at(NOW)).verdict, Verdict::Good);
        let mut sick = app(Status::Online, Vec::new());
        sick.status.health = Health::Unhealthy;
        sick.probe_failure = Some("503".to_owned());
        assert_eq!(of(&sick, at(NOW)).what, "web is online, but unhealthy: 503");
    }

    #[test]
    fn a_job_is_as_well_as_its_last_run() {
        let mut job = app(Status::Waiting, vec![exit(ExitReason::Exit, "2026-01-02T03:00:00Z"); OFTEN]);
        job.schedule = Some("*/1 * * * *".to_owned());
        assert_eq!(of(&job, at(NOW)).verdict, Verdict::Good);
        job.status.health = Health::Unhealthy;
        assert_eq!(of(&job, at(NOW)).what, "web waits, and its last run failed: exited with code 1");
    }
}
