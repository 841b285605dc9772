//! Reading back, against a reader that knows no haste.

use super::*;
use crate::logs::archive::{FileMark, Form, live_path, rotated_path};
use crate::logs::stamp::{FileStamp, line_stamp};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::fs;
use std::io::Write;
use std::path::Path;

const START: i64 = 1_795_000_000_000;

fn ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(START + ms).unwrap()
}

fn logs(dir: &Path, app: &str) -> AppLogs {
    AppLogs {
        app: Arc::from(app),
        dir: dir.to_owned(),
        name: app.to_owned(),
        format: LogFormat::Text,
        timestamps: true,
        owner: None,
        upto: None,
    }
}

fn stamped(at: i64, text: &str) -> String {
    let zone = TimeZone::fixed(jiff::tz::offset(2));
    format!("{} {text}\n", std::str::from_utf8(&line_stamp(ms(at), &zone)).unwrap())
}

/// Writes a rotated file whose rotation was at `at`.
fn rotated(dir: &Path, app: &str, kind: Kind, at: i64, gzip: bool, text: &str) {
    let form = if gzip { Form::Gzip } else { Form::Plain };
    let path = rotated_path(dir, app, kind, FileStamp::of(ms(at)), form);
    if gzip {
        let mut encoder = GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap();
    } else {
        fs::write(path, text).unwrap();
    }
}

fn live(dir: &Path, app: &str, kind: Kind, text: &str) {
    fs::write(live_path(dir, app, kind), text).unwrap();
}

fn all(query: &ReadQuery) -> Vec<ReadLine> {
    let mut reading = Reading::begin(query.clone());
    let lines = reading.by_ref().collect();
    let unreadable = reading.unreadable();
    assert!(unreadable.is_empty(), "{unreadable:?}");
    lines
}

fn texts(query: &ReadQuery) -> Vec<String> {
    all(query).into_iter().map(|line| String::from_utf8(line.line).unwrap()).collect()
}

/// Both ways must say the same.
fn texts_both_ways(query: ReadQuery) -> Vec<String> {
    let forward = texts(&query);
    assert_eq!(texts(&ReadQuery { lines: Some(1000), ..query }), forward);
    forward
}

#[test]
fn two_apps_and_their_streams_come_in_time_order() {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path(), "a", Kind::Out, &[stamped(1, "a1"), stamped(4, "a4")].concat());
    live(dir.path(), "a", Kind::Error, &stamped(4, "a4 error"));
    rotated(dir.path(), "b", Kind::Out, 2, true, &stamped(2, "b2"));
    rotated(dir.path(), "b", Kind::Out, 3, false, &stamped(3, "b3"));
    live(dir.path(), "b", Kind::Out, &stamped(5, "b5"));
    let sources = vec![logs(dir.path(), "a"), logs(dir.path(), "b")];
    let query = ReadQuery { sources, ..ReadQuery::default() };
    assert_eq!(texts_both_ways(query.clone()), ["a1", "b2", "b3", "a4", "a4 error", "b5"]);
    assert_eq!(texts(&ReadQuery { lines: Some(2), ..query.clone() }), ["a4 error", "b5"]);
    let errors = all(&ReadQuery { stream: Some(Stream::Err), ..query });
    assert_eq!(errors.len(), 1);
    assert_eq!((&*errors[0].app, errors[0].stream, errors[0].at), ("a", Stream::Err, Some(ms(4))));
}

#[test]
fn since_until_and_grep_choose() {
    let dir = tempfile::tempdir().unwrap();
    rotated(dir.path(), "a", Kind::Out, 2, true, &[stamped(1, "one"), stamped(2, "two")].concat());
    rotated(dir.path(), "a", Kind::Out, 4, false, &[stamped(3, "three"), stamped(4, "four")].concat());
    live(dir.path(), "a", Kind::Out, &[stamped(5, "five"), stamped(6, "six")].concat());
    let query = ReadQuery { sources: vec![logs(dir.path(), "a")], ..ReadQuery::default() };
    let since = ReadQuery { since: Some(ms(2)), ..query.clone() };
    assert_eq!(texts_both_ways(since), ["two", "three", "four", "five", "six"]);
    let between = ReadQuery { since: Some(ms(2)), until: Some(ms(3)), ..query.clone() };
    assert_eq!(texts_both_ways(between), ["two", "three"]);
    let grep = ReadQuery { grep: Some(Regex::new("^[tf].*e").unwrap()), ..query };
    assert_eq!(texts_both_ways(grep.clone()), ["three", "five"]);
    assert_eq!(texts(&ReadQuery { lines: Some(1), ..grep }), ["five"]);
}

