//! The one place here that asks what time it is.

use jiff::{Timestamp, Zoned};
use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "a command has no clock above it to be given the time by")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

#[expect(clippy::disallowed_methods, reason = "a command has no clock above it to be given the time by")]
pub(crate) fn here_and_now() -> Zoned {
    Zoned::now()
}

#[expect(clippy::disallowed_methods, reason = "a command has no clock above it to be given the time by")]
pub(crate) fn monotonic() -> Instant {
    Instant::now()
}
