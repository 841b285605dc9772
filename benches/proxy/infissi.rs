//! Our worker, told what to do over its channel as the supervisor tells it.

use crate::proxy::{Proxy, Running};
use infissi::proxy::channel::{Limits, Order, PROTOCOL, Route, TargetPlace};
use nix::sys::signal::Signal;
use nix::sys::socket::{Backlog, ControlMessage, MsgFlags, listen, sendmsg};
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) struct Infissi {
    pub(crate) program: PathBuf,
}

const APP: &str = "crm";

impl Infissi {
    pub(crate) fn ours() -> Infissi {
        Infissi { program: PathBuf::from(env!("CARGO_BIN_EXE_infissi-supervisord")) }
    }
}

impl Proxy for Infissi {
    fn name(&self) -> String {
        if self.program == Infissi::ours().program { "infissi".to_owned() } else { self.program.display().to_string() }
    }

    fn start(&self, room: &Path, origin: SocketAddr) -> Running {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = Command::new(&self.program)
            .arg("proxy")
            .current_dir(room)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(File::create(room.join("worker.log")).unwrap())
            .spawn()
            .expect("the worker starts");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listen(&listener, Backlog::MAXCONN).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        tell(&ours, &Order::Attach { protocol: PROTOCOL }, &[]);
        tell(&ours, &Order::Listen { listener: 1, app: APP.to_owned() }, &[listener.as_raw_fd()]);
        tell(&ours, &Order::Route(route(origin)), &[]);
        // Somebody must listen to its reports, as the supervisor does; what they say is of no interest here.
        let mut reports = ours.try_clone().unwrap();
        std::thread::spawn(move || io::copy(&mut reports, &mut io::sink()));
        Running::new(child, address, Signal::SIGKILL, Some(ours))
    }
}

fn route(origin: SocketAddr) -> Route {
    Route {
        app: APP.to_owned(),
        active: vec![TargetPlace { target: 1, address: origin }],
        active_deployment: None,
        warm: None,
        hold_ms: 10_000,
        trusted: Vec::new(),
        limits: Limits { connections: 10_000, header_timeout_ms: 10_000, head: 32 * 1024, idle_ms: 80_000 },
    }
}

/// The descriptors travel with the frame's first byte.
fn tell(mut channel: &UnixStream, order: &Order, descriptors: &[RawFd]) {
    let body = serde_json::to_vec(order).unwrap();
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    let rights = [ControlMessage::ScmRights(descriptors)];
    let rights = if descriptors.is_empty() { &rights[..0] } else { &rights[..] };
    sendmsg::<()>(channel.as_raw_fd(), &[IoSlice::new(&length[..1])], rights, MsgFlags::empty(), None).unwrap();
    channel.write_all(&length[1..]).unwrap();
    channel.write_all(&body).unwrap();
}
