//! The data plane: a worker process that holds the public ports, forwards HTTP, counts and drains.
//!
//! listeners → routes (claim) → targets → forward; `channel` is how the supervisor tells it what to do.

mod answers;
mod body;
pub mod channel;
pub mod channel_stream;
mod connection;
mod counters;
mod crowd;
mod figures;
mod forward;
mod framing;
mod gather;
mod head;
mod listeners;
mod news;
mod pool;
mod routes;
mod say;
mod target;
mod upgrade;
mod upstream;
mod wire;
mod worker;

pub use worker::run;

#[cfg(test)]
mod tests;
