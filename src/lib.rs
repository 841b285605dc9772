//! infissi: a native process supervisor for `npm start` apps on Linux.
//!
//! The tour, in reading order:
//!
//! - [`api`]: what travels over the control socket: requests, statuses, refusals, client
//! - [`config`]: `supervisor.toml` → `Config`, valid by construction; every mistake with its key and line
//! - [`supervisor`]: the decisions, pure: `handle(event, now)` → effects
//! - [`daemon`]: the shell around them: one loop that turns the world into events and effects into acts
//! - [`logs`]: one line's way: pipe → lines → files (rotation) and followers
//! - [`proxy`]: the worker: listeners → routes (claim) → targets → forward, and its channel
//! - [`linux`]: the only place with unsafe, nix and /proc: spawn, tree, cgroup, pidfd, memory, ports
//! - [`deploy`]: releases on disk: their source, what makes them ready, the lock, what stays; backups and their restore
//! - [`ctl`]: commands → requests → tables or JSON

pub mod api;
pub mod config;
pub mod ctl;
pub mod daemon;
pub mod deploy;
pub mod linux;
pub mod logs;
pub mod proxy;
pub mod supervisor;
