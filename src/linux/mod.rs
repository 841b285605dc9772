//! The only place with unsafe, nix and /proc: users, processes, pipes, signals, locks and files that survive a crash.
//!
//! `unsafe` is denied for the package; a file here that needs it says so in its first lines, with the reason.

pub mod access;
pub mod atomic;
pub mod become_user;
pub mod boot;
pub mod cgroup;
pub mod code;
pub mod confine;
pub mod descriptors;
pub mod dirs;
pub mod disk;
pub mod environ;
pub mod exit;
pub mod failpoint;
pub mod folder;
pub mod fs_rights;
pub mod headroom;
pub mod heap;
pub mod identity;
pub mod inherited;
pub mod keys;
pub mod limits;
pub mod listener;
pub mod lock;
pub mod logfile;
pub mod mapped;
pub mod memory;
pub mod no_links;
pub mod notify;
pub mod owner;
pub mod peer;
pub mod pidfd;
pub mod pipe;
pub mod ports;
pub mod priority;
pub mod proc;
pub mod readiness;
pub mod signal;
pub mod spawn;
pub mod stderr;
pub mod stdin;
pub mod strays;
pub mod tree;
pub mod unit;
pub mod user;
