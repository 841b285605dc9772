//! The first step of a program that takes another one's place: until it is ready there is a way back.

use super::handover::Handover;
use super::{NOTE, PROGRAM};
use crate::api::{EventKind, UpgradeStatus};
use crate::daemon::clock;
use crate::daemon::shared::Shared;
use crate::linux::exec::{Exec, Program, is_called};
use crate::linux::inherited::Inherited;
use crate::linux::{failpoint, fallback};
use crate::supervisor::Announcement;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
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
        let Some(note) = inherited.named(NOTE).map(File::from) else { return Ok(None) };
        let program = inherited.named(PROGRAM);
        let told = Handover::read(&note);
        let failed = told.as_ref().ok().and_then(|(_, failed)| failed.clone());
        if failed.is_some() {
            is_called(c"infissi-supervi");
        } else if let Some(program) = program {
            // Without a way back there is the service manager.
            let _no_descriptors = arm(inherited, program, note);
            failpoint::here("upgrade.armed");
            #[cfg(debug_assertions)]
            fail_as_told();
        }
        let (handover, _) =
            told.map_err(|error| format!("what the program before it tells makes no sense: {error}"))?;
        Ok(Some(TakeOver { handover, failed }))
    }

    /// We look after everything from here on.
    pub(in crate::daemon) fn complete(self, shared: &Shared) {
        fallback::disarm();
        let TakeOver { handover: Handover { id, from, to, by, at, left, .. }, failed } = self;
        let now = clock::now();
        let took = now.mono.saturating_sub(left);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (to, message) = match &failed {
            Some(why) => {
                let message = format!("the upgrade to {to} failed: {why}; {from} goes on, and no app was touched");
                tracing::warn!("{message}");
                (to, message)
            }
            None => {
                let own = env!("CARGO_PKG_VERSION").to_owned();
                let message = format!("upgraded from {from} to {own} in {took_ms} ms; no app was touched");
                (own, message)
            }
        };
        let announcement =
            Announcement { app: None, kind: EventKind::Supervisor, by: Some(by), slot: None, pid: None, message };
        shared.events.add(announcement, now.wall);
        shared.upgrades.ended(UpgradeStatus { id, from, to, at, took_ms, failed });
    }
}

fn arm(inherited: &Inherited, program: OwnedFd, note: File) -> io::Result<()> {
    let mut descriptors = inherited.copies()?;
    descriptors.push((NOTE.to_owned(), note.try_clone()?.into()));
    let exec = Exec::new(std::env::args_os(), descriptors)?;
    let program = Program::Open(exec.spared(program)?);
    fallback::arm(exec, program, note, READY_WITHIN)
}

/// A program whose start fails after it was checked, for the stories about that: this names a file that says how.
#[cfg(debug_assertions)]
fn fail_as_told() {
    let how = std::env::var_os("INFISSI_FAIL_TO_TAKE_OVER").and_then(|file| std::fs::read_to_string(file).ok());
    match how.as_deref() {
        Some("panic") => panic!("told to"),
        Some("abort") => std::process::abort(),
        Some("hang") => {
            fallback::hurry();
            std::thread::sleep(Duration::MAX);
        }
        _ => {}
    }
}
