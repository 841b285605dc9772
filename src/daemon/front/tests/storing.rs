//! What the service manager keeps of the public addresses.

use super::meeting::meet;
use super::{Stage, free_address, open, route};
use crate::daemon::front::Publication;
use crate::daemon::front::actor::{Met, Stored};
use crate::linux::descriptors::inode;
use crate::linux::listener;
use crate::proxy::channel::{Order, PROTOCOL};
use std::net::{SocketAddr, TcpListener};

/// What an earlier supervisor had open at a free address, under a name that it gave.
fn stored(name: &str) -> (Stored, SocketAddr, u64) {
    let socket = listener::open("127.0.0.1:0".parse().unwrap()).unwrap();
    let (address, inode) = (socket.local_addr().unwrap(), inode(&socket));
    (Stored { name: name.to_owned(), socket, address }, address, inode)
}

#[tokio::test]
async fn what_is_open_is_kept_and_what_is_closed_is_let_go() {
    let mut stage = Stage::new();
    let (front, _) = stage.front().await;
    let address = free_address();
    front.publish(open("web", &[address], &[1]));
    let (_, socket) = stage.worker().await.is_put_to_work().await;
    let name = format!("port-{}-{}", address.port(), inode(&socket));
    assert_eq!(stage.kept().await, format!("+{name}"));
    // Another app gets the same socket: it stays what it is.
    front.publish(Publication { open: false, listen: vec![address], route: route("web", &[1]) });
    front.publish(open("api", &[address], &[2]));
    assert_eq!(stage.notice().await, "web is open");
    assert_eq!(stage.notice().await, "api is open");
    front.remove("api".to_owned());
    assert_eq!(stage.kept().await, format!("-{name}"));
}

#[tokio::test]
async fn an_address_that_was_kept_is_taken_up_and_the_others_are_let_go() {
    let mut stage = Stage::new();
    let ((web, at_web, inode), (gone, _, _)) = (stored("port-of-before"), stored("gone"));
    stage.stored = vec![web, gone];
    let (front, met) = stage.front().await;
    assert_eq!(met, Met::Nobody);
    front.publish(open("web", &[at_web], &[1]));
    front.close_unclaimed();
    assert_eq!(stage.notice().await, "web is open");
    let name = format!("port-{}-{inode}", at_web.port());
    assert_eq!(stage.kept().await, "-gone");
    assert_eq!(stage.kept().await, format!("+{name}"));
    let (_, socket) = stage.worker().await.is_put_to_work().await;
    assert_eq!(super::descriptors::inode(&socket), inode, "who waits there is not lost");
    front.remove("web".to_owned());
    assert_eq!(stage.kept().await, "-port-of-before", "under whatever name it is kept");
    assert_eq!(stage.kept().await, format!("-{name}"));
}

#[tokio::test]
async fn an_address_that_was_kept_and_is_in_the_way_is_let_go_at_once() {
    let mut stage = Stage::new();
    let everywhere = listener::open("0.0.0.0:0".parse().unwrap()).unwrap();
    let port = everywhere.local_addr().unwrap().port();
    let of_the_service_manager: TcpListener = everywhere.try_clone().unwrap();
    let address = everywhere.local_addr().unwrap();
    stage.stored = vec![Stored { name: "wide".to_owned(), socket: everywhere, address }];
    let (front, _) = stage.front().await;
    let narrow = SocketAddr::from(([127, 0, 0, 1], port));
    front.publish(open("web", &[narrow], &[1]));
    assert_eq!(stage.kept().await, "-wide");
    drop(of_the_service_manager);
    assert_eq!(stage.notice().await, "web is open", "nobody else is said to have it");
}

#[tokio::test]
async fn a_worker_that_is_met_has_the_sockets_that_were_kept() {
    let mut stage = Stage::new();
    let (front, mut worker, address) = meet(&mut stage, PROTOCOL).await;
    front.publish(open("web", &[address], &[9]));
    assert_eq!(worker.order().await.0, Order::Route(route("web", &[9])));
    let name = stage.kept().await;
    assert!(name.starts_with(&format!("+port-{}-", address.port())), "{name}");
}
