//! The allocator gives memory back to the system instead of keeping it for next time.
#![cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "mallopt(3) and malloc_trim(3) have no safe wrapper"))]

/// Larger blocks are mapped by themselves and go back when they are freed, bytes: glibc's own first value. Left to itself
/// it grows with the largest block ever freed, up to 32 MiB, and what is kept grows along (mallopt(3)).
const OWN_MAPPING: libc::c_int = 128 * 1024;
/// Heaps; by default there are eight for each core, and each keeps its own peak.
const HEAPS: libc::c_int = 2;

/// For this whole process, before it has other threads. An allocator that does not know of this goes its own way.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in
        [(libc::M_MMAP_THRESHOLD, OWN_MAPPING), (libc::M_TRIM_THRESHOLD, OWN_MAPPING), (libc::M_ARENA_MAX, HEAPS)]
    {
        // SAFETY: mallopt only sets a parameter of the allocator; no other thread allocates yet.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives back what is free in between what is in use, too: without this a heap keeps its peak wherever something young
/// lies above the holes. Walks the whole heap (malloc_trim(3)).
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number and moves nothing that is in use.
    unsafe {
        libc::malloc_trim(0)
    };
}
