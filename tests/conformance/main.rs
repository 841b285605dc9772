//! What the proxy lets through in either direction, byte by byte: tables of raw requests and answers, an origin that
//! records every byte, and Node's own parser as the second witness.
//!
//! No request may reach an origin other than newly written, with one framing that every parser reads alike; and
//! nothing behind a refused request is ever taken for another one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod bench;
mod bodies;
mod client;
mod control;
mod frames;
mod headers;
mod machine;
mod mangled;
mod node;
mod origin;
mod pace;
mod process;
mod proxy;
mod random;
mod row;
mod rows_of_chunks;
mod rows_of_framing;
mod rows_of_heads;
mod rows_of_targets;
mod stage;
mod upgrades;
mod wire;
mod worker;
