//! The files of one kind of one app, as one run of lines.

use super::backward::Start;
use super::lines::{FromStart, Next};
use super::parse::Parser;
use super::{AppLogs, ReadLine, ReadQuery, Unreadable};
use crate::linux::logfile::{as_owner, open_to_read};
use crate::logs::archive::{Form, Kind, list, live_path, rotated_path};
use crate::logs::settings::Stream;
use crate::logs::stamp::FileStamp;
use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How often the directory is looked at again when a rotation happens meanwhile.
const LOOKS: usize = 10;

/// A line that is wanted, and where it stands among those of the other series.
pub(super) struct Found {
    pub(super) key: Timestamp,
    /// Where it begins in its file, unzipped.
    pub(super) offset: u64,
    pub(super) line: ReadLine,
}

pub(super) struct Series {
    pub(super) query: Arc<ReadQuery>,
    /// Which of the query's sources.
    source: usize,
    kind: Kind,
    pub(super) stream: Stream,
    pub(super) parser: Parser,
    /// Oldest first.
    pub(super) files: Vec<SeriesFile>,
    /// The file that is open, or whose turn is next.
    turn: usize,
    current: Option<FromStart>,
    /// So much of the next file is left out, bytes.
    skip: u64,
    line: Vec<u8>,
    /// The time of the line before.
    pub(super) at: Option<Timestamp>,
    pub(super) unreadable: Unreadable,
}

pub(super) struct SeriesFile {
    place: FilePlace,
    /// Read no further than this byte.
    size: Option<u64>,
    /// The order of lines that have no time: that of their file's end.
    pub(super) end: Timestamp,
}

pub(super) enum FilePlace {
    /// Opened when its turn comes, plain or gzipped as it is by then.
    Rotated(FileStamp),
    /// Opened at once: it may have another name soon.
    Live(File),
}

pub(super) enum Opened {
    Plain {
        file: File,
        size: u64,
        live: bool,
    },
    Gzip(File),
    /// `keep` or `max_total` was faster.
    Gone,
}

impl Series {
    /// Looks which files there are.
    pub(super) fn find(
        query: &Arc<ReadQuery>,
        source: usize,
        kind: Kind,
        stream: Stream,
    ) -> Result<Series, (PathBuf, io::Error)> {
        let of = &query.sources[source];
        let files = find_files(of, kind).map_err(|error| (live_path(&of.dir, &of.name, kind), error))?;
        let parser = of.parser();
        let query = Arc::clone(query);
        let mut series = Series::over(query, source, kind, stream, parser, files);
        series.leave_out_other_times();
        Ok(series)
    }

    fn over(
        query: Arc<ReadQuery>,
        source: usize,
        kind: Kind,
        stream: Stream,
        parser: Parser,
        files: Vec<SeriesFile>,
    ) -> Series {
        Series {
            query,
            source,
            kind,
            stream,
            parser,
            files,
            turn: 0,
            current: None,
            skip: 0,
            line: Vec::new(),
            at: None,
            unreadable: Vec::new(),
        }
    }

    fn source(&self) -> &AppLogs {
        &self.query.sources[self.source]
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.query.cancelled.load(Ordering::Relaxed)
    }

    /// Reads from there on; from nowhere, no line at all.
    pub(super) fn begin_at(&mut self, start: Option<Start>) {
        self.current = None;
        let Some(start) = start else {
            self.turn = self.files.len();
            return;
        };
        (self.turn, self.skip, self.at) = (start.file, start.offset, start.at);
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
        let bytes: Box<dyn Read + Send> = match (&file.place, open(self.source(), self.kind, file)) {
            (FilePlace::Rotated(_), Ok(Opened::Plain { file, size, .. })) => Box::new(file.take(size)),
            (FilePlace::Rotated(_), Ok(Opened::Gzip(gzip))) => Box::new(MultiGzDecoder::new(gzip)),
            // The live one is open for the reading itself; one that is gone or faulty costs nothing.
            (FilePlace::Live(_), _) | (FilePlace::Rotated(_), Ok(Opened::Gone) | Err(_)) => return false,
        };
        let mut line = Vec::new();
        let first = FromStart::of(bytes, 0).next(&mut line);
        first.is_ok() && self.parser.parse(&line).at.is_some_and(|at| at > moment)
    }

    /// The next line that is wanted.
    pub(super) fn next(&mut self) -> Option<Found> {
        loop {
            if self.is_cancelled() {
                return None;
            }
            let Some(lines) = &mut self.current else {
                self.open_next()?;
                continue;
            };
            let file = &self.files[self.turn];
            let offset = lines.offset();
            let end = match lines.next(&mut self.line) {
                Ok(Next::Line) => false,
                // In the live file it is being written at this moment.
                Ok(Next::Unfinished) => matches!(file.place, FilePlace::Live(_)),
                Ok(Next::End) => true,
                Err(error) => {
                    self.cannot_read(self.turn, error);
                    true
                }
            };
            if end {
                self.current = None;
                self.turn += 1;
                continue;
            }
            let parsed = self.parser.parse(&self.line);
            self.at = parsed.at.or(self.at);
            if is_wanted(&self.query, self.at, &parsed.body) {
                let key = key(self.parser, self.files[self.turn].end, self.at);
                let stream = parsed.stream.unwrap_or(self.stream);
                let (app, line) = (Arc::clone(&self.source().app), parsed.body.into_owned());
                return Some(Found { key, offset, line: ReadLine { app, stream, at: self.at, line } });
            }
        }
    }

