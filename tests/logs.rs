//! What an app writes is in its files: real pipes, real files, a really full disk.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

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
    fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
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
        story.capture.tail(Arc::from("shop"), Vec::new(), move |lines| done.send(lines).unwrap());
        answer(&tail).iter().any(|line| line.line == b"Continue? ")
    });
    assert_eq!(story.live("out"), "");
}

#[test]
fn rotation_under_load_loses_no_line_and_no_order() {
    let story = Story::with(|settings| {
        settings.max_size = 64 * 1024;
        settings.keep = 100_000;
        settings.compress = true;
        settings.timestamps = true;
    });
    let mut run = story.run();
    let errors = {
        let mut err = run.err.try_clone().unwrap();
        std::thread::spawn(move || (0..20_000).for_each(|n| writeln!(err, "err {n}").unwrap()))
    };
    let block: Vec<String> = (0..60_000).map(|n| format!("out {n} {}\n", "x".repeat(n % 150))).collect();
    block.chunks(777).for_each(|lines| run.out.write_all(lines.concat().as_bytes()).unwrap());
    errors.join().unwrap();
    story.finish(run);

    let words = |kind: &str, stream: &str| -> Vec<usize> {
        let all = story.all(kind);
        let of_stream = all.lines().filter(|line| line[30..].starts_with(stream));
        of_stream.map(|line| line[34..].split(' ').next().unwrap().parse().unwrap()).collect()
    };
    until("everything rotated is gzipped", || {
        ["out", "error", "combined"].iter().all(|kind| {
            story.rotated(kind).iter().all(|path| path.extension().is_some_and(|extension| extension == "gz"))
        })
    });
    assert!(story.rotated("out").len() > 50);
    assert_eq!(words("out", "out "), (0..60_000).collect::<Vec<_>>());
    assert_eq!(words("error", "err "), (0..20_000).collect::<Vec<_>>());
    assert_eq!(words("combined", "out "), (0..60_000).collect::<Vec<_>>());
    assert_eq!(words("combined", "err "), (0..20_000).collect::<Vec<_>>());
    assert!(fs::metadata(story.path("combined")).unwrap().len() <= 64 * 1024);
}

#[test]
fn keep_and_max_total_hold_whatever_is_written() {
    let story = Story::with(|settings| {
        settings.max_size = 10_000;
        settings.keep = 3;
    });
    let total = Story::with(|settings| {
        settings.max_size = 10_000;
        settings.max_total = 50_000;
    });
    for story in [&story, &total] {
        let mut run = story.run();
        (0..20_000).for_each(|n| writeln!(run.out, "line {n}").unwrap());
        story.finish(run);
        assert!(story.live("out").ends_with("line 19999\n") || story.all("out").ends_with("line 19999\n"));
    }
    assert_eq!((story.rotated("out").len(), story.rotated("combined").len()), (3, 3));
    let bytes: u64 = files(&total.settings.dir).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= 50_000 && bytes > 20_000, "{bytes}");
}

#[test]
fn an_app_never_touches_the_files_of_another_whose_name_begins_alike() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = [
        "shop-b-out-20200101-000000.000.log",
        "shop-b-out-20200101-000000.000.log.gz.tmp",
        "shop-out-20200101-000000.000.log.bak",
        "shop-out.log.1",
        "shop-outer-20200101-000000.000.log",
    ];
    foreign.iter().for_each(|name| fs::write(dir.path().join(name), "foreign").unwrap());
    let own = dir.path().join("shop-out-20200101-000000.000.log");
    fs::write(&own, "old\n").unwrap();
    let story = Story::at(dir.path().to_owned(), |settings| {
        settings.max_size = 1000;
        settings.keep = 1;
    });
    let mut run = story.run();
    (0..1000).for_each(|n| writeln!(run.out, "line {n}").unwrap());
    story.finish(run);
    assert!(!own.exists());
    story.flush().unwrap();
    assert!(foreign.iter().all(|name| fs::read(dir.path().join(name)).unwrap() == b"foreign"));
}

#[test]
fn what_a_crash_left_half_done_is_cleared_away_and_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = |suffix: &str| dir.path().join(format!("shop-out-20260101-000000.000.log{suffix}"));
    fs::write(path(""), "the plain file is the whole one\n").unwrap();
    fs::write(path(".gz"), "an empty promise").unwrap();
    fs::write(path(".gz.tmp"), "half").unwrap();
    fs::write(dir.path().join("shop-out.log"), "whole\nha").unwrap();
    let story = Story::at(dir.path().to_owned(), |settings| settings.compress = true);
    until("it is gzipped anew", || !path("").exists() && !path(".gz.tmp").exists());
    assert_eq!(story.all("out"), "the plain file is the whole one\nwhole\nha");
    let mut run = story.run();
    run.out.write_all(b"next\n").unwrap();
    story.finish(run);
    assert_eq!(story.live("out"), "whole\nha\nnext\n");
}

