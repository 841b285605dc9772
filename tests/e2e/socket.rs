//! Bad input on the control socket: each gets its answer, costs little, and touches no app.

use crate::machine::{command, now};
use crate::server::Server;
use infissi::linux::proc;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// What the supervisor may grow by under any of this, bytes: less than one of the bodies it is sent.
const SOME_MEMORY: u64 = 6 << 20;

/// What one reader of logs that does not read may take, bytes.
const A_STALLED_READER: u64 = 512 << 10;

/// One app that nobody here means any harm, and what it was before.
struct Bystander {
    server: Server,
    pid: i32,
    memory: u64,
}

impl Bystander {
    fn start() -> Bystander {
        Bystander::beside("")
    }

    fn beside(apps: &str) -> Bystander {
        let server = Server::start(&format!("[apps.web]\ncommand = \"sleep 600\"\n{apps}"));
        server.wait_status("web", "online");
        // Once through the code that answers: what that takes, it takes once.
        let _first = server.talk(&request("GET", "/v1/apps", b"{}"));
        let (pid, memory) = (server.pid("web"), own_memory(&server));
        Bystander { server, pid, memory }
    }

    /// The app runs on, the supervisor did not grow.
    #[track_caller]
    fn is_untouched(&self) {
        self.is_untouched_within(SOME_MEMORY);
    }

    #[track_caller]
    fn is_untouched_within(&self, some_memory: u64) {
        assert_eq!((self.server.status("web").as_str(), self.server.pid("web")), ("online", self.pid));
        assert_eq!(self.server.app("web")["restarts"], 0);
        let memory = own_memory(&self.server);
        assert!(memory < self.memory + some_memory, "from {} to {memory} bytes", self.memory);
    }
}

fn own_memory(server: &Server) -> u64 {
    proc::statm(server.supervisor_pid()).unwrap().private()
}

/// An answer of the socket.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The parts of `{"error": {code, message, hint}}`; all have to be there.
    #[track_caller]
    fn error(&self) -> (String, String) {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:#?}"));
        assert!(self.head.contains("content-type: application/json"), "{self:#?}");
        let part =
            |name: &str| body["error"][name].as_str().unwrap_or_else(|| panic!("no {name}: {self:#?}")).to_owned();
        assert!(!part("hint").is_empty(), "{self:#?}");
        (part("code"), part("message"))
    }
}

fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn read_answer(mut stream: &UnixStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    // A connection that is closed over what we still send is reset after its answer.
    let _end = stream.read_to_end(&mut bytes);
    answer_of(&bytes)
}

fn answer_of(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

impl Server {
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends these bytes; the answer that ends with the connection.
    fn talk(&self, bytes: &[u8]) -> Option<Answer> {
        let mut stream = self.connect();
        // It may have heard enough before it has read all of it.
        let _enough = stream.write_all(bytes);
        read_answer(&stream)
    }

    /// Sends these bytes and hangs up in the middle; the answer, if there is one.
    fn talk_and_hang_up(&self, bytes: &[u8]) -> Option<Answer> {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_answer(&stream)
    }

    #[track_caller]
    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        self.talk(&request(method, path, body)).unwrap_or_else(|| panic!("{method} {path}: no answer"))
    }

    /// `list` has to be answered within a second, whatever else goes on here; what goes on elsewhere on the machine may
    /// spoil a try.
    #[track_caller]
    fn answers_at_once(&self) {
        let tries: Vec<Duration> = (0..5)
            .map(|_| {
                let asked = now();
                assert!(self.ctl(&["list"]).ok().stdout.contains("web"));
                asked.elapsed()
            })
            .take_while(|took| *took >= Duration::from_secs(1))
            .collect();
        assert!(tries.len() < 5, "list took {tries:?}");
    }
}

/// Method, path, body; status, code, and what the message says.
type Case<'a> = (&'a str, &'a str, &'a [u8], u16, &'a str, &'a str);

