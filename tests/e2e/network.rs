//! A network of the story's own, with a client at its other end whose packets the story writes itself.
#![expect(unsafe_code, reason = "a device is made and given an address by ioctl (netdevice(7), TUNSETIFF)")]

use crate::machine::{POLL, command, now, skip};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::ffi::c_ulong;
use std::fs::File;
use std::io::{self, Read, Write};
use std::mem;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

/// The machine's address in that network, and the client's.
pub(crate) const HERE: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 1);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 2);
/// Set for the story that is told within a namespace.
const WITHIN: &str = "INFISSI_TEST_NETWORK";
/// The kernel of the same machine answers in microseconds.
const PATIENCE: Duration = Duration::from_secs(20);

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// The other end of a TUN device.
pub(crate) struct Network {
    device: File,
}

/// One connection of the client.
pub(crate) struct Remote {
    ports: (u16, u16),
    /// What we say next, and what was heard.
    next: u32,
    heard: u32,
}

/// What a client that sends its first packet is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Knock {
    /// The second packet of a handshake.
    Answered,
    Refused,
    Ignored,
}

#[derive(Debug)]
struct Segment {
    ports: (u16, u16),
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    data: Vec<u8>,
}

impl Network {
    /// None where the story is told by another process, or cannot be told: `test` is the name of the test that asks.
    pub(crate) fn own(test: &str) -> Option<Network> {
        if std::env::var_os(WITHIN).is_some() {
            return Network::open().inspect_err(|error| skip(&format!("no TUN device here: {error}"))).ok();
        }
        let root = nix::unistd::geteuid().is_root();
        let unshare = || {
            let mut unshare = command("unshare");
            // Not as the root of a user namespace: there is nobody else in it that a root's supervisor could make apps run as.
            let apart: &[&str] = if root { &[] } else { &["--user", "--map-current-user", "--keep-caps"] };
            unshare.arg("--net").args(apart);
            unshare
        };
        let allowed = unshare().arg("true").stderr(Stdio::null()).status();
        if !allowed.is_ok_and(|status| status.success()) {
            skip("no network namespace of our own is allowed here");
            return None;
        }
        let told = unshare()
            .arg(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture"])
            .env(WITHIN, "1")
            .status();
        assert!(told.unwrap().success(), "the story in a network of its own fails");
        None
    }

    fn open() -> io::Result<Network> {
        let device = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
        let flags = |flags: i32| libc::__c_anonymous_ifr_ifru { ifru_flags: flags as i16 };
        let address = |address: Ipv4Addr| {
            let [a, b, c, d] = address.octets().map(u8::cast_signed);
            // Behind the port.
            let sa_data = [0, 0, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0];
            libc::__c_anonymous_ifr_ifru { ifru_addr: libc::sockaddr { sa_family: libc::AF_INET as u16, sa_data } }
        };
        order(device.as_raw_fd(), libc::TUNSETIFF, b"story0", flags(libc::IFF_TUN | libc::IFF_NO_PI))?;
        let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let any = any.as_raw_fd();
        order(any, libc::SIOCSIFADDR, b"story0", address(HERE))?;
        order(any, libc::SIOCSIFNETMASK, b"story0", address(Ipv4Addr::new(255, 255, 255, 0)))?;
        for name in [&b"story0"[..], b"lo"] {
            order(any, libc::SIOCSIFFLAGS, name, flags(libc::IFF_UP | libc::IFF_RUNNING))?;
        }
        Ok(Network { device })
    }

    /// The first packet of a connection, and the answer to it.
    pub(crate) fn knock(&mut self, from: u16, to: u16) -> (Remote, Knock) {
        let mut remote = Remote { ports: (from, to), next: 1000, heard: 0 };
        self.send(&remote, SYN, b"");
        // Packets are taken in their order: when the second one is answered, the first has been or is not going to be.
        let later = Remote { ports: (from, 1), next: 1000, heard: 0 };
        self.send(&later, SYN, b"");
        let answer = self.receive(from);
        if answer.ports.0 == 1 {
            return (remote, Knock::Ignored);
        }
        assert_eq!(self.receive(from).ports.0, 1);
        if answer.flags & RST != 0 {
            return (remote, Knock::Refused);
        }
        assert_eq!((answer.flags, answer.acknowledged), (SYN | ACK, 1001));
        remote.next = 1001;
        remote.heard = answer.sequence.wrapping_add(1);
        (remote, Knock::Answered)
    }

    /// A client that has the second packet of its handshake and has not sent the third.
    #[track_caller]
    pub(crate) fn begin(&mut self, from: u16, to: u16) -> Remote {
        let (remote, knock) = self.knock(from, to);
        assert_eq!(knock, Knock::Answered);
        remote
    }

    /// Ends the handshake, asks, and returns the first line of the answer; none where the connection is reset.
    pub(crate) fn ask(&mut self, mut remote: Remote, path: &str) -> Option<String> {
        self.send(&remote, ACK, b"");
        let request = format!("GET {path} HTTP/1.1\r\nHost: story\r\nConnection: close\r\n\r\n");
        self.send(&remote, ACK, request.as_bytes());
        remote.next = remote.next.wrapping_add(u32::try_from(request.len()).unwrap());
        loop {
            let answer = self.receive(remote.ports.0);
            if answer.flags & RST != 0 {
                return None;
            }
            assert_eq!(answer.flags & FIN, 0, "it ends before it answers");
            if !answer.data.is_empty() {
                self.send(&remote, RST, b"");
                let text = String::from_utf8_lossy(&answer.data);
                return Some(text.lines().next().unwrap_or_default().to_owned());
            }
        }
    }

    fn send(&mut self, remote: &Remote, flags: u8, data: &[u8]) {
        let segment = Segment {
            ports: remote.ports,
            sequence: remote.next,
            acknowledged: remote.heard,
            flags,
            data: data.to_vec(),
        };
        self.device.write_all(&segment.packet()).unwrap();
    }

    /// The next packet to this port of the client.
    #[track_caller]
    fn receive(&mut self, port: u16) -> Segment {
        let until = now() + PATIENCE;
        let mut packet = [0; 2048];
        while now() < until {
            match self.device.read(&mut packet) {
                Ok(length) => {
                    let segment = Segment::read(&packet[..length]);
                    if let Some(segment) = segment.filter(|segment| segment.ports.1 == port) {
                        return segment;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(POLL),
                Err(error) => panic!("{error}"),
            }
        }
        panic!("nothing comes to port {port}");
    }
}

impl Segment {
    /// RFC 791 and RFC 9293, 3.1, both without options.
    fn packet(&self) -> Vec<u8> {
        let (from, to) = self.ports;
        let mut tcp = Vec::new();
        tcp.extend([from.to_be_bytes(), to.to_be_bytes()].concat());
        tcp.extend([self.sequence.to_be_bytes(), self.acknowledged.to_be_bytes()].concat());
        tcp.extend([5 << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(&self.data);
        let length = u16::try_from(tcp.len()).unwrap();
        let ends = [THERE.octets(), HERE.octets()].concat();
        let pseudo = [&ends[..], &[0, 6], &length.to_be_bytes(), &tcp].concat();
        tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());
        let mut ip = vec![0x45, 0];
        ip.extend((length + 20).to_be_bytes());
        ip.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        ip.extend(&ends);
        let sum = checksum(&ip).to_be_bytes();
        ip[10..12].copy_from_slice(&sum);
        [ip, tcp].concat()
    }

    /// None where it is none of TCP over IPv4.
    fn read(packet: &[u8]) -> Option<Segment> {
        if packet.first()? >> 4 != 4 || packet[9] != 6 {
            return None;
        }
        let tcp = &packet[usize::from(packet[0] & 15) * 4..];
        let short = |at: usize| u16::from_be_bytes(tcp[at..at + 2].try_into().unwrap());
        let long = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        Some(Segment {
            ports: (short(0), short(2)),
            sequence: long(4),
            acknowledged: long(8),
            flags: tcp[13],
            data: tcp[usize::from(tcp[12] >> 4) * 4..].to_vec(),
        })
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn order(fd: RawFd, what: c_ulong, device: &[u8], with: libc::__c_anonymous_ifr_ifru) -> io::Result<()> {
    // SAFETY: all zeros are a name of no letters and an address of no family.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device) {
        *to = from.cast_signed();
    }
    request.ifr_ifru = with;
    // SAFETY: each of these requests reads, and some write, one such structure, which lives until the call returns.
    match unsafe { libc::ioctl(fd, what, &raw mut request) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
