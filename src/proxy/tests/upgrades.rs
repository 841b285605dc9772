//! Other protocols, after the instance has agreed to them.

use super::place::{Client, LONG, Origin, Proxy, eventually, status, value};
use std::sync::mpsc;

const ASKS: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nContent-Length: 0\r\n\r\n";
const AGREES: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\n";

/// Agrees and tells everything back until the client ends, then says goodbye.
fn echo(mut connection: Client, first: &str) {
    let head = connection.head();
    assert_eq!(value(&head, "upgrade"), Some("websocket"), "{head}");
    assert!(value(&head, "connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(value(&head, "sec-websocket-key"), Some("k"));
    connection.send(format!("{AGREES}{first}"));
    let said = connection.rest();
    connection.send(format!("{said}bye"));
}

#[test]
fn bytes_on_both_sides_of_the_change_are_not_lost_and_ends_are_passed_on() {
    let origin = Origin::new(|connection, _| echo(connection, "welcome"));
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send(format!("{ASKS}early "));
    let head = client.head();
    assert_eq!((status(&head), value(&head, "sec-websocket-accept")), (101, Some("a")));
    assert_eq!(value(&head, "upgrade"), Some("websocket"));
    assert!(value(&head, "connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(client.exactly(7), b"welcome");
    eventually("it is a stream", || proxy.in_flight(1) == (0, 1));
    client.send("late ");
    client.ends();
    assert_eq!(client.rest(), "early late bye");
    eventually("it is over", || proxy.in_flight(1) == (0, 0));
    assert_eq!(proxy.figures().answers, [1, 0, 0, 0, 0]);
}

#[test]
fn an_instance_that_does_not_agree_answers_as_ever() {
    let origin = Origin::answering("HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.3\r\nContent-Length: 2\r\n\r\nno");
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send(ASKS);
        assert_eq!(status(&client.answer().0), 426);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_upgrade_is_tunnelled_on_a_connection_that_was_used_before() {
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        echo(connection, "");
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.get("/");
    client.send(ASKS);
    client.head();
    client.send("hello");
    client.ends();
    assert_eq!(client.rest(), "hellobye");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_tunnel_ends_when_its_instance_is_cut() {
    let (told, tells) = mpsc::channel();
    let origin = Origin::new(move |mut connection, _| {
        connection.head();
        connection.send(AGREES);
        told.send(connection.rest()).unwrap();
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send(ASKS);
    client.head();
    eventually("it is a stream", || proxy.in_flight(1) == (0, 1));
    proxy.with_routes(|routes| routes.cut(1));
    assert_eq!(client.rest(), "");
    tells.recv_timeout(LONG).unwrap();
}

#[test]
fn many_bytes_pass_through_a_tunnel() {
    let origin = Origin::new(|mut connection, _| {
        connection.head();
        connection.send(AGREES);
        let bytes = connection.exactly(5_000_000);
        connection.send(bytes);
        connection.ends();
    });
    let proxy = Proxy::before(&[&origin]);
    let mut client = proxy.client();
    client.send(ASKS);
    client.head();
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n / 7) as u8).collect();
    client.send(&bytes);
    assert!(client.exactly(5_000_000) == bytes);
    assert_eq!(client.rest(), "");
}
