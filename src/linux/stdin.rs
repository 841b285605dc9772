//! Standard input as a stream that may have nothing to say for long: its reader is asked in between.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// How long a read waits for something.
const TICK: Duration = Duration::from_millis(50);
/// Who sends nothing for so long has gone without a word, as a laptop does that was shut.
const PATIENCE: Duration = Duration::from_secs(120);

/// Reads from it; says `WouldBlock` a few times a second while nothing comes, and `TimedOut` after two minutes of that.
#[derive(Debug)]
pub struct Patient {
    stream: File,
    patience: Duration,
    /// How long nothing has come, in ticks: what its reader does in between is not the sender's fault.
    silent: Duration,
}

impl Patient {
    /// Of standard input.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn stdin() -> io::Result<Patient> {
        Patient::of(io::stdin().as_fd(), PATIENCE)
    }

    fn of(stream: BorrowedFd<'_>, patience: Duration) -> io::Result<Patient> {
        Ok(Patient { stream: File::from(stream.try_clone_to_owned()?), patience, silent: Duration::ZERO })
    }
}

impl Read for Patient {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let mut asked = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        // A closed or broken one is ready, too: the read tells.
        if poll(&mut asked, PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO))? == 0 {
            self.silent += TICK;
            if self.silent < self.patience {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let message = format!("nothing more came for {} s", self.patience.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        self.silent = Duration::ZERO;
        self.stream.read(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_stream_without_anything_to_say_says_so_and_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut patient = Patient::of(reader.as_fd(), PATIENCE).unwrap();
        let mut block = [0; 8];
        assert_eq!(patient.read(&mut block).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        writer.write_all(b"text").unwrap();
        assert_eq!((patient.read(&mut block).unwrap(), &block[..4]), (4, b"text".as_slice()));
        drop(writer);
        assert_eq!(patient.read(&mut block).unwrap(), 0);
    }

    #[test]
    fn patience_has_an_end_and_begins_anew_with_each_byte() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut patient = Patient::of(reader.as_fd(), 2 * TICK).unwrap();
        let mut said = || patient.read(&mut [0; 8]).map_err(|error| error.kind());
        for _ in 0..3 {
            assert_eq!(said(), Err(io::ErrorKind::WouldBlock));
            writer.write_all(b"x").unwrap();
            assert_eq!(said(), Ok(1));
        }
        assert_eq!((said(), said()), (Err(io::ErrorKind::WouldBlock), Err(io::ErrorKind::TimedOut)));
    }
}
