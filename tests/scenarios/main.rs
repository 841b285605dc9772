//! The supervisor core on a virtual clock: events in, effects out, no processes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod adopted;
mod apply;
mod breach;
mod clocks;
mod configs;
mod crash;
mod cron_restart;
mod dependencies;
mod deploy_stop_first;
mod drain;
mod follow;
mod health;
mod held_port;
mod jobs;
mod phases;
mod random;
mod requests;
mod rolled_apply;
mod rollover;
mod script;
mod shutdown;
mod start;
mod stop;
mod stop_first;
mod successor;
mod trial;
mod warm;
mod world;
