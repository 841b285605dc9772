//! The one place where the daemon reads the clocks.

use crate::linux::boot;
use crate::supervisor::Now;
use jiff::Timestamp;
use std::time::Duration;

/// Both clocks, now.
#[expect(clippy::disallowed_methods, reason = "here the clock is read, so that everywhere else it is an argument")]
pub(super) fn now() -> Now {
    Now { mono: boot::since_boot().unwrap_or(Duration::ZERO), wall: Timestamp::now() }
}
