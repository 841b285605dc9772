//! An app's public port: opened once, then shared by descriptor, and bound a second time only beside itself.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Connections that wait to be accepted; the kernel lowers it to `net.core.somaxconn` (4096 since Linux 5.4).
const BACKLOG: i32 = 4096;
/// A client that fell off the network is asked after this time, and then every [`PROBE_SECONDS`].
const SILENT_SECONDS: u32 = 60;
const PROBE_SECONDS: u32 = 15;
/// Unanswered questions after which its connection is gone.
const PROBES: u32 = 4;

/// Listens there: non-blocking, closed on exec. `[::]` takes IPv4 as well, and where IPv6 is off it is `0.0.0.0`; any
/// other IPv6 address takes IPv6 alone.
///
/// Its connections inherit keep-alive probes (tcp(7)), so that no tunnel to a vanished client stays for ever.
/// SO_REUSEADDR lets it open over the remains of ended connections. SO_REUSEPORT is left out: with it the kernel gives
/// each socket a queue of its own, and what waits in one that closes is lost.
///
/// # Errors
/// EADDRINUSE when somebody else has it, EACCES for a port that only root may open, EADDRNOTAVAIL for an address that
/// this machine does not have.
pub fn open(address: SocketAddr) -> io::Result<TcpListener> {
    open_beside(address, &[])
}

/// Nothing waits for more to be sent along (TCP_NODELAY, tcp(7)): neither here nor on the connections of a listener.
///
/// # Errors
/// It is no TCP socket.
pub fn send_at_once(socket: impl AsFd) -> io::Result<()> {
    Ok(setsockopt(&socket.as_fd(), sockopt::TcpNoDelay, &true)?)
}

/// The same, over addresses that these listening sockets of ours have: so that `127.0.0.1` becomes `[::]`, or the other
/// way, with somebody listening throughout. As long as both are open the more exact address gets the new connections,
/// and for IPv4 `0.0.0.0` is more exact than `[::]`.
///
/// SO_REUSEPORT is on for the time of one bind(2) and listen(2). Whatever anyone else has is in the way as ever, except that which a
/// process of our own user opened with SO_REUSEPORT as well.
///
/// # Errors
/// As those of [`open`].
pub fn open_beside(address: SocketAddr, ours: &[BorrowedFd<'_>]) -> io::Result<TcpListener> {
    let share = |shared: bool| ours.iter().try_for_each(|own| setsockopt(own, sockopt::ReusePort, &shared));
    share(true)?;
    let opened = match open_exactly(address, !ours.is_empty()) {
        Err(error) if says_no_ipv6(error) && address.is_ipv6() && address.ip().is_unspecified() => {
            open_exactly(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), !ours.is_empty())
        }
        opened => opened,
    };
    share(false)?;
    Ok(opened?)
}

/// Whether `[::]` is opened as `0.0.0.0` here.
pub fn is_without_ipv6() -> bool {
    open_exactly(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0), false).is_err_and(says_no_ipv6)
}

fn says_no_ipv6(error: Errno) -> bool {
    matches!(error, Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
}

fn open_exactly(address: SocketAddr, beside: bool) -> nix::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, SockProtocol::Tcp)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    setsockopt(&socket, sockopt::ReusePort, &beside)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &!address.ip().is_unspecified())?;
    }
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &SILENT_SECONDS)?;
    setsockopt(&socket, sockopt::TcpKeepInterval, &PROBE_SECONDS)?;
    setsockopt(&socket, sockopt::TcpKeepCount, &PROBES)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    // It looks for others once more.
    listen(&socket, Backlog::new(BACKLOG)?)?;
    setsockopt(&socket, sockopt::ReusePort, &false)?;
    Ok(TcpListener::from(socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use nix::libc::FD_CLOEXEC;
    use nix::sys::socket::getsockopt;
    use std::net::TcpStream;

    #[test]
    fn the_wildcard_takes_both_families_and_never_blocks() {
        let listener = open("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let accepted = loop {
            match listener.accept() {
                Ok((accepted, _)) => break accepted,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert!(getsockopt(&accepted, sockopt::KeepAlive).unwrap());
        assert_eq!(fcntl(&listener, FcntlArg::F_GETFD).unwrap(), FD_CLOEXEC);
        assert!(OFlag::from_bits_retain(fcntl(&listener, FcntlArg::F_GETFL).unwrap()).contains(OFlag::O_NONBLOCK));
        assert!(!getsockopt(&listener, sockopt::ReusePort).unwrap());
    }

    #[test]
    fn a_port_that_is_held_is_refused() {
        let holder = open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = holder.local_addr().unwrap();
        assert_eq!(open(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(holder);
        open(address).unwrap();
    }

    #[test]
    fn an_address_is_opened_over_another_one_of_ours_and_over_nobody_elses() {
        let stranger = open("127.0.0.2:0".parse().unwrap()).unwrap();
        let port = stranger.local_addr().unwrap().port();
        let ours = open((Ipv4Addr::LOCALHOST, port).into()).unwrap();
        let everywhere = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        assert_eq!(open_beside(everywhere, &[ours.as_fd()]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(stranger);
        let both = std::iter::repeat_with(|| open_beside(everywhere, &[ours.as_fd()]).ok()).flatten().next().unwrap();
        let _to_ours = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(both.accept().is_err(), "the more exact one has it");
        drop(ours);
        let _to_both = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_eq!(open(everywhere).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn an_address_that_is_not_ours_is_refused() {
        let stranger = open("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert_eq!(stranger.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(open("[2001:db8::1]:0".parse().unwrap()).is_err());
    }
}
