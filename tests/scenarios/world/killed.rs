//! The supervisor of the world is killed, and another one comes: what runs goes on, what was asked is forgotten.

use super::{Happening, World};
use crate::configs::release;
use infissi::supervisor::{Event, RunId, Supervisor, Survivor};
use std::collections::BTreeSet;

impl World {
    /// `kill -9` of the supervisor and the start of another one, at once.
    pub(crate) fn kill_supervisor(&mut self) {
        self.advance(std::time::Duration::ZERO);
        let remembered = self.core.remembered();
        let config = self.core.config().clone();
        let unanswered = self.asked.iter().filter(|id| !self.replies.contains_key(*id)).copied();
        self.abandoned.extend(unanswered.collect::<Vec<_>>());
        let first = self.trees.keys().next_back().map_or(1, |run| run.0 + 1);
        self.core = Supervisor::new(config, &self.kept, first, self.now());
        let survivors =
            self.trees.iter().filter(|(_, tree)| tree.since.is_some() && tree.leader).map(|(run, tree)| Survivor {
                run: *run,
                app: tree.app.clone(),
                slot: tree.slot,
                index: tree.index,
                pid: 7,
                spawned: tree.since.unwrap_or_default(),
                proxied: tree.proxied,
                release: tree.release.as_deref().map(release),
                made_by: Some(tree.made_by),
            });
        let survivors: Vec<Survivor> = survivors.collect();
        let goes_on: Vec<RunId> = survivors.iter().map(|survivor| survivor.run).collect();
        let homeless = self.core.adopt(survivors, &remembered, &BTreeSet::new(), self.now());
        for (run, tree) in &mut self.trees {
            if !goes_on.contains(run) || homeless.contains(run) {
                // Ended before anything is started.
                (tree.leader, tree.leftovers, tree.announced_empty) = (false, false, true);
            }
            // The proxy is told anew.
            (tree.drained, tree.in_flight, tree.cut) = (None, None, false);
        }
        let of_ended = |run: &RunId| !goes_on.contains(run) || homeless.contains(run);
        self.agenda.retain(|_, happening| match happening {
            Happening::Begins | Happening::Answers(..) | Happening::Binds(_) | Happening::Drains(_) => false,
            Happening::Enters(run)
            | Happening::LeaderEnds(run, _)
            | Happening::LeftoversEnd(run)
            | Happening::Empty(run)
            | Happening::Sampled(run) => !of_ended(run),
        });
        let before = std::mem::take(&mut self.published);
        self.logs_open.clear();
        self.tell(Event::Began);
        for (name, before) in before {
            if let Some(public) = self.published.get(&name).cloned() {
                self.note_gap(Some(&before), &public);
            }
        }
    }
}
