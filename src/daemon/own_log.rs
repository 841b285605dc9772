//! The supervisor's own log: to stderr, or the journal, through a small queue so that a slow reader never slows it.

use crate::api::{EventKind, EventRecord};
use crate::config::{LogFormat, OwnLogConfig};
use std::io::IsTerminal;
use tracing::{debug, info, warn};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that wait for a slow stderr before they are dropped; the default of 128,000 slots costs 4 MB.
const QUEUE: usize = 1_024;

/// Logs from here on; what is still queued is written when the guard is dropped.
pub(super) fn start(config: &OwnLogConfig) -> WorkerGuard {
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(QUEUE).thread_name("own-log").finish(std::io::stderr());
    let level = config.level.parse::<LevelFilter>().unwrap_or(LevelFilter::INFO);
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let registry = tracing_subscriber::registry().with(level);
    let lines = fmt::layer().with_writer(writer).with_target(false).with_ansi(color);
    // A second start in one process (tests) keeps the first log.
    let _ = match (config.format, journal) {
        (LogFormat::Json, _) => registry.with(lines.json().flatten_event(true)).try_init(),
        (LogFormat::Text, true) => registry.with(lines.without_time()).try_init(),
        (LogFormat::Text, false) => registry.with(lines).try_init(),
    };
    guard
}

/// One happening, once, at the level at which it reads well.
pub(super) fn event(record: &EventRecord) {
    let EventRecord { app, kind, by, pid, message, .. } = record;
    let app = app.as_deref().unwrap_or("supervisor");
    let pid = pid.map(|pid| format!(" [{pid}]")).unwrap_or_default();
    match kind {
        // Nobody asked for it, and somebody may have to do something.
        EventKind::Exited
        | EventKind::Killed
        | EventKind::Backoff
        | EventKind::Errored
        | EventKind::PortHeld
        | EventKind::Breach
        | EventKind::RolloverFailed
        | EventKind::FlippedBack
        | EventKind::Health
        | EventKind::Skipped
        | EventKind::Logs
        | EventKind::Proxy => warn!("{app}{pid}: {message}"),
        EventKind::Requested | EventKind::Applied => info!("{app}: {message}, by {by}"),
        EventKind::Started
        | EventKind::Adopted
        | EventKind::Online
        | EventKind::Swapped
        | EventKind::Stopped
        | EventKind::Waiting
        | EventKind::Supervisor => {
            info!("{app}{pid}: {message}")
        }
        EventKind::Stopping => debug!("{app}{pid}: {message}"),
    }
}
