use super::actor::{Met, World, start};
use super::record::Record;
use super::{Front, Publication};
use crate::daemon::notice::Notice;
use crate::linux::proc::ProcessId;
use crate::linux::spawn::{Launch, Launched, launch};
use crate::linux::{descriptors, listener};
use crate::proxy::channel::{AppFigures, Limits, Listener, Order, PROTOCOL, Report, Route, TargetFigures, TargetPlace};
use crate::proxy::channel_stream::{Frame, Incoming, Outgoing, both_ways};
use crate::supervisor::RunId;
use std::collections::HashMap;
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// Stands for the daemon around the task.
struct Stage {
    dir: tempfile::TempDir,
    notices: mpsc::UnboundedReceiver<Notice>,
    said: mpsc::UnboundedReceiver<String>,
    workers: mpsc::UnboundedReceiver<OwnedFd>,
    world: Option<World>,
}

/// The other end of a channel.
struct Worker {
    incoming: Incoming<Order>,
    outgoing: Outgoing<Report>,
}

impl Stage {
    fn new() -> Stage {
        Stage::at(tempfile::tempdir().unwrap())
    }

    fn at(dir: tempfile::TempDir) -> Stage {
        let (notice, notices) = mpsc::unbounded_channel();
        let (say, said) = mpsc::unbounded_channel();
        let (spawned, workers) = mpsc::unbounded_channel();
        // Somebody has to be the child; the story speaks for it.
        let launch = move |stdin: OwnedFd| {
            drop(spawned.send(stdin));
            Ok(process())
        };
        let world = World {
            runtime_dir: dir.path().to_owned(),
            launch: Box::new(launch),
            reaped: Box::new(|_| {}),
            notify: Box::new(move |told| drop(notice.send(told))),
            announce: Box::new(move |told| drop(say.send(told))),
            look_every: Duration::from_secs(600),
        };
        Stage { dir, notices, said, workers, world: Some(world) }
    }

    fn looks_every(mut self, span: Duration) -> Stage {
        self.world.as_mut().unwrap().look_every = span;
        self
    }

    async fn front(&mut self) -> (Front, Met) {
        start(self.world.take().unwrap()).await
    }

    async fn worker(&mut self) -> Worker {
        let stdin = timeout(PATIENCE, self.workers.recv()).await.unwrap().unwrap();
        let stream = StdStream::from(stdin);
        stream.set_nonblocking(true).unwrap();
        Worker::at(UnixStream::from_std(stream).unwrap())
    }

    async fn notice(&mut self) -> String {
        told(timeout(PATIENCE, self.notices.recv()).await.unwrap().unwrap())
    }

    async fn happening(&mut self) -> String {
        timeout(PATIENCE, self.said.recv()).await.unwrap().unwrap()
    }
}

impl Worker {
    fn at(stream: UnixStream) -> Worker {
        let (incoming, outgoing) = both_ways(stream);
        Worker { incoming, outgoing }
    }

    async fn order(&mut self) -> (Order, Vec<OwnedFd>) {
        let frame = timeout(PATIENCE, self.incoming.next()).await.unwrap().unwrap();
        let Frame { words, descriptors } = frame.expect("the channel is open");
        (words, descriptors)
    }

    async fn say(&mut self, report: Report) {
        self.outgoing.send(&report, &[]).await.unwrap();
    }

    async fn hello(&mut self) {
        self.say(Report::Hello { protocol: PROTOCOL, version: "1".to_owned(), pid: 1, listeners: Vec::new() }).await;
    }

    /// Attach, and then what it is to do for one app with one address.
    async fn is_put_to_work(&mut self) -> (Route, OwnedFd) {
        let (attach, along) = self.order().await;
        assert_eq!(attach, Order::Attach { protocol: PROTOCOL });
        assert!(along.len() == 1 && descriptors::is_listening(&along[0]));
        let (Order::Route(route), _) = self.order().await else { panic!("no route") };
        let (Order::Listen { app, .. }, mut along) = self.order().await else { panic!("no listener") };
        assert_eq!(app, route.app);
        (route, along.pop().unwrap())
    }
}

/// Stands for a worker's process that an earlier supervisor started.
fn process() -> Launched {
    let null = || OwnedFd::from(File::options().write(true).open("/dev/null").unwrap());
    let sleep = Launch {
        command: vec!["/bin/sleep".into(), "600".into()],
        cwd: "/".into(),
        env: Vec::new(),
        identity: None,
        called: None,
        stdin: None,
        stdout: null(),
        stderr: null(),
        cgroup: None,
        nofile: None,
    };
    launch(sleep, |_| {}).unwrap()
}

