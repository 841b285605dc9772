//! The proxy of the world: what is published of each app, what is in flight, who holds a public port.
//!
//! It checks what the public must never find: a run that is not there, was made for another app or is asked to end; a
//! slot that is not the one on the disk; a run that is asked to end before what it has claimed is through.

use super::{Happening, World};
use crate::configs::secs;
use infissi::config::AppConfig;
use infissi::supervisor::{Event, RunId};
use std::sync::Arc;
use std::time::Duration;

/// What the public finds at an app.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Public {
    pub(crate) app: Arc<AppConfig>,
    pub(crate) open: bool,
    pub(crate) active: Vec<RunId>,
    pub(crate) warm: Vec<RunId>,
}

impl World {
    /// Who gets the requests of an app.
    pub(crate) fn active(&self, app: &str) -> Vec<RunId> {
        self.published.get(app).map(|public| public.active.clone()).unwrap_or_default()
    }

    pub(crate) fn warm(&self, app: &str) -> Vec<RunId> {
        self.published.get(app).map(|public| public.warm.clone()).unwrap_or_default()
    }

    pub(crate) fn is_open(&self, app: &str) -> bool {
        self.published.get(app).is_some_and(|public| public.open)
    }

    /// Does a tree of the app run that is not behind the proxy?
    pub(crate) fn binds_itself(&self, app: &str) -> bool {
        self.trees.values().any(|tree| tree.app == app && tree.exists() && tree.since.is_some() && !tree.proxied)
    }

    /// When the run's drain began, and when it was asked to end.
    pub(crate) fn drain_of(&self, run: RunId) -> Duration {
        self.trees[&run].drained.unwrap_or_else(|| panic!("never drained\n{}", self.story()))
    }

    pub(super) fn publish(&mut self, public: Public) {
        let name = public.app.name.clone();
        let before = self.published.get(&name).cloned();
        assert_ne!(before.as_ref(), Some(&public), "published without a change");
        let mut slots = Vec::new();
        for run in public.active.iter().chain(&public.warm) {
            let tree = self.trees.get_mut(run).unwrap_or_else(|| panic!("{run} never was"));
            assert_eq!(tree.app, name, "{run} was made for another app");
            assert!(tree.since.is_some() && tree.exists(), "{run} is not there");
            assert!(tree.proxied, "{run} has no private port");
            assert!(!tree.asked, "{run} is asked to end");
            assert!(tree.drained.is_none() && !tree.cut, "{run} left the routes before");
            tree.served = true;
            slots.push(tree.slot);
        }
        let (active, warm) = slots.split_at(public.active.len());
        assert!(active.iter().all(|slot| Some(slot) == active.first()), "two slots are active");
        assert!(!warm.iter().any(|slot| active.contains(slot)), "a slot is active and warm");
        let on_disk = self.kept.get(&name).map(|kept| kept.slot);
        let saved = on_disk.is_none() || active.iter().all(|slot| Some(*slot) == on_disk);
        assert!(saved || !public.app.rolls_over(), "swapped before it was saved\n{}", self.story());
        self.note_gap(before.as_ref(), &public);
        if public.open {
            let same_places = |before: &Public| {
                before.open
                    && before.app.proxy.as_ref().map(|p| &p.listen) == public.app.proxy.as_ref().map(|p| &p.listen)
            };
            if !before.is_some_and(|before| same_places(&before)) {
                self.later(Duration::ZERO, Happening::Binds(name.clone()));
            }
        }
        self.published.insert(name.clone(), public.clone());
        self.publishes.push((self.mono, name, public));
    }

    pub(super) fn note_gap(&mut self, before: Option<&Public>, public: &Public) {
        let Some(before) = before.filter(|before| before.open && public.open && public.active.is_empty()) else {
            return;
        };
        let may_serve = |run: &RunId| self.trees[run].leader && !self.trees[run].endangers;
        if before.active.iter().any(may_serve) {
            self.gaps.push((self.mono, public.app.name.clone()));
        }
    }

    /// What is published is what is there, after each event.
    pub(super) fn check_published(&self) {
        for public in self.published.values() {
            for run in public.active.iter().chain(&public.warm) {
                let tree = &self.trees[run];
                assert!(tree.leader && !tree.asked, "{run} is published and not there\n{}", self.story());
            }
        }
    }

