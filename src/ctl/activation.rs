//! Going over to a release: asked of the supervisor, followed until it has the traffic or the warm time is over.

use super::deploy::Interrupts;
use super::failure::Failure;
use super::progress::{Progress, TICK};
use super::session::Session;
use super::units::printable;
use crate::api::{ActionReply, ActivateBody, AppDetail, AppStatus, Client, OtherPhase, Releases, Way, routes};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// How many ticks pass from one look to the next.
const TICKS_A_LOOK: u32 = 2;
/// A supervisor that is busy with the work itself is not waited for long.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// What is asked.
pub(crate) struct Activation<'a> {
    pub(crate) app: &'a str,
    pub(crate) dir: &'a Path,
    pub(crate) id: &'a str,
    pub(crate) way: Way,
    /// Until nothing goes back by itself any more; else until it has the traffic.
    pub(crate) to_the_end: bool,
}

/// How it went on, where it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activated {
    /// Nothing more will come of it; or it is staged.
    Done,
    /// It has the traffic, and the slot before is still warm.
    Warm,
    /// Nobody waits any longer.
    Interrupted,
}

pub(crate) fn activate(
    session: &mut Session,
    asked: &Activation<'_>,
    interrupts: &Interrupts,
) -> Result<Activated, Failure> {
    let (look, json, stage) = (session.look, session.json, asked.way == Way::Staged);
    let body = ActivateBody {
        release_dir: asked.dir.display().to_string(),
        release_id: Some(asked.id.to_owned()),
        stage,
        stop_first: asked.way == Way::StopFirst,
    };
    let path = routes::act(asked.app, "activate", true, false);
    let (client, out) = session.client_and_output()?;
    let words = [asked.app.to_owned()];
    let doing = if stage { "staging" } else { "activating" };
    let shows = look.terminal && !json;
    let mut progress = if shows { Progress::start(doing, &words, client.socket(), &look) } else { None };
    let mut eye = Client::new(client.socket())?;
    eye.set_answer_timeout(LOOK_TIMEOUT);
    let (mut ended, mut told, mut ticks) = (Activated::Interrupted, false, 0_u32);
    let mut tick = || {
        if interrupts.asked() || progress.as_mut().is_some_and(|progress| progress.tick().is_break()) {
            return ControlFlow::Break(());
        }
        ticks += 1;
        // Only what rises beside what serves is through before the answer comes.
        if asked.way != Way::Beside || !ticks.is_multiple_of(TICKS_A_LOOK) {
            return ControlFlow::Continue(());
        }
        let Ok(AppDetail { status, .. }) = eye.get(&routes::app(asked.app)) else { return ControlFlow::Continue(()) };
        let Some(phase) = after_swap(&status, asked.id) else { return ControlFlow::Continue(()) };
        match phase {
            OtherPhase::Warm if !asked.to_the_end => ended = Activated::Warm,
            OtherPhase::Warm => {
                if !told && !json {
                    tell_swapped(out, &status, asked.id, progress.is_some());
                }
                told = true;
                return ControlFlow::Continue(());
            }
            OtherPhase::Draining | OtherPhase::Stopping => ended = Activated::Done,
            OtherPhase::Starting | OtherPhase::Staged => return ControlFlow::Continue(()),
        }
        ControlFlow::Break(())
    };
    let reply = client.post_and_wait::<ActionReply>(&path, &body, TICK, &mut tick)?;
    drop(progress);
    Ok(if reply.is_some() { Activated::Done } else { ended })
}

/// Does the supervisor say that the app runs something else, and is not on its way to this release?
pub(crate) fn is_elsewhere(session: &mut Session, app: &str, id: &str) -> bool {
    let known = session.client().and_then(|client| Ok(client.get::<Releases>(&routes::releases(app))?));
    known.is_ok_and(|known| known.active.as_deref() != Some(id) && known.rising() != Some(id))
}

/// What the slot before does, once the release has the traffic.
fn after_swap(status: &AppStatus, id: &str) -> Option<OtherPhase> {
    let other = status.other.as_ref().filter(|_| status.release.as_deref() == Some(id))?;
    Some(other.phase)
}

/// A courtesy: whoever does not read it is told the end all the same.
fn tell_swapped(out: &mut dyn Write, status: &AppStatus, id: &str, is_drawing: bool) {
    if is_drawing {
        let _unseen = write!(std::io::stderr(), "\r\u{1b}[K");
    }
    let slot = status.slot;
    let before = status.other.as_ref().map(|other| other.slot.to_string()).unwrap_or_default();
    let line = format!("  {id} has the traffic ({slot}); {before} stays warm, and takes it back if {slot} fails");
    let _untold = writeln!(out, "{}", printable(&line)).and_then(|()| out.flush());
}
