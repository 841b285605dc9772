//! Listening sockets, from /proc/net/tcp and /proc/net/tcp6 (proc_pid_net(5)).

use crate::linux::proc::number;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    pub(super) uid: u32,
    pub(super) inode: u64,
}

/// TCP_LISTEN of the kernel's enum.
const LISTEN: &str = "0A";

pub(super) fn listeners_on(port: u16) -> Vec<Listener> {
    all_listeners().into_iter().filter(|listener| listener.address.port() == port).collect()
}

pub(super) fn all_listeners() -> Vec<Listener> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| File::open(path).ok());
    tables.flat_map(|table| listeners(BufReader::new(table))).collect()
}

fn listeners(table: impl BufRead) -> Vec<Listener> {
    // The kernel lists all listening sockets first (tcp_get_idx): the connections, maybe many thousands, are not read.
    table.lines().map_while(Result::ok).skip(1).map_while(|line| parse(&line)).collect()
}

/// None for a socket that does not listen.
fn parse(line: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let address = socket_address(fields.next()?)?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let uid = number(fields.nth(3)?.as_bytes())?;
    let inode = number(fields.nth(1)?.as_bytes())?;
    Some(Listener { address, uid, inode })
}

pub(super) fn socket_address(field: &str) -> Option<SocketAddr> {
    let (ip, port) = field.split_once(':')?;
    Some(SocketAddr::new(address(ip)?, u16::from_str_radix(port, 16).ok()?))
}

/// Words of 32 bits in network order, each printed as the number that this machine takes it for.
fn address(hex: &str) -> Option<IpAddr> {
    let mut bytes = [0; 16];
    let words = hex.len() / 8;
    for (word, place) in bytes.chunks_exact_mut(4).enumerate().take(words) {
        let value = u32::from_str_radix(hex.get(word * 8..word * 8 + 8)?, 16).ok()?;
        place.copy_from_slice(&value.to_ne_bytes());
    }
    match words {
        1 => Some(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()),
        4 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0000000000000000 100 0 0 10 0\n\
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4343 1 0000000000000000 100 0 0 10 0\n\
   2: 0100007F:0BB8 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4444 1 0000000000000000 20 4 30 10 -1\n";

    #[test]
    fn listeners_are_read_and_connections_are_not() {
        let found = listeners(TABLE.as_bytes());
        assert_eq!(found[0], Listener { address: "127.0.0.1:3000".parse().unwrap(), uid: 1000, inode: 4242 });
        assert_eq!(found[1].address, "0.0.0.0:22".parse().unwrap());
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn both_families_have_their_addresses() {
        assert_eq!(socket_address("00000000000000000000000001000000:0BB8"), "[::1]:3000".parse().ok());
        assert_eq!(socket_address("B80D0120000000000000000002000000:0050"), "[2001:db8::2]:80".parse().ok());
        assert_eq!(socket_address("0501A8C0:01BB"), "192.168.1.5:443".parse().ok());
        for wrong in ["", ":", "0100007F", "010000:0BB8", "ÄÖ00007F:0BB8", "0100007F:XXXX"] {
            assert_eq!(socket_address(wrong), None, "{wrong}");
        }
    }
}
