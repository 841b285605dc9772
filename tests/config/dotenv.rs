//! Env files are read as Node reads them.

use infissi::config::parse_dotenv;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

const TABLE: &[(&str, &[(&str, &str)])] = &[
    ("", &[]),
    ("A=1\nB=two words\n", &[("A", "1"), ("B", "two words")]),
    ("A=1", &[("A", "1")]),
    ("A=1\r\nB=2\r\n", &[("A", "1"), ("B", "2")]),
    ("# A=0\n\nA=1 # one\n", &[("A", "1")]),
    ("A=1#one\n", &[("A", "1")]),
    ("A='#1' # one\nB=\"#2\"\nC=`#3`\n", &[("A", "#1"), ("B", "#2"), ("C", "#3")]),
    ("export A=1\n", &[("A", "1")]),
    ("A =  1  \n", &[("A", "1")]),
    ("A=\nB=2\n", &[("A", ""), ("B", "2")]),
    ("A=  \nB=2\n", &[("A", ""), ("B", "2")]),
    ("A=''\nB=2\n", &[("A", ""), ("B", "2")]),
    ("A=1\nA=2\n", &[("A", "2")]),
    ("A=a=b\n", &[("A", "a=b")]),
    ("A=$HOME\nB=${A}\n", &[("A", "$HOME"), ("B", "${A}")]),
    ("A=\"x\\ny\"\nB='x\\ny'\nC=x\\ny\n", &[("A", "x\ny"), ("B", "x\\ny"), ("C", "x\\ny")]),
    ("A=\"-----BEGIN\nabc\n-----END\"\nB=2\n", &[("A", "-----BEGIN\nabc\n-----END"), ("B", "2")]),
    ("A='x\ny'\nB=2\n", &[("A", "x\ny"), ("B", "2")]),
    ("A=\"it's\"\nB='say \"hi\"'\n", &[("A", "it's"), ("B", "say \"hi\"")]),
    ("A=\"a\\\"b\"\nB=2\n", &[("A", "a\\"), ("B", "2")]),
    ("A=\"open\nB=2\n", &[("A", "\"open"), ("B", "2")]),
    ("A=\" x \"\n", &[("A", " x ")]),
];

/// Where Node 20 and later ones differ we go with the later ones.
const OURS: &[(&str, &[(&str, &str)])] = &[
    ("\u{feff}A=1\n", &[("A", "1")]),
    ("A\t=\t1\t\n", &[("A", "1")]),
    ("export   A=1\n", &[("A", "1")]),
    ("=x\nA=1\n", &[("A", "1")]),
    ("no variable\nA=1\n", &[("A", "1")]),
    ("\n  # A=0\nA=1\n", &[("A", "1")]),
];

fn ours(text: &str) -> BTreeMap<String, String> {
    parse_dotenv(text.as_bytes()).unwrap().into_iter().collect()
}

fn owned(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// What Node itself makes of the texts; none where there is no Node, or one before 20.12.
#[expect(clippy::disallowed_methods, reason = "a test asks the real thing")]
fn node(texts: &[String]) -> Option<Vec<BTreeMap<String, String>>> {
    let script = "let s='';process.stdin.on('data',d=>s+=d).on('end',()=>{\
        console.log(JSON.stringify(JSON.parse(s).map(t=>require('util').parseEnv(t))))})";
    let node = Command::new("node").args(["-e", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut node = node.ok()?;
    let input = serde_json::to_string(texts).unwrap();
    let mut stdin = node.stdin.take()?;
    // It reads all before it writes, so this cannot wait for itself. An old Node may have gone.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = node.wait_with_output().ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

#[test]
fn the_grammar_is_that_of_node() {
    for (text, expected) in TABLE.iter().chain(OURS) {
        assert_eq!(ours(text), owned(expected), "{text:?}");
    }
    let texts: Vec<String> = TABLE.iter().map(|(text, _)| (*text).to_owned()).collect();
    let Some(theirs) = node(&texts) else { return };
    for ((text, expected), theirs) in TABLE.iter().zip(theirs) {
        assert_eq!(theirs, owned(expected), "Node reads {text:?} otherwise");
    }
}

#[test]
fn generated_files_are_read_as_node_reads_them() {
    let texts = generated(2000);
    let Some(theirs) = node(&texts) else { return };
    for (text, theirs) in texts.iter().zip(theirs) {
        // Node 20 makes a line without = part of the next name and ends at one without a name: no grammar, but mishaps.
        let nameless = text.lines().any(|line| line.trim_start().starts_with('='));
        if !nameless && theirs.keys().all(|name| ["A", "B", "C"].contains(&name.as_str())) {
            assert_eq!(ours(text), theirs, "{text:?}");
        }
    }
}

/// Files of up to four lines of names with whatever behind them, the same at each run.
fn generated(count: usize) -> Vec<String> {
    const PARTS: [&str; 14] = ["A", "=", "\n", " ", "#", "\"", "'", "`", "\\n", "export ", "x y", "$A", "\r\n", "1"];
    let mut state: u64 = 0x2545_F491_4F6C_DD1D;
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit) as usize
    };
    let mut texts = Vec::new();
    for _ in 0..count {
        let mut text = String::new();
        for _ in 0..below(5) {
            let start = ["# a=b\n", "\n", "export A=", "A=", "B = ", "C="][below(6)];
            text.push_str(start);
            if start.contains('=') && !start.starts_with('#') {
                (0..below(7)).for_each(|_| text.push_str(PARTS[below(14)]));
                text.push('\n');
            }
        }
        texts.push(text);
    }
    texts
}

#[test]
fn what_no_environment_can_hold_is_refused_with_its_line() {
    assert_eq!(parse_dotenv(b"A=1\nB=\0\n").unwrap_err().to_string(), "line 2: a NUL character stands in it");
    assert_eq!(parse_dotenv(b"A=1\n\nB=\xff\n").unwrap_err().to_string(), "line 3: it is not UTF-8");
}
