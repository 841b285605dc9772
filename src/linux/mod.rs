//! The only place with unsafe, nix and /proc.

pub mod logfile;
pub mod readiness;