#[test]
fn a_request_that_makes_no_sense_is_refused_in_json_with_its_status_and_the_next_step() {
    let bystander = Bystander::start();
    let huge = [b"{\"dry_run\":true}".as_slice(), &vec![b' '; 1 << 20]].concat();
    let deep = b"[".repeat(50_000);
    let long = format!("/v1/apps/{}", "a".repeat(12_000));
    let cases: &[Case] = &[
        // Bodies that are not JSON, or not the JSON that is asked for.
        ("POST", "/v1/apply", b"{", 400, "usage", "EOF"),
        ("POST", "/v1/apply", b"dry_run=true", 400, "usage", "JSON"),
        ("POST", "/v1/apply", b"\x80\xff\x00\x01", 400, "usage", "JSON"),
        ("POST", "/v1/apply", b"{\"dry_run\":true} {}", 400, "usage", "trailing"),
        ("POST", "/v1/apply", b"{\"dry_run\":true,\"dry_run\":false}", 400, "usage", "duplicate"),
        ("POST", "/v1/apply", b"[]", 400, "usage", "array"),
        ("POST", "/v1/apply", b" [true]", 400, "usage", "array"),
        ("POST", "/v1/apply", b"null", 400, "usage", "null"),
        ("POST", "/v1/apply", b"{\"dry_run\":\"yes\"}", 400, "usage", "boolean"),
        ("POST", "/v1/apply", b"{\"dryrun\":true}", 400, "usage", "dryrun"),
        ("POST", "/v1/apply", &huge, 413, "too-large", "body"),
        ("POST", "/v1/apply", &deep, 400, "usage", "array"),
        ("POST", "/v1/apps/web/signal", b"", 400, "usage", "signal"),
        ("POST", "/v1/apps/web/signal", b"{\"signal\":9}", 400, "usage", "string"),
        ("POST", "/v1/apps/web/signal", b"{\"signal\":\"SIGNONSENSE\"}", 400, "usage", "SIGNONSENSE"),
        ("POST", "/v1/apps/web/signal", b"{\"signal\":\"0\"}", 400, "usage", "no signal"),
        ("POST", "/v1/apps/web/signal", b"{\"signal\":\"999\"}", 400, "usage", "no signal"),
        ("POST", "/v1/apps/web/signal", b"{\"signal\":\"KILL\",\"pid\":1}", 400, "usage", "pid"),
        ("POST", "/v1/apps/web/activate", b"", 400, "usage", "release_dir"),
        ("POST", "/v1/apps/web/activate", b"{\"release_dir\":7}", 400, "usage", "string"),
        ("POST", "/v1/apps/web/activate", b"{\"release_dir\":\"/tmp\"}", 400, "usage", "has no releases"),
        // Where everything stands in the path and the query.
        ("POST", "/v1/apps/web/stop", b"{", 400, "usage", "EOF"),
        ("POST", "/v1/apps/web/restart", b"{\"hard\":true}", 400, "usage", "hard"),
        ("POST", "/v1/apps/web/swap", b"[]", 400, "usage", "array"),
        ("POST", "/v1/apps/web/probe", b"\x80\xff", 400, "usage", "JSON"),
        ("POST", "/v1/apps/web/stop", &huge, 413, "too-large", "body"),
        ("POST", "/v1/shutdown", b"{\"wait\":true}", 400, "usage", "wait"),
        // Routes and methods.
        ("GET", "/", b"", 404, "not-found", "/"),
        ("GET", "/v2/apps", b"", 404, "not-found", "/v2/apps"),
        ("GET", "/v1/apps/", b"", 404, "not-found", "/v1/apps/"),
        ("POST", "/v1/apps/web/explode", b"", 404, "not-found", "explode"),
        ("POST", "/v1/apps//stop", b"", 400, "usage", "no app is named"),
        ("GET", "/v1/apps/../../../etc/passwd", b"", 404, "not-found", "passwd"),
        ("GET", "/v1/apps/web/stop", b"", 405, "usage", "GET"),
        ("POST", "/v1/apps", b"", 405, "usage", "POST"),
        ("DELETE", "/v1/apps/web", b"", 405, "usage", "DELETE"),
        ("BREW", "/v1/supervisor", b"", 405, "usage", "BREW"),
        // Apps.
        ("GET", "/v1/apps/wbe", b"", 404, "no-such-app", "wbe"),
        ("POST", "/v1/apps/nobody/restart", b"", 404, "no-such-app", "nobody"),
        ("POST", "/v1/apps/web,nobody/stop", b"", 404, "no-such-app", "nobody"),
        ("POST", "/v1/apps/x*/stop", b"", 404, "no-such-app", "x*"),
        ("POST", "/v1/apps/[/stop", b"", 404, "no-such-app", "["),
        ("POST", "/v1/apps/,/stop", b"", 400, "usage", "no app is named"),
        ("GET", &long, b"", 404, "no-such-app", "aaa"),
        // Percent-encoding.
        ("GET", "/v1/apps/..%2F..%2Fetc%2Fpasswd", b"", 404, "no-such-app", "../../etc/passwd"),
        ("GET", "/v1/apps/%zz", b"", 404, "no-such-app", "%zz"),
        ("GET", "/v1/apps/%", b"", 404, "no-such-app", "%"),
        ("GET", "/v1/apps/%00", b"", 404, "no-such-app", "there is no app"),
        ("GET", "/v1/apps/%0d%0aX:%20y", b"", 404, "no-such-app", "X: y"),
        ("GET", "/v1/apps/%ff%fe", b"", 400, "usage", "UTF-8"),
        ("POST", "/v1/apps/%c3/stop", b"", 400, "usage", "UTF-8"),
        ("GET", "/v1/apps/%ff/logs", b"", 400, "usage", "UTF-8"),
        // Queries.
        ("POST", "/v1/apps/web/stop?wait=maybe", b"", 400, "usage", "wait"),
        ("POST", "/v1/apps/web/stop?wait", b"", 400, "usage", "wait"),
        ("POST", "/v1/apps/web/restart?hrad=true", b"", 400, "usage", "hrad"),
        ("POST", "/v1/apps/web/reset?now=true", b"", 400, "usage", "now"),
        ("POST", "/v1/apps/web/flush?dry_run=true", b"", 400, "usage", "dry_run"),
        ("POST", "/v1/apply?dry_run=true", b"", 400, "usage", "dry_run"),
        ("GET", "/v1/logs?lines=-1", b"", 400, "usage", "lines"),
        ("GET", "/v1/logs?lines=99999999999999999999", b"", 400, "usage", "lines"),
        ("GET", "/v1/logs?lines=1&lines=2", b"", 400, "usage", "lines"),
        ("GET", "/v1/logs?lines=%", b"", 400, "usage", "lines"),
        ("GET", "/v1/logs?stream=both", b"", 400, "usage", "both"),
        ("GET", "/v1/logs?since=yesterday", b"", 400, "usage", "since"),
        ("GET", "/v1/logs?grep=(", b"", 400, "usage", "regular expression"),
        ("GET", "/v1/logs?grep=(a{1000}){1000}", b"", 400, "usage", "regular expression"),
        ("GET", "/v1/apps/web/logs?follow=1", b"", 400, "usage", "follow"),
        ("GET", "/v1/events?after=first", b"", 400, "usage", "after"),
    ];
    for (method, path, body, status, code, says) in cases {
        let answer = bystander.server.ask(method, path, body);
        let (said, message) = answer.error();
        let shown = format!("{method} {} {answer:#?}", path.get(..80).unwrap_or(path));
        assert_eq!((answer.status, said.as_str()), (*status, *code), "{shown}");
        assert!(message.contains(says), "{says:?} in {shown}");
        if *status == 405 {
            assert!(answer.head.contains("allow: "), "{shown}");
        }
    }
    bystander.is_untouched();
}

