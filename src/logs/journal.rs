//! What was read from a pipe and is not in the files yet, kept where it outlives this process: whoever comes after a
//! `kill -9` cuts the files back to where they were and does the last batch again, so that a line is there exactly once.
//!
//! ```text
//!         reading                taken              note, advance       keep
//!   Idle ─────────▶ Reading ──────────────▶ Taken ───────────────▶ … ───────▶ Kept ──▶ Idle
//!     ▲                │ nothing came         ▲ (Ending: the line that was begun, at the end of a stream)
//!     └────────────────┴──────────────────────┘
//! ```
//!
//! The file is `logs.journal` in the runtime directory, mapped: numbers, then the buffer that all pipes are read into;
//! behind that, written as a file is, a region for each stream's unfinished line (`partials`). There is one batch at a
//! time, as there is one log thread. Nothing of it is a system call but a write where a line was left unfinished.
//!
//! How much a read had brought when it was killed is told by the buffer: its last bytes were such as no text has.

mod partials;

pub(super) use self::partials::Owner;
use super::framing::{MAX_LINE, READ_SIZE};
use crate::linux::failpoint;
use crate::linux::logfile::FileId;
use crate::linux::mapped::{Bytes, Words, map_file, map_memory, open_file, reserve};
use jiff::Timestamp;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Another layout is another one's.
const MAGIC: u64 = u64::from_le_bytes(*b"infissi\x01");
/// Never in UTF-8 (RFC 3629), so that what a text brings always differs. As much of its end as there is room for.
const UNREAD: [u8; 16] = *b"\xff\xc0\xfe\xc1\xfd\xf5\xfc\xf6\xfb\xf7\xfa\xf8\xf9\xc0\xff\xc1";

/// Where the words are.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const ERA: usize = 1;
    pub(super) const STATE: usize = 2;
    /// Which stream.
    pub(super) const SLOT: usize = 3;
    /// Bytes: to be read, then read.
    pub(super) const COUNT: usize = 4;
    /// The time of its lines, in milliseconds; 0 is none.
    pub(super) const WALL: usize = 5;
    /// Bytes of its lines that are in all their files, and how many files are noted: one word, for both change at once.
    pub(super) const PROGRESS: usize = 6;
    /// The unfinished line behind it.
    pub(super) const KEPT: usize = 7;
    /// Slots that were ever used.
    pub(super) const TOP: usize = 8;
    pub(super) const MARKS: usize = 16;
    pub(super) const SLOTS: usize = 64;
}

/// Files noted at a time. A part of a batch goes to two, each rotated twice at most (a line that is larger than a file has
/// one for itself) and found replaced once.
const MARKS: usize = 8;
const MARK_WORDS: usize = 4;
/// Streams with a place for their unfinished line: two for each run. What is beyond goes without.
const SLOTS: usize = 1104;
const SLOT_WORDS: usize = 12;
/// Whole pages.
const WORDS: usize = at::SLOTS + SLOTS * SLOT_WORDS;
const BYTES: usize = MAX_LINE + READ_SIZE;
const LENGTH: usize = WORDS * size_of::<u64>() + BYTES;
const _: () = assert!(WORDS.is_multiple_of(512));

const IDLE: u64 = 0;
const READING: u64 = 1;
const TAKEN: u64 = 2;
const ENDING: u64 = 3;
const KEPT: u64 = 4;
const NO_SLOT: u64 = u64::MAX;

/// A stream's place; none where all are taken.
pub(super) type Slot = Option<usize>;

/// What the log thread is in the middle of.
pub struct Journal {
    words: Words,
    /// None: all of this ends with the process.
    file: Option<(File, PathBuf)>,
    /// Grows with each part of a batch: what was noted in an earlier one is to be noted anew.
    step: Cell<u64>,
}

/// What an earlier process had begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InFlight {
    pub(super) slot: usize,
    /// Bytes in the buffer's room; none where it was the end of the stream.
    pub(super) read: Option<usize>,
    /// The time that its lines bear.
    pub(super) wall: Option<Timestamp>,
    /// Bytes of its lines that are in their files for good.
    pub(super) done: usize,
}

/// Where a file ended before a part of a batch was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) id: FileId,
    pub(super) length: u64,
    /// Where it ends once the last write is done.
    pub(super) until: u64,
}

