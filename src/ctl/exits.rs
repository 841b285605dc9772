//! How an instance ended, in words.

use crate::api::{ExitReason, LastExit};

/// `exited with 1`, `ended by SIGKILL, out of memory`.
pub(crate) fn sentence(exit: &LastExit) -> String {
    let how = match (exit.code, exit.signal.as_deref()) {
        (Some(code), _) => Some(format!("exited with {code}")),
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
        ExitReason::Deploy => Some("a newer release replaced it"),
        ExitReason::SpawnFailed => Some("it could not be started"),
    };
    let parts: Vec<String> = [how, why.map(str::to_owned), exit.detail.clone()].into_iter().flatten().collect();
    if parts.is_empty() { "ended; how is not known".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(code: Option<i32>, signal: Option<&str>, reason: ExitReason) -> String {
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        sentence(&LastExit { code, signal: signal.map(str::to_owned), reason, at, detail: None })
    }

    #[test]
    fn an_exit_says_how_and_why() {
        assert_eq!(exit(Some(1), None, ExitReason::Exit), "exited with 1");
        assert_eq!(
            exit(None, Some("SIGKILL"), ExitReason::Oom),
            "ended by SIGKILL, the kernel ended it: out of memory"
        );
        assert_eq!(exit(Some(143), None, ExitReason::Memory), "exited with 143, it was over its memory limit");
        assert_eq!(exit(None, None, ExitReason::SpawnFailed), "it could not be started");
        assert_eq!(exit(None, None, ExitReason::Exit), "ended; how is not known");
    }
}
