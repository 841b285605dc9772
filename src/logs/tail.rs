//! The last lines of a run, kept in memory for the moment it fails.

use super::settings::Stream;
use jiff::Timestamp;
use memchr::memrchr;
use std::collections::VecDeque;

/// The most lines kept.
const LINES: usize = 50;
/// The most bytes kept of one line.
const LINE: usize = 2 * 1024;
/// The most bytes kept in all.
const TOTAL: usize = 32 * 1024;

/// One of the last lines, without its newline; cut at 2 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TailLine {
    pub at: Timestamp,
    pub stream: Stream,
    pub line: Vec<u8>,
}

/// At most 50 lines and 32 KiB.
#[derive(Default, Clone)]
pub(super) struct Tail {
    lines: VecDeque<TailLine>,
    bytes: usize,
}

impl Tail {
    /// Takes the last lines of a block of whole lines.
    pub(super) fn push_block(&mut self, at: Timestamp, stream: Stream, block: &[u8]) {
        let mut last: [&[u8]; LINES] = [&[]; LINES];
        let (mut count, mut rest) = (0, block);
        while let Some(body) = rest.strip_suffix(b"\n")
            && count < LINES
        {
            let start = memrchr(b'\n', body).map_or(0, |newline| newline + 1);
            last[count] = &body[start..];
            count += 1;
            rest = &body[..start];
        }
        for line in last[..count].iter().rev() {
            self.push(TailLine { at, stream, line: line[..line.len().min(LINE)].to_vec() });
        }
    }

    pub(super) fn push(&mut self, line: TailLine) {
        self.bytes += line.line.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > TOTAL {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.line.len();
        }
    }

    /// Adds the line that was begun and not ended.
    pub(super) fn push_unfinished(&mut self, at: Timestamp, stream: Stream, partial: &[u8]) {
        if !partial.is_empty() {
            self.push(TailLine { at, stream, line: partial[..partial.len().min(LINE)].to_vec() });
        }
    }

    /// The last lines of several runs, in time order.
    pub(super) fn merged(tails: impl Iterator<Item = Tail>) -> Tail {
        let mut lines: Vec<TailLine> = tails.flat_map(|tail| tail.lines).collect();
        lines.sort_by_key(|line| line.at);
        let mut merged = Tail::default();
        lines.into_iter().for_each(|line| merged.push(line));
        merged
    }

    pub(super) fn into_lines(self) -> Vec<TailLine> {
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_last_lines_in_their_order() {
        let mut tail = Tail::default();
        let block: String = (0..200).map(|n| format!("{n}\n")).collect();
        tail.push_block(Timestamp::UNIX_EPOCH, Stream::Out, block.as_bytes());
        tail.push_block(Timestamp::UNIX_EPOCH, Stream::Err, b"\nlast\n");
        let lines = tail.into_lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[0].line, b"152");
        assert_eq!((lines[48].line.as_slice(), lines[48].stream), (&b""[..], Stream::Err));
        assert_eq!(lines[49].line, b"last");
    }

    #[test]
    fn it_is_bounded_whatever_the_lines_are() {
        let mut tail = Tail::default();
        for _ in 0..100 {
            tail.push_block(Timestamp::UNIX_EPOCH, Stream::Out, &[vec![b'x'; 100_000], vec![b'\n']].concat());
        }
        let lines = tail.into_lines();
        assert_eq!(lines.len(), TOTAL / LINE);
        assert!(lines.iter().all(|line| line.line.len() == LINE));
    }
}