/// Whether, and where, an open file is noted.
#[derive(Debug, Default)]
pub(super) struct Noted {
    step: u64,
    mark: usize,
}

impl Journal {
    /// Opens `path` or makes it. `era` tells this boot and this supervisor's state from others: what is of another, or
    /// damaged, is not believed. The bytes are the buffer to read into.
    ///
    /// # Errors
    /// The directory does not take it, or its file system is none for it.
    pub fn open(path: &Path, era: u64) -> io::Result<(Journal, Bytes)> {
        let file = open_file(path)?;
        let mut head = [0; 16];
        let is_ours = file.read_exact_at(&mut head, 0).is_ok()
            && head[..8] == MAGIC.to_le_bytes()
            && head[8..] == era.to_le_bytes();
        if !is_ours {
            file.set_len(0)?;
        }
        reserve(&file, LENGTH)?;
        let (words, bytes) = map_file(&file, WORDS, BYTES)?;
        let journal = Journal { words, file: Some((file, path.to_owned())), step: Cell::new(1) };
        if is_ours && !journal.is_sound() {
            drop((journal, bytes));
            std::fs::remove_file(path)?;
            return Journal::open(path, era);
        }
        if is_ours {
            journal.resolve(&bytes);
        } else {
            journal.words.set(at::ERA, era);
            journal.words.set(at::MAGIC, MAGIC);
        }
        Ok((journal, bytes))
    }

    /// One that ends with the process.
    ///
    /// # Errors
    /// No memory.
    pub fn in_memory() -> io::Result<(Journal, Bytes)> {
        let (words, bytes) = map_memory(WORDS, BYTES)?;
        Ok((Journal { words, file: None, step: Cell::new(1) }, bytes))
    }

    /// Everything is in the files, and nobody is to come for it.
    pub(super) fn remove(&self) {
        if let Some((_, path)) = &self.file {
            let _gone = std::fs::remove_file(path);
        }
    }

    fn is_sound(&self) -> bool {
        let get = |at| self.words.get(at);
        let (done, marks) = self.progress();
        get(at::STATE) <= KEPT
            && get(at::COUNT) <= READ_SIZE as u64
            && get(at::TOP) <= SLOTS as u64
            && (get(at::SLOT) == NO_SLOT || get(at::SLOT) < get(at::TOP).max(1))
            && marks <= MARKS
            && done <= 2 * BYTES
            && self.are_slots_sound()
    }

    /// Brings what an earlier process was in the middle of to the state that it had reached.
    fn resolve(&self, bytes: &[u8]) {
        match self.words.get(at::STATE) {
            READING => {
                let room = &bytes[MAX_LINE..MAX_LINE + self.count()];
                let mark = &UNREAD[UNREAD.len() - room.len().min(UNREAD.len())..];
                self.words.set(at::STATE, if room.ends_with(mark) { IDLE } else { TAKEN });
            }
            KEPT => self.kept(),
            _ => {}
        }
    }

    /// `room` of the buffer is about to be filled from this stream, as a whole or not at all.
    pub(super) fn reading(&self, slot: Slot, room: &mut [u8]) {
        let length = room.len().min(UNREAD.len());
        let end = room.len() - length;
        room[end..].copy_from_slice(&UNREAD[UNREAD.len() - length..]);
        self.begin(slot, room.len(), None, READING);
    }

    /// Nothing was read.
    pub(super) fn idle(&self) {
        self.words.set(at::STATE, IDLE);
    }

    /// So many bytes were read, whose lines bear this time.
    pub(super) fn taken(&self, read: usize, wall: Timestamp) {
        self.words.set(at::COUNT, read as u64);
        self.words.set(at::WALL, millisecond(wall));
        self.words.set(at::STATE, TAKEN);
        failpoint::here("logs.taken");
    }

    /// The unfinished line of a stream that has ended is about to be written.
    pub(super) fn ending(&self, slot: Slot, wall: Timestamp) {
        self.begin(slot, 0, Some(wall), ENDING);
    }

    fn begin(&self, slot: Slot, count: usize, wall: Option<Timestamp>, state: u64) {
        self.words.set(at::SLOT, slot.map_or(NO_SLOT, |slot| slot as u64));
        self.words.set(at::COUNT, count as u64);
        self.words.set(at::WALL, wall.map_or(0, millisecond));
        self.words.set(at::PROGRESS, 0);
        self.next_step();
        self.words.set(at::STATE, state);
    }

