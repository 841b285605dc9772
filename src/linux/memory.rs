//! Memory in fair shares: what a process would free if it ended and its neighbours with it.
//! Slow (0.7 ms for 200 MB, page tables are walked): to confirm before acting, not to sample.

use super::proc::{number, read_up_to};

/// Proportional set size (proc_pid_smaps(5)): shared pages count by their share. In bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    pub total: u64,
    /// Anonymous and shared memory alone: without page cache and libraries.
    pub held: u64,
}

/// The shares of a process; none when it is gone, or not ours to look at.
pub fn shares(pid: i32) -> Option<Shares> {
    let mut text = Vec::new();
    read_up_to(pid, "smaps_rollup", &mut text, 16 * 1024);
    parse(&text)
}

/// Our own, whole.
pub fn own() -> Option<u64> {
    let pid = i32::try_from(std::process::id()).ok()?;
    shares(pid).map(|shares| shares.total)
}

fn parse(text: &[u8]) -> Option<Shares> {
    let total = kilobytes(text, "Pss:")?;
    // Told apart since Linux 5.4; before that the whole is the nearest figure.
    let held = match (kilobytes(text, "Pss_Anon:"), kilobytes(text, "Pss_Shmem:")) {
        (Some(anonymous), Some(shared)) => anonymous + shared,
        _ => total,
    };
    Some(Shares { total, held })
}

fn kilobytes(text: &[u8], key: &str) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(key.as_bytes()))?;
    Some(number::<u64>(line.strip_suffix(b"kB")?)? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_cache_is_no_part_of_what_is_held() {
        let text = b"00400000-7fff ---p 00000000 00:00 0  [rollup]\nRss:  900 kB\nPss:     500 kB\nPss_Dirty: 1 kB\n\
            Pss_Anon:  100 kB\nPss_File:  350 kB\nPss_Shmem:  50 kB\n";
        assert_eq!(parse(text), Some(Shares { total: 500 * 1024, held: 150 * 1024 }));
    }

    #[test]
    fn an_older_kernel_tells_only_the_whole() {
        assert_eq!(parse(b"Rss: 9 kB\nPss: 5 kB\n"), Some(Shares { total: 5120, held: 5120 }));
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn we_hold_memory() {
        assert!(own().unwrap() > 500_000);
    }
}