#[test]
fn json_lines_come_in_the_order_they_were_written_with_their_stream() {
    let dir = tempfile::tempdir().unwrap();
    let line = |stream, text| {
        format!(r#"{{"time":"2026-11-22T20:01:02.123+02:00","app":"a","stream":"{stream}","line":"{text}"}}"#) + "\n"
    };
    live(dir.path(), "a", Kind::Combined, &[line("err", "1"), line("out", "2"), line("err", "3")].concat());
    let sources = vec![AppLogs { format: LogFormat::Json, ..logs(dir.path(), "a") }];
    let query = ReadQuery { sources, ..ReadQuery::default() };
    assert_eq!(texts_both_ways(query.clone()), ["1", "2", "3"]);
    let streams: Vec<Stream> = all(&query).iter().map(|line| line.stream).collect();
    assert_eq!(streams, [Stream::Err, Stream::Out, Stream::Err]);
}

#[test]
fn raw_lines_come_from_the_combined_file_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let text = stamped(1, "its own time");
    rotated(dir.path(), "a", Kind::Combined, 5, true, "older\n");
    live(dir.path(), "a", Kind::Combined, &text);
    let sources = vec![AppLogs { timestamps: false, ..logs(dir.path(), "a") }];
    let query = ReadQuery { sources, since: Some(ms(4)), ..ReadQuery::default() };
    assert_eq!(texts_both_ways(query), ["older", text.trim_end()]);
}

#[test]
fn a_reader_stops_exactly_where_the_follower_begins() {
    let dir = tempfile::tempdir().unwrap();
    let first = stamped(1, "before");
    let marked = stamped(2, "just before");
    let mark = |rotated, size: usize| FileMark { rotated, size: size as u64 };
    let at = |mark| {
        let marks = Marks { combined: mark, out: mark, error: mark };
        let sources = vec![AppLogs { upto: Some(marks), ..logs(dir.path(), "a") }];
        texts_both_ways(ReadQuery { sources, ..ReadQuery::default() })
    };
    rotated(dir.path(), "a", Kind::Out, 1, false, &first);
    live(dir.path(), "a", Kind::Out, &format!("{marked}{}", stamped(3, "after")));
    let marks = mark(Some(FileStamp::of(ms(1))), marked.len());
    assert_eq!(at(marks), ["before", "just before"]);
    // Since then it was rotated, gzipped, and a new one begun.
    rotated(dir.path(), "a", Kind::Out, 3, true, &format!("{marked}{}", stamped(3, "after")));
    live(dir.path(), "a", Kind::Out, &stamped(4, "much after"));
    assert_eq!(at(marks), ["before", "just before"]);
    assert_eq!(at(mark(None, first.len())), ["before"]);
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path(), "a", Kind::Out, &stamped(1, "fine"));
    std::os::unix::fs::symlink("/etc/passwd", live_path(dir.path(), "a", Kind::Error)).unwrap();
    fs::write(rotated_path(dir.path(), "a", Kind::Out, FileStamp::of(ms(0)), Form::Gzip), "no gzip").unwrap();
    for lines in [None, Some(10)] {
        let query = ReadQuery { sources: vec![logs(dir.path(), "a")], lines, ..ReadQuery::default() };
        let mut reading = Reading::begin(query);
        let texts: Vec<Vec<u8>> = reading.by_ref().map(|line| line.line).collect();
        assert_eq!(texts, [b"fine"]);
        let unreadable = reading.unreadable();
        assert_eq!(unreadable.len(), 2, "{unreadable:?}");
        assert!(unreadable.iter().any(|(_, error)| error.to_string() == "it is a symbolic link"));
    }
}

#[test]
fn nobody_is_made_to_wait_for_an_answer_that_is_not_wanted_any_more() {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path(), "a", Kind::Out, &[stamped(1, "one"), stamped(2, "two")].concat());
    let query = ReadQuery { sources: vec![logs(dir.path(), "a")], ..ReadQuery::default() };
    let mut reading = Reading::begin(query.clone());
    assert!(reading.next().is_some());
    query.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
    reading.next();
    assert!(reading.next().is_none());
    assert_eq!(texts_both_ways(query), Vec::<String>::new());
}