    /// Opens the file whose turn it is, or the next that can be opened.
    fn open_next(&mut self) -> Option<()> {
        loop {
            let skip = std::mem::take(&mut self.skip);
            let limit = self.files.get(self.turn)?.size;
            let opened = self.open(self.turn);
            let bytes = match opened {
                Some(opened) => from(opened, limit, skip),
                None => Ok(None),
            };
            match bytes {
                Ok(Some(bytes)) => {
                    self.current = Some(FromStart::of(bytes, skip));
                    return Some(());
                }
                Ok(None) => {}
                Err(error) => self.cannot_read(self.turn, error),
            }
            self.turn += 1;
        }
    }

    /// None when it is gone or cannot be opened.
    pub(super) fn open(&mut self, index: usize) -> Option<Opened> {
        match open(self.source(), self.kind, &self.files[index]) {
            Ok(Opened::Gone) => None,
            Ok(opened) => Some(opened),
            Err(error) => {
                self.cannot_read(index, error);
                None
            }
        }
    }

    /// The live file is read to where it is now, however often that is.
    pub(super) fn hold_size(&mut self, index: usize, size: u64) {
        self.files[index].size = Some(size);
    }

    /// Notes it once, however often the file is met.
    pub(super) fn cannot_read(&mut self, index: usize, error: io::Error) {
        let path = path(self.source(), self.kind, &self.files[index]);
        if self.unreadable.iter().all(|(known, _)| *known != path) {
            self.unreadable.push((path, error));
        }
    }

    /// The lines of one gzip alone, from its start.
    pub(super) fn of_gzip(&self, gzip: File, index: usize) -> Series {
        let file = &self.files[index];
        let bytes = MultiGzDecoder::new(gzip).take(file.size.unwrap_or(u64::MAX));
        let file = SeriesFile { place: FilePlace::Rotated(FileStamp::of(file.end)), size: file.size, end: file.end };
        let query = Arc::clone(&self.query);
        let mut series = Series::over(query, self.source, self.kind, self.stream, self.parser, vec![file]);
        series.current = Some(FromStart::of(Box::new(bytes), 0));
        series
    }
}

/// What is to be read of a file: without its first `skip` bytes, unzipped, and no further than `limit`.
fn from(opened: Opened, limit: Option<u64>, skip: u64) -> io::Result<Option<Box<dyn Read + Send>>> {
    Ok(match opened {
        Opened::Plain { mut file, size, .. } => {
            file.seek(SeekFrom::Start(skip))?;
            Some(Box::new(file.take(size.saturating_sub(skip))))
        }
        Opened::Gzip(gzip) => {
            let mut bytes = MultiGzDecoder::new(gzip).take(limit.unwrap_or(u64::MAX));
            io::copy(&mut bytes.by_ref().take(skip), &mut io::sink())?;
            Some(Box::new(bytes))
        }
        Opened::Gone => None,
    })
}

pub(super) fn is_wanted(query: &ReadQuery, at: Option<Timestamp>, body: &[u8]) -> bool {
    let in_time =
        at.is_none_or(|at| query.since.is_none_or(|since| at >= since) && query.until.is_none_or(|until| at <= until));
    in_time && query.grep.as_ref().is_none_or(|grep| grep.is_match(body))
}

/// Where a line stands among those of the other series.
pub(super) fn key(parser: Parser, file_end: Timestamp, at: Option<Timestamp>) -> Timestamp {
    match parser {
        Parser::Raw => file_end,
        Parser::Timed => at.unwrap_or(Timestamp::MIN),
    }
}

fn path(source: &AppLogs, kind: Kind, file: &SeriesFile) -> PathBuf {
    match &file.place {
        FilePlace::Rotated(stamp) => rotated_path(&source.dir, &source.name, kind, *stamp, Form::Plain),
        FilePlace::Live(_) => live_path(&source.dir, &source.name, kind),
    }
}

/// The rotated files and the live one, of one moment: looked at again while a rotation falls between the two.
fn find_files(source: &AppLogs, kind: Kind) -> io::Result<Vec<SeriesFile>> {
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

fn up_to_mark(source: &AppLogs, kind: Kind, stamps: Vec<FileStamp>, live: Option<File>) -> Vec<SeriesFile> {
    let mark = source.upto.map(|marks| marks.of(kind));
    let mut files = Vec::new();
    for stamp in stamps {
        let since_then = mark.is_some_and(|mark| mark.rotated.is_none_or(|last| stamp > last));
        let size = if since_then { mark.map(|mark| mark.size) } else { None };
        files.push(SeriesFile { place: FilePlace::Rotated(stamp), size, end: stamp.at() });
        if since_then {
            // It was the live file at the mark.
            return files;
        }
    }
    if let Some(live) = live {
        let modified = live.metadata().and_then(|meta| meta.modified()).ok();
        let end = modified.and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(Timestamp::MAX);
        files.push(SeriesFile { place: FilePlace::Live(live), size: mark.map(|mark| mark.size), end });
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
