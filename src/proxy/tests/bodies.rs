//! Bodies in both directions: lengths, chunks, trailers, streams, and what breaks off.

use super::place::{Client, LONG, Origin, Proxy, eventually, route, status, value};
use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::time::Instant;

/// Of a chunked message: its data, and its trailer section.
fn chunks(connection: &mut Client) -> (Vec<u8>, String) {
    let mut data = Vec::new();
    loop {
        let line = connection.until(b"\r\n");
        let size = usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
        if size == 0 {
            break;
        }
        data.extend(connection.exactly(size));
        assert_eq!(connection.exactly(2), b"\r\n");
    }
    let mut trailers = String::new();
    loop {
        let line = connection.until(b"\r\n");
        if line == "\r\n" {
            return (data, trailers);
        }
        trailers += &line;
    }
}

/// Answers each request with its body's length and its trailers.
fn measuring() -> Origin {
    Origin::new(|mut connection, _| {
        loop {
            let head = connection.head();
            if head.is_empty() {
                return;
            }
            let (length, trailers) = match value(&head, "content-length") {
                Some(length) => (connection.exactly(length.parse().unwrap()).len(), String::new()),
                None if value(&head, "transfer-encoding").is_some() => {
                    let (data, trailers) = chunks(&mut connection);
                    (data.len(), trailers)
                }
                None => (0, String::new()),
            };
            let body = format!("{length} {trailers}");
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
    })
}

#[test]
fn a_request_body_arrives_whole_by_length_and_by_chunks() {
    let origin = measuring();
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    for size in [1, 5000, 300_000, 3_000_000] {
        let body = "x".repeat(size);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n{body}"));
        assert_eq!(client.answer().1, format!("{size} "));
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n{size:x};ext=1\r\n{body}\r\n0\r\nX-Sum: 7\r\n\r\n"
        ));
        assert_eq!(client.answer().1, format!("{size} x-sum: 7\r\n"));
    }
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.answer().1, "0 ");
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n");
    assert_eq!(client.answer().1, "1 ");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_broken_chunk_reaches_the_instance_as_a_request_that_broke_off() {
    let (told, tells) = mpsc::channel();
    let origin = Origin::new(move |mut connection, _| {
        connection.head();
        told.send(connection.rest()).unwrap();
    });
    let proxy = Proxy::before(&[&origin]);
    for bad in ["zz\r\nx\r\n0\r\n\r\n", "1\r\nxx\r\n0\r\n\r\n", "fffffffffffffffff\r\nx", "-1\r\nx\r\n0\r\n\r\n"] {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n{bad}"));
        let seen = tells.recv_timeout(LONG).unwrap();
        assert!(!seen.ends_with("0\r\n\r\n"), "{bad:?}: {seen:?}");
        let answer = client.rest();
        assert!(answer.is_empty() || status(&answer) >= 400, "{bad:?}: {answer}");
    }
}

#[test]
fn an_expectation_is_met_when_the_body_is_wanted() {
    let origin = Origin::new(|mut connection, _| {
        loop {
            let head = connection.head();
            if head.is_empty() {
                return;
            }
            assert_eq!(value(&head, "expect"), None);
            let body = String::from_utf8(connection.exactly(5)).unwrap();
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}"));
        }
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n");
        assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
        client.send("hello");
        assert_eq!(client.answer().1, "hello");
    }
    let refused = proxy.exchange("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: cake\r\n\r\n");
    assert_eq!(status(&refused), 417);
}

#[test]
fn an_expectation_is_not_met_while_nobody_wants_the_body() {
    let proxy = Proxy::before(&[]);
    let mut route = route(&[]);
    route.hold_ms = 100;
    proxy.publish(route);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(status(&client.answer().0), 503);
}

