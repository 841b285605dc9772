//! The proxy itself, at the end of a channel that this test holds.

use crate::machine::PATIENCE;
use crate::proxy::Proxy;
use infissi::proxy::channel::{Limits, Network, Order, PROTOCOL, Report, Route, TargetPlace};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::io::{IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::mpsc::Receiver;
use std::thread;

const APP: &str = "app";

pub(crate) struct Worker {
    /// None when it is a thread of ours.
    child: Option<Child>,
    channel: UnixStream,
    reports: Receiver<Report>,
    address: SocketAddr,
    route: Route,
    /// The last target's number; each is used once.
    target: u64,
}

impl Worker {
    /// Attaches to one over our end of its channel, for an app with another route than the usual one.
    pub(crate) fn attach(ours: UnixStream, child: Option<Child>, change: impl FnOnce(&mut Route)) -> Worker {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let reports = listen(ours.try_clone().unwrap());
        let mut worker = Worker { child, channel: ours, reports, address, route: usual(), target: 0 };
        change(&mut worker.route);
        worker.say(&Order::Attach { protocol: PROTOCOL }, None);
        worker.hear(|report| matches!(report, Report::Hello { .. }));
        worker.say(&Order::Listen { listener: 1, app: APP.to_owned() }, Some(&listener));
        worker
    }

    fn say(&mut self, order: &Order, listener: Option<&TcpListener>) {
        let text = serde_json::to_vec(order).unwrap();
        let frame = [&u32::try_from(text.len()).unwrap().to_le_bytes(), text.as_slice()].concat();
        let descriptors: Vec<i32> = listener.iter().map(|listener| listener.as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let rights = if descriptors.is_empty() { &rights[..0] } else { &rights[..] };
        let slice = [IoSlice::new(&frame)];
        let sent = sendmsg::<()>(self.channel.as_raw_fd(), &slice, rights, MsgFlags::empty(), None).unwrap();
        self.channel.write_all(&frame[sent..]).unwrap();
    }

    /// Waits for such a report.
    #[track_caller]
    fn hear(&self, mut is_it: impl FnMut(&Report) -> bool) {
        while !is_it(&self.reports.recv_timeout(PATIENCE).expect("the worker does not report it")) {}
    }
}

impl Proxy for Worker {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn point_at(&mut self, origin: SocketAddr) {
        self.target += 1;
        self.route.active = vec![TargetPlace { target: self.target, address: origin }];
        self.say(&Order::Route(self.route.clone()), None);
        // Orders are obeyed in their order: behind the answer to this one the route stands.
        self.say(&Order::Retire { target: u64::MAX }, None);
        self.hear(|report| matches!(report, Report::InFlight { target: u64::MAX, .. }));
    }

    fn let_go(&mut self) {
        self.route.active.clear();
        self.say(&Order::Route(self.route.clone()), None);
        let target = self.target;
        self.say(&Order::Retire { target }, None);
        self.hear(|report| *report == Report::InFlight { target, requests: 0, streams: 0 });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.say(&Order::Exit, None);
        if let Some(child) = &mut self.child {
            child.wait().unwrap();
        }
    }
}

pub(crate) fn usual() -> Route {
    Route {
        app: APP.to_owned(),
        active: Vec::new(),
        active_deployment: None,
        warm: None,
        hold_ms: 10_000,
        trusted: vec![Network { address: Ipv4Addr::LOCALHOST.into(), prefix: 8 }],
        limits: Limits { connections: 10_000, header_timeout_ms: 10_000, head: 32 << 10, idle_ms: 80_000 },
    }
}

fn listen(mut channel: UnixStream) -> Receiver<Report> {
    let (tell, reports) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let mut length = [0; 4];
        while channel.read_exact(&mut length).is_ok() {
            let mut text = vec![0; u32::from_le_bytes(length) as usize];
            if channel.read_exact(&mut text).is_err() || tell.send(serde_json::from_slice(&text).unwrap()).is_err() {
                return;
            }
        }
    });
    reports
}
