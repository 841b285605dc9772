//! Keys from the terminal one by one, without Enter and without echo.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::read;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Standard input taken over; given back as it was when this is dropped. Ctrl-C still sends SIGINT.
pub struct Keys {
    stdin: io::Stdin,
    before: Termios,
}

impl Keys {
    /// # Errors
    /// ENOTTY where standard input is no terminal.
    pub fn take() -> io::Result<Keys> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut single = before.clone();
        single.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        tcsetattr(&stdin, SetArg::TCSANOW, &single)?;
        Ok(Keys { stdin, before })
    }

    /// The next key, if one comes within `limit`; none also when a signal came instead.
    pub fn next(&self, limit: Duration) -> Option<u8> {
        let mut ready = [PollFd::new(self.stdin.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        if poll(&mut ready, timeout).ok()? == 0 {
            return None;
        }
        let mut key = [0];
        (read(&self.stdin, &mut key).ok()? == 1).then_some(key[0])
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _gone = tcsetattr(&self.stdin, SetArg::TCSANOW, &self.before);
    }
}
