//! An app's public addresses: opened, moved, handed over, held by a stranger, closed.

use super::{Stage, Worker, free_address, open, route};
use crate::daemon::front::{Front, Publication};
use crate::linux::listener;
use crate::proxy::channel::Order;
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};

/// A front at which the app is open there, and the worker that it put to work.
async fn opened(stage: &mut Stage, app: &str, address: SocketAddr) -> (Front, Worker) {
    let (front, _) = stage.front().await;
    front.publish(open(app, &[address], &[2]));
    let mut worker = stage.worker().await;
    worker.is_put_to_work().await;
    assert_eq!(stage.notice().await, format!("{app} is open"));
    (front, worker)
}

#[tokio::test]
async fn a_held_address_is_told_and_taken_when_it_is_free() {
    let mut stage = Stage::new();
    let (front, _) = stage.front().await;
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    // Whoever is being forked in another test has it too, for a moment.
    let sentence = format!("web: port {} is held by ", address.port());
    front.publish(open("web", &[address], &[]));
    let told = stage.notice().await;
    assert!(told.starts_with(&sentence), "{told}");
    front.publish(open("web", &[address], &[2]));
    let mut worker = stage.worker().await;
    while !matches!(worker.order().await.0, Order::Route(route) if !route.active.is_empty()) {}
    drop(holder);
    let mut told = stage.notice().await;
    while told.starts_with(&sentence) {
        told = stage.notice().await;
    }
    assert_eq!(told, "web is open");
    assert!(matches!(worker.order().await.0, Order::Listen { .. }));
}

#[test]
fn a_held_address_is_taken_when_it_is_free_though_it_is_still_looked_who_has_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let (look, may_end) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        let mut stage = Stage::new();
        let (front, _) = stage.front().await;
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        // Who looks for the holder has to wait for this one.
        let busy = tokio::task::spawn_blocking(move || may_end.recv());
        front.publish(open("web", &[address], &[2]));
        // Its first try is over then: all of it is on this thread.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        drop(holder);
        assert_eq!(stage.notice().await, "web is open");
        drop(look);
        assert!(busy.await.unwrap().is_err());
    });
}

#[tokio::test]
async fn another_address_is_open_before_the_old_one_is_closed() {
    let mut stage = Stage::new();
    let (old, new) = (free_address(), free_address());
    let (front, mut worker) = opened(&mut stage, "web", old).await;
    front.publish(open("web", &[new], &[2]));
    let (Order::Listen { listener, .. }, along) = worker.order().await else { panic!("not opened first") };
    assert_eq!((listener, along.len()), (2, 1));
    assert_eq!(worker.order().await.0, Order::Unlisten { listener: 1 });
    front.publish(Publication { open: false, listen: vec![new], route: route("web", &[2]) });
    assert_eq!(worker.order().await.0, Order::Unlisten { listener: 2 });
    drop(along);
    TcpListener::bind(new).unwrap();
}

#[tokio::test]
async fn an_address_that_takes_in_the_old_one_is_open_beside_it_and_both_are_closed_with_the_app() {
    let mut stage = Stage::new();
    let old = free_address();
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, old.port()));
    let (front, mut worker) = opened(&mut stage, "web", old).await;
    // A stranger at a part of it: the old one stays.
    let stranger = listener::open((Ipv4Addr::new(127, 0, 0, 2), old.port()).into()).unwrap();
    front.publish(open("web", &[everywhere], &[2]));
    let held = format!("web: port {} is held by pid {} ", old.port(), std::process::id());
    assert!(stage.notice().await.starts_with(&held));
    TcpStream::connect(old).unwrap();
    drop(stranger);
    let (Order::Listen { listener: 2, .. }, along) = worker.order().await else { panic!("not opened first") };
    assert_eq!(along.len(), 1);
    let mut told = stage.notice().await;
    while told.starts_with(&held) {
        told = stage.notice().await;
    }
    assert_eq!(told, "web is open");
    TcpStream::connect(old).unwrap();
    front.publish(Publication { open: false, listen: vec![everywhere], route: route("web", &[2]) });
    for listener in [1, 2] {
        assert_eq!(worker.order().await.0, Order::Unlisten { listener });
    }
}

#[tokio::test]
async fn of_an_address_that_was_taken_in_the_other_app_that_takes_it_in_gets_the_clients() {
    let mut stage = Stage::new();
    let old = free_address();
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, old.port()));
    let (front, mut worker) = opened(&mut stage, "api", old).await;
    let elsewhere = free_address();
    front.publish(open("web", &[everywhere], &[3]));
    front.publish(open("api", &[elsewhere], &[2]));
    let mut orders = Vec::new();
    while orders.last() != Some(&Order::Unlisten { listener: 1 }) {
        orders.push(worker.order().await.0);
    }
    let of_web = |order: &&Order| matches!(order, Order::Listen { app, .. } if app == "web");
    assert_eq!(orders.iter().filter(of_web).count(), 2, "{orders:?}");
}