fn told(notice: Notice) -> String {
    match notice {
        Notice::PortHeld { app, holder } => format!("{app}: {holder}"),
        Notice::PortOpen { app } => format!("{app} is open"),
        Notice::InFlight { run, requests, streams } => format!("{run} has {requests} and {streams}"),
        Notice::Traffic { run, answered, errors } => format!("{run} answered {answered}, {errors} badly"),
        Notice::Landed { .. }
        | Notice::Exited { .. }
        | Notice::Probed { .. }
        | Notice::OverLimit { .. }
        | Notice::Saved { .. } => panic!("not of the front"),
    }
}

fn route(app: &str, active: &[u64]) -> Route {
    let place = |target: &u64| TargetPlace { target: *target, address: "127.0.0.1:21000".parse().unwrap() };
    Route {
        app: app.to_owned(),
        active: active.iter().map(place).collect(),
        active_deployment: None,
        warm: None,
        hold_ms: 10_000,
        trusted: Vec::new(),
        limits: Limits { connections: 10_000, header_timeout_ms: 10_000, head: 32_768, idle_ms: 80_000 },
    }
}

fn open(app: &str, listen: &[SocketAddr], active: &[u64]) -> Publication {
    Publication { open: true, listen: listen.to_vec(), route: route(app, active) }
}

/// An address that nobody has, one of many a process.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn socket(dir: &Path) -> std::path::PathBuf {
    dir.join("worker.sock")
}

#[tokio::test]
async fn no_worker_is_started_before_an_app_is_open_and_then_it_gets_routes_and_listeners() {
    let mut stage = Stage::new();
    let (front, met) = stage.front().await;
    assert_eq!(met, Met::Nobody);
    assert!(front.is_obeyed(PATIENCE).await, "nobody has to be there");
    let address = free_address();
    front.publish(Publication { open: false, listen: vec![address], route: route("web", &[]) });
    front.drain(RunId(1));
    assert_eq!(stage.notice().await, "1 has 0 and 0", "it was never published");
    assert!(stage.workers.try_recv().is_err());
    front.publish(open("web", &[address], &[2]));
    let mut worker = stage.worker().await;
    let (given, listener) = worker.is_put_to_work().await;
    assert_eq!(given, route("web", &[2]));
    assert_eq!(TcpListener::from(listener).local_addr().unwrap(), address);
    assert_eq!(stage.notice().await, "web is open");
    assert!(!socket(stage.dir.path()).exists());
    worker.hello().await;
    while !socket(stage.dir.path()).exists() {
        tokio::task::yield_now().await;
    }
    front.publish(open("web", &[address], &[3]));
    assert_eq!(worker.order().await.0, Order::Route(route("web", &[3])));
}

#[tokio::test]
async fn a_dead_worker_is_replaced_at_once_with_all_it_had_and_its_counts_stay() {
    let mut stage = Stage::new();
    let (front, _) = stage.front().await;
    let address = free_address();
    front.publish(open("web", &[address], &[2]));
    let mut first = stage.worker().await;
    first.is_put_to_work().await;
    assert_eq!(stage.notice().await, "web is open");
    let app = AppFigures { app: "web".to_owned(), connections: 4, answers: [0, 9, 0, 0, 1], ..AppFigures::default() };
    let target = TargetFigures { target: 2, requests: 1, streams: 0, answered: 10, errors: 1 };
    first.say(Report::Figures { apps: vec![app], targets: vec![target] }).await;
    assert_eq!(stage.notice().await, "2 answered 10, 1 badly");
    assert_eq!(front.figures().connections(), 4);
    front.publish(open("web", &[address], &[3]));
    front.drain(RunId(2));
    drop(first);
    let happening = stage.happening().await;
    assert!(happening.contains("ended (SIGKILL); another one takes over"), "{happening}");
    assert_eq!(stage.notice().await, "2 has 0 and 0", "what it had in flight is gone with it");
    let mut second = stage.worker().await;
    let (given, listener) = second.is_put_to_work().await;
    assert_eq!(given, route("web", &[3]));
    assert_eq!(TcpListener::from(listener).local_addr().unwrap(), address);
    let figures = front.figures();
    assert_eq!((figures.connections(), figures.of_app("web").requests, figures.restarts()), (0, 10, 1));
}

