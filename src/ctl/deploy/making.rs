//! From a source to a release that is ready: fetched, linked, built, migrated, bridged. What does not get that far is
//! removed, or kept as failed for a look.

use super::teller::{Teller, span};
use super::whose::Whose;
use super::{safety, sparing};
use crate::api::{DeployPlan, ExecPlan, Refusal, RefusalCode, routes};
use crate::ctl::arguments::DeployOptions;
use crate::ctl::clock;
use crate::ctl::failure::Failure;
use crate::deploy::{
    FETCH, Installation, Lock, Record, Root, Source, Sourced, State, Step, StepError, StepTook, Workshop, bridge,
    fetch, id, link_shared, remove, spelled, usual_steps,
};
use crate::linux::user::own_uid;
use jiff::Timestamp;
use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A release that is ready.
pub(crate) struct Made {
    pub(crate) record: Record,
    pub(crate) began: Timestamp,
}

pub(crate) enum Unmade {
    Failed(Failure),
    /// What is left of it, as a sentence.
    Interrupted {
        left: String,
    },
}

impl From<Failure> for Unmade {
    fn from(failure: Failure) -> Unmade {
        Unmade::Failed(failure)
    }
}

impl From<Refusal> for Unmade {
    fn from(refusal: Refusal) -> Unmade {
        Unmade::Failed(refusal.into())
    }
}

impl From<Sourced> for Unmade {
    fn from(sourced: Sourced) -> Unmade {
        match sourced {
            Sourced::Failed(refusal) => refusal.into(),
            Sourced::Interrupted => Unmade::Interrupted { left: "nothing of it is left".to_owned() },
            Sourced::Output(error) => Unmade::Failed(Failure::Output(error)),
        }
    }
}

/// What is worked with.
struct Making<'m> {
    plan: &'m DeployPlan,
    source: &'m Source,
    root: &'m Root,
    own_env: Vec<(OsString, OsString)>,
    log: File,
    /// Nothing that earlier deploys have made is used.
    fresh: bool,
    /// Something was.
    spared: Cell<bool>,
}

pub(crate) fn make(
    teller: &mut Teller<'_>,
    lock: &mut Lock,
    (plan, source, root): (&DeployPlan, &Source, &Root),
    options: &DeployOptions,
    whose: Whose,
) -> Result<Made, Unmade> {
    let began = clock::now();
    // Known before anything is made for it.
    if let Some(id) = options.id.as_ref().filter(|id| root.has(id)) {
        let message = format!("there is a release {id} of {} already", plan.releases.app);
        return Err(Failure::new(RefusalCode::Failed, message, "give the new one another --id").into());
    }
    let fetching = root.deploys().join("fetch.log");
    let log = File::create(&fetching).map_err(|error| cannot("write", &fetching, &error))?;
    let making = Making { plan, source, root, own_env: whose.env, log, fresh: options.fresh, spared: Cell::new(false) };
    let backup = if plan.backup && !options.no_backup { making.back_up(teller, lock)? } else { None };
    lock.at(None, &format!("fetching {}", source.in_words()));
    teller.begin(&format!("fetch {}", source.in_words()), true)?;
    let commit = {
        let log = making.log()?;
        let mut workshop = Workshop::new((root, FETCH), log, making.own_env.clone(), teller);
        fetch(source, root, &mut workshop)?
    };
    let id = options.id.clone().unwrap_or_else(|| root.unused(id(began, commit.as_deref())));
    let mut record = Record {
        id: id.clone(),
        state: State::Building,
        by: whose.by,
        at: began,
        source: source.in_words(),
        commit,
        step: "fetch".to_owned(),
        steps: backup.iter().map(|(_, took_ms)| StepTook::of("backup", *took_ms)).collect(),
        backup: backup.map(|(path, _)| path),
        why: None,
        went_live: None,
        bridged: Vec::new(),
    };
    record.save(root)?;
    let _log_goes_on_there = std::fs::rename(&fetching, root.log(&id));
    let exported = making.export(teller, lock, &mut record);
    let env = exported.inspect_err(|_| drop(remove(root, &id)))?;
    match making.build(teller, lock, &mut record, env) {
        Ok(()) => Ok(Made { record, began }),
        Err(unmade) => Err(making.give_up(record, unmade)),
    }
}

