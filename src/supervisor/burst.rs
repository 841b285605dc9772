//! Does a new slot answer with errors where the old one did not? Counted while the old one is warm.

use super::Now;
use std::collections::VecDeque;
use std::time::Duration;

/// What happened longer ago says little about now.
const WINDOW: Duration = Duration::from_secs(10);
/// Fewer errors are no burst.
const LEAST_ERRORS: u64 = 10;
/// Nor is a smaller share of the answers, in hundredths.
const LEAST_PERCENT: u64 = 20;

/// Answers so far, and how many of them were errors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) answered: u64,
    pub(super) errors: u64,
}

/// The new slot's answers of the last seconds beside the old slot's rate.
#[derive(Debug, Clone, Default)]
pub(super) struct Burst {
    old: Tally,
    seen: VecDeque<(Duration, Tally)>,
}

impl Tally {
    fn since(self, before: Tally) -> Tally {
        Tally {
            answered: self.answered.saturating_sub(before.answered),
            errors: self.errors.saturating_sub(before.errors),
        }
    }
}

impl Burst {
    /// From now on, beside what each has answered before.
    pub(super) fn after(old: Tally, new: Tally, now: Now) -> Burst {
        Burst { old, seen: VecDeque::from([(now.mono, new)]) }
    }

    /// What the new slot has answered by now, and the old one in all; says why it is a burst, going on after “it ”.
    pub(super) fn count(&mut self, new: Tally, old: Tally, now: Now) -> Option<String> {
        if self.seen.is_empty() {
            // An earlier supervisor has begun to count.
            *self = Burst::after(old, new, now);
            return None;
        }
        while self.seen.len() > 1 && self.seen[1].0 + WINDOW <= now.mono {
            self.seen.pop_front();
        }
        // Another proxy counts from the beginning.
        if self.seen.back().is_some_and(|(_, last)| new.answered < last.answered || new.errors < last.errors) {
            self.seen = VecDeque::from([(now.mono, new)]);
            return None;
        }
        let before = self.seen.front().map(|(_, tally)| *tally).unwrap_or_default();
        // Reports come four times a second: a minute of them is as many as there ever are.
        if self.seen.back().is_none_or(|(at, _)| *at + Duration::from_millis(200) <= now.mono) {
            self.seen.push_back((now.mono, new));
        }
        let lately = new.since(before);
        let enough = lately.errors >= LEAST_ERRORS && lately.errors * 100 >= lately.answered * LEAST_PERCENT;
        // Twice the old slot's rate, without a division: errors / answered > 2 × old errors / old answered.
        let worse = self.old.answered == 0
            || lately.errors.saturating_mul(self.old.answered)
                > lately.answered.saturating_mul(2).saturating_mul(self.old.errors);
        (enough && worse).then(|| format!("failed {} of its last {} requests", lately.errors, lately.answered))
    }
}
