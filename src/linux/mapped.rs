//! Memory that outlives this process: a file mapped and shared. What a killed process had stored is there for the next
//! one, in the order of its program: the pages are the kernel's. A power cut is another matter.
#![expect(unsafe_code, reason = "memory is mapped by raw system calls")]

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statfs::fstatfs;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

/// File systems on which storing into a page that has its place needs no other place and no network: elsewhere a full disk
/// may be a SIGBUS. Their numbers are in statfs(2).
const IN_PLACE: [u64; 3] = [
    0x0102_1994, // tmpfs
    0x0000_ef53, // ext4, and ext2 and ext3, which have the same
    0x5846_5342, // xfs
];

/// The first part of a mapping: numbers, each stored whole or not at all.
pub struct Words {
    map: Arc<Map>,
    count: usize,
}

/// The rest of it. There is one for each mapping.
pub struct Bytes {
    map: Arc<Map>,
    from: usize,
}

struct Map {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is nobody's but this value's, and stays where it is until that is dropped; who may touch which
// part of it is up to `Words` (atomics only) and `Bytes` (one owner, by reference).
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by us with this length, and nobody has a reference into it any more.
        let _cannot_fail = unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// Opens or makes a file to be mapped, mode 0600.
///
/// # Errors
/// It is a link, another user's or no regular file; or it lies on a file system where storing into it may fail.
pub fn open_file(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file of ours"));
    }
    let kind = fstatfs(&file)?.filesystem_type().0;
    if !u64::try_from(kind).is_ok_and(|kind| IN_PLACE.contains(&kind)) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "its file system is none of tmpfs, ext4 and xfs"));
    }
    Ok(file)
}

/// Takes the place of `length` bytes on the disk, so that storing into them never lacks it.
///
/// # Errors
/// A full disk; a file system that cannot promise it.
pub fn reserve(file: &File, length: usize) -> io::Result<()> {
    let length = i64::try_from(length).map_err(io::Error::other)?;
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, length) {
            Err(Errno::EINTR) => {}
            taken => return Ok(taken?),
        }
    }
}

/// Gives back the place of a part of the file, which reads as zeros then; nothing happens where that cannot be.
pub fn give_back(file: &File, from: u64, length: u64) {
    let (Ok(from), Ok(length)) = (i64::try_from(from), i64::try_from(length)) else { return };
    let _kept =
        fallocate(file, FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE, from, length);
}

/// Maps the beginning of a file: so many words, then so many bytes. The words fill whole pages. All of it has to be
/// [reserved](reserve) before.
///
/// # Errors
/// As mmap(2).
pub fn map_file(file: &File, words: usize, bytes: usize) -> io::Result<(Words, Bytes)> {
    map(libc::MAP_SHARED, file.as_raw_fd(), words, bytes)
}

/// The same in memory that ends with the process.
///
/// # Errors
/// As mmap(2).
pub fn map_memory(words: usize, bytes: usize) -> io::Result<(Words, Bytes)> {
    map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, words, bytes)
}

fn map(flags: i32, fd: i32, words: usize, bytes: usize) -> io::Result<(Words, Bytes)> {
    let from = words * size_of::<AtomicU64>();
    let length = from + bytes;
    // SAFETY: a new mapping at an address that the kernel chooses: no memory of ours is touched.
    let start = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let Some(start) = NonNull::new(start.cast::<u8>()) else { return Err(io::ErrorKind::OutOfMemory.into()) };
    let map = Arc::new(Map { start, length });
    Ok((Words { map: map.clone(), count: words }, Bytes { map, from }))
}

impl Words {
    pub fn get(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    /// Everything stored before is there when this is, and nothing that comes after it is there sooner.
    pub fn set(&self, at: usize, value: u64) {
        compiler_fence(Ordering::SeqCst);
        self.word(at).store(value, Ordering::Release);
        compiler_fence(Ordering::SeqCst);
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.count, "word {at} of {}", self.count);
        // SAFETY: within the mapping, aligned (a mapping begins with a page), and these bytes are reached as atomics only.
        unsafe { self.map.start.cast::<AtomicU64>().add(at).as_ref() }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: this part of the mapping is reached through this value alone, and lives as long as it.
        unsafe { std::slice::from_raw_parts(self.map.start.add(self.from).as_ptr(), self.map.length - self.from) }
    }
}

impl DerefMut for Bytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and we have it for ourselves.
        unsafe { std::slice::from_raw_parts_mut(self.map.start.add(self.from).as_ptr(), self.map.length - self.from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: usize = 512;

    #[test]
    fn what_was_stored_is_there_for_whoever_maps_it_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = open_file(&path).unwrap();
        reserve(&file, WORDS * 8 + 100).unwrap();
        let (words, mut bytes) = map_file(&file, WORDS, 100).unwrap();
        words.set(0, 7);
        words.set(WORDS - 1, u64::MAX);
        bytes[99] = b'x';
        drop((words, bytes, file));
        let file = open_file(&path).unwrap();
        let (words, bytes) = map_file(&file, WORDS, 100).unwrap();
        assert_eq!((words.get(0), words.get(WORDS - 1), bytes[99], bytes.len()), (7, u64::MAX, b'x', 100));
    }

    #[test]
    fn a_file_system_that_is_not_known_to_write_in_place_is_none_for_it() {
        // A regular file of ours that can be written: of procfs.
        assert_eq!(open_file(Path::new("/proc/self/comm")).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn nobody_is_led_to_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(open_file(&link).is_err());
        assert!(open_file(dir.path()).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    }
}
