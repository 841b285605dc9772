//! Standard error for a process that must never wait: who reads it may have stopped reading.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, Write};
use std::os::fd::AsFd;

/// A pipe that polls as writable takes so many bytes without waiting: a page, whatever its size is (pipe(7)).
const FITS: usize = 4096;

/// Writes a line where that does not wait; otherwise it is lost. Longer than a page it is cut.
pub fn say(line: &str) {
    let mut stderr = io::stderr();
    let mut writable = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if !matches!(poll(&mut writable, PollTimeout::ZERO), Ok(1)) {
        return;
    }
    let mut bytes = line.as_bytes()[..line.len().min(FITS - 1)].to_vec();
    bytes.push(b'\n');
    // Nobody is left to be told.
    let _unheard = stderr.write_all(&bytes);
}
