//! Who waits for what, and when the answer is due.

use super::Now;
use super::app::App;
use super::core::Supervisor;
use super::effect::{Effect, Reply};
use super::event::RequestId;
use super::instance::{Instance, State, Wait};
use super::rollover::Outcome;
use super::shutdown::shutting_down;
use super::view::seconds;
use crate::api::{ActionResult, Plan, Refusal, RefusalCode};
use std::time::Duration;

/// One request whose reply waits until each of its apps is where it should be.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) id: RequestId,
    /// The plan that an `apply` carries out.
    pub(super) plan: Option<Plan>,
    pub(super) items: Vec<Item>,
}

#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) app: String,
    goal: Option<Goal>,
    /// What it did at once, to be told when it is done.
    note: Option<String>,
    pub(super) done: Option<ActionResult>,
}

#[derive(Debug, Clone)]
pub(super) enum Goal {
    /// Online in this generation, without a failure beyond those counted so far.
    Online { generation: u64, failures: u64, verb: &'static str, asked: Duration },
    /// The rollover of this number is through, and what it replaced is gone.
    RolledOver { number: u64, verb: &'static str, asked: Duration },
    /// No process left.
    Stopped { asked: Duration },
}

impl Item {
    pub(super) fn waiting(app: &str, goal: Goal) -> Item {
        Item { app: app.to_owned(), goal: Some(goal), note: None, done: None }
    }

    pub(super) fn noting(self, note: Option<String>) -> Item {
        Item { note, ..self }
    }

    /// With what it did at once. A failure has other things to say.
    fn told(&self, result: ActionResult) -> ActionResult {
        match self.note.as_ref().filter(|_| result.error.is_none()) {
            Some(note) => ActionResult { message: format!("{}; {note}", result.message), ..result },
            None => result,
        }
    }

    /// For who does not wait.
    pub(super) fn accepted(self) -> ActionResult {
        let accepted = || result(&self.app, "accepted; it goes on by itself".to_owned(), None);
        self.done.clone().unwrap_or_else(|| self.told(accepted()))
    }

    pub(super) fn done(app: &str, message: String) -> Item {
        Item { app: app.to_owned(), goal: None, note: None, done: Some(result(app, message, None)) }
    }

    pub(super) fn failed(app: &str, refusal: Refusal) -> Item {
        Item { app: app.to_owned(), goal: None, note: None, done: Some(failed(app, refusal)) }
    }
}

impl Pending {
    /// When one of them has waited too long for something outside.
    pub(super) fn deadline(&self, apps: &[App]) -> Option<Duration> {
        let open = self.items.iter().filter(|item| item.done.is_none());
        let ends = |item: &Item| {
            let app = apps.iter().find(|app| app.config.name == item.app)?;
            match item.goal.as_ref()? {
                Goal::Online { asked, .. } | Goal::RolledOver { asked, .. } => patience_ends(app, *asked),
                Goal::Stopped { .. } => None,
            }
        };
        open.filter_map(ends).min()
    }
}

impl Supervisor {
    /// Look at every open request; answer those that are through.
    pub(super) fn settle(&mut self, now: Now) {
        let mut pending = std::mem::take(&mut self.pending);
        for request in &mut pending {
            for item in &mut request.items {
                let Some(goal) = item.goal.as_ref().filter(|_| item.done.is_none()) else { continue };
                let result = self.outcome(&item.app, goal, now);
                item.done = result.map(|result| item.told(result));
            }
        }
        let (through, open): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|request| request.items.iter().all(|item| item.done.is_some()));
        self.pending = open;
        for request in through {
            let results = request.items.into_iter().filter_map(|item| item.done).collect();
            let reply = match request.plan {
                Some(plan) => Reply::Applied { plan, results },
                None => Reply::Actions(results),
            };
            self.push(Effect::Reply { id: request.id, reply });
        }
    }

    fn outcome(&self, name: &str, goal: &Goal, now: Now) -> Option<ActionResult> {
        let app = self.app(name);
        match (goal, app) {
            (Goal::Stopped { asked }, None) => Some(stopped(name, *asked, now)),
            (Goal::Online { .. } | Goal::RolledOver { .. }, None) => {
                Some(overtaken(name, "removed from the configuration".to_owned()))
            }
            (Goal::Stopped { asked }, Some(app)) => {
                if app.desired && !app.removed {
                    return Some(overtaken(name, format!("started by {}", app.by)));
                }
                app.is_at_rest().then(|| stopped(name, *asked, now))
            }
            (Goal::Online { .. } | Goal::RolledOver { .. }, Some(_)) if self.shutdown.is_some() => {
                Some(failed(name, shutting_down()))
            }
            (Goal::RolledOver { number, verb, asked }, Some(app)) => {
                rollover_outcome(app, (*number, verb, *asked), now)
            }
            (Goal::Online { generation, failures, verb, asked }, Some(app)) => {
                online_outcome(app, (*generation, *failures), (verb, *asked), now)
            }
        }
    }
}

fn rollover_outcome(app: &App, (number, verb, asked): (u64, &str, Duration), now: Now) -> Option<ActionResult> {
    let name = &app.config.name;
    if app.removed {
        return Some(overtaken(name, "removed from the configuration".to_owned()));
    }
    if !app.desired {
        return Some(overtaken(name, format!("stopped by {}", app.by)));
    }
    let took = seconds(now.mono.saturating_sub(asked));
    let Some(outcome) = app.outcome(number) else {
        let goes_on = app.rising().is_some_and(|rollover| rollover.number == number);
        return (!goes_on).then(|| overtaken(name, format!("rolled over by {}", app.by)));
    };
    match outcome {
        Outcome::Failed(why) => {
            let message = format!("{name} is not {verb}: the new slot {why}");
            let refusal = Refusal::new(RefusalCode::Failed, message);
            let then = if app.serves() { "what served before serves on; " } else { "" };
            Some(failed(name, refusal.hint(format!("{then}infissi-ctl show {name} tells more"))))
        }
        Outcome::Staged => {
            Some(result(name, format!("staged in {took}: infissi-ctl swap {name} makes it active"), None))
        }
        Outcome::Swapped { old, generation } => {
            let is_old = |instance: &Instance| instance.slot == *old && instance.is_of_generation_up_to(*generation);
            if app.instances.iter().any(is_old) {
                return None;
            }
            // It may have crashed since, and is up again or on its way.
            if app.active().any(Instance::is_held_back) {
                return Some(not_up(app));
            }
            up_outcome(app, app.cast(app.slot).generation, (verb, asked), now)
        }
    }
}

fn online_outcome(
    app: &App,
    (generation, failures): (u64, u64),
    (verb, asked): (&str, Duration),
    now: Now,
) -> Option<ActionResult> {
    let name = &app.config.name;
    if app.removed {
        return Some(overtaken(name, "removed from the configuration".to_owned()));
    }
    if app.failures > failures {
        return Some(not_up(app));
    }
    if !app.desired {
        return Some(overtaken(name, format!("stopped by {}", app.by)));
    }
    if app.port_held.is_some() && !app.config.is_job() && !app.active().all(Instance::is_done) {
        return out_of_patience(app, asked, now);
    }
    // A slot that has taken over since may have been made before what was asked to run in the other one.
    up_outcome(app, generation.min(app.cast(app.slot).generation), (verb, asked), now)
}

/// All of the active slot are online in this generation, or need not be.
fn up_outcome(app: &App, generation: u64, (verb, asked): (&str, Duration), now: Now) -> Option<ActionResult> {
    let name = &app.config.name;
    let took = seconds(now.mono.saturating_sub(asked));
    if app.config.is_job() && !app.run_now {
        return job_outcome(app);
    }
    if app.active().all(Instance::is_done) {
        return Some(result(name, format!("ran and ended as it may, in {took}"), None));
    }
    if app.active().all(|instance| instance.is_online_in(generation) || instance.is_done()) {
        let pid = app.active().find_map(|instance| instance.live()).map(|live| live.pid);
        let pid = pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
        return Some(result(name, format!("{verb} in {took}{pid}"), None));
    }
    out_of_patience(app, asked, now)
}

fn out_of_patience(app: &App, asked: Duration, now: Now) -> Option<ActionResult> {
    patience_ends(app, asked).filter(|at| *at <= now.mono)?;
    let name = &app.config.name;
    let held = app.port_held.as_ref().map(|held| held.holder.clone());
    let why = app.active().find_map(Instance::obstacle).or(held).unwrap_or_default();
    let refusal = Refusal::new(RefusalCode::Failed, format!("{name} is not up yet: {why}"));
    let hint = match app.active().find_map(Instance::awaited_leader) {
        Some(leader) => format!("infissi-ctl deploy {leader}: {name} starts with it"),
        None => "it starts by itself as soon as that is over".to_owned(),
    };
    Some(failed(name, refusal.hint(hint)))
}

fn not_up(app: &App) -> ActionResult {
    let name = &app.config.name;
    let refusal = Refusal::new(RefusalCode::Failed, format!("{name} is not up: it {}", app.last_failure));
    failed(name, refusal.hint(format!("infissi-ctl show {name}")))
}

/// A job was asked to run: it does, or it is armed for its next time.
fn job_outcome(app: &App) -> Option<ActionResult> {
    let name = &app.config.name;
    let instance = app.instances.first()?;
    match &instance.state {
        State::Spawning { .. } | State::Draining { .. } | State::Ending { .. } => None,
        State::Starting { live, .. } | State::Online { live, .. } => {
            Some(result(name, format!("runs now, pid {}", live.pid), None))
        }
        State::Resting { .. } | State::Waiting { .. } | State::Backoff { .. } | State::Errored { .. } => {
            let next = app.next_tick.map(|at| at.to_string()).unwrap_or_else(|| "never".to_owned());
            Some(result(name, format!("is armed; its next time is {next}"), None))
        }
    }
}

/// How long somebody waits for an app that itself waits for a port, a dependency or a release.
fn patience_ends(app: &App, asked: Duration) -> Option<Duration> {
    let patience = app.config.health.start_timeout;
    let long = |since: Duration| since.max(asked) + patience;
    let public = app.port_held.as_ref().map(|held| long(held.since));
    let ends = app.active().filter_map(|instance| match (&instance.state, &instance.held) {
        // Somebody has to deploy first, and may be the one who asks.
        (State::Waiting { wait: Wait::Release(_), .. }, _) => Some(asked),
        (State::Waiting { wait: Wait::Dependencies(_), since }, _) => Some(long(*since)),
        (_, Some(held)) => Some(long(held.since)),
        (_, None) => None,
    });
    ends.chain(public).min()
}

pub(super) fn no_such_app(name: &str) -> Refusal {
    Refusal::new(RefusalCode::NoSuchApp, format!("there is no app named {name}"))
        .hint("infissi-ctl list shows the names")
}

fn overtaken(name: &str, by: String) -> ActionResult {
    let refusal = Refusal::new(RefusalCode::Busy, format!("{name} was {by} meanwhile"));
    failed(name, refusal.hint("infissi-ctl events shows who asked for what"))
}

fn failed(name: &str, refusal: Refusal) -> ActionResult {
    result(name, refusal.message.clone(), Some(refusal))
}

fn stopped(name: &str, asked: Duration, now: Now) -> ActionResult {
    result(name, format!("stopped in {}", seconds(now.mono.saturating_sub(asked))), None)
}

fn result(app: &str, message: String, error: Option<Refusal>) -> ActionResult {
    ActionResult { app: app.to_owned(), message, error, last_lines: Vec::new() }
}
