//! As whom, with what and where a worker runs: as little as it can do with.

use super::{LOOK_EVERY, World};
use crate::api::EventKind;
use crate::daemon::clock;
use crate::daemon::events::Events;
use crate::daemon::launch::{Launcher, sentence};
use crate::daemon::notice::Notice;
use crate::linux::identity::Identity;
use crate::linux::spawn::{Launch, Launched};
use crate::supervisor::Announcement;
use std::ffi::OsString;
use std::io::{stderr, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// As whom root's worker runs: the first that there is.
const USERS: [&str; 2] = ["infissi-proxy", "nobody"];

impl World {
    pub(in crate::daemon) fn new(
        runtime_dir: &Path,
        launcher: Arc<Launcher>,
        events: Arc<Events>,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> World {
        let (knower, reaper) = (launcher.clone(), launcher.clone());
        let (keeper, dismisser) = (launcher.manager.clone(), launcher.manager.clone());
        let announce = move |message: String| {
            let announcement =
                Announcement { app: None, kind: EventKind::Proxy, by: None, slot: None, pid: None, message };
            events.add(announcement, clock::now().wall);
        };
        World {
            runtime_dir: runtime_dir.to_owned(),
            launch: Box::new(move |stdin| launch(&launcher, stdin)),
            knows: Box::new(move |pid| knower.children.knows(pid)),
            reaped: Box::new(move |pid| reaper.children.forget(pid)),
            notify: Box::new(move |notice| drop(notices.send(notice))),
            announce: Box::new(announce),
            keep: Box::new(move |name, socket| keeper.keep(name, socket)),
            let_go: Box::new(move |name| dismisser.let_go(name)),
            look_every: LOOK_EVERY,
        }
    }
}

/// This very program in its other role. Without the mark of an app's process: a supervisor that comes later meets it
/// instead of ending it.
fn launch(launcher: &Launcher, stdin: OwnedFd) -> Result<Launched, String> {
    let own = |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned().map_err(|error| format!("no descriptor for it: {error}"));
    let identity = if launcher.users.are_roots() { Some(user()?) } else { None };
    let launched = launcher.children.launch(Launch {
        command: ["/proc/self/exe", "proxy"].map(OsString::from).to_vec(),
        called: Some("infissi-supervisord".into()),
        cwd: PathBuf::from("/"),
        env: Vec::new(),
        identity,
        stdin: Some(stdin),
        stdout: own(&stdout())?,
        stderr: own(&stderr())?,
        cgroup: None,
        nofile: None,
    });
    launched.map_err(|error| sentence(&error))
}

fn user() -> Result<Identity, String> {
    let found = USERS.into_iter().find_map(|name| Identity::of_name(name).ok());
    found.ok_or_else(|| format!("there is no user {} to run it as", USERS.join(" or ")))
}
