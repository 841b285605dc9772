//! `release_of`: an app runs from the active release of another one, its leader, and goes over to the next one with it.
//!
//! Nothing serves beside it while it is replaced: it is stopped, then started, at every swap of its leader, forth and
//! back, and at every release that is activated where nobody serves. A run of a job is let finish.

use super::core::Supervisor;
use super::effect::Release;
use super::instance::{Instance, State};
use crate::api::{EventKind, ExitReason, Refusal, RefusalCode};
use crate::config::AppConfig;
use std::path::Path;

impl Supervisor {
    /// Whoever runs from another app's release goes where that one is; did anybody move?
    pub(super) fn follow_releases(&mut self) -> bool {
        let mut moved = false;
        for i in 0..self.apps.len() {
            moved |= self.follow_release(i);
        }
        moved
    }

    fn follow_release(&mut self, i: usize) -> bool {
        let app = &self.apps[i];
        let (slot, cast) = (app.slot, app.cast(app.slot));
        // A leader that is gone is none that this one is still to follow: its own change is under way.
        let Some(leader) = cast.config.release_of.as_ref().and_then(|of| self.app(&of.app)) else { return false };
        let live = &leader.cast(leader.slot).release;
        if cast.release == *live {
            return false;
        }
        let is_current = |instance: &Instance| instance.generation().is_some_and(|made| made >= cast.generation);
        let runs = app.instances.iter().any(is_current);
        let is_idle = app.instances.iter().all(|instance| matches!(instance.state, State::Resting { .. }));
        let is_job = cast.config.is_job();
        let message = match live {
            Some(Release { id, .. }) => format!("follows {} to release {id}", leader.config.name),
            None => format!("follows {}, which has no release any more", leader.config.name),
        };
        let live = live.clone();
        self.apps[i].cast_mut(slot).release = live;
        if is_job {
            return true;
        }
        if self.wanted(i) && !is_idle {
            self.announce_slot(i, slot, EventKind::Requested, message);
        }
        if runs {
            self.renew(i, ExitReason::Deploy);
        } else {
            self.wake(i);
        }
        true
    }

    /// The release that an app runs from, or is to run from.
    pub fn release(&self, name: &str) -> Option<&Release> {
        self.app(name).and_then(|app| app.cast(app.slot).release.as_ref())
    }

    /// The names of the directories in `releases` that any process runs from, whichever app's, or is about to.
    pub fn releases_in_use(&self, releases: &Path) -> Vec<String> {
        let used = self.apps.iter().flat_map(|app| &app.instances).filter_map(Instance::release);
        let names = used.filter_map(|release| release.dir.strip_prefix(releases).ok()?.iter().next());
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Why an app that runs from another one's release has none that could be made, chosen or listed.
pub fn refuse_follower(app: &AppConfig) -> Option<Refusal> {
    let leader = &app.release_of.as_ref()?.app;
    let message = format!("{} runs from the live release of {leader} and has none of its own", app.name);
    let hint = format!("name {leader} instead: {} follows it", app.name);
    Some(Refusal::new(RefusalCode::Usage, message).hint(hint))
}
