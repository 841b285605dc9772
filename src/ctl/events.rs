//! `events`: what happened, a line a happening.

use super::failure::Failure;
use super::look::{BOLD, DIM, GREEN, RED, YELLOW};
use super::session::Session;
use super::stream::Records;
use super::units::{local_time, printable};
use crate::api::{EventKind, EventRecord, EventsQuery, routes};
use anstyle::Style;

pub(crate) fn events(session: &mut Session, follow: bool) -> Result<u8, Failure> {
    let path = routes::events(&EventsQuery { follow, after: None });
    let look = session.look;
    Records::new(session.json, follow).copy(session, &path, &mut |line, out| {
        let Ok(event) = serde_json::from_slice::<EventRecord>(line) else {
            // A record of a newer supervisor: better than nothing.
            return out.write_all(line).and_then(|()| out.write_all(b"\n"));
        };
        let time = look.paint(DIM, &local_time(event.at));
        let app = look.paint(BOLD, event.app.as_deref().unwrap_or("supervisor"));
        let by = if event.by == "supervisor" { String::new() } else { format!(" (by {})", event.by) };
        let message = printable(&event.message);
        let message = color(event.kind).map_or(message.clone(), |color| look.paint(color, &message));
        writeln!(out, "{time} {app}: {message}{}", look.paint(DIM, &by))
    })?;
    Ok(0)
}

/// What somebody who glances over the lines should not miss.
fn color(kind: EventKind) -> Option<Style> {
    match kind {
        EventKind::Swapped => Some(GREEN),
        EventKind::RolloverFailed | EventKind::FlippedBack | EventKind::Errored => Some(RED),
        EventKind::Breach | EventKind::Backoff | EventKind::Killed | EventKind::PortHeld | EventKind::Proxy => {
            Some(YELLOW)
        }
        EventKind::Requested
        | EventKind::Started
        | EventKind::Adopted
        | EventKind::Online
        | EventKind::Stopping
        | EventKind::Stopped
        | EventKind::Exited
        | EventKind::Waiting
        | EventKind::Health
        | EventKind::Skipped
        | EventKind::Applied
        | EventKind::Logs
        | EventKind::Supervisor => None,
    }
}
