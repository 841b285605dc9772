//! The files of one kind of one app, as one run of lines in either direction.

use super::lines::{FromEnd, FromStart, Next};
use super::parse::Parser;
use super::{AppLogs, ReadLine, ReadQuery};
use crate::linux::logfile::{as_owner, open_to_read};
use crate::logs::archive::{Form, Kind, list, live_path, rotated_path};
use crate::logs::settings::Stream;
use crate::logs::stamp::FileStamp;
use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// How often the directory is looked at again when a rotation happens meanwhile.
const LOOKS: usize = 10;
/// Lines without a time that wait for the line before them; beyond, they have none. And their bytes.
const UNTIMED: usize = 1000;
const UNTIMED_BYTES: usize = 1024 * 1024;
/// What a gzip's last lines may take while they wait to be given out, newest first. In bytes.
const UNZIPPED: usize = 16 * 1024 * 1024;

/// A line that is wanted, and where it stands among those of the other series.
pub(super) struct Found {
    pub(super) key: Timestamp,
    pub(super) line: ReadLine,
}

pub(super) struct Series<'a> {
    source: &'a AppLogs,
    kind: Kind,
    stream: Stream,
    parser: Parser,
    query: &'a ReadQuery,
    /// Oldest first; those already read are taken away.
    files: VecDeque<SeriesFile>,
    current: Option<(FromStart, SeriesFile)>,
    line: Vec<u8>,
    /// The time of the line before.
    at: Option<Timestamp>,
    pub(super) unreadable: Vec<(PathBuf, io::Error)>,
}

struct SeriesFile {
    place: FilePlace,
    /// Read no further than this byte.
    size: Option<u64>,
    /// The order of lines that have no time: that of their file's end.
    end: Timestamp,
}

enum FilePlace {
    /// Opened when its turn comes, plain or gzipped as it is by then.
    Rotated(FileStamp),
    /// Opened at once: it may have another name soon.
    Live(File),
}

enum Opened {
    Plain {
        file: File,
        size: u64,
        live: bool,
    },
    Gzip(File),
    /// `keep` or `max_total` was faster.
    Gone,
}

impl<'a> Series<'a> {
    /// Looks which files there are.
    pub(super) fn find(
        source: &'a AppLogs,
        kind: Kind,
        stream: Stream,
        query: &'a ReadQuery,
    ) -> Result<Series<'a>, (PathBuf, io::Error)> {
        let files = find_files(source, kind).map_err(|error| (live_path(&source.dir, &source.name, kind), error))?;
        let mut series = Series {
            source,
            kind,
            stream,
            parser: source.parser(),
            query,
            files,
            current: None,
            line: Vec::new(),
            at: None,
            unreadable: Vec::new(),
        };
        series.leave_out_other_times();
        Ok(series)
    }

    /// A file holds nothing younger than the moment of its rotation, nor older than that of the one before.
    fn leave_out_other_times(&mut self) {
        let rotated = |file: &SeriesFile| match &file.place {
            FilePlace::Rotated(stamp) => Some(stamp.at()),
            FilePlace::Live(_) => None,
        };
        if let Some(since) = self.query.since {
            self.files.retain(|file| rotated(file).is_none_or(|at| at >= since));
        }
        if let Some(until) = self.query.until {
            let later = self.files.iter().position(|file| rotated(file).is_some_and(|at| at > until));
            let Some(first) = later else { return };
            // Of files rotated within one millisecond the names run ahead of their lines.
            let after = self.files.iter().skip(first + 1).position(|file| self.begins_after(file, until));
            if let Some(after) = after {
                self.files.truncate(first + 1 + after);
            }
        }
    }

    /// Are all its lines younger, as far as its first one says? The name is trusted where lines have no times.
    fn begins_after(&self, file: &SeriesFile, moment: Timestamp) -> bool {
        if self.parser == Parser::Raw {
            return true;
        }
        let bytes: Box<dyn Read + Send> = match (&file.place, open(self.source, self.kind, file)) {
            (FilePlace::Rotated(_), Ok(Opened::Plain { file, size, .. })) => Box::new(file.take(size)),
            (FilePlace::Rotated(_), Ok(Opened::Gzip(gzip))) => Box::new(MultiGzDecoder::new(gzip)),
            // The live one is open for the reading itself; one that is gone or faulty costs nothing.
            (FilePlace::Live(_), _) | (FilePlace::Rotated(_), Ok(Opened::Gone) | Err(_)) => return false,
        };
        let mut line = Vec::new();
        let first = FromStart::of(bytes).next(&mut line);
        first.is_ok() && self.parser.parse(&line).at.is_some_and(|at| at > moment)
    }

    /// The next line that is wanted.
    pub(super) fn next(&mut self) -> Option<Found> {
        loop {
            if self.query.cancelled.load(Ordering::Relaxed) {
                return None;
            }
            let Some((lines, file)) = &mut self.current else {
                self.current = Some(self.open_next()?);
                continue;
            };
            let end = match lines.next(&mut self.line) {
                Ok(Next::Line) => false,
                // In the live file it is being written at this moment.
                Ok(Next::Unfinished) => matches!(file.place, FilePlace::Live(_)),
                Ok(Next::End) => true,
                Err(error) => {
                    self.unreadable.push((path(self.source, self.kind, file), error));
                    true
                }
            };
            if end {
                self.current = None;
                continue;
            }
            let parsed = self.parser.parse(&self.line);
            self.at = parsed.at.or(self.at);
            let stream = parsed.stream.unwrap_or(self.stream);
            if is_wanted(self.query, self.at, &parsed.body) {
                return Some(found(self.source, self.parser, file.end, stream, self.at, parsed.body.into_owned()));
            }
        }
    }

    fn open_next(&mut self) -> Option<(FromStart, SeriesFile)> {
        loop {
            let file = self.files.pop_front()?;
            let bytes: Box<dyn Read + Send> = match self.open(&file) {
                Opened::Plain { file, size, .. } => Box::new(file.take(size)),
                Opened::Gzip(gzip) => Box::new(MultiGzDecoder::new(gzip).take(file.size.unwrap_or(u64::MAX))),
                Opened::Gone => continue,
            };
            return Some((FromStart::of(bytes), file));
        }
    }

    fn open(&mut self, file: &SeriesFile) -> Opened {
        match open(self.source, self.kind, file) {
            Ok(opened) => opened,
            Err(error) => {
                self.unreadable.push((path(self.source, self.kind, file), error));
                Opened::Gone
            }
        }
    }
}

