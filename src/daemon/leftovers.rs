//! Processes and cgroups that nobody looks after any more: ended before the first start and after the last stop.

use crate::linux::cgroup::Cgroups;
use crate::linux::strays::{self, Ended, How, Spared};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

/// What an earlier supervisor left running has so long to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// One line names no more apps, nor more processes that cannot be ended.
const MOST_NAMED: usize = 10;
/// How long the end may take: it comes after `shutdown_timeout`.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Nothing that an earlier supervisor of this state directory started may hold a port or a file, but what goes on. Returns the number
/// from which on no run is mistaken for one of those that cannot be ended. Blocks.
pub(super) fn of_earlier(state_id: &str, cgroups: Option<&Cgroups>, spared: &Spared) -> u64 {
    let ended = strays::end_but(state_id, cgroups, GRACE, spared);
    for one in &ended {
        debug!("{}", told(one, "was left by an earlier supervisor"));
    }
    if !ended.is_empty() {
        warn!("{}", in_sum(&ended));
    }
    if !ended.iter().any(|one| one.how == How::StillThere) {
        return 1;
    }
    let left = strays::find_marked(state_id);
    first_free(left.iter().map(|stray| stray.mark.as_str()))
}

/// All apps are stopped: whatever still carries our mark got away from its app, and had its time. Their cgroups go.
pub(super) async fn of_ours(state_id: &str, cgroups: Option<Arc<Cgroups>>) {
    let state_id = state_id.to_owned();
    let ending = tokio::task::spawn_blocking(move || {
        for one in strays::end(&state_id, cgroups.as_deref(), Duration::ZERO) {
            warn!("{}", told(&one, "has outlived its app"));
        }
        if let Some(Err(error)) = cgroups.map(|cgroups| cgroups.remove()) {
            debug!("the cgroups of the apps stay: {error}");
        }
    });
    if tokio::time::timeout(LAST_PATIENCE, ending).await.is_err() {
        warn!("some processes cannot be ended; leaving them behind");
    }
}

/// `an earlier supervisor left 3 processes, of api and web: 2 ended when asked, 1 was killed`
fn in_sum(ended: &[Ended]) -> String {
    let apps: BTreeSet<&str> = ended.iter().filter_map(|one| one.app.as_deref()).collect();
    let mut named: Vec<&str> = apps.iter().copied().take(MOST_NAMED).collect();
    if apps.len() > MOST_NAMED {
        named.push("others");
    }
    let of = match named.split_last() {
        None => String::new(),
        Some((one, [])) => format!(", of {one}"),
        Some((last, before)) => format!(", of {} and {last}", before.join(", ")),
    };
    let count = |how: How| ended.iter().filter(|one| one.how == how).count();
    let (asked, killed) = (count(How::Asked), count(How::Killed));
    let stuck = ended.iter().filter(|one| one.how == How::StillThere);
    let stuck = stuck.map(|Ended { process, command, .. }| format!("pid {} ({command}) cannot be ended", process.pid));
    let asked = (asked > 0).then(|| format!("{asked} ended when asked"));
    let killed = (killed > 0).then(|| format!("{killed} {} killed", if killed == 1 { "was" } else { "were" }));
    let hows: Vec<String> = asked.into_iter().chain(killed).chain(stuck.take(MOST_NAMED)).collect();
    let processes = if ended.len() == 1 { "process" } else { "processes" };
    format!("an earlier supervisor left {} {processes}{of}: {}", ended.len(), hows.join(", "))
}

/// `pid 812 (node server.js) was left by an earlier supervisor: it was asked to end, and did`
fn told(Ended { process, command, how, .. }: &Ended, what: &str) -> String {
    let how = match how {
        How::Asked => "it was asked to end, and did",
        How::Killed => "it was killed",
        How::StillThere => "it cannot be ended, and still runs",
    };
    format!("pid {} ({command}) {what}: {how}", process.pid)
}

/// Above the run numbers in these marks: `<state id>.<run>`, or with more behind it.
fn first_free<'m>(marks: impl Iterator<Item = &'m str>) -> u64 {
    let runs = marks.filter_map(|mark| mark.split('.').nth(1)?.parse::<u64>().ok());
    // Numbers in the upper half are none of ours, whoever wrote them.
    runs.filter(|run| *run < u64::MAX / 4).max().unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::proc::ProcessId;

    fn left(pid: i32, app: &str, how: How) -> Ended {
        let process = ProcessId { pid, start_time: 1 };
        Ended { process, command: "node server.js".to_owned(), app: Some(app.to_owned()), how }
    }

    #[test]
    fn however_many_were_left_they_are_told_in_one_line() {
        assert_eq!(
            in_sum(&[left(1, "web", How::Asked)]),
            "an earlier supervisor left 1 process, of web: 1 ended when asked"
        );
        let many = [left(1, "web", How::Asked), left(2, "api", How::Killed), left(3, "web", How::StillThere)];
        assert_eq!(
            in_sum(&many),
            "an earlier supervisor left 3 processes, of api and web: 1 ended when asked, 1 was killed, pid 3 (node \
             server.js) cannot be ended"
        );
        let unknown = Ended { app: None, ..left(1, "", How::Killed) };
        assert_eq!(in_sum(&[unknown]), "an earlier supervisor left 1 process: 1 was killed");
        let apps: Vec<Ended> = (0..20).map(|number| left(number, &format!("app-{number:02}"), How::Asked)).collect();
        assert!(in_sum(&apps).contains("app-08, app-09 and others: 20 ended"), "{}", in_sum(&apps));
    }

    #[test]
    fn runs_are_numbered_above_all_that_cannot_be_ended() {
        assert_eq!(first_free([].into_iter()), 1);
        let marks = ["0a1b.3", "0a1b.12.probe", "0a1b.exec", "0a1b.7", "0a1b.18446744073709551615", "0a1b"];
        assert_eq!(first_free(marks.into_iter()), 13);
    }
}
