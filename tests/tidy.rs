//! The rules of the house (ARCHITECTURE.md), as tests: who may import whom, where unsafe lives, what a file looks like.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use regex::Regex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A file longer than this wants to be two.
const LONGEST_FILE: usize = 500;

/// What each module may import of its siblings. Anything else is an arrow that ARCHITECTURE.md does not have.
const ARROWS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("linux", &[]),
    ("config", &["api"]),
    ("supervisor", &["api", "config"]),
    ("logs", &["linux"]),
    ("proxy", &["linux"]),
    ("daemon", &["api", "config", "deploy", "linux", "logs", "proxy", "supervisor"]),
    ("deploy", &["api", "config", "linux"]),
    ("ctl", &["api", "config", "deploy", "linux"]),
    ("bin", &["config", "ctl", "daemon", "proxy"]),
];

/// What the pure core must not know of.
const IMPURE: &[&str] = &[
    "tokio",
    "nix::",
    "libc::",
    "hyper",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "Instant",
    "SystemTime",
    "Timestamp::now",
    "Zoned::now",
    "tracing",
];

struct Source {
    path: PathBuf,
    text: String,
}

fn sources(below: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(below);
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {below}");
    found
}

/// Lines of code: without comments, so that prose may name anything.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(at, line)| (at + 1, line))
}

fn assert_none(rule: &str, broken: BTreeSet<String>) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn modules_import_only_along_the_arrows() {
    let import = Regex::new(r"\b(?:crate|infissi)::(\w+)").unwrap();
    let siblings: Vec<&str> = ARROWS.iter().map(|(module, _)| *module).collect();
    let mut broken = BTreeSet::new();
    for (module, allowed) in ARROWS {
        for Source { path, text } in sources(&format!("src/{module}")) {
            for (line, code) in code(&text) {
                for found in import.captures_iter(code).map(|found| found.get(1).unwrap().as_str()) {
                    if siblings.contains(&found) && found != *module && !allowed.contains(&found) {
                        broken.insert(format!("{}:{line} imports {found}", path.display()));
                    }
                }
            }
        }
    }
    assert_none("an import against the arrows", broken);
}

#[test]
fn the_core_knows_no_process_no_file_no_socket_and_no_clock() {
    let mut broken = BTreeSet::new();
    for Source { path, text } in sources("src/supervisor") {
        for (line, code) in code(&text) {
            for impure in IMPURE.iter().filter(|impure| code.contains(**impure)) {
                broken.insert(format!("{}:{line} names {impure}", path.display()));
            }
        }
    }
    assert_none("the core is pure", broken);
}

#[test]
fn unsafe_lives_in_linux_with_its_reason() {
    let block = Regex::new(r"\bunsafe\s*(\{|fn|impl)").unwrap();
    let mut broken = BTreeSet::new();
    for Source { path, text } in sources("src") {
        let in_linux = path.components().any(|part| part.as_os_str() == "linux");
        let lines: Vec<&str> = text.lines().collect();
        for (line, _) in code(&text).filter(|(_, code)| block.is_match(code)) {
            let above = lines[line.saturating_sub(8)..line].join("\n");
            if !in_linux || !(above.contains("SAFETY:") || above.contains("# Safety")) {
                broken.insert(format!("{}:{line}", path.display()));
            }
        }
    }
    assert_none("unsafe outside linux, or without its reason", broken);
}

#[test]
fn every_file_opens_with_what_it_decides_and_fits_the_head() {
    let mut broken = BTreeSet::new();
    for Source { path, text } in sources("src") {
        let unit_tests = path.file_name().is_some_and(|name| name == "tests.rs");
        if !text.starts_with("//!") && !unit_tests {
            broken.insert(format!("{} does not say what it decides", path.display()));
        }
        if text.lines().count() > LONGEST_FILE {
            broken.insert(format!("{} is longer than {LONGEST_FILE} lines", path.display()));
        }
    }
    assert_none("a file's shape", broken);
}

#[test]
fn nothing_is_left_for_later_in_the_sources() {
    let later = Regex::new(r"\b(TODO|FIXME|XXX)\b|todo!\(|unimplemented!\(").unwrap();
    let mut broken = BTreeSet::new();
    for Source { path, text } in sources("src") {
        for (at, line) in text.lines().enumerate().filter(|(_, line)| later.is_match(line)) {
            broken.insert(format!("{}:{} {}", path.display(), at + 1, line.trim()));
        }
    }
    assert_none("something left for later", broken);
}

#[test]
fn no_process_is_ever_ended_by_its_name() {
    let by_name = Regex::new(r#""(pkill|killall)""#).unwrap();
    let mut broken = BTreeSet::new();
    for Source { path, text } in sources("src").into_iter().chain(sources("tests")) {
        for (line, code) in code(&text) {
            if by_name.is_match(code) && !path.ends_with("tidy.rs") {
                broken.insert(format!("{}:{line}", path.display()));
            }
        }
    }
    assert_none("a signal by name", broken);
}
