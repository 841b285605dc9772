//! Whether a program that takes this one's place now could go on with everything.

use super::app::App;
use super::core::Supervisor;
use super::instance::State;
use super::shutdown::shutting_down;
use crate::api::{Refusal, RefusalCode};

impl Supervisor {
    /// What it could not go on with, or who would not hear how it ended; none when nothing is in the way. Passes by
    /// itself.
    pub fn in_the_way(&self) -> Option<Refusal> {
        if self.shutdown.is_some() {
            return Some(shutting_down());
        }
        let open = self.pending.iter().flat_map(|pending| &pending.items).find(|item| item.done.is_none());
        let awaited = open.map(|item| format!("somebody waits for what is done with {}", item.app));
        let under_way = awaited.or_else(|| self.apps.iter().find_map(App::in_the_way))?;
        Some(Refusal::new(RefusalCode::Busy, under_way).hint("infissi-ctl list shows it; try again once it is done"))
    }
}

impl App {
    fn in_the_way(&self) -> Option<String> {
        let name = &self.config.name;
        if self.trial.is_some() {
            return Some(format!("a release of {name} is started in the place of what ran, and is not up yet"));
        }
        self.instances.iter().find_map(|instance| match &instance.state {
            State::Spawning { .. } => Some(format!("a process of {name} is being started")),
            // What its leader's end was like is told once the last of its processes is gone.
            State::Ending { .. } => Some(format!("a process of {name} is being ended")),
            State::Resting { .. }
            | State::Waiting { .. }
            | State::Starting { .. }
            | State::Online { .. }
            | State::Draining { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => None,
        })
    }
}
