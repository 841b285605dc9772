//! Restoring where there are releases: what is unpacked takes its place, and the app goes over to a slot that starts with
//! it. If that does not become healthy, everything is again as it was.

use super::done::finish;
use super::ready::{Ready, ready};
use super::{Restoring, not_restored, watched};
use crate::api::{
    ActionReply, AppDetail, ClientError, DeployPlan, ErrorBody, Refusal, RefusalCode, Status, Way, routes,
};
use crate::ctl::act;
use crate::ctl::activation::{Activated, Activation, activate, is_elsewhere};
use crate::ctl::clock;
use crate::ctl::deploy::{Interrupts, RESTORED, held};
use crate::ctl::failure::Failure;
use crate::ctl::progress::{Progress, TICK};
use crate::ctl::session::Session;
use crate::ctl::units::printable;
use crate::deploy::restore::{Staging, Swept, Unrestored, check_room, new_id};
use crate::deploy::{Holder, Lock, LockRefused, Root, State, remove};
use crate::linux::user::own_uid;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

/// How the app has gone over.
pub(super) enum Over {
    Replaced,
    /// It does not run, for this reason, and was left so.
    NotRunning(&'static str),
    /// Nobody waits any longer.
    Interrupted,
}

/// Why it has not.
enum NotOver {
    Failed(Failure),
    /// The supervisor has gone meanwhile: perhaps it has, after all.
    Lost(ErrorBody),
}

impl From<Failure> for NotOver {
    fn from(failure: Failure) -> NotOver {
        NotOver::Failed(failure)
    }
}

impl From<Refusal> for NotOver {
    fn from(refusal: Refusal) -> NotOver {
        NotOver::Failed(refusal.into())
    }
}

pub(super) fn restore(
    session: &mut Session,
    restoring: &Restoring,
    root: &Path,
    interrupts: &Interrupts,
) -> Result<u8, Failure> {
    let (app, root) = (restoring.plan.app.as_str(), Root::new(root));
    refuse_anothers(&root, restoring)?;
    root.prepare()?;
    let mut lock = take_lock(session, &root, restoring)?;
    let deploy: DeployPlan = session.client()?.get(&routes::deploy(app))?;
    check_room(root.dir(), restoring.contents.figures)?;
    let (staging, swept) = Staging::begin(&root, &new_id(&root, clock::now()))?;
    tell_swept(session, &swept)?;
    let unpacked = watched(session, app, "unpacking", interrupts, |go_on| staging.unpack(&restoring.found, go_on));
    if let Err(unrestored) = unpacked {
        return not_restored(session, app, unrestored);
    }
    let mut ready = ready(restoring, &deploy, &root, staging)?;
    let at = ready.release.as_ref().map(|record| record.id.clone());
    lock.at(at.as_deref(), "putting what is restored into place");
    // From here on it is seen.
    let placed = match interrupts.asked() {
        true => Err(Unrestored::Stopped),
        false => ready.staging.place(&ready.parts).map_err(Unrestored::Refused),
    };
    if let Err(unrestored) = placed {
        ready.release.iter().for_each(|record| drop(remove(&root, &record.id)));
        return not_restored(session, app, unrestored);
    }
    lock.at(at.as_deref(), RESTORED);
    // From here on whoever calls it off asks the supervisor.
    if interrupts.asked() {
        let interrupted = Refusal::new(RefusalCode::Failed, "it was interrupted");
        return put_back(session, restoring, &root, ready, interrupted.into());
    }
    match go_over(session, restoring, &root, &mut ready, interrupts) {
        Ok(over) => finish(session, restoring, &root, ready, &over),
        Err(NotOver::Failed(failure)) => put_back(session, restoring, &root, ready, failure),
        Err(NotOver::Lost(body)) => Err(lost(ready, body)),
    }
}

/// What is made as its owner is not to be somebody else's.
fn refuse_anothers(root: &Root, restoring: &Restoring) -> Result<(), Failure> {
    let owner = root.owner()?;
    if owner == own_uid() {
        return Ok(());
    }
    let (app, user, dir) = (&restoring.plan.app, &restoring.plan.user, root.dir().display());
    let message = format!("{app} runs as {user}, and its releases in {dir} belong to {}", Root::owner_name(owner));
    let hint = format!("chown -R {user} {dir}, or unpack the backup elsewhere: --into DIRECTORY");
    Err(Failure::new(RefusalCode::NotAllowed, message, hint))
}

fn take_lock(session: &mut Session, root: &Root, restoring: &Restoring) -> Result<Lock, Failure> {
    let app = &restoring.plan.app;
    let step = format!("restoring {}", restoring.found.name());
    let holder = Holder::own(Root::owner_name(own_uid()), clock::now(), &step);
    session.out.flush()?;
    Lock::take(&root.lock(), holder).map_err(|refused| match refused {
        LockRefused::Held(holder) => {
            let hint = format!("wait for its end: infissi-ctl releases {app} shows how far it is");
            Failure::new(RefusalCode::Busy, held(app, holder.as_ref()), hint)
        }
        LockRefused::Lock(error) => {
            let message = format!("cannot lock {}: {error}", root.lock().display());
            Failure::new(RefusalCode::Failed, message, "look at its rights: ls -l")
        }
    })
}

fn tell_swept(session: &mut Session, swept: &[Swept]) -> Result<(), Failure> {
    for swept in swept.iter().filter(|_| !session.json) {
        writeln!(session.out, "{} {}", session.look.warning(), printable(&swept.in_words()))?;
    }
    Ok(())
}

fn go_over(
    session: &mut Session,
    restoring: &Restoring,
    root: &Root,
    ready: &mut Ready,
    interrupts: &Interrupts,
) -> Result<Over, NotOver> {
    let app = restoring.plan.app.as_str();
    if let Some(record) = &mut ready.release {
        record.state = State::Activating;
        record.went_live = Some(clock::now());
        record.save(root)?;
        let dir = root.release(&record.id);
        let asked = Activation { app, dir: &dir, id: &record.id, way: Way::Beside, to_the_end: true };
        return match activate(session, &asked, interrupts) {
            Ok(Activated::Done | Activated::Warm) => Ok(Over::Replaced),
            Ok(Activated::Interrupted) => Ok(Over::Interrupted),
            Err(Failure::Answered(body)) if !is_elsewhere(session, app, &record.id) => Err(NotOver::Lost(*body)),
            Err(failure) => Err(failure.into()),
        };
    }
    if ready.parts.parts.is_empty() {
        return Ok(Over::NotRunning("nothing that it uses was touched"));
    }
    let detail: AppDetail = session.client()?.get(&routes::app(app)).map_err(Failure::from)?;
    match detail.status.status {
        _ if detail.schedule.is_some() => Ok(Over::NotRunning("its next run finds it")),
        Status::Stopped | Status::Stopping => Ok(Over::NotRunning("it is stopped, and stays so")),
        Status::Starting | Status::Online | Status::Backoff | Status::Errored | Status::Waiting => {
            restart(session, app, interrupts)
        }
    }
}

/// The same release anew: beside the old slot where there is a proxy.
fn restart(session: &mut Session, app: &str, interrupts: &Interrupts) -> Result<Over, NotOver> {
    let (look, shows) = (session.look, session.look.terminal && !session.json);
    let client = session.client()?;
    let words = [app.to_owned()];
    let mut progress = if shows { Progress::start("restarting", &words, client.socket(), &look) } else { None };
    let mut tick = || match interrupts.asked() {
        true => ControlFlow::Break(()),
        false => progress.as_mut().map_or(ControlFlow::Continue(()), Progress::tick),
    };
    let path = routes::act(app, "restart", true, false);
    let reply = client.post_and_wait::<ActionReply>(&path, &serde_json::Map::new(), TICK, &mut tick);
    let reply = match reply {
        Ok(Some(reply)) => reply,
        Ok(None) => return Ok(Over::Interrupted),
        Err(refused @ ClientError::Refused(_)) => return Err(NotOver::Failed(refused.into())),
        Err(error) => return Err(NotOver::Lost(error.into_body())),
    };
    match reply.results.into_iter().find_map(|result| result.error) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(Over::Replaced),
    }
}

