//! The backup before a deploy: made before anything is begun, and without it nothing is.

use super::making::Unmade;
use super::teller::Teller;
use crate::api::{BackupPlan, ExecPlan, RefusalCode, routes};
use crate::ctl::clock;
use crate::ctl::failure::Failure;
use crate::ctl::units::size;
use crate::deploy::backup::{self, BackupError, Figures, Made, Step, Watch};
use crate::deploy::{Audience, Root, spelled};
use crate::linux::user::own_uid;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

pub(super) const NOTHING_YET: &str = "none, for no release serves yet";
/// How often it is asked whether to go on.
const TICK: Duration = Duration::from_millis(50);

/// Makes one of the app as it is now.
pub(super) fn back_up(teller: &mut Teller<'_>, app: &str) -> Result<Made, Unmade> {
    let client = teller.session().client()?;
    let plan: BackupPlan = client.get(&routes::backup(app)).map_err(Failure::from)?;
    // The commands alone need the environment.
    let exec: Option<ExecPlan> = match plan.before.is_empty() {
        true => None,
        false => Some(client.get(&routes::exec(app)).map_err(Failure::from)?),
    };
    if plan.uid != own_uid() {
        let owner = Root::owner_name(own_uid());
        let message = format!("backups of {app} are made by {}, and {owner} deploys it", plan.user);
        let hint = format!("let its releases belong to {}, or deploy with --no-backup", plan.user);
        return Err(Failure::new(RefusalCode::Failed, message, hint).into());
    }
    teller.begin("backup", true)?;
    let made = on_its_own_thread(teller, &plan, exec.as_ref())?;
    for note in &made.notes {
        teller.say(&format!("  backup: {note}"))?;
    }
    Ok(made)
}

/// It gives way to everything else there, and what comes after it does not have to.
fn on_its_own_thread(teller: &mut Teller<'_>, plan: &BackupPlan, exec: Option<&ExecPlan>) -> Result<Made, Unmade> {
    let is_stopped = AtomicBool::new(false);
    let (told, heard) = channel();
    let mut watch = Elsewhere { told, is_stopped: &is_stopped };
    let made = std::thread::scope(|scope| {
        let making = scope.spawn(move || backup::make(plan, exec, &clock::here_and_now(), &mut watch));
        let (mut unsaid, mut is_ours) = (Ok(()), true);
        loop {
            match heard.recv_timeout(TICK) {
                // With nobody to hear it, it is over.
                Ok(told) => {
                    is_ours = told.is_ours;
                    unsaid = unsaid.and_then(|()| teller.say(&told.line));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let is_enough = if is_ours { teller.tick().is_break() } else { teller.is_enough() };
            if is_enough || unsaid.is_err() {
                is_stopped.store(true, Ordering::Relaxed);
            }
        }
        let made = making.join().unwrap_or(Err(BackupError::Stopped));
        unsaid.map(|()| made)
    })?;
    made.map_err(|error| {
        if matches!(error, BackupError::Stopped) {
            return Unmade::Interrupted { left: "nothing of its backup is left, and nothing was changed".to_owned() };
        }
        Failure::from(error.refusal()).into()
    })
}

/// `/var/backups/…: 1.2G of 4711 entries`
pub(super) fn in_words(made: &Made) -> String {
    let Figures { entries, bytes } = made.figures;
    format!("backup {}: {} ({entries} entries)", made.path.display(), size(bytes))
}

struct Told {
    line: String,
    /// A command has the terminal else, and what it writes is not to be drawn over.
    is_ours: bool,
}

/// Tells what is done to whoever waits on another thread.
struct Elsewhere<'s> {
    told: Sender<Told>,
    is_stopped: &'s AtomicBool,
}

impl Watch for Elsewhere<'_> {
    fn step(&mut self, step: Step<'_>) {
        let line = match step {
            Step::Before { number, of, words } => format!("  {} ({number} of {of})", spelled(words)),
            Step::Archive => "  archiving".to_owned(),
            Step::Verify => "  reading it back".to_owned(),
        };
        // Whoever waits has left: then it is stopped, too.
        let _unheard = self.told.send(Told { line, is_ours: !matches!(step, Step::Before { .. }) });
    }

    fn goes_on(&mut self, _: Figures) -> bool {
        !self.is_stopped.load(Ordering::Relaxed)
    }
}
