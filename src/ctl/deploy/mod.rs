//! `deploy`: a release is made in a directory of its own, with the rights of whoever owns the releases, and then the
//! supervisor is asked to go over to it. Until that request nothing that runs is touched; after it, the supervisor goes
//! on by itself.

mod abort;
mod init;
mod making;
mod memory;
mod plan;
mod safety;
mod sparing;
mod teller;
mod whose;

pub(crate) use plan::source_of;
pub(crate) use teller::{Interrupts, Teller, span};

use super::activation::{Activated, Activation, activate, is_elsewhere};
use super::arguments::DeployOptions;
use super::failure::Failure;
use super::session::Session;
use super::units::{printable, size};
use super::{act, clock, course, list};
use crate::api::{DeployPlan, ErrorBody, OtherPhase, Refusal, RefusalCode, Releases, Way, routes};
use crate::config::units;
use crate::deploy::restore::sweep;
use crate::deploy::{
    Carry, Holder, Keep, Lock, LockRefused, NotCarried, Pruned, Record, Recovered, Root, Source, State, begin_last,
    clear_kept, end_last, is_id, kept_bytes, prune, recover, remove,
};
use crate::linux::disk::{room, sync};
use crate::linux::user::own_uid;
use making::{Made, Unmade, make};
use serde_json::json;
use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;
use whose::Whose;

pub(crate) use whose::settle;

/// Ctrl-C, as a shell counts it: 128 and the signal's number.
const INTERRUPTED: u8 = 130;
/// Less room is none, bytes: what fails then has failed for want of it.
const FULL: u64 = 4 << 20;
/// What the lock's holder does once it has asked the supervisor.
const ACTIVATION: &str = "activation";
const STAGING: &str = "staging";
const CLEARING_UP: &str = "clearing up";
/// Where the deploy does not see the end of the slot before.
const NOT_BROUGHT: &str = "what the old slot still writes where it runs does not come along";
/// What `--abort` does with the lock.
const ABORTING: &str = "clearing up after a deploy";
/// What a restore does with it while the supervisor goes over.
pub(crate) const RESTORED: &str = "going over to what is restored";
/// Where a deploy ends after them.
const MIGRATED: &str = "migrations have run and are not undone";
/// How often a lock that somebody holds is tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub(crate) fn deploy(session: &mut Session, options: &DeployOptions) -> Result<u8, Failure> {
    let patience = patience(options)?;
    if let Some(id) = options.id.as_ref().filter(|id| !is_id(id)) {
        let message = format!("{id:?} cannot be the id of a release");
        return Err(Failure::usage(message, "it is letters, digits, dots, hyphens and underscores"));
    }
    let plan: DeployPlan = session.client()?.get(&routes::deploy(&options.app))?;
    let root = Root::new(&plan.releases.root);
    if options.abort {
        return abort::abort(session, &plan, &root);
    }
    if options.init {
        return init::init(session, options, (&plan, &root), patience);
    }
    init::refuse_plain(&plan)?;
    let source = source_of(options, &plan)?;
    if options.dry_run {
        return plan::show(session, options, &plan, &source, &root);
    }
    let own_env = settle(&root, &plan)?;
    let carry = Carry::default();
    carry_out(session, options, Work { plan, source, root, own_env, carry }, patience)
}

/// What a deploy has to do.
struct Work {
    plan: DeployPlan,
    source: Source,
    root: Root,
    own_env: Vec<(OsString, OsString)>,
    /// Out of the checkout in which the app has run so far.
    carry: Carry,
}

