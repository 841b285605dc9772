//! `apply`: the plan, and what became of it.

use super::act::{print_results, wait_for, worst};
use super::failure::Failure;
use super::list;
use super::look::{BOLD, GREEN, Look, RED, YELLOW};
use super::session::Session;
use crate::api::{ApplyBody, ApplyReply, PlanAction, PlanStep, routes};
use std::io::Write;

pub(crate) fn apply(session: &mut Session, dry_run: bool) -> Result<u8, Failure> {
    let body = ApplyBody { dry_run };
    let path = format!("{}?wait=true", routes::APPLY);
    let reply = wait_for::<ApplyReply>(session, "applying", &[], &path, &body);
    let reply = match reply {
        Ok(Some(reply)) => reply,
        Ok(None) => return Ok(130),
        Err(Failure::Answered(body)) if !session.json && !body.results.is_empty() => {
            print_results(session, &body.results)?;
            return Ok(body.error.code.exit_code());
        }
        Err(failure) => return Err(failure),
    };
    if session.json {
        session.print_json(&reply)?;
        return Ok(worst(&reply.results));
    }
    let text = plan_text(&reply, &session.look);
    session.out.write_all(text.as_bytes())?;
    print_results(session, &reply.results)?;
    if session.look.terminal && !reply.results.is_empty() {
        list::list(session)?;
    }
    Ok(worst(&reply.results))
}

fn plan_text(reply: &ApplyReply, look: &Look) -> String {
    let plan = &reply.plan;
    if plan.steps.is_empty() && plan.needs_supervisor_restart.is_empty() {
        return "Nothing to do: what runs is what the configuration says.\n".to_owned();
    }
    let width = plan.steps.iter().map(|step| step.app.chars().count()).max().unwrap_or(0);
    let mut text: String = plan.steps.iter().map(|step| step_text(step, width, look)).collect();
    for key in &plan.needs_supervisor_restart {
        text.push_str(&format!("{} {key} takes effect when the supervisor is started anew\n", look.warning()));
    }
    if let Some(why) = &reply.refused {
        text.push_str(&format!("{} it would be refused now: {why}\n", look.warning()));
    }
    if reply.dry_run {
        text.push_str(&format!("Nothing was done. To do it: {}\n", look.paint(BOLD, "infissi-ctl apply")));
    }
    text
}

fn step_text(step: &PlanStep, width: usize, look: &Look) -> String {
    let (mark, style) = match step.action {
        PlanAction::Start | PlanAction::Add => ("+", GREEN),
        PlanAction::Stop => ("-", RED),
        PlanAction::Rollover | PlanAction::Restart | PlanAction::ChangeInPlace => ("~", YELLOW),
    };
    let changed = if step.changed.is_empty() { String::new() } else { format!("  {}", step.changed.join(", ")) };
    let line = format!("{} {:<width$}  {:<15}{changed}", look.paint(style, mark), step.app, step.action);
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Plan;

    const PLAIN: Look = Look { terminal: false, color: false, unicode: true, width: None, height: None };

    #[test]
    fn a_plan_says_what_happens_to_which_app_and_why() {
        let step = |app: &str, action, changed: &[&str]| PlanStep {
            app: app.to_owned(),
            action,
            changed: changed.iter().map(|key| (*key).to_owned()).collect(),
        };
        let plan = Plan {
            steps: vec![
                step("staging", PlanAction::Restart, &["env.NODE_ENV", "port"]),
                step("crm", PlanAction::ChangeInPlace, &["max_memory_restart"]),
                step("new", PlanAction::Start, &[]),
                step("old", PlanAction::Stop, &[]),
            ],
            needs_supervisor_restart: vec!["supervisor.log_dir".to_owned()],
        };
        let refused = Some("staging is being rolled over (restart) by ann, since 5 s".to_owned());
        let reply = ApplyReply { plan, dry_run: true, refused, results: Vec::new() };
        insta::assert_snapshot!(plan_text(&reply, &PLAIN), @r"
        ~ staging  restart          env.NODE_ENV, port
        ~ crm      change in place  max_memory_restart
        + new      start
        - old      stop
        ! supervisor.log_dir takes effect when the supervisor is started anew
        ! it would be refused now: staging is being rolled over (restart) by ann, since 5 s
        Nothing was done. To do it: infissi-ctl apply
        ");
        let nothing = ApplyReply { plan: Plan::default(), dry_run: false, refused: None, results: Vec::new() };
        assert!(plan_text(&nothing, &PLAIN).starts_with("Nothing to do"));
    }
}
