//! What the operator and the kernel signal to the supervisor, as a stream.

use crate::linux::descriptors::is_quiet;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGTERM or SIGINT: stop everything and end.
    Shutdown,
    /// SIGHUP: read the configuration again.
    Apply,
    /// SIGUSR1: the log files were moved away.
    Reopen,
    /// SIGCHLD: a child ended, perhaps an orphan that fell to us.
    Child,
}

/// Each kind writes a byte into a socket pair of its own, so that one that comes often never crowds out another.
pub(super) struct Signals {
    shutdown: UnixStream,
    apply: UnixStream,
    reopen: UnixStream,
    child: UnixStream,
}

impl Signals {
    /// # Errors
    /// When the process has no descriptors left.
    pub(super) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            shutdown: pipe(&[SIGTERM, SIGINT])?,
            apply: pipe(&[SIGHUP])?,
            reopen: pipe(&[SIGUSR1])?,
            child: pipe(&[SIGCHLD])?,
        })
    }

    /// Waits for the next one; several of a kind may come as one.
    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            () = one(&mut self.shutdown) => Signal::Shutdown,
            () = one(&mut self.child) => Signal::Child,
            () = one(&mut self.apply) => Signal::Apply,
            () = one(&mut self.reopen) => Signal::Reopen,
        }
    }
}

impl Signals {
    /// Those that came and that nobody has taken yet, but for children's ends, which whoever looks finds.
    pub(super) fn unheard(&self) -> Vec<i32> {
        let kinds = [(&self.shutdown, SIGTERM), (&self.apply, SIGHUP), (&self.reopen, SIGUSR1)];
        kinds.into_iter().filter(|(stream, _)| !is_quiet(stream.as_raw_fd())).map(|(_, signal)| signal).collect()
    }
}

fn pipe(signals: &[i32]) -> io::Result<UnixStream> {
    let (read, write) = StdUnixStream::pair()?;
    for signal in signals {
        signal_hook::low_level::pipe::register(*signal, write.try_clone()?)?;
    }
    read.set_nonblocking(true)?;
    UnixStream::from_std(read)
}

/// At least one signal; whatever else has gathered is taken with it.
async fn one(stream: &mut UnixStream) {
    let mut gathered = [0; 64];
    if stream.read(&mut gathered).await.is_err() {
        std::future::pending::<()>().await;
    }
}