#[test]
fn a_file_of_yesterday_is_rotated_when_daily() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("shop-out.log");
    fs::write(&old, "yesterday\n").unwrap();
    let file = File::options().write(true).open(&old).unwrap();
    file.set_modified(file.metadata().unwrap().modified().unwrap() - Duration::from_secs(26 * 3600)).unwrap();
    let story = Story::at(dir.path().to_owned(), |settings| settings.daily = true);
    let mut run = story.run();
    run.out.write_all(b"today\n").unwrap();
    story.finish(run);
    assert_eq!(story.live("out"), "today\n");
    assert_eq!(story.all("out"), "yesterday\ntoday\n");
}

/// Writes numbered lines until `holds`; returns how many.
fn write_until(run: &mut Run, first: usize, mut holds: impl FnMut() -> bool) -> usize {
    let mut next = first;
    until("the writer notices", || {
        writeln!(run.out, "{next}").unwrap();
        next += 1;
        holds()
    });
    next
}

fn numbers(text: &str) -> Vec<usize> {
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_file_deleted_under_us_is_made_anew_with_all_that_was_written_since() {
    let story = Story::new();
    let mut run = story.run();
    writeln!(run.out, "0").unwrap();
    until("the first line is there", || story.live("out") == "0\n");
    fs::remove_file(story.path("out")).unwrap();
    let count = write_until(&mut run, 1, || story.path("out").exists());
    story.finish(run);
    let got = numbers(&story.live("out"));
    // What lay in the file when it was deleted is gone with it, also what had come since the last look.
    assert_eq!(got, (got[0]..count).collect::<Vec<_>>());
    assert!(got[0] <= 1, "{}", got[0]);
    assert_eq!(numbers(&story.live("combined")), (0..count).collect::<Vec<_>>());
}

#[test]
fn a_file_moved_away_keeps_its_lines_and_a_new_one_goes_on() {
    let story = Story::new();
    let mut run = story.run();
    let moved = story.settings.dir.join("shop-out.log.1");
    writeln!(run.out, "0").unwrap();
    until("the first line is there", || story.live("out") == "0\n");
    fs::rename(story.path("out"), &moved).unwrap();
    let count = write_until(&mut run, 1, || story.path("out").exists());
    story.finish(run);
    let both = fs::read_to_string(&moved).unwrap() + &story.live("out");
    assert_eq!(numbers(&both), (0..count).collect::<Vec<_>>());
}

#[test]
fn reopen_takes_the_new_file_at_once() {
    let story = Story::new();
    let mut run = story.run();
    run.out.write_all(b"old\n").unwrap();
    until("the first line is there", || story.live("out") == "old\n");
    let moved = story.settings.dir.join("moved");
    fs::rename(story.path("out"), &moved).unwrap();
    story.capture.reopen();
    until("it is opened anew", || story.path("out").exists());
    run.out.write_all(b"new\n").unwrap();
    story.finish(run);
    assert_eq!((fs::read_to_string(moved).unwrap(), story.live("out")), ("old\n".to_owned(), "new\n".to_owned()));
}

#[test]
fn flush_empties_the_logs_and_they_go_on() {
    let story = Story::with(|settings| settings.max_size = 1000);
    let mut run = story.run();
    (0..1000).for_each(|n| writeln!(run.out, "line {n}").unwrap());
    until("all is written", || story.live("out").ends_with("line 999\n"));
    story.flush().unwrap();
    assert_eq!((story.all("out").as_str(), story.all("combined").as_str()), ("", ""));
    run.out.write_all(b"after\n").unwrap();
    story.finish(run);
    assert_eq!((story.all("out").as_str(), story.all("combined").as_str()), ("after\n", "after\n"));
}

#[test]
fn settings_change_in_place_between_two_lines() {
    let story = Story::new();
    let mut run = story.run();
    run.out.write_all(b"plain\n").unwrap();
    until("the first line is there", || story.live("out") == "plain\n");
    let json = LogSettings { format: LogFormat::Json, ..story.settings.clone() };
    story.capture.open(json.clone());
    until("the next line is JSON", || {
        run.out.write_all(b"a \"quote\" \xff\n").unwrap();
        story.live("out").lines().last().unwrap().starts_with(r#"{"time":""#)
    });
    let elsewhere = LogSettings { name: "store".to_owned(), ..json };
    story.capture.open(elsewhere);
    until("lines go elsewhere", || {
        run.out.write_all(b"there\n").unwrap();
        fs::read_to_string(story.settings.dir.join("store-out.log")).is_ok_and(|text| text.contains("there"))
    });
    story.finish(run);
    let last: serde_json::Value =
        serde_json::from_str(story.live("out").lines().nth(1).unwrap_or("0")).unwrap_or_default();
    assert!(last.is_null() || last["app"] == "shop");
}

#[test]
fn stopping_writes_what_is_in_the_pipes() {
    let story = Story::new();
    let mut run = story.run();
    run.out.write_all(b"one\ntwo without newline").unwrap();
    let path = story.path("out");
    story.capture.stop();
    assert_eq!(fs::read_to_string(path).unwrap(), "one\ntwo without newline\n");
}

#[test]
fn a_planted_link_or_fifo_is_refused_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, dir.path().join("shop-out.log")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("shop-error.log"), nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap();
    let story = Story::at(dir.path().to_owned(), |_| {});
    let mut run = story.run();
    run.out.write_all(b"to out\n").unwrap();
    run.err.write_all(b"to err\n").unwrap();
    until("both are counted", || story.dropped() == 2);
    let told: Vec<String> = story.notices.lock().unwrap().iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|notice| notice.contains("shop-out.log: it is a symbolic link")), "{told:?}");
    assert!(told.iter().any(|notice| notice.contains("shop-error.log: it is not a regular file")), "{told:?}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(fs::symlink_metadata(story.path("error")).unwrap().file_type().is_fifo());

    fs::remove_file(story.path("out")).unwrap();
    until("it recovers though nothing is written", || story.live("out").contains("1 lines were dropped"));
    story.finish(run);
    assert_eq!(story.live("combined"), "to out\nto err\n");
}

