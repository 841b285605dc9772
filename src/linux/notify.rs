//! The socket of the service manager that started us (`NOTIFY_SOCKET`, sd_notify(3)).

use super::descriptors;
use std::ffi::OsStr;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where it listens.
#[derive(Debug, Clone)]
pub struct NotifySocket(SocketAddr);

impl NotifySocket {
    /// By what stands in `NOTIFY_SOCKET`: a path, or a name behind an `@`.
    ///
    /// # Errors
    /// It is neither.
    pub fn at(address: &OsStr) -> io::Result<NotifySocket> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(address)?,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(NotifySocket(address))
    }

    /// One message, with these descriptors. Does not wait. Each time over a socket of its own, so that a service manager
    /// that has put another socket there is found.
    ///
    /// # Errors
    /// `WouldBlock` while it has not taken what it was told before; whatever else connect(2) and sendmsg(2) have.
    pub fn send(&self, message: &str, along: &[BorrowedFd<'_>]) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(&self.0)?;
        // A datagram goes whole or not at all.
        descriptors::send(&socket, message.as_bytes(), along).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;

    #[test]
    fn a_message_arrives_at_a_path_and_at_a_name_with_its_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("infissi-test-{}", std::process::id());
        let at_path = UnixDatagram::bind(&path).unwrap();
        let at_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let null = File::open("/dev/null").unwrap();
        for (listening, address) in [(at_path, path.into_os_string()), (at_name, format!("@{name}").into())] {
            NotifySocket::at(&address).unwrap().send("READY=1", &[null.as_fd()]).unwrap();
            let (mut bytes, mut came) = ([0; 64], Vec::new());
            let length = descriptors::receive(&listening, &mut bytes, &mut came).unwrap();
            assert_eq!((&bytes[..length], came.len()), (&b"READY=1"[..], 1));
        }
        assert!(NotifySocket::at(OsStr::new("vsock:2:1234")).is_err());
    }

    #[test]
    fn a_full_socket_is_told_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listening = UnixDatagram::bind(&path).unwrap();
        let socket = NotifySocket::at(path.as_os_str()).unwrap();
        let full = std::iter::repeat_with(|| socket.send("WATCHDOG=1", &[])).find_map(Result::err).unwrap();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        listening.recv(&mut [0; 64]).unwrap();
        socket.send("WATCHDOG=1", &[]).unwrap();
        drop(listening);
        assert_eq!(socket.send("WATCHDOG=1", &[]).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
