//! What is waited for, and for how long: instances that are not there, clients that are slow.

use super::place::{Origin, Proxy, eventually, places, route, status, value, warm};
use crate::proxy::channel::TargetPlace;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::time::Instant;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An address where nobody listens. Not on 127.0.0.1, where another test may be given the port meanwhile.
fn nowhere() -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    TcpListener::bind((Ipv4Addr::new(127, 7, high, low.max(1)), 0)).unwrap().local_addr().unwrap()
}

#[test]
fn requests_are_held_until_an_instance_is_there() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::before(&[]);
    let mut clients: Vec<_> = (0..10).map(|_| proxy.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let method = if number % 2 == 0 { "GET" } else { "POST" };
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
    }
    eventually("all are held", || proxy.figures().held == 10);
    proxy.publish(route(&[&origin]));
    assert!(clients.iter_mut().all(|client| status(&client.answer().0) == 200));
    assert_eq!(proxy.figures().held, 0);
}

#[test]
fn a_request_held_in_vain_is_told_when_to_come_again() {
    let mut route = route(&[]);
    route.hold_ms = 100;
    let proxy = Proxy::with(route);
    let mut client = proxy.client();
    for n in 1..3 {
        let (head, _) = client.get("/");
        assert_eq!((status(&head), value(&head, "retry-after")), (503, Some("1")));
        assert_eq!(proxy.figures().hold_timeouts, n);
    }
}

#[test]
fn a_refused_connection_is_tried_on_another_instance_whatever_the_method() {
    let origin = Origin::answering(OK);
    let mut route = route(&[&origin]);
    route.active.push(TargetPlace { target: 2, address: nowhere() });
    let proxy = Proxy::with(route);
    let mut client = proxy.client();
    let started = Instant::now();
    for _ in 0..10 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(status(&client.answer().0), 200);
    }
    assert!(proxy.figures().upstream_errors > 0);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn an_instance_that_refuses_is_tried_again_while_the_request_is_held() {
    let address = nowhere();
    let mut route = route(&[]);
    route.active.push(TargetPlace { target: 1, address });
    let proxy = Proxy::with(route);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
    eventually("it was tried", || proxy.figures().upstream_errors > 2);
    let listener = TcpListener::bind(address).unwrap();
    let answers = thread::spawn(move || {
        let mut connection = super::place::Client::new(listener.accept().unwrap().0);
        connection.head();
        assert_eq!(connection.exactly(2), b"ok");
        connection.send(OK);
        connection.head();
    });
    assert_eq!(status(&client.answer().0), 200);
    drop((client, proxy));
    answers.join().unwrap();
}

#[test]
fn an_instance_that_refuses_for_too_long_is_answered_for() {
    let mut route = route(&[]);
    route.hold_ms = 200;
    route.active.push(TargetPlace { target: 1, address: nowhere() });
    let proxy = Proxy::with(route);
    assert_eq!(status(&proxy.client().get("/").0), 503);
    assert_eq!(proxy.figures().hold_timeouts, 1);
    assert_eq!(proxy.in_flight(1), (0, 0));
}

#[test]
fn a_client_of_the_last_release_is_served_by_it_while_it_is_warm() {
    let (old, new) = (Origin::answering(OK), Origin::answering("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"));
    let mut route = route(&[&new]);
    route.active_deployment = Some("two".into());
    route.warm = warm("one", places(7, &[&old]));
    let proxy = Proxy::with(route);
    let mut client = proxy.client();
    let mut asked = |path: &str, header: &str| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n"));
        status(&client.answer().0)
    };
    assert_eq!(asked("/a?x=y&dpl=one", ""), 200);
    assert_eq!(asked("/a", "x-deployment-id: one\r\n"), 200);
    assert_eq!(asked("/a?dpl=two", ""), 201);
    assert_eq!(asked("/a?dpl=three", ""), 201);
    assert_eq!(asked("/a", ""), 201);
}

#[test]
fn what_is_cut_ends() {
    let origin = Origin::new(|mut connection, _| {
        let head = connection.head();
        if head.starts_with("GET /events") {
            connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        }
        connection.rest();
    });
    let proxy = Proxy::before(&[&origin]);
    let mut waits = proxy.client();
    waits.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut listens = proxy.client();
    listens.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    listens.until(b"\n\n");
    eventually("both are there", || proxy.in_flight(1) == (1, 1));
    proxy.with_routes(|routes| routes.cut(1));
    assert_eq!(status(&waits.answer().0), 502);
    assert!(!listens.rest().ends_with("0\r\n\r\n"));
    eventually("nothing is left", || proxy.in_flight(1) == (0, 0));
}

