//! The way back: the lines of many apps out of live, rotated and gzipped files, in time order.
//!
//! Each app gives one or two series of files, oldest first; the series are merged by the time before each line.
//! Text with timestamps has no mark of its stream in the combined file, so that the out and error files are merged
//! instead: by time, and within a millisecond out before error. JSON lines carry their stream and come from the combined
//! file in the order they were written; so do lines without timestamps, all as stdout, and without a time.
//! A line without a time of its own has that of the line before it.

mod lines;
mod parse;
mod series;

use super::archive::{Kind, Marks};
use super::settings::{LogFormat, LogSettings, Stream};
use crate::linux::fs_rights::FsOwner;
use jiff::Timestamp;
use parse::Parser;
use regex::bytes::Regex;
use series::{Backward, Found, Series};
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The last lines of `lines = n` take at most so much memory; what is older is left out then. In bytes.
const LAST_LINES: usize = 16 * 1024 * 1024;

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

/// How the reading went.
#[derive(Debug, Default)]
pub struct ReadEnd {
    /// Files that could not be read, or not to their end.
    pub unreadable: Vec<(PathBuf, io::Error)>,
    /// Fewer of the last lines than asked for, because they are too long.
    pub cut: bool,
}

/// Gives the lines to `out` in time order until it breaks off. Blocks on the disk; opens each file only when its turn
/// comes, and what is rotated or gzipped meanwhile is neither lost nor doubled.
pub fn read(query: &ReadQuery, out: &mut dyn FnMut(ReadLine) -> ControlFlow<()>) -> ReadEnd {
    let mut end = ReadEnd::default();
    let mut all = Vec::new();
    for source in &query.sources {
        for (kind, stream) in source.kinds(query.stream) {
            match Series::find(source, kind, stream, query) {
                Ok(series) => all.push(series),
                Err(unreadable) => end.unreadable.push(unreadable),
            }
        }
    }
    match query.lines {
        None => forward(&mut all, out),
        Some(count) => backward(&mut all, count, &mut end, out),
    }
    end.unreadable.extend(all.into_iter().flat_map(|series| series.unreadable));
    end
}

fn forward(all: &mut [Series<'_>], out: &mut dyn FnMut(ReadLine) -> ControlFlow<()>) {
    let mut heads: Vec<Option<Found>> = all.iter_mut().map(Series::next).collect();
    loop {
        let first = heads.iter().enumerate().filter_map(|(index, head)| Some((head.as_ref()?.key, index))).min();
        let Some((_, index)) = first else { return };
        let Some(found) = heads[index].take() else { return };
        heads[index] = all[index].next();
        if out(found.line).is_break() {
            return;
        }
    }
}

fn backward(all: &mut [Series<'_>], count: usize, end: &mut ReadEnd, out: &mut dyn FnMut(ReadLine) -> ControlFlow<()>) {
    let mut all: Vec<Backward<'_, '_>> = all.iter_mut().map(|series| Backward::of(series, count)).collect();
    let mut heads: Vec<Option<Found>> = all.iter_mut().map(Backward::next).collect();
    let (mut last, mut bytes) = (Vec::new(), 0);
    while last.len() < count {
        let latest = heads.iter().enumerate().filter_map(|(index, head)| Some((head.as_ref()?.key, index))).max();
        let Some((_, index)) = latest else { break };
        let Some(found) = heads[index].take() else { break };
        bytes += found.line.line.len();
        if bytes > LAST_LINES {
            end.cut = true;
            break;
        }
        last.push(found.line);
        if last.len() < count {
            heads[index] = all[index].next();
        }
    }
    for line in last.into_iter().rev() {
        if out(line).is_break() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
