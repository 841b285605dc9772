//! The second witness: what Node's parser takes for requests, in its strict and in its lenient way.

use crate::machine::command;
use serde::Deserialize;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

pub(crate) struct Node {
    child: Child,
    ask: ChildStdin,
    hear: BufReader<ChildStdout>,
    pub(crate) strict: SocketAddr,
    /// `insecureHTTPParser`: what an app may have been started with.
    pub(crate) lenient: SocketAddr,
}

/// A request as Node's handler saw it, or the code of an error that its parser raised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Each byte a character.
    pub(crate) body: String,
    pub(crate) whole: bool,
    pub(crate) fault: Option<String>,
}

impl Node {
    pub(crate) fn start() -> Node {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/node.js");
        let mut child = command("node").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (ask, mut hear) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let [strict, lenient] = serde_json::from_str::<[u16; 2]>(&line(&mut hear)).unwrap();
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Node { child, ask, hear, strict: address(strict), lenient: address(lenient) }
    }

    /// What it heard since it was asked last, once every connection to it is closed.
    pub(crate) fn heard(&mut self) -> Vec<Heard> {
        self.ask.write_all(b"\n").unwrap();
        serde_json::from_str(&line(&mut self.hear)).unwrap()
    }
}

fn line(from: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
