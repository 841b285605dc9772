//! Addresses that nobody wants any more, and others have taken the place of: kept, or left without resetting anybody.
//!
//! Over a network a handshake takes a round trip, and its last packet finds the socket that had the first one. With that
//! closed the client is reset, although another one listens there.
//!
//! ```text
//! not wanted ──one that is wanted takes all that it takes──▶ served beside that one
//!            ──another one on its port is wanted───────────▶ parting: no handshake begins, those under way end ─▶ closed
//!            ──none is──────────────────────────────────────▶ closed
//! ```

use super::{Actor, Found};
use crate::daemon::clock;
use crate::daemon::front::doors::{Door, collide, covers, take_newcomers};
use crate::linux::ports::{Handshake, begin_no_more, handshakes_on};
use std::collections::HashSet;
use std::time::Duration;
use tracing::debug;

/// For this time it is found out who is in the middle of a handshake: one look at a table that changes may miss some.
const FINDING: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Enough for the answer to a client to be lost twice, and repeated after one and three seconds. Scanners never end theirs.
const LONGEST: Duration = Duration::from_secs(5);

/// An address that is to be closed when those who are about to be connected are.
pub(super) struct Parting {
    listener: u64,
    since: Duration,
    begun: HashSet<Handshake>,
    /// None while a thread looks.
    pub(super) look_at: Option<Duration>,
}

/// What becomes of an open address.
enum Fate {
    Stays,
    /// This app listens there, or in all of it.
    GoesTo(String),
    Parts,
    Closes,
}

impl Actor {
    /// After all that can be opened is open.
    pub(super) fn close_what_is_given_up(&mut self, now: Duration) {
        for door in self.doors.all().to_vec() {
            match self.fate(&door) {
                Fate::Stays => self.stays(&door),
                Fate::GoesTo(app) => self.hand_over(&door, (&app, door.address), now),
                Fate::Parts => self.part(&door, now),
                Fate::Closes => self.close_door(door.listener, now),
            }
        }
        self.forget_closed_partings();
    }

    fn fate(&self, door: &Door) -> Fate {
        if self.is_wanted(door) {
            return Fate::Stays;
        }
        let app = self.apps.get(&door.app);
        let lacks_some = app.is_some_and(|app| !self.has_all(&door.app, app));
        match (self.successor(door), app) {
            (Some(next), _) if next.address == door.address => Fate::Closes,
            (Some(next), _) if next.app != door.app && covers(next.address, door.address) => {
                Fate::GoesTo(next.app.clone())
            }
            (Some(next), _) if next.app != door.app => Fate::Parts,
            // Of an earlier supervisor: it may be published yet.
            (None, None) => Fate::Stays,
            (Some(_) | None, _) if lacks_some => Fate::Stays,
            (Some(next), _) if covers(next.address, door.address) => Fate::Stays,
            (Some(_), _) => Fate::Parts,
            (None, Some(app)) if app.is_on(door.address.port()) => Fate::Parts,
            (None, Some(_)) => Fate::Closes,
        }
    }

    /// One that is wanted and takes what this one takes, or some of it.
    pub(super) fn successor(&self, door: &Door) -> Option<&Door> {
        let takes = |other: &&Door| {
            other.listener != door.listener && collide(other.address, door.address) && self.is_wanted(other)
        };
        self.doors.all().iter().find(takes)
    }

    /// It is as it was before it was to be closed, if it was.
    fn stays(&mut self, door: &Door) {
        let before = self.partings.len();
        self.partings.retain(|parting| parting.listener != door.listener);
        if self.partings.len() < before {
            take_newcomers(&door.socket);
        }
    }

    fn part(&mut self, door: &Door, now: Duration) {
        if self.partings.iter().any(|parting| parting.listener == door.listener) {
            return;
        }
        // Without it those who come meanwhile are let in until it is closed.
        if let Err(error) = begin_no_more(&door.socket) {
            debug!("{} takes new connections until it is closed: {error}", door.address);
        }
        let (listener, since) = (door.listener, now);
        self.partings.push(Parting { listener, since, begun: HashSet::new(), look_at: Some(now) });
    }

    pub(super) fn look_at_partings(&mut self, now: Duration) {
        self.forget_closed_partings();
        for parting in &mut self.partings {
            let Some(_due) = parting.look_at.take_if(|at| *at <= now) else { continue };
            let listener = parting.listener;
            let door = self.doors.all().iter().find(|door| door.listener == listener);
            let Some(port) = door.map(|door| door.address.port()) else { continue };
            let finds = self.finds_to.clone();
            tokio::task::spawn_blocking(move || {
                let found = Found::Handshakes { listener, looked: now, found: handshakes_on(port) };
                let _task_is_gone = finds.send(found);
            });
        }
    }

    pub(super) fn handshakes_are(&mut self, listener: u64, looked: Duration, found: &HashSet<Handshake>) {
        let Some(parting) = self.partings.iter_mut().find(|parting| parting.listener == listener) else { return };
        let age = looked.saturating_sub(parting.since);
        if age < FINDING {
            parting.begun.extend(found);
        } else {
            parting.begun.retain(|handshake| found.contains(handshake));
        }
        let now = clock::now().mono;
        let is_over = age >= FINDING && parting.begun.is_empty() || age >= LONGEST;
        if is_over {
            return self.close_door(listener, now);
        }
        parting.look_at = Some(now + LOOK_EVERY);
    }

    fn forget_closed_partings(&mut self) {
        let doors = &self.doors;
        self.partings.retain(|parting| doors.all().iter().any(|door| door.listener == parting.listener));
    }
}