#[test]
fn an_apps_own_directory_is_used_with_its_users_rights_only() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln_skip("only root can take another user's rights");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
    fs::create_dir(home.join("logs")).unwrap();
    std::os::unix::fs::chown(home.join("logs"), Some(65534), Some(65534)).unwrap();
    let secret = home.join("logs/shop-error.log");
    fs::write(&secret, "root's own").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let owner = infissi::logs::FsOwner { uid: 65534, gid: 65534, groups: vec![65534] };
    let story = Story::at(home.join("logs"), |settings| settings.owner = Some(owner));
    let mut run = story.run();
    run.out.write_all(b"mine\n").unwrap();
    run.err.write_all(b"refused\n").unwrap();
    until("the refusal is counted", || story.dropped() == 1);
    story.finish(run);
    let meta = fs::metadata(story.path("out")).unwrap();
    assert_eq!((std::os::unix::fs::MetadataExt::uid(&meta), story.live("out").as_str()), (65534, "mine\n"));
    assert_eq!(fs::read_to_string(&secret).unwrap(), "root's own");

    let ours = Story::with(|settings| settings.chown_to = Some((65534, 65534)));
    until("the file is given to the user", || {
        fs::metadata(ours.path("out")).is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 65534)
    });
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn eprintln_skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// A tmpfs of its own, unmounted whatever happens.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(options: &str) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), dir.path(), Some("tmpfs"), flags, Some(options)).ok()?;
        Some(SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_full_disk_drops_counts_recovers_and_says_so() {
    let Some(disk) = SmallDisk::new("size=256k") else { return eprintln_skip("a tmpfs cannot be mounted here") };
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 160 * 1024]).unwrap();
    let story = Story::at(disk.0.path().join("logs"), |_| {});
    let mut run = story.run();
    let line = |n: usize| format!("{n} {}\n", "x".repeat(n % 97));
    let text: String = (0..4000).map(line).collect();
    // More than the disk and the pipe hold together: the app is never blocked.
    run.out.write_all(text.as_bytes()).unwrap();
    until("lines are dropped", || story.dropped() > 0 && story.notices.lock().unwrap().len() >= 2);
    fs::remove_file(&ballast).unwrap();
    until("both files recover", || {
        let notices = story.notices.lock().unwrap();
        notices.iter().filter(|notice| matches!(notice, LogNotice::Recovered { .. })).count() == 2
    });
    run.out.write_all(b"after\n").unwrap();
    story.finish(run);

    for kind in ["out", "combined"] {
        let text = story.live(kind);
        let notice = text.lines().find(|line| line.starts_with("[infissi]")).expect("it says so in the file");
        assert!(notice.ends_with("lines were dropped: No space left on device"), "{notice}");
        let dropped: usize = notice.split(' ').nth(1).unwrap().parse().unwrap();
        let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("[infissi]") && *line != "after").collect();
        assert!(kept.iter().enumerate().all(|(n, kept)| *kept == line(n).trim_end_matches('\n')), "whole lines only");
        assert_eq!(kept.len() + dropped, 4000);
        assert!(text.ends_with("after\n"));
    }
}

