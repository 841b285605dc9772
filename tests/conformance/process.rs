//! The worker process in its hidden role.

use crate::machine::command;
use crate::worker::Worker;
use infissi::proxy::channel::Route;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

const PROGRAM: &str = env!("CARGO_BIN_EXE_infissi-supervisord");

impl Worker {
    pub(crate) fn start() -> Worker {
        Worker::with(|_| {})
    }

    /// With another route than the usual one.
    pub(crate) fn with(change: impl FnOnce(&mut Route)) -> Worker {
        let (ours, its) = UnixStream::pair().unwrap();
        let child = command(PROGRAM).arg("proxy").stdin(Stdio::from(OwnedFd::from(its))).spawn().unwrap();
        Worker::attach(ours, Some(child), change)
    }
}
