//! What an origin answers, raw, and what the client is told: a whole answer is whole, a broken one is seen to be broken.

use crate::client::{Client, End, Pace};
use crate::machine::shown;
use crate::origin::Origin;
use crate::proxy::Proxy;
use crate::row::latin;
use crate::wire::latin as text;
use crate::worker::Worker;

/// What the origin does once it has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Stays,
    Closes,
    Resets,
}
use Then::{Closes, Resets, Stays};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// This status and body, complete; the client's connection goes on.
    Whole(u16, &'static str),
    /// The origin's fault, in an answer of its own.
    BadGateway,
    /// An answer that no client takes for complete.
    Broken,
    /// `BadGateway`, or `Whole`.
    Either(u16, &'static str),
}
use Told::{BadGateway, Broken, Either, Whole};

struct Row {
    method: &'static str,
    answer: String,
    then: Then,
    told: Told,
}

fn row(answer: impl Into<String>, then: Then, told: Told) -> Row {
    Row { method: "GET", answer: answer.into(), then, told }
}

fn by(method: &'static str, answer: &str, then: Then, told: Told) -> Row {
    Row { method, ..row(answer, then, told) }
}

/// Each row on connections of its own; behind it another request on the same connection of the client, and of the origin
/// if the proxy thinks that it may.
fn hold(rows: &[Row]) {
    let mut worker = Worker::start();
    let mut faults = Vec::new();
    for row in rows {
        let (bytes, then) = (latin(&row.answer), row.then);
        let origin = Origin::start(move |upstream| {
            while let Some(request) = upstream.request()? {
                if request.target == "/next" {
                    upstream.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext")?;
                    continue;
                }
                upstream.say(&bytes)?;
                match then {
                    Stays => {}
                    Closes => return upstream.close(),
                    Resets => {
                        return upstream.reset();
                    }
                }
            }
            Ok(())
        });
        worker.point_at(origin.address);
        if let Err(fault) = tell(&worker, row) {
            faults.push(format!("{} {} {:?}: {fault}", row.method, shown(&latin(&row.answer)), row.then));
        }
        worker.let_go();
        origin.end();
    }
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), rows.len(), faults.join("\n"));
}

fn tell(worker: &Worker, row: &Row) -> Result<(), String> {
    let mut client = Client::connect(worker.address());
    client.send(format!("{} /row HTTP/1.1\r\nHost: h\r\n\r\n", row.method).as_bytes(), Pace::AtOnce);
    let answer = client.answer(row.method);
    let told = match &answer {
        Ok(answer) if answer.status == 502 => BadGateway,
        Ok(answer) => match row.told {
            Whole(status, body) | Either(status, body)
                if (answer.status, text(&answer.body).as_str()) == (status, body) =>
            {
                row.told
            }
            _ => return Err(format!("told {} {}", answer.status, shown(&answer.body))),
        },
        Err(_) if client.read_to_end() != End::Open => Broken,
        Err(fault) => return Err(format!("told {fault}")),
    };
    let is_it = told == row.told || (told == BadGateway && matches!(row.told, Either(..)));
    if !is_it {
        return Err(format!("{told:?} instead of {:?}: {answer:?}", row.told));
    }
    let Ok(answer) = answer else { return Ok(()) };
    if answer.values("connection").contains(&"close") {
        return Ok(());
    }
    client.send(b"GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", Pace::AtOnce);
    let next = client.answer("GET").map_err(|fault| format!("the next request is told {fault}"))?;
    if (next.status, next.body.as_slice()) != (200, b"next".as_slice()) {
        return Err(format!("the next request is told {} {}", next.status, shown(&next.body)));
    }
    match (client.read_to_end(), client.seen()) {
        (End::Closed, b"") => Ok(()),
        (end, more) => Err(format!("{end:?} and {} behind the next answer", shown(more))),
    }
}

