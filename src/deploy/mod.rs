//! Releases on disk: where they come from, what makes them ready, which stay; and backups. Run by `infissi-ctl` with the
//! rights of whoever owns them; nothing here talks to the supervisor.
//!
//! ```text
//! ROOT/releases/ID     built directories: the app runs in one of them
//! ROOT/deploys/last.json  how the last deploy ended
//! ROOT/deploys/ID      release.json (the journal of its deploy) and deploy.log
//! ROOT/shared          what all releases have in common
//! ROOT/restores        what was there before a backup was restored
//! ROOT/repo.git        a mirror of the source
//! ROOT/cache/KEY       a node_modules as it was installed, for the releases that would install the same
//! ROOT/deploy.lock     held by the process that deploys; deploy.json says who that is
//! ROOT/live            the link to the active release, moved by the supervisor
//! ```

pub mod backup;
mod bridge;
mod build_cache;
mod built;
mod carry;
mod checkout;
mod copy;
mod dependencies;
mod git;
mod id;
mod last;
mod lock;
mod prune;
mod record;
pub mod restore;
mod root;
mod shared;
mod source;
mod step;
mod unpack;
mod usual;
mod written;

pub use bridge::bridge;
pub use build_cache::carry_build_cache;
pub use carry::{Carry, NotCarried};
pub use checkout::{Checkout, Entry, Kind, Lot, Said};
pub use dependencies::{Installation, Kept, clear_kept, kept_bytes};
pub use id::{id, is_id};
pub use last::{ACTIVATION, begin_last, end_last, last};
pub use lock::{Holder, Lock, LockRefused};
pub use prune::{Keep, Pruned, Recovered, clear_unfinished, prune, recover, remove};
pub use record::{Record, State, StepTook, previous};
pub use root::Root;
pub use shared::link_shared;
pub use source::{Source, Sourced, fetch};
pub use step::{Audience, FETCH, Step, StepError, Workshop, spelled};
pub use unpack::{UnpackError, unpack};
pub use usual::{lacks_packages, usual_steps};

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
    move |error| {
        let refusal = failed(format!("cannot {what} {}: {}", path.display(), why(&error)));
        if is_full(&error) { refusal.hint(format!("make room there: df -h {}", path.display())) } else { refusal }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An error without the number that the kernel gives it.
fn why(error: &impl Display) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}
