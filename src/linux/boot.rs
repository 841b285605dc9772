//! Which boot this is, and how long ago it was.

use nix::time::{ClockId, clock_gettime};
use std::io;
use std::time::Duration;

/// The kernel's random id of this boot: pids, start times and inodes of pipes mean something within it only.
///
/// # Errors
/// When /proc is not mounted.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// The time since boot, sleep included (`CLOCK_BOOTTIME`): the clock of the start times in `/proc/PID/stat`.
///
/// # Errors
/// None that a Linux of today gives.
pub fn since_boot() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_BOOTTIME)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_has_one_id() {
        let id = boot_id().unwrap();
        assert_eq!(id.len(), 36);
        assert_eq!(boot_id().unwrap(), id);
    }

    #[test]
    fn the_time_since_boot_is_the_uptime_and_only_grows() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let first = since_boot().unwrap();
        assert!(first.as_secs_f64() >= seconds - 0.01);
        assert!(since_boot().unwrap() >= first);
    }
}
