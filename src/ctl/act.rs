//! `start`, `stop`, `restart`, `signal`, `reset`, `flush`: ask, wait until it is done, say what happened.

use super::exits;
use super::failure::Failure;
use super::list;
use super::look::DIM;
use super::pm2;
use super::progress::{Progress, TICK};
use super::session::Session;
use super::units::printable;
use crate::api::{
    ActionReply, ActionResult, AppDetail, ExitReason, OutputLine, RefusalCode, SignalBody, Stream, routes,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Write;
use std::ops::ControlFlow;

/// Ctrl-C, as a shell counts it: 128 and the signal's number.
pub(crate) const INTERRUPTED: u8 = 130;

/// What is asked for, and how it is called while it lasts.
pub(crate) struct Act<'a> {
    pub(crate) verb: &'static str,
    pub(crate) doing: &'static str,
    pub(crate) apps: &'a [String],
    pub(crate) wait: bool,
    pub(crate) hard: bool,
}

pub(crate) fn act(session: &mut Session, act: &Act) -> Result<u8, Failure> {
    ask(session, act, &serde_json::Map::new())
}

pub(crate) fn signal(session: &mut Session, app: String, signal: String) -> Result<u8, Failure> {
    let apps = [app];
    let act = Act { verb: "signal", doing: "signalling", apps: &apps, wait: false, hard: false };
    ask(session, &act, &SignalBody { signal })
}

fn ask(session: &mut Session, act: &Act, body: &impl Serialize) -> Result<u8, Failure> {
    let path = routes::act(&act.apps.join(","), act.verb, act.wait, act.hard);
    let reply = if act.wait {
        wait_for::<ActionReply>(session, act.doing, act.apps, &path, body)
    } else {
        session.client()?.post(&path, body).map(Some).map_err(Failure::from)
    };
    match reply {
        Ok(None) => Ok(INTERRUPTED),
        Ok(Some(reply)) => done(session, &reply),
        Err(failure) => failed(session, act, failure),
    }
}

/// The answer to work that takes its time, with progress on a terminal; none when Ctrl-C ended the waiting.
pub(crate) fn wait_for<T: DeserializeOwned>(
    session: &mut Session,
    doing: &str,
    words: &[String],
    path: &str,
    body: &impl Serialize,
) -> Result<Option<T>, Failure> {
    let look = session.look;
    let shows = look.terminal && !session.json;
    let client = session.client()?;
    let mut progress = if shows { Progress::start(doing, words, client.socket(), &look) } else { None };
    let mut tick = || progress.as_mut().map_or(ControlFlow::Continue(()), Progress::tick);
    let reply = client.post_and_wait(path, body, TICK, &mut tick)?;
    drop(progress);
    if reply.is_none() {
        writeln!(session.err, "Not waiting any longer. The supervisor goes on with it: see `infissi-ctl list`.")?;
    }
    Ok(reply)
}

fn done(session: &mut Session, reply: &ActionReply) -> Result<u8, Failure> {
    if session.json {
        session.print_json(reply)?;
    } else {
        print_results(session, &reply.results)?;
        if session.look.terminal {
            list::list(session)?;
        }
    }
    Ok(worst(&reply.results))
}

/// The exit code of several results: the first failure's.
pub(crate) fn worst(results: &[ActionResult]) -> u8 {
    results.iter().find_map(|result| result.error.as_ref()).map_or(0, |error| error.code.exit_code())
}

fn failed(session: &mut Session, act: &Act, failure: Failure) -> Result<u8, Failure> {
    let failure = pm2::explain_number(session, act.verb, act.apps, failure);
    let Failure::Answered(body) = &failure else { return Err(failure) };
    if session.json || body.results.is_empty() {
        return Err(failure);
    }
    print_results(session, &body.results)?;
    Ok(body.error.code.exit_code())
}

/// A line an app, and below a failed one why, what it said last, and what to do.
pub(crate) fn print_results(session: &mut Session, results: &[ActionResult]) -> Result<(), Failure> {
    for result in results {
        match &result.error {
            None => writeln!(session.out, "{} {}: {}", session.look.done(), result.app, printable(&result.message))?,
            Some(error) => {
                session.out.flush()?;
                // A failure's message names its app: it also stands alone, as the error of a single request.
                writeln!(session.err, "{} {}", session.look.failed(), printable(&error.message))?;
                // What was refused was not tried: how the app ended last has nothing to do with it.
                if error.code == RefusalCode::Failed {
                    print_last_exit(session, &result.app, &error.message)?;
                }
                print_last_lines(session, &result.last_lines)?;
                if let Some(hint) = &error.hint {
                    writeln!(session.err, "  next: {hint}")?;
                }
            }
        }
    }
    Ok(())
}

/// Unless the failure, `said`, is just that.
fn print_last_exit(session: &mut Session, app: &str, said: &str) -> Result<(), Failure> {
    // A courtesy: without it the failure is told all the same.
    let Ok(detail) = session.client()?.get::<AppDetail>(&routes::app(app)) else { return Ok(()) };
    let exit = detail.status.last_exit.as_ref();
    // Why it could not be started is what the failure says.
    let Some(exit) = exit.filter(|exit| exit.reason != ExitReason::SpawnFailed) else { return Ok(()) };
    let how = exits::sentence(exit);
    if !said.contains(&how) {
        writeln!(session.err, "  last exit: {how}")?;
    }
    Ok(())
}

fn print_last_lines(session: &mut Session, lines: &[OutputLine]) -> Result<(), Failure> {
    for OutputLine { stream, line } in lines {
        let mark = match stream {
            Stream::Out => "|",
            Stream::Err => "!",
        };
        writeln!(session.err, "  {} {}", session.look.paint(DIM, mark), printable(line))?;
    }
    Ok(())
}

/// `flush` empties files for good: it wants to hear which.
pub(crate) fn flush(session: &mut Session, apps: &[String]) -> Result<u8, Failure> {
    if apps.is_empty() {
        return Err(Failure::new(
            RefusalCode::Usage,
            "which app's logs are to be emptied?",
            "`infissi-ctl flush APP`, or `infissi-ctl flush all` for every app",
        ));
    }
    act(session, &Act { verb: "flush", doing: "emptying the logs of", apps, wait: true, hard: false })
}
