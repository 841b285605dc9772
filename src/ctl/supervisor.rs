//! `ping`, `shutdown`: about the supervisor itself.

use super::clock;
use super::failure::Failure;
use super::session::Session;
use super::units::uptime;
use crate::api::{RefusalCode, SupervisorStatus, routes};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

/// Longer than any shutdown that the supervisor's own `shutdown_timeout` allows by default.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(crate) fn ping(session: &mut Session) -> Result<u8, Failure> {
    session.client()?.connect()?;
    let asked = clock::monotonic();
    let supervisor: SupervisorStatus = session.client()?.get(routes::SUPERVISOR)?;
    let took = asked.elapsed().as_secs_f64() * 1000.0;
    if session.json {
        let SupervisorStatus { version, pid, uptime_ms, .. } = supervisor;
        session.print_json(&json!({ "version": version, "pid": pid, "uptime_ms": uptime_ms, "took_ms": took }))?;
    } else {
        let SupervisorStatus { version, pid, uptime_ms, .. } = supervisor;
        let up = uptime(uptime_ms);
        writeln!(session.out, "infissi-supervisord {version} answers in {took:.1} ms: pid {pid}, up {up}")?;
    }
    Ok(0)
}

pub(crate) fn shutdown(session: &mut Session, wait: bool) -> Result<u8, Failure> {
    // Accepted is accepted, in whatever words.
    let _accepted: Value = session.client()?.post(routes::SHUTDOWN, &serde_json::Map::new())?;
    let message = if wait { wait_until_gone(session)? } else { "The supervisor stops its apps, then itself." };
    if session.json {
        session.print_json(&json!({ "message": message }))?;
    } else {
        writeln!(session.out, "{message}")?;
    }
    Ok(0)
}

fn wait_until_gone(session: &mut Session) -> Result<&'static str, Failure> {
    let socket = session.client()?.socket().to_owned();
    let since = clock::monotonic();
    while since.elapsed() < SHUTDOWN_LIMIT {
        let gone = crate::api::Client::new(&socket)?.connect().is_err();
        if gone {
            return Ok("The supervisor and its apps have stopped.");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Err(Failure::new(
        RefusalCode::Failed,
        format!("the supervisor still answers after {} s", SHUTDOWN_LIMIT.as_secs()),
        "`infissi-ctl list` shows what does not stop, `journalctl -u infissi -n 50` why",
    ))
}
