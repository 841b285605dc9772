use super::*;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A Node that listens on a free port of `host`; killed when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "any process will do, however it was started")]
    fn on(host: &str) -> Server {
        let home = tempfile::tempdir().unwrap();
        let told = home.path().join("port");
        let program = "const server = require('net').createServer().listen(0, process.argv[1], () => {
            const fs = require('fs');
            fs.writeFileSync(process.argv[2] + '~', String(server.address().port));
            fs.renameSync(process.argv[2] + '~', process.argv[2]) })";
        let child = Command::new("node").args(["-e", program, host]).arg(&told).stdin(Stdio::null()).spawn().unwrap();
        let mut server = Server { child, port: 0 };
        for _ in 0..3000 {
            if let Ok(port) = std::fs::read_to_string(&told) {
                server.port = port.parse().unwrap();
                return server;
            }
            sleep(Duration::from_millis(10));
        }
        panic!("the server did not start");
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap()
}

#[test]
fn a_port_is_held_while_somebody_listens_on_any_address() {
    for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
        let Ok(listener) = TcpListener::bind(address) else { continue };
        let port = listener.local_addr().unwrap().port();
        assert!(!is_free(port), "{address}");
    }
}

#[test]
fn connections_of_an_ended_server_do_not_hold_its_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _client = std::net::TcpStream::connect(address).unwrap();
    let server = listener.accept().unwrap();
    drop(listener);
    assert!(is_free(address.port()));
    // The server closes first: its side waits for a minute.
    drop(server);
    assert!(is_free(address.port()));
}

#[test]
fn the_holder_of_a_port_is_named_with_pid_and_command() {
    let server = Server::on("127.0.0.1");
    let holders = holders(server.port);
    assert_eq!(holders.len(), 1);
    let (pid, command) = holders[0].process.clone().unwrap();
    assert_eq!(pid, server.pid());
    assert!(command.starts_with("node -e const server"), "{command}");
    assert_eq!(holders[0].uid, nix::unistd::geteuid().as_raw());
    assert!(holders[0].to_string().starts_with(&format!("pid {pid} (node -e")), "{}", holders[0]);
}

#[test]
fn a_listener_of_our_own_is_told_from_a_strangers() {
    let server = Server::on("127.0.0.1");
    let address = SocketAddr::from(([127, 0, 0, 1], server.port));
    assert_eq!(listens(server.port, &[own_pid(), server.pid()]), Listening::Own(address));
    match listens(server.port, &[own_pid()]) {
        Listening::Stranger(holder) => assert_eq!(holder.process.unwrap().0, server.pid()),
        other @ (Listening::No | Listening::Own(_)) => panic!("{other:?}"),
    }
}

#[test]
fn nobody_listens_on_a_free_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    assert_eq!(listens(port, &[own_pid()]), Listening::No);
    assert!(holders(port).is_empty());
}

#[test]
fn the_address_of_a_listener_can_be_connected_to() {
    for host in ["0.0.0.0", "::", "127.0.0.1", "::ffff:127.0.0.1"] {
        let server = Server::on(host);
        match listens(server.port, &[server.pid()]) {
            Listening::Own(address) => drop(std::net::TcpStream::connect(address).unwrap()),
            other @ (Listening::No | Listening::Stranger(_)) => panic!("{host}: {other:?}"),
        }
    }
}

#[test]
fn where_we_may_not_look_the_user_is_named() {
    let holder = Holder { process: None, uid: 1001, address: "0.0.0.0:3000".parse().unwrap() };
    assert_eq!(holder.to_string(), "a process of the user with id 1001");
}

#[test]
fn a_process_that_cannot_be_looked_into_is_judged_by_its_user() {
    let listener = Listener { address: "0.0.0.0:3000".parse().unwrap(), uid: 1001, inode: 5 };
    let closed = Owners { held: Vec::new(), closed: vec![70] };
    let judged = |process: Option<(i32, String)>, uid| {
        judge(&[listener], &closed, || vec![Holder { process, ..listener.holder(None) }], |_| Some(uid)).copied()
    };
    assert_eq!(judged(None, 1001), Ok(listener));
    assert!(judged(None, 1002).is_err(), "another user's");
    assert!(judged(Some((80, "nginx".to_owned())), 1001).is_err(), "somebody else is known to have it");
}
