//! The public addresses: opened once, told to the worker, kept here so that no worker's death refuses a connection.

use crate::daemon::launch::who;
use crate::linux::descriptors::{MOST_DESCRIPTORS, inode};
use crate::linux::{listener, ports};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// A worker closes what it was told to within this time, be it busy: until then an address is not held by a stranger.
const CLOSING: Duration = Duration::from_secs(1);

/// The worker takes one more: where an address changes hands, both have it for a moment.
const MOST: usize = MOST_DESCRIPTORS - 1;

/// A public address that we listen on.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) listener: u64,
    pub(super) app: String,
    /// As the configuration has it.
    pub(super) address: SocketAddr,
    pub(super) socket: Arc<OwnedFd>,
    /// Of the socket.
    pub(super) inode: u64,
}

impl Door {
    /// Under which the service manager keeps it, and by which it is passed on.
    pub(super) fn name(&self) -> String {
        format!("port-{}-{}", self.address.port(), self.inode)
    }
}

#[derive(Debug, Default)]
pub(super) struct Doors {
    open: Vec<Door>,
    /// Closed a moment ago: the worker may still be at it.
    closing: Vec<(SocketAddr, Duration)>,
    next: u64,
}

/// Why an address cannot be listened on.
pub(super) enum Trouble {
    /// By ourselves: the worker closes it in a moment.
    Closing,
    /// Somebody listens there.
    Held,
    /// A sentence.
    Refused(String),
}

impl Doors {
    pub(super) fn all(&self) -> &[Door] {
        &self.open
    }

    /// Each socket once more, by name. One that cannot be had is the worker's alone.
    pub(super) fn copies(&self) -> Vec<(String, OwnedFd)> {
        let copy = |door: &Door| Some((door.name(), door.socket.try_clone().ok()?));
        self.open.iter().filter_map(copy).collect()
    }

    pub(super) fn of<'a>(&'a self, app: &'a str) -> impl Iterator<Item = &'a Door> {
        self.open.iter().filter(move |door| door.app == app)
    }

    pub(super) fn is_open(&self, app: &str, address: SocketAddr) -> bool {
        self.of(app).any(|door| door.address == address)
    }

    /// Where there is no IPv6 `[::]` is open as `0.0.0.0`, and so the worker of an earlier supervisor has it: is it that?
    pub(super) fn is_open_as_ipv4(&mut self, app: &str, address: SocketAddr) -> bool {
        let Some(as_ipv4) = as_ipv4(address) else { return false };
        let door = self.open.iter_mut().find(|door| door.app == app && door.address == as_ipv4);
        door.map(|door| door.address = address).is_some()
    }

    /// Is there no place for one more?
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= MOST
    }

    /// Opens an address for an app, over those doors that `in_the_way` has the numbers of.
    ///
    /// # Errors
    /// Somebody has it, or the machine is against it.
    pub(super) fn open(
        &mut self,
        app: &str,
        address: SocketAddr,
        in_the_way: &[u64],
        now: Duration,
    ) -> Result<Door, Trouble> {
        self.closing.retain(|(_, since)| now.saturating_sub(*since) < CLOSING);
        if self.is_full() {
            let why = format!("{MOST} public addresses are open already, and the worker takes no more");
            return Err(Trouble::Refused(why));
        }
        let ours = self.open.iter().filter(|door| in_the_way.contains(&door.listener));
        let ours: Vec<BorrowedFd<'_>> = ours.map(|door| door.socket.as_fd()).collect();
        let socket = listener::open_beside(address, &ours).map_err(|error| self.trouble(address, &error))?;
        Ok(self.add(app, address, Arc::new(socket.into())))
    }

    /// A socket that is there already: from a worker that was before us, or of an app that has another name now.
    pub(super) fn add(&mut self, app: &str, address: SocketAddr, socket: Arc<OwnedFd>) -> Door {
        take_newcomers(&socket);
        self.next += 1;
        let inode = inode(&socket);
        let door = Door { listener: self.next, app: app.to_owned(), address, socket, inode };
        self.open.push(door.clone());
        door
    }

    /// A number that no listener has.
    pub(super) fn unused(&self) -> u64 {
        self.next + 1
    }

    /// A worker's listener, under this number. None where it is not what it was said to be.
    pub(super) fn adopt(&mut self, listener: u64, app: String, address: SocketAddr, socket: OwnedFd) -> Option<Door> {
        let socket = TcpListener::from(socket);
        let bound = socket.local_addr().ok()?;
        let wildcard = address.ip().is_unspecified() && bound.ip().is_unspecified() && address.port() == bound.port();
        if bound != address && !wildcard {
            return None;
        }
        take_newcomers(&socket);
        self.next = self.next.max(listener);
        let inode = inode(&socket);
        let door = Door { listener, app, address, socket: Arc::new(socket.into()), inode };
        self.open.push(door.clone());
        Some(door)
    }

    /// Closes those that `wanted` does not want; they are told to the worker.
    pub(super) fn close(&mut self, now: Duration, wanted: impl Fn(&Door) -> bool) -> Vec<Door> {
        let (kept, closed): (Vec<Door>, Vec<Door>) = self.open.drain(..).partition(wanted);
        self.open = kept;
        self.closing.extend(closed.iter().map(|door| (door.address, now)));
        closed
    }

    /// What is not among ours, and that we close, too.
    pub(super) fn closes(&mut self, address: SocketAddr, now: Duration) {
        self.closing.push((address, now));
    }

    fn trouble(&self, address: SocketAddr, error: &io::Error) -> Trouble {
        let kind = error.kind();
        if kind == io::ErrorKind::AddrInUse {
            let ours = self.closing.iter().any(|(closing, _)| collide(*closing, address));
            return if ours { Trouble::Closing } else { Trouble::Held };
        }
        if kind == io::ErrorKind::PermissionDenied {
            return Trouble::Refused(format!(
                "port {} is for root: choose one from 1024 on, or give the supervisor CAP_NET_BIND_SERVICE",
                address.port()
            ));
        }
        if kind == io::ErrorKind::AddrNotAvailable {
            return Trouble::Refused(format!("{} is not an address of this machine", address.ip()));
        }
        Trouble::Refused(format!("cannot listen on {address}: {error}"))
    }
}

