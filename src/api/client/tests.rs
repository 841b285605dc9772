//! What the client makes of supervisors that are not there, hang, or talk nonsense.

use super::*;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream as Peer};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// A supervisor made of canned answers: one closure per connection, in order.
struct Fake {
    dir: TempDir,
    thread: Option<JoinHandle<()>>,
}

type Conversation = Box<dyn FnOnce(Peer) + Send>;

impl Fake {
    fn new(conversations: Vec<Conversation>) -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let thread = std::thread::spawn(move || {
            for conversation in conversations {
                conversation(listener.accept().unwrap().0);
            }
        });
        Fake { dir, thread: Some(thread) }
    }

    fn client(&self) -> Client {
        Client::new(self.dir.path().join("s")).unwrap()
    }

    fn joined(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Up to the end of a request without a body, or with the body `{}`.
fn hear(peer: &mut Peer) -> String {
    let mut heard = Vec::new();
    let mut byte = [0];
    let end =
        |heard: &[u8]| heard.ends_with(b"\r\n\r\n") && !heard.starts_with(b"POST") || heard.ends_with(b"\r\n\r\n{}");
    while !end(&heard) && peer.read(&mut byte).unwrap() == 1 {
        heard.push(byte[0]);
    }
    String::from_utf8(heard).unwrap()
}

fn answers(answer: &'static str) -> Conversation {
    Box::new(move |mut peer| {
        hear(&mut peer);
        peer.write_all(answer.as_bytes()).unwrap();
    })
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn no_socket_and_nobody_behind_it_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = Client::new(dir.path().join("s")).unwrap().connect().unwrap_err();
    assert!(matches!(nowhere, ClientError::NoSocket { .. }), "{nowhere:?}");
    drop(UnixListener::bind(dir.path().join("s")).unwrap());
    let nobody = Client::new(dir.path().join("s")).unwrap().connect().unwrap_err();
    assert!(matches!(nobody, ClientError::NotRunning { .. }), "{nobody:?}");
    for error in [nowhere, nobody] {
        assert!(error.is_unreachable());
        let body = error.into_body();
        assert_eq!(body.error.code, RefusalCode::NoSupervisor);
        assert!(body.error.hint.unwrap().contains("systemctl start infissi-supervisor"));
    }
}

#[test]
fn a_closed_door_and_a_wrong_path_have_their_own_sentences() {
    let denied = unreachable(Path::new("/run/x"), io::Error::from(io::ErrorKind::PermissionDenied)).into_body();
    assert_eq!(denied.error.message, "no permission to reach /run/x");
    assert!(denied.error.hint.unwrap().contains("sudo"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Client::new(file.path().join("s")).unwrap().connect().unwrap_err().into_body();
    assert_eq!(error.error.code, RefusalCode::NoSupervisor);
    assert!(error.error.message.contains("Not a directory"), "{}", error.error.message);
    let long = Client::new("/".to_owned() + &"x".repeat(200)).unwrap().connect().unwrap_err();
    assert!(matches!(long, ClientError::Connect { .. }), "{long:?}");
}

#[test]
fn a_supervisor_that_says_nothing_is_given_up_on() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let fake = Fake::new(vec![Box::new(move |peer| {
        let _closed = held.recv();
        drop(peer);
    })]);
    let mut client = fake.client();
    client.set_answer_timeout(Duration::from_millis(50));
    let error = client.get::<Value>("/v1/apps").unwrap_err();
    assert!(matches!(error, ClientError::Silent { .. }), "{error:?}");
    assert!(error.into_body().error.hint.unwrap().contains("hung"));
    drop(release);
    fake.joined();
}

#[test]
fn garbage_is_called_garbage() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{\"a",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\u{16}\u{3}",
    ] {
        let fake = Fake::new(vec![answers(garbage)]);
        let error = fake.client().get::<Value>("/v1/apps").unwrap_err();
        assert!(matches!(error, ClientError::Garbled { .. }), "{garbage:?}: {error:?}");
        let body = error.into_body();
        assert!(body.error.message.starts_with("the answer to GET /v1/apps makes no sense"), "{}", body.error.message);
    }
}

#[test]
fn half_an_answer_is_no_answer() {
    for half in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[{\"name\""] {
        let fake = Fake::new(vec![answers(half)]);
        let error = fake.client().post::<Value>("/v1/shutdown", &json!({})).unwrap_err();
        assert!(matches!(error, ClientError::CutShort { .. }), "{half:?}: {error:?}");
        assert_eq!(error.into_body().error.code, RefusalCode::Failed);
    }
}

#[test]
fn a_refusal_arrives_as_it_was_said() {
    let refusal = r#"{"error":{"code":"busy","message":"web is being restarted","hint":"wait"}}"#;
    let answer = format!("HTTP/1.1 409 Conflict\r\ncontent-length: {}\r\n\r\n{refusal}", refusal.len());
    let fake = Fake::new(vec![answers(answer.leak())]);
    let body = fake.client().post::<Value>("/v1/apps/web/stop", &json!({})).unwrap_err().into_body();
    assert_eq!(body.error, Refusal::new(RefusalCode::Busy, "web is being restarted").hint("wait"));
}

#[test]
fn a_refusal_without_words_is_explained() {
    let fake = Fake::new(vec![answers("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")]);
    let body = fake.client().get::<Value>("/v9").unwrap_err().into_body();
    assert_eq!(body.error.code, RefusalCode::NotFound);
    assert!(body.error.message.contains("GET /v9 with 404"), "{}", body.error.message);
}

#[test]
fn several_questions_share_a_connection_and_a_closed_one_is_opened_anew() {
    let fake = Fake::new(vec![
        Box::new(|mut peer| {
            for body in ["1", "2"] {
                assert!(hear(&mut peer).starts_with("GET /v1/apps HTTP/1.1\r\n"));
                peer.write_all(ok(body).as_bytes()).unwrap();
            }
        }),
        answers("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n3"),
    ]);
    let mut client = fake.client();
    let heard: Vec<u64> = (0..3).map(|_| client.get("/v1/apps").unwrap()).collect();
    assert_eq!(heard, [1, 2, 3]);
    fake.joined();
}

#[test]
fn waiting_can_be_ended_without_the_answer() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let fake = Fake::new(vec![Box::new(move |mut peer| {
        hear(&mut peer);
        let _ended = held.recv();
    })]);
    let mut ticks = 0;
    let mut tick = || {
        ticks += 1;
        if ticks < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let every = Duration::from_millis(5);
    let reply = fake.client().post_and_wait::<Value>("/v1/apps/web/restart", &json!({}), every, &mut tick).unwrap();
    assert_eq!((reply, ticks), (None, 3));
    drop(release);
    fake.joined();
}

#[test]
fn lines_arrive_whole_however_they_were_cut() {
    let fake = Fake::new(vec![answers(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{1}\n{\r\n4\r\n2}\n{\r\n2\r\n3}\r\n0\r\n\r\n",
    )]);
    let mut chunks = Vec::new();
    fake.client()
        .lines("/v1/logs", &mut |chunk| {
            chunks.push(String::from_utf8(chunk.to_vec()).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(chunks.concat(), "{1}\n{2}\n{3}");
    assert!(chunks.iter().rev().skip(1).all(|chunk| chunk.ends_with('\n')), "{chunks:?}");
}

#[test]
fn lines_that_break_off_are_an_error_and_a_reader_may_stop() {
    let broken = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{1}\n\r\n";
    let mut heard = 0;
    let error = Fake::new(vec![answers(broken)]).client().lines("/v1/logs", &mut |_| {
        heard += 1;
        ControlFlow::Continue(())
    });
    assert!(matches!(error, Err(ClientError::CutShort { .. })), "{error:?}");
    assert_eq!(heard, 1);
    Fake::new(vec![answers(broken)]).client().lines("/v1/logs", &mut |_| ControlFlow::Break(())).unwrap();
}
