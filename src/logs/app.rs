//! One app's three files: its lines go to one of the streams' files and to the combined one.

use super::archive::{Archive, Kind, Marks, live_path};
use super::file::{LogFile, LogNotice};
use super::gzip::{Compressor, GzipDone, GzipJob};
use super::render::Renderer;
use super::settings::{LogSettings, Stream};
use super::stamp::line_stamp;
use super::tail::Tail;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

/// One reading of both clocks.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) mono: Instant,
    /// In whole milliseconds, as it is written.
    pub(super) wall: Timestamp,
}

/// What every app's files share.
pub(super) struct Env<'a> {
    pub(super) now: Now,
    pub(super) zone: &'a TimeZone,
    pub(super) compressor: &'a Compressor,
    pub(super) notice: &'a (dyn Fn(LogNotice) + Send),
}

/// What the three files of an app share.
pub(super) struct Place {
    pub(super) settings: LogSettings,
    pub(super) archive: Archive,
    /// A file was rotated: `keep` and `max_total` are to be looked at.
    pub(super) untidy: bool,
}

/// What has become of an app's lines since its logs were opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppStats {
    /// Bytes written to all three files.
    pub written_bytes: u64,
    /// Lines that are missing in the files.
    pub dropped_lines: u64,
    /// Why lines are being dropped now.
    pub error: Option<String>,
    /// Bytes of all files, rotated ones included.
    pub size_bytes: u64,
}

pub(super) struct AppLog {
    place: Place,
    renderer: Renderer,
    files: [LogFile; 3],
    /// The next local midnight, where that rotates.
    midnight: Option<Timestamp>,
    /// The last lines of the run that ended last.
    pub(super) last_run: Tail,
    /// To be forgotten once its last source has ended.
    pub(super) forgotten: bool,
}

impl Place {
    pub(super) fn live(&self, kind: Kind) -> PathBuf {
        live_path(&self.settings.dir, &self.settings.name, kind)
    }

    /// The three live files alone must not pass `max_total` either.
    pub(super) fn max_size(&self) -> u64 {
        let unlimited = |size: u64| if size == 0 { u64::MAX } else { size };
        unlimited(self.settings.max_size).min((unlimited(self.settings.max_total) / 3).max(1))
    }

    /// A line of our own, written as the app's lines are.
    pub(super) fn render_notice(&self, kind: Kind, env: &Env<'_>, line: &str) -> Vec<u8> {
        let stream = match kind {
            Kind::Combined | Kind::Out => Stream::Out,
            Kind::Error => Stream::Err,
        };
        let mut scratch = Vec::new();
        let stamp = line_stamp(env.now.wall, env.zone);
        Renderer::of(&self.settings).render(stream, &stamp, line.as_bytes(), &mut scratch).0.to_vec()
    }
}

impl AppLog {
    pub(super) fn open(settings: LogSettings, env: &Env<'_>) -> AppLog {
        let archive = Archive::load(&settings).unwrap_or_default();
        let renderer = Renderer::of(&settings);
        let place = Place { settings, archive, untidy: true };
        let files = Kind::ALL.map(LogFile::new);
        let mut app = AppLog { place, renderer, files, midnight: None, last_run: Tail::default(), forgotten: false };
        for file in &mut app.files {
            file.open(&app.place, env);
        }
        app.expect_midnight(env);
        app.rotate_what_is_of_yesterday(env);
        app.compress_what_is_plain(env);
        app.tidy();
        app
    }

    /// Changes the settings in place; the files are opened anew only where they lie elsewhere now.
    pub(super) fn configure(&mut self, settings: LogSettings, env: &Env<'_>) {
        let old = &self.place.settings;
        let moved = (&old.dir, &old.name, &old.owner) != (&settings.dir, &settings.name, &settings.owner);
        self.forgotten = false;
        if moved {
            let (last_run, counted) = (std::mem::take(&mut self.last_run), self.stats());
            *self = AppLog::open(settings, env);
            self.last_run = last_run;
            self.files[0].written = counted.written_bytes;
            self.files[0].dropped = counted.dropped_lines;
            return;
        }
        self.renderer = Renderer::of(&settings);
        self.place.settings = settings;
        self.expect_midnight(env);
        self.compress_what_is_plain(env);
        self.tidy();
    }

