//! One app's three files: its lines go to one of the streams' files and to the combined one.

use super::archive::{Archive, Kind, Marks, live_path};
use super::file::{LogFile, LogNotice, fitting};
use super::gzip::{Compressor, GzipDone, GzipJob};
use super::journal::Journal;
use super::render::Renderer;
use super::settings::{LogSettings, Stream};
use super::stamp::{FileStamp, line_stamp};
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
    pub(super) journal: &'a Journal,
}

/// What the three files of an app share.
pub(super) struct Place {
    pub(super) settings: LogSettings,
    pub(super) archive: Archive,
    /// A file was rotated: `keep` and `max_total` are to be looked at.
    pub(super) untidy: bool,
    /// Rotated and to be compressed, once nothing of them may have to be written again.
    pub(super) to_compress: Vec<(Kind, FileStamp)>,
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
        Renderer::of(&self.settings).render(stream, &stamp, (line.as_bytes(), u64::MAX), &mut scratch).0.to_vec()
    }
}

impl AppLog {
    pub(super) fn open(settings: LogSettings, env: &Env<'_>) -> AppLog {
        let archive = Archive::load(&settings).unwrap_or_default();
        let renderer = Renderer::of(&settings);
        let place = Place { settings, archive, untidy: true, to_compress: Vec::new() };
        let files = Kind::ALL.map(LogFile::new);
        let mut app = AppLog { place, renderer, files, midnight: None, last_run: Tail::default(), forgotten: false };
        for file in &mut app.files {
            file.open(&app.place, env);
        }
        app.expect_midnight(env);
        app.rotate_what_is_of_yesterday(env);
        app.compress_what_is_plain(env);
        app.tidy(env);
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
        self.tidy(env);
    }