#[test]
fn what_is_not_http_is_refused_and_what_is_only_unusual_is_answered() {
    let bystander = Bystander::start();
    let server = &bystander.server;
    let many: String = (0..200).fold(String::new(), |mut all, number| {
        write!(all, "X-{number}: y\r\n").unwrap();
        all
    });
    let many = format!("GET /v1/apps HTTP/1.1\r\nHost: l\r\n{many}\r\n");
    let long = format!("GET /v1/apps/{} HTTP/1.1\r\nHost: l\r\n\r\n", "a".repeat(100_000));
    let endless = format!("GET /v1/apps HTTP/1.1\r\nCookie: {}", "c".repeat(1 << 20));
    let garbage: Vec<u8> = (0..=255).chain(b"\r\n\r\n".iter().copied()).collect();
    let refused: &[(&[u8], u16)] = &[
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (&garbage, 400),
        (b"GET /v1/apps HTTP/2.0\r\n\r\n", 400),
        (b"GET /v1/we\xffb HTTP/1.1\r\nHost: l\r\n\r\n", 400),
        (b"GET /v1/apps HTTP/1.1\r\nHost l\r\n\r\n", 400),
        (b"POST /v1/apply HTTP/1.1\r\nHost: l\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST /v1/apply HTTP/1.1\r\nHost: l\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}", 400),
        (b"POST /v1/apply HTTP/1.1\r\nHost: l\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400),
        (many.as_bytes(), 431),
        (long.as_bytes(), 431),
        (endless.as_bytes(), 431),
    ];
    for (bytes, status) in refused {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
        let answer = server.talk(bytes).unwrap_or_else(|| panic!("no answer to {shown:?}"));
        assert_eq!(answer.status, *status, "{shown:?}: {answer:#?}");
    }
    // Cut short: there is no request to answer, or none that may be carried out.
    for bytes in [b"".as_slice(), b"GET", b"GET /v1/ap", b"GET /v1/apps HTTP/1.1\r\n", b"\r\n\r\n"] {
        assert!(server.talk_and_hang_up(bytes).is_none(), "{}", String::from_utf8_lossy(bytes));
    }
    for half in [
        "POST /v1/apps/web/signal HTTP/1.1\r\nHost: l\r\nContent-Length: 100\r\n\r\n{\"signal\":\"KILL\"}",
        "POST /v1/apps/web/signal HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n{\"signal\":\"KILL\"}\r\n",
        "POST /v1/apps/web/signal HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{\"signal\":\"KILL\"}\r\n",
    ] {
        let answer = server.talk_and_hang_up(half.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.error().0.as_str()), (400, "usage"), "{half}: {answer:#?}");
    }
    let answered: &[(&str, &str)] = &[
        ("GET /v1/apps HTTP/1.0\r\n\r\n", "\"web\""),
        ("GET /v1/apps HTTP/1.1\r\nConnection: close\r\n\r\n", "\"web\""),
        ("GET http://localhost/v1/apps HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n", "\"web\""),
        ("GET /v1/apps?_=1 HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n", "\"web\""),
        ("GET /v1/apps/%77%65%62 HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n", "\"web\""),
        (
            "POST /v1/apply HTTP/1.1\r\nHost: l\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"dry_run\":true}\r\n0\r\n\r\n",
            "\"plan\"",
        ),
    ];
    for (text, says) in answered {
        let answer = server.talk(text.as_bytes()).unwrap_or_else(|| panic!("no answer to {text:?}"));
        assert!(answer.status == 200 && answer.body.contains(says), "{text:?}: {answer:#?}");
    }
    bystander.is_untouched();
}

