//! Who is obeyed: the supervisor that attached last, and nobody who cannot say what it wants.

use crate::client::{Client, get};
use crate::origin::Origin;
use crate::process::{LISTENER, Supervisor, Worker, end_of, eventually, public_port};
use infissi::linux::identity::Identity;
use infissi::linux::spawn::{Launch, launch};
use infissi::proxy::channel::Order;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// A worker that others may attach to.
async fn with_a_door(socket: &TcpListener, active: &[&Origin]) -> Worker {
    let mut worker = Worker::start(None);
    let door = UnixListener::bind(worker.door_path()).unwrap();
    worker.supervisor.attach(Some(door.as_fd())).await;
    worker.supervisor.route(active).await;
    worker.supervisor.listen(LISTENER, socket).await;
    worker
}

fn at_the_door(path: &Path) -> Supervisor {
    Supervisor::new(UnixStream::connect(path).unwrap())
}

#[tokio::test]
async fn a_second_supervisor_is_given_the_listeners_and_the_first_is_obeyed_no_more() {
    let (blue, green) = (Origin::start(1).await, Origin::start(2).await);
    let (socket, public) = public_port();
    let mut worker = with_a_door(&socket, &[&blue]).await;
    assert_eq!(get(public, "/").await.unwrap().body, blue.name());
    drop(socket);
    let mut second = at_the_door(&worker.door_path());
    let hello = second.attach(None).await;
    assert_eq!(hello.pid, worker.pid());
    let [listener] = &hello.listeners[..] else { panic!("{:?}", hello.listeners) };
    assert_eq!((listener.listener, listener.app.as_str(), listener.address), (LISTENER, "shop", public));
    let given = TcpListener::from(hello.sockets.into_iter().next().unwrap());
    assert_eq!(given.local_addr().unwrap(), public);
    worker.supervisor.hears_nothing_more().await;
    second.route(&[&green]).await;
    second.order(Order::Retire { target: 1 }).await;
    assert_eq!(second.in_flight(&blue).await, (0, 0));
    assert_eq!(get(public, "/").await.unwrap().body, green.name());
    // With what it was given it starts another worker.
    second.order(Order::Leave).await;
    worker.ended().await;
    let _next = Worker::serving(&given, &[&green]).await;
    assert_eq!(get(public, "/").await.unwrap().body, green.name());
}

#[tokio::test]
async fn without_a_supervisor_the_last_routes_are_served_until_the_next_one_comes() {
    let (blue, green) = (Origin::start(1).await, Origin::start(2).await);
    let (socket, public) = public_port();
    let mut worker = with_a_door(&socket, &[&blue]).await;
    let mut client = Client::connect(public).await.unwrap();
    client.get("/").await.unwrap();
    let (nobody, _) = UnixStream::pair().unwrap();
    worker.supervisor = Supervisor::new(nobody);
    for _ in 0..20 {
        assert_eq!(client.get("/").await.unwrap().body, blue.name());
        assert_eq!(get(public, "/").await.unwrap().body, blue.name());
    }
    for _ in 0..3 {
        let mut next = at_the_door(&worker.door_path());
        assert_eq!(next.attach(None).await.listeners.len(), 1);
        next.route(&[&green]).await;
        next.order(Order::Retire { target: 1 }).await;
        assert_eq!(next.in_flight(&blue).await, (0, 0));
        assert_eq!(client.get("/").await.unwrap().body, green.name());
    }
}

#[tokio::test]
async fn a_worker_that_nobody_needs_ends() {
    let (nobody, _) = UnixStream::pair().unwrap();
    let mut worker = Worker::start(None);
    worker.supervisor = Supervisor::new(nobody.try_clone().unwrap());
    assert_eq!(worker.ended().await.code, Some(0), "never attached");
    let mut worker = Worker::start(None);
    worker.supervisor.attach(None).await;
    worker.supervisor = Supervisor::new(nobody);
    assert_eq!(worker.ended().await.code, Some(0), "without a listener");
}

#[tokio::test]
async fn what_is_no_order_ends_the_connection_and_never_the_worker() {
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let worker = with_a_door(&socket, &[&origin]).await;
    let attach = b"\x19\0\0\0{\"attach\":{\"protocol\":1}}";
    let (no_listener, _) = UnixStream::pair().unwrap();
    for (bytes, attaches) in [
        (&b"\xff\xff\xff\xff"[..], false),
        (b"\x07\0\0\0\"leave\"", false),
        (b"\x04\0\0\0nope", false),
        (b"GET / HTTP/1.1\r\n\r\n", false),
        (b"\x04\0\0\0nope", true),
        (b"\x09\0\0\0\"unheard\"", true),
        (b"\x2a\0\0\0{\"listen\":{\"listener\":1,\"app\":\"a new shop\"}}", true),
        (&attach[..], true),
    ] {
        let mut stream = UnixStream::connect(worker.door_path()).unwrap();
        let sent = if attaches { [attach, bytes].concat() } else { bytes.to_vec() };
        stream.write_all(&sent).unwrap();
        // It may be ended with something of ours unread.
        let _heard = stream.read_to_end(&mut Vec::new());
        assert_eq!(get(public, "/").await.unwrap().status, 200, "{bytes:?}");
    }
    let mut stranger = at_the_door(&worker.door_path());
    stranger.attach(Some(no_listener.as_fd())).await;
    stranger.order(Order::Attach { protocol: 1 }).await;
    stranger.hears_nothing_more().await;
    assert_eq!(at_the_door(&worker.door_path()).attach(None).await.listeners.len(), 1);
    eventually("it said why", || worker.words().contains("is not understood")).await;
}

#[tokio::test]
async fn whoever_has_another_uid_may_not_attach() {
    if nix::unistd::geteuid().as_raw() != 0 {
        return;
    }
    let origin = Origin::start(1).await;
    let (socket, public) = public_port();
    let mut worker = with_a_door(&socket, &[&origin]).await;
    let door = worker.door_path();
    for (path, mode) in [(door.parent().unwrap(), 0o755), (&*door, 0o777)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    // It may be turned away before it has said anything.
    let attach = "$SIG{PIPE} = 'IGNORE'; socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, pack_sockaddr_un($ARGV[0])) or die \"$!\"; \
                  syswrite(S, \"\\x19\\0\\0\\0{\\\"attach\\\":{\\\"protocol\\\":1}}\"); exit(sysread(S, $_, 1) ? 1 : 0)";
    let output = File::create(door.with_extension("stranger")).unwrap();
    let stranger = launch(
        Launch {
            command: ["/usr/bin/perl", "-MSocket", "-e", attach]
                .map(Into::into)
                .into_iter()
                .chain([door.into()])
                .collect(),
            cwd: "/".into(),
            env: Vec::new(),
            identity: Some(Identity::of_uid(65_534).unwrap()),
            called: None,
            stdin: None,
            stdout: output.try_clone().unwrap().into(),
            stderr: output.into(),
            cgroup: None,
            nofile: None,
        },
        |_| {},
    );
    assert_eq!(end_of(&stranger.unwrap()).await.code, Some(0), "nobody answered it");
    assert!(worker.words().contains("may not attach"), "{}", worker.words());
    worker.supervisor.is_obeyed().await;
    assert_eq!(get(public, "/").await.unwrap().status, 200);
}

#[tokio::test]
async fn started_by_hand_it_says_so() {
    let output = by_hand();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("started by infissi-supervisord itself"), "{output:?}");
}

#[expect(clippy::disallowed_methods, reason = "a test starts the program as a person would")]
fn by_hand() -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_infissi-supervisord")).arg("proxy").output().unwrap()
}
