//! Live lines for whoever watches: a ring bounded in bytes, which drops and tells rather than wait.

use super::archive::Marks;
use super::settings::Stream;
use jiff::Timestamp;
use memchr::memchr_iter;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What one waiting line costs beside its own bytes.
const OVERHEAD: usize = 64;

/// Which lines a follower wants.
#[derive(Debug, Clone, Default)]
pub struct FollowerFilter {
    /// `None`: every app, those that come later too.
    pub apps: Option<Vec<Arc<str>>>,
    /// `None`: both.
    pub stream: Option<Stream>,
}

/// What a follower is given, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowItem {
    /// Always the first: every line before this moment is in the files up to these marks, every line after it comes here.
    Start { marks: BTreeMap<Arc<str>, Marks> },
    /// Without its newline.
    Line { app: Arc<str>, stream: Stream, at: Timestamp, line: Vec<u8> },
    /// So many lines of that app were left out here, because they were not taken in time. The files have them.
    Dropped { app: Arc<str>, count: u64 },
}

/// The reading end. Dropping it ends the subscription.
pub struct Follower {
    shared: Arc<Shared>,
}

/// The writing end, in the log thread.
pub(super) struct Feed {
    shared: Arc<Shared>,
    filter: FollowerFilter,
    capacity: usize,
}

struct Shared {
    ring: Mutex<Ring>,
    notify: Notify,
    /// The reader has gone.
    gone: AtomicBool,
}

#[derive(Default)]
struct Ring {
    items: VecDeque<FollowItem>,
    bytes: usize,
    /// Left out and not yet told.
    dropped: BTreeMap<Arc<str>, u64>,
    /// The log thread has ended.
    ended: bool,
}

/// `capacity` is in bytes.
pub(super) fn channel(filter: FollowerFilter, capacity: usize) -> (Feed, Follower) {
    let shared = Arc::new(Shared { ring: Mutex::default(), notify: Notify::new(), gone: AtomicBool::new(false) });
    (Feed { shared: Arc::clone(&shared), filter, capacity }, Follower { shared })
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing that is done under the lock can leave the ring half-changed.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    pub(super) fn is_gone(&self) -> bool {
        self.shared.gone.load(Ordering::Acquire)
    }

    pub(super) fn wants_app(&self, app: &str) -> bool {
        self.filter.apps.as_ref().is_none_or(|apps| apps.iter().any(|wanted| &**wanted == app))
    }

    pub(super) fn start(&self, marks: BTreeMap<Arc<str>, Marks>) {
        self.shared.ring().items.push_back(FollowItem::Start { marks });
        self.shared.notify.notify_one();
    }

    /// Offers whole lines; never waits for more than the reader's own short hold on the ring.
    pub(super) fn push_block(&self, app: &Arc<str>, stream: Stream, at: Timestamp, block: &[u8]) {
        if self.filter.stream.is_some_and(|wanted| wanted != stream) || !self.wants_app(app) {
            return;
        }
        let mut ring = self.shared.ring();
        let mut start = 0;
        for newline in memchr_iter(b'\n', block) {
            ring.offer(app, stream, at, &block[start..newline], self.capacity);
            start = newline + 1;
        }
        drop(ring);
        self.shared.notify.notify_one();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.ring().ended = true;
        self.shared.notify.notify_one();
    }
}

impl Ring {
    fn offer(&mut self, app: &Arc<str>, stream: Stream, at: Timestamp, line: &[u8], capacity: usize) {
        let cost = line.len() + OVERHEAD;
        // Once it was full it takes lines again at half: else each second item would be a notice.
        let room = if self.dropped.is_empty() { capacity } else { capacity / 2 };
        if self.bytes + cost > room && !self.items.is_empty() {
            *self.dropped.entry(Arc::clone(app)).or_default() += 1;
            return;
        }
        while let Some((app, count)) = self.dropped.pop_first() {
            self.items.push_back(FollowItem::Dropped { app, count });
        }
        self.bytes += cost;
        self.items.push_back(FollowItem::Line { app: Arc::clone(app), stream, at, line: line.to_vec() });
    }

