//! The supervisor core on a virtual clock: events in, effects out, no processes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod apply;
mod configs;
mod crash;
mod dependencies;
mod health;
mod jobs;
mod random;
mod requests;
mod rollover;
mod script;
mod shutdown;
mod start;
mod stop;
mod world;
