//! The data plane: a worker process that holds the public ports, forwards HTTP, counts and drains.
//!
//! listeners → routes (claim) → targets → forward; `channel` is how the supervisor tells it what to do.

pub mod channel;
pub mod channel_stream;
mod connection;
mod counters;
mod news;
mod pool;
mod routes;
mod target;
