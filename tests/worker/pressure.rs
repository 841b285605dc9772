//! A full machine, too many clients, a supervisor that does not read: the worker neither ends, nor spins, nor grows.

use crate::client::{Client, get};
use crate::origin::Origin;
use crate::process::{LISTENER, Worker, eventually, public_port, route};
use infissi::linux::heap;
use infissi::linux::limits::Nofile;
use infissi::proxy::channel::{Limits, Order, Route};
use std::net::SocketAddr;

#[tokio::test]
async fn more_clients_than_descriptors_are_turned_away_and_it_serves_on() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = Worker::start(Some(Nofile { soft: 64, hard: 64 }));
    worker.supervisor.attach(None).await;
    worker.supervisor.route(&[&origin]).await;
    worker.supervisor.listen(LISTENER, &socket).await;
    let mut clients = Vec::new();
    let (mut served, mut turned_away) = (0, 0);
    for _ in 0..300 {
        let mut client = Client::connect(public).await.unwrap();
        match client.get("/").await.map(|answer| answer.status) {
            Ok(200) => served += 1,
            Ok(503) | Err(_) => turned_away += 1,
            Ok(status) => panic!("{status}"),
        }
        clients.push(client);
    }
    assert!(served >= 8 && served + turned_away == 300, "{served} served, {turned_away} turned away");
    drop(clients);
    let mut again = 0;
    while get(public, "/").await.map(|answer| answer.status).unwrap_or(0) != 200 {
        again += 1;
        assert!(again < 10_000, "it never served again");
    }
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[&origin]).await;
    let route = route(&[&origin]);
    let limits = Limits { connections: 2, ..route.limits };
    worker.supervisor.order(Order::Route(Route { limits, ..route })).await;
    worker.supervisor.is_obeyed().await;
    let mut first = Client::connect(public).await.unwrap();
    let mut second = Client::connect(public).await.unwrap();
    for busy in [&mut first, &mut second] {
        busy.ask("/slow").await.unwrap();
        origin.arrival().await;
    }
    let refusal = get(public, "/").await.unwrap();
    assert!(refusal.status == 503 && refusal.is_last(), "{}", refusal.head);
    origin.release();
    origin.release();
    assert_eq!(first.answer().await.unwrap().status, 200);
    assert_eq!(second.answer().await.unwrap().status, 200);
    // Those who idle make room.
    assert_eq!(get(public, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_supervisor_that_does_not_read_costs_nothing() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[&origin]).await;
    let before = worker.kilobytes();
    let mut client = Client::connect(public).await.unwrap();
    for target in 0..200_000 {
        // Each asks for a report that nobody takes away; some time it is not obeyed any more.
        if worker.supervisor.try_order(Order::Retire { target: 1000 + target }).await.is_err() {
            break;
        }
        if target % 1000 == 0 {
            assert_eq!(client.get("/").await.unwrap().status, 200);
        }
    }
    for _ in 0..1000 {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    let after = worker.kilobytes();
    assert!(after < before + 4096, "it grew from {before} to {after} kB");
}

async fn crowd(public: SocketAddr) -> Vec<Client> {
    let mut crowd = Vec::new();
    for _ in 0..400 {
        crowd.push(Client::connect(public).await.unwrap());
    }
    crowd
}

#[tokio::test]
async fn a_crowd_that_leaves_takes_its_memory_along() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let worker = Worker::serving(&socket, &[&origin]).await;
    let mut crowd = crowd(public).await;
    for client in &mut crowd {
        assert_eq!(client.get("/").await.unwrap().status, 200);
    }
    let crowded = worker.kilobytes();
    drop(crowd);
    eventually("most of its memory is given back", || worker.kilobytes() < crowded / 2).await;
    assert_eq!(get(public, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn what_a_busy_crowd_uses_lies_in_large_pages_and_goes_with_it() {
    if let Err(error) = heap::into_large_pages()
        && error.raw_os_error() != Some(libc::EAGAIN)
    {
        return eprintln!("skipped: this machine has no large pages for it: {error}");
    }
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let worker = Worker::serving(&socket, &[&origin]).await;
    let mut crowd = crowd(public).await;
    for client in &mut crowd {
        client.ask("/slow").await.unwrap();
        origin.arrival().await;
    }
    let large = || worker.fact("smaps_rollup", "AnonHugePages") != "0 kB";
    eventually("its heap lies in large pages", large).await;
    let crowded = worker.kilobytes();
    for client in &mut crowd {
        origin.release();
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    drop(crowd);
    eventually("most of its memory is given back", || worker.kilobytes() < crowded / 2).await;
}

#[tokio::test]
async fn it_is_small_has_one_thread_and_no_rights() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let worker = Worker::serving(&socket, &[&origin]).await;
    assert_eq!(get(public, "/").await.unwrap().status, 200);
    assert_eq!(worker.fact("status", "Threads"), "1");
    assert_eq!(worker.fact("status", "NoNewPrivs"), "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(worker.fact("status", set), "0000000000000000", "{set}");
    }
    assert!(worker.kilobytes() < 4096, "{} kB", worker.kilobytes());
}
