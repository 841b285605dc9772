//! Where a body ends: Content-Length, Transfer-Encoding, both, and everything that looks like one of them.

use crate::bench::hold;
use crate::row::Expect::{Alone, Either, Passed, Refused};
use crate::row::Row;
use crate::worker::Worker;

/// A chunked body, and what it means.
const CHUNKED: &str = "5\r\nhello\r\n0\r\n\r\n";

/// A request hidden in a body that one parser ends with the empty chunk and another by a length.
const HIDDEN: &str = "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_request_with_both_framings_is_refused_whichever_comes_first() {
    let hidden = HIDDEN.len();
    let both = [
        format!("Content-Length: {hidden}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {hidden}\r\n"),
        format!("transfer-encoding: chunked\r\nX: y\r\ncontent-length: {hidden}\r\n"),
        format!("TRANSFER-ENCODING: CHUNKED\r\nCONTENT-LENGTH: {hidden}\r\n"),
        format!("Content-Length: {hidden}\r\nTransfer-Encoding: x\r\n"),
        format!("Content-Length: {hidden}\r\nTransfer-Encoding:\r\n"),
        format!("Content-Length: {hidden}\r\nTransfer-Encoding: identity\r\n"),
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nContent-Length: x\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nContent-Length:\r\n".to_owned(),
    ];
    let mut rows: Vec<Row> = both.iter().map(|lines| Row::post(lines, HIDDEN, Refused, "")).collect();
    // Without a method that has a body, too.
    rows.extend(both.iter().map(|lines| {
        let sent = format!("GET /row HTTP/1.1\r\nHost: h\r\n{lines}\r\n{HIDDEN}");
        Row::raw(sent, Refused)
    }));
    hold(&mut Worker::start(), &rows);
}

#[test]
fn a_length_is_one_decimal_number() {
    let good = ["5", " 5", "5 ", "\t5\t", "   5   "];
    // Grammar takes leading zeros; a list of equal numbers and equal lines may be refused or become one (RFC 9112 6.3).
    let either = ["05", "0000000000000000000000000000005", "5, 5", "5,5"];
    let bad = [
        "",
        " ",
        "+5",
        "-5",
        "-0",
        "-1",
        "0x5",
        "5h",
        "5.0",
        "5e0",
        "5 5",
        "5_0",
        "5;",
        "5,",
        ",5",
        "5, 6",
        "6, 5",
        "five",
        "\u{b}5",
        "5\u{b}",
        "5\u{c}",
        "\u{85}5",
        "5\u{a0}",
        "\u{b2}",
        "\"5\"",
        "'5'",
        "(5)",
        "5\u{0}",
        "\u{0}5",
        "5\r",
        "NaN",
        "Infinity",
        "18446744073709551616",
        "18446744073709551621",
        "4294967301, 5",
        "99999999999999999999999999999999",
        "9223372036854775808000",
        "5 chunked",
        "chunked",
        "5\tx",
    ];
    let row = |value: &str, expect| Row::post(&format!("Content-Length:{value}\r\n"), "hello", expect, "hello");
    let mut rows: Vec<Row> = good.iter().map(|value| row(value, Passed)).collect();
    rows.extend(either.iter().map(|value| row(value, Either)));
    rows.extend(bad.iter().map(|value| row(value, Refused)));
    // A huge but possible length: nothing behind the head is a request, so the connection says nothing more.
    hold(&mut Worker::start(), &rows);
}

#[test]
fn two_lengths_are_one_at_most_if_they_are_the_same() {
    let lines = |one: &str, other: &str| format!("Content-Length: {one}\r\nX: y\r\n{other}\r\n");
    let rows = [
        Row::post(&lines("5", "Content-Length: 5"), "hello", Either, "hello"),
        Row::post(&lines("5", "content-length: 5"), "hello", Either, "hello"),
        Row::post(&lines("5", "Content-Length: 6"), "hello", Refused, ""),
        Row::post(&lines("6", "Content-Length: 5"), "hello", Refused, ""),
        Row::post(&lines("5", "CONTENT-LENGTH: 0"), "hello", Refused, ""),
        Row::post(&lines("0", "Content-Length: 5"), "hello", Refused, ""),
        Row::post(&lines("5", "Content-Length: 05"), "hello", Either, "hello"),
        Row::post(&lines("5", "Content-Length:"), "hello", Refused, ""),
        Row::post(&lines("5", "Content-Length: +5"), "hello", Refused, ""),
        Row::post(&lines("5", "Content-Length: 5, 5"), "hello", Either, "hello"),
        Row::post(&lines("5", "Content-Length: 5, 6"), "hello", Refused, ""),
        Row::post(&lines("5", "Content-Length: 4294967301"), "hello", Refused, ""),
    ];
    hold(&mut Worker::start(), &rows);
}