#[tokio::test]
async fn an_address_that_gave_its_place_to_a_part_of_it_is_closed_when_nobody_is_about_to_connect() {
    let mut stage = Stage::new();
    let part = free_address();
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, part.port()));
    let (front, mut worker) = opened(&mut stage, "web", everywhere).await;
    front.publish(open("web", &[part], &[2]));
    let (Order::Listen { listener: 2, .. }, _) = worker.order().await else { panic!("not opened first") };
    assert_eq!(stage.notice().await, "web is open");
    assert_eq!(worker.order().await.0, Order::Unlisten { listener: 1 });
    TcpStream::connect(part).unwrap();
}

#[tokio::test]
async fn an_address_that_is_wanted_again_before_it_is_closed_takes_new_connections_again() {
    let mut stage = Stage::new();
    let (front, _) = stage.front().await;
    let part = free_address();
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, part.port()));
    front.publish(open("web", &[everywhere], &[2]));
    let mut worker = stage.worker().await;
    worker.is_put_to_work().await;
    for listen in [part, everywhere] {
        front.publish(open("web", &[listen], &[2]));
        while stage.notice().await != "web is open" {}
    }
    front.publish(open("web", &[everywhere], &[4]));
    while worker.order().await.0 != Order::Route(route("web", &[4])) {}
    TcpStream::connect((Ipv4Addr::new(127, 0, 0, 2), part.port())).unwrap();
}

#[tokio::test]
async fn addresses_that_are_served_beside_wider_ones_make_room_for_others() {
    let mut stage = Stage::new();
    let (front, _) = stage.front().await;
    let port = free_address().port();
    let parts = |port: u16| -> Vec<SocketAddr> {
        (1..=130).map(|last| (Ipv4Addr::new(127, 0, 1, last), port).into()).collect()
    };
    front.publish(open("web", &parts(port), &[2]));
    let mut worker = stage.worker().await;
    assert_eq!(stage.notice().await, "web is open");
    front.publish(open("web", &[(Ipv4Addr::UNSPECIFIED, port).into()], &[2]));
    assert_eq!(stage.notice().await, "web is open");
    front.publish(open("api", &parts(free_address().port()), &[3]));
    let obeying = tokio::spawn(async move { while worker.incoming.next().await.unwrap().is_some() {} });
    assert_eq!(stage.notice().await, "api is open");
    obeying.abort();
}

#[tokio::test]
async fn two_apps_that_exchange_their_ports_are_found_at_one_or_the_other_throughout() {
    let mut stage = Stage::new();
    let (front, _) = stage.front().await;
    let (one, other) = (free_address(), free_address());
    front.publish(open("api", &[one], &[2]));
    let mut worker = stage.worker().await;
    worker.is_put_to_work().await;
    front.publish(open("web", &[other], &[3]));
    assert!(matches!(worker.order().await.0, Order::Route(_)));
    let (Order::Listen { listener: 2, .. }, _) = worker.order().await else { panic!("not opened") };
    for open in ["api is open", "web is open"] {
        assert_eq!(stage.notice().await, open);
    }
    front.publish(open("api", &[other], &[2]));
    front.publish(open("web", &[one], &[3]));
    let mut at = HashMap::from([(1, ("api".to_owned(), one)), (2, ("web".to_owned(), other))]);
    let exchanged = [("api".to_owned(), other), ("web".to_owned(), one)];
    while at.len() > 2 || !exchanged.iter().all(|place| at.values().any(|have| have == place)) {
        match worker.order().await {
            (Order::Listen { listener, app }, mut along) => {
                let address = TcpListener::from(along.pop().unwrap()).local_addr().unwrap();
                at.insert(listener, (app, address));
            }
            (Order::Unlisten { listener }, _) => drop(at.remove(&listener)),
            (order, _) => panic!("{order:?}"),
        }
        assert!([one, other].iter().all(|address| at.values().any(|(_, open)| open == address)), "{at:?}");
    }
    for _ in 0..2 {
        assert!(stage.notice().await.ends_with(" is open"), "neither is held by a stranger");
    }
}

#[tokio::test]
async fn an_address_that_another_app_has_until_it_is_gone_is_handed_over_then() {
    let mut stage = Stage::new();
    let address = free_address();
    let (front, mut worker) = opened(&mut stage, "old", address).await;
    front.publish(open("new", &[address], &[3]));
    assert!(matches!(worker.order().await.0, Order::Route(_)));
    assert_eq!(stage.notice().await, format!("new: port {} is still that of old", address.port()));
    front.remove("old".to_owned());
    let (Order::Listen { app, .. }, _) = worker.order().await else { panic!("closed first") };
    assert_eq!(app, "new");
    assert_eq!(worker.order().await.0, Order::Unlisten { listener: 1 });
    assert_eq!(stage.notice().await, "new is open");
}

#[tokio::test]
async fn an_app_that_is_gone_is_removed_with_its_addresses() {
    let mut stage = Stage::new();
    let (front, _) = stage.front().await;
    let address = free_address();
    front.publish(open("web", &[address], &[2]));
    let mut worker = stage.worker().await;
    worker.is_put_to_work().await;
    front.remove("web".to_owned());
    assert_eq!(worker.order().await.0, Order::Unlisten { listener: 1 });
    assert_eq!(worker.order().await.0, Order::Remove { app: "web".to_owned() });
}
