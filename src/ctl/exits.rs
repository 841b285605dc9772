//! How an instance ended, in words.

use crate::api::{ExitReason, LastExit};

/// `exited with code 1`, `ended by SIGKILL; used 417M, over its limit of 300M`.
pub(crate) fn sentence(exit: &LastExit) -> String {
    let how = match (exit.code, exit.signal.as_deref()) {
        (Some(code), _) => Some(format!("exited with code {code}")),
        (None, Some(signal)) => Some(format!("ended by {signal}")),
        (None, None) => None,
    };
    let why = match exit.reason {
        ExitReason::Exit | ExitReason::Signal => None,
        ExitReason::Oom => Some("the kernel ended it: out of memory"),
        ExitReason::Memory => Some("it was over its memory limit"),
        ExitReason::Unhealthy => Some("it failed its probe"),
        ExitReason::Stop => Some("it was asked to stop"),
        ExitReason::Restart => Some("it was asked to restart"),
        ExitReason::Deploy => Some("another release replaced it"),
        ExitReason::SpawnFailed => Some("it could not be started"),
    };
    // What is known exactly says it better.
    let why = match (exit.reason, why, exit.detail.as_deref()) {
        (ExitReason::Memory | ExitReason::Unhealthy, _, Some(detail)) => Some(detail.to_owned()),
        (_, Some(why), Some(detail)) => Some(format!("{why}: {detail}")),
        (_, why, detail) => why.or(detail).map(str::to_owned),
    };
    let parts: Vec<String> = [how, why].into_iter().flatten().collect();
    if parts.is_empty() { "ended; how is not known".to_owned() } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: Option<i32>, signal: Option<&str>, reason: ExitReason) -> String {
        detailed(code, signal, reason, None)
    }

    fn detailed(code: Option<i32>, signal: Option<&str>, reason: ExitReason, detail: Option<&str>) -> String {
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        sentence(&LastExit { code, signal: signal.map(str::to_owned), reason, at, detail: detail.map(str::to_owned) })
    }

    #[test]
    fn what_is_known_exactly_is_not_said_twice() {
        assert_eq!(
            detailed(None, Some("SIGKILL"), ExitReason::Memory, Some("used 417M, over its limit of 300M")),
            "ended by SIGKILL; used 417M, over its limit of 300M"
        );
        assert_eq!(
            detailed(None, None, ExitReason::SpawnFailed, Some("\"npm\" is not in PATH (/bin)")),
            "it could not be started: \"npm\" is not in PATH (/bin)"
        );
    }

    #[test]
    fn an_exit_says_how_and_why() {
        assert_eq!(exit(Some(1), None, ExitReason::Exit), "exited with code 1");
        assert_eq!(
            exit(None, Some("SIGKILL"), ExitReason::Oom),
            "ended by SIGKILL; the kernel ended it: out of memory"
        );
        assert_eq!(exit(Some(143), None, ExitReason::Memory), "exited with code 143; it was over its memory limit");
        assert_eq!(exit(None, None, ExitReason::SpawnFailed), "it could not be started");
        assert_eq!(exit(None, None, ExitReason::Exit), "ended; how is not known");
    }
}
