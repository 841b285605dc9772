//! Start, stop, restart, reset, signal: what a request changes in what is wanted.

use super::Now;
use super::backoff::Streak;
use super::core::Supervisor;
use super::effect::{Effect, Release, Reply};
use super::event::{RequestId, RunId};
use super::follow::refuse_follower;
use super::instance::{Instance, State, Wait};
use super::pending::{Goal, Item, Pending, no_such_app};
use super::rollover::{Plan, Rollover, opposite};
use super::view::seconds;
use crate::api::{EventKind, ExitReason, Refusal, RefusalCode, Way};
use std::time::Duration;

impl Supervisor {
    pub(super) fn start(&mut self, id: RequestId, by: &str, apps: &[String], wait: bool, now: Now) {
        let items = self.for_each(apps, |core, i| {
            if core.apps[i].is_ready() && !core.apps[i].config.is_job() {
                return Item::done(&core.apps[i].config.name, "was already online".to_owned());
            }
            let name = core.apps[i].config.name.clone();
            core.want(i, true, by);
            core.wake(i);
            core.pull_in_dependencies(i, by);
            core.announce(Some((i, 0)), EventKind::Requested, Some(by), "start requested".to_owned());
            Item::waiting(&name, core.online_goal(i, "started", now))
        });
        self.reply_when_done(id, items, wait);
    }

    pub(super) fn stop(&mut self, id: RequestId, by: &str, apps: &[String], wait: bool, now: Now) {
        let items = self.for_each(apps, |core, i| {
            let name = core.apps[i].config.name.clone();
            let at_rest = core.apps[i].is_at_rest();
            let already = at_rest && !core.apps[i].desired;
            core.want(i, false, by);
            if already {
                return Item::done(&name, "was already stopped".to_owned());
            }
            core.announce(Some((i, 0)), EventKind::Requested, Some(by), "stop requested".to_owned());
            Item::waiting(&name, Goal::Stopped { asked: now.mono })
        });
        self.reply_when_done(id, items, wait);
    }

    pub(super) fn restart(&mut self, id: RequestId, by: &str, apps: &[String], (wait, hard): (bool, bool), now: Now) {
        let items = self.for_each(apps, |core, i| {
            let name = core.apps[i].config.name.clone();
            if let Some(refusal) = core.trial_under_way(i, now) {
                return Item::failed(&name, refusal);
            }
            if core.rolls_over_now(i) && !hard {
                return core.restart_by_rollover(i, by, now);
            }
            let verb = if core.apps[i].is_at_rest() { "started" } else { "restarted" };
            core.want(i, true, by);
            core.pull_in_dependencies(i, by);
            core.renew(i, ExitReason::Restart);
            core.announce(Some((i, 0)), EventKind::Requested, Some(by), "restart requested".to_owned());
            Item::waiting(&name, core.online_goal(i, verb, now))
        });
        self.reply_when_done(id, items, wait);
    }

    fn restart_by_rollover(&mut self, i: usize, by: &str, now: Now) -> Item {
        let name = self.apps[i].config.name.clone();
        let cut = self.apps[i].would_be_cut();
        match self.roll_over(i, ExitReason::Restart, by, now) {
            Err(refusal) => Item::failed(&name, refusal),
            Ok(number) => {
                self.want(i, true, by);
                self.announce(Some((i, 0)), EventKind::Requested, Some(by), "restart requested".to_owned());
                Item::waiting(&name, Goal::RolledOver { number, verb: "restarted", asked: now.mono }).noting(cut)
            }
        }
    }

    /// A restart that nobody waits for.
    pub(super) fn restart_one(&mut self, i: usize, by: &str, reason: ExitReason, now: Now) {
        if !self.rolls_over_now(i) {
            return self.renew(i, reason);
        }
        if let Err(refusal) = self.roll_over(i, reason, by, now) {
            self.announce(Some((i, 0)), EventKind::Skipped, None, refusal.message);
        }
    }

    /// Would a restart lose anything that a rollover keeps?
    pub(super) fn rolls_over_now(&self, i: usize) -> bool {
        // Also one that is asked to stop and serves until its dependents have ended.
        let stays = !self.apps[i].removed && self.shutdown.is_none();
        stays && self.apps[i].config.rolls_over() && self.apps[i].serves()
    }

    /// Nobody serves, but what ran before is going to: it goes on beside what is started.
    fn is_about_to_serve(&self, i: usize) -> bool {
        let app = &self.apps[i];
        let waits = |instance: &Instance| matches!(instance.state, State::Resting { .. } | State::Waiting { .. });
        self.wanted(i) && app.config.rolls_over() && !app.active().any(waits)
    }