#[tokio::test]
async fn a_drained_run_is_told_of_as_the_worker_tells() {
    let mut stage = Stage::new();
    let (front, _) = stage.front().await;
    let address = free_address();
    front.publish(open("web", &[address], &[2]));
    let mut worker = stage.worker().await;
    worker.is_put_to_work().await;
    assert_eq!(stage.notice().await, "web is open");
    front.publish(open("web", &[address], &[3]));
    front.drain(RunId(2));
    assert!(matches!(worker.order().await.0, Order::Route(_)), "first the others, then the drain");
    assert_eq!(worker.order().await.0, Order::Retire { target: 2 });
    worker.say(Report::InFlight { target: 2, requests: 2, streams: 1 }).await;
    assert_eq!(stage.notice().await, "2 has 2 and 1");
    front.cut(RunId(2));
    assert_eq!(worker.order().await.0, Order::Cut { target: 2 });
    worker.say(Report::InFlight { target: 2, requests: 0, streams: 0 }).await;
    assert_eq!(stage.notice().await, "2 has 0 and 0");
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

#[tokio::test]
async fn another_address_is_open_before_the_old_one_is_closed() {
    let mut stage = Stage::new();
    let (front, _) = stage.front().await;
    let (old, new) = (free_address(), free_address());
    front.publish(open("web", &[old], &[2]));
    let mut worker = stage.worker().await;
    worker.is_put_to_work().await;
    assert_eq!(stage.notice().await, "web is open");
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
async fn an_address_that_takes_in_the_old_one_is_open_before_that_is_closed() {
    let mut stage = Stage::new();
    let (front, _) = stage.front().await;
    let old = free_address();
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, old.port()));
    front.publish(open("web", &[old], &[2]));
    let mut worker = stage.worker().await;
    worker.is_put_to_work().await;
    assert_eq!(stage.notice().await, "web is open");
    // A stranger at a part of it: the old one stays.
    let stranger = listener::open((Ipv4Addr::new(127, 0, 0, 2), old.port()).into()).unwrap();
    front.publish(open("web", &[everywhere], &[2]));
    let held = format!("web: port {} is held by pid {} ", old.port(), std::process::id());
    assert!(stage.notice().await.starts_with(&held));
    TcpStream::connect(old).unwrap();
    drop(stranger);
    let (Order::Listen { listener: 2, .. }, along) = worker.order().await else { panic!("not opened first") };
    assert_eq!(along.len(), 1);
    assert_eq!(worker.order().await.0, Order::Unlisten { listener: 1 });
    let mut told = stage.notice().await;
    while told.starts_with(&held) {
        told = stage.notice().await;
    }
    assert_eq!(told, "web is open");
    TcpStream::connect(old).unwrap();
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
    let (front, _) = stage.front().await;
    let address = free_address();
    front.publish(open("old", &[address], &[2]));
    let mut worker = stage.worker().await;
    worker.is_put_to_work().await;
    assert_eq!(stage.notice().await, "old is open");
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

/// Begins where an earlier supervisor left a worker with one listener, of an app `web`.
async fn meet(stage: &mut Stage, protocol: u32) -> (Front, Worker, SocketAddr) {
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
    assert_eq!(old.order().await.0, Order::Leave);
    assert_eq!(stage.notice().await, "web is open");
}

#[tokio::test]
async fn a_worker_that_obeys_no_more_is_killed_and_replaced_and_no_drain_waits_for_it() {
    let mut stage = Stage::new().looks_every(Duration::from_millis(100));
    let (front, _) = stage.front().await;
    let address = free_address();
    front.publish(open("web", &[address], &[2]));
    let mut first = stage.worker().await;
    first.is_put_to_work().await;
    assert_eq!(stage.notice().await, "web is open");
    for _ in 0..5 {
        let (Order::Retire { target }, _) = first.order().await else { panic!("not asked") };
        first.say(Report::InFlight { target, requests: 0, streams: 0 }).await;
    }
    front.publish(open("web", &[address], &[3]));
    front.drain(RunId(2));
    assert_eq!(stage.happening().await, "the proxy worker obeys no order any more: it is killed");
    // The kernel closes what a killed one has.
    drop(first);
    assert!(stage.happening().await.contains("ended (SIGKILL); another one takes over"));
    assert_eq!(stage.notice().await, "2 has 0 and 0");
    assert_eq!(stage.worker().await.is_put_to_work().await.0, route("web", &[3]));
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
    assert_eq!(old.order().await.0, Order::Leave);
    let mut new = stage.worker().await;
    assert!(matches!(new.order().await.0, Order::Attach { .. }));
    let (Order::Listen { listener: 5, .. }, mut along) = new.order().await else { panic!("no listener") };
    assert_eq!(TcpListener::from(along.pop().unwrap()).local_addr().unwrap(), address);
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

#[tokio::test]
async fn the_end_is_the_workers_end_and_nothing_is_left_for_a_next_supervisor_to_meet() {
    let mut stage = Stage::new();
    let (front, _) = stage.front().await;
    front.publish(open("web", &[free_address()], &[2]));
    let mut worker = stage.worker().await;
    worker.is_put_to_work().await;
    worker.hello().await;
    let obeying = tokio::spawn(async move { while worker.order().await.0 != Order::Exit {} });
    timeout(PATIENCE, front.end()).await.unwrap();
    obeying.await.unwrap();
    assert!(!socket(stage.dir.path()).exists());
    let (front, _) = Stage::new().front().await;
    timeout(PATIENCE, front.end()).await.unwrap();
}