#[test]
fn answers_without_a_body_have_none() {
    let origin = Origin::new(|mut connection, _| {
        loop {
            let head = connection.head();
            match head.split(' ').nth(1) {
                Some("/204") => connection.send("HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n"),
                Some("/304") => {
                    connection.send("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 99\r\n\r\n")
                }
                Some("/0") => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
                Some("/length") => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
                Some("/chunked") => connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
                _ => return,
            }
        }
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    let mut ask = |request: &str| {
        client.send(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.head()
    };
    for _ in 0..2 {
        assert!(ask("GET /204").starts_with("HTTP/1.1 204 No Content\r\nx-a: b\r\n"));
        assert_eq!(value(&ask("GET /304"), "etag"), Some("\"a\""));
        assert_eq!(value(&ask("GET /0"), "content-length"), Some("0"));
        assert_eq!(value(&ask("HEAD /length"), "content-length"), Some("1234"));
        assert_eq!(status(&ask("HEAD /chunked")), 200);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_answer_in_chunks_passes_with_its_trailers() {
    let origin = Origin::answering(
        "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n3\r\nyes\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200 Fine\r\n"), "{head}");
        assert_eq!(value(&head, "transfer-encoding"), Some("chunked"));
        assert_eq!(chunks(&mut client), (b"okyes".to_vec(), "x-sum: 7\r\n".to_owned()));
    }
    assert_eq!(origin.connections(), 1);
    let old = proxy.exchange("GET / HTTP/1.0\r\n\r\n");
    assert!(old.ends_with("\r\n\r\nokyes") && value(&old, "transfer-encoding").is_none(), "{old}");
}

#[test]
fn an_answer_until_the_end_of_the_connection_becomes_chunks() {
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        connection.send("HTTP/1.0 200 OK\r\n\r\nhello");
        thread::sleep(Duration::from_millis(20));
        connection.send(" there");
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.head().starts_with("HTTP/1.1 200 OK\r\n"));
        assert_eq!(chunks(&mut client).0, b"hello there");
    }
}

#[test]
fn a_length_beside_chunks_in_an_answer_is_not_believed() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(value(&client.head(), "content-length"), None);
    assert_eq!(chunks(&mut client).0, b"hello");
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ] {
        let origin = Origin::new(move |mut connection, _| {
            connection.head();
            connection.send(answer);
        });
        let proxy = Proxy::before(&[&origin]);
        let started = Instant::now();
        let seen = proxy.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(!seen.ends_with("0\r\n\r\n"), "{seen}");
        assert!(started.elapsed() < Duration::from_millis(1_500), "and the client is told so at once");
        eventually("it is counted", || proxy.figures().upstream_errors == 1 && proxy.in_flight(1) == (0, 0));
    }
}

#[test]
fn what_is_no_answer_is_a_broken_instance() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nxx",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    ] {
        let origin = Origin::answering(answer);
        let proxy = Proxy::before(&[&origin]);
        let mut client = proxy.client();
        assert_eq!(status(&client.get("/").0), 502, "{answer}");
    }
}

#[test]
fn interim_answers_are_not_the_answer() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    assert_eq!(status(&client.get("/").0), 200);
    assert_eq!(status(&client.get("/").0), 200);
}

