//! Which headers go on, which end at the proxy, and which say who the client is.

use crate::origin::{Origin, echo};
use crate::proxy::Proxy;
use crate::stage::Stage;
use crate::wire::Request;
use crate::worker::Worker;
use infissi::proxy::channel::Route;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// The request that the origin has, of one with these header lines.
#[track_caller]
fn passed_on(change: impl FnOnce(&mut Route), lines: &str) -> Request {
    let stage = Stage::with(change, |upstream| {
        while let Some(request) = upstream.request()? {
            upstream.say(&echo(&request))?;
        }
        Ok(())
    });
    let mut client = stage.says(&format!("GET /row HTTP/1.1\r\nHost: h:80\r\n{lines}\r\n"));
    assert_eq!(client.final_answer("GET").status, 200);
    drop(client);
    stage.requests().remove(0)
}

fn untrusted(route: &mut Route) {
    route.trusted.clear();
}

#[test]
fn what_concerns_one_connection_ends_with_it() {
    let request = passed_on(
        untrusted,
        "Connection: X-Own, keep-alive\r\nConnection: x-other\r\nX-Own: 1\r\nX-Other: 2\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nProxy-Authorization: x\r\nUpgrade: websocket\r\nTE: gzip\r\nX: y\r\n",
    );
    for gone in ["x-own", "x-other", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade", "te"] {
        assert_eq!(request.values(gone), Vec::<&str>::new(), "{gone}");
    }
    assert!(!request.values("connection").iter().any(|value| value.to_lowercase().contains("x-o")));
    assert_eq!(request.values("x"), ["y"]);
}

#[test]
fn what_concerns_the_origins_connection_ends_with_it() {
    let stage = Stage::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-Own\r\nX-Own: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Authenticate: x\r\nUpgrade: h2c\r\nX: y\r\n\r\n",
    );
    let mut client = stage.says("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = client.final_answer("GET");
    for gone in ["x-own", "keep-alive", "proxy-authenticate", "upgrade", "connection"] {
        assert_eq!(answer.values(gone), Vec::<&str>::new(), "{gone}");
    }
    assert_eq!(answer.values("x"), ["y"]);
    drop(client);
    drop(stage.requests());
}

