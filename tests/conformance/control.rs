//! Whether these tests can see a failure: a proxy that forwards bytes as they come.

use crate::bench::faults;
use crate::proxy::Proxy;
use crate::row::Expect::{Passed, Refused};
use crate::row::Row;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct Pipe {
    pub(crate) address: SocketAddr,
    origin: Arc<Mutex<Option<SocketAddr>>>,
}

impl Pipe {
    pub(crate) fn start() -> Pipe {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Arc::new(Mutex::new(None));
        let to = Arc::clone(&origin);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let origin: SocketAddr = to.lock().unwrap().unwrap();
                let origin = TcpStream::connect(origin).unwrap();
                for (from, to) in [(&client, &origin), (&origin, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || pour(from, to));
                }
            }
        });
        Pipe { address, origin }
    }
}

/// Until one side has no more to say, which the other is told; or fails.
fn pour(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 4096];
    loop {
        let ends = match from.read(&mut buffer) {
            Ok(0) => Shutdown::Write,
            Ok(read) if to.write_all(&buffer[..read]).is_ok() => continue,
            Ok(_) | Err(_) => Shutdown::Both,
        };
        // The other direction may have ended it already.
        let _ended = to.shutdown(ends);
        return;
    }
}

impl Proxy for Pipe {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn point_at(&mut self, origin: SocketAddr) {
        *self.origin.lock().unwrap() = Some(origin);
    }

    fn let_go(&mut self) {}
}

#[test]
fn a_proxy_that_forwards_what_it_gets_is_found_out() {
    let hidden = "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: h\r\n\r\n";
    let smuggled = [
        Row::post("Content-Length: 40\r\nTransfer-Encoding: chunked\r\n", hidden, Refused, ""),
        Row::post("Content-Length: +5\r\n", "hello", Refused, ""),
        Row::post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello", Refused, ""),
        Row::post("Transfer-Encoding: chunked\r\n", "5;a=b\r\nhello\r\n0\r\n\r\n", Passed, "hello"),
        Row::headers("X : y\r\n", Refused),
        Row::raw("GET http://evil/row HTTP/1.1\r\nHost: h\r\n\r\n", Passed),
    ];
    for row in smuggled {
        let faults = faults(&mut Pipe::start(), std::slice::from_ref(&row));
        assert!(faults.iter().any(|fault| fault.starts_with("AtOnce")), "{}: {faults:?}", row.name());
    }
    // Node itself takes one of them for two requests: the second witness sees, too.
    let two = Row::raw(format!("GET /row HTTP/1.1\r\nHost: h\r\n\r\n{}", crate::row::NEXT), Refused);
    let faults = faults(&mut Pipe::start(), &[two]);
    assert!(faults.iter().any(|fault| fault.starts_with("Node")), "{faults:?}");
}

#[test]
fn nothing_is_found_in_plain_requests() {
    let plain = [
        Row::post("Content-Length: 5\r\n", "hello", Passed, "hello"),
        Row::post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n", Passed, "hello"),
        Row::headers("X: y\r\n", Passed),
    ];
    assert_eq!(faults(&mut Pipe::start(), &plain), Vec::<String>::new());
}

#[test]
fn a_request_that_the_proxy_has_not_written_is_found_out() {
    let forged =
        "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Port: 1\r\nConnection: close\r\n\r\n";
    let found = crate::random::check(&mut Pipe::start(), forged.as_bytes());
    assert!(found.is_err_and(|fault| fault.contains("has not written")));
}
