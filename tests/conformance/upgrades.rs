//! Another protocol on the same connection: agreed to, refused, pretended.

use crate::client::{End, Pace};
use crate::stage::Stage;
use crate::wire;

const ASK: &str =
    "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";

#[test]
fn bytes_of_the_new_protocol_pass_from_the_first_on() {
    let stage = Stage::before(|upstream| {
        let request = upstream.head()?.unwrap();
        assert_eq!(request.values("upgrade"), ["websocket"]);
        assert_eq!(request.values("connection").join(",").to_lowercase(), "upgrade");
        // Said in one piece with the answer, before the client has said anything.
        upstream.say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\nFIRST\n\0")?;
        assert_eq!(upstream.take(7)?, b"first\n\xff");
        upstream.say(b"SECOND")?;
        assert_eq!(upstream.take(24)?, b"GET / HTTP/1.1\r\n\r\n\r\n\r\n\r\n");
        upstream.say(b"HTTP/1.1 ??\r\n")?;
        upstream.close()
    });
    // Said in one piece with the request.
    let mut client = stage.says(ASK);
    client.send(b"first\n\xff", Pace::AtOnce);
    let answer = client.final_answer("GET");
    assert_eq!((answer.status, answer.values("upgrade")), (101, vec!["websocket"]));
    assert_eq!(answer.values("sec-websocket-accept"), ["y"]);
    assert_eq!(answer.values("connection").join(",").to_lowercase(), "upgrade");
    assert_eq!(client.take(7), b"FIRST\n\0");
    assert_eq!(client.take(6), b"SECOND");
    // What looks like HTTP is none any more.
    client.send(b"GET / HTTP/1.1\r\n\r\n\r\n\r\n\r\n", Pace::AtOnce);
    assert_eq!(client.take(13), b"HTTP/1.1 ??\r\n");
    // The origin has ended its side; the client still may speak, and ends too.
    client.half_close();
    assert_eq!(client.read_to_end(), End::Closed);
    drop(stage.record());
}

#[test]
fn an_end_on_one_side_of_a_tunnel_leaves_the_other_to_speak() {
    let stage = Stage::before(|upstream| {
        upstream.head()?;
        upstream.say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")?;
        // To the end of what the client says.
        upstream.rest()?;
        upstream.say(b"heard")
    });
    let mut client = stage.says(ASK);
    assert_eq!(client.final_answer("GET").status, 101);
    client.send(b"all", Pace::AtOnce);
    client.half_close();
    assert_eq!((client.take(5), client.read_to_end()), (b"heard".to_vec(), End::Closed));
    assert!(stage.record()[0].ends_with(b"\r\n\r\nall"));
}

#[test]
fn a_refused_upgrade_opens_no_way_around_the_proxy() {
    // 426 is what an origin says to a version that it does not speak: some proxies believe in a tunnel all the same.
    for refusal in ["426 Upgrade Required", "200 OK", "404 Not Found"] {
        let stage = Stage::before(move |upstream| {
            while upstream.request()?.is_some() {
                upstream.say(format!("HTTP/1.1 {refusal}\r\nContent-Length: 2\r\n\r\nno").as_bytes())?;
            }
            Ok(())
        });
        let mut client = stage
            .says(&format!("{ASK}GET /inner HTTP/1.1\r\nHost: h\r\nX-Forwarded-Port: 1\r\nConnection: close\r\n\r\n"));
        for _ in 0..2 {
            let answer = client.final_answer("GET");
            assert_eq!((answer.text().as_str(), refusal.starts_with(&answer.status.to_string())), ("no", true));
            assert_eq!(answer.values("upgrade"), Vec::<&str>::new());
        }
        assert_eq!(client.read_to_end(), End::Closed);
        let requests = stage.requests();
        let inner = requests.iter().find(|request| request.target == "/inner").unwrap();
        // Written by the proxy like any other.
        assert!(inner.headers.iter().any(|(name, _)| name == "x-forwarded-for"));
        assert_eq!((requests.len(), inner.values("connection").len()), (2, 0));
    }
}

#[test]
fn nobody_is_moved_to_a_protocol_in_which_requests_pass_unseen() {
    for asks in ["h2c", "H2C", "h2", "websocket, h2c", "h2c, websocket"] {
        let stage = Stage::before(|upstream| {
            let request = upstream.request()?.unwrap();
            let says = request.values("upgrade").join(",").to_lowercase();
            assert!(!says.contains("h2"), "the origin is asked for {says}");
            upstream.say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            upstream.rest()
        });
        let mut client = stage.says(&format!(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {asks}\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        ));
        assert_eq!(client.answer("GET").map(|answer| answer.status), Ok(200), "{asks}");
        drop(client);
        let record = stage.record();
        let request = wire::request(&record[0]).unwrap().unwrap().0;
        assert_eq!(request.values("http2-settings"), Vec::<&str>::new());
    }
}

#[test]
fn an_upgrade_is_asked_for_by_connection_and_without_a_body() {
    let plain = [
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgraded\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 5\r\n\r\nhello",
    ];
    for asks in plain {
        let stage = Stage::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(stage.says(asks).final_answer("GET").status, 200, "{asks}");
        let request = stage.requests().remove(0);
        assert_eq!((request.values("upgrade").len(), request.values("connection").len()), (0, 0), "{asks}");
    }
}

#[test]
fn an_origin_that_switches_unasked_is_not_believed() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let stage = Stage::answering(switch);
    let mut client = stage.says("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.final_answer("GET").status, 502);
    drop(client);
    drop(stage.record());
}
