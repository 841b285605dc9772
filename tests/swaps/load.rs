//! Clients of every kind at once, each on its own thread and its own fixed times.

use crate::ledger::{Kind, Ledger, Outcome, Releases, Row, Signature};
use crate::machine::{eventually, now};
use crate::wire::{Connection, Head};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) const ALL_KINDS: &[Kind] = &[
    Kind::Fresh,
    Kind::Kept,
    Kind::Thinking,
    Kind::Post,
    Kind::Slow,
    Kind::Upload,
    Kind::Chunked,
    Kind::Events,
    Kind::WebSocket,
];
/// Around the 5 s after which Node closes an idle connection, and others.
const THINKING: [u64; 14] = [20, 150, 700, 1500, 3000, 4000, 4500, 4900, 4990, 5000, 5010, 5100, 5500, 6000];
const UPLOAD: usize = 192 * 1024;
/// Pieces of an upload, a chunked answer, a stream of events; messages of a WebSocket.
const PIECES: u32 = 12;

/// What is asked, and for how long.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) port: u16,
    pub(crate) kinds: Vec<Kind>,
    /// How long the answers and bodies take that take their time.
    pub(crate) span: Duration,
    /// A request that takes longer without any progress has failed.
    pub(crate) patience: Duration,
    /// More of everything that takes no time: requests a second are about 60 times this.
    pub(crate) weight: u32,
    /// Where the app writes what it executes.
    pub(crate) nonces: PathBuf,
}

impl Plan {
    pub(crate) fn new(port: u16, nonces: &Path) -> Plan {
        Plan {
            port,
            kinds: ALL_KINDS.to_vec(),
            span: Duration::from_millis(700),
            patience: Duration::from_secs(20),
            weight: 3,
            nonces: nonces.to_owned(),
        }
    }

    #[must_use]
    pub(crate) fn kinds(mut self, kinds: &[Kind]) -> Plan {
        self.kinds = kinds.to_vec();
        self
    }

    #[must_use]
    pub(crate) fn span(mut self, span: Duration) -> Plan {
        self.span = span;
        self
    }

    #[must_use]
    pub(crate) fn patience(mut self, patience: Duration) -> Plan {
        self.patience = patience;
        self
    }

    #[must_use]
    pub(crate) fn weight(mut self, weight: u32) -> Plan {
        self.weight = weight;
        self
    }
}

/// The clients at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    plan: Plan,
    began: Instant,
    releases: Releases,
    rows: Mutex<Vec<Row>>,
    over: Mutex<bool>,
    ended: Condvar,
    /// Begins every nonce: other loads of the story write into the same file.
    mark: String,
    /// The number of the next request.
    next: AtomicU64,
}

impl Load {
    pub(crate) fn start(plan: Plan) -> Load {
        static LOADS: AtomicU64 = AtomicU64::new(1);
        let shared = Arc::new(Shared {
            mark: format!("load{}-", LOADS.fetch_add(1, Ordering::Relaxed)),
            began: now(),
            releases: Releases::default(),
            rows: Mutex::default(),
            over: Mutex::new(false),
            ended: Condvar::new(),
            next: AtomicU64::new(1),
            plan,
        });
        let mut clients = Vec::new();
        for kind in shared.plan.kinds.clone() {
            let count = match kind {
                Kind::Thinking => THINKING.len(),
                Kind::Page | Kind::Fresh | Kind::Kept | Kind::Post | Kind::Upload | Kind::Chunked => 2,
                Kind::Slow | Kind::Events | Kind::WebSocket => 3,
            };
            for number in 0..count {
                let mut client = Client { shared: Arc::clone(&shared), kind, number, connection: None };
                clients.push(thread::spawn(move || client.work(count)));
            }
        }
        Load { shared, clients }
    }

    pub(crate) fn releases(&self) -> &Releases {
        &self.shared.releases
    }

    /// Since it began: rows tell their times so.
    pub(crate) fn age(&self) -> Duration {
        now() - self.shared.began
    }

    /// Requests that are over by now.
    pub(crate) fn done(&self) -> usize {
        self.shared.rows.lock().unwrap().len()
    }

    /// Of these: how many failed.
    pub(crate) fn failed(&self) -> usize {
        self.shared.rows.lock().unwrap().iter().filter(|row| row.outcome != Outcome::Ok).count()
    }

    /// Waits until that many of each kind are over.
    #[track_caller]
    pub(crate) fn wait_for_each(&self, count: usize) {
        let enough = |kind: &Kind| {
            let rows = self.shared.rows.lock().unwrap();
            rows.iter().filter(|row| row.kind == *kind).count() >= count
        };
        assert!(eventually(|| self.shared.plan.kinds.iter().all(enough)), "the clients do not get on");
    }

