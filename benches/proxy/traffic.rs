//! Both ends of the proxies in one loop of one thread, clients and origin, so that the two share a core without waiting
//! for one another.

use crate::client::{Client, Question, Step};
use crate::load::{Body, Load, Outcome};
use crate::origin::Origin;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};
use std::collections::VecDeque;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

const LISTENER: u64 = u64::MAX;
/// Set in the tokens of the origin's connections.
const ORIGIN: u64 = 1 << 32;
/// A loop that does nothing for so long has lost an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many connections are opened at a time that are only to be there.
const BATCH: usize = 100;

pub(crate) struct Traffic {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    scratch: Vec<u8>,
    origin: Origin,
    clients: Vec<Client>,
    opened: usize,
}

/// What the clients are doing.
struct Run {
    question: Question,
    to: SocketAddrV4,
    keep_alive: bool,
    /// Clients that may ask.
    idle: VecDeque<usize>,
    /// Requests that have no complete answer.
    open: usize,
    /// Clients that wait for the end of their connection.
    ending: usize,
    latencies: Vec<u32>,
}

impl Traffic {
    pub(crate) fn new() -> Traffic {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
        let origin = Origin::open(&epoll, LISTENER);
        Traffic {
            epoll,
            events: vec![EpollEvent::empty(); 256],
            scratch: vec![0; 256 * 1024],
            origin,
            clients: Vec::new(),
            opened: 0,
        }
    }

    pub(crate) fn origin(&self) -> SocketAddr {
        self.origin.address()
    }

    /// `cpu` is asked when the measured span begins and ends.
    pub(crate) fn run(&mut self, load: &Load, cpu: impl Fn() -> Duration) -> Outcome {
        let mut run = Run::new(load.to, load.body, load.keep_alive);
        self.open(&mut run, load.connections);
        let mut due = Instant::now();
        let gap = load.rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
        let from = due + load.warm_up;
        let mut began: Option<(Instant, Duration)> = None;
        let outcome = loop {
            let now = Instant::now();
            match began {
                None if now >= from => {
                    run.latencies.clear();
                    began = Some((now, cpu()));
                }
                Some((began, before)) if now >= began + load.span => {
                    break Outcome {
                        requests: run.latencies.len(),
                        span: now - began,
                        cpu: cpu().saturating_sub(before),
                        latencies: std::mem::take(&mut run.latencies),
                    };
                }
                None | Some(_) => {}
            }
            match gap {
                None => {
                    while let Some(client) = run.idle.pop_front() {
                        self.ask(&mut run, client, Instant::now());
                    }
                }
                // From when it was due: a request that waits for a free connection is a slow one.
                Some(gap) => {
                    while due <= now
                        && let Some(client) = run.idle.pop_front()
                    {
                        self.ask(&mut run, client, due);
                        due += gap;
                    }
                }
            }
            self.turn(&mut run, if gap.is_some() { Duration::ZERO } else { load.span });
        };
        self.settle(&mut run);
        self.clients.clear();
        let mut outcome = outcome;
        outcome.latencies.sort_unstable();
        outcome
    }

    /// Opens so many connections, each of which asks once and then keeps silent until [`Traffic::let_go`].
    pub(crate) fn hold(&mut self, to: SocketAddr, connections: usize) {
        let mut run = Run::new(to, Body::Small, true);
        while self.clients.len() < connections {
            self.open(&mut run, BATCH.min(connections - self.clients.len()));
            while let Some(client) = run.idle.pop_front() {
                self.ask(&mut run, client, Instant::now());
            }
            self.settle(&mut run);
            run.idle.clear();
        }
    }

    pub(crate) fn let_go(&mut self) {
        self.clients.clear();
    }

    fn open(&mut self, run: &mut Run, connections: usize) {
        for _ in 0..connections {
            let index = self.clients.len();
            let client = self.connect(run.to, index);
            self.clients.push(client);
            run.idle.push_back(index);
        }
    }

    fn connect(&mut self, to: SocketAddrV4, index: usize) -> Client {
        self.opened += 1;
        let source = u8::try_from(1 + self.opened % 250).unwrap();
        Client::connect(&self.epoll, index as u64, to, source)
    }

    fn ask(&mut self, run: &mut Run, client: usize, asked: Instant) {
        run.open += 1;
        self.clients[client].ask(&self.epoll, client as u64, &run.question, asked);
    }

    /// Until every question that was asked is answered.
    fn settle(&mut self, run: &mut Run) {
        while run.open + run.ending > 0 {
            self.turn(run, PATIENCE);
        }
    }

    fn turn(&mut self, run: &mut Run, at_most: Duration) {
        let timeout = EpollTimeout::try_from(at_most).unwrap();
        let ready = self.epoll.wait(&mut self.events, timeout).unwrap();
        assert!(ready > 0 || at_most < PATIENCE, "no answer is lost");
        for at in 0..ready {
            match self.events[at].data() {
                LISTENER => self.origin.accept(&self.epoll, |index| ORIGIN | index as u64),
                token if token & ORIGIN != 0 => {
                    let index = usize::try_from(token ^ ORIGIN).unwrap();
                    self.origin.go_on(&self.epoll, index, token, &mut self.scratch);
                }
                token => self.client_ready(run, token),
            }
        }
    }

    fn client_ready(&mut self, run: &mut Run, token: u64) {
        let index = usize::try_from(token).unwrap();
        match self.clients[index].go_on(&self.epoll, token, &run.question, &mut self.scratch) {
            Step::Waiting => {}
            Step::Answered { asked } => {
                run.latencies.push(u32::try_from(asked.elapsed().as_nanos()).unwrap_or(u32::MAX));
                run.open -= 1;
                if run.keep_alive {
                    run.idle.push_back(index);
                } else {
                    run.ending += 1;
                }
            }
            Step::Over => {
                run.ending -= 1;
                self.clients[index] = self.connect(run.to, index);
                run.idle.push_back(index);
            }
        }
    }
}

impl Run {
    fn new(to: SocketAddr, body: Body, keep_alive: bool) -> Run {
        let SocketAddr::V4(to) = to else { panic!("the proxies listen on IPv4") };
        Run {
            question: Question::new(body, keep_alive),
            to,
            keep_alive,
            idle: VecDeque::new(),
            open: 0,
            ending: 0,
            latencies: Vec::new(),
        }
    }
}