    /// The public addresses are bound, or somebody else has one.
    pub(super) fn binds(&mut self, app: String) {
        let Some(public) = self.published.get(&app).filter(|public| public.open) else { return };
        let listen = public.app.proxy.as_ref().map(|proxy| proxy.listen.clone()).unwrap_or_default();
        let own = |port: u16| {
            let holder = self.trees.values().find(|tree| tree.exists() && tree.port == Some(port));
            holder.map(|tree| format!("port {port} is held by {} itself", tree.app))
        };
        let holder = listen.iter().find_map(|at| self.ports.get(&at.port()).cloned().or_else(|| own(at.port())));
        match holder {
            Some(holder) => {
                self.later(secs(1), Happening::Binds(app.clone()));
                self.tell(Event::PortHeld { app, holder });
            }
            None => self.tell(Event::PortOpen { app }),
        }
    }

    pub(super) fn drain(&mut self, run: RunId) {
        let published =
            self.published.values().any(|public| public.active.contains(&run) || public.warm.contains(&run));
        assert!(!published, "{run} is drained while it is published");
        let tree = self.trees.get_mut(&run).unwrap();
        assert_eq!(tree.drained.replace(self.mono), None, "{run} is drained twice");
        self.drains.push((self.mono, run));
        if tree.script.untold {
            return;
        }
        let (requests, streams) = (tree.script.requests, tree.script.streams);
        for at in [Duration::ZERO, requests, streams] {
            self.later(at, Happening::Drains(run));
        }
    }

    pub(super) fn tells_in_flight(&mut self, run: RunId) {
        let tree = self.trees.get_mut(&run).unwrap();
        let elapsed = self.mono - tree.drained.unwrap_or(self.mono);
        let (requests, streams) = tree.left(elapsed);
        if tree.in_flight != Some((requests, streams)) {
            tree.in_flight = Some((requests, streams));
            self.tell(Event::InFlight { run, requests, streams });
        }
    }

    pub(super) fn cut(&mut self, run: RunId) {
        let tree = self.trees.get_mut(&run).unwrap();
        tree.cut = true;
        let elapsed = tree.drained.map(|since| self.mono - since).unwrap_or_default();
        let left = if tree.served { tree.left(elapsed) } else { (0, 0) };
        if left != (0, 0) {
            self.cuts.push((self.mono, run, left));
        }
    }

    /// Nobody is asked to end who is published, nor before what it has claimed is through or was cut off.
    pub(super) fn check_gentle(&mut self, run: RunId) {
        let published =
            self.published.values().any(|public| public.active.contains(&run) || public.warm.contains(&run));
        assert!(!published, "{run} is asked to end while it is published\n{}", self.story());
        let tree = &self.trees[&run];
        let through = tree.in_flight == Some((0, 0));
        let gentle = tree.asked || !tree.served || !tree.leader || through || tree.cut || tree.endangers;
        assert!(gentle, "{run} is asked to end with what it has claimed\n{}", self.story());
    }

    /// What the world says that excuses what follows.
    pub(super) fn note(&mut self, event: &Event) {
        let Event::MemorySampled { run, bytes, available } = event else { return };
        let Some(tree) = self.trees.get_mut(run) else { return };
        let now = self.core.config().app(&tree.app).and_then(|app| app.max_memory_restart);
        for limit in [tree.limit, now].into_iter().flatten() {
            tree.endangers |= *bytes > limit && (*bytes > limit + limit / 2 || *available < limit / 2);
        }
    }

    /// Says what nobody asked for of some run: late, again, or of another time.
    pub(crate) fn mutter(&mut self, pick: usize, count: u64) {
        let Some(run) = self.trees.keys().nth(pick % self.trees.len().max(1)).copied() else { return };
        self.answers(run, count * 10, count);
        let tree = &self.trees[&run];
        // Of one that drains the proxy says the truth, though twice.
        if tree.drained.is_none() || tree.in_flight.is_some() {
            let (requests, streams) = tree.in_flight.unwrap_or((count % 2, count % 3));
            self.tell(Event::InFlight { run, requests, streams });
        }
    }
}