#[test]
fn a_slow_head_is_told_so_but_an_idle_client_is_not_hurried() {
    let origin = Origin::answering(OK);
    let mut route = route(&[&origin]);
    route.limits.header_timeout_ms = 200;
    let proxy = Proxy::with(route);
    let mut client = proxy.client();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(status(&client.get("/").0), 200);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(status(&client.get("/").0), 200);
    client.send("GET / HTTP/1.1\r\n");
    let slow = thread::spawn({
        let stream = client.stream.try_clone().unwrap();
        move || {
            for _ in 0..100 {
                thread::sleep(Duration::from_millis(20));
                if std::io::Write::write_all(&mut &stream, b"X: y\r\n").is_err() {
                    return;
                }
            }
        }
    });
    let answer = client.rest();
    assert_eq!(status(&answer), 408, "{answer}");
    assert!(answer.contains("connection: close\r\n"));
    drop(client);
    slow.join().unwrap();
    assert_eq!(proxy.figures().refused, 1);
}

#[test]
fn an_idle_client_is_let_go() {
    let origin = Origin::answering(OK);
    let mut route = route(&[&origin]);
    route.limits.idle_ms = 200;
    let proxy = Proxy::with(route);
    let mut client = proxy.client();
    client.get("/");
    let started = Instant::now();
    assert_eq!(client.rest(), "");
    assert!(started.elapsed() >= Duration::from_millis(190));
    assert_eq!(proxy.client().rest(), "");
}

#[test]
fn a_body_that_does_not_come_on_ends_the_request() {
    let (told, tells) = mpsc::channel();
    let origin = Origin::new(move |mut connection, _| {
        connection.head();
        told.send(connection.rest()).unwrap();
    });
    let mut route = route(&[&origin]);
    route.limits.idle_ms = 200;
    let proxy = Proxy::with(route);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(50));
        client.send("x");
    }
    assert_eq!(client.rest(), "");
    assert_eq!(tells.recv().unwrap(), "x".repeat(10));
}

#[test]
fn an_answer_is_waited_for_however_long_it_takes() {
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        thread::sleep(Duration::from_millis(700));
        connection.send(OK);
        connection.head();
    });
    let mut route = route(&[&origin]);
    (route.limits.idle_ms, route.limits.header_timeout_ms) = (200, 100);
    let proxy = Proxy::with(route);
    assert_eq!(status(&proxy.client().get("/").0), 200);
}

#[test]
fn a_client_that_reads_nothing_is_let_go() {
    let (told, tells) = mpsc::channel();
    let origin = Origin::new(move |mut connection, _| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n");
        connection.send(vec![b'x'; 200_000_000]);
        told.send(()).unwrap();
    });
    let mut route = route(&[&origin]);
    route.limits.idle_ms = 300;
    let proxy = Proxy::with(route);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    tells.recv().unwrap();
    eventually("it is gone", || proxy.figures().connections == 0);
}

#[test]
fn the_longest_idle_client_makes_room_for_a_new_one() {
    let origin = Origin::answering(OK);
    let mut route = route(&[&origin]);
    route.limits.connections = 2;
    let proxy = Proxy::with(route);
    let (mut first, mut second) = (proxy.client(), proxy.client());
    first.get("/");
    second.get("/");
    first.get("/");
    let mut third = proxy.client();
    assert_eq!(status(&third.get("/").0), 200);
    assert_eq!(second.rest(), "");
    assert_eq!(status(&first.get("/").0), 200);
}

#[test]
fn whoever_is_gone_is_noticed_while_the_instance_is_silent() {
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        loop {
            thread::park();
        }
    });
    let mut route = route(&[&origin]);
    route.limits.idle_ms = 200;
    let proxy = Proxy::with(route);
    // One says that it sends no more; another has begun its next request, which nobody reads, and is gone.
    let mut silent = proxy.client();
    silent.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    silent.ends();
    let mut ahead = proxy.client();
    ahead.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("both are on their way", || proxy.in_flight(1).0 == 2);
    ahead.send("GET");
    // Two turns of the proxy, so that it has seen these bytes without their end.
    (0..2).for_each(|_| drop(proxy.figures()));
    drop(ahead);
    eventually("both are given up", || proxy.figures().connections == 0);
    assert_eq!(proxy.in_flight(1), (0, 0));
}

#[test]
fn a_held_request_whose_client_is_gone_is_not_sent_to_anybody() {
    let origin = Origin::answering(OK);
    let mut held = route(&[]);
    held.hold_ms = 60_000;
    let proxy = Proxy::with(held);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok");
    eventually("it is held", || proxy.figures().held == 1);
    client.resets();
    eventually("it is given up", || proxy.figures().connections == 0);
    proxy.publish(route(&[&origin]));
    assert_eq!((proxy.figures().held, origin.connections()), (0, 0));
}
