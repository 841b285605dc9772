//! The way back: the lines of many apps out of live, rotated and gzipped files, in time order.
//!
//! Each app gives one or two series of files, oldest first; the series are merged by the time before each line.
//! Text with timestamps has no mark of its stream in the combined file, so that the out and error files are merged
//! instead: by time, and within a millisecond out before error. JSON lines carry their stream and come from the combined
//! file in the order they were written; so do lines without timestamps, all as stdout, and without a time.
//! A line without a time of its own has that of the line before it.
//!
//! The last lines are looked for from the end, which only finds where they begin, and then read forwards like any others:
//! a reading keeps a block of each series in memory and no more, however many lines there are and however long its
//! reader takes.

mod backward;
mod lines;
mod parse;
mod series;

use super::archive::{Kind, Marks};
use super::settings::{LogFormat, LogSettings, Stream};
use crate::linux::fs_rights::FsOwner;
use backward::{Backward, Start};
use jiff::Timestamp;
use parse::Parser;
use regex::bytes::Regex;
use series::{Found, Series};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Where one app's lines are.
#[derive(Debug, Clone)]
pub struct AppLogs {
    pub app: Arc<str>,
    pub dir: PathBuf,
    pub name: String,
    pub format: LogFormat,
    pub timestamps: bool,
    /// With whose rights the files are opened.
    pub owner: Option<FsOwner>,
    /// Reads exactly to where the files were when a follower started; what came later is that follower's.
    pub upto: Option<Marks>,
}

impl AppLogs {
    pub fn of(settings: &LogSettings) -> AppLogs {
        AppLogs {
            app: Arc::clone(&settings.app),
            dir: settings.dir.clone(),
            name: settings.name.clone(),
            format: settings.format,
            timestamps: settings.timestamps,
            owner: settings.owner.clone(),
            upto: None,
        }
    }

    fn parser(&self) -> Parser {
        match (self.format, self.timestamps) {
            (LogFormat::Text, false) => Parser::Raw,
            (LogFormat::Text, true) | (LogFormat::Json, _) => Parser::Timed,
        }
    }

    fn kinds(&self, stream: Option<Stream>) -> Vec<(Kind, Stream)> {
        match (stream, self.format, self.timestamps) {
            (Some(stream), _, _) => vec![(Kind::of(stream), stream)],
            (None, LogFormat::Text, true) => vec![(Kind::Out, Stream::Out), (Kind::Error, Stream::Err)],
            (None, LogFormat::Json, _) | (None, LogFormat::Text, false) => vec![(Kind::Combined, Stream::Out)],
        }
    }
}

/// Which lines are wanted. Lines whose time is not known pass `since` and `until`, except those in files that were
/// rotated before `since`.
#[derive(Debug, Clone, Default)]
pub struct ReadQuery {
    pub sources: Vec<AppLogs>,
    /// Only the last so many.
    pub lines: Option<usize>,
    pub stream: Option<Stream>,
    /// From this moment on.
    pub since: Option<Timestamp>,
    /// Up to and including this moment.
    pub until: Option<Timestamp>,
    /// Matched against the line without its time.
    pub grep: Option<Regex>,
    /// Set by whoever asked when the answer is not wanted any more: ends a search that finds nothing.
    pub cancelled: Arc<AtomicBool>,
}

/// A line as the app wrote it, without its newline and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadLine {
    pub app: Arc<str>,
    pub stream: Stream,
    pub at: Option<Timestamp>,
    pub line: Vec<u8>,
}

/// Files that could not be read, or not to their end.
pub type Unreadable = Vec<(PathBuf, io::Error)>;

/// The wanted lines, in time order. Blocks on the disk; opens each file only when its turn comes, and what is rotated or
/// gzipped meanwhile is neither lost nor doubled.
pub struct Reading {
    all: Vec<Series>,
    /// The next line of each series.
    heads: Vec<Option<Found>>,
    unreadable: Unreadable,
}

impl Reading {
    /// Finds the files and, for the last lines, where these begin.
    pub fn begin(query: ReadQuery) -> Reading {
        let query = Arc::new(query);
        let (mut all, mut unreadable) = (Vec::new(), Vec::new());
        for (index, source) in query.sources.iter().enumerate() {
            for (kind, stream) in source.kinds(query.stream) {
                match Series::find(&query, index, kind, stream) {
                    Ok(series) => all.push(series),
                    Err(file) => unreadable.push(file),
                }
            }
        }
        if let Some(count) = query.lines {
            leave_out_all_but_the_last(&mut all, count);
        }
        let heads = all.iter_mut().map(Series::next).collect();
        Reading { all, heads, unreadable }
    }

    pub fn unreadable(self) -> Unreadable {
        self.unreadable.into_iter().chain(self.all.into_iter().flat_map(|series| series.unreadable)).collect()
    }
}

impl Iterator for Reading {
    type Item = ReadLine;

    fn next(&mut self) -> Option<ReadLine> {
        let first = self.heads.iter().enumerate().filter_map(|(index, head)| Some((head.as_ref()?.key, index))).min();
        let (_, index) = first?;
        let found = self.heads[index].take()?;
        self.heads[index] = self.all[index].next();
        Some(found.line)
    }
}

fn leave_out_all_but_the_last(all: &mut [Series], count: usize) {
    let mut starts: Vec<Option<Start>> = all.iter().map(|_| None).collect();
    let mut backward: Vec<Backward<'_>> = all.iter_mut().map(|series| Backward::of(series, count)).collect();
    let mut heads: Vec<Option<Start>> =
        if count == 0 { Vec::new() } else { backward.iter_mut().map(Backward::next).collect() };
    for taken in 1..=count {
        let latest = heads.iter().enumerate().filter_map(|(index, head)| Some((head.as_ref()?.key, index))).max();
        let Some((_, index)) = latest else { break };
        starts[index] = heads[index].take();
        if taken < count {
            heads[index] = backward[index].next();
        }
    }
    drop(backward);
    for (series, start) in all.iter_mut().zip(starts) {
        series.begin_at(start);
    }
}

#[cfg(test)]
mod tests;
