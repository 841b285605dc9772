//! Stories under load with a ledger of every request: what a swap, a fault or a deploy costs the clients.
//!
//! They are told in a program of their own, so that the load of one story is not another story's slow machine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broken;
mod changes;
mod control;
mod cut_off;
mod deploys;
mod instants;
mod killed;
mod ledger;
mod load;
#[path = "../e2e/machine.rs"]
#[expect(dead_code, reason = "the stories of tests/e2e use the rest")]
mod machine;
mod next;
mod next_deploys;
mod ports;
mod postgres;
mod releases;
mod restores;
#[path = "../e2e/server.rs"]
#[expect(dead_code, reason = "the stories of tests/e2e use the rest")]
mod server;
mod sickness;
mod story;
mod swaps;
mod takeover;
mod upgrades;
mod wire;
mod writers;