#[test]
fn the_last_lines_stay_the_last_while_more_are_written_and_files_are_gzipped() {
    let dir = tempfile::tempdir().unwrap();
    let older = [stamped(1, "one"), stamped(2, "two")].concat();
    rotated(dir.path(), "a", Kind::Out, 2, false, &older);
    live(dir.path(), "a", Kind::Out, &stamped(3, "three"));
    let query = ReadQuery { sources: vec![logs(dir.path(), "a")], lines: Some(2), ..ReadQuery::default() };
    let reading = Reading::begin(query.clone());
    let path = live_path(dir.path(), "a", Kind::Out);
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(stamped(4, "four").as_bytes()).unwrap();
    let lines: Vec<Vec<u8>> = reading.map(|line| line.line).collect();
    assert_eq!(lines, [b"two".as_slice(), b"three"]);
    rotated(dir.path(), "a", Kind::Out, 2, true, &older);
    fs::remove_file(rotated_path(dir.path(), "a", Kind::Out, FileStamp::of(ms(2)), Form::Plain)).unwrap();
    assert_eq!(texts(&ReadQuery { lines: Some(3), ..query }), ["two", "three", "four"]);
}

/// What one app wrote, line by line: stream, milliseconds since the line before, without a time of its own?, rotate its
/// file after it?, gzip it?
type Written = Vec<(bool, i64, bool, bool, bool)>;

/// Lays the files down and says what a reader must find: time, stream, text.
fn lay_down(dir: &Path, app: &str, written: &Written) -> Vec<(i64, Stream, String)> {
    let (mut expected, mut at) = (Vec::new(), 0);
    let mut open = [(String::new(), 0), (String::new(), 0)];
    let mut last_rotation = [-1; 2];
    for (number, &(is_error, later, untimed, rotate, gzip)) in written.iter().enumerate() {
        at += later;
        let (stream, kind) = if is_error { (Stream::Err, Kind::Error) } else { (Stream::Out, Kind::Out) };
        let (file, before) = &mut open[stream as usize];
        let text = format!("{app} line {number}");
        if untimed && !file.is_empty() {
            file.push_str(&format!("{text}\n"));
            expected.push((*before, stream, text));
        } else {
            file.push_str(&stamped(at, &text));
            *before = at;
            expected.push((at, stream, text));
        }
        if rotate && at > last_rotation[stream as usize] {
            last_rotation[stream as usize] = at;
            rotated(dir, app, kind, at, gzip, &std::mem::take(file));
        }
    }
    live(dir, app, Kind::Out, &open[0].0);
    live(dir, app, Kind::Error, &open[1].0);
    expected
}

fn any_app() -> impl Strategy<Value = Written> {
    let line = (any::<bool>(), 0i64..3, proptest::bool::weighted(0.2), proptest::bool::weighted(0.1), any::<bool>());
    proptest::collection::vec(line, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn any_question_has_the_answer_of_a_naive_reader(
        apps in proptest::collection::vec(any_app(), 1..4),
        lines in proptest::option::of(0usize..80),
        since in proptest::option::of(0i64..60),
        until in proptest::option::of(0i64..60),
        grep in proptest::option::of("[0-9]"),
        stream in proptest::option::of(prop_oneof![Just(Stream::Out), Just(Stream::Err)]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let names = ["a", "a-b", "a-out"];
        let mut expected = Vec::new();
        for (name, written) in names.iter().zip(&apps) {
            let mut of_app = lay_down(dir.path(), name, written);
            of_app.sort_by_key(|&(_, stream, _)| stream);
            expected.extend(of_app);
        }
        expected.sort_by_key(|&(at, _, _)| at);
        expected.retain(|(at, of, text)| {
            since.is_none_or(|since| *at >= since)
                && until.is_none_or(|until| *at <= until)
                && grep.as_ref().is_none_or(|grep| text.contains(grep.as_str()))
                && stream.is_none_or(|stream| stream == *of)
        });
        let skipped = expected.len().saturating_sub(lines.unwrap_or(usize::MAX));
        let expected: Vec<String> = expected.drain(skipped..).map(|(_, _, text)| text).collect();
        let query = ReadQuery {
            sources: names.iter().take(apps.len()).map(|name| logs(dir.path(), name)).collect(),
            lines,
            stream,
            since: since.map(ms),
            until: until.map(ms),
            grep: grep.map(|grep| Regex::new(&grep).unwrap()),
            ..ReadQuery::default()
        };
        prop_assert_eq!(texts(&query), expected);
    }
}
