//! What a log thread that was killed had begun: its last batch is done again, and its unfinished lines go on.

use super::source::{Way, pass_on};
use super::{Leaving, LogThread};
use crate::linux::failpoint;
use crate::linux::logfile::{as_owner, cut_back};
use crate::logs::app::{Env, Now};
use crate::logs::archive::{self, Form, Kind, live_path, rotated_path};
use crate::logs::capture::Command;
use crate::logs::framing::Framing;
use crate::logs::journal::{InFlight, Journal, Owner};
use crate::logs::settings::LogSettings;
use crate::logs::tail::Tail;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

impl LogThread {
    /// As long as a batch is in the buffer, nothing else is read into it: it waits for its app's files to be opened, or
    /// for the word that they will not be.
    pub(super) fn take_over(&mut self) -> ControlFlow<Leaving> {
        while self.ground.journal.in_flight().is_some() {
            let Ok(command) = self.commands.recv() else { return ControlFlow::Break(Leaving::AsItIs) };
            if matches!(command, Command::Finish { .. } | Command::Tail { .. } | Command::Flush { .. }) {
                self.settle();
            }
            self.follow(command)?;
        }
        self.plan();
        ControlFlow::Continue(())
    }

    /// The batch that this app's files wait for, if they are not open yet; they are cut back to where it began.
    pub(super) fn owed(&self, settings: &LogSettings) -> Option<(InFlight, Owner)> {
        let journal = &self.ground.journal;
        let batch = journal.in_flight()?;
        let owner = journal.owner(batch.slot)?;
        if owner.app != *settings.app || self.apps.contains_key(&settings.app) {
            return None;
        }
        cut_files_back(journal, settings);
        Some((batch, owner))
    }

    /// Does it again, but for what is done.
    pub(super) fn redo(&mut self, batch: InFlight, owner: &Owner) {
        failpoint::here("logs.redo");
        let app: Arc<str> = Arc::from(owner.app.as_str());
        let mut env = self.ground.env();
        env.now = Now { wall: batch.wall.unwrap_or(env.now.wall), ..env.now };
        let slot = Some(batch.slot);
        let mut framing = Framing::after(env.journal.partial(slot));
        let (mut tail, log) = (Tail::default(), self.apps.get_mut(&app));
        let (feeds, scratch) = (&mut self.feeds, &mut self.scratch);
        let mut way =
            Way { app: &app, stream: owner.stream, log, feeds, scratch, tail: &mut tail, env: &env, skip: batch.done };
        pass_on(&mut framing, &mut self.buffer, batch.read.unwrap_or(0), slot, &mut way);
        // One that was attached before goes on with the line that is unfinished now.
        let mut pipes = self.sources.values_mut().flat_map(|source| &mut source.pipes).flatten();
        if let Some(pipe) = pipes.find(|pipe| pipe.slot == slot) {
            pipe.framing = framing;
        }
    }

    /// Whoever goes on has been attached: what is left is nobody's any more. A line that was begun ends here.
    pub(super) fn settle(&mut self) {
        if self.ground.journal.in_flight().is_some() {
            // Its app is not ours any more.
            self.ground.journal.idle();
        }
        let taken: BTreeSet<usize> =
            self.sources.values().flat_map(|source| &source.pipes).flatten().filter_map(|pipe| pipe.slot).collect();
        let left: Vec<(usize, Owner)> = self.ground.journal.slots().filter(|(slot, _)| !taken.contains(slot)).collect();
        for (slot, owner) in left {
            self.end_line(slot, &owner);
            self.ground.journal.free(Some(slot));
        }
    }

    fn end_line(&mut self, slot: usize, owner: &Owner) {
        let app: Arc<str> = Arc::from(owner.app.as_str());
        let env: Env<'_> = self.ground.env();
        let mut framing = Framing::after(env.journal.partial(Some(slot)));
        let Some(log) = self.apps.get_mut(&app).filter(|_| !framing.unfinished().is_empty()) else { return };
        let (mut tail, feeds, scratch) = (Tail::default(), &mut self.feeds, &mut self.scratch);
        let log = Some(log);
        let mut way = Way { app: &app, stream: owner.stream, log, feeds, scratch, tail: &mut tail, env: &env, skip: 0 };
        env.journal.ending(Some(slot), env.now.wall);
        pass_on(&mut framing, &mut self.buffer, 0, Some(slot), &mut way);
    }
}

/// Wherever they are by now: one that was being written may have been rotated.
fn cut_files_back(journal: &Journal, settings: &LogSettings) {
    let marks = journal.marks();
    if !marks.is_empty() {
        let (dir, name) = (&settings.dir, &settings.name);
        let rotated = archive::list(dir, name, settings.owner.as_ref()).unwrap_or_default();
        let rotated = rotated.iter().map(|file| rotated_path(dir, name, file.kind, file.stamp, Form::Plain));
        let paths: Vec<PathBuf> = Kind::ALL.into_iter().map(|kind| live_path(dir, name, kind)).chain(rotated).collect();
        // What cannot be cut has its lines twice.
        let _cut = as_owner(settings.owner.as_ref(), || {
            for mark in &marks {
                for path in &paths {
                    let _another = cut_back(path, mark.id, mark.length, mark.until);
                }
            }
            Ok(())
        });
        failpoint::here("logs.cut");
    }
    journal.is_cut_back();
}
