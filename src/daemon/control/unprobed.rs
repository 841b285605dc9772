//! How well an app is that has nothing to be asked by: a job, or a worker without probe and port.

use crate::api::{AppStatus, Health, LastExit, Status};

/// What the list knows of it, and why.
pub(super) fn health(is_job: bool, status: &AppStatus) -> (Health, String) {
    let why = || status.reason.clone().unwrap_or_else(|| format!("it is {}", status.status));
    match status.status {
        Status::Backoff | Status::Errored => (Health::Unhealthy, why()),
        Status::Waiting | Status::Stopped if is_job => (status.health, last_run(status)),
        Status::Stopped | Status::Stopping => (Health::Unhealthy, why()),
        Status::Starting | Status::Waiting => (Health::Unknown, why()),
        // How this run ends is not known before it does.
        Status::Online if is_job => (status.health, "it runs now".to_owned()),
        Status::Online => (Health::Healthy, "it runs; it has no probe and no port".to_owned()),
    }
}

fn last_run(status: &AppStatus) -> String {
    if let Some(reason) = &status.reason {
        return reason.clone();
    }
    let Some(LastExit { code, signal, detail, .. }) = &status.last_exit else {
        return "it has not run yet".to_owned();
    };
    match (code, signal, detail) {
        (Some(code), _, _) => format!("its last run exited with code {code}"),
        (None, Some(signal), _) => format!("its last run was ended by {signal}"),
        (None, None, Some(detail)) => format!("its last run: {detail}"),
        (None, None, None) => "how its last run ended is not known".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::api::{ExitReason, Slot};

    pub(in crate::daemon::control) fn app(status: Status, health: Health) -> AppStatus {
        AppStatus {
            name: "app".to_owned(),
            aliases: Vec::new(),
            status,
            health,
            port: None,
            slot: Slot::Blue,
            pid: None,
            uptime_ms: None,
            restarts: 0,
            cpu_percent: None,
            memory_bytes: None,
            memory_limit_bytes: None,
            release: None,
            other: None,
            deploying: None,
            traffic: None,
            swaps: 0,
            last_drain_ms: None,
            reason: None,
            next_at: None,
            instances: Vec::new(),
            last_exit: None,
        }
    }

    fn after(code: i32, health: Health) -> AppStatus {
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        let exit = LastExit { code: Some(code), signal: None, reason: ExitReason::Exit, at, detail: None };
        AppStatus { last_exit: Some(exit), ..app(Status::Waiting, health) }
    }

    fn said(is_job: bool, status: &AppStatus) -> String {
        let (health, why) = health(is_job, status);
        format!("{health}: {why}")
    }

    #[test]
    fn a_job_is_as_well_as_its_last_run() {
        assert_eq!(said(true, &after(0, Health::Healthy)), "healthy: its last run exited with code 0");
        assert_eq!(said(true, &after(3, Health::Unhealthy)), "unhealthy: its last run exited with code 3");
        assert_eq!(said(true, &app(Status::Waiting, Health::Unknown)), "unknown: it has not run yet");
        assert_eq!(said(true, &app(Status::Online, Health::Unknown)), "unknown: it runs now");
    }

    #[test]
    fn a_worker_is_well_once_it_is_online() {
        let unknown = |status| said(false, &app(status, Health::Unknown));
        assert_eq!(unknown(Status::Starting), "unknown: it is starting");
        assert_eq!(unknown(Status::Online), "healthy: it runs; it has no probe and no port");
        assert_eq!(unknown(Status::Stopped), "unhealthy: it is stopped");
        let reason = Some("exited with code 7".to_owned());
        let failing = AppStatus { reason, ..app(Status::Backoff, Health::Unknown) };
        assert_eq!(said(false, &failing), "unhealthy: exited with code 7");
        assert_eq!(said(true, &failing), "unhealthy: exited with code 7");
    }
}
