//! A worker and the supervisor that it obeys: this test.

use crate::origin::Origin;
use infissi::linux::exit::{Exit, wait_status};
use infissi::linux::limits::Nofile;
use infissi::linux::listener;
use infissi::linux::pidfd::pidfd_send_signal;
use infissi::linux::spawn::{Launch, Launched, launch};
use infissi::proxy::channel::{Limits, Listener, Order, PROTOCOL, Report, Route};
use infissi::proxy::channel_stream::{ChannelError, Incoming, Outgoing, both_ways};
use std::fs::File;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixStream;

/// How long anything may take: machines are slow, and a story that works does not wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
pub(crate) const LISTENER: u64 = 7;

/// The future's value, or the test fails because it never came.
#[track_caller]
pub(crate) fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(value) => value,
            Err(_) => panic!("it never came at {place}"),
        }
    }
}

pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(tokio::time::Instant::now() < until, "it never came that {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// The end of a process that we started, waited for.
pub(crate) async fn end_of(launched: &Launched) -> Exit {
    let mut exit = None;
    eventually("it ends", || {
        exit = wait_status(launched.pidfd.as_fd()).unwrap();
        exit.is_some()
    })
    .await;
    exit.unwrap()
}

/// A public port, and the address to reach it by.
pub(crate) fn public_port() -> (TcpListener, SocketAddr) {
    let listener = listener::open((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) fn route(active: &[&Origin]) -> Route {
    Route {
        app: "shop".to_owned(),
        active: active.iter().map(|origin| origin.place()).collect(),
        active_deployment: None,
        warm: None,
        hold_ms: 60_000,
        trusted: Vec::new(),
        limits: Limits { connections: 10_000, header_timeout_ms: 60_000, head: 32_768, idle_ms: 60_000 },
    }
}

/// One end of the channel.
pub(crate) struct Supervisor {
    incoming: Incoming<Report>,
    outgoing: Outgoing<Order>,
}

/// What a supervisor hears when it attaches.
pub(crate) struct Hello {
    pub(crate) pid: i32,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) sockets: Vec<OwnedFd>,
}

impl Supervisor {
    pub(crate) fn new(stream: StdUnixStream) -> Supervisor {
        stream.set_nonblocking(true).unwrap();
        let (incoming, outgoing) = both_ways(UnixStream::from_std(stream).unwrap());
        Supervisor { incoming, outgoing }
    }

    pub(crate) async fn attach(&mut self, door: Option<BorrowedFd<'_>>) -> Hello {
        let order = Order::Attach { protocol: PROTOCOL };
        self.outgoing.send(&order, &door.into_iter().collect::<Vec<_>>()).await.unwrap();
        let frame = soon(self.incoming.next()).await.unwrap().unwrap();
        let Report::Hello { protocol, version, pid, listeners } = frame.words else { panic!("{:?}", frame.words) };
        assert_eq!((protocol, version.as_str()), (PROTOCOL, env!("CARGO_PKG_VERSION")));
        Hello { pid, listeners, sockets: frame.descriptors }
    }

    pub(crate) async fn order(&mut self, order: Order) {
        soon(self.outgoing.send(&order, &[])).await.unwrap();
    }

    pub(crate) async fn listen(&mut self, listener: u64, socket: &TcpListener) {
        let order = Order::Listen { listener, app: "shop".to_owned() };
        soon(self.outgoing.send(&order, &[socket.as_fd()])).await.unwrap();
    }

    pub(crate) async fn route(&mut self, active: &[&Origin]) {
        self.order(Order::Route(route(active))).await;
    }

    /// None when the worker, or its interest, has ended.
    pub(crate) async fn report(&mut self) -> Option<Report> {
        soon(self.incoming.next()).await.unwrap().map(|frame| frame.words)
    }

    /// Waits until a retired target has nothing in flight.
    pub(crate) async fn is_drained(&mut self, of: &Origin) {
        while self.in_flight(of).await != (0, 0) {}
    }

    /// The next word on what a target has in flight: requests and streams.
    pub(crate) async fn in_flight(&mut self, of: &Origin) -> (u64, u64) {
        loop {
            if let Report::InFlight { target, requests, streams } = self.report().await.unwrap()
                && target == of.target
            {
                return (requests, streams);
            }
        }
    }

    /// An error when nobody listens to orders any more.
    pub(crate) async fn try_order(&mut self, order: Order) -> Result<(), ChannelError> {
        soon(self.outgoing.send(&order, &[])).await
    }

    /// Everything that was ordered before is done when this returns.
    pub(crate) async fn is_obeyed(&mut self) {
        const NOBODY: u64 = u64::MAX;
        self.order(Order::Retire { target: NOBODY }).await;
        while !matches!(self.report().await.unwrap(), Report::InFlight { target: NOBODY, .. }) {}
    }

    pub(crate) async fn hears_nothing_more(&mut self) {
        while self.report().await.is_some() {}
    }
}

/// The process, and the supervisor at its stdin.
pub(crate) struct Worker {
    pub(crate) supervisor: Supervisor,
    launched: Launched,
    dir: TempDir,
}

impl Worker {
    /// Started and not attached to.
    pub(crate) fn start(nofile: Option<Nofile>) -> Worker {
        let dir = tempfile::tempdir().unwrap();
        let words = File::create(dir.path().join("stderr")).unwrap();
        let (here, there) = StdUnixStream::pair().unwrap();
        let launched = launch(
            Launch {
                command: vec![env!("CARGO_BIN_EXE_infissi-supervisord").into(), "proxy".into()],
                cwd: "/".into(),
                env: Vec::new(),
                identity: None,
                called: None,
                stdin: Some(there.into()),
                stdout: words.try_clone().unwrap().into(),
                stderr: words.into(),
                cgroup: None,
                nofile,
            },
            |_| {},
        );
        Worker { supervisor: Supervisor::new(here), launched: launched.unwrap(), dir }
    }

    /// Started, attached to, listening, and with this route.
    pub(crate) async fn serving(socket: &TcpListener, active: &[&Origin]) -> Worker {
        let mut worker = Worker::start(None);
        worker.supervisor.attach(None).await;
        worker.supervisor.route(active).await;
        worker.supervisor.listen(LISTENER, socket).await;
        worker
    }

    pub(crate) fn pid(&self) -> i32 {
        self.launched.pid
    }

    pub(crate) fn signal(&self, signal: i32) {
        pidfd_send_signal(self.launched.pidfd.as_fd(), signal).unwrap();
    }

    /// What it wrote to stdout and stderr.
    pub(crate) fn words(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }

    pub(crate) fn door_path(&self) -> PathBuf {
        self.dir.path().join("worker.sock")
    }

    pub(crate) async fn ended(&self) -> Exit {
        end_of(&self.launched).await
    }

    /// Processor time that it has used, hundredths of a second (proc_pid_stat(5)).
    pub(crate) fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        [11, 12].iter().map(|place| fields[*place].parse::<u64>().unwrap()).sum()
    }

    /// Memory that is its own, not the program's file, kB.
    pub(crate) fn kilobytes(&self) -> u64 {
        self.fact("status", "RssAnon").trim_end_matches(" kB").parse().unwrap()
    }

    /// A line of /proc/PID/`file` that begins so.
    pub(crate) fn fact(&self, file: &str, name: &str) -> String {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', ' ', '\t']).to_owned()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It fails for one that has ended, which is what is wanted. Whoever is not reaped goes with this process.
        let _killed = pidfd_send_signal(self.launched.pidfd.as_fd(), 9);
    }
}
