//! `releases --prune`: old releases go now, and it is told how much room that gave.

use super::clock;
use super::deploy::{held, settle};
use super::failure::Failure;
use super::session::Session;
use super::units::{printable, size};
use crate::api::{DeployPlan, Refusal, RefusalCode, Releases, routes};
use crate::deploy::{Holder, Keep, Lock, LockRefused, Pruned, Root, prune as remove_old};
use crate::linux::user::own_uid;
use serde_json::json;
use std::io::Write;

pub(crate) fn prune(session: &mut Session, app: &str, keep: Keep) -> Result<u8, Failure> {
    let plan: DeployPlan = session.client()?.get(&routes::deploy(app))?;
    let (root, app) = (Root::new(&plan.releases.root), plan.releases.app.clone());
    if !root.deploys().is_dir() {
        return tell(session, &app, Pruned::default());
    }
    settle(&root, &plan)?;
    let holder = Holder::own(Root::owner_name(own_uid()), clock::now(), "removing old releases");
    let _lock = Lock::take(&root.lock(), holder).map_err(|refused| match refused {
        LockRefused::Held(holder) => {
            let hint = format!("what is old goes at its end, too; or end it: infissi-ctl deploy {app} --abort");
            Failure::new(RefusalCode::Busy, held(&app, holder.as_ref()), hint)
        }
        LockRefused::Lock(error) => {
            Refusal::new(RefusalCode::Failed, format!("cannot lock {}: {error}", root.lock().display())).into()
        }
    })?;
    // With the lock held: until then another may have gone live.
    let known: Releases = session.client()?.get(&routes::releases(&app))?;
    let known = Releases { keep: keep.good, ..known };
    let pruned = {
        let mut ask = || session.client().ok()?.get(&routes::releases(&app)).ok();
        remove_old(&root, (&known, &mut ask), keep, clock::now())
    };
    tell(session, &app, pruned)
}

fn tell(session: &mut Session, app: &str, pruned: Pruned) -> Result<u8, Failure> {
    let Pruned { gone, freed, kept } = pruned;
    if session.json {
        let kept: Vec<_> = kept.iter().map(|(release, why)| json!({ "release": release, "why": why })).collect();
        session.print_json(&json!({ "app": app, "removed": gone, "freed_bytes": freed, "kept": kept }))?;
        return Ok(0);
    }
    for (_, why) in kept {
        writeln!(session.out, "{} {}", session.look.warning(), printable(&why))?;
    }
    let what = match gone.len() {
        0 => "no release was removed".to_owned(),
        1 => format!("release {} is removed: {} of room", gone[0], size(freed)),
        count => format!("{count} releases are removed: {} of room ({})", size(freed), gone.join(", ")),
    };
    writeln!(session.out, "{} {app}: {}", session.look.done(), printable(&what))?;
    Ok(0)
}
