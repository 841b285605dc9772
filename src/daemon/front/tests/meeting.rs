//! The worker of an earlier supervisor.

use super::{PATIENCE, Stage, Worker, free_address, open, process, route, socket};
use crate::daemon::front::actor::Met;
use crate::daemon::front::record::Record;
use crate::daemon::front::{Front, Publication};
use crate::linux::listener;
use crate::linux::proc::ProcessId;
use crate::proxy::channel::{Listener, Order, PROTOCOL, Report};
use crate::supervisor::RunId;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tokio::net::UnixListener;

/// Begins where an earlier supervisor left a worker with one listener, of an app `web`.
pub(super) async fn meet(stage: &mut Stage, protocol: u32) -> (Front, Worker, SocketAddr) {
    if Record::read(stage.dir.path()).is_none() {
        let own = ProcessId { pid: 0, start_time: 0 };
        Record::new(own).write(stage.dir.path()).unwrap();
    }
    let attaching = UnixListener::bind(socket(stage.dir.path())).unwrap();
    let listener = listener::open("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let listeners = vec![Listener { listener: 5, app: "web".to_owned(), address }];
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let hello = Report::Hello { protocol, version, pid: 4711, listeners };
    let meeting = tokio::spawn(async move {
        let mut worker = Worker::at(attaching.accept().await.unwrap().0);
        assert_eq!(worker.order().await.0, Order::Attach { protocol: PROTOCOL });
        worker.outgoing.send(&hello, &[listener.as_fd()]).await.unwrap();
        worker
    });
    let (front, met) = stage.front().await;
    assert_eq!(met, Met::AWorker);
    (front, meeting.await.unwrap(), address)
}

#[tokio::test]
async fn a_worker_that_outlived_its_supervisor_is_met_and_its_listeners_taken_over() {
    let mut stage = Stage::new();
    let (front, mut worker, address) = meet(&mut stage, PROTOCOL).await;
    assert_eq!(front.figures().serving().unwrap().pid, 4711);
    front.publish(open("web", &[address], &[9]));
    assert_eq!(stage.notice().await, "web is open");
    assert_eq!(worker.order().await.0, Order::Route(route("web", &[9])), "nothing is opened anew");
    let obeying = async {
        let (Order::Retire { target }, _) = worker.order().await else { panic!("not asked") };
        worker.say(Report::InFlight { target, requests: 0, streams: 0 }).await;
    };
    assert!(tokio::join!(front.is_obeyed(PATIENCE), obeying).0);
    front.publish(Publication { open: false, listen: vec![address], route: route("web", &[9]) });
    assert_eq!(worker.order().await.0, Order::Unlisten { listener: 5 });
}

/// Answers how many requests a run still has, once it is asked.
async fn retire(worker: &mut Worker, run: u64, requests: u64) {
    while worker.order().await.0 != (Order::Retire { target: run }) {}
    worker.say(Report::InFlight { target: run, requests, streams: 0 }).await;
}

#[tokio::test]
async fn a_worker_that_ends_before_its_first_word_is_nobody_that_a_drain_waits_for() {
    let mut stage = Stage::new();
    let attaching = UnixListener::bind(socket(stage.dir.path())).unwrap();
    tokio::spawn(async move { drop(attaching.accept().await.unwrap()) });
    let (front, met) = stage.front().await;
    assert_eq!(met, Met::Nobody);
    front.publish(open("web", &[free_address()], &[2]));
    let mut worker = stage.worker().await;
    worker.is_put_to_work().await;
    assert_eq!(stage.notice().await, "web is open");
    front.drain(RunId(2));
    retire(&mut worker, 2, 0).await;
    assert_eq!(stage.notice().await, "2 has 0 and 0");
}

/// It answers what it is asked after all that it was told.
async fn is_at_the_doors(worker: &mut Worker) {
    let (Order::Retire { target }, _) = worker.order().await else { panic!("it is not asked") };
    worker.say(Report::InFlight { target, requests: 0, streams: 0 }).await;
}

#[tokio::test]
async fn a_worker_that_comes_to_itself_late_gives_its_port_over_before_it_leaves() {
    let mut stage = Stage::new();
    let attaching = UnixListener::bind(socket(stage.dir.path())).unwrap();
    let listener = listener::open("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let (front, met) = stage.front().await;
    assert_eq!(met, Met::AWorker, "its runs have numbers that are not to be given again");
    let mut old = Worker::at(attaching.accept().await.unwrap().0);
    front.publish(open("web", &[address], &[9]));
    let mut new = stage.worker().await;
    assert!(matches!(new.order().await.0, Order::Attach { .. }));
    assert!(stage.notice().await.starts_with("web: port"), "the silent one has it");
    front.drain(RunId(9));
    retire(&mut new, 9, 0).await;
    assert_eq!(stage.notice().await, "9 has 0 and 0", "nobody waits for the silent one");
    assert_eq!(old.order().await.0, Order::Attach { protocol: PROTOCOL });
    let listeners = vec![Listener { listener: 1, app: "web".to_owned(), address }];
    let hello = Report::Hello { protocol: PROTOCOL, version: "0.9".to_owned(), pid: 4711, listeners };
    old.outgoing.send(&hello, &[listener.as_fd()]).await.unwrap();
    let (Order::Listen { listener: 1, app }, mut along) = new.order().await else { panic!("not given over") };
    assert_eq!((app.as_str(), TcpListener::from(along.pop().unwrap()).local_addr().unwrap()), ("web", address));
    assert_eq!(old.order().await.0, Order::Route(route("web", &[9])));
    is_at_the_doors(&mut new).await;
    assert_eq!(old.order().await.0, Order::Leave);
    assert_eq!(stage.notice().await, "web is open");
}

#[tokio::test]
async fn a_met_worker_that_says_no_more_is_ended_before_another_one_takes_its_ports() {
    let mut stage = Stage::new();
    let child = process();
    let earlier = ProcessId { pid: child.pid, start_time: child.start_time };
    Record::new(earlier).write(stage.dir.path()).unwrap();
    let (front, worker, address) = meet(&mut stage, PROTOCOL).await;
    front.publish(open("web", &[address], &[9]));
    assert_eq!(stage.notice().await, "web is open");
    drop(worker);
    let mut next = stage.worker().await;
    assert!(!earlier.is_alive(), "two would serve, one of them with routes of yesterday");
    next.is_put_to_work().await;
    next.hello().await;
    while Record::read(stage.dir.path()) == Some(Record::new(earlier)) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_nobody_claims_of_an_earlier_supervisors_addresses_is_closed() {
    let mut stage = Stage::new();
    let (front, mut worker, address) = meet(&mut stage, PROTOCOL).await;
    front.publish(open("site", &[address], &[]));
    assert_eq!(worker.order().await.0, Order::Route(route("site", &[])));
    let (Order::Listen { listener: 6, app }, along) = worker.order().await else { panic!("not taken over") };
    assert_eq!((app.as_str(), along.len()), ("site", 1), "the address goes to an app of another name without a gap");
    assert_eq!(worker.order().await.0, Order::Unlisten { listener: 5 });
    assert_eq!(stage.notice().await, "site is open");
    front.remove("site".to_owned());
    assert_eq!(worker.order().await.0, Order::Unlisten { listener: 6 });
    assert_eq!(worker.order().await.0, Order::Remove { app: "site".to_owned() });

    let mut stage = Stage::new();
    let (front, mut worker, _) = meet(&mut stage, PROTOCOL).await;
    front.close_unclaimed();
    assert_eq!(worker.order().await.0, Order::Unlisten { listener: 5 });
    assert_eq!(worker.order().await.0, Order::Remove { app: "web".to_owned() });
}

#[tokio::test]
async fn a_worker_of_another_language_leaves_and_another_one_gets_its_listeners() {
    let mut stage = Stage::new();
    let (front, mut old, address) = meet(&mut stage, PROTOCOL + 1).await;
    let mut new = stage.worker().await;
    assert!(matches!(new.order().await.0, Order::Attach { .. }));
    let (Order::Listen { listener: 5, .. }, mut along) = new.order().await else { panic!("no listener") };
    assert_eq!(TcpListener::from(along.pop().unwrap()).local_addr().unwrap(), address);
    // Before, nobody would be there if the supervisor were killed.
    is_at_the_doors(&mut new).await;
    assert_eq!(old.order().await.0, Order::Leave);
    front.publish(open("web", &[address], &[9]));
    for worker in [&mut old, &mut new] {
        assert_eq!(worker.order().await.0, Order::Route(route("web", &[9])));
    }
    front.publish(open("web", &[address], &[]));
    front.drain(RunId(9));
    for (worker, requests) in [(&mut old, 2), (&mut new, 1)] {
        assert!(matches!(worker.order().await.0, Order::Route(_)));
        assert_eq!(worker.order().await.0, Order::Retire { target: 9 });
        worker.say(Report::InFlight { target: 9, requests, streams: 0 }).await;
    }
    assert_eq!(stage.notice().await, "web is open");
    assert_eq!(stage.notice().await, "9 has 3 and 0");
    drop(old);
    assert_eq!(stage.notice().await, "9 has 1 and 0");
}

fn inode(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().ino()
}

#[tokio::test]
async fn a_worker_that_is_to_leave_makes_room_for_the_next_one_and_can_still_be_found() {
    let mut stage = Stage::new();
    let (_front, mut old, _) = meet(&mut stage, PROTOCOL + 1).await;
    let (shown, left) = (socket(stage.dir.path()), stage.dir.path().join(".worker-left-0"));
    let its_own = inode(&shown);
    let mut new = stage.worker().await;
    assert!(matches!(new.order().await.0, Order::Attach { .. }));
    assert!(matches!(new.order().await.0, Order::Listen { .. }));
    new.hello().await;
    is_at_the_doors(&mut new).await;
    assert_eq!(old.order().await.0, Order::Leave);
    assert_eq!(inode(&left), its_own);
    assert_ne!(inode(&shown), its_own);
    drop(old);
    while left.exists() {
        tokio::task::yield_now().await;
    }
    assert!(shown.exists());
}

#[tokio::test]
async fn a_worker_that_was_told_to_leave_by_an_earlier_supervisor_has_the_routes_of_today() {
    let mut stage = Stage::new();
    let place = stage.dir.path().join(".worker-left-3");
    let attaching = UnixListener::bind(&place).unwrap();
    std::fs::write(stage.dir.path().join(".worker-left-4"), "of nobody who is there").unwrap();
    let meeting = tokio::spawn(async move {
        let mut worker = Worker::at(attaching.accept().await.unwrap().0);
        assert_eq!(worker.order().await.0, Order::Attach { protocol: PROTOCOL });
        worker.hello().await;
        worker
    });
    let (front, mut current, address) = meet(&mut stage, PROTOCOL).await;
    let mut leaving = meeting.await.unwrap();
    assert!(place.exists() && !stage.dir.path().join(".worker-left-4").exists());
    assert_eq!(front.figures().serving().unwrap().pid, 4711);
    is_at_the_doors(&mut current).await;
    assert_eq!(leaving.order().await.0, Order::Leave, "it may not have heard that yet");
    front.publish(open("web", &[address], &[9]));
    front.publish(open("web", &[address], &[10]));
    front.drain(RunId(9));
    for (worker, requests) in [(&mut current, 0), (&mut leaving, 2)] {
        for run in [9, 10] {
            assert_eq!(worker.order().await.0, Order::Route(route("web", &[run])));
        }
        retire(worker, 9, requests).await;
    }
    assert_eq!(stage.notice().await, "web is open");
    assert_eq!(stage.notice().await, "9 has 2 and 0");
}
