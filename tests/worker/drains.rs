//! Swaps as the supervisor sees them: routes change, the old instance drains, and the figures tell.

use crate::client::{Client, get};
use crate::origin::Origin;
use crate::process::{Supervisor, Worker, eventually, public_port, route};
use infissi::proxy::channel::Route;
use infissi::proxy::channel::{AppFigures, Order, Report, TargetFigures, Warm};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn a_swap_finishes_what_the_old_instance_has_and_tells_when_it_is_done() {
    let (blue, green) = (Origin::start(1).await, Origin::start(2).await);
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[&blue]).await;
    let mut client = Client::connect(public).await.unwrap();
    client.ask("/slow").await.unwrap();
    blue.arrival().await;
    worker.supervisor.route(&[&green]).await;
    worker.supervisor.order(Order::Retire { target: 1 }).await;
    assert_eq!(worker.supervisor.in_flight(&blue).await, (1, 0));
    assert_eq!(get(public, "/").await.unwrap().body, green.name());
    blue.release();
    assert_eq!(client.answer().await.unwrap().body, blue.name(), "claimed on blue it ends on blue");
    assert_eq!(worker.supervisor.in_flight(&blue).await, (0, 0));
    // The pool is closed before the report is sent; its end may take a moment to get here.
    eventually("no connection to blue is left", || blue.connections() == 0).await;
    assert_eq!(client.get("/").await.unwrap().body, green.name(), "the client's connection goes on");
    worker.supervisor.order(Order::Retire { target: 99 }).await;
    let unknown = loop {
        if let Report::InFlight { target, requests, streams } = worker.supervisor.report().await.unwrap() {
            break (target, requests, streams);
        }
    };
    assert_eq!(unknown, (99, 0, 0));
}

#[tokio::test]
async fn requests_and_streams_drain_on_their_own_and_a_cut_ends_what_is_left() {
    let (blue, green) = (Origin::start(1).await, Origin::start(2).await);
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[&blue]).await;
    let mut stream = Client::connect(public).await.unwrap();
    stream.upgrade().await;
    let mut request = Client::connect(public).await.unwrap();
    request.ask("/slow").await.unwrap();
    blue.arrival().await;
    blue.arrival().await;
    worker.supervisor.route(&[&green]).await;
    worker.supervisor.order(Order::Retire { target: 1 }).await;
    assert_eq!(worker.supervisor.in_flight(&blue).await, (1, 1));
    blue.release();
    assert_eq!(request.answer().await.unwrap().body, blue.name());
    assert_eq!(worker.supervisor.in_flight(&blue).await, (0, 1));
    stream.hears_its_echo().await.unwrap();
    worker.supervisor.order(Order::Cut { target: 1 }).await;
    assert!(stream.is_ended().await);
    assert_eq!(worker.supervisor.in_flight(&blue).await, (0, 0));
    eventually("no connection to blue is left", || blue.connections() == 0).await;
}

#[tokio::test]
async fn a_request_that_is_cut_has_an_answer_or_an_end() {
    let (blue, green) = (Origin::start(1).await, Origin::start(2).await);
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[&blue]).await;
    let mut client = Client::connect(public).await.unwrap();
    client.ask("/slow").await.unwrap();
    blue.arrival().await;
    worker.supervisor.route(&[&green]).await;
    worker.supervisor.order(Order::Retire { target: 1 }).await;
    worker.supervisor.order(Order::Cut { target: 1 }).await;
    // It was sent to blue already: nobody may send it again.
    assert!(client.answer().await.map_or(true, |answer| answer.status >= 500));
    worker.supervisor.is_drained(&blue).await;
    assert_eq!(green.requests(), 0);
}

