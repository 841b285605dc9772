//! What a request is for: its target and its Host.

use crate::bench::hold;
use crate::row::Expect::{Alone, Either, Passed, Refused};
use crate::row::{Row, latin};
use crate::worker::Worker;

fn raw(sent: &str, expect: crate::row::Expect) -> Row {
    Row::raw(latin(sent), expect)
}

/// GET of this target from host `h`.
fn get(target: &str, expect: crate::row::Expect) -> Row {
    raw(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"), expect).to(target)
}

#[test]
fn a_request_has_one_host_that_can_be_one() {
    let host = |lines: &str, expect| raw(&format!("GET /row HTTP/1.1\r\n{lines}\r\n"), expect);
    let mut rows: Vec<Row> = [
        "",
        "X: y\r\n",
        "Host: h\r\nHost: h\r\n",
        "Host: h\r\nHost: evil\r\n",
        "Host: evil\r\nX: y\r\nhost: h\r\n",
        "Host: h\r\nHost:\r\n",
        "Host : h\r\n",
        "Host\t: h\r\n",
        " Host: h\r\n",
        "Host:\r\n h\r\n",
        "Host: h\r\n evil\r\n",
        "Host h\r\n",
        "Host: h evil\r\n",
        "Host: h\tevil\r\n",
        "Host: h, evil\r\n",
        "Host: h/evil\r\n",
        "Host: h?evil\r\n",
        "Host: h#evil\r\n",
        "Host: h\\evil\r\n",
        "Host: evil@h\r\n",
        "Host: u:p@h\r\n",
        "Host: http://h\r\n",
        "Host: h:port\r\n",
        "Host: h:-1\r\n",
        "Host: h:+80\r\n",
        "Host: h:80:80\r\n",
        "Host: h:99999\r\n",
        "Host: h: 80\r\n",
        "Host: h :80\r\n",
        "Host: [::1\r\n",
        "Host: ::1\r\n",
        "Host: [::1]x\r\n",
        "Host: [h]\r\n",
        "Host: []\r\n",
        "Host: <h>\r\n",
        "Host: {h}\r\n",
        "Host: \"h\"\r\n",
        "Host: h|x\r\n",
        "Host: h^\r\n",
        "Host: h`\r\n",
        "Host: h\u{0}\r\n",
        "Host: h\u{b}\r\n",
        "Host: h\u{7f}\r\n",
        "Host: \u{e9}\r\n",
        "Host: h%\r\n",
        "Host: h%0\r\n",
        "Host: h%zz\r\n",
        "Host: :80\r\n",
    ]
    .iter()
    .map(|lines| host(lines, Refused))
    .collect();
    for good in [
        "h",
        "h:80",
        "H",
        "example.com",
        "xn--bcher-kva.example:8080",
        "127.0.0.1:3000",
        "[::1]",
        "[::1]:3000",
        "a_b",
        "h.",
    ] {
        rows.push(host(&format!("Host: {good}\r\n"), Passed).at(good));
    }
    rows.push(host("hOST:h\r\n", Passed));
    // Without an authority Host is empty (RFC 9112 3.2), which no origin of ours is.
    rows.push(host("Host:\r\n", Either).at(""));
    rows.push(host("Host: h:\r\n", Either).at("h:"));
    rows.push(host("Host: h%20x\r\n", Either).at("h%20x"));
    rows.push(host("Host: h!$&'()*+;=\r\n", Either).at("h!$&'()*+;="));
    // An authority of this size is no name of a host.
    rows.push(host(&format!("Host: {}\r\n", "h".repeat(20 << 10)), Either).at(&"h".repeat(20 << 10)));
    hold(&mut Worker::start(), &rows);
}

#[test]
fn http_1_0_needs_no_host_and_two_are_too_many() {
    let rows = [
        raw("GET /row HTTP/1.0\r\n\r\n", Either).at("*"),
        raw("GET /row HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", Refused),
        raw("GET /row HTTP/1.0\r\nHost: h\r\nHost: evil\r\n\r\n", Refused),
        raw("GET /row HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", Passed),
        raw("GET /row HTTP/1.0\r\nHost: h\r\nConnection: close\r\n\r\n", Alone),
        raw("GET /row HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", Alone),
        raw("GET /row HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n", Alone),
        raw("GET /row HTTP/1.1\r\nHost: h\r\nConnection: x, close\r\n\r\n", Alone),
        raw("GET /row HTTP/1.1\r\nHost: h\r\nConnection: x\r\nConnection: close\r\n\r\n", Alone),
        raw("GET /row HTTP/1.1\r\nHost: h\r\nConnection: close, keep-alive\r\n\r\n", Alone),
        raw("GET /row HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", Passed),
        raw("GET /row HTTP/1.1\r\nHost: h\r\nConnection: Host\r\n\r\n", Either),
    ];
    hold(&mut Worker::start(), &rows);
}

#[test]
fn a_target_in_origin_form_goes_on_as_it_is() {
    let mut rows: Vec<Row> = [
        "/",
        "/row?a=b&c=d",
        "/row?",
        "/row?a?b=/c",
        "/row//x",
        "//row",
        "//evil/row",
        "/./row",
        "/../row",
        "/row/..",
        "/a/../row",
        "/row;a=b",
        "/%2e%2e/row",
        "/%00",
        "/%0d%0aHost:%20evil",
        "/%",
        "/%zz",
        "/row,x",
        "/row:80",
        "/@evil",
        "/row'(x)*!$+",
        "/http://evil/",
        "/~row/-._",
    ]
    .iter()
    .map(|target| get(target, Passed))
    .collect();
    // What no grammar has and old clients send: as it is, or not at all.
    rows.extend(
        ["/row\\x", "/row|x", "/row{x}", "/row[x]", "/row^x", "/row`x", "/row\"x\"", "/row<x>"]
            .map(|target| get(target, Either)),
    );
    rows.push(raw("GET /row\u{80}\u{e9} HTTP/1.1\r\nHost: h\r\n\r\n", Refused));
    // A fragment is the client's own business.
    rows.push(get("/row#x", Either).to("/row"));
    rows.extend(
        [
            "row", "row/x", "?row", "#row", ".", "..", "./row", "\\row", "h", "h:80", "evil/row", "*row", "**", "@h",
            ":80", "%2frow",
        ]
        .map(|target| get(target, Refused)),
    );
    hold(&mut Worker::start(), &rows);
}

#[test]
fn a_target_with_an_authority_is_for_that_host_alone() {
    let rows = [
        // RFC 9112 3.2.2: the authority counts, not Host; the origin gets a path.
        get("http://h/row", Either).to("/row"),
        get("HTTP://h/row", Either).to("/row"),
        get("http://h/row?x=y", Either).to("/row?x=y"),
        get("http://h:80/row", Either).to("/row").at("h:80"),
        get("http://evil/row", Either).to("/row").at("evil"),
        get("http://h", Either).to("/"),
        get("http://h?x", Either).to("/?x"),
        raw("GET http://h/row HTTP/1.0\r\n\r\n", Either),
        raw("GET http://h/row HTTP/1.1\r\n\r\n", Refused),
        raw("GET http://h/row HTTP/1.1\r\nHost: h\r\nHost: evil\r\n\r\n", Refused),
    ];
    let refused = [
        "http://evil@h/row",
        "http://u:p@h/row",
        "http://h:port/row",
        "http://h:99999/row",
        "http://",
        "http:///row",
        "http:/row",
        "http:row",
        "http://h\\evil/row",
        "http://h evil/row",
        "http://[::1/row",
        "http://[h]/row",
        "http://:80/row",
        "http://@/row",
        "http://h@/row",
        "http://h%/row",
        "ftp://h/row",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "://h/row",
        "h://",
        "ws://h/row",
        "gopher://h/row",
        "http//h/row",
        "http://h\"/row",
        "http://<h>/row",
    ];
    let rows: Vec<Row> = rows.into_iter().chain(refused.map(|target| get(target, Refused))).collect();
    hold(&mut Worker::start(), &rows);
}

#[test]
fn neither_a_tunnel_nor_the_server_itself_is_to_be_had() {
    let rows = [
        raw("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", Refused),
        raw("CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n", Refused),
        raw("CONNECT /row HTTP/1.1\r\nHost: h\r\n\r\n", Refused),
        raw("CONNECT http://h/row HTTP/1.1\r\nHost: h\r\n\r\n", Refused),
        raw("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n", Refused),
        raw("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nContent-Length: 5\r\n\r\nhello", Refused),
        raw("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Refused),
        raw("GET * HTTP/1.1\r\nHost: h\r\n\r\n", Refused),
        raw("POST * HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", Refused),
        raw("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", Either).by("OPTIONS").to("*"),
        raw("OPTIONS /row HTTP/1.1\r\nHost: h\r\n\r\n", Passed).by("OPTIONS"),
        raw("OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n", Either).by("OPTIONS").to("/"),
    ];
    hold(&mut Worker::start(), &rows);
}
