//! One worker follows another: what clients notice of it.

use crate::client::{Client, get};
use crate::origin::Origin;
use crate::process::{LISTENER, Worker, public_port, soon};
use infissi::proxy::channel::Order;
use nix::libc::{SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGSTOP, SIGTERM};
use std::io::ErrorKind;

#[tokio::test]
async fn a_worker_that_is_killed_and_replaced_refuses_no_new_connection() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let first = Worker::serving(&socket, &[&origin]).await;
    assert_eq!(get(public, "/").await.unwrap().body, origin.name());
    first.signal(SIGKILL);
    first.ended().await;
    // Nobody accepts now: all of them wait.
    let waiting: Vec<_> = (0..200).map(|_| tokio::spawn(get(public, "/"))).collect();
    tokio::task::yield_now().await;
    let _second = Worker::serving(&socket, &[&origin]).await;
    for client in waiting {
        assert_eq!(soon(client).await.unwrap().unwrap().status, 200);
    }
    assert_eq!(origin.requests(), 201);
}

#[tokio::test]
async fn two_workers_share_a_port_and_the_one_that_leaves_takes_no_connection_with_it() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut old = Worker::serving(&socket, &[&origin]).await;
    let mut kept = Client::connect(public).await.unwrap();
    assert!(!kept.get("/").await.unwrap().is_last());
    kept.ask("/slow").await.unwrap();
    origin.arrival().await;
    let _new = Worker::serving(&socket, &[&origin]).await;
    let clients: Vec<_> = (0..200).map(|_| tokio::spawn(get(public, "/"))).collect();
    old.supervisor.order(Order::Leave).await;
    for client in clients {
        assert_eq!(soon(client).await.unwrap().unwrap().status, 200);
    }
    origin.release();
    let last = kept.answer().await.unwrap();
    assert!(last.status == 200 && last.is_last(), "{}", last.head);
    assert!(kept.is_ended().await);
    assert_eq!(old.ended().await.code, Some(0));
    assert_eq!(get(public, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_worker_that_leaves_ends_with_its_last_connection_and_not_before() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[&origin]).await;
    let mut idle = Client::connect(public).await.unwrap();
    idle.get("/").await.unwrap();
    let mut stream = Client::connect(public).await.unwrap();
    stream.upgrade().await;
    origin.arrival().await;
    worker.supervisor.order(Order::Leave).await;
    let last = idle.get("/").await.unwrap();
    assert!(last.is_last() && idle.is_ended().await, "{}", last.head);
    stream.hears_its_echo().await.unwrap();
    // A new route still reaches it.
    let other = Origin::start(2).await;
    worker.supervisor.route(&[&other]).await;
    worker.supervisor.order(Order::Retire { target: 1 }).await;
    assert_eq!(worker.supervisor.in_flight(&origin).await, (0, 1));
    worker.supervisor.order(Order::Cut { target: 1 }).await;
    assert!(stream.is_ended().await);
    assert_eq!(worker.ended().await.code, Some(0));
}

#[tokio::test]
async fn a_port_that_is_closed_serves_those_who_waited_there() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[&origin]).await;
    let mut open = Client::connect(public).await.unwrap();
    open.get("/").await.unwrap();
    worker.signal(SIGSTOP);
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(public).await.unwrap();
        client.ask("/").await.unwrap();
        waiting.push(client);
    }
    drop(socket);
    worker.supervisor.order(Order::Unlisten { listener: LISTENER }).await;
    worker.signal(SIGCONT);
    for mut client in waiting {
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    let refused = Client::connect(public).await.err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
    assert_eq!(open.get("/").await.unwrap().status, 200, "connections go on");
}

#[tokio::test]
async fn only_sigterm_ends_it_and_exit_does_at_once() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let worker = Worker::serving(&socket, &[&origin]).await;
    worker.signal(SIGINT);
    worker.signal(SIGHUP);
    assert_eq!(get(public, "/").await.unwrap().status, 200);
    worker.signal(SIGTERM);
    assert_eq!(worker.ended().await.signal, Some(SIGTERM));
    let mut worker = Worker::serving(&socket, &[&origin]).await;
    let mut busy = Client::connect(public).await.unwrap();
    busy.ask("/slow").await.unwrap();
    origin.arrival().await;
    worker.supervisor.order(Order::Exit).await;
    assert_eq!(worker.ended().await.code, Some(0));
    assert!(busy.is_ended().await);
}
