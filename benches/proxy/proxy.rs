//! A proxy in front of the origin: what is asked of each of them.

use crate::process::{Process, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

pub(crate) trait Proxy {
    fn name(&self) -> String;

    /// Starts it with one worker on the core of the caller, everything it writes below `room`, and comes back when it
    /// accepts.
    fn start(&self, room: &Path, origin: SocketAddr) -> Running;
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    child: Child,
    /// Asks it to end.
    signal: Signal,
    /// What tells it that somebody is there, for as long as it runs.
    _channel: Option<UnixStream>,
}

impl Running {
    pub(crate) fn new(child: Child, address: SocketAddr, signal: Signal, channel: Option<UnixStream>) -> Running {
        let running = Running { address, child, signal, _channel: channel };
        wait_until("the proxy accepts", Duration::from_secs(10), || {
            assert!(running.main().is_alive(), "the proxy stays");
            TcpStream::connect(address).is_ok()
        });
        running
    }

    /// Of all its processes so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        self.processes().map(Process::cpu_time).sum()
    }

    /// Of all its processes, bytes.
    pub(crate) fn pss(&self) -> u64 {
        self.processes().map(Process::pss).sum()
    }

    fn processes(&self) -> impl Iterator<Item = Process> {
        let main = self.main();
        [main].into_iter().chain(main.children())
    }

    fn main(&self) -> Process {
        Process::of(self.pid()).expect("the proxy runs")
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nobody has waited for the child: its pid is still its own.
        let _ = kill(Pid::from_raw(self.pid()), self.signal);
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago, for those who open their own.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).unwrap()
}
