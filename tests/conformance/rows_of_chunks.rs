//! The chunks of a request's body: sizes, extensions, the ends of lines, trailers.

use crate::bench::hold;
use crate::row::Expect::{Alone, Either, Passed, Refused};
use crate::row::Row;
use crate::worker::Worker;

fn chunked(body: impl AsRef<str>, expect: crate::row::Expect, means: &str) -> Row {
    Row::post("Transfer-Encoding: chunked\r\n", crate::row::latin(body.as_ref()), expect, means)
}

#[test]
fn a_chunk_size_is_a_hexadecimal_number() {
    let ten = "0123456789";
    let mut rows = vec![
        chunked(format!("a\r\n{ten}\r\n0\r\n\r\n"), Passed, ten),
        chunked(format!("A\r\n{ten}\r\n0\r\n\r\n"), Passed, ten),
        chunked(format!("5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n"), Passed, ten),
        chunked("0\r\n\r\n", Passed, ""),
        chunked("00\r\n\r\n", Either, ""),
        chunked(format!("0a\r\n{ten}\r\n0\r\n\r\n"), Either, ten),
        chunked(format!("000000000000000a\r\n{ten}\r\n0000000000000000\r\n\r\n"), Either, ten),
        chunked(format!("00000000000000000000000000000000a\r\n{ten}\r\n0\r\n\r\n"), Either, ten),
        chunked(format!("a \r\n{ten}\r\n0\r\n\r\n"), Either, ten),
        chunked(format!("a\t\r\n{ten}\r\n0\r\n\r\n"), Either, ten),
    ];
    for size in [
        "",
        "0x5",
        "0X5",
        "x5",
        "+5",
        "-5",
        "-1",
        "5h",
        "5g",
        "g",
        "5 5",
        "5,5",
        "5.0",
        "5_",
        "5\u{0}",
        "\u{0}5",
        "\u{b}5",
        "5\u{b}",
        " 5",
        "\t5",
        "\u{a0}5",
        "\u{b2}",
        "5\u{7f}",
        "\"5\"",
        "5\r",
        "\r5",
        "fffffffffffffffff",
        "10000000000000005",
        "100000000000000005",
        "f0000000000000000000000005",
        "-ffffffffffffffff5",
        "\r\n5",
        "\n5",
        "5:",
        "5/",
        "#5",
        "deadbeefdeadbeefdeadbeef",
    ] {
        rows.push(chunked(format!("{size}\r\nhello\r\n0\r\n\r\n"), Refused, ""));
    }
    hold(&mut Worker::start(), &rows);
}

#[test]
fn a_chunk_ends_where_its_size_says() {
    let rows = [
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello!!\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello\n\r0\r\n\r\n",
        "5\r\nhello\r\r\n0\r\n\r\n",
        "5\r\nhello \r\n0\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\rhello\r\n0\r\n\r\n",
        "5\n\rhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\r\n",
        "hello",
        "\r\n\r\n",
        "\0\0\0\0",
    ]
    .map(|body| chunked(body, Refused, ""));
    hold(&mut Worker::start(), &rows);
}

#[test]
fn an_extension_of_a_chunk_is_dropped_or_refused() {
    let body = |extension: &str| format!("5{extension}\r\nhello\r\n0\r\n\r\n");
    let either = [
        ";a",
        ";a=b",
        ";a=\"b\"",
        ";a=\"b;c\"",
        ";a=\"\\\"\"",
        " ;a=b",
        "; a=b",
        ";a = b",
        ";a;b;c=d",
        ";",
        ";;",
        ";=",
        ";a=",
        ";a=\"",
        "\t;\ta",
        ";\u{e9}",
        ";a\u{0}",
    ];
    let mut rows: Vec<Row> = either.iter().map(|extension| chunked(body(extension), Either, "hello")).collect();
    rows.push(chunked("5\r\nhello\r\n0;a=b\r\n\r\n", Either, "hello"));
    // The end of a line is the end of a line, within quotes as well.
    rows.push(chunked("5;a=\"\r\nhello\r\n0\r\n\r\n", Either, "hello"));
    for bad in [";a\nb", ";\n", ";a=\"\n\"", ";a\rb", ";a\r", ";\r\r", ";a=\"\r\\\"", "a;b\u{7f}\r", ";\nxx"] {
        rows.push(chunked(body(bad), Refused, ""));
    }
    // A line feed that one parser skips in an extension and another takes for the end of the line (TERM.EXT, EXT.TERM).
    rows.push(chunked("2;\nxx\r\n4c\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: h\r\n\r\n0\r\n\r\n", Refused, ""));
    rows.push(chunked("2\nxx;\r\n4c\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: h\r\n\r\n0\r\n\r\n", Refused, ""));
    let long = "x".repeat(64 << 10);
    rows.push(chunked(body(&format!(";{long}")), Refused, ""));
    let many = "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\ny\r\n".repeat(2000);
    rows.push(chunked(format!("{many}0\r\n\r\n"), Either, &"y".repeat(2000)));
    hold(&mut Worker::start(), &rows);
}

#[test]
fn a_lone_line_feed_in_trailers_makes_no_request_of_what_follows() {
    let ended = |trailers: &str| format!("5\r\nhello\r\n0\r\n{trailers}\r\n");
    // Whoever takes it for no end of a line finds the end of the trailers behind the next request.
    let rows = ["X: y\n", "\n", "X: y\n\n"].map(|trailers| chunked(ended(trailers), Alone, "hello"));
    hold(&mut Worker::with(|route| route.limits.idle_ms = 300), &rows);
}

#[test]
fn a_trailer_is_no_header_and_no_request() {
    let ended = |trailers: &str| format!("5\r\nhello\r\n0\r\n{trailers}\r\n");
    let mut rows: Vec<Row> = [
        "X: y\r\n",
        "X: y\r\nZ:\r\n",
        "Content-Length: 500\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 3\r\n",
        "Host: evil\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "X-Forwarded-For: 1.2.3.4\r\n",
        "Authorization: x\r\n",
        "GET: /hidden HTTP/1.1\r\n",
        "Cookie: x\r\n",
        "Upgrade: x\r\n",
    ]
    .iter()
    .flat_map(|trailers| {
        let name = trailers.split(':').next().unwrap();
        // Announced, a trailer may go on.
        let lines = format!("Transfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: {name}\r\n");
        let announced = Row::post(&lines, ended(trailers), Either, "hello");
        [chunked(ended(trailers), Either, "hello"), announced]
    })
    .collect();
    rows.extend(
        [
            "GET /hidden HTTP/1.1\r\nHost: h\r\n",
            "GET /hidden HTTP/1.1\r\n",
            "X\r\n",
            "X : y\r\n",
            " X: y\r\n",
            ": y\r\n",
            "X: y\r\n z\r\n",
            "X: y\rZ: z\r\n",
            "X: \0\r\n",
            "X Y: z\r\n",
            "\r",
            "X: \u{7f}\r\n",
            "\0: y\r\n",
        ]
        .iter()
        .map(|trailers| chunked(ended(trailers), Refused, "")),
    );
    let large = format!("X: {}\r\n", "y".repeat(200 << 10));
    rows.push(chunked(ended(&large), Refused, ""));
    let many = "X: y\r\n".repeat(5000);
    rows.push(chunked(ended(&many), Either, "hello"));
    hold(&mut Worker::start(), &rows);
}
