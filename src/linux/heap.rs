//! The allocator gives memory back to the system instead of keeping it for next time.
#![expect(unsafe_code, reason = "mallopt(3), malloc_trim(3) and madvise(2) have no safe wrapper")]

use super::maps;
use std::io;

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

/// Puts what the heap has now into large pages (Linux 6.1), unless the machine is to have none: where much of it is used
/// in turn, finding out where each small page is costs time. What is given back afterwards is so in small ones.
///
/// # Errors
/// The kernel does not know of this, or has no large pages left for all of it.
pub fn into_large_pages() -> io::Result<()> {
    const MADV_COLLAPSE: libc::c_int = 25;
    let policy = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")?;
    if policy.contains("[never]") {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mapped = maps::own()?;
    for (start, end) in mapped.lines().filter(|line| line.ends_with("[heap]")).filter_map(maps::range) {
        // SAFETY: the content of the pages stays what it is, wherever they lie; what is there of them no more is an error.
        if unsafe { libc::madvise(start as *mut libc::c_void, end - start, MADV_COLLAPSE) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
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
