//! The public addresses that the service manager keeps for the next supervisor, by name: `port-3000-4711`, with the inode
//! of the socket. They stay open when supervisor and worker die at once; who connects meanwhile waits.

use super::Actor;
use crate::daemon::front::doors::{as_ipv4, collide};
use crate::linux::descriptors::inode;
use crate::linux::listener::is_without_ipv6;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// One that was kept, given back to us.
pub(in crate::daemon) struct Stored {
    pub name: String,
    pub socket: TcpListener,
    pub address: SocketAddr,
}

#[derive(Default)]
pub(super) struct Storing {
    /// Nobody has them yet.
    unclaimed: Vec<(Stored, u64)>,
    /// What is kept, by inode.
    names: BTreeMap<u64, Names>,
}

#[derive(Default)]
struct Names {
    /// That an earlier supervisor gave it, which may be another one.
    earlier: Option<String>,
    ours: Option<String>,
}

impl Storing {
    pub(super) fn of(stored: Vec<Stored>) -> Storing {
        let mut storing = Storing::default();
        for one in stored {
            let inode = inode(&one.socket);
            storing.names.entry(inode).or_default().earlier = Some(one.name.clone());
            storing.unclaimed.push((one, inode));
        }
        storing
    }
}

impl Actor {
    /// The socket that an earlier supervisor had open at this address, where its worker has not given it to us.
    pub(super) fn take_stored(&mut self, address: SocketAddr, now: Duration) -> Option<Arc<OwnedFd>> {
        let unclaimed = &mut self.storing.unclaimed;
        let is_it = |at: SocketAddr| at == address || as_ipv4(address) == Some(at) && is_without_ipv6();
        let found = unclaimed.iter().position(|(stored, _)| is_it(stored.address));
        let found = found.map(|at| unclaimed.swap_remove(at).0.socket);
        // What is in the way is of no more use: it is let go, and closed a moment later.
        for (stored, _) in unclaimed.extract_if(.., |(stored, _)| collide(stored.address, address)) {
            self.doors.closes(stored.address, now);
        }
        found.map(|socket| Arc::new(socket.into()))
    }

    /// What nobody has claimed by now is let go.
    pub(super) fn let_go_of_unclaimed(&mut self) {
        self.storing.unclaimed.clear();
    }

    /// What is open is kept, and nothing else. Sockets that a worker gave us are those that were kept.
    pub(super) fn store(&mut self) {
        let Storing { unclaimed, names } = &mut self.storing;
        let doors = self.doors.all();
        let is_open = |inode: u64| doors.iter().any(|door| door.inode == inode);
        unclaimed.retain(|(_, inode)| !is_open(*inode));
        names.retain(|inode, names| {
            let stays = is_open(*inode) || unclaimed.iter().any(|(_, stored)| stored == inode);
            if !stays {
                names.earlier.iter().chain(&names.ours).for_each(|name| (self.world.let_go)(name));
            }
            stays
        });
        for door in doors {
            let names = names.entry(door.inode).or_default();
            names.ours.get_or_insert_with(|| {
                let name = door.name();
                (self.world.keep)(&name, door.socket.as_fd());
                name
            });
        }
    }
}
