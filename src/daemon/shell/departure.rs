//! When another program takes the place of this one: the loop goes on until nothing is in the way, and rests then.

use super::Shell;
use crate::api::{EventKind, Refusal, RefusalCode, UpgradeStatus};
use crate::daemon::clock;
use crate::daemon::run_records::Memory;
use crate::daemon::upgrade::{Leaving, Packed, Upgrade};
use crate::supervisor::Announcement;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tracing::info;

/// What is in the way passes within this time, or it is told.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who asked gets the answer before the connection ends; one that does not take it is not waited for.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// Not all that passes is told to the loop.
const AGAIN: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_millis(1);

pub(super) struct Departure {
    upgrade: Upgrade,
    stage: Stage,
    look_at: Duration,
    until: Duration,
}

enum Stage {
    /// Something is, or was, in the way.
    Asked(oneshot::Sender<Result<oneshot::Sender<()>, Refusal>>),
    Accepted {
        /// Closed when who asked has the answer.
        answered: oneshot::Receiver<()>,
        answer_until: Duration,
        /// What the public is answered at.
        doors: oneshot::Receiver<Vec<(String, OwnedFd)>>,
    },
}

impl Departure {
    pub(super) fn new(upgrade: Upgrade, accepted: oneshot::Sender<Result<oneshot::Sender<()>, Refusal>>) -> Departure {
        let until = clock::now().mono + PATIENCE;
        Departure { upgrade, stage: Stage::Asked(accepted), look_at: until, until }
    }

    /// Otherwise it is looked at whenever something happens.
    pub(super) fn deadline(&self) -> Duration {
        self.look_at
    }
}

impl Shell {
    /// To be called when all that is to be done is. Some: nobody looks after anything from here on.
    pub(super) fn leave(&mut self) -> Option<Packed> {
        let departure = self.departure.take()?;
        let now = clock::now().mono;
        match self.in_the_way() {
            None => self.leave_when_answered(departure, now),
            Some(refusal) if departure.until <= now => {
                match departure.stage {
                    Stage::Asked(accepted) => drop(accepted.send(Err(refusal))),
                    Stage::Accepted { .. } => self.stay(&departure.upgrade, refusal),
                }
                None
            }
            Some(_) => {
                self.departure = Some(Departure { look_at: departure.until.min(now + AGAIN), ..departure });
                None
            }
        }
    }

    fn leave_when_answered(&mut self, departure: Departure, now: Duration) -> Option<Packed> {
        let Departure { upgrade, stage, until, .. } = departure;
        let (mut answered, answer_until, mut doors) = match stage {
            Stage::Accepted { answered, answer_until, doors } => (answered, answer_until, doors),
            Stage::Asked(accepted) => {
                let (sent, answered) = oneshot::channel();
                // Who asked is gone, and has not heard that it would be done.
                accepted.send(Ok(sent)).ok()?;
                let doors = self.shared.front.copies();
                let stage = Stage::Accepted { answered, answer_until: now + ANSWER_PATIENCE, doors };
                self.departure = Some(Departure { upgrade, stage, look_at: now + SOON, until: now + PATIENCE });
                return None;
            }
        };
        let is_answered = answered.try_recv() == Err(TryRecvError::Closed) || answer_until <= now;
        // No task runs from here on, so that nobody is reaped whose end would be told to nobody.
        let (notice, ask) = (self.notices.try_recv(), self.asks.try_recv());
        if !is_answered || notice.is_ok() || ask.is_ok() {
            notice.into_iter().for_each(|notice| self.noticed(notice));
            ask.into_iter().for_each(|ask| self.asked(ask));
            let stage = Stage::Accepted { answered, answer_until, doors };
            self.departure = Some(Departure { upgrade, stage, look_at: now + SOON, until });
            return None;
        }
        let memory = Memory { save: self.last_save, apps: self.core.remembered() };
        // Without them there is the worker, which has them, too.
        let doors = doors.try_recv().unwrap_or_default();
        let packed = Packed::new(&self.shared, &upgrade, memory, doors);
        let packed = packed.map_err(|why| self.stay(&upgrade, Refusal::new(RefusalCode::Failed, why))).ok()?;
        let Upgrade { way, to, by } = &upgrade;
        info!("{} of version {to} takes over, asked for by {by}", way.program.display());
        Some(packed)
    }

    fn in_the_way(&self) -> Option<Refusal> {
        let busy = |why: &str, hint: &str| Some(Refusal::new(RefusalCode::Busy, why).hint(hint));
        if self.shared.state_is_unsaved() {
            return busy("the disk does not take the desired state", "infissi-ctl list says why; then try again");
        }
        if self.saving.is_some() || !self.queue.is_empty() {
            return busy("the disk has not taken the desired state yet", "try again in a moment");
        }
        // It is on the disk already, and the core has not heard of it.
        if self.shared.applying.try_lock().is_err() {
            return busy("a configuration is being applied", "try again once it is done");
        }
        self.core.in_the_way()
    }

    /// It does not come to it: whoever asked finds that.
    fn stay(&self, Upgrade { way, to, by }: &Upgrade, refusal: Refusal) {
        let now = clock::now().wall;
        let message = format!("the upgrade to {to} was given up: {refusal}");
        let announcement = Announcement {
            app: None,
            kind: EventKind::Supervisor,
            by: Some(by.clone()),
            slot: None,
            pid: None,
            message,
        };
        self.shared.events.add(announcement, now);
        self.shared.upgrades.ended(UpgradeStatus {
            id: way.id,
            from: env!("CARGO_PKG_VERSION").to_owned(),
            to: to.clone(),
            at: now,
            took_ms: 0,
            failed: Some(refusal.message),
        });
    }

    pub(super) fn left_with(self, packed: Packed) -> Leaving {
        packed.leave_with(self.signals)
    }
}
