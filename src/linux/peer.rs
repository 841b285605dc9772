//! Who stands at the other end of a Unix socket, as the kernel says.
#![expect(unsafe_code, reason = "nix has no SO_PEERGROUPS: getsockopt is called as it is")]

use super::identity::Identity;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Group, Uid, User};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// The process that connected, as it was when it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub gid: u32,
    /// 0 when it lives in a pid namespace that we do not see.
    pub pid: i32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Peer {
    /// The peer of a connected Unix stream: `SO_PEERCRED` and `SO_PEERGROUPS` (Linux 4.13; before that the groups
    /// that the user database gives the user), unix(7).
    ///
    /// # Errors
    /// When the descriptor is no connected Unix socket.
    pub fn of(stream: impl AsFd) -> io::Result<Peer> {
        let stream = stream.as_fd();
        let credentials = getsockopt(&stream, PeerCredentials)?;
        let (uid, gid, pid) = (credentials.uid(), credentials.gid(), credentials.pid());
        let groups = match peer_groups(stream) {
            Ok(groups) => groups,
            Err(_) => Identity::of_uid(uid).map(|identity| identity.groups).unwrap_or_default(),
        };
        Ok(Peer { uid, gid, pid, groups })
    }

    /// Is it in that group, by its primary or a supplementary one?
    pub fn is_in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// May this peer count as a member of the group named `group`? The kernel's word on its process counts, and so does
/// the group database: `usermod -aG` works without a new login. No group of that name has no member.
///
/// # Errors
/// When the group database cannot be read.
pub fn user_in_group(peer: &Peer, group: &str) -> io::Result<bool> {
    let Some(group) = Group::from_name(group)? else { return Ok(false) };
    if peer.is_in_group(group.gid.as_raw()) {
        return Ok(true);
    }
    Ok(user_name(peer.uid).is_some_and(|name| group.mem.contains(&name)))
}

/// The login name of a user id; none when it has none, or the user database cannot be read.
pub fn user_name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// The id of the group of that name, if there is one.
///
/// # Errors
/// When the group database cannot be read.
pub fn group_id(name: &str) -> io::Result<Option<u32>> {
    Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
}

fn peer_groups(stream: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // 65,536 is NGROUPS_MAX, so the first refusal names a length that suffices.
    let mut groups = vec![0_u32; 64];
    loop {
        let mut bytes = libc::socklen_t::try_from(size_of_val(groups.as_slice())).map_err(io::Error::other)?;
        let (level, option) = (libc::SOL_SOCKET, libc::SO_PEERGROUPS);
        // SAFETY: the kernel writes at most `bytes` bytes, which is the length of the live vector, and then `bytes`.
        let result =
            unsafe { libc::getsockopt(stream.as_raw_fd(), level, option, groups.as_mut_ptr().cast(), &raw mut bytes) };
        let count = bytes as usize / size_of::<u32>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{Gid, getgroups};
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_kernel_tells_who_is_there() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = Peer::of(&here).unwrap();
        assert_eq!(peer.uid, Uid::effective().as_raw());
        assert_eq!(peer.gid, Gid::effective().as_raw());
        assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());
        let own: Vec<u32> = getgroups().unwrap().into_iter().map(Gid::as_raw).collect();
        assert_eq!(peer.groups, own);
    }

    #[test]
    fn what_is_no_socket_has_no_peer() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Peer::of(&file).is_err());
    }

    #[test]
    fn primary_and_supplementary_groups_count_and_an_unknown_group_has_no_member() {
        let peer = Peer { uid: 65534, gid: 65534, pid: 1, groups: vec![4, 24] };
        assert!(peer.is_in_group(65534) && peer.is_in_group(24) && !peer.is_in_group(0));
        assert!(!user_in_group(&peer, "no-such-group").unwrap());
        assert!(!user_in_group(&peer, "root").unwrap());
        let root = Peer { uid: 0, gid: 0, pid: 1, groups: Vec::new() };
        assert!(user_in_group(&root, "root").unwrap());
    }

    #[test]
    fn names_and_ids_lead_to_each_other() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(3_999_999), None);
        assert_eq!(group_id("root").unwrap(), Some(0));
        assert_eq!(group_id("no-such-group").unwrap(), None);
    }
}
