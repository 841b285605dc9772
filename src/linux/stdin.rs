//! Standard input as a stream that may have nothing to say for long: its reader is asked in between.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

/// How long a read waits for something, milliseconds.
const TICK: u16 = 50;

/// Reads from it; says `WouldBlock` a few times a second while nothing comes.
#[derive(Debug)]
pub struct Patient {
    stream: File,
}

impl Patient {
    /// Of standard input.
    ///
    /// # Errors
    /// There are no more descriptors.
    pub fn stdin() -> io::Result<Patient> {
        Patient::of(io::stdin().as_fd())
    }

    fn of(stream: BorrowedFd<'_>) -> io::Result<Patient> {
        Ok(Patient { stream: File::from(stream.try_clone_to_owned()?) })
    }
}

impl Read for Patient {
    fn read(&mut self, block: &mut [u8]) -> io::Result<usize> {
        let mut asked = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        // A closed or broken one is ready, too: the read tells.
        if poll(&mut asked, PollTimeout::from(TICK))? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
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
        let mut patient = Patient::of(reader.as_fd()).unwrap();
        let mut block = [0; 8];
        assert_eq!(patient.read(&mut block).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        writer.write_all(b"text").unwrap();
        assert_eq!((patient.read(&mut block).unwrap(), &block[..4]), (4, b"text".as_slice()));
        drop(writer);
        assert_eq!(patient.read(&mut block).unwrap(), 0);
    }
}
