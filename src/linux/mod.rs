//! The only place with unsafe, nix and /proc.

pub mod cgroup;
pub mod disk;
pub mod memory;
pub mod ports;
pub mod proc;
pub mod strays;
pub mod tree;
