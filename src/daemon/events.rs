//! The happenings: numbered, kept for a while, told to who follows.

use crate::api::EventRecord;
use crate::supervisor::Announcement;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::broadcast;

/// Kept for `events` without following: about 300 KB, with the longest messages 700.
const KEPT: usize = 1_000;
/// A message is a sentence; what is longer quotes too much. Bytes.
const LONGEST_MESSAGE: usize = 500;
/// What a follower may be behind before it misses some.
const BEHIND: usize = 256;

pub(super) struct Events {
    kept: Mutex<Kept>,
    news: broadcast::Sender<EventRecord>,
}

struct Kept {
    next: u64,
    records: VecDeque<EventRecord>,
}

impl Events {
    pub(super) fn new() -> Events {
        let kept = Kept { next: 1, records: VecDeque::new() };
        Events { kept: Mutex::new(kept), news: broadcast::channel(BEHIND).0 }
    }

    /// Goes on behind those of the program before this one.
    pub(super) fn after(records: Vec<EventRecord>) -> Events {
        let next = records.last().map_or(1, |last| last.seq + 1);
        let kept = Kept { next, records: records.into() };
        Events { kept: Mutex::new(kept), ..Events::new() }
    }

    /// Number it, log it, keep it, tell it.
    pub(super) fn add(&self, announcement: Announcement, at: Timestamp) {
        let Announcement { app, kind, by, slot, pid, mut message } = announcement;
        if message.len() > LONGEST_MESSAGE {
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
            message.push('…');
        }
        let by = by.unwrap_or_else(|| "supervisor".to_owned());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let record = EventRecord { seq: kept.next, at, app, kind, by, slot, pid, message };
        super::own_log::event(&record);
        kept.next += 1;
        if kept.records.len() == KEPT {
            kept.records.pop_front();
        }
        kept.records.push_back(record.clone());
        drop(kept);
        // Nobody follows: that is no error.
        let _ = self.news.send(record);
    }

    /// Those kept after `seq`, and the ones to come, without a gap between.
    pub(super) fn since(&self, seq: u64) -> (Vec<EventRecord>, broadcast::Receiver<EventRecord>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let news = self.news.subscribe();
        (kept.records.iter().filter(|record| record.seq > seq).cloned().collect(), news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::EventKind;

    #[test]
    fn a_message_that_quotes_too_much_is_cut_and_the_oldest_go() {
        let events = Events::new();
        for _ in 0..KEPT + 10 {
            let announcement = Announcement {
                app: None,
                kind: EventKind::Errored,
                by: None,
                slot: None,
                pid: None,
                message: format!("x{}", "ü".repeat(100_000)),
            };
            events.add(announcement, Timestamp::UNIX_EPOCH);
        }
        let (kept, _news) = events.since(0);
        assert_eq!((kept.len(), kept[0].seq), (KEPT, 11));
        assert_eq!(kept[0].message, format!("x{}…", "ü".repeat(249)));
    }
}
