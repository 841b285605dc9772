//! A series from its newest line to its oldest: where do the last lines begin?

use super::lines::FromEnd;
use super::series::{Opened, Series, is_wanted, key};
use jiff::Timestamp;
use std::collections::VecDeque;
use std::fs::File;

/// Lines without a time that wait for the line before them; beyond, they have none. And their bytes.
const UNTIMED: usize = 1000;
const UNTIMED_BYTES: usize = 1024 * 1024;

/// A line that is wanted, and its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) key: Timestamp,
    /// Its time, or that of the line before.
    pub(super) at: Option<Timestamp>,
    /// Which of the series' files.
    pub(super) file: usize,
    /// Where it begins in the file, unzipped.
    pub(super) offset: u64,
}

pub(super) struct Backward<'a> {
    series: &'a mut Series,
    /// No more lines than this will be taken.
    count: usize,
    /// The files before this one are still to be read.
    before: usize,
    current: Option<FromEnd>,
    line: Vec<u8>,
    /// Ready to be given out, newest first.
    ready: VecDeque<Start>,
    /// What of the gzip that is being read is to be given out after that, oldest first.
    unzipped: VecDeque<Place>,
    /// Lines whose time is that of a line not yet met, newest first: file, offset, text; and their bytes.
    untimed: Vec<(usize, u64, Vec<u8>)>,
    untimed_bytes: usize,
    over: bool,
}

impl<'a> Backward<'a> {
    pub(super) fn of(series: &'a mut Series, count: usize) -> Backward<'a> {
        Backward {
            before: series.files.len(),
            series,
            count,
            current: None,
            line: Vec::new(),
            ready: VecDeque::new(),
            unzipped: VecDeque::new(),
            untimed: Vec::new(),
            untimed_bytes: 0,
            over: false,
        }
    }

    /// The line before, of those that are wanted.
    pub(super) fn next(&mut self) -> Option<Start> {
        loop {
            if let Some(start) = self.ready.pop_front() {
                return Some(start);
            }
            if let Some(place) = self.unzipped.pop_back() {
                return Some(self.start(self.before, place.offset, place.at()));
            }
            if self.over || self.series.is_cancelled() {
                return None;
            }
            self.step();
        }
    }

    /// Reads one line, or goes to the file before.
    fn step(&mut self) {
        let Some(lines) = &mut self.current else { return self.open_before() };
        let mut line = std::mem::take(&mut self.line);
        match lines.next(&mut line) {
            Ok(true) => {
                let offset = lines.offset();
                self.take(&line, offset);
            }
            Ok(false) => self.current = None,
            Err(error) => {
                self.series.cannot_read(self.before, error);
                self.current = None;
            }
        }
        self.line = line;
    }

    fn take(&mut self, line: &[u8], offset: u64) {
        let parsed = self.series.parser.parse(line);
        if parsed.at.is_none() && self.series.parser.is_timed() {
            self.untimed_bytes += parsed.body.len();
            self.untimed.push((self.before, offset, parsed.body.into_owned()));
            if self.untimed.len() > UNTIMED || self.untimed_bytes > UNTIMED_BYTES {
                self.settle(None);
            }
            return;
        }
        self.settle(parsed.at);
        if parsed.at.is_some_and(|at| self.series.query.since.is_some_and(|since| at < since)) {
            self.over = true;
            return;
        }
        self.offer(self.before, offset, parsed.at, &parsed.body);
    }

    /// Gives the waiting lines their time.
    fn settle(&mut self, at: Option<Timestamp>) {
        self.untimed_bytes = 0;
        for (file, offset, line) in std::mem::take(&mut self.untimed) {
            self.offer(file, offset, at, &line);
        }
    }

    fn offer(&mut self, file: usize, offset: u64, at: Option<Timestamp>, line: &[u8]) {
        if is_wanted(&self.series.query, at, line) {
            self.ready.push_back(self.start(file, offset, at));
        }
    }

    fn start(&self, file: usize, offset: u64, at: Option<Timestamp>) -> Start {
        Start { key: key(self.series.parser, self.series.files[file].end, at), at, file, offset }
    }

    fn open_before(&mut self) {
        let Some(index) = self.before.checked_sub(1) else {
            self.settle(None);
            self.over = true;
            return;
        };
        self.before = index;
        match self.series.open(index) {
            Some(Opened::Plain { file, size, live }) => {
                self.series.hold_size(index, size);
                self.current = Some(FromEnd::of(file, size, !live));
            }
            Some(Opened::Gzip(gzip)) => self.unzip(gzip, index),
            Some(Opened::Gone) | None => {}
        }
    }

    /// A gzip can only be read forwards: the places of its last lines that are wanted are kept.
    fn unzip(&mut self, gzip: File, index: usize) {
        let mut lines = self.series.of_gzip(gzip, index);
        self.unzipped = VecDeque::new();
        while let Some(found) = lines.next() {
            if self.unzipped.len() == self.count {
                self.unzipped.pop_front();
            }
            self.unzipped.push_back(Place::of(found.line.at, found.offset));
        }
        for (_, error) in lines.unreadable {
            self.series.cannot_read(index, error);
        }
        self.settle(lines.at);
    }
}

/// A line of a gzip in few bytes: there may be a hundred thousand. In the files times are whole milliseconds.
struct Place {
    /// Milliseconds since 1970; the least number for none.
    ms: i64,
    offset: u64,
}

impl Place {
    fn of(at: Option<Timestamp>, offset: u64) -> Place {
        Place { ms: at.map_or(i64::MIN, Timestamp::as_millisecond), offset }
    }

    fn at(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.ms).ok()
    }
}
