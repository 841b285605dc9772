//! The data plane: a worker process that holds the public ports, forwards HTTP, counts and drains.
//!
//! listeners → routes (claim) → targets → forward; `channel` is how the supervisor tells it what to do.

mod answers;
mod body;
pub mod channel;
mod connection;
mod counters;
mod forward;
mod framing;
mod head;
mod news;
mod pool;
mod routes;
mod target;
mod upgrade;
mod upstream;
mod wire;

#[cfg(test)]
mod tests;
