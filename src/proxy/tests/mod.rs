//! The proxy between real sockets: raw clients on one side, scripted origins on the other.

mod bodies;
mod heads;
mod keeping_alive;
mod patience;
mod place;
mod upgrades;