    fn take(&mut self) -> Option<FollowItem> {
        match self.items.pop_front() {
            Some(item) => {
                if let FollowItem::Line { line, .. } = &item {
                    self.bytes -= line.len() + OVERHEAD;
                }
                Some(item)
            }
            None => self.dropped.pop_first().map(|(app, count)| FollowItem::Dropped { app, count }),
        }
    }
}

impl Follower {
    /// The next item; `None` when no more can come. Cancel safe.
    pub async fn next(&mut self) -> Option<FollowItem> {
        loop {
            match self.try_next() {
                Some(item) => return Some(item),
                None if self.shared.ring().ended => return self.try_next(),
                None => self.shared.notify.notified().await,
            }
        }
    }

    /// The next item, if there is one now.
    pub fn try_next(&mut self) -> Option<FollowItem> {
        self.shared.ring().take()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::Release);
        // The log thread notices only at the next line; the memory goes now.
        *self.shared.ring() = Ring::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(feed: &Feed, app: &str, block: &str) {
        feed.push_block(&Arc::from(app), Stream::Out, Timestamp::UNIX_EPOCH, block.as_bytes());
    }

    #[test]
    fn a_slow_follower_is_bounded_and_told_how_much_it_missed() {
        let (feed, mut follower) = channel(FollowerFilter::default(), 10_000);
        for n in 0..1000 {
            offer(&feed, if n % 2 == 0 { "a" } else { "b" }, &format!("{n:0100}\n"));
        }
        assert!(feed.shared.ring().bytes <= 10_000);
        let (mut lines, mut dropped) = (0, BTreeMap::new());
        while let Some(item) = follower.try_next() {
            match item {
                FollowItem::Line { .. } => lines += 1,
                FollowItem::Dropped { app, count } => *dropped.entry(app).or_insert(0) += count,
                FollowItem::Start { .. } => {}
            }
        }
        assert_eq!(lines + dropped.values().sum::<u64>(), 1000);
        assert_eq!(dropped.len(), 2);
        offer(&feed, "a", "again\n");
        assert!(matches!(follower.try_next(), Some(FollowItem::Line { line, .. }) if line == b"again"));
    }

    #[test]
    fn the_notice_stands_where_the_lines_are_missing() {
        let (feed, mut follower) = channel(FollowerFilter::default(), 400);
        offer(&feed, "a", "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
        let mut got = Vec::new();
        for _ in 0..4 {
            got.extend(follower.try_next());
        }
        offer(&feed, "a", "10\n");
        got.extend(std::iter::from_fn(|| follower.try_next()));
        let words: Vec<String> = got
            .iter()
            .map(|item| match item {
                FollowItem::Line { line, .. } => String::from_utf8_lossy(line).into_owned(),
                FollowItem::Dropped { count, .. } => format!("-{count}"),
                FollowItem::Start { .. } => String::new(),
            })
            .collect();
        assert_eq!(words, ["1", "2", "3", "4", "5", "6", "-3", "10"]);
    }

    #[test]
    fn a_line_larger_than_the_ring_still_gets_through_alone() {
        let (feed, mut follower) = channel(FollowerFilter::default(), 100);
        offer(&feed, "a", &format!("{}\n", "x".repeat(5000)));
        assert!(matches!(follower.try_next(), Some(FollowItem::Line { .. })));
    }

    #[test]
    fn only_what_was_asked_for_comes() {
        let filter = FollowerFilter { apps: Some(vec![Arc::from("a")]), stream: Some(Stream::Err) };
        let (feed, mut follower) = channel(filter, 1000);
        offer(&feed, "a", "out\n");
        feed.push_block(&Arc::from("b"), Stream::Err, Timestamp::UNIX_EPOCH, b"b\n");
        assert_eq!(follower.try_next(), None);
        feed.push_block(&Arc::from("a"), Stream::Err, Timestamp::UNIX_EPOCH, b"a\n");
        assert!(follower.try_next().is_some());
    }

    #[tokio::test]
    async fn it_ends_after_the_last_item_when_the_log_thread_ends() {
        let (feed, mut follower) = channel(FollowerFilter::default(), 1000);
        let waiting = tokio::spawn(async move {
            let mut count = 0;
            while follower.next().await.is_some() {
                count += 1;
            }
            count
        });
        tokio::task::yield_now().await;
        offer(&feed, "a", "1\n2\n");
        drop(feed);
        assert_eq!(waiting.await.unwrap(), 2);
    }
}