impl Making<'_> {
    fn log(&self) -> Result<File, Failure> {
        let log = self.log.try_clone();
        log.map_err(|error| Refusal::new(RefusalCode::Failed, format!("cannot write the log: {error}")).into())
    }

    fn app(&self) -> &str {
        &self.plan.releases.app
    }

    /// A line of our own in the log.
    fn note(&self, line: &str) {
        // A courtesy: a full disk must not end a deploy here.
        let _unwritten = writeln!(&self.log, "== {line}");
    }

    /// Where it is, and how long it took.
    fn back_up(&self, teller: &mut Teller<'_>, lock: &mut Lock) -> Result<Option<(PathBuf, u64)>, Unmade> {
        if self.plan.releases.active.is_none() {
            teller.say(&format!("  backup: {}", safety::NOTHING_YET))?;
            return Ok(None);
        }
        lock.at(None, "backup");
        let made = safety::back_up(teller, self.app())?;
        let words = safety::in_words(&made);
        let took_ms = teller.end(&words)?;
        self.note(&words);
        Ok(Some((made.path, took_ms)))
    }

    /// The files of the release and what it shares; the environment that its steps get.
    fn export(
        &self,
        teller: &mut Teller<'_>,
        lock: &mut Lock,
        record: &mut Record,
    ) -> Result<Vec<(OsString, OsString)>, Unmade> {
        let id = record.id.clone();
        lock.at(Some(&id), "putting the files into the release");
        {
            let log = self.log()?;
            let mut workshop = Workshop::new((self.root, &id), log, self.own_env.clone(), teller);
            let is_room = || self.root.check_bytes(self.plan.min_free_bytes, self.app()).map(drop);
            self.source.export(record.commit.as_deref(), (self.root, &id), &is_room, &mut workshop)?;
        }
        let release = self.root.release(&id);
        link_shared(&self.plan.shared, &release, teller)?;
        let took_ms = teller.end(&format!("{} is release {id}", self.source.in_words()))?;
        record.steps.push(StepTook::of("fetch", took_ms));
        let plan: ExecPlan =
            teller.session().client()?.get(&routes::exec_in(self.app(), &id)).map_err(Failure::from)?;
        if plan.uid != own_uid() {
            let owner = Root::owner_name(own_uid());
            let message =
                format!("{} runs as {}, and the steps of its release would be run by {owner}", self.app(), plan.user);
            let root = self.root.dir().display();
            return Err(Failure::new(RefusalCode::Failed, message, format!("chown -R {} {root}", plan.user)).into());
        }
        Ok(self.environment(plan, record))
    }

    /// The app's own, with what only a step is told.
    fn environment(&self, plan: ExecPlan, record: &Record) -> Vec<(OsString, OsString)> {
        let mut env: Vec<(OsString, OsString)> =
            plan.env.into_iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        let mut set = |name: &str, value: OsString| {
            env.retain(|(there, _)| there != name);
            env.push((OsString::from(name), value));
        };
        for name in ["SSH_AUTH_SOCK", "CI"] {
            if let Some((_, value)) = self.own_env.iter().find(|(own, _)| own == name) {
                set(name, value.clone());
            }
        }
        if let Some(commit) = &record.commit {
            set("INFISSI_COMMIT", OsString::from(commit));
        }
        env
    }

    fn build(
        &self,
        teller: &mut Teller<'_>,
        lock: &mut Lock,
        record: &mut Record,
        env: Vec<(OsString, OsString)>,
    ) -> Result<(), Unmade> {
        let release = self.root.release(&record.id);
        let steps = match &self.plan.steps {
            Some(steps) => steps.clone(),
            None => usual_steps(&release)?,
        };
        if !steps.is_empty() && !self.fresh {
            lock.at(Some(&record.id), "copying the build cache");
            let carried = sparing::carry(teller, (self.root, &record.id))?;
            if let Some(line) = carried {
                self.note(&line);
                self.spared.set(true);
            }
        }
        for step in &steps {
            self.step(teller, lock, record, (step, &env), false)?;
        }
        if !self.plan.bridge.is_empty() {
            lock.at(Some(&record.id), "bridging the files of earlier releases");
            record.bridged = bridge(self.root, &record.id, &self.plan.bridge, teller)?;
            record.save(self.root)?;
            if !record.bridged.is_empty() {
                let served = match record.bridged.len() {
                    1 => "1 file of earlier releases is".to_owned(),
                    count => format!("{count} files of earlier releases are"),
                };
                teller.say(&format!("  {served} served on"))?;
            }
        }
        for step in &self.plan.migrate {
            self.step(teller, lock, record, (step, &env), true)?;
        }
        Ok(())
    }

    fn step(
        &self,
        teller: &mut Teller<'_>,
        lock: &mut Lock,
        record: &mut Record,
        (command, env): (&[String], &[(OsString, OsString)]),
        migrates: bool,
    ) -> Result<(), Unmade> {
        let name = spelled(command);
        lock.at(Some(&record.id), &name);
        record.step.clone_from(&name);
        record.save(self.root)?;
        teller.begin(&name, true)?;
        let release = self.root.release(&record.id);
        let installation = if migrates { None } else { self.installation(teller, record, (command, &name, env))? };
        if let Some(installation) = installation.as_ref().filter(|_| !self.fresh)
            && let Some((line, took_ms)) = sparing::reuse(teller, installation, (self.root, &release), &name)?
        {
            self.note(&line);
            self.spared.set(true);
            record.steps.push(StepTook { reused: true, ..StepTook::of(&name, took_ms) });
            return Ok(());
        }
        let began = clock::now();
        let ran = {
            let log = self.log()?;
            let mut workshop = Workshop::new((self.root, &record.id), log, self.own_env.clone(), teller);
            workshop.run(Step { command, called: None, cwd: &release, env: env.to_vec(), is_asked: false })
        };
        match ran {
            Ok(_) => {
                let took_ms = teller.end(&name)?;
                record.steps.push(StepTook::of(&name, took_ms));
                let Some(installation) = installation else { return Ok(()) };
                let figures = (took_ms, self.plan.min_free_bytes);
                self.note(&sparing::keep(teller, installation, (self.root, &release), figures)?);
                Ok(())
            }
            Err(StepError::Interrupted) => {
                let data = if migrates { "the database may be half-changed, and " } else { "" };
                Err(Unmade::Interrupted { left: format!("{data}nothing of the release is left") })
            }
            Err(StepError::Output(error)) => Err(Unmade::Failed(Failure::Output(error))),
            Err(StepError::Failed(why)) => {
                let took = span(clock::now().duration_since(began).as_secs_f64());
                Err(self.step_failed(record, &format!("`{name}` {why} after {took}"), migrates).into())
            }
        }
    }

    fn installation(
        &self,
        teller: &mut Teller<'_>,
        record: &Record,
        (command, name, env): (&[String], &str, &[(OsString, OsString)]),
    ) -> Result<Option<Installation>, Unmade> {
        let mut workshop = Workshop::new((self.root, &record.id), self.log()?, self.own_env.clone(), teller);
        Ok(Installation::look((command, name), &self.root.release(&record.id), env, &mut workshop)?)
    }

    fn step_failed(&self, record: &Record, what: &str, migrates: bool) -> Failure {
        let data = if migrates { "; the database may be half-changed" } else { "" };
        let (log, dir) = (self.root.log(&record.id), self.root.release(&record.id));
        let mut hint = format!("read {}; the release stays in {} until the next deploy", log.display(), dir.display());
        if self.spared.get() {
            hint.push_str("; deploy --fresh goes by nothing that earlier deploys have made");
        }
        Failure::new(RefusalCode::Failed, format!("{what}{data}"), hint)
    }

    /// What has failed is kept for a look; what nobody waits for is not.
    fn give_up(&self, mut record: Record, unmade: Unmade) -> Unmade {
        match &unmade {
            Unmade::Failed(Failure::Answered(body)) => {
                record.state = State::Failed;
                record.why = Some(body.error.message.clone());
                if record.save(self.root).is_err() {
                    // The journal then says that it was cut off, and the next deploy removes it.
                    return unmade;
                }
            }
            Unmade::Failed(Failure::Output(_)) | Unmade::Interrupted { .. } => drop(remove(self.root, &record.id)),
        }
        unmade
    }
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Refusal {
    Refusal::new(RefusalCode::Failed, format!("cannot {what} {}: {error}", path.display()))
}
