//! Tells one thread which of its descriptors can be read, and lets other threads wake it.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

const WAKE: u64 = u64::MAX;
const BATCH: usize = 64;

/// A level-triggered epoll with an eventfd to wake it.
pub struct Readiness {
    epoll: Epoll,
    wake: Arc<EventFd>,
    events: Vec<EpollEvent>,
}

/// Wakes the thread that waits.
#[derive(Clone)]
pub struct Waker(Arc<EventFd>);

impl Readiness {
    /// # Errors
    /// No descriptor left.
    pub fn new() -> io::Result<Readiness> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        Ok(Readiness { epoll, wake: Arc::new(wake), events: vec![EpollEvent::empty(); BATCH] })
    }

    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.wake))
    }

    /// `token` comes back when `fd` can be read or has ended. Any number but `u64::MAX`. From now on a read of `fd`
    /// does not wait.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn add(&self, fd: &impl AsFd, token: u64) -> io::Result<()> {
        let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
        fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token)).map_err(io::Error::from)
    }

    /// Must come before the descriptor is closed: another process may hold the same open file.
    pub fn remove(&self, fd: &impl AsFd) {
        let _ = self.epoll.delete(fd);
    }

    /// Waits until something is ready, someone wakes it, or `timeout` has passed; the ready tokens go to `ready`.
    ///
    /// # Errors
    /// As epoll_wait(2); an interruption is none.
    pub fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<u64>) -> io::Result<()> {
        ready.clear();
        let timeout = match timeout {
            // Rounded up: rounded down it would spin through the last millisecond.
            Some(timeout) => EpollTimeout::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(EpollTimeout::MAX),
            None => EpollTimeout::NONE,
        };
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in self.events.iter().take(count) {
            if event.data() == WAKE {
                let _ = self.wake.read();
            } else {
                ready.push(event.data());
            }
        }
        Ok(())
    }
}

impl Waker {
    pub fn wake(&self) {
        // A full counter means that a wake-up is already pending.
        let _ = self.0.write(1);
    }
}
