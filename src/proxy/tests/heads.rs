//! What passes from one head to the other, and what is refused.

use super::place::{Origin, Proxy, loopback, route, status, value};

#[test]
fn an_instance_is_told_who_asks_and_how() {
    let origin = Origin::echoing_heads();
    let proxy = Proxy::before(&[&origin]);
    let port = proxy.address.port().to_string();
    let mut client = proxy.client();
    client.send("GET /a?b=c HTTP/1.1\r\nHost: shop.example:8080\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Server: evil\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nCookie: a=b\r\n\r\n");
    let (_, head) = client.answer();
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
    let told = |name: &str| value(&head, name).map(str::to_owned);
    assert_eq!(told("host").as_deref(), Some("shop.example:8080"));
    assert_eq!(told("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(told("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(told("x-forwarded-host").as_deref(), Some("shop.example:8080"));
    assert_eq!(told("x-forwarded-port"), Some(port));
    assert_eq!(told("cookie").as_deref(), Some("a=b"));
    for gone in ["forwarded", "x-real-ip", "x-forwarded-server", "via"] {
        assert_eq!(told(gone), None, "{gone}");
    }
}

#[test]
fn what_a_trusted_proxy_says_is_kept() {
    let origin = Origin::echoing_heads();
    let mut route = route(&[&origin]);
    route.trusted.push(loopback());
    let proxy = Proxy::with(route);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 1.2.3.4\r\n\r\n");
    let (_, head) = client.answer();
    assert_eq!(value(&head, "x-forwarded-for"), Some("1.2.3.4, 5.6.7.8, 127.0.0.1"));
    assert_eq!(value(&head, "x-forwarded-host"), Some("shop.example"));
    assert_eq!(value(&head, "x-forwarded-proto"), Some("https"));
    assert_eq!(value(&head, "x-forwarded-port"), Some("443"));
    assert_eq!(value(&head, "x-real-ip"), Some("1.2.3.4"));
}

#[test]
fn what_concerns_one_connection_stays_there() {
    let origin = Origin::new(|mut connection, _| {
        let head = connection.head();
        connection.send(format!("HTTP/1.1 200 OK\r\nConnection: x-own, close\r\nX-Own: 1\r\nKeep-Alive: timeout=9\r\nProxy-Authenticate: x\r\nServer: node\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: {}\r\n\r\n{head}", head.len()));
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop, Host, X-Forwarded-For\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers, deflate\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-End: 1\r\n\r\n");
    let (answer, head) = client.answer();
    assert_eq!(value(&head, "host"), Some("a"));
    assert_eq!(value(&head, "x-end"), Some("1"));
    assert_eq!(value(&head, "te"), Some("trailers"));
    assert_eq!(value(&head, "x-forwarded-for"), Some("127.0.0.1"));
    for gone in ["x-hop", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(value(&head, gone), None, "{gone}");
    }
    assert_eq!(value(&answer, "server"), Some("node"));
    assert_eq!(value(&answer, "date"), Some("Mon, 01 Jan 2024 00:00:00 GMT"));
    for gone in ["x-own", "keep-alive", "proxy-authenticate", "connection"] {
        assert_eq!(value(&answer, gone), None, "{gone}");
    }
}

#[test]
fn a_request_that_could_mean_two_things_is_refused() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Proxy::before(&[&origin]);
    let refused = [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "G\u{e4}T / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for (number, request) in (1..).zip(refused) {
        // What is behind it is not answered.
        let answer = proxy.exchange(&format!("{request}GET /next HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(status(&answer), 400, "{request:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{request:?}: {answer}");
        assert_eq!(proxy.figures().refused, number, "{request:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn what_is_unusual_but_clear_passes() {
    let origin = Origin::echoing_heads();
    let proxy = Proxy::before(&[&origin]);
    for (request, line) in [
        ("GET http://a:80/x?y HTTP/1.1\r\nHost: A:80\r\n\r\n", "GET /x?y HTTP/1.1"),
        ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1"),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET / HTTP/1.1"),
        ("GET //x//?# HTTP/1.1\r\nHost: a\r\n\r\n".replace('#', "%23").leak(), "GET //x//?%23 HTTP/1.1"),
        ("GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1"),
        ("PURGE /x HTTP/1.1\r\nHost: a\r\n\r\n", "PURGE /x HTTP/1.1"),
    ] {
        let mut client = proxy.client();
        client.send(request);
        let (head, body) = client.answer();
        assert_eq!((status(&head), body.lines().next()), (200, Some(line)), "{request:?}");
    }
}

#[test]
fn a_head_beyond_the_limit_is_refused() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Proxy::before(&[&origin]);
    let long = "x".repeat(33 * 1024);
    let answer = proxy.exchange(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"));
    assert_eq!(status(&answer), 431);
    let fits = "x".repeat(31 * 1024);
    let mut client = proxy.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {fits}\r\n\r\n"));
    assert_eq!(status(&client.answer().0), 200);
    assert_eq!(proxy.figures().refused, 1);
}

#[test]
fn our_own_pages_are_html_for_those_who_want_it() {
    let proxy = Proxy::before(&[]);
    let html = proxy.exchange("GET / HTTP/1.1\r\nHost: a b\r\nAccept: text/html,*/*\r\n\r\n");
    assert!(html.contains("content-type: text/html") && html.contains("<h1>400 Bad Request</h1>"), "{html}");
    let text = proxy.exchange("GET / HTTP/1.1\r\nHost: a b\r\n\r\n");
    assert!(text.contains("content-type: text/plain") && text.contains("\r\n\r\n400 Bad Request\n"), "{text}");
}
