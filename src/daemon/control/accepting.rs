//! Failures to accept a connection: told now and then, not each of them.

use crate::daemon::clock;
use std::io;
use std::time::Duration;

/// After a failed accept (no descriptors left), so as not to spin.
const PAUSE: Duration = Duration::from_millis(100);
/// A failure that goes on is told again after this.
const TOLD_EVERY: Duration = Duration::from_mins(10);

pub(super) struct Accepting {
    place: &'static str,
    told: Option<Duration>,
}

impl Accepting {
    pub(super) fn on(place: &'static str) -> Accepting {
        Accepting { place, told: None }
    }

    /// Tells it, if it has not been told lately, and waits a little.
    pub(super) async fn failed(&mut self, error: &io::Error) {
        if self.is_news(clock::now().mono) {
            tracing::warn!("cannot accept connections on {}: {error}", self.place);
        }
        tokio::time::sleep(PAUSE).await;
    }

    fn is_news(&mut self, now: Duration) -> bool {
        let news = self.told.is_none_or(|told| now.saturating_sub(told) >= TOLD_EVERY);
        if news {
            self.told = Some(now);
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_goes_on_is_told_once_in_a_while() {
        let mut accepting = Accepting::on("a socket");
        let hour = (0..36_000).filter(|tenth| accepting.is_news(Duration::from_millis(tenth * 100))).count();
        assert_eq!(hour, 6);
    }
}