#[test]
fn what_concerns_both_ends_goes_through_as_it_is() {
    let lines = "Cookie: a=b; c=d\r\nAuthorization: Basic eDp5\r\nAccept-Encoding: gzip, br\r\nX: a\r\nX: b, c\r\nX:\r\n\
                 If-None-Match: W/\"\u{78}\"\r\nRange: bytes=0-1\r\nRSC: 1\r\nNext-Action: 7f\r\nOrigin: http://h:80\r\n";
    let request = passed_on(untrusted, lines);
    assert_eq!(request.values("x"), ["a", "b, c", ""]);
    for (name, value) in [
        ("host", "h:80"),
        ("cookie", "a=b; c=d"),
        ("authorization", "Basic eDp5"),
        ("accept-encoding", "gzip, br"),
        ("if-none-match", "W/\"x\""),
        ("range", "bytes=0-1"),
        ("rsc", "1"),
        ("next-action", "7f"),
        ("origin", "http://h:80"),
    ] {
        assert_eq!(request.values(name), [value], "{name}");
    }
    let stage = Stage::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nVary: RSC\r\nVary: Accept\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: x\r\nETag: \"x\"\r\nLocation: http://h/\r\n\r\n",
    );
    let mut client = stage.says("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = client.final_answer("GET");
    assert_eq!(answer.values("set-cookie"), ["a=b", "c=d"]);
    assert_eq!(answer.values("vary"), ["RSC", "Accept"]);
    assert_eq!(answer.values("date"), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
    assert_eq!((answer.values("server"), answer.values("etag")), (vec!["x"], vec!["\"x\""]));
    assert_eq!(answer.values("location"), ["http://h/"]);
    drop(client);
    drop(stage.requests());
}

#[test]
fn a_stranger_says_nothing_of_who_it_is() {
    let claims = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\n\
                  X-Forwarded-Port: 443\r\nX-Forwarded-Server: x\r\nX-Forwarded-Prefix: /x\r\nX-Forwarded-Ssl: on\r\n\
                  Forwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n";
    let mut worker = Worker::with(untrusted);
    let origin = Origin::echo();
    worker.point_at(origin.address);
    let mut client = crate::client::Client::connect(worker.address());
    let request = format!("GET / HTTP/1.1\r\nHost: h:80\r\n{claims}\r\n");
    client.send(request.as_bytes(), crate::client::Pace::AtOnce);
    assert_eq!(client.final_answer("GET").status, 200);
    drop(client);
    worker.let_go();
    let record = origin.end();
    let request = crate::wire::request(&record[0]).unwrap().unwrap().0;
    assert_eq!(request.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.values("x-forwarded-proto"), ["http"]);
    assert_eq!(request.values("x-forwarded-host"), ["h:80"]);
    // Next derives it from its own port otherwise.
    assert_eq!(request.values("x-forwarded-port"), [worker.address().port().to_string()]);
    for gone in ["x-forwarded-server", "x-forwarded-prefix", "x-forwarded-ssl", "forwarded", "x-real-ip"] {
        assert_eq!(request.values(gone), Vec::<&str>::new(), "{gone}");
    }
}

#[test]
fn a_trusted_proxy_says_who_its_client_is() {
    let claims = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n\
                  X-Forwarded-Host: shop.example\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 1.2.3.4\r\n";
    let request = passed_on(|_| {}, claims);
    assert_eq!(request.values("x-forwarded-for").join(", "), "1.2.3.4, 5.6.7.8, 127.0.0.1");
    assert_eq!(request.values("x-forwarded-proto"), ["https"]);
    assert_eq!(request.values("x-forwarded-host"), ["shop.example"]);
    assert_eq!(request.values("x-forwarded-port"), ["443"]);
    assert_eq!(request.values("x-real-ip"), ["1.2.3.4"]);
    // What it does not say, we do.
    let request = passed_on(|_| {}, "");
    assert_eq!(request.values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.values("x-forwarded-proto"), ["http"]);
    assert_eq!(request.values("x-forwarded-host"), ["h:80"]);
}

#[test]
fn nobody_takes_away_what_is_said_of_the_client() {
    let names = "X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, Host, X-Real-IP";
    let request =
        passed_on(|_| {}, &format!("Connection: {names}\r\nX-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n"));
    assert_eq!(request.values("host"), ["h:80"]);
    assert_eq!(request.values("x-forwarded-for").join(", "), "1.2.3.4, 127.0.0.1");
    assert_eq!(request.values("x-forwarded-proto"), ["http"]);
    assert_eq!(request.values("x-forwarded-host"), ["h:80"]);
    assert_eq!(request.values("x-forwarded-port").len(), 1);
    assert_eq!(request.values("x-real-ip"), ["1.2.3.4"]);
}

#[test]
fn the_clients_connection_goes_on_where_the_origins_ends() {
    let stage = Stage::before(|upstream| {
        upstream.request()?;
        upstream.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
        upstream.close()
    });
    let mut client = stage.client();
    for _ in 0..3 {
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", crate::client::Pace::AtOnce);
        let answer = client.final_answer("GET");
        assert_eq!((answer.status, answer.values("connection").len()), (200, 0));
    }
    drop(client);
    assert_eq!(stage.record().len(), 3);
}

#[test]
fn the_origins_connection_goes_on_where_the_clients_ends() {
    let stage = Stage::answering(OK);
    for _ in 0..3 {
        let mut client = stage.says("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let answer = client.final_answer("GET");
        assert_eq!((answer.status, answer.values("connection")), (200, vec!["close"]));
        assert_eq!(client.read_to_end(), crate::client::End::Closed);
    }
    assert_eq!(stage.record().len(), 1);
}