    /// The requests under way are finished, then the book is closed.
    pub(crate) fn end(mut self) -> Ledger {
        self.shared.stop();
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
        let rows = std::mem::take(&mut *self.shared.rows.lock().unwrap());
        Ledger::close(rows, &self.shared.plan.nonces, &self.shared.mark)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Shared {
    fn stop(&self) {
        *self.over.lock().unwrap() = true;
        self.ended.notify_all();
    }

    /// Waits until then; false when the load is to end.
    fn wait(&self, until: Instant) -> bool {
        let over = self.over.lock().unwrap();
        let left = until.saturating_duration_since(now());
        let (over, _) = self.ended.wait_timeout_while(over, left, |over| !*over).unwrap();
        !*over
    }
}

struct Client {
    shared: Arc<Shared>,
    kind: Kind,
    number: usize,
    connection: Option<Connection>,
}

/// What came of a request, and who answered.
type Answered = Result<Option<Signature>, (Outcome, Option<Signature>)>;

impl Client {
    fn work(&mut self, count: usize) {
        let plan = &self.shared.plan;
        let period = match self.kind {
            Kind::Fresh => Duration::from_millis(60) / plan.weight,
            Kind::Kept => Duration::from_millis(45) / plan.weight,
            Kind::Post | Kind::Page => Duration::from_millis(120) / plan.weight,
            Kind::Thinking => Duration::from_millis(THINKING[self.number]),
            Kind::Slow | Kind::Upload | Kind::Chunked | Kind::Events | Kind::WebSocket => plan.span,
        };
        // The clients of a kind take turns.
        let offset = period * u32::try_from(self.number).unwrap_or(0) / u32::try_from(count).unwrap_or(1);
        let mut next = self.shared.began + offset;
        while self.shared.wait(next) {
            self.ask();
            // A time that was missed is not made up for, else a slow machine would never catch up.
            let thinks = self.kind == Kind::Thinking;
            next = if thinks { now() + period } else { (next + period).max(now()) };
        }
    }

    /// One request, one row; and one more row for a connection that was found closed.
    fn ask(&mut self) {
        if self.connection.as_ref().is_some_and(Connection::is_closed) {
            self.connection = None;
            self.write(now(), true, "(idle)", None, Err((Outcome::ResetBeforeSend, None)));
        }
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (path, nonce) = self.path(number);
        let began = now();
        let kept = self.connection.is_some();
        let answered = self.exchange(&path, number);
        if answered.is_err() {
            self.connection = None;
        }
        self.write(began, kept, &path, nonce, answered);
    }

    fn write(&self, began: Instant, kept: bool, path: &str, nonce: Option<String>, answered: Answered) {
        let (outcome, by) = match answered {
            Ok(by) => (Outcome::Ok, by),
            Err((outcome, by)) => (outcome, by),
        };
        let shared = &self.shared;
        let outcome = match &by {
            Some(by) if outcome == Outcome::Ok && !shared.releases.may_answer(&by.release, began) => {
                Outcome::WrongRelease
            }
            _ => outcome,
        };
        let (at, took) = (began - shared.began, now() - began);
        let row = Row { at, took, kind: self.kind, kept, path: path.to_owned(), nonce, by, outcome };
        shared.rows.lock().unwrap().push(row);
    }

    fn path(&self, number: u64) -> (String, Option<String>) {
        let span = self.shared.plan.span.as_millis();
        let pace = span / u128::from(PIECES);
        match self.kind {
            Kind::Page => ("/".to_owned(), None),
            Kind::Fresh | Kind::Kept | Kind::Thinking => {
                (format!("/bytes?n={}&seed={}", size_of(number), number % 256), None)
            }
            Kind::Post => {
                let nonce = format!("{}{number}", self.shared.mark);
                (format!("/nonce?id={nonce}&ms={}", number % 30), Some(nonce))
            }
            Kind::Slow => (format!("/slow?ms={span}"), None),
            Kind::Upload => ("/echo".to_owned(), None),
            Kind::Chunked => (format!("/chunked?n={PIECES}&ms={pace}"), None),
            Kind::Events => (format!("/sse?n={PIECES}&ms={pace}"), None),
            Kind::WebSocket => ("/ws".to_owned(), None),
        }
    }

    fn exchange(&mut self, path: &str, number: u64) -> Answered {
        let plan = &self.shared.plan;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(plan.port, plan.patience).map_err(|outcome| (outcome, None))?,
        };
        connection.begin();
        if self.kind == Kind::WebSocket {
            return converse(&mut connection, path, plan.span);
        }
        let sent = self.send(&mut connection, path, number);
        let head = match (sent, connection.head()) {
            (Ok(()), Ok(head)) => head,
            // A server that refuses a body answers while it is written.
            (Err(_), Ok(head)) if head.status >= 400 => head,
            (Err(outcome), _) | (Ok(()), Err(outcome)) => return Err((outcome, None)),
        };
        let mut by = head.signature();
        let answered = self.check(&mut connection, &head, number, &mut by);
        if answered.is_ok() && self.is_kept(number) && !head.closes() {
            self.connection = Some(connection);
        }
        answered.map(|()| by.clone()).map_err(|outcome| (outcome, by))
    }

    /// Every other client of a kind keeps its connection where a kind has no rule of its own.
    fn is_kept(&self, number: u64) -> bool {
        match self.kind {
            Kind::Fresh | Kind::WebSocket => false,
            Kind::Kept | Kind::Thinking => true,
            Kind::Page | Kind::Post | Kind::Slow | Kind::Upload | Kind::Chunked | Kind::Events => {
                self.number == 0 && !number.is_multiple_of(7)
            }
        }
    }

    fn send(&self, connection: &mut Connection, path: &str, number: u64) -> Result<(), Outcome> {
        let (method, length) = match self.kind {
            Kind::Post => ("POST", 200),
            Kind::Upload => ("POST", UPLOAD),
            Kind::Page
            | Kind::Fresh
            | Kind::Kept
            | Kind::Thinking
            | Kind::Slow
            | Kind::Chunked
            | Kind::Events
            | Kind::WebSocket => ("GET", 0),
        };
        let close = if self.is_kept(number) { "" } else { "Connection: close\r\n" };
        let body = if method == "POST" { format!("Content-Length: {length}\r\n") } else { String::new() };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{close}{body}\r\n");
        if self.kind != Kind::Upload {
            let whole: Vec<u8> = head.into_bytes().into_iter().chain(pattern(length, number)).collect();
            return connection.send(&whole);
        }
        connection.send(head.as_bytes())?;
        let bytes = pattern(length, number);
        for piece in bytes.chunks(length / PIECES as usize) {
            thread::sleep(self.shared.plan.span / PIECES);
            connection.send(piece)?;
            connection.go_on();
        }
        Ok(())
    }

    /// Reads the answer to its end: all that was to come came, and nothing else.
    fn check(
        &self,
        connection: &mut Connection,
        head: &Head,
        number: u64,
        by: &mut Option<Signature>,
    ) -> Result<(), Outcome> {
        match (head.status, by.as_ref()) {
            (200, Some(_)) => {}
            // A page has no header of its own and says in its text who rendered it.
            (200, None) if self.kind == Kind::Page => {}
            (status @ 500.., Some(_)) => return Err(Outcome::ByApp(status)),
            (status @ 400.., None) => return Err(Outcome::ByProxy(status)),
            (status, by) => return Err(Outcome::Wrong(format!("status {status} by {by:?}"))),
        }
        let body = connection.body(head)?;
        let expected = match self.kind {
            Kind::Fresh | Kind::Kept | Kind::Thinking => pattern(size_of(number), number % 256),
            Kind::Page => {
                let page = String::from_utf8_lossy(&body);
                *by = page.find("slot=").and_then(|at| page[at..].split('<').next()).map(Signature::parse);
                return as_expected(page.ends_with("</html>") && by.is_some(), &body);
            }
            Kind::Post => format!("done {}{number}\n", self.shared.mark).into_bytes(),
            Kind::Slow => return as_expected(body.starts_with(b"waited "), &body),
            Kind::Upload => {
                let hash = fnv1a(&pattern(UPLOAD, number));
                format!("{{\"bytes\":{UPLOAD},\"fnv1a\":\"{hash:08x}\"}}\n").into_bytes()
            }
            Kind::Chunked => (1..=PIECES).map(|at| format!("line {at} of {PIECES}\n")).collect::<String>().into_bytes(),
            Kind::Events => {
                let events: String = (1..=PIECES).map(|at| format!("id: {at}\ndata: {at}\n\n")).collect();
                format!("{events}event: end\ndata: {PIECES}\n\n").into_bytes()
            }
            Kind::WebSocket => return Err(Outcome::Wrong("no WebSocket".to_owned())),
        };
        as_expected(body == expected, &body)
    }
}

/// From one byte to more than a socket's buffer holds.
fn size_of(number: u64) -> usize {
    [1, 300, 2_000, 17_000, 90_000][usize::try_from(number % 5).unwrap_or(0)]
}

fn pattern(length: usize, seed: u64) -> Vec<u8> {
    (0..length as u64).map(|at| ((at * 31 + seed) & 255) as u8).collect()
}

fn as_expected(yes: bool, body: &[u8]) -> Result<(), Outcome> {
    let shown = String::from_utf8_lossy(&body[..body.len().min(200)]);
    if yes { Ok(()) } else { Err(Outcome::Wrong(format!("{} bytes: {shown:?}", body.len()))) }
}

/// As long as the others that take their time.
fn converse(connection: &mut Connection, path: &str, span: Duration) -> Answered {
    let head = connection.upgrade(path).map_err(|outcome| (outcome, None))?;
    let by = head.signature();
    let talked = match (head.status, &by) {
        (101, Some(_)) => talk(connection, span),
        (status, Some(_)) => Err(Outcome::ByApp(status)),
        (status, None) => Err(Outcome::ByProxy(status)),
    };
    match talked {
        Ok(()) => Ok(by),
        Err(outcome) => Err((outcome, by)),
    }
}

fn talk(connection: &mut Connection, span: Duration) -> Result<(), Outcome> {
    for at in 1..=PIECES {
        connection.say(&format!("message {at} of {PIECES}"))?;
        thread::sleep(span / PIECES);
    }
    connection.part()
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