    pub(super) fn swap(&mut self, id: RequestId, by: &str, apps: &[String], wait: bool, now: Now) {
        let items = self.for_each(apps, |core, i| {
            let name = core.apps[i].config.name.clone();
            if let Some(refusal) = refuse_follower(&core.apps[i].config) {
                return Item::failed(&name, refusal);
            }
            let warm = core.apps[i].config.deploy.as_ref().map_or(Duration::ZERO, |deploy| deploy.warm);
            let (old, new) = (core.apps[i].slot, opposite(core.apps[i].slot));
            let staged = core.apps[i].rising().filter(|rollover| rollover.staged).cloned();
            core.announce(Some((i, 0)), EventKind::Requested, Some(by), "swap requested".to_owned());
            if let Some(rollover) = staged {
                core.swap_to(i, Rollover { by: by.to_owned(), warm, since: now.mono, ..rollover }, now);
            } else if core.apps[i].is_warm() {
                core.swap_back(i, by, warm, now);
            } else if let Some(refusal) = core.rollover_under_way(i, now) {
                return Item::failed(&name, refusal);
            } else {
                let refusal = Refusal::new(RefusalCode::Busy, format!("{name} has no staged or warm slot to swap to"));
                return Item::failed(&name, refusal.hint(format!("infissi-ctl show {name} tells what its slots do")));
            }
            let then = if warm.is_zero() { String::new() } else { format!("; {old} stays warm for {}", seconds(warm)) };
            Item::done(&name, format!("{new} is active{then}"))
        });
        self.reply_when_done(id, items, wait);
    }

    pub(super) fn activate(
        &mut self,
        id: RequestId,
        by: &str,
        (app, release): (&str, Release),
        (way, wait): (Way, bool),
        now: Now,
    ) {
        let items = self.for_each(&[app.to_owned()], |core, i| {
            let name = core.apps[i].config.name.clone();
            let refusal = refuse_follower(&core.apps[i].config).or_else(|| core.rollover_under_way(i, now));
            if let Some(refusal) = refusal {
                return Item::failed(&name, refusal);
            }
            let stage = way == Way::Staged;
            if stage && !core.rolls_over_now(i) {
                let refusal = Refusal::new(RefusalCode::Busy, format!("{name} has no active slot to stage beside"));
                return Item::failed(&name, refusal.hint("leave out stage: nothing is served that could be disturbed"));
            }
            let what = if stage { "staging" } else { "activation" };
            let message = format!("{what} of release {} requested", release.id);
            core.announce(Some((i, 0)), EventKind::Requested, Some(by), message);
            let beside = core.rolls_over_now(i) || core.is_about_to_serve(i);
            if beside && way != Way::StopFirst {
                let warm = core.apps[i].config.deploy.as_ref().map_or(Duration::ZERO, |deploy| deploy.warm);
                let (release, cut) = (Some(release.clone()), core.apps[i].would_be_cut());
                let plan = Plan { reason: ExitReason::Deploy, by: by.to_owned(), release, stage, warm };
                let number = core.begin_rollover(i, plan, now);
                core.want(i, true, by);
                let verb = if stage { "staged" } else { "activated" };
                return Item::waiting(&name, Goal::RolledOver { number, verb, asked: now.mono }).noting(cut);
            }
            core.begin_trial(i, (&release, way == Way::StopFirst), by, now);
            core.pull_in_dependencies(i, by);
            Item::waiting(&name, core.online_goal(i, "activated", now))
        });
        self.reply_when_done(id, items, wait);
    }

    /// A release that is not active yet: once it is, one can only go back.
    pub(super) fn cancel(&mut self, id: RequestId, by: &str, apps: &[String], now: Now) {
        let items = self.for_each(apps, |core, i| {
            let name = core.apps[i].config.name.clone();
            if core.apps[i].trial.is_some() {
                let what = "end of the activation requested".to_owned();
                core.announce(Some((i, 0)), EventKind::Requested, Some(by), what);
                core.call_off_trial(i, by);
                return Item::done(&name, "what ran before comes back".to_owned());
            }
            if core.apps[i].rising().is_none_or(|rollover| rollover.reason != ExitReason::Deploy) {
                let refusal =
                    Refusal::new(RefusalCode::Busy, format!("{name} goes over to no release that is not active yet"));
                return Item::failed(&name, refusal.hint(format!("go back: infissi-ctl rollback {name}")));
            }
            core.announce(Some((i, 0)), EventKind::Requested, Some(by), "end of the activation requested".to_owned());
            core.fail_rollover(i, &format!("was called off by {by}"), now);
            Item::done(&name, format!("{} goes on untouched", core.apps[i].slot))
        });
        self.reply_when_done(id, items, true);
    }

    pub(super) fn reset(&mut self, id: RequestId, by: &str, apps: &[String]) {
        let items = self.for_each(apps, |core, i| {
            core.apps[i].restarts = 0;
            core.apps[i].retry_streak = 0;
            core.apps[i].retry_at = Duration::ZERO;
            core.retry(i);
            core.announce(Some((i, 0)), EventKind::Requested, Some(by), "reset requested".to_owned());
            Item::done(&core.apps[i].config.name, "counters and backoff are reset".to_owned())
        });
        self.reply_when_done(id, items, true);
    }

