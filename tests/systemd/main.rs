//! The units of contrib/systemd under a real systemd, as PID 1 of a machine of the story's own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod booted;
#[path = "../e2e/machine.rs"]
#[expect(dead_code, reason = "the stories of tests/e2e use the rest")]
mod machine;
mod units;
mod users;
mod whole;
