//! The worker's few words for the operator: plain lines on standard error, and few of them whatever clients do.

use crate::linux::stderr;
use std::cell::Cell;
use std::fmt::Display;
use std::time::Duration;
use tokio::time::Instant;

/// What clients can cause is said once in this time, with how often it was not said.
const QUIET: Duration = Duration::from_secs(10);

/// Never waits, and is lost where it would.
pub(crate) fn say(line: impl Display) {
    stderr::say(&format!("proxy: {line}"));
}

/// One kind of thing to say, however often it happens.
#[derive(Debug, Default)]
pub(crate) struct Sometimes {
    said: Cell<Option<Instant>>,
    unsaid: Cell<u64>,
}

impl Sometimes {
    pub(crate) fn say(&self, line: impl Display) {
        if let Some(unsaid) = self.is_time(Instant::now()) {
            match unsaid {
                0 => say(line),
                _ => say(format_args!("{line} (and {unsaid} times more before)")),
            }
        }
    }

    /// How often it was not said before; none when it is not to be said now either.
    fn is_time(&self, now: Instant) -> Option<u64> {
        if self.said.get().is_some_and(|said| now.duration_since(said) < QUIET) {
            self.unsaid.set(self.unsaid.get() + 1);
            return None;
        }
        self.said.set(Some(now));
        Some(self.unsaid.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_said_once_in_a_while_with_how_often_it_was_not() {
        let kind = Sometimes::default();
        let start = Instant::now();
        let after = |seconds: u64| kind.is_time(start + Duration::from_secs(seconds));
        assert_eq!(
            [after(0), after(1), after(9), after(10), after(11), after(30)],
            [Some(0), None, None, Some(2), None, Some(1)]
        );
    }
}
