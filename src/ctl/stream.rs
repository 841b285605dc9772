//! Records of a streaming answer, printed as they come.

use super::failure::Failure;
use super::session::Session;
use crate::api::ClientError;
use std::io::{self, Write};
use std::ops::ControlFlow;

/// Prints one record as text.
pub(crate) type AsText<'a> = dyn FnMut(&[u8], &mut dyn Write) -> io::Result<()> + 'a;

/// How the records of one answer are printed: as text, as one JSON array, or, followed, as one JSON value a line.
pub(crate) struct Records {
    json: bool,
    follow: bool,
    printed: bool,
}

impl Records {
    pub(crate) fn new(json: bool, follow: bool) -> Records {
        Records { json, follow, printed: false }
    }

    /// Asks for `path` and prints each record, by `text` where it is not JSON that is wanted.
    pub(crate) fn copy(&mut self, session: &mut Session, path: &str, text: &mut AsText<'_>) -> Result<(), Failure> {
        session.client()?;
        let (client, out) = session.client_and_output()?;
        let mut written = Ok(());
        let ended = client.lines(path, &mut |chunk| {
            written = self.print(chunk, out, text);
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        written?;
        match ended {
            // What is followed has no end of its own.
            Ok(()) | Err(ClientError::CutShort { .. }) if self.follow => {
                out.flush()?;
                writeln!(session.err, "The supervisor ended the connection.")?;
            }
            Ok(()) => {}
            Err(error) => return Err(error.into()),
        }
        self.end(&mut session.out)?;
        Ok(())
    }

    fn print(&mut self, chunk: &[u8], out: &mut dyn Write, text: &mut AsText<'_>) -> io::Result<()> {
        for line in chunk.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if !self.json {
                text(line, out)?;
            } else if self.follow {
                out.write_all(line)?;
                out.write_all(b"\n")?;
            } else {
                out.write_all(if self.printed { b",\n" } else { b"[" })?;
                out.write_all(line)?;
            }
            self.printed = true;
        }
        out.flush()
    }

    fn end(&self, out: &mut dyn Write) -> io::Result<()> {
        match (self.json && !self.follow, self.printed) {
            (false, _) => Ok(()),
            (true, true) => out.write_all(b"]\n"),
            (true, false) => out.write_all(b"[]\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(mut records: Records, chunks: &[&str]) -> String {
        let mut out = Vec::new();
        for chunk in chunks {
            let mut text = |line: &[u8], out: &mut dyn Write| writeln!(out, "text {}", line.len());
            records.print(chunk.as_bytes(), &mut out, &mut text).unwrap();
        }
        records.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_is_one_value_or_one_a_line_when_following() {
        let chunks = ["{\"a\":1}\n{\"a\":2}\n", "{\"a\":3}\n"];
        assert_eq!(printed(Records::new(true, false), &chunks), "[{\"a\":1},\n{\"a\":2},\n{\"a\":3}]\n");
        assert_eq!(printed(Records::new(true, false), &[]), "[]\n");
        assert_eq!(printed(Records::new(true, true), &chunks), "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
        assert_eq!(printed(Records::new(false, false), &chunks), "text 7\ntext 7\ntext 7\n");
    }
}