fn carry_out(session: &mut Session, options: &DeployOptions, work: Work, patience: Duration) -> Result<u8, Failure> {
    let Work { plan, source, root, own_env, mut carry } = work;
    root.prepare()?;
    let interrupts = Interrupts::take();
    let app = plan.releases.app.clone();
    let Some(mut lock) = take_lock(session, (&root, &app), patience, &interrupts)? else {
        return interrupted(session, &app, "nothing was begun");
    };
    // Afresh: it may have been waited for.
    let plan: DeployPlan = session.client()?.get(&routes::deploy(&app))?;
    let whose = Whose { by: Root::owner_name(own_uid()), env: own_env };
    let last = begin_last(&root, &whose.by, clock::now());
    let made = match clear_up(session, options, &plan, &root) {
        Ok(()) => {
            let mut teller = Teller::new(session, &interrupts);
            copy_shared(&mut teller, &mut lock, (&plan, &root), &mut carry)
                .and_then(|()| make(&mut teller, &mut lock, (&plan, &source, &root), options, whose))
        }
        Err(failure) => Err(failure.into()),
    };
    let outcome = match made {
        Ok(made) => go_over(session, options, (&plan, &root), (made, &mut lock, carry), &interrupts),
        Err(Unmade::Interrupted { left }) => interrupted(session, &app, &left),
        // Whoever followed it is gone, and has not seen it through.
        Err(Unmade::Failed(Failure::Output(error))) => {
            let _nobody_may_read_it =
                writeln!(session.err, "The deploy of {app} is over: its output has no reader: {error}");
            Ok(INTERRUPTED)
        }
        Err(Unmade::Failed(Failure::Answered(body))) => Err(not_deployed(&plan.releases, &root, *body)),
    };
    let is_interrupted = matches!(outcome, Ok(INTERRUPTED) | Err(Failure::Output(_)));
    end_last(&root, last, is_interrupted, why(&outcome), clock::now());
    outcome
}

fn why(outcome: &Result<u8, Failure>) -> Option<String> {
    match outcome {
        Err(Failure::Answered(body)) => Some(body.error.message.clone()),
        Err(Failure::Output(_)) | Ok(_) => None,
    }
}

fn copy_shared(
    teller: &mut Teller<'_>,
    lock: &mut Lock,
    (plan, root): (&DeployPlan, &Root),
    carry: &mut Carry,
) -> Result<(), Unmade> {
    if carry.is_empty() {
        return Ok(());
    }
    lock.at(None, "copying what is shared");
    teller.begin("copy what is shared", true)?;
    match carry.begin(root, plan.min_free_bytes, teller) {
        Ok(()) => {}
        Err(NotCarried::Failed(refusal)) => return Err(refusal.into()),
        Err(NotCarried::Interrupted) => {
            let left = format!("what was copied stays in {}", root.dir().join("shared").display());
            return Err(Unmade::Interrupted { left });
        }
    }
    teller.end("what is shared is copied")?;
    Ok(())
}

/// What earlier deploys have left goes, and there has to be room then.
fn clear_up(session: &mut Session, options: &DeployOptions, plan: &DeployPlan, root: &Root) -> Result<(), Failure> {
    for swept in sweep(root)?.iter().filter(|_| !session.json) {
        writeln!(session.out, "{} {}", session.look.warning(), printable(&swept.in_words()))?;
    }
    let recovered = {
        let mut ask = || session.client().ok()?.get(&routes::releases(&plan.releases.app)).ok();
        recover(root, (&plan.releases, &mut ask), clock::now())?
    };
    for recovered in recovered {
        tell_recovered(session, &recovered)?;
        tell_setback(session, &recovered, &plan.releases)?;
    }
    let check = || root.check_room(plan.min_free_bytes, &plan.releases.app);
    let Err(short) = check() else { return Ok(memory::check(options, plan)?) };
    let kept = kept_bytes(root);
    if kept == 0 {
        return Err(short.into());
    }
    clear_kept(root)?;
    if !session.json {
        let line = format!("room is short: {} of node_modules, kept for later installs, are removed", size(kept));
        writeln!(session.out, "{} {line}", session.look.warning())?;
    }
    check()?;
    Ok(memory::check(options, plan)?)
}

/// With what is the case all the same. A step that meets a full disk often says so in its own words only.
fn not_deployed(before: &Releases, root: &Root, body: ErrorBody) -> Failure {
    let ErrorBody { error, results } = body;
    let serves = match &before.active {
        Some(active) => format!("release {active} serves on"),
        None => "what runs was not touched".to_owned(),
    };
    let message = format!("{} is not deployed: {}; {serves}", before.app, error.message);
    let full = room(root.dir()).ok().filter(|room| room.bytes < FULL);
    let refusal = match (full, error.hint.as_deref().unwrap_or_default()) {
        (None, _) => Refusal { message, ..error },
        (Some(room), hint) => {
            let message = format!("{message}; the disk is full: {} are left", size(room.bytes));
            let hint = [&format!("make room: df -h {}", root.dir().display()), hint].map(str::to_owned);
            Refusal { message, hint: Some(hint.join("; ").trim_end_matches("; ").to_owned()), ..error }
        }
    };
    ErrorBody { error: refusal, results }.into()
}