    pub(super) fn signal(&mut self, id: RequestId, by: &str, apps: &[String], (signal, called): (i32, &str)) {
        let items = self.for_each(apps, |core, i| {
            let name = core.apps[i].config.name.clone();
            let runs: Vec<RunId> =
                core.apps[i].instances.iter().filter_map(|instance| instance.live().map(|live| live.run)).collect();
            if runs.is_empty() {
                let refusal = Refusal::new(RefusalCode::Failed, format!("{name} does not run"))
                    .hint(format!("infissi-ctl start {name}"));
                return Item::failed(&name, refusal);
            }
            core.announce(Some((i, 0)), EventKind::Requested, Some(by), format!("signal {called} requested"));
            for run in runs {
                core.push(Effect::Signal { run, signal });
            }
            Item::done(&name, format!("{called} is sent"))
        });
        self.reply_when_done(id, items, true);
    }

    /// Replace what runs of this app, or run it if it rests.
    pub(super) fn renew(&mut self, i: usize, reason: ExitReason) {
        self.drop_rising(i, "was overtaken by a restart");
        let app = &mut self.apps[i];
        app.run_now = app.config.is_job();
        let (slot, config) = (app.slot, app.config.clone());
        if let Some(trial) = &mut app.trial {
            trial.before.take_on(&config);
        }
        let newest = (!app.is_at_rest()).then(|| app.next_generation());
        let cast = app.cast_mut(slot);
        cast.replaced_for = reason;
        cast.generation = newest.unwrap_or(cast.generation);
        let had = cast.release.is_some();
        cast.take_on(&config);
        if had && cast.release.is_none() {
            self.desired_changed();
        }
        self.wake(i);
    }

    /// It is to run: what rested because it was done runs again, and so does what is just ending.
    pub(super) fn wake(&mut self, i: usize) {
        for instance in &mut self.apps[i].instances {
            match &mut instance.state {
                State::Resting { done } => *done = false,
                State::Ending { ending, .. } => ending.start_after = true,
                State::Waiting { .. }
                | State::Spawning { .. }
                | State::Starting { .. }
                | State::Online { .. }
                | State::Draining { .. }
                | State::Backoff { .. }
                | State::Errored { .. } => {}
            }
        }
        self.retry(i);
    }

    /// A delay, a failure or a held port no longer holds it back.
    pub(super) fn retry(&mut self, i: usize) {
        for instance in &mut self.apps[i].instances {
            instance.streak = Streak::default();
            let held_back = match &instance.state {
                State::Backoff { .. } | State::Errored { .. } | State::Waiting { wait: Wait::Port { .. }, .. } => true,
                State::Waiting { wait: Wait::Release(_) | Wait::Dependencies(_) | Wait::Schedule, .. }
                | State::Resting { .. }
                | State::Spawning { .. }
                | State::Starting { .. }
                | State::Online { .. }
                | State::Draining { .. }
                | State::Ending { .. } => false,
            };
            if held_back {
                instance.state = State::Resting { done: false };
            }
        }
    }

    pub(super) fn online_goal(&self, i: usize, verb: &'static str, now: Now) -> Goal {
        let app = &self.apps[i];
        Goal::Online { generation: app.cast(app.slot).generation, failures: app.failures, verb, asked: now.mono }
    }

    /// All it needs, directly or not, is to run; what is not ready is tried at once.
    fn pull_in_dependencies(&mut self, i: usize, by: &str) {
        let mut found = vec![i];
        let mut next = 0;
        while next < found.len() {
            let needed = self.apps[found[next]].config.depends_on.clone();
            for name in needed {
                let place = self.apps.iter().position(|app| app.config.name == name);
                let Some(place) = place.filter(|place| !found.contains(place)) else { continue };
                found.push(place);
                if !self.apps[place].desired {
                    self.want(place, true, by);
                }
                if !self.apps[place].is_ready() {
                    self.wake(place);
                }
            }
            next += 1;
        }
    }

    fn for_each(&mut self, apps: &[String], mut act: impl FnMut(&mut Supervisor, usize) -> Item) -> Vec<Item> {
        let mut items = Vec::with_capacity(apps.len());
        for name in apps {
            let place = self.apps.iter().position(|app| &app.config.name == name && !app.removed);
            items.push(match place {
                Some(place) => act(self, place),
                None => Item::failed(name, no_such_app(name)),
            });
        }
        items
    }

    fn reply_when_done(&mut self, id: RequestId, items: Vec<Item>, wait: bool) {
        if wait {
            return self.pending.push(Pending { id, plan: None, items });
        }
        let results = items.into_iter().map(Item::accepted).collect();
        self.push(Effect::Reply { id, reply: Reply::Actions(results) });
    }
}
