//! Descriptors that are older than this program: systemd's store gives back what it was told to keep, and a program that
//! puts another in its place passes its own on. Both as sd_listen_fds(3) has it.
#![expect(unsafe_code, reason = "descriptors come as numbers")]

use super::descriptors::is_listening;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};

/// What was kept and nobody has taken up yet; closed at the end of this value.
#[derive(Debug, Default)]
pub struct Inherited {
    left: Vec<(String, OwnedFd)>,
}

impl Inherited {
    /// All that is for this process, closed on exec; nothing from the second call on. Before any thread is started, and
    /// before anything is opened.
    ///
    /// # Errors
    /// The environment says what it cannot mean, or names a descriptor that is not open.
    pub fn take_over() -> io::Result<Inherited> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        if TAKEN.swap(true, Ordering::Relaxed) {
            return Ok(Inherited::default());
        }
        let told = sd_notify::listen_fds_with_names()?;
        // SAFETY: whoever started us opened these for us alone, and by the flag above we take each once.
        let left = told.map(|(fd, name)| (name, unsafe { OwnedFd::from_raw_fd(fd) })).collect();
        Ok(Inherited { left })
    }

    /// The reading end of the nameless pipe with this inode.
    pub fn pipe(&mut self, inode: u64) -> Option<OwnedFd> {
        self.take(|_, fd| {
            let kind = fd.try_clone().and_then(|fd| File::from(fd).metadata());
            kind.is_ok_and(|found| found.file_type().is_fifo() && found.ino() == inode)
        })
    }

    /// The first that was given this name.
    pub fn named(&mut self, name: &str) -> Option<OwnedFd> {
        self.take(|its, _| its == name)
    }

    /// What was taken, and is not taken up after all.
    pub fn put_back(&mut self, name: String, fd: OwnedFd) {
        self.left.push((name, fd));
    }

    /// The sockets at which TCP connections are waited for, with their names and addresses.
    pub fn listeners(&mut self) -> Vec<(String, TcpListener, SocketAddr)> {
        let mut found = Vec::new();
        for (name, fd) in std::mem::take(&mut self.left) {
            let (is_listening, socket) = (is_listening(&fd), TcpListener::from(fd));
            // Sockets of another family have no such address.
            match socket.local_addr() {
                Ok(address) if is_listening => found.push((name, socket, address)),
                Ok(_) | Err(_) => self.left.push((name, socket.into())),
            }
        }
        found
    }

    /// All as they came, by the numbers that they came with; what is had from here on are copies.
    ///
    /// # Errors
    /// No descriptors left; nothing is changed then.
    pub fn reserve(&mut self) -> io::Result<Vec<(String, OwnedFd)>> {
        let copies = self.left.iter().map(|(name, fd)| Ok((name.clone(), fd.try_clone()?)));
        let copies = copies.collect::<io::Result<_>>()?;
        Ok(std::mem::replace(&mut self.left, copies))
    }

    /// The names of what is left, in the order in which it came.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.left.iter().map(|(name, _)| name.as_str())
    }

    fn take(&mut self, is_it: impl Fn(&str, &OwnedFd) -> bool) -> Option<OwnedFd> {
        let at = self.left.iter().position(|(name, fd)| is_it(name, fd))?;
        Some(self.left.remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::pipe::OutputPipe;

    #[test]
    fn listening_sockets_are_told_by_their_address_and_all_else_stays() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connection = std::net::TcpStream::connect(address).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let local = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let left = [("local", local.into()), ("public", listener.into()), ("client", connection.into())];
        let mut inherited = Inherited { left: left.map(|(name, fd): (&str, OwnedFd)| (name.to_owned(), fd)).into() };
        let found = inherited.listeners();
        assert_eq!(found.iter().map(|(name, _, at)| (name.as_str(), *at)).collect::<Vec<_>>(), [("public", address)]);
        assert_eq!(inherited.names().collect::<Vec<_>>(), ["local", "client"]);
    }

    #[test]
    fn a_pipe_is_known_by_its_inode_and_anything_else_by_its_name_and_each_is_had_once() {
        let [one, two] = [OutputPipe::new(None).unwrap(), OutputPipe::new(None).unwrap()];
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        let left = vec![
            ("run.7.out".to_owned(), one.read),
            ("lock".to_owned(), null()),
            ("run.8.out".to_owned(), two.read),
            ("lock".to_owned(), null()),
        ];
        let mut inherited = Inherited { left };
        assert!(inherited.pipe(two.inode).is_some() && inherited.pipe(two.inode).is_none());
        assert_eq!(inherited.names().collect::<Vec<_>>(), ["run.7.out", "lock", "lock"]);
        assert!(
            inherited.named("lock").is_some() && inherited.named("lock").is_some() && inherited.named("lock").is_none()
        );
        let null_inode = File::open("/dev/null").unwrap().metadata().unwrap().ino();
        assert!(inherited.pipe(null_inode).is_none() && inherited.pipe(one.inode).is_some());
    }
}
