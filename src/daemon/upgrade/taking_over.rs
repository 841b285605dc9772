//! The first step of a program that takes another one's place: until it is ready there is a way back.

use super::handover::Handover;
use super::{NOTE, PROGRAM};
use crate::api::{EventKind, UpgradeStatus};
use crate::daemon::clock;
use crate::daemon::service_manager::ServiceManager;
use crate::daemon::shared::Shared;
use crate::linux::exec::{Exec, Program, is_called};
use crate::linux::inherited::Inherited;
use crate::linux::{failpoint, fallback};
use crate::supervisor::Announcement;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::panic;
use std::time::Duration;

/// A start takes milliseconds; what an earlier supervisor left and does not end takes 5 s, a silent worker 2 s.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Another program was here, in this process.
pub(in crate::daemon) struct TakeOver {
    pub(in crate::daemon) handover: Handover,
    /// Why the one that was to take our place gave up.
    failed: Option<String>,
}

impl TakeOver {
    /// None: this process began with us. From here on there is a way back to whoever was before us, unless that is us.
    ///
    /// # Errors
    /// What we are told makes no sense to us: a sentence.
    pub(in crate::daemon) fn begin(inherited: &mut Inherited) -> Result<Option<TakeOver>, String> {
        if !inherited.names().any(|name| name == NOTE) {
            return Ok(None);
        }
        // Of a program before us.
        fallback::forget_alarm();
        fallback::share_orders();
        let manager = ServiceManager::found();
        manager.is_alive();
        let reserve = inherited.reserve();
        let Some(note) = inherited.named(NOTE).map(File::from) else { return Ok(None) };
        let program = inherited.named(PROGRAM);
        let told = Handover::read(&note);
        let failed = told.as_ref().ok().and_then(|(_, failed)| failed.clone());
        if failed.is_some() {
            is_called(c"infissi-supervi");
        } else if let Some(program) = program {
            // Without a way back there is the service manager.
            let _no_descriptors = reserve.and_then(|reserve| arm(reserve, program, note, patience(manager.watchdog())));
            go_back_at_panics();
            failpoint::here("upgrade.armed");
        }
        let (handover, _) =
            told.map_err(|error| format!("what the program before it tells makes no sense: {error}"))?;
        Ok(Some(TakeOver { handover, failed }))
    }

    /// We look after everything from here on, but for what runs of the apps that are `given_up`.
    pub(in crate::daemon) fn complete(self, shared: &Shared, given_up: &BTreeSet<String>) {
        fallback::disarm();
        let TakeOver { handover: Handover { id, from, to, by, at, left, .. }, failed } = self;
        let now = clock::now();
        let took = now.mono.saturating_sub(left);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let touched = touched(given_up);
        let (to, message) = match &failed {
            Some(why) => {
                let message = format!("the upgrade to {to} failed: {why}; {from} goes on, and {touched}");
                tracing::warn!("{message}");
                (to, message)
            }
            None => {
                let own = env!("CARGO_PKG_VERSION").to_owned();
                let message = format!("upgraded from {from} to {own} in {took_ms} ms; {touched}");
                (own, message)
            }
        };
        let announcement =
            Announcement { app: None, kind: EventKind::Supervisor, by: Some(by), slot: None, pid: None, message };
        shared.events.add(announcement, now.wall);
        shared.upgrades.ended(UpgradeStatus { id, from, to, at, took_ms, failed });
    }
}

/// At once: what is unwound waits for threads that are at work.
fn go_back_at_panics() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        tell(panic);
        let said = panic.payload_as_str().unwrap_or("without a word");
        let _is_ready_or_cannot = fallback::go_back(&format!("it panicked: {said}"));
    }));
}

fn touched(given_up: &BTreeSet<String>) -> String {
    if given_up.is_empty() {
        return "no app was touched".to_owned();
    }
    let apps: Vec<&str> = given_up.iter().map(String::as_str).collect();
    format!("what ran of {} could not be gone on with and was ended", apps.join(", "))
}

/// A watchdog that has heard of us at the start has not lost its own when whoever was before us is to be heard.
fn patience(watchdog: Option<Duration>) -> Duration {
    let half = watchdog.map(|span| Duration::from_secs((span / 2).as_secs().max(1)));
    half.map_or(READY_WITHIN, |half| half.min(READY_WITHIN))
}

#[cfg(test)]
#[test]
fn the_way_back_is_taken_before_a_watchdog_loses_its_patience() {
    let seconds = Duration::from_secs;
    assert_eq!(
        [None, Some(120), Some(30), Some(1)].map(|span| patience(span.map(seconds))),
        [30, 30, 15, 1].map(seconds)
    );
}

/// With all that we were given where it was: threads that are at work in that moment find nothing else in its place.
fn arm(reserve: Vec<(String, OwnedFd)>, program: OwnedFd, note: File, patience: Duration) -> io::Result<()> {
    let exec = Exec::new(std::env::args_os(), reserve)?;
    let program = Program::Open(exec.spared(program)?);
    fallback::arm(exec, program, note, patience)
}
