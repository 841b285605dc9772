//! Buffers that nobody reads into at the moment: the one that was used last is in the cache, and those of many idle
//! connections would be much memory.

use bytes::BytesMut;
use std::cell::RefCell;

/// More are given back to the allocator.
const MOST: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// One that was used before, or none yet: an empty one.
pub(super) fn take() -> BytesMut {
    SPARE.with_borrow_mut(|spare| spare.pop().unwrap_or_default())
}

pub(super) fn put(buffer: BytesMut) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MOST {
            spare.push(buffer);
        }
    });
}
