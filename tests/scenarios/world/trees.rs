//! The process trees of the world: they start, end, answer and grow as their scripts say.

use super::{Happening, Spawned, World};
use crate::configs::{MIB, ms, secs};
use crate::script::{Script, Tree, killed_by};
use infissi::api::Slot;
use infissi::config::AppConfig;
use infissi::supervisor::{Check, Event, LeaderExit, Release, RunId, SpawnRefusal};
use std::time::Duration;

impl World {
    /// From now on everything behaves: no port is held, what runs obeys, and so does what will.
    pub(crate) fn calm(&mut self) {
        self.ports.clear();
        self.scripts.clear();
        for tree in self.trees.values_mut() {
            tree.script = Script { leftovers: tree.script.leftovers.map(|_| Some(ms(10))), ..Script::good() };
        }
        for app in self.published.keys().cloned().collect::<Vec<_>>() {
            self.later(Duration::ZERO, Happening::Binds(app));
        }
    }

    /// Says once more what was already said of some run, in another way where there is one.
    pub(crate) fn echo(&mut self, pick: usize) {
        let Some((run, tree)) = self.trees.iter().nth(pick % self.trees.len().max(1)) else { return };
        let run = *run;
        let (spawned, ended, empty) = (tree.since.is_some(), !tree.leader, tree.announced_empty);
        if spawned {
            self.tell(Event::Spawned { run, pid: 7 });
        }
        if spawned && ended {
            self.tell(Event::Exited { run, exit: LeaderExit::UNKNOWN });
        }
        if empty {
            self.tell(Event::TreeEmpty { run });
        }
        if spawned || ended {
            self.tell(Event::SpawnRefused { run, refusal: SpawnRefusal::Failed { reason: "late".to_owned() } });
            self.tell(Event::SpawnRefused { run, refusal: SpawnRefusal::PortHeld { holder: "late".to_owned() } });
        }
    }

