//! TCP ports of this machine: free or held, by whom, who is about to connect, and whether a tree's own listener is there.

mod handshakes;
mod listeners;

pub use handshakes::{Handshake, begin_again, begin_no_more, handshakes_on};

use super::proc;
use listeners::{Listener, all_listeners, listeners_on};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind, setsockopt, socket, sockopt,
};
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// With its command. None where we may not look: another user's process, and we are not root.
    pub process: Option<(i32, String)>,
    /// The user that opened the socket.
    pub uid: u32,
    pub address: SocketAddr,
}

/// Whether a port is listened on, from a tree's point of view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listening {
    No,
    /// By one of its own processes. The address is one to connect to from this machine.
    Own(SocketAddr),
    Stranger(Holder),
}

const LONGEST_COMMAND: usize = 120;

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((pid, command)) => write!(f, "pid {pid} ({command})"),
            None => write!(f, "a process of the user with id {}", self.uid),
        }
    }
}

/// Whether a listener could be opened on the port, on any address. A port that only root may open counts as free:
/// nobody holds it. What is bound without listening, and connections of an ended server, do not count.
pub fn is_free(port: u16) -> bool {
    let any6 = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    let any4 = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    can_bind(AddressFamily::Inet6, &any6) && can_bind(AddressFamily::Inet, &any4)
}

/// Only EADDRINUSE says that somebody is there; without IPv6 there is nothing to collide with on it.
fn can_bind(family: AddressFamily, address: &dyn SockaddrLike) -> bool {
    let Ok(socket) = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None) else { return true };
    // Without these two the answer is stricter, never wrong the other way.
    let _ = setsockopt(&socket, sockopt::ReuseAddr, &true);
    if family == AddressFamily::Inet6 {
        let _ = setsockopt(&socket, sockopt::Ipv6V6Only, &false);
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), address) != Err(Errno::EADDRINUSE)
}

/// Who listens on the port, one for each process and address.
pub fn holders(port: u16) -> Vec<Holder> {
    let listeners = listeners_on(port);
    if listeners.is_empty() {
        return Vec::new();
    }
    let everyone: Vec<i32> = proc::ProcTable::new().processes().iter().map(|process| process.id.pid).collect();
    let owners = owners(&listeners, &everyone);
    let mut holders = Vec::new();
    for listener in &listeners {
        let pids = owners.of(listener);
        if pids.is_empty() {
            holders.push(listener.holder(None));
        }
        holders.extend(pids.into_iter().map(|pid| listener.holder(Some(pid))));
    }
    holders
}

/// Whether one of these processes listens on the port. A stranger is named only when none of them does.
///
/// A process that the kernel does not let us look into (a Node with file capabilities, say) counts as the listener if
/// it is of the user that opened the socket, and no process that we can look into has that socket.
pub fn listens(port: u16, pids: &[i32]) -> Listening {
    let listeners = listeners_on(port);
    if listeners.is_empty() {
        return Listening::No;
    }
    let own = owners(&listeners, pids);
    let strangers = || holders(port);
    match judge(&listeners, &own, strangers, proc::uid) {
        Ok(listener) => Listening::Own(reachable(listener.address)),
        Err(Some(holder)) => Listening::Stranger(holder),
        // It was closed while we looked.
        Err(None) => Listening::No,
    }
}

/// The ports on which these processes listen, in order; those of processes that we may not look into are missing.
pub fn listened_to_by(pids: &[i32]) -> Vec<u16> {
    addresses_of(pids).iter().map(SocketAddr::port).collect::<BTreeSet<u16>>().into_iter().collect()
}

/// As [`listened_to_by`], the whole addresses.
pub fn addresses_of(pids: &[i32]) -> Vec<SocketAddr> {
    let listeners = all_listeners();
    let owners = owners(&listeners, pids);
    let own = listeners.iter().filter(|listener| !owners.of(listener).is_empty());
    own.map(|listener| listener.address).collect()
}

/// The ports that the kernel gives to connections going out (ip(7), ip_local_port_range).
pub fn of_clients() -> Option<RangeInclusive<u16>> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = text.split_ascii_whitespace().map(|end| end.parse::<u16>().ok());
    Some(ends.next()??..=ends.next()??)
}

/// Of those, the ones that it leaves out: `8080,9148-9150` (ip_local_reserved_ports).
pub fn reserved() -> Vec<RangeInclusive<u16>> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).collect()
}

/// The tree's own listener, or else the stranger.
fn judge<'a>(
    listeners: &'a [Listener],
    own: &Owners,
    strangers: impl FnOnce() -> Vec<Holder>,
    uid_of: impl Fn(i32) -> Option<u32>,
) -> Result<&'a Listener, Option<Holder>> {
    // IPv4 first: what listens on it can be reached wherever there is a loopback interface at all.
    let first =
        |mine: &dyn Fn(&&Listener) -> bool| listeners.iter().filter(mine).min_by_key(|mine| mine.address.is_ipv6());
    if let Some(listener) = first(&|listener| !own.of(listener).is_empty()) {
        return Ok(listener);
    }
    let strangers = strangers();
    let closed: HashSet<u32> = own.closed.iter().filter_map(|pid| uid_of(*pid)).collect();
    let unclaimed = |listener: &Listener| {
        strangers.iter().any(|holder| holder.process.is_none() && holder.address == listener.address)
    };
    first(&|listener| closed.contains(&listener.uid) && unclaimed(listener)).ok_or(strangers.into_iter().next())
}

/// Which processes hold which of the sockets, and which processes would not say.
struct Owners {
    held: Vec<(u64, i32)>,
    closed: Vec<i32>,
}

impl Owners {
    fn of(&self, listener: &Listener) -> Vec<i32> {
        self.held.iter().filter(|(inode, _)| *inode == listener.inode).map(|(_, pid)| *pid).collect()
    }
}

fn owners(listeners: &[Listener], pids: &[i32]) -> Owners {
    let mut owners = Owners { held: Vec::new(), closed: Vec::new() };
    for pid in pids {
        let descriptors = match std::fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                if error.kind() == std::io::ErrorKind::PermissionDenied {
                    owners.closed.push(*pid);
                }
                continue;
            }
        };
        let targets = descriptors.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let sockets: HashSet<u64> = targets.filter_map(|target| socket_inode(target.as_os_str().as_bytes())).collect();
        let held = listeners.iter().map(|listener| listener.inode).filter(|inode| sockets.contains(inode));
        owners.held.extend(held.map(|inode| (inode, *pid)));
    }
    owners.held.dedup();
    owners
}

/// A descriptor's target is `socket:[12345]` (proc_pid_fd(5)).
fn socket_inode(target: &[u8]) -> Option<u64> {
    proc::number(target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?)
}

impl Listener {
    fn holder(&self, pid: Option<i32>) -> Holder {
        let process = pid.map(|pid| (pid, proc::command(pid, LONGEST_COMMAND)));
        Holder { process, uid: self.uid, address: self.address }
    }
}

/// An address to connect to for one that is listened on.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip.to_canonical(),
        // The table does not tell whether it takes IPv4 too; ::1 is right either way, where there is one.
        std::net::IpAddr::V6(_) if has_loopback6() => Ipv6Addr::LOCALHOST.into(),
        std::net::IpAddr::V6(_) | std::net::IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, address.port())
}

/// Containers often have IPv6 sockets but no IPv6 address.
fn has_loopback6() -> bool {
    let addresses = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    addresses.lines().any(|line| line.starts_with("00000000000000000000000000000001 "))
}

#[cfg(test)]
mod tests;