/// The supervisor has gone meanwhile. The app may have gone over, and if not, the next supervisor starts it: what is
/// restored stays where both find it.
fn lost(mut ready: Ready, mut body: ErrorBody) -> Failure {
    let complaint = ready.staging.finish().err().map(|refusal| format!("; {}", refusal.message)).unwrap_or_default();
    let before = ready.staging.before();
    let kept =
        if before.exists() { format!("; what was there before is in {}", before.display()) } else { String::new() };
    body.error.message = format!("{}; what is restored is in its place{kept}{complaint}", body.error.message);
    body.into()
}

/// It did not go over: the old slot serves on, and finds what it had.
fn put_back(
    session: &mut Session,
    restoring: &Restoring,
    root: &Root,
    ready: Ready,
    failure: Failure,
) -> Result<u8, Failure> {
    let Ready { mut staging, parts, mut release, .. } = ready;
    let back = staging.put_back();
    if let Some(record) = &mut release {
        record.state = State::Failed;
        // The next deploy then finds that it was cut off, and removes it.
        let _unsaid = record.save(root);
    }
    let finished = staging.finish();
    let app = &restoring.plan.app;
    let state = match &back {
        Ok(()) if parts.parts.is_empty() => "nothing else was touched".to_owned(),
        Ok(()) => "what was there before is there again".to_owned(),
        Err(worse) => worse.message.clone(),
    };
    let Failure::Answered(mut body) = failure else { return Err(failure) };
    let is_told_below = !session.json && !body.results.is_empty();
    if is_told_below {
        act::print_results(session, &body.results)?;
    }
    let unpacked = staging.kept().display();
    let why = if is_told_below { String::new() } else { format!(": {}", body.error.message) };
    body.error.message = format!("{app} is not restored{why}; {state}");
    let look = format!("what was unpacked, and what was written meanwhile, is in {unpacked} for a look");
    let hint = back.err().and_then(|worse| worse.hint).or_else(|| finished.is_ok().then_some(look));
    body.error.hint = match (hint, body.error.hint) {
        (Some(ours), Some(theirs)) if !is_told_below => Some(format!("{theirs}; {ours}")),
        (ours, theirs) => ours.or(theirs),
    };
    Err(Failure::Answered(body))
}
