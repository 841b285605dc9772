mod addresses;
mod meeting;
mod storing;

use super::actor::{Met, Stored, World, start};
use super::{Front, Publication};
use crate::daemon::notice::Notice;
use crate::linux::descriptors;
use crate::linux::spawn::{Launch, Launched, launch};
use crate::proxy::channel::{AppFigures, Limits, Order, PROTOCOL, Report, Route, TargetFigures, TargetPlace};
use crate::proxy::channel_stream::{Frame, Incoming, Outgoing, both_ways};
use crate::supervisor::RunId;
use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// Stands for the daemon around the task.
struct Stage {
    dir: tempfile::TempDir,
    notices: mpsc::UnboundedReceiver<Notice>,
    said: mpsc::UnboundedReceiver<String>,
    workers: mpsc::UnboundedReceiver<OwnedFd>,
    /// What is kept from here on: `+name`, `-name`.
    kept: mpsc::UnboundedReceiver<String>,
    stored: Vec<Stored>,
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
        let (keep, kept) = mpsc::unbounded_channel();
        let let_go = keep.clone();
        // Somebody has to be the child; the story speaks for it.
        let launch = move |stdin: OwnedFd| {
            drop(spawned.send(stdin));
            Ok(process())
        };
        let world = World {
            runtime_dir: dir.path().to_owned(),
            launch: Box::new(launch),
            knows: Box::new(|_| {}),
            reaped: Box::new(|_| {}),
            notify: Box::new(move |told| drop(notice.send(told))),
            announce: Box::new(move |told| drop(say.send(told))),
            keep: Box::new(move |name, _| drop(keep.send(format!("+{name}")))),
            let_go: Box::new(move |name| drop(let_go.send(format!("-{name}")))),
            look_every: Duration::from_secs(600),
        };
        Stage { dir, notices, said, workers, kept, stored: Vec::new(), world: Some(world) }
    }

    fn looks_every(mut self, span: Duration) -> Stage {
        self.world.as_mut().unwrap().look_every = span;
        self
    }

    async fn front(&mut self) -> (Front, Met) {
        start(self.world.take().unwrap(), std::mem::take(&mut self.stored)).await
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

    async fn kept(&mut self) -> String {
        timeout(PATIENCE, self.kept.recv()).await.unwrap().unwrap()
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