#[test]
fn what_only_looks_like_a_length_frames_nothing() {
    let hello = "hello";
    let rows = [
        Row::post("Content-Length : 5\r\n", hello, Refused, ""),
        Row::post("Content-Length\t: 5\r\n", hello, Refused, ""),
        Row::post(" Content-Length: 5\r\n", hello, Refused, ""),
        Row::post("\tContent-Length: 5\r\n", hello, Refused, ""),
        Row::post("Content-Length\u{0}: 5\r\n", hello, Refused, ""),
        Row::post("Content-Length\u{b}: 5\r\n", hello, Refused, ""),
        Row::post("\u{b}Content-Length: 5\r\n", hello, Refused, ""),
        Row::post("Content Length: 5\r\n", hello, Refused, ""),
        Row::post("Content-Length;: 5\r\n", hello, Refused, ""),
        Row::post("Content-Length\r\n : 5\r\n", hello, Refused, ""),
        Row::post("Content-Length:\r\n 5\r\n", hello, Refused, ""),
        Row::post("Content-Length:\r\n\t5\r\n", hello, Refused, ""),
        Row::post("Content-Length: 5\r\n 0\r\n", hello, Refused, ""),
        Row::post("Content-Length: 1\r\n0\r\n", hello, Refused, ""),
        Row::post("X: y\r\n Content-Length: 5\r\n", hello, Refused, ""),
        Row::post("X: y\rContent-Length: 5\r\n", hello, Refused, ""),
        Row::post("Content-Length 5\r\n", hello, Refused, ""),
        Row::post("Content\u{ad}-Length: 5\r\n", hello, Refused, ""),
        Row::post("Cont\u{e8}nt-Length: 5\r\n", hello, Refused, ""),
        // Another name: no framing, so that what follows is a request of its own.
        Row::post("Content_Length: 5\r\n", "", Either, ""),
        Row::post("Content-Length-: 5\r\n", "", Either, ""),
        Row::post("Content--Length: 5\r\n", "", Either, ""),
        Row::post("X-Content-Length: 5\r\n", "", Passed, ""),
        Row::post("CONTENT-LENGTH: 5\r\n", hello, Passed, hello),
        Row::post("content-length: 5\r\n", hello, Passed, hello),
        Row::post("Content-Length: 0\r\n", "", Passed, ""),
        Row::post("", "", Passed, ""),
        Row::raw("GET /row HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", Passed).with_body(hello),
        Row::raw("DELETE /row HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", Passed)
            .with_body(hello)
            .by("DELETE"),
        Row::raw("HEAD /row HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", Either).with_body(hello).by("HEAD"),
        Row::raw("POST /row HTTP/1.0\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", Alone).with_body(hello).by("POST"),
    ];
    hold(&mut Worker::start(), &rows);
}