#[test]
fn a_whole_answer_is_whole() {
    let rows = [
        row("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Stays, Whole(200, "hello")),
        row("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Closes, Whole(200, "hello")),
        row("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", Closes, Whole(200, "hello")),
        row("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Stays, Whole(200, "")),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Stays, Whole(200, "hello")),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Stays, Whole(200, "")),
        row(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n",
            Stays,
            Whole(200, "hello"),
        ),
        row("HTTP/1.1 200 OK\r\n\r\nhello", Closes, Whole(200, "hello")),
        row("HTTP/1.0 200 OK\r\n\r\nhello", Closes, Whole(200, "hello")),
        row("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", Closes, Whole(200, "hello")),
        row("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello", Stays, Whole(200, "hello")),
        row("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", Stays, Either(200, "")),
        row("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", Stays, Whole(200, "")),
        row("HTTP/1.1 200 \u{e9}\u{ff}\r\nContent-Length: 0\r\n\r\n", Stays, Either(200, "")),
        row("HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nno", Stays, Whole(599, "no")),
        row("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", Stays, Whole(404, "no")),
        row("HTTP/1.1 204 No Content\r\n\r\n", Stays, Whole(204, "")),
        row("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", Stays, Whole(304, "")),
        row("HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n", Stays, Whole(304, "")),
        by("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", Stays, Whole(200, "")),
        by("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Stays, Whole(200, "")),
        by("HEAD", "HTTP/1.1 200 OK\r\n\r\n", Stays, Whole(200, "")),
        by("HEAD", "HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\n", Stays, Whole(404, "")),
        row(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            Stays,
            Whole(200, "hello"),
        ),
        row(
            format!(
                "{}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                "HTTP/1.1 102 Processing\r\n\r\n".repeat(20)
            ),
            Stays,
            Whole(200, "hello"),
        ),
    ];
    hold(&rows);
}

#[test]
fn a_truncated_answer_is_never_taken_for_a_whole_one() {
    let rows = [
        row("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", Closes, Broken),
        row("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", Resets, Broken),
        row("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", Closes, Broken),
        row("HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello", Closes, Broken),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Closes, Broken),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", Closes, Broken),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", Closes, Broken),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Closes, Broken),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Resets, Broken),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", Closes, Broken),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n", Closes, Broken),
        // Its end is the end of the connection, and that was not in order.
        row("HTTP/1.1 200 OK\r\n\r\nhello", Resets, Broken),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n\r\n", Stays, Broken),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n", Stays, Broken),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nfffffffffffffffff\r\n", Stays, Broken),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n-1\r\n\r\n", Stays, Broken),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n: y\r\n\r\n", Stays, Broken),
    ];
    hold(&rows);
}

#[test]
fn an_answer_that_makes_no_sense_is_the_gateways_to_tell() {
    let mut rows: Vec<Row> = [
        "",
        "\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5",
        "hello",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/3.0 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\u{0}b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        // Nobody asked for another protocol.
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ]
    .iter()
    .map(|answer| row(*answer, Closes, BadGateway))
    .collect();
    rows.push(row("", Resets, BadGateway));
    rows.push(row("HTTP/1.1 200 OK\r\n", Resets, BadGateway));
    rows.push(row(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(1 << 20)), Closes, BadGateway));
    rows.push(row(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(20_000)), Closes, BadGateway));
    hold(&rows);
}

#[test]
fn an_answer_with_two_framings_is_read_as_chunked_or_not_at_all() {
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let rows = [
        row(
            format!("HTTP/1.1 200 OK\r\nContent-Length: 15\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
            Closes,
            Either(200, "hello"),
        ),
        row(
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n{chunks}"),
            Closes,
            Either(200, "hello"),
        ),
        row(
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"),
            Closes,
            Either(200, "hello"),
        ),
        row("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", Closes, Either(200, "hello")),
        row("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", Closes, Either(200, "hello")),
        // A last coding that is not chunked lasts until the end of the connection (RFC 9112 6.3).
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello", Closes, Either(200, "hello")),
        row("HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\nhello", Closes, Either(200, "hello")),
    ];
    hold(&rows);
}

#[test]
fn what_an_origin_says_behind_its_answer_is_no_answer_to_the_next_request() {
    let more = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let rows = [
        row(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello{more}"), Stays, Whole(200, "hello")),
        row(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{more}"), Stays, Whole(200, "")),
        row(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{more}"), Stays, Whole(200, "")),
        row(format!("HTTP/1.1 204 No Content\r\n\r\n{more}"), Stays, Whole(204, "")),
        row(format!("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello{more}"), Stays, Whole(204, "")),
        row(format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello{more}"), Stays, Whole(304, "")),
        row(format!("HTTP/1.1 304 Not Modified\r\n\r\n{more}"), Stays, Whole(304, "")),
        by("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", Stays, Whole(200, "")),
        by(
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            Stays,
            Whole(200, ""),
        ),
        row("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n", Stays, Whole(200, "hello")),
        row("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello world", Stays, Whole(200, "hello")),
        row("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", Closes, Whole(408, "")),
    ];
    hold(&rows);
}
