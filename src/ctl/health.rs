//! `health`: probe now.

use super::failure::Failure;
use super::session::Session;
use super::units::printable;
use crate::api::{Health, ProbeReply, RefusalCode, routes};
use std::io::Write;

/// 0 only if every app is healthy.
pub(crate) fn health(session: &mut Session, apps: &[String]) -> Result<u8, Failure> {
    let path = routes::act(&apps.join(","), "probe", false, false);
    let replies: Vec<ProbeReply> = session.client()?.post(&path, &serde_json::Map::new())?;
    if session.json {
        session.print_json(&replies)?;
    } else {
        for reply in &replies {
            let mark = match reply.health {
                Health::Healthy => session.look.done(),
                Health::Unhealthy => session.look.failed(),
                Health::Unknown => session.look.warning(),
            };
            writeln!(session.out, "{mark} {} is {}: {}", reply.app, reply.health, printable(&reply.message))?;
        }
    }
    let all_healthy = replies.iter().all(|reply| reply.health == Health::Healthy);
    Ok(if all_healthy { 0 } else { RefusalCode::Failed.exit_code() })
}