#[tokio::test]
async fn history_and_follower_join_without_a_gap_or_a_double() {
    use infissi::logs::read::{AppLogs, ReadQuery, Reading};
    let story = Story::with(|settings| {
        settings.max_size = 50_000;
        settings.keep = 10_000;
        settings.compress = true;
        settings.timestamps = true;
    });
    let mut run = story.run();
    let writer = std::thread::spawn(move || {
        for n in 0..100_000 {
            writeln!(run.out, "{n}").unwrap();
        }
        run
    });
    until("it is well under way", || story.rotated("out").len() > 3);
    let mut follower = story.capture.subscribe(FollowerFilter::default(), 64 * 1024 * 1024);
    let Some(FollowItem::Start { marks }) = follower.next().await else { panic!("the marks come first") };
    until("it went on", || story.rotated("out").len() > 10);
    let run = writer.join().unwrap();
    story.finish(run);

    let mut got: Vec<usize> = Vec::new();
    let source = AppLogs { upto: marks.get("shop").copied(), ..AppLogs::of(&story.settings) };
    let reading = Reading::begin(ReadQuery { sources: vec![source], ..ReadQuery::default() });
    got.extend(reading.map(|line| String::from_utf8(line.line).unwrap().parse::<usize>().unwrap()));
    let history = got.len();
    while let Some(FollowItem::Line { line, .. }) = follower.try_next() {
        got.push(String::from_utf8(line).unwrap().parse().unwrap());
    }
    assert!(history > 1000 && history < 100_000);
    assert_eq!(got, (0..100_000).collect::<Vec<_>>());
}

#[test]
fn a_slow_follower_holds_up_nobody_and_is_told_what_it_missed() {
    let story = Story::new();
    let mut follower = story.capture.subscribe(FollowerFilter::default(), 256 * 1024);
    let mut run = story.run();
    (0..50_000).for_each(|n| writeln!(run.out, "line {n}").unwrap());
    story.finish(run);
    let (mut lines, mut dropped) = (0, BTreeMap::new());
    while let Some(item) = follower.try_next() {
        match item {
            FollowItem::Start { .. } => {}
            FollowItem::Line { .. } => lines += 1,
            FollowItem::Dropped { app, count } => *dropped.entry(app).or_insert(0) += count,
        }
    }
    assert!(lines > 1000 && lines < 50_000);
    assert_eq!(lines + dropped["shop"], 50_000);
}

#[test]
fn lines_are_read_while_they_are_rotated_and_gzipped_and_none_is_lost_or_doubled() {
    use infissi::logs::read::{AppLogs, ReadQuery, Reading};
    let story = Story::with(|settings| {
        settings.max_size = 20_000;
        settings.keep = 10_000;
        settings.compress = true;
        settings.timestamps = true;
    });
    let mut run = story.run();
    let writer = std::thread::spawn(move || {
        for n in 0..30_000 {
            writeln!(run.out, "{n}").unwrap();
        }
        run
    });
    let mut reads = 0;
    while !writer.is_finished() || reads == 0 {
        let lines = if reads % 2 == 0 { None } else { Some(5000) };
        let query = ReadQuery { sources: vec![AppLogs::of(&story.settings)], lines, ..ReadQuery::default() };
        let mut reading = Reading::begin(query);
        let got = reading.by_ref().map(|line| String::from_utf8(line.line).unwrap().parse().unwrap());
        let got: Vec<usize> = got.collect();
        let unreadable = reading.unreadable();
        assert!(unreadable.is_empty(), "{unreadable:?}");
        let first = got.first().copied().unwrap_or(0);
        assert_eq!(got, (first..first + got.len()).collect::<Vec<_>>());
        assert!(lines.is_some() || first == 0);
        reads += 1;
    }
    story.finish(writer.join().unwrap());
}
