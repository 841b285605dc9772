//! The lines of one file, from its start or from its end.

use memchr::{memchr, memrchr};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;

/// A longer line comes in pieces: whoever owns the directory may have put anything into the file. In bytes.
const LONGEST: usize = 1024 * 1024;
/// How much is read at once.
const BLOCK: usize = 16 * 1024;

/// Lines from the start of a file, plain or unzipped.
pub(super) struct FromStart {
    bytes: BufReader<Box<dyn Read + Send>>,
    /// Where the next line begins, unzipped.
    offset: u64,
}

impl FromStart {
    /// `bytes` begin so far from the start of the file.
    pub(super) fn of(bytes: Box<dyn Read + Send>, offset: u64) -> FromStart {
        FromStart { bytes: BufReader::with_capacity(BLOCK, bytes), offset }
    }

    /// Where the next line begins in the file, unzipped.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Puts the next line, without its newline, into `line`. False at the end; `Unfinished` for a last line that has no
    /// newline.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Next> {
        line.clear();
        loop {
            let block = self.bytes.fill_buf()?;
            if block.is_empty() {
                return Ok(if line.is_empty() { Next::End } else { Next::Unfinished });
            }
            let room = LONGEST - line.len();
            let newline = memchr(b'\n', block);
            let taken = newline.unwrap_or(block.len()).min(room);
            line.extend_from_slice(&block[..taken]);
            let ends = newline == Some(taken);
            self.bytes.consume(taken + usize::from(ends));
            self.offset += (taken + usize::from(ends)) as u64;
            if ends || line.len() == LONGEST {
                return Ok(Next::Line);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Line,
    Unfinished,
    End,
}

/// Lines from the end of a plain file backwards.
pub(super) struct FromEnd {
    file: File,
    /// Where `bytes` begin in the file.
    start: u64,
    /// Read and not yet given out.
    bytes: Vec<u8>,
    /// Nothing has been given out yet.
    fresh: bool,
    keep_unfinished: bool,
}

impl FromEnd {
    /// From byte `size` backwards. A last line without newline is being written, unless `keep_unfinished`.
    pub(super) fn of(file: File, size: u64, keep_unfinished: bool) -> FromEnd {
        FromEnd { file, start: size, bytes: Vec::new(), fresh: true, keep_unfinished }
    }

    /// Puts the line before the last one given into `line`, without its newline. False at the start of the file.
    pub(super) fn next(&mut self, line: &mut Vec<u8>) -> io::Result<bool> {
        if std::mem::take(&mut self.fresh) && !self.keep_unfinished {
            while self.bytes.is_empty() && self.start > 0 {
                self.load()?;
            }
            while self.bytes.last().is_some_and(|&last| last != b'\n') {
                match memrchr(b'\n', &self.bytes) {
                    Some(newline) => self.bytes.truncate(newline + 1),
                    None => {
                        self.bytes.clear();
                        if self.start > 0 {
                            self.load()?;
                        }
                    }
                }
            }
        }
        loop {
            let body = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
            let start = match memrchr(b'\n', body) {
                Some(newline) => newline + 1,
                None if self.bytes.len() > LONGEST => 0,
                None if self.start > 0 => {
                    self.load()?;
                    continue;
                }
                None if self.bytes.is_empty() => return Ok(false),
                None => 0,
            };
            line.clear();
            line.extend_from_slice(&body[start..]);
            self.bytes.truncate(start);
            return Ok(true);
        }
    }

    /// Where the line that was given last begins in the file.
    pub(super) fn offset(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Reads the block before; a file that has been cut short since ends there.
    fn load(&mut self) -> io::Result<()> {
        let size = BLOCK.min(usize::try_from(self.start).unwrap_or(BLOCK));
        let mut block = vec![0; size];
        self.start -= size as u64;
        match self.file.read_exact_at(&mut block, self.start) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        block.extend_from_slice(&self.bytes);
        self.bytes = block;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn forward(bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut lines, mut line, mut all) =
            (FromStart::of(Box::new(io::Cursor::new(bytes.to_vec())), 0), Vec::new(), vec![]);
        while lines.next(&mut line).unwrap() != Next::End {
            all.push(line.clone());
        }
        all
    }

    fn backward(bytes: &[u8], keep_unfinished: bool) -> Vec<Vec<u8>> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let mut lines = FromEnd::of(file, bytes.len() as u64, keep_unfinished);
        let (mut line, mut all) = (Vec::new(), Vec::new());
        while lines.next(&mut line).unwrap() {
            all.insert(0, line.clone());
        }
        all
    }

    #[test]
    fn a_line_that_is_just_being_written_is_left_out() {
        assert_eq!(backward(b"one\ntwo\nthr", false), [b"one", b"two"]);
        assert_eq!(backward(&vec![b'x'; 3 * BLOCK], false), Vec::<Vec<u8>>::new());
        assert_eq!(backward(b"one\ntwo\nthr", true), [b"one", b"two", b"thr"]);
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let huge = vec![b'x'; 3 * LONGEST];
        for pieces in [forward(&huge), backward(&huge, true)] {
            assert!(pieces.iter().all(|piece| piece.len() <= LONGEST + BLOCK));
            assert_eq!(pieces.concat(), huge);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn both_ways_give_the_same_lines(lines in proptest::collection::vec((0usize..5000, any::<u8>()), 0..40)) {
            let mut bytes = Vec::new();
            for (length, byte) in &lines {
                bytes.extend(std::iter::repeat_n(if *byte == b'\n' { b'.' } else { *byte }, *length));
                bytes.push(b'\n');
            }
            let expected: Vec<Vec<u8>> = bytes.split_inclusive(|&byte| byte == b'\n').map(|line| line[..line.len() - 1].to_vec()).collect();
            prop_assert_eq!(forward(&bytes), expected.clone());
            prop_assert_eq!(backward(&bytes, false), expected.clone());
            prop_assert_eq!(backward(&bytes, true), expected);
        }
    }
}