#[tokio::test]
async fn requests_without_an_instance_wait_for_one_and_a_removed_app_answers_503() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = Worker::start(None);
    worker.supervisor.attach(None).await;
    worker.supervisor.listen(7, &socket).await;
    let early = tokio::spawn(get(public, "/"));
    held(&mut worker.supervisor, 1).await;
    worker.supervisor.route(&[&origin]).await;
    assert_eq!(early.await.unwrap().unwrap().body, origin.name());
    let mut idle = Client::connect(public).await.unwrap();
    idle.get("/").await.unwrap();
    worker.supervisor.route(&[]).await;
    let held_now = tokio::spawn(get(public, "/"));
    held(&mut worker.supervisor, 1).await;
    worker.supervisor.order(Order::Remove { app: "shop".to_owned() }).await;
    assert_eq!(held_now.await.unwrap().unwrap().status, 503);
    let removed = Instant::now();
    assert!(idle.is_ended().await && removed.elapsed() < Duration::from_secs(20), "long before it has idled too long");
    assert_eq!(get(public, "/").await.unwrap().status, 503);
    worker.supervisor.route(&[&origin]).await;
    assert_eq!(get(public, "/").await.unwrap().status, 200, "an app may come back");
}

#[tokio::test]
async fn a_page_of_the_old_build_is_served_by_the_warm_slot() {
    let (blue, green) = (Origin::start(1).await, Origin::start(2).await);
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[&blue]).await;
    let warm = Warm { deployment: Some("old".to_owned()), targets: vec![blue.place()] };
    let swapped = Route { active_deployment: Some("new".to_owned()), warm: Some(warm), ..route(&[&green]) };
    worker.supervisor.order(Order::Route(swapped)).await;
    eventually_on(public, "/", &green).await;
    assert_eq!(get(public, "/chunk.js?dpl=old").await.unwrap().body, blue.name());
    assert_eq!(get(public, "/chunk.js?dpl=new").await.unwrap().body, green.name());
}

#[tokio::test]
async fn figures_come_a_few_times_a_second_and_say_what_happened() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = Worker::serving(&socket, &[&origin]).await;
    let begun = Instant::now();
    let clients = tokio::spawn(async move {
        let mut client = Client::connect(public).await.unwrap();
        while begun.elapsed() < Duration::from_millis(1500) {
            client.get("/").await.unwrap();
        }
        client
    });
    let mut told = Told::default();
    let mut reports = 0;
    while !clients.is_finished() || told.answered() < origin.requests() {
        told.hear(worker.supervisor.report().await.unwrap());
        reports += 1;
    }
    // The first at once, and each later one a quarter of a second after the one before.
    assert!(reports <= begun.elapsed().as_millis() / 250 + 2, "{reports} in {:?}", begun.elapsed());
    let _client = clients.await.unwrap();
    let all = origin.requests();
    while told.apps["shop"].requests > 0 {
        told.hear(worker.supervisor.report().await.unwrap());
    }
    let app = &told.apps["shop"];
    assert_eq!((app.answers, app.connections, app.requests, app.held), ([0, all, 0, 0, 0], 1, 0, 0));
    assert_eq!((app.latency.iter().sum::<u64>(), app.latency_sum_us > 0), (all, true));
    let target = &told.targets[&1];
    assert_eq!((target.answered, target.errors, target.requests), (all, 0, 0));
}

/// What reports add up to.
#[derive(Default)]
struct Told {
    apps: HashMap<String, AppFigures>,
    targets: HashMap<u64, TargetFigures>,
}

impl Told {
    fn hear(&mut self, report: Report) {
        if let Report::Figures { apps, targets } = report {
            assert!(apps.len() + targets.len() > 0, "nothing changed");
            self.apps.extend(apps.into_iter().map(|app| (app.app.clone(), app)));
            self.targets.extend(targets.into_iter().map(|target| (target.target, target)));
        }
    }

    fn answered(&self) -> u64 {
        self.targets.get(&1).map_or(0, |target| target.answered)
    }
}

/// Waits until so many requests are held.
async fn held(supervisor: &mut Supervisor, count: u64) {
    loop {
        if let Report::Figures { apps, .. } = supervisor.report().await.unwrap()
            && apps.iter().any(|app| app.held == count)
        {
            return;
        }
    }
}

async fn eventually_on(public: std::net::SocketAddr, path: &str, origin: &Origin) {
    let until = Instant::now() + crate::process::PATIENCE;
    while get(public, path).await.unwrap().body != origin.name() {
        assert!(Instant::now() < until, "the swap never came");
    }
}