fn way(options: &DeployOptions) -> Way {
    match (options.stage, options.stop_first) {
        (true, _) => Way::Staged,
        (false, true) => Way::StopFirst,
        (false, false) => Way::Beside,
    }
}

fn patience(options: &DeployOptions) -> Result<Duration, Failure> {
    let Some(text) = &options.wait else { return Ok(Duration::ZERO) };
    units::duration(text).ok_or_else(|| {
        Failure::usage(format!("--wait takes a span, and {text:?} is none"), "write one like 90s or 20m")
    })
}

/// None: it was waited for, until somebody had enough of that.
fn take_lock(
    session: &mut Session,
    (root, app): (&Root, &str),
    patience: Duration,
    interrupts: &Interrupts,
) -> Result<Option<Lock>, Failure> {
    let by = Root::owner_name(own_uid());
    let path = root.lock();
    let (began, mut told) = (clock::monotonic(), false);
    loop {
        let holder = Holder::own(by.clone(), clock::now(), "its beginning");
        let held = match Lock::take(&path, holder) {
            Ok(lock) => return Ok(Some(lock)),
            Err(LockRefused::Held(holder)) => held(app, holder.as_ref()),
            Err(LockRefused::Lock(error)) => {
                let message = format!("cannot lock {}: {error}", path.display());
                return Err(Refusal::new(RefusalCode::Failed, message).into());
            }
        };
        if began.elapsed() >= patience {
            let hint = format!("wait for it: infissi-ctl deploy {app} --wait 20m; or end it: --abort");
            return Err(Failure::new(RefusalCode::Busy, held, hint));
        }
        if !told && !session.json {
            writeln!(session.out, "{held}: waiting for its end")?;
            session.out.flush()?;
            told = true;
        }
        if interrupts.asked() {
            return Ok(None);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// `web is being deployed by ann (pid 4711) since 5m, at npm ci`
pub(crate) fn held(app: &str, holder: Option<&Holder>) -> String {
    let Some(holder) = holder else { return format!("{app} is being deployed") };
    printable(&format!("{app} is being deployed by {}", course::goes_on(&holder.clone().into(), clock::now())))
}

pub(crate) fn tell_recovered(session: &mut Session, recovered: &Recovered) -> Result<(), Failure> {
    if session.json {
        return Ok(());
    }
    let line = in_words(recovered);
    writeln!(session.out, "{} {}", session.look.warning(), printable(&line))?;
    Ok(())
}

fn in_words(recovered: &Recovered) -> String {
    match recovered {
        Recovered::Unfinished { id, by, step } => {
            format!("the deploy of {id} by {by} was cut off at {step}: what it had made is removed")
        }
        Recovered::Failed { id } => format!("{id}, which had failed, is removed"),
        Recovered::Live { id } => format!("{id} has gone live since its deploy was left"),
        Recovered::Kept { why, .. } => why.clone(),
    }
}

/// Why one that was left at its activation is not live.
fn tell_setback(session: &mut Session, recovered: &Recovered, known: &Releases) -> Result<(), Failure> {
    let Recovered::Unfinished { id, .. } = recovered else { return Ok(()) };
    let setback = known.setback.as_ref().filter(|setback| setback.release == *id);
    if let Some(setback) = setback.filter(|_| !session.json) {
        writeln!(session.out, "  {id} is not live: it {}", printable(&setback.why))?;
    }
    Ok(())
}

fn go_over(
    session: &mut Session,
    options: &DeployOptions,
    (plan, root): (&DeployPlan, &Root),
    (made, lock, mut carry): (Made, &mut Lock, Carry),
    interrupts: &Interrupts,
) -> Result<u8, Failure> {
    let Made { mut record, began } = made;
    let (app, id) = (plan.releases.app.as_str(), record.id.clone());
    let dir = root.release(&id);
    // Whether the supervisor is still there, for a connection that has been idle for a whole build need not be; and
    // whether there is still memory.
    let now = session.client().and_then(|client| Ok(client.get::<DeployPlan>(&routes::deploy(app))?));
    let checked =
        now.and_then(|now| Ok(memory::check(options, &now).map_err(|refusal| memory::built(refusal, app, &id))?));
    if let Err(failure) = checked {
        return not_activated(session, options, (plan, root), record, failure);
    }
    if let Err(refusal) = carry.again() {
        return not_activated(session, options, (plan, root), record, refusal.into());
    }
    // What is active is to be whole after a power cut, too.
    if let Err(error) = sync(&dir) {
        let message = format!("the disk has not taken {}: {error}", dir.display());
        let failure = Refusal::new(RefusalCode::Failed, message).into();
        return not_activated(session, options, (plan, root), record, failure);
    }
    // The last look before it is the supervisor's: from here on it goes live whoever wants it or not.
    if interrupts.asked() {
        remove(root, &id)?;
        let left = "nothing of the release is left".to_owned();
        return interrupted(session, app, &with_migrated(plan, left));
    }
    lock.at(Some(&id), if options.stage { STAGING } else { ACTIVATION });
    record.state = State::Activating;
    record.went_live = Some(clock::now());
    if let Err(refusal) = record.save(root) {
        return not_activated(session, options, (plan, root), record, refusal.into());
    }
    let asked = Activation { app, dir: &dir, id: &id, way: way(options), to_the_end: !options.no_wait };
    let activated = match activate(session, &asked, interrupts) {
        Ok(activated) => activated,
        // The connection is gone, and not the activation: its journal says so, as for one that nobody waited for.
        Err(Failure::Answered(mut body)) if body.results.is_empty() && !is_elsewhere(session, app, &id) => {
            let message = format!("{}; whether release {id} of {app} goes live is not known", body.error.message);
            body.error.message = with_migrated(plan, message);
            return Err(Failure::Answered(body));
        }
        Err(failure) => return not_activated(session, options, (plan, root), record, failure),
    };
    if activated == Activated::Interrupted {
        let left = "the supervisor goes on with the release by itself: see `infissi-ctl show`";
        // Nobody is there at its end to be told.
        let mut told = vec![left.to_owned()];
        told.extend(carry.notes());
        told.extend((!carry.is_empty()).then(|| NOT_BROUGHT.to_owned()));
        return interrupted(session, app, &told.join("; "));
    }
    record.state = if options.stage { State::Staged } else { State::Live };
    lock.at(Some(&id), CLEARING_UP);
    // It is live, whatever becomes of this: the next deploy sees to it.
    let mut complaints: Vec<String> = record.save(root).err().map(|refusal| refusal.message).into_iter().collect();
    complaints.extend(carry.end().err().map(|refusal| refusal.message));
    complaints.extend(carry.notes());
    if options.no_wait && !carry.is_empty() {
        complaints.push(NOT_BROUGHT.to_owned());
    }
    let known = session.client().and_then(|client| Ok(client.get::<Releases>(&routes::releases(app))?));
    let pruned = match known {
        Ok(known) => {
            let mut ask = || session.client().ok()?.get(&routes::releases(app)).ok();
            let keep = Keep { good: known.keep, failed: true, written: false };
            prune(root, (&known, &mut ask), keep, clock::now())
        }
        Err(_) => {
            complaints.push("old releases are still there: the supervisor does not say which of them run".to_owned());
            Pruned::default()
        }
    };
    complaints.extend(pruned.kept.into_iter().map(|(_, why)| why));
    let took = clock::now().duration_since(began).as_secs_f64();
    if session.json {
        let took_ms = clock::now().as_millisecond() - began.as_millisecond();
        let log = root.log(&id).display().to_string();
        session.print_json(&json!({
            "app": app, "release": id, "dir": dir.display().to_string(), "commit": record.commit, "log": log,
            "backup": record.backup, "staged": options.stage, "warm": activated == Activated::Warm, "took_ms": took_ms,
            "steps": record.steps, "removed": pruned.gone, "notes": complaints,
        }))?;
        return Ok(0);
    }
    for complaint in complaints {
        writeln!(session.out, "{} {}", session.look.warning(), printable(&complaint))?;
    }
    let what = match activated {
        _ if options.stage => staged_how(session, app),
        Activated::Warm => format!("release {id} has the traffic after {}; the one before stays warm", span(took)),
        Activated::Done | Activated::Interrupted => format!("release {id} is live, deployed in {}", span(took)),
    };
    writeln!(session.out, "{} {app}: {what}", session.look.done())?;
    if session.look.terminal {
        list::list(session)?;
    }
    Ok(0)
}

/// How to look at what is staged, and how to make it active.
fn staged_how(session: &mut Session, app: &str) -> String {
    let port = session.client().ok().and_then(|client| {
        let detail: crate::api::AppDetail = client.get(&routes::app(app)).ok()?;
        let staged = detail.status.other.filter(|other| other.phase == OtherPhase::Staged)?;
        detail.status.instances.iter().find(|instance| instance.slot == staged.slot)?.port
    });
    let look = port
        .map(|port| format!("\n  look at it:      ssh -L {port}:127.0.0.1:{port} HOST, then http://localhost:{port}"));
    format!("staged{}\n  make it active:  infissi-ctl swap {app}", look.unwrap_or_default())
}

fn not_activated(
    session: &mut Session,
    options: &DeployOptions,
    (plan, root): (&DeployPlan, &Root),
    mut record: Record,
    failure: Failure,
) -> Result<u8, Failure> {
    let Failure::Answered(mut body) = failure else { return Err(failure) };
    record.state = State::Failed;
    record.why = Some(body.error.message.clone());
    // The journal then says that it was cut off, and the next deploy removes it.
    let _unsaid = record.save(root);
    if session.json {
        body.error.message = with_migrated(plan, body.error.message);
        return Err(Failure::Answered(body));
    }
    let code = body.error.code.exit_code();
    if body.results.is_empty() {
        writeln!(session.err, "{} {}", session.look.failed(), printable(&body.error.message))?;
        if let Some(hint) = &body.error.hint {
            writeln!(session.err, "  next: {}", printable(hint))?;
        }
    } else {
        act::print_results(session, &body.results)?;
    }
    let (dir, id) = (root.release(&record.id), &record.id);
    // Without a result the supervisor was never asked, and it stops nothing for what it refuses.
    let has_stopped = options.stop_first && !body.results.is_empty() && body.error.code != RefusalCode::Busy;
    let serves = serves_on(&plan.releases, has_stopped, session);
    writeln!(session.err, "  {}", with_migrated(plan, serves))?;
    writeln!(session.err, "  release {id} stays in {} for a look until the next deploy", dir.display())?;
    if body.error.code == RefusalCode::Busy {
        writeln!(session.err, "  it is built: infissi-ctl rollback {} --to {id} goes over to it", plan.releases.app)?;
    }
    Ok(code)
}

fn with_migrated(plan: &DeployPlan, what: String) -> String {
    if plan.migrate.is_empty() { what } else { format!("{what}; {MIGRATED}") }
}

/// What is the case now, by the supervisor's own word.
fn serves_on(before: &Releases, has_stopped: bool, session: &mut Session) -> String {
    let now = session.client().and_then(|client| Ok(client.get::<Releases>(&routes::releases(&before.app))?));
    if let Ok(Releases { trying: Some(trying), .. }) = &now {
        return format!("release {trying} is being started");
    }
    match now.map(|now| now.active) {
        Ok(Some(active)) if before.active.as_ref() != Some(&active) => {
            format!("release {active} is in the active slot now")
        }
        Ok(Some(active)) if has_stopped => format!("release {active} has its place again"),
        Ok(Some(active)) => format!("release {active} serves on"),
        Ok(None) => "there is no release that serves".to_owned(),
        Err(_) => format!("see infissi-ctl show {}", before.app),
    }
}

fn interrupted(session: &mut Session, app: &str, left: &str) -> Result<u8, Failure> {
    if session.json {
        let message = format!("the deploy of {app} was interrupted: {left}");
        session.print_json(&json!({ "error": { "code": "failed", "message": message, "hint": null } }))?;
    } else {
        session.out.flush()?;
        writeln!(session.err, "The deploy of {app} was interrupted: {left}.")?;
    }
    Ok(INTERRUPTED)
}