fn is_wanted(query: &ReadQuery, at: Option<Timestamp>, body: &[u8]) -> bool {
    let in_time =
        at.is_none_or(|at| query.since.is_none_or(|since| at >= since) && query.until.is_none_or(|until| at <= until));
    in_time && query.grep.as_ref().is_none_or(|grep| grep.is_match(body))
}

fn found(
    source: &AppLogs,
    parser: Parser,
    file_end: Timestamp,
    stream: Stream,
    at: Option<Timestamp>,
    line: Vec<u8>,
) -> Found {
    let key = match parser {
        Parser::Raw => file_end,
        Parser::Timed => at.unwrap_or(Timestamp::MIN),
    };
    Found { key, line: ReadLine { app: source.app.clone(), stream, at, line } }
}

fn path(source: &AppLogs, kind: Kind, file: &SeriesFile) -> PathBuf {
    match &file.place {
        FilePlace::Rotated(stamp) => rotated_path(&source.dir, &source.name, kind, *stamp, Form::Plain),
        FilePlace::Live(_) => live_path(&source.dir, &source.name, kind),
    }
}

/// The rotated files and the live one, of one moment: looked at again while a rotation falls between the two.
fn find_files(source: &AppLogs, kind: Kind) -> io::Result<VecDeque<SeriesFile>> {
    let mut stamps = stamps(source, kind)?;
    for _ in 0..LOOKS {
        let live = open_live(source, kind)?;
        let again = self::stamps(source, kind)?;
        if again.last() == stamps.last() {
            return Ok(up_to_mark(source, kind, stamps, live));
        }
        stamps = again;
    }
    // It rotates faster than we look: what is rotated is all, but for the newest lines.
    Ok(up_to_mark(source, kind, stamps, None))
}

fn stamps(source: &AppLogs, kind: Kind) -> io::Result<Vec<FileStamp>> {
    let mut stamps: Vec<FileStamp> = list(&source.dir, &source.name, source.owner.as_ref())?
        .into_iter()
        .filter(|file| file.kind == kind && file.form != Form::HalfGzip)
        .map(|file| file.stamp)
        .collect();
    // While a gzip takes the place of the plain file there are both.
    stamps.dedup();
    Ok(stamps)
}

