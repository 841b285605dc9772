//! Clients and instances that misbehave: every claim is given back, nothing spins, nothing grows.

use crate::client::{Client, get};
use crate::origin::{Nowhere, Origin};
use crate::process::{Worker, public_port, route, soon};
use infissi::proxy::channel::{AppFigures, Limits, Order, Report, Route};

/// Nothing ends by itself within this test.
fn patient(active: &[&Origin]) -> Route {
    let route = route(active);
    let limits = Limits { idle_ms: 3_600_000, header_timeout_ms: 3_600_000, ..route.limits };
    Route { limits, ..route }
}

#[tokio::test]
async fn instances_that_all_refuse_are_tried_with_pauses_and_not_for_ever() {
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[]).await;
    let nowhere = [Nowhere::new(1), Nowhere::new(2), Nowhere::new(3)];
    let active = nowhere.iter().map(Nowhere::place).collect();
    worker.supervisor.order(Order::Route(Route { active, hold_ms: 1_000, ..route(&[]) })).await;
    worker.supervisor.is_obeyed().await;
    assert_eq!(soon(get(public, "/")).await.unwrap().status, 503);
    let figures = figures_of_answered(&mut worker, 1).await;
    assert!(figures.upstream_errors <= 200, "{} tries in a second", figures.upstream_errors);
}

#[tokio::test]
async fn a_cut_ends_an_answer_that_its_client_does_not_read() {
    let blue = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[]).await;
    worker.supervisor.order(Order::Route(patient(&[&blue]))).await;
    let mut client = Client::connect(public).await.unwrap();
    client.ask("/endless").await.unwrap();
    blue.arrival().await;
    worker.supervisor.order(Order::Route(patient(&[]))).await;
    worker.supervisor.order(Order::Retire { target: 1 }).await;
    assert_eq!(worker.supervisor.in_flight(&blue).await, (1, 0));
    worker.supervisor.order(Order::Cut { target: 1 }).await;
    worker.supervisor.is_drained(&blue).await;
}

#[tokio::test]
async fn a_cut_ends_a_request_whose_body_the_instance_does_not_take() {
    let blue = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[]).await;
    worker.supervisor.order(Order::Route(patient(&[&blue]))).await;
    let before = worker.kilobytes();
    let mut client = Client::connect(public).await.unwrap();
    let head = "POST /deaf HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 268435456\r\n\r\n";
    client.pours(head.as_bytes(), head.len()).await;
    blue.arrival().await;
    let poured = client.pours(&[b'x'; 65_536], 256 << 20).await;
    assert!(poured < 64 << 20, "somebody takes it");
    let after = worker.kilobytes();
    assert!(after < before + 1024, "it grew from {before} to {after} kB");
    worker.supervisor.order(Order::Route(patient(&[]))).await;
    worker.supervisor.order(Order::Retire { target: 1 }).await;
    worker.supervisor.order(Order::Cut { target: 1 }).await;
    worker.supervisor.is_drained(&blue).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_never_looks_complete() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[&origin]).await;
    for _ in 0..20 {
        let mut client = Client::connect(public).await.unwrap();
        let heard = client.last_words("/garbled").await;
        let looks_complete = heard.ends_with("\r\n0\r\n\r\n") || heard.contains("content-length: 0");
        assert!(heard.starts_with("HTTP/1.1 502 ") || !looks_complete, "{heard}");
    }
    loop {
        if let Report::Figures { targets, .. } = worker.supervisor.report().await.unwrap()
            && targets.iter().any(|target| (target.answered, target.errors) == (20, 20))
        {
            return;
        }
    }
}

#[tokio::test]
async fn a_client_that_vanishes_gives_its_claim_back() {
    let blue = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[]).await;
    worker.supervisor.order(Order::Route(patient(&[&blue]))).await;
    for path in ["/slow", "/endless", "/echo"] {
        let mut client = Client::connect(public).await.unwrap();
        match path {
            "/echo" => client.upgrade().await,
            _ => client.ask(path).await.unwrap(),
        }
        blue.arrival().await;
        client.vanishes();
    }
    worker.supervisor.order(Order::Route(patient(&[]))).await;
    worker.supervisor.order(Order::Retire { target: 1 }).await;
    worker.supervisor.is_drained(&blue).await;
    let waits = tokio::spawn(get(public, "/"));
    let mut gone = Client::connect(public).await.unwrap();
    gone.ask("/").await.unwrap();
    held(&mut worker, 2).await;
    gone.vanishes();
    held(&mut worker, 1).await;
    let green = Origin::start(2).await;
    worker.supervisor.order(Order::Route(patient(&[&green]))).await;
    assert_eq!(waits.await.unwrap().unwrap().status, 200);
    assert_eq!(green.requests(), 1);
}

#[tokio::test]
async fn connections_that_an_instance_ends_unannounced_lose_no_request() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let _worker = Worker::serving(&socket, &[&origin]).await;
    let mut client = Client::connect(public).await.unwrap();
    for turn in 0..300 {
        assert_eq!(client.get("/once").await.unwrap().status, 200, "turn {turn}");
    }
}

#[tokio::test]
async fn an_idle_worker_with_many_connections_is_still() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[]).await;
    worker.supervisor.order(Order::Route(patient(&[&origin]))).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Client::connect(public).await.unwrap();
        client.get("/").await.unwrap();
        let mut stream = Client::connect(public).await.unwrap();
        stream.upgrade().await;
        clients.extend([client, stream]);
    }
    figures_of_answered(&mut worker, 100).await;
    let before = worker.ticks();
    for _ in 0..100 {
        // Only to let time pass: whoever spins does so all the while.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let spent = worker.ticks() - before;
    assert!(spent <= 10, "{spent} hundredths of a second of a second");
}

/// The app's figures once so many requests were answered and none is left.
async fn figures_of_answered(worker: &mut Worker, count: u64) -> AppFigures {
    loop {
        if let Report::Figures { mut apps, .. } = worker.supervisor.report().await.unwrap()
            && let Some(app) = apps.pop()
            && app.answers.iter().sum::<u64>() == count
            && app.requests == 0
        {
            return app;
        }
    }
}

async fn held(worker: &mut Worker, count: u64) {
    loop {
        if let Report::Figures { apps, .. } = worker.supervisor.report().await.unwrap()
            && apps.iter().any(|app| app.held == count)
        {
            return;
        }
    }
}
