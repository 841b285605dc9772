//! Bytes as they come from a pipe → blocks of whole lines.

use crate::linux::mapped::Bytes;
use memchr::{memchr, memrchr};

/// A longer line is cut into pieces, each a line of its own. In bytes.
pub(super) const MAX_LINE: usize = 256 * 1024;
/// The most that is read at once. Not more than `MAX_LINE`: only the first line of a chunk can then be too long.
pub(super) const READ_SIZE: usize = 256 * 1024;
/// Ends each piece of a cut line but the last.
pub(super) const GOES_ON: &[u8] = b" [...]";

/// The buffer that all pipes are read into. In front of what is read there is room for the line begun before it, so
/// that a block of whole lines lies in one piece and is written to every file from where it was read.
pub(super) struct ReadBuffer {
    bytes: Bytes,
}

impl ReadBuffer {
    /// `MAX_LINE + READ_SIZE` bytes.
    pub(super) fn new(bytes: Bytes) -> ReadBuffer {
        ReadBuffer { bytes }
    }

    /// Where to read into: at most `READ_SIZE` bytes.
    pub(super) fn room(&mut self, bytes: usize) -> &mut [u8] {
        &mut self.bytes[MAX_LINE..MAX_LINE + bytes.min(READ_SIZE)]
    }
}

/// The unfinished last line of one stream.
#[derive(Default)]
pub(super) struct Framing {
    partial: Vec<u8>,
}

impl Framing {
    /// Goes on with a line that was begun.
    pub(super) fn after(partial: Vec<u8>) -> Framing {
        Framing { partial }
    }

    /// Takes the `read` bytes in the buffer's room; `sink` gets them as blocks of whole lines, each ending in a newline.
    pub(super) fn push(&mut self, buffer: &mut ReadBuffer, read: usize, mut sink: impl FnMut(&[u8])) {
        let Some(last) = memrchr(b'\n', &buffer.bytes[MAX_LINE..MAX_LINE + read]) else {
            self.partial.extend_from_slice(&buffer.bytes[MAX_LINE..MAX_LINE + read]);
            self.cut_while_too_long(&mut sink);
            return;
        };
        let start = MAX_LINE - self.partial.len();
        buffer.bytes[start..MAX_LINE].copy_from_slice(&self.partial);
        let end = MAX_LINE + last + 1;
        let mut block = &buffer.bytes[start..end];
        let mut first = self.partial.len() + memchr(b'\n', &block[self.partial.len()..]).unwrap_or(0);
        while first > MAX_LINE {
            let cut = cut_point(block);
            sink(&piece(&block[..cut]));
            block = &block[cut..];
            first -= cut;
        }
        sink(block);
        self.partial.clear();
        self.partial.extend_from_slice(&buffer.bytes[end..MAX_LINE + read]);
        if self.partial.is_empty() {
            // An app that wrote one long line keeps no memory for it.
            self.partial = Vec::new();
        }
    }

    fn cut_while_too_long(&mut self, sink: &mut impl FnMut(&[u8])) {
        while self.partial.len() > MAX_LINE {
            let cut = cut_point(&self.partial);
            sink(&piece(&self.partial[..cut]));
            self.partial.drain(..cut);
        }
    }

    /// Nothing more will come: the unfinished line is given its newline.
    pub(super) fn finish(&mut self, sink: impl FnOnce(&[u8])) {
        if self.partial.is_empty() {
            return;
        }
        self.partial.push(b'\n');
        sink(&std::mem::take(&mut self.partial));
    }

    /// The line begun and not ended: a prompt.
    pub(super) fn unfinished(&self) -> &[u8] {
        &self.partial
    }
}

/// At `MAX_LINE`, or just before the character that lies across it.
fn cut_point(bytes: &[u8]) -> usize {
    let continues = |at: usize| bytes[at] & 0b1100_0000 == 0b1000_0000;
    (0..4).map(|back| MAX_LINE - back).find(|&at| !continues(at)).unwrap_or(MAX_LINE)
}

fn piece(bytes: &[u8]) -> Vec<u8> {
    [bytes, GOES_ON, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::mapped::map_memory;
    use proptest::prelude::*;

    fn frame(chunks: &[&[u8]]) -> Vec<u8> {
        let bytes = map_memory(0, MAX_LINE + READ_SIZE).unwrap().1;
        let (mut framing, mut buffer, mut got) = (Framing::default(), ReadBuffer::new(bytes), Vec::new());
        let mut sink = |block: &[u8]| {
            assert!(block.ends_with(b"\n"), "a block is whole lines");
            got.extend_from_slice(block);
        };
        for chunk in chunks.iter().flat_map(|chunk| chunk.chunks(READ_SIZE)) {
            buffer.room(chunk.len()).copy_from_slice(chunk);
            framing.push(&mut buffer, chunk.len(), &mut sink);
        }
        framing.finish(&mut sink);
        got
    }

    #[test]
    fn lines_come_whole_however_they_were_written() {
        assert_eq!(frame(&[b"one\ntw", b"o\n", b"", b"thr", b"ee\nfour"]), b"one\ntwo\nthree\nfour\n");
    }

    #[test]
    fn every_byte_passes_untouched() {
        let every: Vec<u8> = (0..=255).collect();
        assert_eq!(frame(&[&every, b"\n"]), [&every[..], b"\n"].concat());
    }

    #[test]
    fn a_line_of_the_longest_length_is_left_alone() {
        let line = [vec![b'x'; MAX_LINE], vec![b'\n']].concat();
        assert_eq!(frame(&[&line]), line);
    }

    #[test]
    fn a_longer_line_is_cut_between_characters_and_its_pieces_say_that_they_go_on() {
        let line = "ї".repeat(MAX_LINE + 7);
        for chunks in [vec![line.as_bytes()], line.as_bytes().chunks(100_001).collect()] {
            let text = String::from_utf8([frame(&chunks), frame(&[b"after\n"])].concat()).unwrap();
            let pieces: Vec<&str> = text.lines().collect();
            assert!(pieces.iter().all(|piece| piece.len() <= MAX_LINE + GOES_ON.len()));
            assert_eq!(pieces.last(), Some(&"after"));
            let joined: String =
                pieces[..pieces.len() - 1].iter().map(|piece| piece.trim_end_matches(" [...]")).collect();
            assert_eq!(joined, line);
        }
    }

    #[test]
    fn a_long_line_that_ends_within_the_next_chunk_is_cut_too() {
        let line = vec![b'x'; MAX_LINE + 10];
        let got = frame(&[&line[..MAX_LINE - 5], &line[MAX_LINE - 5..], b"\nnext\n"]);
        let lines: Vec<&[u8]> = got.split(|&byte| byte == b'\n').collect();
        assert_eq!(lines[0].len(), MAX_LINE + GOES_ON.len());
        assert_eq!((lines[1], lines[2]), (&b"xxxxxxxxxx"[..], &b"next"[..]));
    }

    proptest! {
        #[test]
        fn any_split_of_any_bytes_gives_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(b'\n')], 0..2000),
            cuts in proptest::collection::vec(0usize..2000, 0..20),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let mut expected = bytes.clone();
            if !expected.is_empty() && !expected.ends_with(b"\n") {
                expected.push(b'\n');
            }
            prop_assert_eq!(frame(&chunks), expected);
        }
    }
}
