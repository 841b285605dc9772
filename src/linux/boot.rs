//! Which boot of the machine this is, and how long ago it was.

use nix::time::{ClockId, clock_gettime};
use std::io;
use std::time::Duration;

/// The time since boot, sleep included (`CLOCK_BOOTTIME`): the clock of the start times in `/proc/PID/stat`.
///
/// # Errors
/// None that a Linux of today gives.
pub fn since_boot() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_BOOTTIME)?.into())
}

/// Names this boot: another one has another id (random(4)). With a pid and a start time it is a process's identity.
///
/// # Errors
/// /proc is missing.
pub fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_since_boot_is_the_uptime_and_only_grows() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let first = since_boot().unwrap();
        assert!(first.as_secs_f64() >= seconds - 0.01);
        assert!(since_boot().unwrap() >= first);
    }
}
