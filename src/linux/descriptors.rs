//! Descriptors that travel along with bytes over a Unix stream (SCM_RIGHTS, unix(7)).
#![expect(unsafe_code, reason = "the kernel hands descriptors over as numbers")]

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, sendmsg, sockopt};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The most that the kernel takes with one byte: SCM_MAX_FD.
pub const MOST_DESCRIPTORS: usize = 253;

/// Sends some of the bytes, at least one, and all of the descriptors with the first of them. Does not wait.
///
/// # Errors
/// WouldBlock when there is no room; EPIPE, without the signal, when nobody reads; ETOOMANYREFS where too many
/// descriptors are on their way already.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let along = if raw.is_empty() { &[] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    Ok(sendmsg::<()>(socket.as_fd().as_raw_fd(), &[IoSlice::new(bytes)], along, flags, None)?)
}

/// Receives some bytes, and adds the descriptors that came along, closed on exec. Does not wait. 0 is the end.
///
/// # Errors
/// WouldBlock when nothing is there; ENOBUFS when descriptors were lost, for we may open no more.
pub fn receive(socket: impl AsFd, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut control = cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut buffers = [IoSliceMut::new(into)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut buffers, Some(&mut control), flags)?;
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(came) = message {
            // SAFETY: the kernel has just made these for us, and nobody else knows of them.
            descriptors.extend(came.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(received.bytes)
}

/// Is nothing to be read there, neither bytes nor an end? The kernel is asked, not a runtime that may not have heard yet.
pub fn is_quiet(socket: RawFd) -> bool {
    matches!(recv(socket, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT), Err(Errno::EAGAIN))
}

/// How the other side of a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It says no more, and may still listen.
    Said,
    /// It is gone.
    Broken,
}

/// Has the other side ended, whether or not all that it said was read (POLLRDHUP, poll(2))?
pub fn end_of(socket: RawFd) -> Option<Ending> {
    let mut asked = libc::pollfd { fd: socket, events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one structure, which lives until it returns; of a number that is no descriptor the kernel tells as much.
    let told = unsafe { libc::poll(&raw mut asked, 1, 0) };
    match asked.revents {
        _ if told < 1 => None,
        libc::POLLRDHUP => Some(Ending::Said),
        _ => Some(Ending::Broken),
    }
}

/// By this number a socket is known as the same, whoever has it. Every socket has one, and none has 0.
pub fn inode(socket: impl AsFd) -> u64 {
    nix::sys::stat::fstat(socket.as_fd()).map_or(0, |about| about.st_ino)
}

/// Is it a socket that accepts connections?
pub fn is_listening(socket: impl AsFd) -> bool {
    nix::sys::socket::getsockopt(&socket.as_fd(), sockopt::AcceptConn).unwrap_or(false)
}

/// Takes standard input over, and leaves /dev/null in its place, so that closing what is returned closes it.
///
/// # Errors
/// When it is closed, or descriptors have run out.
pub fn take_stdin() -> io::Result<OwnedFd> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    nix::unistd::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(stdin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc::FD_CLOEXEC;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_arrives_with_the_first_byte_and_is_closed_on_exec() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut read, write) = UnixStream::pair().unwrap();
        assert_eq!(send(&here, b"with", &[write.as_fd()]).unwrap(), 4);
        drop(write);
        let (mut bytes, mut came) = ([0; 1], Vec::new());
        assert_eq!(receive(&there, &mut bytes, &mut came).unwrap(), 1);
        assert_eq!((bytes, came.len()), (*b"w", 1));
        assert_eq!(fcntl(&came[0], FcntlArg::F_GETFD).unwrap(), FD_CLOEXEC);
        File::from(came.pop().unwrap()).write_all(b"through it").unwrap();
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through it");
        let mut rest = [0; 8];
        assert_eq!(receive(&there, &mut rest, &mut came).unwrap(), 3);
        assert!(came.is_empty());
    }

    #[test]
    fn as_many_as_the_kernel_takes_arrive_at_once() {
        let (here, there) = UnixStream::pair().unwrap();
        let one = File::open("/dev/null").unwrap();
        send(&here, b"x", &[one.as_fd(); MOST_DESCRIPTORS]).unwrap();
        let mut came = Vec::new();
        receive(&there, &mut [0; 1], &mut came).unwrap();
        assert_eq!(came.len(), MOST_DESCRIPTORS);
    }

    #[test]
    fn nothing_waits_and_the_end_is_zero() {
        let (here, there) = UnixStream::pair().unwrap();
        let nothing = receive(&there, &mut [0; 1], &mut Vec::new()).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        let mut sent = 0;
        let full = loop {
            match send(&here, &[0; 65_536], &[]) {
                Ok(more) => sent += more,
                Err(error) => break error,
            }
        };
        assert!(full.kind() == io::ErrorKind::WouldBlock && sent > 0, "{full}");
        drop(here);
        let mut all = vec![0; sent];
        let mut taken = 0;
        while taken < sent {
            taken += receive(&there, &mut all, &mut Vec::new()).unwrap();
        }
        assert_eq!(receive(&there, &mut all, &mut Vec::new()).unwrap(), 0);
        assert_eq!(send(&there, b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_quiet_connection_is_told_from_one_that_has_ended() {
        let (here, mut there) = UnixStream::pair().unwrap();
        assert!(is_quiet(here.as_raw_fd()));
        there.write_all(b"x").unwrap();
        assert!(!is_quiet(here.as_raw_fd()));
        (&here).read_exact(&mut [0]).unwrap();
        assert!(is_quiet(here.as_raw_fd()));
        drop(there);
        assert!(!is_quiet(here.as_raw_fd()));
    }

    #[test]
    fn an_end_is_seen_behind_what_was_not_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut there = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (here, _) = listener.accept().unwrap();
        there.write_all(b"x").unwrap();
        assert_eq!(end_of(here.as_raw_fd()), None);
        there.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(end_of(here.as_raw_fd()), Some(Ending::Said));
        (&here).write_all(b"unread").unwrap();
        drop(there);
        while end_of(here.as_raw_fd()) != Some(Ending::Broken) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_listens_is_told_from_what_does_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(is_listening(&listener));
        assert!(!is_listening(UnixStream::pair().unwrap().0) && !is_listening(File::open("/dev/null").unwrap()));
    }
}
