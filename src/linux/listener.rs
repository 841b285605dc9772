//! An app's public port: opened once, then shared by descriptor, never bound a second time.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
    sockopt,
};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd};

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
    match open_exactly(address) {
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) if address.is_ipv6() && address.ip().is_unspecified() => {
            Ok(open_exactly(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))?)
        }
        opened => Ok(opened?),
    }
}

/// Nothing waits for more to be sent along (TCP_NODELAY, tcp(7)): neither here nor on the connections of a listener.
///
/// # Errors
/// It is no TCP socket.
pub fn send_at_once(socket: impl AsFd) -> io::Result<()> {
    Ok(setsockopt(&socket.as_fd(), sockopt::TcpNoDelay, &true)?)
}

fn open_exactly(address: SocketAddr) -> nix::Result<TcpListener> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, SockProtocol::Tcp)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    if address.is_ipv6() {
        setsockopt(&socket, sockopt::Ipv6V6Only, &!address.ip().is_unspecified())?;
    }
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &SILENT_SECONDS)?;
    setsockopt(&socket, sockopt::TcpKeepInterval, &PROBE_SECONDS)?;
    setsockopt(&socket, sockopt::TcpKeepCount, &PROBES)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
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
    fn an_address_that_is_not_ours_is_refused() {
        let stranger = open("192.0.2.1:0".parse().unwrap()).unwrap_err();
        assert_eq!(stranger.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(open("[2001:db8::1]:0".parse().unwrap()).is_err());
    }
}