    pub(super) fn spawn(&mut self, run: RunId, app: &AppConfig, (slot, index): (Slot, u16), release: Option<Release>) {
        assert_eq!(self.exits, 0, "spawned after its end");
        assert!(self.logs_open.contains(&app.name), "spawned before its logs were open");
        let now = self.core.config().app(&app.name);
        let twice = now.map_or(app.rolls_over(), |now| now.rolls_over());
        let rival = self.trees.values().find(|tree| {
            let beside = twice && tree.slot != slot;
            tree.app == app.name && tree.index == index && tree.exists() && !beside
        });
        assert!(rival.is_none(), "spawned beside {rival:?}");
        let scripts = self.scripts.entry(app.name.clone()).or_default();
        let script = if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() };
        let script = script.unwrap_or_else(Script::good);
        let release = release.map(|release| release.id);
        self.spawns.push(Spawned {
            at: self.mono,
            app: app.name.clone(),
            slot,
            index,
            run,
            command: app.command.clone(),
            release: release.clone(),
        });
        self.later(script.spawn_takes, Happening::Enters(run));
        let tree = Tree {
            app: app.name.clone(),
            slot,
            index,
            release,
            made_by: app.fingerprint(),
            script,
            proxied: app.proxy.is_some(),
            port: app.port.filter(|_| app.proxy.is_none()),
            limit: app.max_memory_restart,
            served: false,
            drained: None,
            in_flight: None,
            cut: false,
            endangers: false,
            since: None,
            leader: true,
            leftovers: false,
            announced_empty: false,
            asked: false,
        };
        assert!(self.trees.insert(run, tree).is_none(), "a run's number is used twice");
    }

    /// A worker that runs from another app's release runs from the one that is active there, or is on its way out; where
    /// it has to wait for its dependents to end, they are.
    pub(super) fn check_followed(&self) {
        for app in &self.core.config().apps {
            // One that is no longer configured may have needed it.
            let needs =
                |name: &str| self.core.config().app(name).is_none_or(|other| other.depends_on.contains(&app.name));
            let is_known = |tree: &Tree| tree.leader || (tree.since.is_some() && !tree.announced_empty);
            let waits = self.trees.values().any(|tree| is_known(tree) && needs(&tree.app));
            assert!(waits || !self.is_astray(app), "{} is not where its leader is\n{}", app.name, self.story());
        }
    }

    /// Does it run from another release than the active one of the app that it is to follow?
    pub(crate) fn is_astray(&self, app: &AppConfig) -> bool {
        let Some(of) = app.release_of.as_ref().filter(|_| !app.is_job()) else { return false };
        let live = self.core.release(&of.app).map(|release| &release.id);
        let at_work = |tree: &&Tree| tree.app == app.name && tree.leader && !tree.asked && tree.since.is_some();
        self.trees.values().filter(at_work).any(|tree| !tree.proxied && tree.release.as_ref() != live)
    }

    pub(super) fn stop_tree(&mut self, run: RunId) {
        let tree = self.trees.get_mut(&run).unwrap();
        self.stops.push((self.mono, tree.app.clone()));
        assert!(tree.since.is_some(), "stopped before it was spawned");
        if std::mem::replace(&mut tree.asked, true) {
            return;
        }
        if tree.leader {
            if let Some(takes) = tree.script.obeys {
                let exit = tree.script.obeys_with.clone();
                self.later(takes, Happening::LeaderEnds(run, exit));
            }
        } else if tree.leftovers {
            if let Some(Some(takes)) = tree.script.leftovers {
                self.later(takes, Happening::LeftoversEnd(run));
            }
        } else {
            self.later(Duration::ZERO, Happening::Empty(run));
        }
    }

    pub(super) fn kill_tree(&mut self, run: RunId) {
        self.kills.push((self.mono, run));
        let Some(tree) = self.trees.get_mut(&run) else { return };
        if tree.script.survives > 0 {
            tree.script.survives -= 1;
            return;
        }
        tree.script.leftovers = None;
        if tree.leader {
            self.later(ms(1), Happening::LeaderEnds(run, killed_by("SIGKILL")));
        } else {
            self.later(ms(1), Happening::LeftoversEnd(run));
        }
    }

    pub(super) fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Begins => self.tell(Event::Began),
            Happening::Enters(run) => self.enters(run),
            Happening::LeaderEnds(run, exit) => {
                let tree = self.trees.get_mut(&run).unwrap();
                if !std::mem::replace(&mut tree.leader, false) {
                    return;
                }
                let leftovers = tree.script.leftovers;
                tree.leftovers = leftovers.is_some();
                let asked = tree.asked;
                if tree.leftovers {
                    // They were asked with their leader.
                    if let (true, Some(Some(takes))) = (asked, leftovers) {
                        self.later(takes, Happening::LeftoversEnd(run));
                    }
                } else {
                    self.later(Duration::ZERO, Happening::Empty(run));
                }
                self.tell(Event::Exited { run, exit });
            }
            Happening::LeftoversEnd(run) => {
                self.trees.get_mut(&run).unwrap().leftovers = false;
                self.happens(Happening::Empty(run));
            }
            Happening::Empty(run) => {
                let tree = self.trees.get_mut(&run).unwrap();
                if !tree.exists() && !std::mem::replace(&mut tree.announced_empty, true) {
                    self.tell(Event::TreeEmpty { run });
                }
            }
            Happening::Answers(run, check) => {
                let tree = &self.trees[&run];
                let age = tree.since.map(|since| self.mono - since).unwrap_or_default();
                let listens = tree.leader && tree.script.ready.is_some_and(|ready| ready <= age);
                let well = matches!(check, Check::Port(_)) || tree.script.sick.is_none_or(|sick| age < sick);
                let good = listens && well;
                let outcome = if good { Ok(()) } else { Err("connection refused".to_owned()) };
                self.tell(Event::Probed { run, outcome });
            }
            Happening::Binds(app) => self.binds(app),
            Happening::Drains(run) => self.tells_in_flight(run),
            Happening::Sampled(run) => {
                let tree = &self.trees[&run];
                if !tree.exists() {
                    return;
                }
                let age = self.mono - tree.since.unwrap();
                let bytes = 50 * MIB + tree.script.leaks * age.as_secs();
                self.later(secs(1), Happening::Sampled(run));
                self.tell(Event::MemorySampled { run, bytes, available: u64::MAX });
            }
        }
    }

    fn enters(&mut self, run: RunId) {
        let tree = self.trees.get_mut(&run).unwrap();
        let holder = tree.port.and_then(|port| self.ports.get(&port)).cloned();
        let refusal = match (holder, &tree.script.refused) {
            (Some(holder), _) => Some(SpawnRefusal::PortHeld { holder }),
            (None, Some(reason)) => Some(SpawnRefusal::Failed { reason: reason.clone() }),
            (None, None) => None,
        };
        if let Some(refusal) = refusal {
            tree.leader = false;
            tree.announced_empty = true;
            return self.tell(Event::SpawnRefused { run, refusal });
        }
        tree.since = Some(self.mono);
        let (ends, leaks) = (tree.script.ends.clone(), tree.script.leaks);
        if let Some((after, exit)) = ends {
            self.later(after, Happening::LeaderEnds(run, exit));
        }
        if leaks > 0 {
            self.later(secs(1), Happening::Sampled(run));
        }
        let pid = i32::try_from(4000 + run.0).unwrap();
        self.tell(Event::Spawned { run, pid });
    }
}
