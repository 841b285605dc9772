//! Stories with the real binaries, real npm and real ports, each in a temporary directory of its own.
//!
//! They wait for conditions, never for times, and run side by side.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod backup;
mod boots;
mod cli;
mod config;
mod contention;
mod deploy;
mod deploy_memory;
mod first_release;
mod handshakes;
mod health;
mod jobs;
mod lifecycle;
mod logs;
mod machine;
mod making;
mod memory;
mod network;
mod probes;
mod proxy;
mod public;
mod releases;
mod restore;
mod rows;
mod rows_of_logs;
mod server;
mod socket;
mod spawn;
mod ssh;
mod starts;
mod streams;
mod trees;
mod trust;
