//! The lines of a head: their ends, their names, their values, their versions and their sizes.

use crate::bench::hold;
use crate::row::Expect::{Alone, Dropped, Either, Passed, Refused};
use crate::row::{Row, latin};
use crate::worker::Worker;

fn raw(sent: &str, expect: crate::row::Expect) -> Row {
    Row::raw(latin(sent), expect)
}

#[test]
fn a_line_ends_with_carriage_return_and_line_feed() {
    let refused = [
        "GET /row HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
        "GET /row HTTP/1.1\r\nHost: h\r\nX: \r\r\n\r\n",
        "GET /row HTTP/1.1\rHost: h\r\r",
        "GET /row HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
        "GET /row\rX HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /row HTTP/1.1\r\r\nHost: h\r\n\r\n",
        "GET /row HTTP/1.1\r\nHost: h\r\n\r\r\n",
        "GET /row HTTP/1.1\r\nHost: h\n\rX: y\r\n\r\n",
        "GET /row HTTP/1.1\r\nHost: h\r\nX\r: y\r\n\r\n",
        "GET /row HTTP/1.1\r\nHost: h\r\n\rX: y\r\n\r\n",
        "GET /row\nX HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /row HTTP/1.1\r\nHost: h\r\nX\n: y\r\n\r\n",
        "GET\n/row HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    // A lone line feed may be taken for the end of a line (RFC 9112 2.2); it must not go on as a part of one.
    let either = [
        "GET /row HTTP/1.1\nHost: h\n\n",
        "GET /row HTTP/1.1\nHost: h\r\n\r\n",
        "GET /row HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
        "GET /row HTTP/1.1\r\nHost: h\r\nX: y\n\r\n",
        "GET /row HTTP/1.1\r\nHost: h\r\nX: y\r\n\n",
        "GET /row HTTP/1.1\r\nHost: h\r\nX: y\n\n",
    ];
    let passed = [
        "GET /row HTTP/1.1\r\nHost: h\r\n\r\n",
        // RFC 9112 2.2: at least one empty line before a request is ignored.
        "\r\nGET /row HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    let mut rows: Vec<Row> = refused.iter().map(|sent| raw(sent, Refused)).collect();
    rows.extend(either.iter().map(|sent| raw(sent, Either)));
    rows.extend(passed.iter().map(|sent| raw(sent, Passed)));
    rows.push(raw("\r\n\r\nGET /row HTTP/1.1\r\nHost: h\r\n\r\n", Either));
    rows.push(raw("\nGET /row HTTP/1.1\r\nHost: h\r\n\r\n", Either));
    rows.push(raw("\rGET /row HTTP/1.1\r\nHost: h\r\n\r\n", Refused));
    hold(&mut Worker::start(), &rows);
}

#[test]
fn a_lone_line_feed_hides_no_header() {
    let rows = [
        // One parser reads a length here, another a value.
        Row::post("X: y\nContent-Length: 5\r\n", "hello", Either, "hello"),
        Row::post("X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", Either, ""),
        Row::post("Content-Length: 5\nX: y\r\n", "hello", Either, "hello"),
        Row::post("Content-Length: 5\n", "hello", Either, "hello"),
        Row::headers("X: y\n\nGET /hidden HTTP/1.1\r\nHost: h\r\n", Refused),
        Row::headers("X: y\rGET /hidden HTTP/1.1\rHost: h\r\r\n", Refused),
    ];
    hold(&mut Worker::start(), &rows[..4]);
    // An empty line of line feeds is the end of the head, or nothing is: the hidden one is a request of its own at most.
    let mut worker = Worker::start();
    for row in &rows[4..] {
        for fault in crate::bench::faults(&mut worker, std::slice::from_ref(row)) {
            assert!(!fault.contains("reached the origin"), "{fault}");
        }
    }
}

#[test]
fn a_header_has_a_name_a_colon_and_a_value_without_controls() {
    let refused = [
        "X : y\r\n",
        "X\t: y\r\n",
        "X Y: z\r\n",
        " X: y\r\n",
        "\tX: y\r\n",
        "X\r\n",
        "X y\r\n",
        ": y\r\n",
        ":\r\n",
        " : y\r\n",
        "X\u{0}: y\r\n",
        "\u{0}X: y\r\n",
        "X: \u{0}\r\n",
        "X: y\u{0}z\r\n",
        "X: \u{1}\r\n",
        "X: \u{8}\r\n",
        "X: \u{b}\r\n",
        "X: \u{c}\r\n",
        "X: \u{1b}[0m\r\n",
        "X: \u{7f}\r\n",
        "X\u{7f}: y\r\n",
        "X\u{1}: y\r\n",
        "X\u{e9}: y\r\n",
        "\u{e9}: y\r\n",
        "X(Y): z\r\n",
        "X,Y: z\r\n",
        "X/Y: z\r\n",
        "X;Y: z\r\n",
        "X<Y>: z\r\n",
        "X=Y: z\r\n",
        "X?: z\r\n",
        "X@Y: z\r\n",
        "[X]: y\r\n",
        "{X}: y\r\n",
        "\"X\": y\r\n",
        "X\\Y: z\r\n",
        "X: y\r\n z\r\n",
        "X: y\r\n\tz\r\n",
        "X:\r\n y\r\n",
        "X: y\r\n \r\n",
        "X: y\r\n\t\r\n",
        "X: y\r\n Host: evil\r\n",
        "X: y\r\n : z\r\n",
    ];
    let passed = [
        "X:y\r\n",
        "X:\r\n",
        "X: \r\n",
        "X:\t y \t\r\n",
        "X: y z\r\n",
        "X: y\tz\r\n",
        "X: \u{e9}\u{ff}\u{80}\r\n",
        "X: :\r\n",
        "X: \"a, b\"\r\n",
        "!#$%&'*+-.^_`|~09Az: y\r\n",
        "X: y\r\nX: z\r\nx: w\r\n",
        "X: y,,\r\n",
        "X: \\\r\n",
    ];
    let mut rows: Vec<Row> = refused.iter().map(|lines| Row::headers(lines, Refused)).collect();
    rows.extend(passed.iter().map(|lines| Row::headers(lines, Passed)));
    // The first line behind the request line folds into it for some.
    rows.push(raw("GET /row HTTP/1.1\r\n Host: h\r\n\r\n", Refused));
    rows.push(raw("GET /row HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n", Refused));
    rows.push(raw("GET /row HTTP/1.1\r\n\tHost: evil\r\nHost: h\r\n\r\n", Refused));
    hold(&mut Worker::start(), &rows);
}

#[test]
fn a_request_line_has_three_parts_with_one_space_between() {
    let line = |line: &str, expect| raw(&format!("{line}\r\nHost: h\r\n\r\n"), expect);
    let mut rows: Vec<Row> = [
        "GET  /row HTTP/1.1",
        "GET /row  HTTP/1.1",
        " GET /row HTTP/1.1",
        "GET\t/row HTTP/1.1",
        "GET /row\tHTTP/1.1",
        "GET /row HTTP/1.1 ",
        "GET /row HTTP/1.1\t",
        "GET /row HTTP/1.1 x",
        "GET /row x HTTP/1.1",
        "GET /row",
        "GET",
        "",
        "/row HTTP/1.1",
        "GET HTTP/1.1",
        "GET  HTTP/1.1",
        "\u{0}GET /row HTTP/1.1",
        "GET\u{0} /row HTTP/1.1",
        "GET /ro\u{0}w HTTP/1.1",
        "GET /ro\u{1}w HTTP/1.1",
        "GET /ro\u{7f}w HTTP/1.1",
        "GET /ro w HTTP/1.1",
        "GET /ro\tw HTTP/1.1",
        "GET /row\u{b}HTTP/1.1",
        "GET\u{a0}/row HTTP/1.1",
        "GET /row\u{a0}HTTP/1.1",
        "G\u{e9}T /row HTTP/1.1",
        "GET: /row HTTP/1.1",
        "(GET) /row HTTP/1.1",
        "G,T /row HTTP/1.1",
        "G@T /row HTTP/1.1",
        "\"GET\" /row HTTP/1.1",
        "G=T /row HTTP/1.1",
        "G/T /row HTTP/1.1",
        "Host: h",
        "{\"a\": 1}",
        "HTTP/1.1 200 OK",
    ]
    .iter()
    .map(|text| line(text, Refused))
    .collect();
    // Methods have case and are anybody's to extend.
    rows.extend(
        ["get", "Get", "X", "PROPFIND", "PATCH", "M-SEARCH", "!", "G'T", &"M".repeat(40)]
            .map(|method| line(&format!("{method} /row HTTP/1.1"), Either).by(method)),
    );
    rows.push(line("TRACE /row HTTP/1.1", Either).by("TRACE"));
    rows.push(line(&format!("{} /row HTTP/1.1", "M".repeat(40 << 10)), Refused));
    hold(&mut Worker::start(), &rows);
}

#[test]
fn a_version_is_one_that_we_speak() {
    let version = |version: &str, expect| raw(&format!("GET /row {version}\r\nHost: h\r\n\r\n"), expect);
    let mut rows: Vec<Row> = [
        "HTTP/0.9",
        "HTTP/2",
        "HTTP/2.0",
        "HTTP/3.0",
        "HTTP/9.9",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/11",
        "HTTP/1.10",
        "HTTP/1.01",
        "HTTP/01.1",
        "HTTP/1.1.1",
        "HTTP/1,1",
        "HTTP/1 .1",
        "HTTP /1.1",
        "http/1.1",
        "Http/1.1",
        "HTTPS/1.1",
        "HTP/1.1",
        "XHTTP/1.1",
        "HTTP1.1",
        "HTTP/1.x",
        "HTTP/-1.1",
        "HTTP/1.-1",
        "HTTP/+1.1",
        "HTTP/\u{661}.1",
        "RTSP/1.0",
        "ICY/1.1",
        "1.1",
        "HTTP/",
        "HTTP",
    ]
    .iter()
    .filter(|text| text.is_ascii())
    .map(|text| version(text, Refused))
    .collect();
    rows.push(version("HTTP/1.2", Either));
    rows.push(version("HTTP/1.9", Either));
    rows.push(version("HTTP/1.0", Alone));
    rows.push(raw("GET /row\r\n\r\n", Refused));
    rows.push(raw("GET /row\r\n", Refused));
    rows.push(raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0", Dropped));
    rows.push(raw("\u{16}\u{3}\u{1}\u{1}\0\u{1}\0\0\u{fc}\u{3}\u{3}\r\n\r\n", Refused));
    rows.push(raw("SSH-2.0-OpenSSH_9.2\r\n\r\n", Refused));
    rows.push(raw("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /row HTTP/1.1\r\nHost: h\r\n\r\n", Refused));
    rows.push(raw(
        "\r\n\r\n\0\r\nQUIT\n\u{21}\u{11}\0\u{c}\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}\0\u{50}\0\u{51}",
        Refused,
    ));
    hold(&mut Worker::start(), &rows);
}

#[test]
fn a_head_is_as_large_as_the_limit_and_no_larger() {
    let padded = |size: usize, expect| {
        let lines = format!("X: {}\r\n", "y".repeat(size));
        Row::headers(&lines, expect)
    };
    let many = |count: usize, expect| {
        let lines: String = (0..count).map(|nth| format!("X{nth}: y\r\n")).collect();
        Row::headers(&lines, expect)
    };
    let long = |length: usize, expect| {
        let target = format!("/{}", "x".repeat(length));
        raw(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"), expect).to(&target)
    };
    // Node takes 16 KiB: it answers 431 itself to what is between its limit and ours.
    let rows = [
        padded(15 << 10, Passed),
        padded(33 << 10, Refused),
        padded(200 << 10, Refused),
        padded(2 << 20, Refused),
        many(90, Passed),
        many(5_000, Refused),
        many(40_000, Refused),
        long(8 << 10, Passed),
        long(33 << 10, Refused),
        long(1 << 20, Refused),
        raw(&"\r\n".repeat(40_000), Refused),
        raw(&"x".repeat(100_000), Refused),
        raw(&format!("GET /row HTTP/1.1\r\nHost: h\r\n{}", ":".repeat(100_000)), Refused),
    ];
    hold(&mut Worker::start(), &rows);
}
