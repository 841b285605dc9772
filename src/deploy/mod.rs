//! Releases on disk: where they come from, what makes them ready, which stay; and backups. Run by `infissi-ctl` with the
//! rights of whoever owns them; nothing here talks to the supervisor.
//!
//! ```text
//! ROOT/releases/ID     built directories: the app runs in one of them
//! ROOT/deploys/last.json  how the last deploy ended
//! ROOT/deploys/ID      release.json (the journal of its deploy) and deploy.log
//! ROOT/shared          what all releases have in common
//! ROOT/repo.git        a mirror of the source
//! ROOT/deploy.lock     held by the process that deploys
//! ROOT/live            the link to the active release, moved by the supervisor
//! ```

pub mod backup;
mod bridge;
mod copy;
mod git;
mod id;
mod last;
mod lock;
mod prune;
mod record;
mod root;
mod shared;
mod source;
mod step;
mod usual;

pub use bridge::bridge;
pub use id::{id, is_id};
pub use last::{ACTIVATION, begin_last, end_last, last};
pub use lock::{Holder, Lock, LockRefused};
pub use prune::{Recovered, prune, recover, remove};
pub use record::{Record, State, StepTook, previous};
pub use root::Root;
pub use shared::link_shared;
pub use source::{Source, Sourced, fetch};
pub use step::{Audience, FETCH, Step, StepError, Workshop, spelled};
pub use usual::usual_steps;

use crate::api::{Refusal, RefusalCode};
use std::fmt::Display;
use std::io;
use std::path::Path;

/// It was tried and failed.
fn failed(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::Failed, message)
}

/// `cannot make PATH: …`
fn cannot<'p>(what: &'p str, path: &'p Path) -> impl Fn(io::Error) -> Refusal + 'p {
    move |error| failed(format!("cannot {what} {}: {}", path.display(), why(&error)))
}

/// An error without the number that the kernel gives it.
fn why(error: &impl Display) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