fn open_live(source: &AppLogs, kind: Kind) -> io::Result<Option<File>> {
    let path = live_path(&source.dir, &source.name, kind);
    match as_owner(source.owner.as_ref(), || open_to_read(&path)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn up_to_mark(source: &AppLogs, kind: Kind, stamps: Vec<FileStamp>, live: Option<File>) -> VecDeque<SeriesFile> {
    let mark = source.upto.map(|marks| marks.of(kind));
    let mut files = VecDeque::new();
    for stamp in stamps {
        let since_then = mark.is_some_and(|mark| mark.rotated.is_none_or(|last| stamp > last));
        let size = if since_then { mark.map(|mark| mark.size) } else { None };
        files.push_back(SeriesFile { place: FilePlace::Rotated(stamp), size, end: stamp.at() });
        if since_then {
            // It was the live file at the mark.
            return files;
        }
    }
    if let Some(live) = live {
        let modified = live.metadata().and_then(|meta| meta.modified()).ok();
        let end = modified.and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(Timestamp::MAX);
        files.push_back(SeriesFile { place: FilePlace::Live(live), size: mark.map(|mark| mark.size), end });
    }
    files
}

fn open(source: &AppLogs, kind: Kind, file: &SeriesFile) -> io::Result<Opened> {
    let stamp = match &file.place {
        FilePlace::Live(live) => return plain(live.try_clone()?, file.size, true),
        FilePlace::Rotated(stamp) => *stamp,
    };
    // The plain one goes only after the gzip has come: in this order one of them is met.
    for form in [Form::Plain, Form::Gzip] {
        let path = rotated_path(&source.dir, &source.name, kind, stamp, form);
        match as_owner(source.owner.as_ref(), || open_to_read(&path)) {
            Ok(opened) if form == Form::Gzip => return Ok(Opened::Gzip(opened)),
            Ok(opened) => return plain(opened, file.size, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Opened::Gone)
}

fn plain(file: File, size: Option<u64>, live: bool) -> io::Result<Opened> {
    let there = file.metadata()?.len();
    Ok(Opened::Plain { size: size.map_or(there, |size| size.min(there)), file, live })
}

/// A series from its newest line to its oldest.
pub(super) struct Backward<'s, 'a> {
    series: &'s mut Series<'a>,
    /// No more lines than this will be taken.
    count: usize,
    current: Option<(FromEnd, SeriesFile)>,
    /// Ready to be given out, newest first.
    ready: VecDeque<Found>,
    /// Lines whose time is that of a line not yet met, newest first, with their file's end; and their bytes.
    untimed: Vec<(Timestamp, Stream, Vec<u8>)>,
    untimed_bytes: usize,
    over: bool,
}

impl<'s, 'a> Backward<'s, 'a> {
    pub(super) fn of(series: &'s mut Series<'a>, count: usize) -> Backward<'s, 'a> {
        let (ready, untimed) = (VecDeque::new(), Vec::new());
        Backward { series, count, current: None, ready, untimed, untimed_bytes: 0, over: false }
    }

    /// The line before, of those that are wanted.
    pub(super) fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                return Some(found);
            }
            if self.over || self.series.query.cancelled.load(Ordering::Relaxed) {
                return None;
            }
            self.step();
        }
    }

    /// Reads one line, or goes to the file before.
    fn step(&mut self) {
        let Some((lines, file)) = &mut self.current else { return self.open_before() };
        let mut line = std::mem::take(&mut self.series.line);
        match lines.next(&mut line) {
            Ok(true) => {
                let file_end = file.end;
                self.take(&line, file_end);
            }
            Ok(false) => self.current = None,
            Err(error) => {
                self.series.unreadable.push((path(self.series.source, self.series.kind, file), error));
                self.current = None;
            }
        }
        self.series.line = line;
    }

    fn take(&mut self, line: &[u8], file_end: Timestamp) {
        let parsed = self.series.parser.parse(line);
        let stream = parsed.stream.unwrap_or(self.series.stream);
        if parsed.at.is_none() && self.series.parser == Parser::Timed {
            self.untimed_bytes += parsed.body.len();
            self.untimed.push((file_end, stream, parsed.body.into_owned()));
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
        self.offer(file_end, stream, parsed.at, parsed.body.into_owned());
    }

    /// Gives the waiting lines their time.
    fn settle(&mut self, at: Option<Timestamp>) {
        self.untimed_bytes = 0;
        for (file_end, stream, line) in std::mem::take(&mut self.untimed) {
            self.offer(file_end, stream, at, line);
        }
    }

    fn offer(&mut self, file_end: Timestamp, stream: Stream, at: Option<Timestamp>, line: Vec<u8>) {
        if is_wanted(self.series.query, at, &line) {
            self.ready.push_back(found(self.series.source, self.series.parser, file_end, stream, at, line));
        }
    }

    fn open_before(&mut self) {
        let Some(file) = self.series.files.pop_back() else {
            self.settle(None);
            self.over = true;
            return;
        };
        match self.series.open(&file) {
            Opened::Plain { file: plain, size, live } => self.current = Some((FromEnd::of(plain, size, !live), file)),
            Opened::Gzip(gzip) => self.unzip(gzip, file),
            Opened::Gone => {}
        }
    }

    /// A gzip can only be read forwards: its last lines that are wanted are kept.
    fn unzip(&mut self, gzip: File, file: SeriesFile) {
        let bytes = MultiGzDecoder::new(gzip).take(file.size.unwrap_or(u64::MAX));
        let mut series = Series {
            files: VecDeque::new(),
            current: Some((FromStart::of(Box::new(bytes)), file)),
            line: Vec::new(),
            at: None,
            unreadable: Vec::new(),
            ..*self.series
        };
        let (mut last, mut size) = (VecDeque::new(), 0);
        while let Some(found) = series.next() {
            size += found.line.line.len();
            last.push_back(found);
            while last.len() > self.count || size > UNZIPPED {
                size -= last.pop_front().map_or(0, |found| found.line.line.len());
            }
        }
        self.series.unreadable.append(&mut series.unreadable);
        self.settle(series.at);
        self.ready.extend(last.into_iter().rev());
    }
}
