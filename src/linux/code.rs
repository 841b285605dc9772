//! The program's own code: what only its start needed need not stay in its memory.
#![expect(unsafe_code, reason = "madvise(2) has no safe wrapper that takes an address")]

use super::maps;
use std::io;

/// Lets go of the pages of our own code. What runs again is mapped again from the page cache when it runs, 64 KiB at a
/// time and in microseconds; what does not is not counted as ours any more. Of the supervisor's 4 MB of code that are
/// mapped once it has started, half a megabyte is in use from then on.
///
/// # Errors
/// /proc is not there, or the pages are locked (mlock(2)).
pub fn let_go() -> io::Result<()> {
    let here = let_go as *const () as usize;
    let maps = maps::own()?;
    let Some((start, end)) = maps.lines().filter_map(of_code).find(|(start, end)| (*start..*end).contains(&here))
    else {
        return Err(io::ErrorKind::NotFound.into());
    };
    // SAFETY: these pages are a file's, mapped privately and never written: for such the kernel promises the file's
    // content at the next access (madvise(2), MADV_DONTNEED), which is what is there now.
    match unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The addresses of a file's mapping that can be executed and not written.
fn of_code(line: &str) -> Option<(usize, usize)> {
    let (_, rest) = line.split_once(' ')?;
    let is_of_file = rest.split_whitespace().nth(3).is_some_and(|inode| inode != "0");
    (is_of_file && rest.starts_with("r-xp ")).then(|| maps::range(line)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_goes_on_without_its_code_in_memory() {
        let threads: Vec<_> = (0..4_u64)
            .map(|n| std::thread::spawn(move || (0..200_000_u64).fold(n, |sum, more| sum.wrapping_mul(31) ^ more)))
            .collect();
        let_go().unwrap();
        assert!(threads.into_iter().all(|thread| thread.join().is_ok()));
    }

    #[test]
    fn only_what_can_be_executed_and_not_written_is_code() {
        assert_eq!(of_code("1000-2000 r-xp 00000000 fe:00 1 /x"), Some((0x1000, 0x2000)));
        assert_eq!(of_code("1000-2000 rwxp 00000000 fe:00 1 /x"), None);
        assert_eq!(of_code("1000-2000 r--p 00000000 fe:00 1 /x"), None);
        assert_eq!(of_code("1000-2000 r-xp 00000000 00:00 0"), None, "what no file has would come back empty");
    }
}
