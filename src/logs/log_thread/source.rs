//! One run's pipes, and the way of what comes out of them.

use crate::logs::app::{AppLog, Env};
use crate::logs::capture::{Callback, SourceId};
use crate::logs::follow::Feed;
use crate::logs::framing::{Framing, ReadBuffer};
use crate::logs::journal::Slot;
use crate::logs::settings::Stream;
use crate::logs::tail::{Tail, TailLine};
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

pub(super) struct Source {
    pub(super) app: Arc<str>,
    /// Of stdout and stderr, until each has ended.
    pub(super) pipes: [Option<Pipe>; 2],
    pub(super) tail: Tail,
    pub(super) finish: Option<Finish>,
}

pub(super) struct Pipe {
    pub(super) file: File,
    pub(super) framing: Framing,
    /// Where its unfinished line outlives us.
    pub(super) slot: Slot,
}

pub(super) struct Finish {
    pub(super) deadline: Instant,
    pub(super) bytes_left: u64,
    pub(super) done: Callback<Vec<TailLine>>,
}

/// Where the lines of one stream go.
pub(super) struct Way<'a> {
    pub(super) app: &'a Arc<str>,
    pub(super) stream: Stream,
    pub(super) log: Option<&'a mut AppLog>,
    pub(super) feeds: &'a mut Vec<Feed>,
    pub(super) scratch: &'a mut Vec<u8>,
    pub(super) tail: &'a mut Tail,
    pub(super) env: &'a Env<'a>,
    /// Bytes that have gone there already.
    pub(super) skip: usize,
}

impl Way<'_> {
    fn put(&mut self, block: &[u8]) {
        let gone = self.skip.min(block.len());
        self.skip -= gone;
        let block = &block[gone..];
        if block.is_empty() {
            return;
        }
        let (wall, stream) = (self.env.now.wall, self.stream);
        self.tail.push_block(wall, stream, block);
        if let Some(log) = &mut self.log {
            log.write(stream, block, self.env, self.scratch);
        }
        if !self.feeds.is_empty() {
            self.feeds.retain(|feed| !feed.is_gone());
            self.feeds.iter().for_each(|feed| feed.push_block(self.app, stream, wall, block));
        }
    }
}

/// Passes on a batch that the journal knows of, in whole lines; nothing read means that the stream has ended.
pub(super) fn pass_on(framing: &mut Framing, buffer: &mut ReadBuffer, read: usize, slot: Slot, way: &mut Way<'_>) {
    let before = framing.unfinished().len();
    match read {
        0 => framing.finish(|block| way.put(block)),
        read => framing.push(buffer, read, |block| way.put(block)),
    }
    let unfinished = framing.unfinished();
    let added = if unfinished.len() == before + read { read } else { unfinished.len() };
    way.env.journal.keep(slot, unfinished, added);
}

pub(super) const STREAMS: [Stream; 2] = [Stream::Out, Stream::Err];

pub(super) fn token(source: SourceId, stream: Stream) -> u64 {
    source.0 << 1 | stream as u64
}

pub(super) fn of_token(token: u64) -> (SourceId, Stream) {
    (SourceId(token >> 1), STREAMS[(token & 1) as usize])
}
