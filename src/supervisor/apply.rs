//! From one configuration to the next: the plan, and carrying it out.

use super::Now;
use super::app::App;
use super::core::Supervisor;
use super::effect::{Effect, Reply};
use super::event::RequestId;
use super::instance::Held;
use super::pending::{Goal, Item, Pending};
use super::rollover;
use crate::api::{EventKind, ExitReason, Plan, PlanAction, PlanStep, Refusal, RefusalCode};
use crate::config::{AppConfig, Config, SupervisorConfig, diff};
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
        let (action, changed) = match before.map(|before| (before, diff(before, app))) {
            None if app.autostart => (PlanAction::Start, Vec::new()),
            None => (PlanAction::Add, Vec::new()),
            Some((_, diff)) if diff.changed.is_empty() => continue,
            Some((before, diff)) => (change_of(before, app, diff.needs_restart), diff.changed),
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

/// What a changed app takes. A run of a job is let finish: its next one has the change.
fn change_of(before: &AppConfig, after: &AppConfig, needs_restart: bool) -> PlanAction {
    match (before.is_job(), after.is_job()) {
        (true, true) => PlanAction::ChangeInPlace,
        (false, false) if !needs_restart => PlanAction::ChangeInPlace,
        (false, false) if after.rolls_over() => PlanAction::Rollover,
        (false, false) | (true, false) | (false, true) => PlanAction::Restart,
    }
}

impl Supervisor {
    pub(super) fn apply(&mut self, id: RequestId, by: &str, new: &Arc<Config>, wait: bool, now: Now) {
        let plan = plan(&self.config, new);
        if let Some(refusal) = self.busy_for(&plan, new, now) {
            return self.push(Effect::Reply { id, reply: Reply::Refused(refusal) });
        }
        let items = plan.steps.iter().filter_map(|step| self.carry_out(step, new, by, now)).collect();
        self.config = new.clone();
        self.order_as_configured();
        self.desired_changed();
        let message = match plan.steps.len() {
            0 => "a configuration that changes no app is applied".to_owned(),
            1 => "a configuration that changes 1 app is applied".to_owned(),
            count => format!("a configuration that changes {count} apps is applied"),
        };
        self.announce(None, EventKind::Applied, Some(by), message);
        if wait {
            return self.pending.push(Pending { id, plan: Some(plan), items });
        }
        self.push(Effect::Reply { id, reply: Reply::Applied { plan, results: Vec::new() } });
    }

    /// What `apply` of this would do, and why it would be refused now if it would be.
    pub fn plan(&self, new: &Config, now: Now) -> (Plan, Option<Refusal>) {
        let plan = plan(&self.config, new);
        let busy = self.busy_for(&plan, new, now);
        (plan, busy)
    }

    /// A second rollover is refused while one is before its swap, and of a configuration nothing is done by halves.
    fn busy_for(&self, plan: &Plan, new: &Config, now: Now) -> Option<Refusal> {
        let under_way = |step: &PlanStep| {
            let i = self.apps.iter().position(|app| app.config.name == step.app)?;
            let config = new.apps.iter().find(|app| app.name == step.app)?;
            self.takes_a_new_process(i, config, step.action).then(|| self.rollover_under_way(i, now))?
        };
        let busy: Vec<String> = plan.steps.iter().filter_map(under_way).map(|refusal| refusal.message).collect();
        (!busy.is_empty()).then(|| {
            Refusal::new(RefusalCode::Busy, busy.join("; "))
                .hint("nothing was changed; when it is over (infissi-ctl list --watch): infissi-ctl apply")
        })
    }

    /// What changes in place may still wait for what an earlier apply that failed was to replace.
    fn takes_a_new_process(&self, i: usize, config: &AppConfig, action: PlanAction) -> bool {
        let app = &self.apps[i];
        action != PlanAction::ChangeInPlace || diff(&app.cast(app.slot).config, config).needs_restart
    }

    fn carry_out(&mut self, step: &PlanStep, new: &Config, by: &str, now: Now) -> Option<Item> {
        let name = &step.app;
        let place = self.apps.iter().position(|app| &app.config.name == name);
        let config = new.apps.iter().find(|app| &app.name == name);
        match (config, place) {
            (Some(config), None) => Some(self.add(config, by, now)),
            (Some(config), Some(i)) if self.apps[i].removed => Some(self.take_back(i, config, by, now)),
            (Some(config), Some(i)) => Some(self.change(i, config, (step.action, by), now)),
            (None, Some(i)) => {
                self.apps[i].removed = true;
                self.want(i, false, by);
                Some(Item::waiting(name, Goal::Stopped { asked: now.mono }))
            }
            (None, None) => None,
        }
    }

    fn change(&mut self, i: usize, config: &Arc<AppConfig>, (action, by): (PlanAction, &str), now: Now) -> Item {
        let name = &config.name;
        let before = self.configure(i, config, now);
        if !self.apps[i].desired {
            self.apps[i].follow(config, now);
            if action != PlanAction::ChangeInPlace {
                self.apps[i].outdate();
            }
            return Item::done(name, "changed; it stays stopped".to_owned());
        }
        if before.is_job() && config.is_job() {
            self.apps[i].follow(config, now);
            self.retry(i);
            return Item::done(name, "changed; its next run has it".to_owned());
        }
        if !self.takes_a_new_process(i, config, action) {
            self.apps[i].follow(config, now);
            self.retry(i);
            if before.instances != config.instances {
                return Item::waiting(name, self.online_goal(i, "resized", now));
            }
            if self.moves_its_port(i, &before, now) {
                return Item::waiting(name, self.online_goal(i, "changed in place", now));
            }
            return Item::done(name, "changed in place".to_owned());
        }
        if self.rolls_over_now(i) {
            let plan = rollover::Plan::again(&self.apps[i], ExitReason::Restart, by);
            let number = self.begin_rollover(i, plan, now);
            return Item::waiting(name, Goal::RolledOver { number, verb: "restarted", asked: now.mono });
        }
        let verb = if self.apps[i].is_at_rest() { "started" } else { "restarted" };
        self.renew(i, ExitReason::Restart);
        self.apps[i].run_now = false;
        Item::waiting(name, self.online_goal(i, verb, now))
    }

    /// Whether the public finds it elsewhere from now on: until that is told to be open, it is not.
    fn moves_its_port(&mut self, i: usize, before: &AppConfig, now: Now) -> bool {
        let app = &mut self.apps[i];
        let listen = |config: &AppConfig| config.proxy.as_ref().map(|proxy| proxy.listen.clone());
        let moves = app.is_open() && listen(before) != listen(&app.config);
        if moves {
            app.port_held = Some(Held { holder: "its public port is not open yet".to_owned(), since: now.mono });
        }
        moves
    }

    /// It was on its way out and is in the configuration again.
    fn take_back(&mut self, i: usize, config: &Arc<AppConfig>, by: &str, now: Now) -> Item {
        self.configure(i, config, now);
        self.apps[i].removed = false;
        self.want(i, config.autostart, by);
        self.renew(i, ExitReason::Restart);
        self.apps[i].run_now = false;
        self.added(i, now)
    }

    /// From now on it has this configuration; returns the one before.
    fn configure(&mut self, i: usize, config: &Arc<AppConfig>, now: Now) -> Arc<AppConfig> {
        let app = &mut self.apps[i];
        let before = std::mem::replace(&mut app.config, config.clone());
        if before.schedule != config.schedule || before.cron_restart != config.cron_restart {
            app.rearm(now);
        }
        self.push(Effect::OpenLogs { app: config.clone() });
        before
    }

    fn add(&mut self, config: &Arc<AppConfig>, by: &str, now: Now) -> Item {
        let mut app = App::new(config.clone(), None, now);
        app.by = by.to_owned();
        self.apps.push(app);
        self.push(Effect::OpenLogs { app: config.clone() });
        self.added(self.apps.len() - 1, now)
    }

    fn added(&self, i: usize, now: Now) -> Item {
        let config = &self.apps[i].config;
        if !config.autostart {
            return Item::done(&config.name, "added; autostart is off".to_owned());
        }
        Item::waiting(&config.name, self.online_goal(i, "started", now))
    }

    /// `list` shows the apps in the order of the files; those that leave come last.
    fn order_as_configured(&mut self) {
        let config = self.config.clone();
        let place = |app: &App| config.apps.iter().position(|other| other.name == app.config.name);
        self.apps.sort_by_key(|app| place(app).unwrap_or(usize::MAX));
    }
}
