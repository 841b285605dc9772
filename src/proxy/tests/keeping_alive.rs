//! Connections that serve more than one request, on both sides.

use super::place::{LONG, Origin, Proxy, eventually, route, status, value};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn requests_of_one_client_share_its_connection_and_the_origins() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    for _ in 0..50 {
        let (head, body) = client.get("/");
        assert_eq!((status(&head), body.as_str()), (200, "ok"));
    }
    assert_eq!(origin.connections(), 1);
    let figures = proxy.figures();
    assert_eq!((figures.answers[1], figures.connections, figures.requests), (50, 1, 0));
    assert_eq!(figures.latency.iter().sum::<u64>(), 50);
}

#[test]
fn a_connection_that_the_origin_says_it_closes_is_not_used_again() {
    let origin = Origin::new(|mut connection, _| {
        while !connection.head().is_empty() {
            connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    for _ in 0..3 {
        let (head, _) = client.get("/");
        // What the origin does with its connection does not concern the client.
        assert_eq!((status(&head), value(&head, "connection")), (200, None));
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn a_connection_is_not_used_beyond_what_the_origin_announced_less_a_second() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    for _ in 0..3 {
        let (head, _) = client.get("/");
        assert_eq!(value(&head, "keep-alive"), None);
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn an_idle_connection_is_given_up_before_the_origin_ends_it() {
    let ended = Arc::new(AtomicU64::new(0));
    let seen = ended.clone();
    let origin = Origin::new(move |mut connection, _| {
        while !connection.head().is_empty() {
            connection.send("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 2\r\n\r\nok");
        }
        seen.fetch_add(1, Ordering::SeqCst);
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.get("/");
    eventually("the proxy ends it by itself", || ended.load(Ordering::SeqCst) == 1);
    client.get("/");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_connection_that_ended_while_it_rested_costs_no_request() {
    let (ended, ends) = mpsc::channel();
    let origin = Origin::new(move |mut connection, _| {
        connection.head();
        connection.send(OK);
        drop(connection);
        ended.send(()).unwrap();
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    for request in ["GET", "POST", "POST", "GET"] {
        client.send(format!("{request} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(status(&client.answer().0), 200);
        ends.recv_timeout(LONG).unwrap();
    }
    assert_eq!(origin.connections(), 4);
}

#[test]
fn an_idempotent_request_is_sent_again_when_a_used_connection_ends_without_an_answer() {
    let (told, tells) = mpsc::channel();
    let origin = Origin::new(move |mut connection, number| {
        if number == 1 {
            connection.head();
            connection.send(OK);
        }
        told.send(connection.head()).unwrap();
        if number == 2 {
            connection.send(OK);
            connection.head();
        }
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    assert_eq!(status(&client.get("/").0), 200);
    client
        .send("DELETE /a?b=c%20d HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=d\r\nX-Empty:\r\nX-Two: 1\r\nX-Two: 2\r\n\r\n");
    assert_eq!(status(&client.answer().0), 200);
    let (first, again) = (tells.recv_timeout(LONG).unwrap(), tells.recv_timeout(LONG).unwrap());
    assert!(first.starts_with("DELETE /a?b=c%20d HTTP/1.1\r\n") && first.contains("cookie: a=b; c=d\r\n"), "{first}");
    assert_eq!(first, again);
    assert_eq!(origin.connections(), 2);
    assert_eq!(proxy.figures().retries, 1);
}

#[test]
fn a_post_is_never_sent_twice() {
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        connection.send(OK);
        connection.head();
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    assert_eq!(status(&client.get("/").0), 200);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(status(&client.answer().0), 502);
    assert_eq!(origin.connections(), 1);
    let figures = proxy.figures();
    assert_eq!((figures.retries, figures.upstream_errors), (0, 1));
}

#[test]
fn an_answer_that_had_begun_is_not_asked_for_again() {
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        connection.send(OK);
        connection.head();
        connection.send("HTTP/1.1 200 O");
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    assert_eq!(status(&client.get("/").0), 200);
    assert_eq!(status(&client.get("/").0), 502);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_fresh_connection_that_ends_without_an_answer_is_the_apps_fault() {
    let origin = Origin::new(|mut connection, _| drop(connection.head()));
    let proxy = Proxy::before(&[&origin]);
    assert_eq!(status(&proxy.client().get("/").0), 502);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn http_1_0_is_answered_and_closed_unless_it_asks_to_be_kept() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::before(&[&origin]);
    let answer = proxy.exchange("GET / HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\nok"), "{answer}");

    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let (head, _) = client.answer();
        assert_eq!(value(&head, "connection"), Some("keep-alive"));
    }
}

#[test]
fn a_client_that_asks_to_close_is_answered_and_closed() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::before(&[&origin]);
    let answer = proxy.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert!(answer.contains("connection: close\r\n") && answer.ends_with("ok"), "{answer}");
    // The origin's connection is kept.
    proxy.client().get("/");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_answer() {
    let barrier = Arc::new(Barrier::new(2));
    let ready = barrier.clone();
    let origin = Origin::new(move |mut connection, _| {
        connection.head();
        ready.wait();
        connection.send(OK);
        connection.head();
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.ends();
    std::thread::sleep(Duration::from_millis(50));
    barrier.wait();
    assert!(client.rest().ends_with("ok"));
    eventually("the connection is forgotten", || proxy.figures().connections == 0);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::echoing_heads();
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send((0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a\r\n\r\n")).collect::<String>());
    for n in 0..20 {
        assert!(client.answer().1.starts_with(&format!("GET /{n} ")));
    }
}

#[test]
fn a_worker_that_leaves_ends_each_connection_with_its_next_answer() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::with(route(&[&origin]));
    let mut client = proxy.client();
    assert_eq!(value(&client.get("/").0, "connection"), None);
    proxy.with_routes(|routes| routes.leave());
    let (head, body) = client.get("/");
    assert_eq!((value(&head, "connection"), body.as_str()), (Some("close"), "ok"));
    assert_eq!(client.rest(), "");
}
