//! The end: everything stops, dependents first, then everyone who asked is answered and the supervisor ends.

use super::Now;
use super::app::App;
use super::core::Supervisor;
use super::effect::{Effect, Reply};
use super::event::RequestId;
use crate::api::{EventKind, Refusal, RefusalCode};
use std::time::Duration;

pub(super) struct Shutdown {
    /// What still runs then is killed.
    pub(super) kill_at: Duration,
    /// Who waits for the end.
    pub(super) asked: Vec<RequestId>,
    exited: bool,
}

impl Supervisor {
    pub(super) fn begin_shutdown(&mut self, id: RequestId, by: &str, hurry: bool, now: Now) {
        let patience = if hurry { Duration::ZERO } else { self.config.supervisor.shutdown_timeout };
        let kill_at = now.mono + patience;
        if let Some(shutdown) = &mut self.shutdown {
            shutdown.kill_at = shutdown.kill_at.min(kill_at);
            return shutdown.asked.push(id);
        }
        self.announce(None, EventKind::Supervisor, Some(by), "shuts down".to_owned());
        self.shutdown = Some(Shutdown { kill_at, asked: vec![id], exited: false });
    }

    pub(super) fn finish_shutdown(&mut self) {
        let at_rest = self.apps.iter().all(App::is_at_rest);
        let Some(shutdown) = self.shutdown.as_mut().filter(|_| at_rest) else { return };
        let asked = std::mem::take(&mut shutdown.asked);
        let first = !std::mem::replace(&mut shutdown.exited, true);
        for id in asked {
            self.push(Effect::Reply { id, reply: Reply::Actions(Vec::new()) });
        }
        if first {
            self.push(Effect::Exit);
        }
    }

    /// The time for a gentle end is over.
    pub(super) fn is_out_of_time(&self, now: Now) -> bool {
        self.shutdown.as_ref().is_some_and(|shutdown| shutdown.kill_at <= now.mono)
    }
}

pub(super) fn shutting_down() -> Refusal {
    Refusal::new(RefusalCode::Busy, "the supervisor is shutting down")
        .hint("wait until it is gone, then start it again")
}
