//! The shell around the decisions: one loop that turns the world into events and effects into acts.
//!
//! In reading order: `startup` (from a command line to a running loop), `shell` (the loop), `launch` and `environment`
//! (processes), `exit_watch`, `probes` and `sampler` (what happens to them), `control` (the socket), `apply`, `state` and `writer`
//! (what is on the disk), `upgrade` (another program in the place of this one).

mod adoption;
mod after_stop;
mod apply;
pub mod arguments;
mod children;
mod clock;
mod control;
mod endings;
mod environment;
mod events;
mod exit_watch;
mod front;
mod kept_pipes;
mod last_applied;
mod launch;
mod leftovers;
mod live_link;
mod log_place;
mod notice;
mod outputs;
mod own_log;
mod private_ports;
mod probe_command;
mod probes;
mod room;
mod run_records;
mod runs;
mod sampler;
mod service_manager;
mod shared;
mod shell;
mod signals;
mod startup;
mod state;
mod tally;
mod upgrade;
mod users;
mod whereabouts;
mod writer;

pub use after_stop::run as after_stop;
pub use startup::run;
