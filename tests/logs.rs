//! What an app writes is in its files: real pipes, real files, a really full disk.

use infissi::logs::{
    Capture, FollowItem, FollowerFilter, LogFormat, LogNotice, LogSettings, SourceId, Stream, TailLine,
};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A log thread with one app, `shop`, whose files are in a directory of its own.
struct Story {
    capture: Capture,
    settings: LogSettings,
    notices: Arc<Mutex<Vec<LogNotice>>>,
    next: AtomicU64,
    _dir: Option<tempfile::TempDir>,
}

/// The writing ends of a run's pipes.
struct Run {
    id: SourceId,
    out: io::PipeWriter,
    err: io::PipeWriter,
}

impl Story {
    fn new() -> Story {
        Story::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut LogSettings)) -> Story {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs");
        Story { _dir: Some(dir), ..Story::at(path, change) }
    }

    fn at(dir: PathBuf, change: impl FnOnce(&mut LogSettings)) -> Story {
        let mut settings = settings("shop", dir);
        change(&mut settings);
        let notices = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&notices);
        let capture = Capture::start(move |notice| told.lock().unwrap().push(notice)).unwrap();
        capture.open(settings.clone());
        Story { capture, settings, notices, next: AtomicU64::new(1), _dir: None }
    }

    fn run(&self) -> Run {
        let id = SourceId(self.next.fetch_add(1, Ordering::Relaxed));
        let ((out_read, out), (err_read, err)) = (io::pipe().unwrap(), io::pipe().unwrap());
        self.capture.attach(id, Arc::clone(&self.settings.app), out_read.into(), err_read.into());
        Run { id, out, err }
    }

    /// Ends the run and waits for its last lines.
    fn finish(&self, run: Run) -> Vec<TailLine> {
        let (done, tail) = channel();
        drop((run.out, run.err));
        self.capture.finish(run.id, move |lines| done.send(lines).unwrap());
        answer(&tail)
    }

    fn flush(&self) -> io::Result<()> {
        let (done, result) = channel();
        self.capture.flush(Arc::clone(&self.settings.app), move |flushed| done.send(flushed).unwrap());
        answer(&result)
    }

    fn dropped(&self) -> u64 {
        let (done, stats) = channel();
        self.capture.stats(Arc::clone(&self.settings.app), move |stats| done.send(stats).unwrap());
        answer(&stats).unwrap().dropped_lines
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.settings.dir.join(format!("{}-{kind}.log", self.settings.name))
    }

    fn live(&self, kind: &str) -> String {
        String::from_utf8(fs::read(self.path(kind)).unwrap_or_default()).unwrap()
    }

    /// Everything of one kind: rotated and gzipped files by their age, then the live one.
    fn all(&self, kind: &str) -> String {
        let mut text = String::new();
        for path in self.rotated(kind).iter().chain([&self.path(kind)]) {
            let file = File::open(path).unwrap();
            if path.extension().is_some_and(|extension| extension == "gz") {
                flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
            } else {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
        text
    }

    fn rotated(&self, kind: &str) -> Vec<PathBuf> {
        let start = format!("{}-{kind}-2", self.settings.name);
        let mut paths: Vec<PathBuf> =
            files(&self.settings.dir).into_iter().filter(|path| name(path).starts_with(&start)).collect();
        paths.sort();
        paths
    }
}

fn settings(app: &str, dir: PathBuf) -> LogSettings {
    LogSettings {
        app: Arc::from(app),
        dir,
        name: app.to_owned(),
        timestamps: false,
        format: LogFormat::Text,
        max_size: 10 * 1024 * 1024,
        keep: 30,
        compress: false,
        max_total: 0,
        daily: false,
        owner: None,
        chown_to: None,
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn answer<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(Duration::from_secs(20)).expect("the log thread answers")
}

#[expect(clippy::disallowed_methods, reason = "a deadline of a test is real time")]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn each_stream_has_its_file_and_the_combined_one_has_both() {
    let story = Story::new();
    let mut run = story.run();
    run.out.write_all(b"hello\n").unwrap();
    until("the line is there", || story.live("combined") == "hello\n");
    run.err.write_all(b"oh \xff\0 no\r\n").unwrap();
    story.finish(run);
    assert_eq!(story.live("out"), "hello\n");
    assert_eq!(fs::read(story.path("error")).unwrap(), b"oh \xff\0 no\r\n");
    assert_eq!(fs::read(story.path("combined")).unwrap(), b"hello\noh \xff\0 no\r\n");
    assert_eq!(fs::metadata(story.path("out")).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn the_last_lines_before_a_crash_are_in_the_files_and_in_the_tail() {
    let story = Story::new();
    let mut run = story.run();
    for n in 0..2000 {
        writeln!(run.out, "line {n}").unwrap();
    }
    run.err.write_all(b"fatal: no newline at the end").unwrap();
    let tail = story.finish(run);
    assert!(story.live("out").ends_with("line 1999\n"));
    assert_eq!(story.live("error"), "fatal: no newline at the end\n");
    assert_eq!(tail.len(), 50);
    assert!(tail.iter().any(|line| line.line == b"fatal: no newline at the end" && line.stream == Stream::Err));
    assert!(tail.iter().any(|line| line.line == b"line 1999"));
}

#[test]
fn a_foreign_process_that_holds_the_pipe_does_not_hold_up_the_end() {
    let story = Story::new();
    let run = story.run();
    let mut foreign = run.out.try_clone().unwrap();
    let flood = std::thread::spawn(move || while foreign.write_all(&[b'x', b'\n'].repeat(4096)).is_ok() {});
    until("it floods", || fs::metadata(story.path("out")).is_ok_and(|meta| meta.len() > 1_000_000));
    assert_eq!(story.finish(run).len(), 50);
    // Its reader is gone: SIGPIPE is ignored in a Rust program, the write fails.
    flood.join().unwrap();
}

#[test]
fn a_prompt_without_newline_is_in_the_tail_at_once() {
    let story = Story::new();
    let mut run = story.run();
    run.out.write_all(b"Continue? ").unwrap();
    until("the prompt is in the tail", || {
        let (done, tail) = channel();
        story.capture.tail(Arc::from("shop"), move |lines| done.send(lines).unwrap());
        answer(&tail).iter().any(|line| line.line == b"Continue? ")
    });
    assert_eq!(story.live("out"), "");
}
