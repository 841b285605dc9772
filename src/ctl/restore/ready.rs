//! From what is unpacked to what can take its place: the paths that are replaced, the release that the code becomes, and
//! what neither takes.

use super::Restoring;
use super::tell::{NotRestored, some_of};
use crate::api::{DeployPlan, Refusal, RefusalCode};
use crate::ctl::clock;
use crate::ctl::failure::Failure;
use crate::deploy::restore::{Code, Parts, Staging};
use crate::deploy::{Audience, Record, Root, Sourced, State, lacks_packages, link_shared, remove};
use crate::linux::atomic::move_to;
use crate::linux::disk::sync;
use crate::linux::user::own_uid;
use jiff::Timestamp;
use std::fs::Permissions;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What is put into place.
pub(super) struct Ready {
    pub(super) staging: Staging,
    pub(super) parts: Parts,
    pub(super) release: Option<Record>,
    pub(super) not_restored: Vec<NotRestored>,
}

/// What of the unpacked becomes what.
pub(super) fn ready(
    restoring: &Restoring,
    deploy: &DeployPlan,
    root: &Root,
    staging: Staging,
) -> Result<Ready, Failure> {
    let plan = &restoring.plan;
    let mut not_restored = Vec::new();
    let (files, left) = (staging.files(), staging.left());
    let code = restoring.contents.code();
    let parts = match &code {
        Code::Project => Parts::default(),
        Code::None | Code::Release(_) | Code::Unclear(_) => Parts::of(plan, root.dir(), &files)?,
    };
    let from = match &code {
        Code::None => None,
        Code::Unclear(ids) => {
            let ids = ids.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let what = NotRestored::new(format!("releases {ids}"), "nothing says which of them was live");
            let next = format!("infissi-ctl deploy {} --from {}/releases/ID", plan.app, left.display());
            not_restored.push(what.next(next));
            None
        }
        Code::Release(id) if deploy.releases.active.as_ref() == Some(id) && root.release(id).is_dir() => {
            not_restored.push(NotRestored::new(format!("release {id}"), "it is there, and runs"));
            None
        }
        Code::Release(id) => Some((files.join("releases").join(id), left.join("releases").join(id))),
        Code::Project => Some((files.clone(), left.clone())),
    };
    let mut release = None;
    if let Some((from, later)) = from {
        if lacks_packages(&from) {
            let what =
                NotRestored::new("the code", "it has no node_modules: what its steps install is not in the backup");
            not_restored.push(what.next(format!("infissi-ctl deploy {} --from {}", plan.app, later.display())));
        } else {
            release = Some(as_release(restoring, deploy, root, &staging, (&from, &code), &mut not_restored)?);
        }
    }
    for link in &plan.outside {
        not_restored
            .push(NotRestored::new(&link.target, format!("{} leads there, outside of what is backed up", link.path)));
    }
    if parts.left.count > 0 {
        let why = format!("the backup table does not mean it; it is below {}", left.display());
        not_restored.push(NotRestored::new(some_of(&parts.left), why));
    }
    if parts.missing.count > 0 {
        not_restored.push(NotRestored::new(some_of(&parts.missing), "not in the backup: it stays as it is"));
    }
    Ok(Ready { staging, parts, release, not_restored })
}

/// The code becomes a release, as it was: nothing is built anew.
fn as_release(
    restoring: &Restoring,
    deploy: &DeployPlan,
    root: &Root,
    staging: &Staging,
    (from, code): (&Path, &Code),
    not_restored: &mut Vec<NotRestored>,
) -> Result<Record, Failure> {
    let id = staging.kept().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let of = match code {
        Code::Release(release) => format!(" (release {release})"),
        Code::Project | Code::None | Code::Unclear(_) => String::new(),
    };
    let record = Record {
        id: id.clone(),
        state: State::Building,
        by: Root::owner_name(own_uid()),
        at: clock::now(),
        source: format!("the backup {}{of}", restoring.found.name()),
        commit: None,
        backup: None,
        why: None,
        step: "restore".to_owned(),
        steps: Vec::new(),
        went_live: None,
        bridged: Vec::new(),
    };
    record.save(root)?;
    let dir = root.release(&id);
    let mut made = || -> Result<(), Failure> {
        for link in deploy.shared.iter().filter(|link| Path::new(&link.target).exists()) {
            let there = std::fs::symlink_metadata(from.join(&link.path));
            // Links are made anew; what the project has there would be lost behind one.
            if *code == Code::Project && there.is_ok_and(|there| !there.is_symlink()) {
                staging.put_aside(&link.path)?;
                let kept = staging.kept().join(&link.path);
                let what =
                    NotRestored::new(&link.path, format!("it is shared now; that of the backup is {}", kept.display()));
                not_restored.push(what);
            }
        }
        let failed = |error| {
            Failure::new(RefusalCode::Failed, format!("cannot make {}: {error}", dir.display()), "look at the disk: df")
        };
        move_to(from, &dir).map_err(failed)?;
        if *code == Code::Project {
            std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).map_err(failed)?;
        }
        link_shared(&deploy.shared, &dir, &mut Nobody).map_err(|error| match error {
            Sourced::Failed(refusal) => Failure::from(refusal),
            Sourced::Output(error) => Failure::Output(error),
            Sourced::Interrupted => Refusal::new(RefusalCode::Failed, "the restore was interrupted").into(),
        })?;
        sync(&dir).map_err(failed)
    };
    made().inspect_err(|_| drop(remove(root, &id)))?;
    Ok(record)
}

/// Listens to the making of the links: there is nothing to hear of it.
struct Nobody;

impl Audience for Nobody {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn line(&mut self, _line: &str) -> io::Result<()> {
        Ok(())
    }

    fn tick(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}
