use super::*;
use crate::linux::failpoint::trap::{self, Killed};
use crate::linux::logfile::FileId;
use crate::logs::settings::LogFormat;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{PipeReader, PipeWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::mpsc::channel;

const RUN: SourceId = SourceId(1);
const ERA: u64 = 7;
const STAMP: usize = "2026-11-22T20:01:02.123+02:00 ".len();

/// An app with two pipes, and log threads, one after the other, that are killed.
struct Story {
    dir: tempfile::TempDir,
    settings: LogSettings,
    readers: [PipeReader; 2],
    writers: Option<[PipeWriter; 2]>,
    thread: Option<LogThread>,
    /// At which point from here on the thread is killed, and so the next one, and so on.
    kills: Vec<usize>,
    /// The points that were come to.
    points: Rc<RefCell<Vec<String>>>,
    /// How much of what was being written is there at a kill, of 256.
    torn: u64,
    /// Its pipes come before its files are opened.
    opens_late: bool,
}

impl Story {
    fn new(change: impl FnOnce(&mut LogSettings)) -> Story {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = LogSettings {
            app: Arc::from("shop"),
            dir: dir.path().join("logs"),
            name: "shop".to_owned(),
            timestamps: false,
            format: LogFormat::Text,
            max_size: 0,
            keep: 100_000,
            compress: false,
            max_total: 0,
            daily: false,
            owner: None,
            chown_to: None,
        };
        change(&mut settings);
        let ((out, to_out), (err, to_err)) = (io::pipe().unwrap(), io::pipe().unwrap());
        let (readers, writers) = ([out, err], Some([to_out, to_err]));
        let (kills, points) = (Vec::new(), Rc::default());
        Story { dir, settings, readers, writers, thread: None, kills, points, torn: 256, opens_late: false }
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("logs.journal")
    }

    fn say(&mut self, stream: Stream, bytes: &[u8]) {
        let writers = self.writers.as_mut().unwrap();
        writers[stream as usize].write_all(bytes).unwrap();
    }

    /// Reads everything that is in the pipes, with as many threads as it takes.
    fn read(&mut self) {
        self.act(true, |thread| {
            for stream in STREAMS {
                while !thread.drain(RUN, stream) {}
            }
        });
    }

    /// The run is over.
    fn finish(&mut self) {
        self.writers = None;
        self.act(true, |thread| {
            let _goes_on = thread.follow(Command::Finish { source: RUN, done: Box::new(|_| {}) });
            while !thread.finishing.is_empty() {
                thread.drain_finishing();
            }
        });
    }

    /// With a thread that has its pipes, or to which nobody gives any.
    fn act(&mut self, attached: bool, act: impl Fn(&mut LogThread)) {
        loop {
            self.arm();
            let mut thread = self.thread.take();
            let acted = catch_unwind(AssertUnwindSafe(|| {
                let mut thread = thread.take().unwrap_or_else(|| self.start(attached));
                act(&mut thread);
                thread
            }));
            trap::set(|_| false);
            match acted {
                Ok(thread) => {
                    self.thread = Some(thread);
                    return;
                }
                Err(panic) if panic.is::<Killed>() => self.tear(),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    }

    fn arm(&mut self) {
        let mut left = self.kills.pop();
        let points = self.points.clone();
        trap::set(move |point| {
            points.borrow_mut().push(point.to_owned());
            let is_it = left == Some(0);
            left = left.map(|left| left.saturating_sub(1));
            is_it
        });
    }

    fn start(&self, attached: bool) -> LogThread {
        let (journal, buffer) = Journal::open(&self.journal(), ERA).unwrap();
        let compressor = Compressor::new(|_| {});
        let ground = Ground { zone: TimeZone::UTC, compressor, notice: Box::new(|_| {}), journal };
        let mut thread = LogThread::new(Readiness::new().unwrap(), channel().1, ground, buffer);
        let pipes = self.readers.each_ref().map(|reader| reader.try_clone().unwrap().into());
        let attach = Command::Attach { source: RUN, app: self.settings.app.clone(), pipes };
        let mut told = [Some(Command::Open(self.settings.clone())), attached.then_some(attach), Some(Command::Settle)];
        if self.opens_late {
            told.swap(0, 1);
        }
        for command in told.into_iter().flatten() {
            let _goes_on = thread.follow(command);
        }
        thread
    }

    /// A killed write may have been done in part.
    fn tear(&self) {
        let (journal, _) = Journal::open(&self.journal(), ERA).unwrap();
        for mark in journal.marks() {
            for path in files(&self.settings.dir) {
                let found = fs::metadata(&path).unwrap();
                if FileId::of(&found) == mark.id && found.len() > mark.length {
                    let left = mark.length + (found.len() - mark.length) * self.torn / 256;
                    File::options().write(true).open(path).unwrap().set_len(left).unwrap();
                }
            }
        }
    }

    /// Everything of one kind, the oldest first.
    fn log(&self, kind: &str) -> Vec<u8> {
        let rotated = format!("shop-{kind}-2");
        let mut paths = files(&self.settings.dir);
        paths.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&rotated));
        paths.sort();
        paths.push(self.settings.dir.join(format!("shop-{kind}.log")));
        paths.into_iter().flat_map(|path| fs::read(path).unwrap()).collect()
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

/// The same without the stamps that stand before them.
fn unstamped(log: &[u8]) -> Vec<u8> {
    lines(log).iter().flat_map(|line| &line[STAMP..]).copied().collect()
}

/// Its lines, each ending in a newline, but those of the other stream.
fn of_stream(log: &[u8], other: u8) -> Vec<Vec<u8>> {
    lines(log).into_iter().filter(|line| line[0] != other).collect()
}

/// Pieces of numbered lines of both streams: the bytes that are said at once.
#[derive(Debug, Clone)]
struct Piece {
    stream: Stream,
    lines: Vec<usize>,
    /// What of the last line is said with the next piece of its stream, of 256.
    cut: usize,
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let length = prop_oneof![6 => 0usize..120, 2 => 0usize..5000, 1 => Just(20_000usize)];
    let piece = (any::<bool>(), proptest::collection::vec(length, 1..4), 0usize..300);
    let piece = prop_oneof![8 => piece, 1 => (any::<bool>(), Just(vec![0; 40]), Just(0))];
    let piece = piece.prop_map(|(is_out, lines, cut)| {
        let stream = if is_out { Stream::Out } else { Stream::Err };
        Piece { stream, lines, cut: if cut > 256 { 0 } else { cut } }
    });
    proptest::collection::vec(piece, 1..12)
}

/// Says all of it with kills in between; what was said of each stream.
fn tell(story: &mut Story, pieces: &[Piece], kills: &[Vec<usize>]) -> [Vec<u8>; 2] {
    let (mut said, mut held) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for (number, piece) in pieces.iter().enumerate() {
        let at = piece.stream as usize;
        let mut bytes = std::mem::take(&mut held[at]);
        for (line, length) in piece.lines.iter().enumerate() {
            let letter = if at == 0 { "o" } else { "e" };
            bytes.extend_from_slice(format!("{letter} {number}.{line} {}\n", "x".repeat(*length)).as_bytes());
        }
        held[at] = bytes.split_off(bytes.len() - bytes.len() * piece.cut / 1024);
        story.say(piece.stream, &bytes);
        said[at].extend_from_slice(&bytes);
        story.kills = kills.get(number).cloned().unwrap_or_default();
        story.read();
    }
    story.kills = kills.last().cloned().unwrap_or_default();
    story.finish();
    for said in said.iter_mut().filter(|said| !said.is_empty() && !said.ends_with(b"\n")) {
        said.push(b'\n');
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_line_is_there_once_whenever_and_however_often_the_thread_is_killed(
        pieces in pieces(),
        kills in proptest::collection::vec(proptest::collection::vec(0usize..24, 0..4), 0..12),
        max_size in prop_oneof![Just(0u64), Just(60), Just(4000), Just(30_000)],
        torn in 0u64..=256,
    ) {
        let mut story = Story::new(|settings| settings.max_size = max_size);
        story.torn = torn;
        let said = tell(&mut story, &pieces, &kills);
        prop_assert!(story.log("out") == said[0], "stdout");
        prop_assert!(story.log("error") == said[1], "stderr");
        let combined = story.log("combined");
        prop_assert!(of_stream(&combined, b'e').concat() == said[0], "stdout in the combined one");
        prop_assert!(of_stream(&combined, b'o').concat() == said[1], "stderr in the combined one");
    }

    #[test]
    fn a_line_bears_one_time_in_all_its_files(
        pieces in pieces(),
        kills in proptest::collection::vec(proptest::collection::vec(0usize..24, 0..4), 0..12),
        max_size in prop_oneof![Just(0u64), Just(60), Just(4000)],
    ) {
        let mut story = Story::new(|settings| {
            settings.timestamps = true;
            settings.max_size = max_size;
        });
        let said = tell(&mut story, &pieces, &kills);
        let out = lines(&story.log("out"));
        prop_assert!(unstamped(&out.concat()) == said[0]);
        let combined: Vec<Vec<u8>> =
            lines(&story.log("combined")).into_iter().filter(|line| line[STAMP] == b'o').collect();
        prop_assert!(combined == out);
    }
}

/// What a kill at each point that a telling comes to leaves is put right.
fn kill_at_each_point(pieces: &[Piece], change: impl Fn(&mut LogSettings), points: &[&str]) {
    let mut story = Story::new(&change);
    tell(&mut story, pieces, &[]);
    let passed = story.points.borrow().clone();
    let reached: BTreeSet<&str> = passed.iter().map(String::as_str).collect();
    assert!(points.iter().all(|point| reached.contains(point)), "{reached:?}");
    for number in 0..pieces.len() {
        for kill in 0.. {
            let mut is_killed = false;
            for torn in [0, 100] {
                let mut story = Story::new(&change);
                story.torn = torn;
                let mut kills = vec![Vec::new(); pieces.len()];
                // The one that takes over is killed as well, where it comes to as many points.
                kills[number] = vec![kill / 2, kill];
                let said = tell(&mut story, pieces, &kills);
                let is_stamped = story.settings.timestamps;
                let logs = ["out", "error"].map(|kind| story.log(kind));
                let logs = if is_stamped { logs.map(|log| unstamped(&log)) } else { logs };
                assert!(logs == said, "killed at point {kill} of piece {number}, {torn}/256 of it written");
                assert_eq!(lines(&story.log("combined")).len(), lines(&said.concat()).len());
                is_killed |= story.points.borrow().len() > passed.len();
            }
            if !is_killed {
                break;
            }
        }
    }
}

fn piece(stream: Stream, lines: &[usize], cut: usize) -> Piece {
    Piece { stream, lines: lines.to_vec(), cut }
}

fn few_pieces() -> [Piece; 4] {
    [
        piece(Stream::Out, &[10, 20, 30], 200),
        piece(Stream::Err, &[40, 5], 0),
        piece(Stream::Out, &[7, 20_000, 12], 256),
        piece(Stream::Out, &[3], 0),
    ]
}

#[test]
fn there_is_no_point_at_which_a_kill_costs_a_line() {
    let points = ["logs.reading", "logs.read", "logs.taken", "logs.noted", "logs.written", "logs.advanced"];
    kill_at_each_point(&few_pieces(), |_| {}, &[&points[..], &["logs.partial", "logs.kept"]].concat());
}

#[test]
fn nor_is_there_one_while_files_are_rotated() {
    kill_at_each_point(&few_pieces(), |settings| settings.max_size = 50, &["logs.rotated"]);
}

#[test]
fn nor_is_there_one_where_stamps_make_many_files_of_what_was_read() {
    let small_and_stamped = |settings: &mut LogSettings| {
        settings.max_size = 200;
        settings.timestamps = true;
    };
    kill_at_each_point(&[piece(Stream::Out, &[0; 28], 0)], small_and_stamped, &["logs.rotated"]);
}

#[test]
fn a_pipe_that_is_there_before_its_files_are_goes_on_with_the_line_that_was_begun() {
    let mut story = Story::new(|_| {});
    story.say(Stream::Out, b"whole\nbeg");
    // Reading, read: killed when it is taken.
    story.kills = vec![2];
    story.arm();
    let killed = catch_unwind(AssertUnwindSafe(|| story.start(true).drain(RUN, Stream::Out)));
    assert!(killed.is_err());
    story.opens_late = true;
    story.say(Stream::Out, b"un\n");
    story.read();
    assert_eq!(story.log("out"), b"whole\nbegun\n");
}

#[test]
fn a_line_that_was_begun_by_one_that_ended_meanwhile_is_ended() {
    let mut story = Story::new(|_| {});
    story.say(Stream::Out, b"whole\nbeg");
    story.read();
    story.say(Stream::Out, b"un");
    story.read();
    story.thread = None;
    story.kills = vec![2, 5, 1];
    story.act(false, |_| {});
    assert_eq!(story.log("out"), b"whole\nbegun\n");
    story.thread = None;
    story.act(false, |_| {});
    assert_eq!(story.log("combined"), b"whole\nbegun\n", "and once");
}

#[test]
fn an_orderly_end_leaves_no_journal_and_every_line_in_the_files() {
    let mut story = Story::new(|_| {});
    story.say(Stream::Err, b"whole\nbegun");
    story.read();
    story.say(Stream::Err, b" and ended");
    assert!(story.journal().exists());
    story.thread.take().unwrap().stop();
    assert!(!story.journal().exists());
    assert_eq!(story.log("error"), b"whole\nbegun and ended\n");
}

#[test]
fn what_others_wrote_into_a_file_meanwhile_is_not_cut_off() {
    let mut story = Story::new(|_| {});
    story.say(Stream::Out, b"one\n");
    // Reading, read, taken, noted: killed when the line is written to the first of its files.
    story.kills = vec![4];
    let others = story.settings.dir.join("shop-out.log");
    let append = |text: &[u8]| File::options().append(true).open(&others).unwrap().write_all(text).unwrap();
    story.arm();
    let killed = catch_unwind(AssertUnwindSafe(|| {
        let mut thread = story.start(true);
        thread.drain(RUN, Stream::Out)
    }));
    assert!(killed.is_err());
    append(b"somebody else's\n");
    story.read();
    assert_eq!(story.log("out"), b"one\nsomebody else's\none\n", "twice is better than not at all");
    assert_eq!(story.log("combined"), b"one\n");
}
