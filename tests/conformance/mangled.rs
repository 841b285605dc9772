//! Requests, mangled at random: whatever comes, no more than clean requests reach the origin; and frames likewise.
//!
//! The same properties as the targets in `fuzz/`, where the compiler can be had that looks for new ways.

use crate::frames;
use crate::random::check;
use crate::worker::Worker;
use infissi::proxy::channel::{Listener, Order, PROTOCOL, Report};
use infissi::proxy::channel_stream::encode;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// What requests are made of, good and bad.
const PIECES: &[&str] = &[
    "GET /a HTTP/1.1\r\nHost: h\r\n",
    "POST /a HTTP/1.1\r\nHost: h\r\n",
    "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n",
    "HEAD /a HTTP/1.0\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "content-length:\t30\r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding:chunked\r\n",
    "Transfer-Encoding: x\r\n",
    "Transfer-Encoding",
    "Content-Length",
    "Connection: close\r\n",
    "Connection: keep-alive, content-length\r\n",
    "Connection: upgrade\r\nUpgrade: websocket\r\n",
    "Expect: 100-continue\r\n",
    "X-Forwarded-For: 1.2.3.4\r\n",
    "Trailer: X\r\n",
    "Host: evil\r\n",
    "GET",
    "POST",
    "OPTIONS * HTTP/1.1\r\nHost: h\r\n",
    "GET http://h/a HTTP/1.1\r\nHost: h\r\n",
    " HTTP/1.1",
    " HTTP/1.0",
    "hello",
    "5\r\nhello\r\n",
    "5;a=b\r\nhello\r\n",
    "0\r\n",
    "0\r\n\r\n",
    "X: y\r\n",
    "chunked",
    "identity",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "\0",
    "\t",
    "\u{b}",
    " ",
    ":",
    ";",
    ",",
    "#",
    "%",
    "/",
    "*",
    "@",
    "+",
    "-",
    "ffffffffffffffff",
    "99999999999999999999",
];

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let head = proptest::sample::select(&PIECES[..4]).prop_map(|head| head.as_bytes().to_vec());
    (head, proptest::collection::vec(piece(), 0..14)).prop_map(|(head, pieces)| [head, pieces.concat()].concat())
}

#[test]
fn no_mangled_request_reaches_an_origin_in_two_meanings() {
    let mut worker = Worker::with(|route| route.trusted.clear());
    let mut runner = TestRunner::new(Config { cases: cases(400), failure_persistence: None, ..Config::default() });
    // Shrinking asks the same worker again.
    let worker = std::cell::RefCell::new(&mut worker);
    let held = runner.run(&bytes(), |sent| check(&mut **worker.borrow_mut(), &sent).map_err(TestCaseError::fail));
    held.unwrap();
}

/// More by PROPTEST_CASES.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual)
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let listener = Listener { listener: 1, app: "app".to_owned(), address: ([127, 0, 0, 1], 80).into() };
    let hello = Report::Hello { protocol: PROTOCOL, version: "1".to_owned(), pid: 1, listeners: vec![listener] };
    let orders = [
        Order::Attach { protocol: PROTOCOL },
        Order::Listen { listener: 1, app: "app".to_owned() },
        Order::Retire { target: u64::MAX },
        Order::Route(crate::worker::usual()),
        Order::Leave,
    ];
    let reports = [hello, Report::InFlight { target: 1, requests: 2, streams: 3 }];
    let frames = orders.iter().map(|order| encode(order).unwrap());
    let frames = frames.chain(reports.iter().map(|report| encode(report).unwrap()));
    proptest::sample::select(frames.collect::<Vec<_>>())
}

#[test]
fn any_bytes_on_the_channel_are_a_frame_or_none() {
    let cut = (frame(), frame(), any::<prop::sample::Index>(), proptest::collection::vec(any::<u8>(), 0..6));
    let mangled = cut.prop_map(|(one, other, at, junk)| {
        let mut all = [one, other].concat();
        let at = at.index(all.len());
        all.splice(at..(at + junk.len() / 2).min(all.len()), junk);
        all
    });
    let mut runner = TestRunner::new(Config { cases: cases(20_000), failure_persistence: None, ..Config::default() });
    let check = |bytes: Vec<u8>| {
        frames::check(&bytes);
        Ok(())
    };
    runner.run(&prop_oneof![mangled, proptest::collection::vec(any::<u8>(), 0..64)], check).unwrap();
}
