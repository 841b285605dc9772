//! Apps that write numbered lines, and a look at their files: each line is there, whole and once.

use crate::server::Server;
use std::fs;
use std::path::{Path, PathBuf};

const PROGRAM: &str = include_str!("writer.js");
/// The bytes of `2026-11-22T20:01:02.123+02:00 `.
const STAMP: usize = 30;

/// One with small files, and one whose lines are stamped.
pub(crate) const WRITERS: [&str; 2] = ["rotated", "stamped"];

/// Puts the program where the [tables](tables) have it.
pub(crate) fn prepare(server: &Server) {
    server.write("writer/main.js", PROGRAM);
}

pub(crate) fn tables() -> String {
    // Indented: at the beginning of a line they would be keys of the story's app.
    let usual = "  command = \"node main.js\"\n  cwd = \"writer\"\n";
    let logs = [
        "logs = { timestamps = false, max_size = \"64K\", keep = 100000, compress = false }",
        "logs = { timestamps = true, compress = false, keep = 1000 }",
    ];
    let table = |(name, logs)| format!("[apps.{name}]\n{usual}  {logs}\n");
    WRITERS.into_iter().zip(logs).map(table).collect()
}

/// Ends them and reads what they wrote; how many lines that were.
#[track_caller]
pub(crate) fn assert_each_line_once(server: &Server) -> usize {
    assert_each_line_once_in(server, &[server.log_dir()])
}

/// The same where their files were kept in these directories, one after the other.
#[track_caller]
pub(crate) fn assert_each_line_once_in(server: &Server, dirs: &[PathBuf]) -> usize {
    let read = |name, kind| dirs.iter().map(|dir| read(dir, name, kind)).collect::<String>();
    server.ctl(&["stop", "rotated", "stamped"]).ok();
    let mut count = 0;
    for (name, stamp) in WRITERS.into_iter().zip([0, STAMP]) {
        for (stream, kind) in [("1", "out"), ("2", "error")] {
            count += assert_numbered(&format!("{name}-{kind}"), &read(name, kind), stream, stamp);
            let combined = format!("{name}-combined, stream {stream}");
            assert_numbered(&combined, &read(name, "combined"), stream, stamp);
        }
    }
    count
}

/// Every file of one kind, the oldest first.
fn read(dir: &Path, name: &str, kind: &str) -> String {
    let rotated = format!("{name}-{kind}-2");
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_rotated = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&rotated);
    let mut paths: Vec<_> = files.filter(is_rotated).collect();
    paths.sort();
    paths.push(dir.join(format!("{name}-{kind}.log")));
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[track_caller]
fn assert_numbered(what: &str, text: &str, stream: &str, stamp: usize) -> usize {
    let (mut last, mut ended) = (0, None);
    for line in text.lines() {
        let line = line.get(stamp..).unwrap_or_else(|| panic!("{what}: a torn line: {line:?}"));
        let Some((of, rest)) = line.split_once(' ') else { panic!("{what}: a torn line: {line:?}") };
        if of != stream {
            assert!(["1", "2"].contains(&of), "{what}: a torn line: {line:?}");
            continue;
        }
        if let Some(number) = rest.strip_prefix("end ") {
            ended = Some(number.parse().unwrap());
            continue;
        }
        let number: usize = rest.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(rest, format!("{number} {};", "x".repeat(number * 37 % 181)), "{what}: not whole, after {last}");
        assert_eq!(number, last + 1, "{what}: lost or doubled");
        last = number;
    }
    assert_eq!(ended, Some(last), "{what}: the end is missing");
    last
}