#[test]
fn requests_in_a_row_on_one_connection_are_answered_in_their_order() {
    let bystander = Bystander::start();
    let mut stream = bystander.server.connect();
    let mut row = String::new();
    for number in 0..200 {
        write!(row, "GET /v1/apps/nobody-{number} HTTP/1.1\r\nHost: l\r\n\r\n").unwrap();
        write!(row, "POST /v1/apps/web/reset HTTP/1.1\r\nHost: l\r\nContent-Length: 2\r\n\r\n{{}}").unwrap();
    }
    write!(row, "GET /v1/supervisor HTTP/1.1\r\nHost: l\r\nConnection: close\r\n\r\n").unwrap();
    let sending = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || (&sending).write_all(row.as_bytes()).unwrap());
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    sender.join().unwrap();
    let answers: Vec<&str> = all.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(answers.len(), 401);
    for number in 0..200 {
        assert!(answers[number * 2].starts_with("404") && answers[number * 2].contains(&format!("nobody-{number}\"")));
        assert!(answers[number * 2 + 1].starts_with("200"));
    }
    assert!(answers[400].contains("\"version\""));
    bystander.is_untouched();
}

#[test]
fn bodies_without_end_are_not_taken_in() {
    let bystander = Bystander::start();
    let sent: u64 = [
        "POST /v1/apply HTTP/1.1\r\nHost: l\r\nContent-Length: 1000000000000\r\n\r\n",
        "POST /v1/apply HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        // Of a request that takes no body, too.
        "GET /v1/apps HTTP/1.1\r\nHost: l\r\nContent-Length: 1000000000000\r\n\r\n",
    ]
    .iter()
    .map(|head| {
        let mut stream = bystander.server.connect();
        stream.write_all(head.as_bytes()).unwrap();
        let (mut sent, piece) = (0, vec![b' '; 64 * 1024]);
        while sent < (256 << 20) && stream.write_all(&piece).is_ok() {
            sent += piece.len() as u64;
        }
        let answer = read_answer(&stream).unwrap_or_else(|| panic!("no answer to {head:?}"));
        assert!(answer.status == 413 || answer.status == 200, "{answer:#?}");
        sent
    })
    .sum();
    assert!(sent < (16 << 20), "{sent} bytes were taken before it was enough");
    bystander.is_untouched();
}

