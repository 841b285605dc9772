//! One task a leader: its end, by pidfd.

use super::clock;
use super::notice::Notice;
use super::runs::Run;
use super::shared::Shared;
use crate::linux::exit::{Exit, ended, ended_elsewhere};
use crate::linux::signal::signal_name;
use crate::supervisor::LeaderExit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracing::warn;

/// Waits for the leader to end and takes its exit status.
pub(super) async fn watch(shared: Arc<Shared>, run: Arc<Run>, pidfd: OwnedFd) {
    let exit = match ended(&pidfd).await {
        Ok(exit) => exit,
        Err(error) => {
            warn!("the exit status of pid {} is not known: {error}", run.pid);
            Exit { code: None, signal: None, core: false }
        }
    };
    shared.launcher.children.forget(run.pid);
    tell(&shared, &run, exit);
}

/// The same of a leader that an earlier supervisor started: whose child it is now takes its status, and the kernel may
/// tell us.
pub(super) async fn watch_adopted(shared: Arc<Shared>, run: Arc<Run>, pidfd: OwnedFd) {
    let exit = ended_elsewhere(&pidfd, run.tree.leader()).await.unwrap_or_else(|error| {
        warn!("the end of pid {} cannot be waited for: {error}", run.pid);
        None
    });
    tell(&shared, &run, exit.unwrap_or(Exit { code: None, signal: None, core: false }));
}

fn tell(shared: &Shared, run: &Run, exit: Exit) {
    let oom = run.is_lost_to_oom(clock::now().mono);
    let exit = LeaderExit { code: exit.code, signal: exit.signal.map(signal_name), oom };
    run.exited.store(true, Ordering::Relaxed);
    shared.notify(Notice::Exited { run: run.id, exit });
}
