//! `deploy --abort`: whoever deploys is asked to end, or the supervisor to start no more; what a deploy that was killed
//! has left goes.

use super::{
    ABORTING, ACTIVATION, CLEARING_UP, INTERRUPTED, Interrupts, LOOK_AGAIN, RESTORED, STAGING, held, in_words, settle,
    tell_recovered,
};
use crate::api::{ActionReply, DeployPlan, Refusal, RefusalCode, Releases, routes};
use crate::ctl::clock;
use crate::ctl::failure::Failure;
use crate::ctl::progress::Line;
use crate::ctl::session::Session;
use crate::ctl::units::printable;
use crate::deploy::{Holder, Lock, LockRefused, Recovered, Root, clear_unfinished};
use crate::linux::user::own_uid;
use serde_json::{Map, json};
use std::io::Write;

/// So often it is looked whether the supervisor has been asked.
const LOOKS: u32 = 20;

pub(super) fn abort(session: &mut Session, plan: &DeployPlan, root: &Root) -> Result<u8, Failure> {
    let app = plan.releases.app.as_str();
    if !root.deploys().is_dir() {
        return tell(session, app, &Aborted::default());
    }
    settle(root, plan)?;
    let interrupts = Interrupts::take();
    let look = || Lock::look(&root.lock()).map_err(|error| cannot_look(root, &error));
    let mut aborted = Aborted::default();
    if let Some(holder) = look()? {
        let Some(holder) = holder else {
            return Err(Failure::new(RefusalCode::Busy, held(app, None), "it has only begun: try again"));
        };
        aborted.end(session, app, holder)?;
        let mut line = if session.json { None } else { Line::on_stderr(&session.look) };
        // Only for that one: another that has waited for the lock goes its way.
        while let Some(Some(now)) = look()?.filter(|now| aborted.is_of(now.as_ref())) {
            if interrupts.asked() {
                drop(line);
                let left = held(app, Some(&now));
                if session.json {
                    let message = format!("not waiting any longer: {left}");
                    session.print_json(&json!({ "error": { "code": "failed", "message": message, "hint": null } }))?;
                } else {
                    writeln!(session.err, "Not waiting any longer: {}.", printable(&left))?;
                }
                return Ok(INTERRUPTED);
            }
            if let Some(line) = &mut line {
                line.draw(&format!("ending the deploy of {app}, at {}", printable(&now.step)));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
    let lock = match Lock::take(&root.lock(), Holder::own(Root::owner_name(own_uid()), clock::now(), ABORTING)) {
        Ok(lock) => lock,
        Err(LockRefused::Held(holder)) => {
            // The next in the line has it, and clears up by itself.
            aborted.next = Some(held(app, holder.as_ref()));
            return tell(session, app, &aborted);
        }
        Err(LockRefused::Lock(error)) => return Err(cannot_look(root, &error)),
    };
    let mut known = known(session, app)?;
    // It may have come to that in the instant in which it was asked to end.
    if let Some(id) = known.rising() {
        aborted.called_off = Some(id.to_owned());
        call_off(session, app)?;
        known = self::known(session, app)?;
    }
    let mut ask = || session.client().ok()?.get(&routes::releases(app)).ok();
    aborted.cleared = clear_unfinished(root, (&known, &mut ask), clock::now())?;
    aborted.active = known.active;
    drop(lock);
    tell(session, app, &aborted)
}

/// What was done.
#[derive(Default)]
struct Aborted {
    ended: Option<Holder>,
    /// A release that the supervisor was starting, or had staged.
    called_off: Option<String>,
    cleared: Vec<Recovered>,
    active: Option<String>,
    /// Another deploy goes on.
    next: Option<String>,
}

impl Aborted {
    fn end(&mut self, session: &mut Session, app: &str, holder: Holder) -> Result<(), Failure> {
        refuse(app, &holder)?;
        if !session.json {
            writeln!(session.out, "{}: it is asked to end", printable(&held(app, Some(&holder))))?;
            session.out.flush()?;
        }
        match holder.step.as_str() {
            // The process only waits for what the supervisor does; a restore puts back what was there once that has failed.
            ACTIVATION | STAGING | RESTORED => {
                self.called_off = Some(call_off_asked(session, app, holder.id.as_deref())?);
            }
            _ => match holder.interrupt() {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(error) => {
                    let message = format!("cannot end pid {}: {error}", holder.pid);
                    return Err(Refusal::new(RefusalCode::Failed, message).into());
                }
            },
        }
        self.ended = Some(holder);
        Ok(())
    }

    fn is_of(&self, now: Option<&Holder>) -> bool {
        let same = |one: &Holder, other: &Holder| (one.pid, one.started) == (other.pid, other.started);
        self.ended.as_ref().zip(now).is_some_and(|(ended, now)| same(ended, now))
    }
}

/// What is not to be ended in the middle, or has nothing to be ended.
fn refuse(app: &str, holder: &Holder) -> Result<(), Failure> {
    match holder.step.as_str() {
        CLEARING_UP => Err(it_is_live(app)),
        ABORTING => {
            let hint = format!("wait for it: infissi-ctl releases {app} shows how far it is");
            Err(Failure::new(RefusalCode::Busy, held(app, Some(holder)), hint))
        }
        RESTORED if holder.id.is_none() => {
            let message = format!("{app} is being restarted with what is restored, and that cannot be called off");
            Err(Failure::new(RefusalCode::Busy, message, format!("wait for it: infissi-ctl show {app}")))
        }
        _ => Ok(()),
    }
}

/// Once the supervisor has been asked for it, which may be about to come.
fn call_off_asked(session: &mut Session, app: &str, id: Option<&str>) -> Result<String, Failure> {
    for _ in 0..LOOKS {
        let known = known(session, app)?;
        if let Some(rising) = known.rising() {
            call_off(session, app)?;
            return Ok(rising.to_owned());
        }
        if known.active.as_deref() == id {
            break;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Err(it_is_live(app))
}

/// The supervisor starts no more: what serves goes on.
fn call_off(session: &mut Session, app: &str) -> Result<(), Failure> {
    let path = routes::act(app, "cancel", true, false);
    let reply: ActionReply = session.client()?.post(&path, &Map::<String, _>::new())?;
    reply.results.into_iter().find_map(|result| result.error).map_or(Ok(()), |refusal| Err(refusal.into()))
}

fn it_is_live(app: &str) -> Failure {
    let message = format!("the release of this deploy of {app} is active already");
    Failure::new(RefusalCode::Busy, message, format!("go back: infissi-ctl rollback {app}"))
}

fn known(session: &mut Session, app: &str) -> Result<Releases, Failure> {
    Ok(session.client()?.get(&routes::releases(app))?)
}

fn cannot_look(root: &Root, error: &std::io::Error) -> Failure {
    Refusal::new(RefusalCode::Failed, format!("cannot look at {}: {error}", root.lock().display())).into()
}

fn tell(session: &mut Session, app: &str, aborted: &Aborted) -> Result<u8, Failure> {
    let Aborted { ended, called_off, cleared, active, next } = aborted;
    if session.json {
        let cleared: Vec<String> = cleared.iter().map(in_words).collect();
        session.print_json(&json!({
            "app": app, "ended": ended, "called_off": called_off, "cleared": cleared, "active": active, "next": next,
        }))?;
        return Ok(0);
    }
    for recovered in cleared {
        tell_recovered(session, recovered)?;
    }
    let serves = active.as_ref().map_or_else(String::new, |id| format!("; release {id} serves on"));
    let what = match (ended, called_off) {
        (_, Some(id)) => format!("release {id} is called off before it had the traffic{serves}"),
        (Some(_), None) => format!("its deploy is ended, and nothing of the release is left{serves}"),
        (None, None) if cleared.is_empty() => "no deploy is under way, and none was cut off".to_owned(),
        (None, None) => format!("no deploy is under way any more{serves}"),
    };
    writeln!(session.out, "{} {app}: {}", session.look.done(), printable(&what))?;
    if let Some(next) = next {
        writeln!(session.out, "  {}", printable(next))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_ended_is_refused_in_words_of_its_own() {
        let refused = |step: &str, id: Option<&str>| {
            let mut holder = Holder::own("ann".to_owned(), clock::now(), step);
            holder.id = id.map(str::to_owned);
            match refuse("web", &holder) {
                Ok(()) => String::new(),
                Err(Failure::Answered(body)) => body.error.message,
                Err(Failure::Output(error)) => panic!("{error}"),
            }
        };
        assert!(refused(CLEARING_UP, Some("two")).ends_with("is active already"));
        assert!(refused(ABORTING, None).contains("clearing up after a deploy"));
        assert!(refused(RESTORED, None).ends_with("that cannot be called off"));
        for (step, id) in [(RESTORED, Some("two")), (ACTIVATION, Some("two")), ("npm ci", Some("two"))] {
            assert_eq!(refused(step, id), "");
        }
    }
}
