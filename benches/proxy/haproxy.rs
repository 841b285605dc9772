//! HAProxy as packaged, with one thread and connections to the origin that any client's requests may use.

use crate::proxy::{Proxy, Running, free_address};
use nix::sys::signal::Signal;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) struct HaProxy;

impl Proxy for HaProxy {
    fn name(&self) -> String {
        "HAProxy".to_owned()
    }

    fn start(&self, room: &Path, origin: SocketAddr) -> Running {
        let address = free_address();
        let config = room.join("haproxy.cfg");
        fs::write(&config, configuration(address, origin)).unwrap();
        let child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy starts");
        Running::new(child, address, Signal::SIGTERM, None)
    }
}

/// It says of the client what we say of it.
fn configuration(address: SocketAddr, origin: SocketAddr) -> String {
    let port = address.port();
    format!(
        "
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    timeout connect 5s
    timeout client 80s
    timeout server 80s
    timeout http-request 10s
    timeout http-keep-alive 80s
    http-reuse always
frontend public
    bind {address} backlog 4096
    option forwardfor
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Forwarded-Port {port}
    default_backend instances
backend instances
    server origin {origin} pool-purge-delay 4s
"
    )
}
