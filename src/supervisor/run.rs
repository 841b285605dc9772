//! What the world says of a run, from its spawn to its last process, and what follows from it.

use super::Now;
use super::backoff::{End, Next, Streak, may_rest};
use super::core::{Place, Supervisor};
use super::effect::Effect;
use super::event::{LeaderExit, RunId, SpawnRefusal};
use super::heal::complaint;
use super::health::{Verdict, Watch, good_needed};
use super::instance::{Cause, Due, Ending, Held, Live, State, Wait};
use super::roles::Role;
use super::view::seconds;
use crate::api::{EventKind, ExitReason, LastExit};
use std::time::Duration;

/// How often a held port is looked at again.
const PORT_RETRY: Duration = Duration::from_secs(1);

impl Supervisor {
    pub(super) fn spawned(&mut self, run: RunId, pid: i32, now: Now) {
        let Some(place) = self.place_of(run) else {
            return self.push(Effect::Kill { run });
        };
        let app = &self.apps[place.0];
        let config = app.config_of(&app.instances[place.1]).clone();
        let instance = self.instance_mut(place);
        let State::Spawning { generation, proxied, release, .. } = &mut instance.state else { return };
        let (generation, proxied, release) = (*generation, *proxied, release.take());
        let live = Live { run, pid, generation, spawned: now.mono, proxied, release };
        instance.held = None;
        instance.streak.spawned();
        instance.state = State::Starting { live, watch: Watch::starting(&config, now), due: Due::of(&config, now) };
        self.announce(Some(place), EventKind::Started, None, format!("started, pid {pid}"));
    }

    pub(super) fn spawn_refused(&mut self, run: RunId, refusal: SpawnRefusal, now: Now) {
        let Some(place) = self.place_of(run) else { return };
        let State::Spawning { generation, .. } = self.instance_mut(place).state else { return };
        let app = &mut self.apps[place.0];
        app.run_now = app.desired && app.config.is_job();
        match refusal {
            SpawnRefusal::PortHeld { holder } => self.port_held(place, holder, now),
            SpawnRefusal::Failed { reason } => self.spawn_failed(place, generation, reason, now),
        }
    }

    fn port_held(&mut self, place: Place, holder: String, now: Now) {
        let instance = self.instance_mut(place);
        let since = instance.held.as_ref().map_or(now.mono, |held| held.since);
        let news = instance.held.as_ref().is_none_or(|held| held.holder != holder);
        instance.held = Some(Held { holder: holder.clone(), since });
        instance.state = State::Waiting { wait: Wait::Port { retry_at: now.mono + PORT_RETRY }, since };
        if news {
            self.announce(Some(place), EventKind::PortHeld, None, holder);
        }
    }

    fn spawn_failed(&mut self, place: Place, generation: u64, reason: String, now: Now) {
        let config = self.apps[place.0].config.clone();
        let (app, role) = (&self.apps[place.0], self.role(place));
        let overtaken = generation < app.cast(app.instances[place.1].slot).generation;
        if role != Role::Active {
            self.instance_mut(place).state = State::Resting { done: false };
            if role == Role::Rising && !overtaken {
                self.fail_rollover(place.0, &format!("could not be started: {reason}"), now);
            }
            return;
        }
        let instance = self.instance_mut(place);
        let exit = LastExit {
            code: None,
            signal: None,
            reason: ExitReason::SpawnFailed,
            at: now.wall,
            detail: Some(reason.clone()),
        };
        let news = instance.last_exit.as_ref().and_then(|last| last.detail.as_ref()) != Some(&reason);
        instance.held = None;
        instance.last_exit = Some(exit.clone());
        let retry_at = Some(now.mono + instance.streak.refused(&config));
        instance.state = State::Errored { reason: reason.clone(), retry_at };
        let app = &mut self.apps[place.0];
        app.failed(generation, format!("could not be started: {reason}"));
        if news {
            app.remember(exit);
            self.announce(Some(place), EventKind::Errored, None, reason);
        }
    }

    pub(super) fn exited(&mut self, run: RunId, exit: LeaderExit, now: Now) {
        let Some(place) = self.place_of(run) else { return };
        let config = self.apps[place.0].config.clone();
        match &mut self.instance_mut(place).state {
            State::Ending { ending, .. } => {
                ending.leader.get_or_insert(exit);
            }
            State::Draining { drain, .. } => {
                let cause = drain.cause.clone();
                self.end(place, cause, Some(exit), now);
            }
            State::Starting { .. } | State::Online { .. } => {
                let said = exit.to_string();
                let failed = !may_rest(&exit, &config);
                let role = self.role(place);
                if failed && role == Role::Active {
                    self.note_failure(place, said.clone());
                }
                self.end(place, Cause::Itself, Some(exit), now);
                self.announce(Some(place), EventKind::Exited, None, said.clone());
                match role {
                    // Also one that may rest: its predecessor serves, and it does not.
                    Role::Active if self.apps[place.0].is_warm() => self.flip_back(place.0, &said, now),
                    Role::Active => {}
                    Role::Rising => self.fail_rollover(place.0, &said, now),
                    Role::Retiring => self.retire(place.0),
                }
            }
            State::Resting { .. }
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => {}
        }
    }