/// Can only one of the two be listened on?
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let takes_both = |address: SocketAddr| address.ip() == IpAddr::from([0_u16; 8]);
    let same = one.ip() == other.ip();
    let wildcard = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (same || wildcard && same_family || takes_both(one) || takes_both(other))
}

/// Does the first take all that the other one does?
pub(super) fn covers(one: SocketAddr, other: SocketAddr) -> bool {
    let all_of_ipv4 = one.ip() == Ipv4Addr::UNSPECIFIED && other.is_ipv4();
    one.port() == other.port() && (one.ip() == other.ip() || all_of_ipv4 || one.ip() == IpAddr::from([0_u16; 8]))
}

/// Whatever was to become of it before: a socket that is to be closed may have been told to take none.
pub(super) fn take_newcomers(socket: impl AsFd) {
    if let Err(error) = ports::begin_again(socket) {
        warn!("a public port may take no new connections: {error}");
    }
}

/// Where it is open instead when there is no IPv6.
pub(super) fn as_ipv4(address: SocketAddr) -> Option<SocketAddr> {
    let is_everywhere = address.ip() == IpAddr::from([0_u16; 8]);
    is_everywhere.then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
}

/// Who listens where this address wants to, at none of `ours`: a sentence. None where nobody is seen to. Looks at every
/// process.
pub(super) fn held(address: SocketAddr, ours: &[SocketAddr]) -> Option<String> {
    let port = address.port();
    let holders = ports::holders(port);
    // The table does not tell whether an IPv6 wildcard takes IPv4: it mostly does.
    let is_in_the_way = |at: SocketAddr| collide(at, address) && !ours.contains(&at);
    let holder = holders.iter().find(|holder| is_in_the_way(holder.address))?;
    Some(format!("port {port} is held by {}", who(holder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_collide_on_one_port_where_one_takes_what_the_other_wants() {
        for (one, other, collides) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("127.0.0.2:80", "127.0.0.1:80", false),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::1]:80", "0.0.0.0:80", false),
            ("[::1]:80", "[::]:80", true),
        ] {
            assert_eq!(collide(at(one), at(other)), collides, "{one} and {other}");
            assert_eq!(collide(at(other), at(one)), collides, "{other} and {one}");
        }
    }

    #[test]
    fn an_address_covers_what_it_takes_the_connections_of() {
        for (one, other, there, back) in [
            ("0.0.0.0:80", "127.0.0.1:80", true, false),
            ("[::]:80", "127.0.0.1:80", true, false),
            ("[::]:80", "0.0.0.0:80", true, false),
            ("[::]:80", "[::1]:80", true, false),
            ("0.0.0.0:80", "[::1]:80", false, false),
            ("127.0.0.1:80", "127.0.0.1:80", true, true),
            ("[::]:80", "127.0.0.1:81", false, false),
        ] {
            assert_eq!((covers(at(one), at(other)), covers(at(other), at(one))), (there, back), "{one} and {other}");
        }
    }

    #[test]
    fn what_keeps_an_address_from_being_opened_is_told_in_words() {
        let mut doors = Doors::default();
        let Err(Trouble::Refused(why)) = doors.open("web", at("192.0.2.1:3000"), &[], Duration::ZERO) else { panic!() };
        assert_eq!(why, "192.0.2.1 is not an address of this machine");
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        let Trouble::Refused(why) = doors.trouble(at("0.0.0.0:80"), &error) else { panic!() };
        assert!(why.starts_with("port 80 is for root: "), "{why}");
    }

    #[test]
    fn without_ipv6_what_is_open_everywhere_is_open_as_ipv4() {
        let socket = TcpListener::bind("0.0.0.0:0").unwrap();
        let as_ipv4 = socket.local_addr().unwrap();
        let everywhere = SocketAddr::new(IpAddr::from([0_u16; 8]), as_ipv4.port());
        let mut doors = Doors::default();
        doors.adopt(4, "web".to_owned(), as_ipv4, socket.into()).unwrap();
        assert!(!doors.is_open("web", everywhere) && !doors.is_open_as_ipv4("api", everywhere));
        assert!(doors.is_open_as_ipv4("web", everywhere) && doors.is_open("web", everywhere));
        assert!(!doors.is_open_as_ipv4("web", as_ipv4));
    }

    #[test]
    fn an_address_that_we_close_ourselves_is_not_held_by_a_stranger() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let mut doors = Doors::default();
        assert!(matches!(doors.open("web", address, &[], Duration::ZERO), Err(Trouble::Held)));
        assert!(held(address, &[]).unwrap().contains(" is held by pid "));
        doors.add("web", address, Arc::new(holder.try_clone().unwrap().into()));
        assert_eq!(doors.close(Duration::from_secs(5), |_| false).len(), 1);
        assert!(matches!(doors.open("api", address, &[], Duration::from_secs(5)), Err(Trouble::Closing)));
        assert!(matches!(doors.open("api", address, &[], Duration::from_secs(7)), Err(Trouble::Held)));
        drop(holder);
        // A process that another test is just starting has the descriptor until it executes its program.
        let opened =
            std::iter::repeat_with(|| doors.open("api", address, &[], Duration::from_secs(7)).ok()).flatten().next();
        assert_eq!(opened.unwrap().app, "api");
    }
}
