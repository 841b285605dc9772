//! From one configuration to the next: the plan, and carrying it out.

use super::Now;
use super::app::App;
use super::core::Supervisor;
use super::effect::{Effect, Reply};
use super::event::RequestId;
use super::instance::State;
use super::pending::{Goal, Item, Pending};
use crate::api::{EventKind, ExitReason, Plan, PlanAction, PlanStep};
use crate::config::{Config, SupervisorConfig, diff};
use std::sync::Arc;

/// What `apply` of `new` over `old` would do.
pub fn plan(old: &Config, new: &Config) -> Plan {
    let mut steps = Vec::new();
    for app in &old.apps {
        if !new.apps.iter().any(|other| other.name == app.name) {
            steps.push(PlanStep { app: app.name.clone(), action: PlanAction::Stop, changed: Vec::new() });
        }
    }
    for app in &new.apps {
        let before = old.apps.iter().find(|other| other.name == app.name);
        let (action, changed) = match before.map(|before| diff(before, app)) {
            None if app.autostart => (PlanAction::Start, Vec::new()),
            None => (PlanAction::Add, Vec::new()),
            Some(diff) if diff.changed.is_empty() => continue,
            Some(diff) if diff.needs_restart => (PlanAction::Restart, diff.changed),
            Some(diff) => (PlanAction::ChangeInPlace, diff.changed),
        };
        steps.push(PlanStep { app: app.name.clone(), action, changed });
    }
    Plan { steps, needs_supervisor_restart: for_the_next_start(&old.supervisor, &new.supervisor) }
}

/// The keys that differ and are read only when a supervisor starts.
fn for_the_next_start(old: &SupervisorConfig, new: &SupervisorConfig) -> Vec<String> {
    let keys = [
        ("runtime_dir", old.runtime_dir != new.runtime_dir),
        ("state_dir", old.state_dir != new.state_dir),
        ("log_dir", old.log_dir != new.log_dir),
        ("metrics", old.metrics != new.metrics),
        ("log", old.log != new.log),
    ];
    keys.iter().filter(|(_, differs)| *differs).map(|(key, _)| format!("supervisor.{key}")).collect()
}

impl Supervisor {
    pub(super) fn apply(&mut self, id: RequestId, by: &str, new: &Arc<Config>, wait: bool, now: Now) {
        let plan = plan(&self.config, new);
        let items = plan.steps.iter().filter_map(|step| self.carry_out(step, new, by, now)).collect();
        self.config = new.clone();
        self.order_as_configured();
        self.desired_changed();
        let message = format!("a configuration with {} changed apps is applied", plan.steps.len());
        self.announce(None, EventKind::Applied, Some(by), message);
        if wait {
            return self.pending.push(Pending { id, plan: Some(plan), items });
        }
        self.push(Effect::Reply { id, reply: Reply::Applied { plan, results: Vec::new() } });
    }

    fn carry_out(&mut self, step: &PlanStep, new: &Config, by: &str, now: Now) -> Option<Item> {
        let name = &step.app;
        let place = self.apps.iter().position(|app| &app.config.name == name);
        let config = new.apps.iter().find(|app| &app.name == name);
        let (Some(config), Some(i)) = (config, place) else {
            return match (config, place) {
                (Some(config), None) => self.add(config, by, now),
                (None, Some(i)) => {
                    self.apps[i].removed = true;
                    self.want(i, false, by);
                    Some(Item::waiting(name, Goal::Stopped { asked: now.mono }))
                }
                (None, None) | (Some(_), Some(_)) => None,
            };
        };
        let back = std::mem::take(&mut self.apps[i].removed);
        if back {
            self.want(i, config.autostart, by);
        }
        self.apps[i].config = config.clone();
        self.apps[i].rearm(now);
        self.push(Effect::OpenLogs { app: config.clone() });
        for instance in &mut self.apps[i].instances {
            if let State::Online { watch, .. } = &mut instance.state {
                watch.rearm(config, now);
            }
        }
        if !self.apps[i].desired {
            return Some(Item::done(name, "changed; it stays stopped".to_owned()));
        }
        if step.action == PlanAction::ChangeInPlace && !back {
            self.wake_errored(i);
            return Some(Item::done(name, "changed in place".to_owned()));
        }
        self.renew(i, ExitReason::Restart);
        self.apps[i].run_now = false;
        Some(Item::waiting(name, self.online_goal(i, "restarted", now)))
    }

    fn add(&mut self, config: &Arc<crate::config::AppConfig>, by: &str, now: Now) -> Option<Item> {
        let mut app = App::new(config.clone(), config.autostart, now);
        app.by = by.to_owned();
        self.apps.push(app);
        self.push(Effect::OpenLogs { app: config.clone() });
        let name = &config.name;
        if !config.autostart {
            return Some(Item::done(name, "added; autostart is off".to_owned()));
        }
        Some(Item::waiting(name, self.online_goal(self.apps.len() - 1, "started", now)))
    }

    /// What could not start may be able to now; what rests because it was done goes on resting.
    fn wake_errored(&mut self, i: usize) {
        for instance in &mut self.apps[i].instances {
            if matches!(instance.state, State::Errored { .. }) {
                instance.state = State::Resting { done: false };
            }
        }
    }

    /// `list` shows the apps in the order of the files; those that leave come last.
    fn order_as_configured(&mut self) {
        let config = self.config.clone();
        let place = |app: &App| config.apps.iter().position(|other| other.name == app.config.name);
        self.apps.sort_by_key(|app| place(app).unwrap_or(usize::MAX));
    }
}