    fn next_step(&self) {
        self.step.set(self.step.get() + 1);
    }

    fn is_batch(&self) -> bool {
        matches!(self.words.get(at::STATE), TAKEN | ENDING)
    }

    /// `more` bytes are about to be written at the end of a file, `size` bytes long now.
    pub(super) fn note(&self, noted: &mut Noted, id: FileId, size: u64, more: usize) {
        if !self.is_batch() {
            return;
        }
        let until = size + more as u64;
        if noted.step == self.step.get() {
            return self.words.set(at::MARKS + noted.mark * MARK_WORDS + 3, until);
        }
        let (done, mark) = self.progress();
        if mark == MARKS {
            // After a kill now, the lines that go into this file would be there twice.
            return;
        }
        let words = at::MARKS + mark * MARK_WORDS;
        for (at, word) in [id.dev, id.ino, size, until].into_iter().enumerate() {
            self.words.set(words + at, word);
        }
        self.set_progress(done, mark + 1);
        *noted = Noted { step: self.step.get(), mark };
    }

    /// So many bytes more of the lines are in all their files.
    pub(super) fn advance(&self, bytes: usize) {
        if self.is_batch() {
            let (done, _) = self.progress();
            self.set_progress(done + bytes, 0);
            self.next_step();
            failpoint::here("logs.advanced");
        }
    }

    /// The batch is done, and left this line unfinished; its last `added` bytes are new.
    pub(super) fn keep(&self, slot: Slot, partial: &[u8], added: usize) {
        if let Some(slot) = slot {
            let word = self.write_partial(slot, partial, added);
            failpoint::here("logs.partial");
            self.words.set(at::KEPT, word);
            self.words.set(at::STATE, KEPT);
            failpoint::here("logs.kept");
            self.kept();
        }
        self.idle();
    }

    fn kept(&self) {
        if let Some(slot) = self.slot() {
            self.change_partial(slot, self.words.get(at::KEPT));
        }
        self.idle();
    }

    fn slot(&self) -> Slot {
        let slot = self.words.get(at::SLOT);
        usize::try_from(slot).ok().filter(|_| slot != NO_SLOT)
    }

    fn count(&self) -> usize {
        usize::try_from(self.words.get(at::COUNT)).unwrap_or_default()
    }

    /// Bytes done, files noted.
    fn progress(&self) -> (usize, usize) {
        let word = self.words.get(at::PROGRESS);
        ((word >> 32) as usize, (word & 0xffff_ffff) as usize)
    }

    fn set_progress(&self, done: usize, marks: usize) {
        self.words.set(at::PROGRESS, (done as u64) << 32 | marks as u64);
    }

    pub(super) fn in_flight(&self) -> Option<InFlight> {
        let slot = self.slot()?;
        let read = match self.words.get(at::STATE) {
            TAKEN => Some(self.count()),
            ENDING => None,
            _ => return None,
        };
        let wall = i64::try_from(self.words.get(at::WALL)).ok().filter(|wall| *wall > 0);
        let wall = wall.and_then(|wall| Timestamp::from_millisecond(wall).ok());
        Some(InFlight { slot, read, wall, done: self.progress().0 })
    }

    /// Where the files ended before; what was noted last comes first, and holds where a file is named twice.
    pub(super) fn marks(&self) -> Vec<Mark> {
        let word = |at| self.words.get(at);
        let mark = |mark: usize| {
            let at = at::MARKS + mark * MARK_WORDS;
            let id = FileId { dev: word(at), ino: word(at + 1) };
            Mark { id, length: word(at + 2), until: word(at + 3) }
        };
        let mut marks: Vec<Mark> = Vec::new();
        for mark in (0..self.progress().1).rev().map(mark) {
            if marks.iter().all(|later| later.id != mark.id) {
                marks.push(mark);
            }
        }
        marks
    }

    /// The files are where they were noted to be.
    pub(super) fn is_cut_back(&self) {
        self.set_progress(self.progress().0, 0);
        self.next_step();
    }
}

fn millisecond(wall: Timestamp) -> u64 {
    u64::try_from(wall.as_millisecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