#[test]
fn a_transfer_coding_is_chunked_alone() {
    let good = ["chunked", " chunked", "\tchunked", "  chunked  ", "chunked\t"];
    // Names of codings have no case, and empty list members count for nothing.
    let either = ["Chunked", "CHUNKED", "chunKed", "chunked,", ",chunked", ", chunked", "chunked, ,"];
    let bad = [
        "",
        " ",
        "x",
        "xchunked",
        "chunkedx",
        "chunke",
        "x chunked",
        "chunked x",
        "chunked chunked",
        "chunked;",
        "chunked;q=1",
        "chunked;a=b",
        "chunked ;a",
        ";chunked",
        "\"chunked\"",
        "'chunked'",
        "chunked\"",
        "chunked, identity",
        "identity, chunked",
        "identity,chunked",
        "chunked,identity",
        "identity",
        "Identity",
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,chunked",
        "x, chunked",
        "chunked, x",
        "deflate, chunked",
        "trailers",
        "\u{b}chunked",
        "chunked\u{b}",
        "\u{c}chunked",
        "chunked\u{c}",
        "\u{0}chunked",
        "chunked\u{0}",
        "chunk\u{0}ed",
        "\u{8}chunked",
        "chunked\u{7f}",
        "\u{85}chunked",
        "\u{a0}chunked",
        "chunked\u{a0}",
        "chunk\u{e9}d",
        "chunked\r",
        "\rchunked",
        "chunked\r\n identity",
        "\r\n chunked",
        "\r\n\tchunked",
        "chun\r\n ked",
        "0",
        "5",
        "chunked=1",
        "[chunked]",
        "\u{ff}chunked",
        "chu\u{ad}nked",
    ];
    let row = |value: &str, expect| Row::post(&format!("Transfer-Encoding:{value}\r\n"), CHUNKED, expect, "hello");
    let mut rows: Vec<Row> = good.iter().map(|value| row(value, Passed)).collect();
    rows.extend(either.iter().map(|value| row(value, Either)));
    rows.extend(bad.iter().map(|value| row(value, Refused)));
    hold(&mut Worker::start(), &rows);
}

#[test]
fn two_transfer_codings_are_never_forwarded() {
    let pairs = [
        ("chunked", "chunked"),
        ("chunked", "identity"),
        ("identity", "chunked"),
        ("chunked", "x"),
        ("x", "chunked"),
        ("chunked", ""),
        ("", "chunked"),
        ("gzip", "chunked"),
        ("chunked", "gzip"),
        ("chunked", "Chunked"),
    ];
    let row = |(one, other): &(&str, &str)| {
        let lines = format!("Transfer-Encoding: {one}\r\nX: y\r\ntransfer-encoding: {other}\r\n");
        Row::post(&lines, CHUNKED, Refused, "")
    };
    hold(&mut Worker::start(), &pairs.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn what_only_looks_like_a_transfer_coding_is_refused_or_frames_nothing() {
    let length = format!("Content-Length: {}\r\n", CHUNKED.len());
    let with_length = |line: &str, expect| Row::post(&format!("{length}{line}\r\n"), CHUNKED, expect, CHUNKED);
    let mut rows: Vec<Row> = [
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer Encoding: chunked",
        "Transfer-Encoding\u{0}: chunked",
        "Transfer-Encoding\u{b}: chunked",
        "\u{b}Transfer-Encoding: chunked",
        "\u{0}Transfer-Encoding: chunked",
        "Transfer-Encoding;: chunked",
        "Transfer\u{2d}\u{ad}Encoding: chunked",
        "Transfer-Encoding\r\n : chunked",
        "Transfer-Encoding\r\n: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\rTransfer-Encoding: chunked",
        "X: y\u{0}\r\nTransfer-Encoding: chunked",
        "X\rTransfer-Encoding: chunked",
        "Transfer-Encoding chunked",
        ": chunked\r\nTransfer-Encoding: chunked",
        "X:y\nTransfer-Encoding: chunked",
    ]
    .iter()
    .map(|line| with_length(line, Refused))
    .collect();
    rows.extend([
        with_length("Transfer_Encoding: chunked", Either),
        with_length("Transfer-Encoding-: chunked", Either),
        with_length("Transfer--Encoding: chunked", Either),
        with_length("TransferEncoding: chunked", Passed),
        with_length("X-Transfer-Encoding: chunked", Passed),
        with_length("Content-Encoding: chunked", Passed),
        with_length("X: Transfer-Encoding: chunked", Passed),
        with_length("TE: chunked", Passed),
        // RFC 9112 6.1: framing in a version that has none is faulty.
        Row::raw(format!("POST /row HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"), Refused),
        Row::raw(
            format!(
                "POST /row HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"
            ),
            Refused,
        ),
        Row::raw(format!("GET /row HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{CHUNKED}"), Passed)
            .with_body("hello"),
        // Named by Connection, a framing header must not fall away and leave its body behind.
        Row::post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", CHUNKED, Either, "hello"),
        Row::post("Connection: Content-Length\r\nContent-Length: 5\r\n", "hello", Either, "hello"),
        Row::post("Connection: close, Content-Length\r\nContent-Length: 5\r\n", "hello", Either, "hello"),
    ]);
    hold(&mut Worker::start(), &rows);
}
