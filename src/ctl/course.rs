//! A deploy that goes on, and the last one that ended, as sentences.

use super::units::{distance, uptime};
use crate::api::{DeployEnd, Deploying, LastDeploy};
use jiff::Timestamp;

/// `ann (pid 4711) since 5m, at npm ci`: who deploys.
pub(crate) fn goes_on(deploying: &Deploying, now: Timestamp) -> String {
    let Deploying { by, pid, since, step, .. } = deploying;
    let ms = now.as_millisecond() - since.as_millisecond();
    format!("{by} (pid {pid}) since {}, at {step}", uptime(u64::try_from(ms).unwrap_or(0)))
}

/// `release two by ann failed at npm ci, 5m ago: …`
pub(crate) fn ended(last: &LastDeploy, now: Timestamp) -> String {
    let LastDeploy { by, began, ended, end, release, step, why } = last;
    let what = release.as_ref().map_or_else(|| format!("one by {by}"), |id| format!("release {id} by {by}"));
    let when = match ended {
        Some(ended) => distance(*ended, now),
        None => format!("begun {}, its session was lost", distance(*began, now)),
    };
    let at = step.as_ref().map(|step| format!(" at {step}")).unwrap_or_default();
    let because = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    match end {
        DeployEnd::Deployed => format!("{what} went live ({when})"),
        DeployEnd::Staged => format!("{what} was staged ({when})"),
        DeployEnd::Left => format!("{what} is with the supervisor, which goes on with it ({when})"),
        DeployEnd::Failed => format!("{what} failed{at} ({when}){because}"),
        DeployEnd::FlippedBack => format!("{what} was taken back ({when}){because}"),
        DeployEnd::Interrupted => format!("{what} was interrupted before anything went live ({when})"),
        DeployEnd::CutOff => format!("{what} was cut off{at} before anything went live ({when})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::sample::at;

    fn told(end: DeployEnd, step: Option<&str>, why: Option<&str>, seen: bool) -> String {
        let last = LastDeploy {
            by: "ann".to_owned(),
            began: at("2026-01-02T03:00:05Z"),
            ended: seen.then(|| at("2026-01-02T03:02:05Z")),
            end,
            release: Some("two".to_owned()),
            step: step.map(str::to_owned),
            why: why.map(str::to_owned),
        };
        ended(&last, at("2026-01-02T03:04:05Z"))
    }

    #[test]
    fn each_end_says_what_became_of_the_release() {
        assert_eq!(told(DeployEnd::Deployed, None, None, true), "release two by ann went live (2m ago)");
        assert_eq!(
            told(DeployEnd::Deployed, None, None, false),
            "release two by ann went live (begun 4m ago, its session was lost)"
        );
        assert_eq!(
            told(DeployEnd::Failed, Some("npm ci"), Some("`npm ci` failed"), true),
            "release two by ann failed at npm ci (2m ago): `npm ci` failed"
        );
        assert_eq!(
            told(DeployEnd::CutOff, Some("npm ci"), None, false),
            "release two by ann was cut off at npm ci before anything went live (begun 4m ago, its session was lost)"
        );
        assert_eq!(
            told(DeployEnd::FlippedBack, None, Some("it exited with code 1"), true),
            "release two by ann was taken back (2m ago): it exited with code 1"
        );
    }
}
