//! What a probe says: all of it is taken, so that the probe never waits for a reader, and the end of it is kept.

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use tokio::net::unix::pipe;

/// What is kept, bytes.
const KEPT: usize = 4 * 1024;
/// How often a pipe is read after its probe was ended: what it holds, and no more from one that could not be killed.
const LAST_READS: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Said(Vec<u8>);

impl Said {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let surplus = self.0.len().saturating_sub(KEPT);
        self.0.drain(..surplus);
    }

    /// Takes what comes, until the caller has heard enough.
    pub(super) async fn listen(&mut self, output: &pipe::Receiver) -> Infallible {
        let mut buffer = vec![0; KEPT];
        while output.readable().await.is_ok() {
            match output.try_read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.add(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        std::future::pending().await
    }

    /// Takes what is left in the pipe.
    pub(super) fn finish(&mut self, output: pipe::Receiver) {
        let Ok(output) = output.into_nonblocking_fd() else { return };
        let mut output = File::from(output);
        let mut buffer = vec![0; KEPT];
        for _ in 0..LAST_READS {
            let Ok(length @ 1..) = output.read(&mut buffer) else { return };
            self.add(&buffer[..length]);
        }
    }

    /// The last line with anything in it.
    pub(super) fn last_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.0);
        text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::pipe::OutputPipe;
    use std::io::Write;
    use std::time::Duration;
    use tokio::time::timeout;

    #[test]
    fn the_end_of_a_long_speech_is_kept() {
        let mut said = Said::default();
        for number in 0..10_000 {
            said.add(format!("line {number}\n").as_bytes());
        }
        assert_eq!(said.0.len(), KEPT);
        assert_eq!(said.last_line().unwrap(), "line 9999");
        said.add(&[b'x'; 3 * KEPT]);
        said.add(b"\n  \nlast \xff words");
        assert_eq!(said.last_line().unwrap(), "last \u{fffd} words");
        assert_eq!(Said::default().last_line(), None);
    }

    #[tokio::test]
    async fn a_speaker_that_says_more_than_the_pipe_holds_does_not_wait() {
        let pipe = OutputPipe::new(None).unwrap();
        let output = pipe::Receiver::from_owned_fd(pipe.read).unwrap();
        let speaking = std::thread::spawn(move || {
            let mut write = File::from(pipe.write);
            for number in 0..400_000 {
                writeln!(write, "line {number}").unwrap();
            }
        });
        let mut said = Said::default();
        let ended = async {
            while !speaking.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            spoken = timeout(Duration::from_secs(60), ended) => spoken.unwrap(),
            never = said.listen(&output) => match never {},
        }
        said.finish(output);
        assert_eq!(said.last_line().unwrap(), "line 399999");
    }
}