#[test]
fn two_thousand_idle_connections_keep_nobody_out() {
    let bystander = Bystander::start();
    let server = &bystander.server;
    let mut idle = Vec::new();
    for number in 0..2000 {
        let mut stream = server.connect();
        // Some have said nothing yet, some half a head, and some have had an answer and stay.
        let words: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /v1/apps HTTP/1.1\r\nHost: lo",
            _ => b"GET /v1/supervisor HTTP/1.1\r\nHost: l\r\n\r\n",
        };
        // The longest idle make room for those that come after them.
        let _made_room = stream.write_all(words);
        idle.push(stream);
        if number % 500 == 499 {
            server.answers_at_once();
        }
    }
    bystander.is_untouched();
    server.answers_at_once();
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.supervisor_pid())).unwrap().count();
    assert!(open < 200, "{open} descriptors");
}

#[test]
fn heads_and_bodies_that_trickle_in_hold_up_nobody() {
    let bystander = Bystander::start();
    let server = &bystander.server;
    let starts = [
        "GET /v1/apps HTTP/1.1\r\nHost: l\r\nX: ",
        "POST /v1/apply HTTP/1.1\r\nHost: l\r\nContent-Length: 60000\r\n\r\n",
        "POST /v1/apps/web/signal HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\n\r\nea60\r\n",
    ];
    let mut slow: Vec<UnixStream> = (0..300)
        .map(|number| {
            let mut stream = server.connect();
            let _made_room = stream.write_all(starts[number % 3].as_bytes());
            stream
        })
        .collect();
    for _ in 0..5 {
        for stream in &mut slow {
            let _made_room = stream.write_all(b"x");
        }
        server.answers_at_once();
    }
    bystander.is_untouched();
}

#[test]
fn a_client_that_never_reads_its_answers_costs_bounded_memory() {
    let noisy = "[apps.noisy]\nautorestart = false\n\
                 command = [\"node\", \"-e\", \"for (let i = 0; i < 100000; i++) console.log(`line ${i} `.padEnd(200, '.'))\"]";
    let bystander = Bystander::beside(noisy);
    let server = &bystander.server;
    server.wait_status("noisy", "stopped");
    // The lines are behind it; only what the readers cost is to be seen.
    server.ctl(&["logs", "noisy", "-n", "1", "--no-follow"]).ok();
    let mut deaf: Vec<UnixStream> = Vec::new();
    for path in ["/v1/apps/noisy/logs?lines=100000", "/v1/logs?lines=100000&follow=true", "/v1/events?follow=true"] {
        let mut stream = server.connect();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: l\r\n\r\n").as_bytes()).unwrap();
        deaf.push(stream);
    }
    // One more asks for the same thing a thousand times over without reading one answer.
    let mut greedy = server.connect();
    greedy.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    for _ in 0..1000 {
        if greedy.write_all(b"GET /v1/openapi.json HTTP/1.1\r\nHost: l\r\n\r\n").is_err() {
            break;
        }
    }
    server.answers_at_once();
    bystander.is_untouched();
    let shown = server.ctl(&["logs", "noisy", "--raw", "-n", "100000", "--no-follow"]).ok().stdout;
    assert_eq!(shown.lines().count(), 100_000, "who does read gets all");

    // What was sent to those that did not read waited for them.
    let mut reader = BufReader::new(deaf.swap_remove(0));
    let mut lines = 0;
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 0 && line.trim_end() != "0" {
        lines += usize::from(line.contains("\"line\":\"line "));
        line.clear();
    }
    assert_eq!(lines, 100_000);
}

#[test]
fn readers_of_logs_that_stall_cost_little_and_give_it_back() {
    let noisy = "[apps.noisy]\nautorestart = false\n\
                 command = [\"node\", \"-e\", \"for (let i = 0; i < 50000; i++) console.log(`line ${i} `.padEnd(200, '.'))\"]";
    let bystander = Bystander::beside(noisy);
    let server = &bystander.server;
    server.wait_status("noisy", "stopped");
    let stalled: Vec<UnixStream> = (0..30)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"GET /v1/apps/noisy/logs?lines=50000 HTTP/1.1\r\nHost: l\r\n\r\n").unwrap();
            stream
        })
        .collect();
    for stream in &stalled {
        let mut first = String::new();
        BufReader::new(stream).read_line(&mut first).unwrap();
        assert!(first.contains("200"), "{first}");
    }
    server.answers_at_once();
    let shown = server.ctl(&["logs", "noisy", "-n", "3", "--raw", "--no-follow"]).ok().stdout;
    assert_eq!(shown.lines().filter(|line| line.starts_with("line 4999")).count(), 3, "{shown}");
    bystander.is_untouched_within(SOME_MEMORY + stalled.len() as u64 * A_STALLED_READER);
    drop(stalled);
    server.wait_until("their memory to be free again", || own_memory(server) < bystander.memory + SOME_MEMORY);
}

