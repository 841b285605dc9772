//! What this process has mapped (proc_pid_maps(5)).

/// A line for each mapping.
///
/// # Errors
/// /proc is not there.
pub(super) fn own() -> std::io::Result<String> {
    std::fs::read_to_string("/proc/self/maps")
}

/// From where to where the mapping of a line goes.
pub(super) fn range(line: &str) -> Option<(usize, usize)> {
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let address = |hexadecimal| usize::from_str_radix(hexadecimal, 16).ok();
    Some((address(start)?, address(end)?))
}
