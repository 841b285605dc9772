//! `events`: what happened, a line a happening.

use super::failure::Failure;
use super::look::{BOLD, DIM};
use super::session::Session;
use super::stream::Records;
use super::units::{local_time, printable};
use crate::api::{EventRecord, EventsQuery, routes};

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
        writeln!(out, "{time} {app}: {}{}", printable(&event.message), look.paint(DIM, &by))
    })?;
    Ok(0)
}
