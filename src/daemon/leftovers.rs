//! Processes and cgroups that nobody looks after any more: ended before the first start and after the last stop.

use crate::linux::cgroup::Cgroups;
use crate::linux::strays::{self, Ended, How};
use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, warn};

/// What an earlier supervisor left running has so long to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// How long the end may take: it comes after `shutdown_timeout`.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Nothing that an earlier supervisor of this state directory started may hold a port or a file. Returns the number
/// from which on no run is mistaken for one of those that cannot be ended. Blocks.
pub(super) fn of_earlier(state_id: &str, cgroups: Option<&Cgroups>) -> u64 {
    let ended = strays::end(state_id, cgroups, GRACE);
    for one in &ended {
        warn!("{}", told(one, "was left by an earlier supervisor"));
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

/// `pid 812 (node server.js) was left by an earlier supervisor: it was asked to end, and did`
fn told(Ended { process, command, how }: &Ended, what: &str) -> String {
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

    #[test]
    fn runs_are_numbered_above_all_that_cannot_be_ended() {
        assert_eq!(first_free([].into_iter()), 1);
        let marks = ["0a1b.3", "0a1b.12.probe", "0a1b.exec", "0a1b.7", "0a1b.18446744073709551615", "0a1b"];
        assert_eq!(first_free(marks.into_iter()), 13);
    }
}
