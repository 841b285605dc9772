//! The only place with unsafe, nix and /proc.

pub mod access;
pub mod become_user;
pub mod disk;
pub mod identity;
pub mod keys;
pub mod user;
