//! The line that each stream has begun and not ended: whose it is, and its bytes.
//!
//! A slot has a region of the file. A line that grows is written on; another one is written beside it, for the one of
//! before is believed until the batch is done.

use super::super::framing::MAX_LINE;
use super::super::settings::Stream;
use super::{Journal, LENGTH, SLOT_WORDS, SLOTS, Slot, at};
use crate::linux::mapped::give_back;
use std::os::unix::fs::FileExt;

/// One begins where the one of before does not reach: below `MAX_LINE`, or behind one that began there.
const REGION: u64 = 3 * MAX_LINE as u64;
/// Beyond this the place on the disk is given back at once. In bytes.
const PLACE_KEPT: u64 = 4 * 1024;
/// Where a slot's words are: which pipe (0: nobody's), the line, whose, the app's name.
const INODE: usize = 0;
const PARTIAL: usize = 1;
const ABOUT: usize = 2;
const NAME: usize = 3;
const NAME_BYTES: usize = (SLOT_WORDS - NAME) * size_of::<u64>();

/// A part of a region: one word.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Place {
    offset: u64,
    length: u64,
}

impl Place {
    fn of(word: u64) -> Place {
        Place { offset: word >> 32, length: word & 0xffff_ffff }
    }

    fn word(self) -> u64 {
        self.offset << 32 | self.length
    }

    fn end(self) -> u64 {
        self.offset + self.length
    }

    /// For another line, beside this one.
    fn beside(self, length: u64) -> Place {
        Place { offset: if length <= self.offset { 0 } else { self.end() }, length }
    }
}

/// Whose a slot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Owner {
    /// Of the pipe.
    pub(in super::super) inode: u64,
    pub(in super::super) app: String,
    pub(in super::super) stream: Stream,
}

fn words_of(slot: usize) -> usize {
    at::SLOTS + slot * SLOT_WORDS
}

impl Journal {
    fn top(&self) -> usize {
        usize::try_from(self.words.get(at::TOP)).unwrap_or_default().min(SLOTS)
    }

    pub(super) fn are_slots_sound(&self) -> bool {
        (0..self.top()).all(|slot| {
            let place = self.place(slot);
            let is_within = place.length <= MAX_LINE as u64 && place.end() <= REGION;
            is_within && (self.words.get(words_of(slot)) == 0 || self.owner(slot).is_some())
        })
    }

    /// Those that are somebody's.
    pub(in super::super) fn slots(&self) -> impl Iterator<Item = (usize, Owner)> {
        (0..self.top()).filter_map(|slot| Some((slot, self.owner(slot)?)))
    }

    pub(in super::super) fn owner(&self, slot: usize) -> Option<Owner> {
        let (words, word) = (words_of(slot), |at| self.words.get(at));
        let inode = word(words + INODE);
        let about = word(words + ABOUT).to_le_bytes();
        let stream = match about[0] {
            0 => Stream::Out,
            1 => Stream::Err,
            _ => return None,
        };
        let name: Vec<u8> = (words + NAME..words + SLOT_WORDS).flat_map(|at| word(at).to_le_bytes()).collect();
        let app = String::from_utf8(name.get(..usize::from(about[1]))?.to_vec()).ok()?;
        (inode != 0).then_some(Owner { inode, app, stream })
    }

    /// A slot for a stream: its own, where an earlier process has left it.
    pub(in super::super) fn claim(&self, owner: &Owner) -> Slot {
        let mut free = None;
        for slot in 0..self.top() {
            match self.owner(slot) {
                Some(other) if other == *owner => return Some(slot),
                Some(_) => {}
                None => free = free.or(Some(slot)),
            }
        }
        let slot = free.or_else(|| (self.top() < SLOTS).then(|| self.top()))?;
        let name = owner.app.as_bytes();
        if name.len() > NAME_BYTES || owner.inode == 0 {
            return None;
        }
        let words = words_of(slot);
        self.words.set(words + INODE, 0);
        self.words.set(words + PARTIAL, 0);
        self.words.set(words + ABOUT, u64::from_le_bytes([owner.stream as u8, name.len() as u8, 0, 0, 0, 0, 0, 0]));
        for (at, part) in name.chunks(size_of::<u64>()).enumerate() {
            let mut word = [0; size_of::<u64>()];
            word[..part.len()].copy_from_slice(part);
            self.words.set(words + NAME + at, u64::from_le_bytes(word));
        }
        self.words.set(at::TOP, self.top().max(slot + 1) as u64);
        self.words.set(words + INODE, owner.inode);
        Some(slot)
    }

    /// Its stream has ended.
    pub(in super::super) fn free(&self, slot: Slot) {
        let Some(slot) = slot else { return };
        self.words.set(words_of(slot) + INODE, 0);
        self.words.set(words_of(slot) + PARTIAL, 0);
        if let Some((file, _)) = &self.file {
            give_back(file, region(slot), REGION);
        }
    }

    fn place(&self, slot: usize) -> Place {
        Place::of(self.words.get(words_of(slot) + PARTIAL))
    }

    /// The line begun; none where it cannot be read, as nothing that was begun.
    pub(in super::super) fn partial(&self, slot: Slot) -> Vec<u8> {
        let (Some(slot), Some((file, _))) = (slot, &self.file) else { return Vec::new() };
        let place = self.place(slot);
        let mut bytes = vec![0; usize::try_from(place.length).unwrap_or_default()];
        match file.read_exact_at(&mut bytes, region(slot) + place.offset) {
            Ok(()) => bytes,
            Err(_) => Vec::new(),
        }
    }

    /// Puts the line's bytes where nothing that is believed lies; the word that says where. A full disk keeps none: after a
    /// kill this line is lost.
    pub(super) fn write_partial(&self, slot: usize, partial: &[u8], added: usize) -> u64 {
        let Some((file, _)) = &self.file else { return 0 };
        if partial.is_empty() {
            return 0;
        }
        let (before, length) = (self.place(slot), partial.len() as u64);
        let goes_on = before.length > 0 && before.length + added as u64 == length;
        let place = if goes_on { Place { length, ..before } } else { before.beside(length) };
        let new = if goes_on { added } else { partial.len() };
        let at = region(slot) + place.end() - new as u64;
        match file.write_all_at(&partial[partial.len() - new..], at) {
            Ok(()) => place.word(),
            Err(_) => 0,
        }
    }

    pub(super) fn change_partial(&self, slot: usize, word: u64) {
        let (before, now) = (self.place(slot), Place::of(word));
        self.words.set(words_of(slot) + PARTIAL, word);
        let is_left = now.length == 0 || before.offset != now.offset;
        if let Some((file, _)) = &self.file
            && is_left
            && before.length > PLACE_KEPT
        {
            give_back(file, region(slot) + before.offset, before.length);
        }
    }
}

fn region(slot: usize) -> u64 {
    LENGTH as u64 + slot as u64 * REGION
}