#[test]
fn curl_works_as_the_documentation_says() {
    let bystander = Bystander::start();
    let server = &bystander.server;
    let curl = |words: &[&str]| {
        let mut curl = command("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60", "--unix-socket"]).arg(server.socket()).args(words);
        curl.output()
    };
    let list = match curl(&["http://localhost/v1/apps"]) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return crate::machine::skip("there is no curl here"),
        list => list.unwrap(),
    };
    assert!(list.status.success(), "{list:?}");
    let apps: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(apps[0]["name"], "web");
    assert!(list.stdout.ends_with(b"\n"), "the prompt goes to a line of its own");
    let plan = curl(&["--data", "{\"dry_run\":true}", "http://localhost/v1/apply"]).unwrap();
    assert!(String::from_utf8_lossy(&plan.stdout).contains("\"plan\""), "{plan:?}");
    let refused = curl(&["--fail", "--request", "POST", "http://localhost/v1/apps/nobody/stop?wait=true"]).unwrap();
    assert_eq!(refused.status.code(), Some(22), "an HTTP error is one for curl, too: {refused:?}");
    bystander.is_untouched();
    let restarted = curl(&["--request", "POST", "http://localhost/v1/apps/web/restart?wait=true"]).unwrap();
    assert!(String::from_utf8_lossy(&restarted.stdout).contains("\"results\""), "{restarted:?}");
    assert_ne!(server.pid("web"), bystander.pid);
}

#[test]
fn openapi_lists_exactly_the_routes_that_answer() {
    let server = Server::start("[apps.web]\ncommand = \"sleep 600\"\nbackup.dir = \"backups\"");
    server.wait_status("web", "online");
    let openapi: Value = serde_json::from_str(&server.ask("GET", "/v1/openapi.json", b"").body).unwrap();
    let mut listed = BTreeSet::new();
    for (path, operations) in openapi["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
            listed.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let verbs = ["start", "stop", "restart", "swap", "cancel", "activate", "reset", "flush", "probe", "signal"]
        .map(|verb| format!("POST /v1/apps/{{app}}/{verb}"));
    let others = [
        "GET /v1/supervisor",
        "GET /v1/overview",
        "GET /v1/apps",
        "GET /v1/apps/{app}",
        "GET /v1/apps/{app}/logs",
        "GET /v1/apps/{app}/exec",
        "GET /v1/apps/{app}/backup",
        "GET /v1/apps/{app}/releases",
        "GET /v1/apps/{app}/deploy",
        "GET /v1/logs",
        "GET /v1/events",
        "POST /v1/apply",
        "POST /v1/shutdown",
        "POST /v1/upgrade",
        "GET /v1/openapi.json",
        "GET /v1/overview",
        "GET /metrics",
    ];
    let known: BTreeSet<String> = verbs.into_iter().chain(others.map(str::to_owned)).collect();
    assert_eq!(listed, known);
    for route in &listed {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{app}", "web");
        let path = if path.ends_with("restart") { format!("{path}?wait=true") } else { path };
        let others = if method == "GET" { ["POST", "DELETE"] } else { ["GET", "PUT"] };
        for other in others {
            let answer = server.ask(other, &path, b"");
            assert_eq!(answer.status, 405, "{other} {path}: {answer:#?}");
            assert!(answer.head.contains(&format!("allow: {method}")), "{answer:#?}");
        }
        let body: &[u8] = if path.ends_with("/signal") { b"{\"signal\":\"CONT\"}" } else { b"" };
        if !["/v1/shutdown", "/v1/upgrade"].contains(&path.as_str()) {
            let answer = server.ask(method, &path, body);
            // This app has nothing to swap to or to call off, no releases, and a release has to be named.
            let status = match path.rsplit('/').next() {
                Some("swap" | "cancel") => 409,
                Some("activate" | "releases" | "deploy") => 400,
                Some(_) | None => 200,
            };
            assert_eq!(answer.status, status, "{route}: {answer:#?}");
        }
    }
    let mut server = server;
    assert_eq!(server.ask("POST", "/v1/shutdown", b"").status, 200);
    assert_eq!(server.ended(), 0);
}
