//! The last step of a program whose place another one takes. Up to it everything goes on as if nothing had been asked;
//! from it on nothing that runs is looked after until the other one is there.

use super::handover::Handover;
use super::{CONTROL, NOTE, PROGRAM, RUNTIME_LOCK, STATE_LOCK, Upgrade};
use crate::daemon::clock;
use crate::daemon::kept_pipes;
use crate::daemon::run_records::Memory;
use crate::daemon::shared::Shared;
use crate::daemon::signals::Signals;
use crate::daemon::state::StateDir;
use crate::daemon::upgrade::Build;
use crate::linux::exec::{Exec, Program};
use crate::linux::failpoint;
use crate::linux::fallback::{give_again, hold_orders};
use crate::logs::{AtRest, OpenPipe, Stream};
use crate::supervisor::RunId;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// What is read is written, and what is to be remembered is, within this time each: a disk that hangs is no time to leave.
const DISK_PATIENCE: Duration = Duration::from_secs(2);

/// All is ready for it.
pub(in crate::daemon) struct Leaving {
    exec: Exec,
    next: Program,
    own: Program,
    note: File,
    signals: Signals,
    /// Nothing of it is to end here: its log thread would end lines that are not whole.
    kept: (Arc<Shared>, AtRest),
}

/// Everything but the signals, which the loop listens to until the end.
pub(in crate::daemon) struct Packed {
    exec: Exec,
    next: Program,
    own: Program,
    note: File,
    kept: (Arc<Shared>, AtRest),
}

impl Packed {
    /// Blocks, for as long as a disk takes that is well.
    ///
    /// # Errors
    /// Something that runs would not go on: a sentence. Everything is as before then.
    pub(in crate::daemon) fn new(
        shared: &Arc<Shared>,
        upgrade: &Upgrade,
        memory: Memory,
        doors: Vec<(String, OwnedFd)>,
    ) -> Result<Packed, String> {
        let left = clock::now();
        let Upgrade { way, to, by } = upgrade;
        if Build::at(&way.program).ok() != Some(way.build) {
            return Err(format!("{} was replaced again after it was checked", way.program.display()));
        }
        shared.remember_within(memory, DISK_PATIENCE)?;
        failpoint::here("upgrade.remembered");
        unnoted(shared).map_or(Ok(()), Err)?;
        is_applied_on_disk(shared)?;
        let rest = shared.logs.rest_within(DISK_PATIENCE).ok_or("the disk that the logs are on does not answer")?;
        let (events, _news) = shared.events.since(0);
        let handover = Handover {
            id: way.id,
            from: env!("CARGO_PKG_VERSION").to_owned(),
            to: to.clone(),
            by: by.clone(),
            at: left.wall,
            left: left.mono,
            began: shared.began,
            program: way.program.clone(),
            nofile: shared.launcher.nofile.map(|nofile| (nofile.soft, nofile.hard)),
            events: Vec::new(),
        };
        Packed::pack(shared, &handover.with_events(&events), rest, doors)
            .map_err(|error| format!("what is to be passed on cannot be: {error}"))
    }

    fn pack(
        shared: &Arc<Shared>,
        handover: &Handover,
        mut rest: AtRest,
        doors: Vec<(String, OwnedFd)>,
    ) -> io::Result<Packed> {
        let note = handover.write()?;
        let program: OwnedFd = File::open("/proc/self/exe")?.into();
        let [state, runtime] = &shared.upgrades.locks;
        let mut descriptors = vec![
            (STATE_LOCK.to_owned(), state.copy()?),
            (RUNTIME_LOCK.to_owned(), runtime.copy()?),
            (NOTE.to_owned(), note.try_clone()?.into()),
            (PROGRAM.to_owned(), program.try_clone()?),
        ];
        if let Some(control) = shared.upgrades.control.get() {
            descriptors.push((CONTROL.to_owned(), control.try_clone()?));
        }
        descriptors.extend(doors);
        descriptors.extend(rest.pipes.drain(..).map(named));
        let exec = Exec::new(std::env::args_os(), descriptors)?;
        let (next, own) = (Program::at(&handover.program)?, Program::Open(exec.spared(program)?));
        let note = File::from(exec.spared(note.into())?);
        Ok(Packed { exec, next, own, note, kept: (shared.clone(), rest) })
    }

    pub(in crate::daemon) fn leave_with(self, signals: Signals) -> Leaving {
        let Packed { exec, next, own, note, kept } = self;
        Leaving { exec, next, own, note, signals, kept }
    }
}

impl Leaving {
    /// Becomes the other program, or this one again where that cannot be executed. Returns only when neither can.
    pub(in crate::daemon) fn go(self) -> io::Error {
        failpoint::here("upgrade.packed");
        self.kept.0.launcher.manager.is_alive();
        hold_orders();
        // What came up to here the other one is told, as if it came there.
        self.signals.unheard().into_iter().for_each(give_again);
        let why = self.exec.go(&self.next);
        let _untold = write!(&self.note, "it cannot be executed: {why}");
        self.exec.go(&self.own)
    }
}

/// As the service manager keeps it, if there is one.
fn named(OpenPipe { source, app, stream, read }: OpenPipe) -> (String, OwnedFd) {
    let [out, err] = kept_pipes::names(RunId(source.0), &app);
    let name = match stream {
        Stream::Out => out,
        Stream::Err => err,
    };
    (name, read)
}

/// The next one goes on by what it finds there.
fn is_applied_on_disk(shared: &Shared) -> Result<(), String> {
    let found = StateDir::new(&shared.places.state_dir).load_applied()?;
    if found.is_some_and(|found| found.sources == shared.applied().sources) {
        return Ok(());
    }
    Err("the configuration that runs is not in the state directory: infissi-ctl apply, then try again".to_owned())
}

/// What could not be noted when it was started, the next one would end.
fn unnoted(shared: &Shared) -> Option<String> {
    let noted = shared.launcher.records.all();
    let runs = shared.runs.all();
    let run = runs.iter().find(|run| !noted.iter().any(|record| record.run == run.id.0))?;
    Some(format!("{} would not go on: that it runs could not be noted in the runtime directory", run.app))
}