    /// Takes a block of whole lines.
    pub(super) fn write(&mut self, stream: Stream, block: &[u8], env: &Env<'_>, scratch: &mut Vec<u8>) {
        self.turn_the_day(env);
        let stamp = line_stamp(env.now.wall, env.zone);
        let mut rest = block;
        while !rest.is_empty() {
            // No more than about one file takes, read as well as rendered, so that there are few files to be noted at a time.
            let max_size = self.place.max_size();
            let part = &rest[..fitting(rest, 0, max_size)];
            let (bytes, more) = self.renderer.render(stream, &stamp, (part, max_size), scratch);
            for kind in [Kind::of(stream), Kind::Combined] {
                self.files[kind as usize].write(&mut self.place, env, bytes);
            }
            let done = part.len() - more.len();
            rest = &rest[done..];
            env.journal.advance(done);
            if self.place.untidy || self.is_over_total() {
                self.tidy(env);
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

    fn tidy(&mut self, env: &Env<'_>) {
        self.place.untidy = false;
        for (kind, stamp) in self.place.to_compress.drain(..) {
            env.compressor.submit(GzipJob { settings: self.place.settings.clone(), kind, stamp });
        }
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
        self.tidy(env);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::fs_rights::FsOwner;
    use crate::logs::log_thread::read_clocks;
    use crate::logs::settings::LogFormat;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// An app's files under a clock that goes where it is told.
    struct Story {
        dir: tempfile::TempDir,
        log: AppLog,
        zone: TimeZone,
        compressor: Compressor,
        journal: Journal,
        mono: Instant,
        notices: Arc<Mutex<Vec<LogNotice>>>,
    }

    impl Story {
        fn begin(at: &str, change: impl FnOnce(&mut LogSettings)) -> Story {
            let dir = tempfile::tempdir().unwrap();
            let mut settings = settings(dir.path());
            change(&mut settings);
            let zone = TimeZone::get("Europe/Kyiv").unwrap();
            let (compressor, mono) = (Compressor::new(|_| {}), read_clocks().mono);
            let (journal, _) = Journal::in_memory().unwrap();
            let env = Env {
                now: Now { mono, wall: at.parse().unwrap() },
                zone: &zone,
                compressor: &compressor,
                notice: &|_| {},
                journal: &journal,
            };
            let log = AppLog::open(settings, &env);
            Story { dir, log, zone, compressor, journal, mono, notices: Arc::default() }
        }

        /// Does something at that time of the wall clock, a second after the last.
        fn at<T>(&mut self, wall: &str, act: impl FnOnce(&mut AppLog, &Env<'_>) -> T) -> T {
            self.mono += Duration::from_secs(1);
            let notices = Arc::clone(&self.notices);
            let notice = move |notice| notices.lock().unwrap().push(notice);
            let now = Now { mono: self.mono, wall: wall.parse().unwrap() };
            let (zone, compressor, journal) = (&self.zone, &self.compressor, &self.journal);
            let env = Env { now, zone, compressor, notice: &notice, journal };
            act(&mut self.log, &env)
        }

        fn write(&mut self, wall: &str, line: &str) {
            self.at(wall, |log, env| log.write(Stream::Out, line.as_bytes(), env, &mut Vec::new()));
        }

        fn files(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.dir.path()).unwrap();
            let mut names: Vec<String> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.retain(|name| !name.contains("combined"));
            names.sort();
            names
        }

        fn read(&self, file: &str) -> String {
            std::fs::read_to_string(self.dir.path().join(file)).unwrap()
        }
    }

    fn settings(dir: &Path) -> LogSettings {
        LogSettings {
            app: Arc::from("shop"),
            dir: dir.to_owned(),
            name: "shop".to_owned(),
            timestamps: false,
            format: LogFormat::Text,
            max_size: 0,
            keep: 30,
            compress: false,
            max_total: 0,
            daily: false,
            owner: None,
            chown_to: None,
        }
    }

    #[test]
    fn a_day_ends_at_local_midnight() {
        let mut story = Story::begin("2026-11-22T12:00:00Z", |settings| settings.daily = true);
        story.write("2026-11-22T21:59:59.999Z", "sunday\n");
        assert_eq!(story.files(), ["shop-error.log", "shop-out.log"]);
        story.write("2026-11-22T22:00:00Z", "monday\n");
        assert_eq!(story.files(), ["shop-error.log", "shop-out-20261122-220000.000.log", "shop-out.log"]);
        assert_eq!(story.read("shop-out-20261122-220000.000.log"), "sunday\n");
        story.write("2026-11-23T10:00:00Z", "still monday\n");
        assert_eq!(story.read("shop-out.log"), "monday\nstill monday\n");
        let (_, midnight) = story.log.due();
        assert_eq!(midnight, Some("2026-11-23T22:00:00Z".parse().unwrap()));
        story.at("2026-11-23T22:00:01Z", |log, env| log.tick(env));
        assert_eq!(story.read("shop-out.log"), "", "the day turns though nothing is written");
    }

    #[test]
    fn a_clock_set_back_does_not_disturb_the_order_of_files() {
        let mut story = Story::begin("2026-11-22T12:00:00Z", |settings| settings.max_size = 10);
        for (number, wall) in
            ["2026-11-22T12:00:00Z", "2026-11-22T11:00:00Z", "2026-11-22T12:00:00Z"].iter().enumerate()
        {
            story.write(wall, &format!("number {number}\n"));
        }
        story.write("2026-11-22T12:00:00Z", "number 3\n");
        let rotated: Vec<String> = story.files().into_iter().filter(|name| name.contains("-2026")).collect();
        let texts: Vec<String> = rotated.iter().map(|name| story.read(name)).collect();
        assert_eq!(texts, ["number 0\n", "number 1\n", "number 2\n"]);
        assert_eq!(rotated[0], "shop-out-20261122-110000.000.log");
    }

    #[test]
    fn a_directory_that_goes_is_made_again() {
        let mut story = Story::begin("2026-11-22T12:00:00Z", |settings| settings.dir.push("logs"));
        std::fs::remove_dir_all(story.dir.path().join("logs")).unwrap();
        story.write("2026-11-22T12:00:01Z", "there\n");
        assert_eq!(story.read("logs/shop-out.log"), "there\n");
        assert_eq!(*story.notices.lock().unwrap(), []);
    }

    #[test]
    fn a_name_that_is_taken_is_passed_over() {
        let mut story = Story::begin("2026-11-22T12:00:00Z", |settings| settings.max_size = 10);
        story.write("2026-11-22T12:00:00Z", "number 0\n");
        std::fs::create_dir(story.dir.path().join("shop-out-20261122-120001.000.log")).unwrap();
        story.write("2026-11-22T12:00:01Z", "number 1\n");
        assert_eq!(story.read("shop-out-20261122-120001.001.log"), "number 0\n");
        assert_eq!(story.read("shop-out.log"), "number 1\n");
    }

    #[test]
    fn what_cannot_be_rotated_is_told_once_and_written_on() {
        if !is_root() {
            return;
        }
        // As the directory's user: root may rename whatever the mode says.
        let mut story = Story::begin("2026-11-22T12:00:00Z", |settings| {
            std::os::unix::fs::chown(&settings.dir, Some(65534), Some(65534)).unwrap();
            settings.owner = Some(FsOwner { uid: 65534, gid: 65534, groups: vec![] });
            settings.max_size = 10;
        });
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(story.dir.path(), mode(0o555)).unwrap();
        (0..4).for_each(|number| story.write("2026-11-22T12:00:01Z", &format!("number {number}\n")));
        assert_eq!(story.read("shop-out.log"), "number 0\nnumber 1\nnumber 2\nnumber 3\n");
        let told: Vec<String> = story.notices.lock().unwrap().iter().map(ToString::to_string).collect();
        let of_out: Vec<&String> = told.iter().filter(|notice| notice.contains("shop-out.log")).collect();
        assert_eq!(of_out.len(), 1, "{told:?}");
        assert!(of_out[0].starts_with("cannot rotate log file") && of_out[0].contains("Permission denied"));
        std::fs::set_permissions(story.dir.path(), mode(0o755)).unwrap();
        story.write("2026-11-22T12:00:02Z", "number 4\n");
        assert_eq!(story.read("shop-out.log"), "number 4\n");
        assert_eq!(story.log.stats().dropped_lines, 0);
    }

    fn is_root() -> bool {
        std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
    }
}
