//! `upgrade`: the supervisor's new program takes over; asked for, waited for, and told how it went.

use super::act::{INTERRUPTED, wait_for};
use super::clock;
use super::failure::Failure;
use super::list;
use super::session::Session;
use crate::api::{AppStatus, Client, RefusalCode, SupervisorStatus, UpgradeReply, UpgradeStatus, routes};
use serde_json::json;
use std::io::Write;
use std::time::Duration;

/// The new program has half a minute to be ready, then the old one comes back.
const LIMIT: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const WHY: &str = "infissi-ctl events tells more, and the supervisor's own log";

pub(crate) fn upgrade(session: &mut Session) -> Result<u8, Failure> {
    let before: SupervisorStatus = session.client()?.get(routes::SUPERVISOR)?;
    let apps: Vec<AppStatus> = session.client()?.get(routes::APPS)?;
    let body = serde_json::Map::new();
    let reply: Option<UpgradeReply> = wait_for(session, "checking the new program", &[], routes::UPGRADE, &body)?;
    let Some(reply) = reply else { return Ok(INTERRUPTED) };
    let ended = wait(session, reply.id, before.pid)?;
    let after: Vec<AppStatus> = session.client()?.get(routes::APPS)?;
    let untouched = untouched(&apps, &after);
    let told = told(apps.iter().filter(|app| app.pid.is_some()).count(), untouched.len());
    if let Some(why) = ended.failed {
        let UpgradeStatus { from, to, .. } = ended;
        let message = format!("the upgrade to {to} failed: {why}; {from} goes on, {told}");
        return Err(Failure::new(RefusalCode::Failed, message, WHY));
    }
    let UpgradeStatus { from, to, took_ms, .. } = ended;
    if session.json {
        session.print_json(&json!({
            "from": from, "to": to, "took_ms": took_ms, "pid": before.pid, "program": reply.program,
            "untouched": untouched,
        }))?;
        return Ok(0);
    }
    let builds = match before.program.is_some_and(|program| program.replaced) {
        false => " (the same build)",
        true if from == to => " (another build)",
        true => "",
    };
    writeln!(session.out, "{} upgraded from {from} to {to}{builds} in {took_ms} ms; {told}", session.look.done())?;
    if session.look.terminal {
        list::list(session)?;
    }
    Ok(0)
}

/// How it ended, as whoever answers then tells.
fn wait(session: &mut Session, id: u64, pid: i32) -> Result<UpgradeStatus, Failure> {
    let socket = session.client()?.socket().to_owned();
    let since = clock::monotonic();
    while since.elapsed() < LIMIT {
        let mut client = Client::new(&socket)?;
        client.set_answer_timeout(ANSWER_TIMEOUT);
        // Between two programs nobody answers.
        if let Ok(supervisor) = client.get::<SupervisorStatus>(routes::SUPERVISOR) {
            if let Some(ended) = supervisor.upgrade.filter(|upgrade| upgrade.id == id) {
                return Ok(ended);
            }
            if supervisor.pid != pid {
                let message = format!(
                    "the supervisor, pid {pid}, ended in the middle of its upgrade; pid {} goes on",
                    supervisor.pid
                );
                return Err(Failure::new(RefusalCode::Failed, message, WHY));
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let message = format!("no supervisor has answered for {} s since the upgrade began", LIMIT.as_secs());
    Err(Failure::new(RefusalCode::NoSupervisor, message, "see its own log: `journalctl -u infissi-supervisor -n 50`"))
}

/// The names of those that ran before and run now in the same processes.
fn untouched(before: &[AppStatus], after: &[AppStatus]) -> Vec<String> {
    let runs = |app: &&AppStatus| app.pid.is_some();
    let same = |app: &&AppStatus| after.iter().any(|now| now.name == app.name && now.pid == app.pid);
    before.iter().filter(runs).filter(same).map(|app| app.name.clone()).collect()
}

/// An app may end by itself meanwhile.
fn told(ran: usize, untouched: usize) -> String {
    match (ran, untouched) {
        (0, _) => "no app ran".to_owned(),
        (1, 1) => "1 app was not touched".to_owned(),
        (ran, untouched) if ran == untouched => format!("{ran} apps were not touched"),
        (ran, untouched) => format!("{untouched} of {ran} apps run on, the others were started anew or have ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::sample;

    #[test]
    fn only_apps_with_the_same_process_count_as_untouched() {
        let before = sample::apps();
        let running = before.iter().filter(|app| app.pid.is_some()).count();
        assert_eq!(untouched(&before, &before).len(), running);
        let mut after = before.clone();
        after[0].pid = Some(1);
        assert_eq!(untouched(&before, &after).len(), running - 1);
        assert_eq!(told(0, 0), "no app ran");
        assert_eq!(told(3, 3), "3 apps were not touched");
        assert_eq!(told(3, 2), "2 of 3 apps run on, the others were started anew or have ended");
    }
}