    pub(super) fn probed(&mut self, run: RunId, outcome: Result<(), String>, now: Now) {
        let Some(place) = self.place_of(run) else { return };
        let app = &self.apps[place.0];
        let config = app.config_of(&app.instances[place.1]).clone();
        let instance = self.instance_mut(place);
        if let Err(failure) = &outcome {
            instance.probe_failure = Some(failure.clone());
        }
        let (role, serves) = (self.role(place), self.apps[place.0].serves());
        let instance = self.instance_mut(place);
        // Requests are held: the first good answer is enough.
        let good = if role == Role::Rising && !serves { 1 } else { good_needed(&config) };
        let bad = config.health.unhealthy;
        match &mut instance.state {
            State::Starting { live, watch, .. } => {
                // How long it may stay without a good answer is start_timeout's to say.
                if watch.answer(outcome, (good, u32::MAX)) == Verdict::BecameHealthy {
                    let (live, watch) = (live.clone(), watch.clone());
                    self.online(place, live, watch, now);
                }
            }
            State::Online { watch, .. } => match watch.answer(outcome, (good, bad)) {
                Verdict::Unchanged => {}
                Verdict::BecameHealthy => {
                    self.recovered(place);
                    self.announce(Some(place), EventKind::Health, None, "is healthy".to_owned());
                }
                Verdict::BecameUnhealthy => {
                    let detail = complaint(&config, instance);
                    self.sick(place, detail, now);
                }
            },
            State::Resting { .. }
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Draining { .. }
            | State::Ending { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => {}
        }
    }

    pub(super) fn tree_empty(&mut self, run: RunId, now: Now) {
        let Some(place) = self.place_of(run) else { return };
        let state = &self.instance_mut(place).state;
        if state.is_running() || matches!(state, State::Draining { .. }) {
            self.exited(run, LeaderExit::UNKNOWN, now);
        }
        let State::Ending { live, ending } = self.instance_mut(place).state.clone() else { return };
        self.ended(place, &live, &ending, now);
    }

    /// Its last process is gone: write it into the books and decide what follows.
    fn ended(&mut self, place: Place, live: &Live, ending: &Ending, now: Now) {
        let wanted = self.wants(place);
        let active = self.role(place) == Role::Active;
        let app = &mut self.apps[place.0];
        let exit = ending.record(now.wall);
        app.remember(exit.clone());
        let outdated = live.generation < app.cast(app.instances[place.1].slot).generation;
        let asked = matches!(ending.cause, Cause::Asked(_));
        let by_plan = asked || ending.start_after || outdated || !wanted || !active || app.config.is_job();
        app.instances[place.1].last_exit = Some(exit);
        if by_plan {
            let message = match ending.cause {
                Cause::Itself => "its last process is gone".to_owned(),
                Cause::Asked(_) | Cause::Replaced(..) => {
                    format!("stopped in {}", seconds(now.mono.saturating_sub(ending.since)))
                }
            };
            self.announce(Some(place), EventKind::Stopped, None, message);
            let instance = self.instance_mut(place);
            instance.streak = Streak::default();
            instance.state = State::Resting { done: false };
            return;
        }
        self.ended_unplanned(place, ending, now);
    }

    fn ended_unplanned(&mut self, place: Place, ending: &Ending, now: Now) {
        let config = self.apps[place.0].config.clone();
        let why = ending.why();
        let end = match (&ending.cause, &ending.leader) {
            (Cause::Itself, Some(exit)) => End::Itself(exit),
            (Cause::Itself, None) | (Cause::Replaced(..) | Cause::Asked(_), _) => End::Replaced,
        };
        let instance = self.instance_mut(place);
        let (state, kind, message) = match instance.streak.after(end, &why, ending.online_for, &config) {
            Next::Rest => (
                State::Resting { done: true },
                EventKind::Stopped,
                "ended as it may and rests until it is started".to_owned(),
            ),
            Next::GiveUp { reason } => {
                (State::Errored { reason: reason.clone(), retry_at: None }, EventKind::Errored, reason)
            }
            Next::Restart { after } => {
                self.apps[place.0].restarts += 1;
                if after.is_zero() {
                    self.instance_mut(place).state = State::Resting { done: false };
                    return;
                }
                let reason = format!("{why}; starts again after {}", seconds(after));
                (State::Backoff { until: now.mono + after, reason: reason.clone() }, EventKind::Backoff, reason)
            }
        };
        self.instance_mut(place).state = state;
        self.announce(Some(place), kind, None, message);
    }

    /// It is ready.
    pub(super) fn online(&mut self, place: Place, live: Live, watch: Watch, now: Now) {
        let app = &self.apps[place.0];
        let config = app.config_of(&app.instances[place.1]).clone();
        let took = seconds(now.mono.saturating_sub(live.spawned));
        let proven = !app.is_beyond_help();
        let instance = self.instance_mut(place);
        instance.probe_failure = None;
        instance.state = State::Online { live, watch: watch.online(&config, proven, now), since: now.mono };
        if !config.is_job() {
            self.announce(Some(place), EventKind::Online, None, format!("online after {took}"));
        }
    }
}
