//! A proxy, its two witnesses and a table: what comes of each row.

use crate::client::{Client, End, Pace};
use crate::machine::shown;
use crate::node::{Heard, Node};
use crate::origin::Origin;
use crate::proxy::Proxy;
use crate::row::{Expect, NEXT, Row};
use crate::wire::{self, Answer, Request, latin};
use std::net::SocketAddr;

/// All that is wrong, row by row.
pub(crate) fn faults(proxy: &mut dyn Proxy, rows: &[Row]) -> Vec<String> {
    let mut node = Node::start();
    let mut faults = Vec::new();
    for row in rows {
        for pace in [Pace::AtOnce, Pace::ByteByByte] {
            if let Err(fault) = before_the_recorder(proxy, row, pace) {
                faults.push(format!("{pace:?} {}: {fault}", row.name()));
            }
        }
        for origin in [node.strict, node.lenient] {
            if let Err(fault) = before_node(proxy, row, origin, &mut node) {
                faults.push(format!("Node {}: {fault}", row.name()));
            }
        }
    }
    faults
}

#[track_caller]
pub(crate) fn hold(proxy: &mut dyn Proxy, rows: &[Row]) {
    let faults = faults(proxy, rows);
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), rows.len(), faults.join("\n"));
}

fn say(proxy: &dyn Proxy, row: &Row, pace: Pace) -> Client {
    let mut client = Client::connect(proxy.address());
    client.send(&[&row.sent, NEXT.as_bytes()].concat(), pace);
    client.read_to_end();
    client
}

fn before_the_recorder(proxy: &mut dyn Proxy, row: &Row, pace: Pace) -> Result<(), String> {
    let origin = Origin::echo();
    proxy.point_at(origin.address);
    let answers = answers(say(proxy, row, pace), row);
    proxy.let_go();
    let record = origin.end();
    let heard = heard(&record).map_err(|fault| format!("{fault} reached the origin: {}", told(&record)))?;
    let answers = answers?;
    let wrong = |what: String| format!("{what}; the origin got {}, the client {}", told(&record), statuses(&answers));
    let targets: Vec<&str> = heard.iter().map(|request| request.target.as_str()).collect();
    let passed = match (&targets[..], &answers[..]) {
        ([], [refusal]) if is_refusal(refusal) => false,
        ([], []) if row.expect == Expect::Dropped => false,
        ([target], [answer]) if *target == row.target && answer.status == 200 => true,
        ([one, "/next"], [first, second])
            if *one == row.target && *one != "/next" && (first.status, second.status) == (200, 200) =>
        {
            true
        }
        _ => return Err(wrong("neither refused nor passed".to_owned())),
    };
    if passed {
        same(row, &heard[0]).map_err(&wrong)?;
    }
    match (&row.expect, passed, heard.len()) {
        (Expect::Either, _, _)
        | (Expect::Refused | Expect::Dropped, false, _)
        | (Expect::Passed, true, 2)
        | (Expect::Alone, true, 1) => Ok(()),
        (expect, _, _) => Err(wrong(format!("not {expect:?}"))),
    }
}

/// What the origin heard; none when a connection held anything but whole requests and the beginning of another one.
fn heard(record: &[Vec<u8>]) -> Result<Vec<Request>, String> {
    let mut heard = Vec::new();
    for bytes in record {
        heard.extend(wire::requests(bytes)?.0);
    }
    heard.sort_by_key(|request| request.target == "/next");
    Ok(heard)
}

fn same(row: &Row, request: &Request) -> Result<(), String> {
    let host = request.values("host");
    let is_host = row.host == "*" || host == [row.host.as_str()];
    let trailing: Vec<&str> = request.trailers.iter().map(|(name, _)| name.as_str()).filter(is_of_a_head).collect();
    if request.method == row.method && request.body == row.body && is_host && trailing.is_empty() {
        return Ok(());
    }
    if !trailing.is_empty() {
        return Err(format!("passed with the trailers {trailing:?}"));
    }
    Err(format!("passed as {} with Host {host:?} and body {}", request.method, shown(&request.body)))
}

/// What decides where a request goes, what it may or where it ends, is no trailer (RFC 9110 6.5.1).
fn is_of_a_head(name: &&str) -> bool {
    const NAMES: [&str; 10] = [
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.iter().any(|own| name.eq_ignore_ascii_case(own)) || name.to_ascii_lowercase().starts_with("x-forwarded-")
}

fn answers(mut client: Client, row: &Row) -> Result<Vec<Answer>, String> {
    let end = client.read_to_end();
    let mut answers: Vec<Answer> = Vec::new();
    while !client.seen().is_empty() {
        let method = if answers.is_empty() { &row.method } else { "GET" };
        let answer = client.answer(method).map_err(|fault| format!("the client got {fault}"))?;
        if answer.status >= 200 {
            answers.push(answer);
        }
    }
    match end {
        End::Closed => Ok(answers),
        End::Reset | End::Open => Err(format!("the connection is {end:?} after {}", statuses(&answers))),
    }
}

/// Every status that speaks of the request and not of the origin.
fn is_refusal(answer: &Answer) -> bool {
    let says_so = answer.values("connection").iter().any(|value| value.eq_ignore_ascii_case("close"));
    matches!(answer.status, 400..=499 | 501 | 505) && says_so
}

fn before_node(proxy: &mut dyn Proxy, row: &Row, origin: SocketAddr, node: &mut Node) -> Result<(), String> {
    proxy.point_at(origin);
    drop(say(proxy, row, Pace::AtOnce));
    proxy.let_go();
    let heard = node.heard();
    let wrong = |what: &str| Err(format!("{what}: {heard:?}"));
    let mut requests = heard.iter().filter(|heard| heard.fault.is_none());
    let Some(first) = requests.next() else {
        return if row.expect == Expect::Passed { wrong("not passed") } else { Ok(()) };
    };
    if row.expect == Expect::Either && first.target == "/next" && heard[0].fault.is_some() {
        // What Node refuses, Node refuses; the proxy took it for a request.
        return if requests.next().is_none() { Ok(()) } else { wrong("a second request") };
    }
    if first.target != row.target || first.method != row.method {
        return wrong("another request than the row's");
    }
    if first.whole && (matches!(row.expect, Expect::Refused | Expect::Dropped) || first.body != latin(&row.body)) {
        return wrong("another body, or no refusal");
    }
    match requests.next() {
        None => {}
        Some(Heard { target, whole: true, .. }) if target == "/next" && first.whole && row.expect != Expect::Alone => {}
        Some(_) => return wrong("a second request"),
    }
    if requests.next().is_some() { wrong("a third request") } else { Ok(()) }
}

fn statuses(answers: &[Answer]) -> String {
    format!("{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>())
}

fn told(record: &[Vec<u8>]) -> String {
    record.iter().map(|bytes| shown(bytes)).collect::<Vec<_>>().join(" and ")
}