    /// Takes a block of whole lines.
    pub(super) fn write(&mut self, stream: Stream, block: &[u8], env: &Env<'_>, scratch: &mut Vec<u8>) {
        self.turn_the_day(env);
        let stamp = line_stamp(env.now.wall, env.zone);
        let mut rest = block;
        while !rest.is_empty() {
            let (bytes, more) = self.renderer.render(stream, &stamp, rest, scratch);
            for kind in [Kind::of(stream), Kind::Combined] {
                self.files[kind as usize].write(&mut self.place, env, bytes);
            }
            rest = more;
            if self.place.untidy || self.is_over_total() {
                self.tidy();
            }
        }
    }

    fn live_bytes(&self) -> u64 {
        self.files.iter().map(LogFile::size).sum()
    }

    fn is_over_total(&self) -> bool {
        let max_total = self.place.settings.max_total;
        max_total > 0 && !self.place.archive.is_empty() && self.live_bytes() + self.place.archive.bytes() > max_total
    }

    fn tidy(&mut self) {
        self.place.untidy = false;
        let live = self.live_bytes();
        self.place.archive.trim(&self.place.settings, live);
    }

    fn compress_what_is_plain(&self, env: &Env<'_>) {
        if !self.place.settings.compress {
            return;
        }
        for file in self.place.archive.plain() {
            let settings = self.place.settings.clone();
            env.compressor.submit(GzipJob { settings, kind: file.kind, stamp: file.stamp });
        }
    }

    pub(super) fn compressed(&mut self, done: &GzipDone) {
        if let Ok(size) = done.result {
            self.place.archive.compressed(done.job.kind, done.job.stamp, size);
        }
    }

    fn expect_midnight(&mut self, env: &Env<'_>) {
        let tomorrow = || env.now.wall.to_zoned(env.zone.clone()).tomorrow().ok()?.start_of_day().ok();
        self.midnight = if self.place.settings.daily { tomorrow().map(|zoned| zoned.timestamp()) } else { None };
    }

    /// Rotates at the first chance after local midnight.
    pub(super) fn turn_the_day(&mut self, env: &Env<'_>) {
        if self.midnight.is_none_or(|midnight| env.now.wall < midnight) {
            return;
        }
        for file in &mut self.files {
            file.rotate(&mut self.place, env);
            file.open(&self.place, env);
        }
        self.expect_midnight(env);
        self.tidy();
    }

    fn rotate_what_is_of_yesterday(&mut self, env: &Env<'_>) {
        if !self.place.settings.daily {
            return;
        }
        let today = env.now.wall.to_zoned(env.zone.clone()).date();
        let day = |time| Some(Timestamp::try_from(time).ok()?.to_zoned(env.zone.clone()).date());
        for file in &mut self.files {
            if file.modified().and_then(day).is_some_and(|day| day < today) {
                file.rotate(&mut self.place, env);
                file.open(&self.place, env);
            }
        }
    }

    /// Tries again what failed, though no line comes.
    pub(super) fn tick(&mut self, env: &Env<'_>) {
        self.turn_the_day(env);
        for file in &mut self.files {
            file.recover(&mut self.place, env);
        }
    }

    /// When `tick` has something to do for a failure, and the wall time when it has for the day.
    pub(super) fn due(&self) -> (Option<Instant>, Option<Timestamp>) {
        (self.files.iter().filter_map(LogFile::retry_at).min(), self.midnight)
    }

    pub(super) fn reopen(&mut self, env: &Env<'_>) {
        if let Ok(archive) = Archive::load(&self.place.settings) {
            self.place.archive = archive;
        }
        for file in &mut self.files {
            file.reopen(&self.place, env);
        }
        self.expect_midnight(env);
    }

    /// Empties the live files and removes the rotated ones.
    pub(super) fn flush(&mut self, env: &Env<'_>) -> io::Result<()> {
        self.place.archive.clear(&self.place.settings);
        let mut result = Ok(());
        for file in &mut self.files {
            result = result.and(file.empty(&self.place, env));
        }
        result
    }

    pub(super) fn marks(&self) -> Marks {
        let mark = |kind: Kind| self.files[kind as usize].mark(&self.place);
        Marks { combined: mark(Kind::Combined), out: mark(Kind::Out), error: mark(Kind::Error) }
    }

    pub(super) fn stats(&self) -> AppStats {
        let [combined, out, error] = &self.files;
        AppStats {
            written_bytes: self.files.iter().map(|file| file.written).sum(),
            // A line that is missing in both of its files is one line.
            dropped_lines: combined.dropped.max(out.dropped + error.dropped),
            error: self.files.iter().find_map(LogFile::error).map(str::to_owned),
            size_bytes: self.live_bytes() + self.place.archive.bytes(),
        }
    }
}
