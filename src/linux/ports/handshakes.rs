//! Connections whose handshake has begun and is not over: who they are, and that no more of them begin.
#![expect(unsafe_code, reason = "nix has no SO_ATTACH_FILTER: setsockopt is called as it is")]

use super::listeners::socket_address;
use std::collections::HashSet;
use std::ffi::c_void;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

/// TCP_SYN_RECV of the kernel's enum.
const BEGUN: &str = "03";
/// Where a TCP header has its flags, and two of them (RFC 9293, 3.1).
const FLAGS: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// One handshake by its two ends, as the kernel's table has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handshake {
    local: SocketAddr,
    remote: SocketAddr,
}

/// Those with this port of ours, whichever listener they began at. Reads every connection of the machine.
pub fn handshakes_on(port: u16) -> HashSet<Handshake> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| File::open(path).ok());
    let all = tables.flat_map(|table| BufReader::new(table).lines().map_while(Result::ok));
    all.filter_map(|line| parse(&line)).filter(|handshake| handshake.local.port() == port).collect()
}

fn parse(line: &str) -> Option<Handshake> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (fields.next()?, fields.next()?);
    if fields.next()? != BEGUN {
        return None;
    }
    Some(Handshake { local: socket_address(local)?, remote: socket_address(remote)? })
}

/// From now on no handshake begins at this listening socket; those that have begun end as ever. Whom the kernel leads
/// here, and to no more exact one, is not answered, and asks again a second later.
///
/// # Errors
/// The kernel takes no filter.
pub fn begin_no_more(listener: impl AsFd) -> io::Result<()> {
    let op = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    // What is filtered begins with the TCP header (tcp_filter of the kernel).
    let mut program = [
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS),
        op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN | ACK),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    set(&listener, libc::SO_ATTACH_FILTER, &program)
}

/// They begin again, if they did not.
///
/// # Errors
/// It is no socket.
pub fn begin_again(listener: impl AsFd) -> io::Result<()> {
    match set(&listener, libc::SO_DETACH_FILTER, &0_i32) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        set => set,
    }
}

fn set<T>(socket: &impl AsFd, option: i32, value: &T) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let (value, length) = (std::ptr::from_ref(value).cast::<c_void>(), size_of::<T>() as u32);
    // SAFETY: the kernel copies what `value`, and the program that it points to, have within this call.
    match unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, value, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    #[test]
    #[cfg(target_endian = "little")]
    fn only_what_is_not_over_is_read() {
        let line = |state: &str| {
            format!("   5: 0109090A:0050 0209090A:14B5 {state} 00000000:00000000 01:00000063 00000000 0 0 0 0 0")
        };
        let begun = Handshake { local: "10.9.9.1:80".parse().unwrap(), remote: "10.9.9.2:5301".parse().unwrap() };
        assert_eq!(parse(&line("03")), Some(begun));
        for over in ["01", "0A", "06"] {
            assert_eq!(parse(&line(over)), None);
        }
        assert_eq!(parse("  sl  local_address rem_address   st tx_queue rx_queue"), None);
    }

    #[test]
    fn where_none_begins_who_is_connected_is_still_heard_and_later_they_begin_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let waits = TcpStream::connect(address).unwrap();
        begin_no_more(&listener).unwrap();
        assert!(TcpStream::connect_timeout(&address, Duration::from_millis(50)).is_err());
        assert_eq!(listener.accept().unwrap().1, waits.local_addr().unwrap());
        begin_again(&listener).unwrap();
        begin_again(&listener).unwrap();
        TcpStream::connect(address).unwrap();
    }
}