#[test]
fn events_arrive_when_they_happen_and_the_instance_hears_that_the_client_left() {
    let (next, nexts) = mpsc::channel::<()>();
    let (left, leaves) = mpsc::channel();
    let nexts = std::sync::Mutex::new(nexts);
    let origin = Origin::new(move |mut connection, _| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..3 {
            nexts.lock().unwrap().recv().unwrap();
            connection.send("9\r\ndata: 1\n\n\r\n");
        }
        left.send(connection.rest()).unwrap();
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(status(&client.head()), 200);
    for _ in 0..3 {
        next.send(()).unwrap();
        assert_eq!(client.until(b"\n\n\r\n"), "9\r\ndata: 1\n\n\r\n");
    }
    assert_eq!(proxy.in_flight(1), (0, 1));
    drop(client);
    leaves.recv_timeout(LONG).unwrap();
    eventually("it is not counted any more", || proxy.in_flight(1) == (0, 0));
    assert_eq!(proxy.figures().latency.iter().sum::<u64>(), 0);
}

#[test]
fn a_client_that_leaves_with_half_a_body_takes_its_request_back() {
    let (left, leaves) = mpsc::channel();
    let origin = Origin::new(move |mut connection, _| {
        connection.head();
        left.send(connection.rest()).unwrap();
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    eventually("it has arrived", || proxy.in_flight(1) == (1, 0));
    drop(client);
    leaves.recv_timeout(LONG).unwrap();
    eventually("it is not counted any more", || proxy.in_flight(1) == (0, 0));
}

#[test]
fn a_slow_reader_holds_the_instance_back() {
    let (sent, sends) = mpsc::channel();
    let origin = Origin::new(move |mut connection, _| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n");
        connection.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let chunk = vec![b'x'; 100_000];
        let written = (0..2000).take_while(|_| connection.stream.write_all(&chunk).is_ok()).count();
        sent.send(written).unwrap();
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    let written = sends.recv_timeout(LONG).unwrap();
    assert!(written < 500, "{written} of 2000 went nowhere");
}

#[test]
fn a_large_answer_arrives_whole() {
    let origin = Origin::new(|mut connection, _| {
        while !connection.head().is_empty() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n");
            connection.send((0..3_000_000_u32).map(|n| n as u8).collect::<Vec<u8>>());
        }
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        client.head();
        let body = client.exactly(3_000_000);
        assert!(body.iter().zip(0_u32..).all(|(byte, n)| *byte == n as u8));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn both_bodies_flow_at_the_same_time() {
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..100 {
            let size = usize::from_str_radix(connection.until(b"\r\n").trim(), 16).unwrap();
            let data = String::from_utf8(connection.exactly(size)).unwrap();
            connection.exactly(2);
            connection.send(format!("{size:x}\r\n{data}\r\n"));
        }
        chunks(&mut connection);
        connection.send("0\r\n\r\n");
        connection.head();
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    for n in 0..100 {
        client.send(format!("3\r\n{n:03}\r\n"));
        if n == 0 {
            assert_eq!(status(&client.head()), 200);
        }
        assert_eq!(client.until(b"\r\n"), "3\r\n");
        assert_eq!(client.until(b"\r\n"), format!("{n:03}\r\n"));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.until(b"\r\n\r\n"), "0\r\n\r\n");
}

#[test]
fn an_answer_before_the_body_was_read_reaches_the_client() {
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        connection.send("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        connection.ends();
        thread::sleep(Duration::from_millis(300));
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    client.send("x".repeat(100_000));
    let (head, body) = client.answer();
    assert_eq!((status(&head), body.as_str()), (413, "no"));
}

#[test]
fn an_answer_from_before_the_end_of_the_request_is_told_though_the_instance_resets() {
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        connection.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n");
        // Closed with the body unread: a reset.
    });
    let proxy = Proxy::before(&[&origin]);
    for _ in 0..50 {
        let mut client = proxy.client();
        let mut writer = client.stream.try_clone().unwrap();
        let sends = thread::spawn(move || {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 8 << 20);
            // It may be told to stop before all of it is out.
            let _ = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&vec![b'x'; 8 << 20]));
        });
        assert_eq!(status(&client.answer().0), 413);
        drop(client);
        sends.join().unwrap();
    }
    assert_eq!(proxy.figures().upstream_errors, 0);
}

#[test]
fn a_request_goes_on_while_its_client_takes_nothing_of_the_answer() {
    const SIZE: usize = 24 << 20;
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        let mut writer = connection.stream.try_clone().unwrap();
        let answers = thread::spawn(move || writer.write_all(&vec![b'a'; SIZE]).unwrap());
        connection.exactly(SIZE);
        answers.join().unwrap();
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.stream.set_write_timeout(Some(LONG)).unwrap();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    client.stream.write_all(&vec![b'q'; SIZE]).unwrap();
    let (head, body) = client.answer();
    assert_eq!((status(&head), body.len()), (200, SIZE));
}

#[test]
fn trailers_of_an_answer_without_data_pass_and_its_connection_is_used_again() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
        assert_eq!(status(&client.head()), 200);
        assert_eq!(chunks(&mut client), (Vec::new(), "x-sum: 7\r\n".to_owned()));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_request_that_breaks_off_ends_its_answer_though_the_client_takes_none_of_it() {
    const SIZE: usize = 24 << 20;
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        // It ends when nobody takes more.
        let _ = connection.stream.write_all(&vec![b'a'; SIZE]);
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut sent = 0;
    eventually("the answer stands still", || {
        client.send("1\r\nx\r\n");
        sent += 1;
        proxy.figures().answers[1] == 1 && sent > 20
    });
    client.send("zz\r\n");
    eventually("it is given up", || proxy.figures().connections == 0);
    assert_eq!(proxy.in_flight(1), (0, 0));
}

#[test]
fn a_client_whose_request_is_of_no_more_use_is_told_so() {
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        connection.send("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
        connection.rest();
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx");
    let (head, _) = client.answer();
    assert_eq!((status(&head), value(&head, "connection")), (202, Some("close")));
}
