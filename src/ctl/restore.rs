//! `restore`: a backup comes back. Its archive is read through, then unpacked beside what there is, and only then takes
//! its place; an app with releases is replaced by a rollover that starts with it. Without releases it is only unpacked.

mod aside;
mod done;
mod over;
mod plan;
mod ready;
mod tell;

use super::arguments::RestoreOptions;
use super::backup::{Show, as_its_user};
use super::clock;
use super::deploy::Interrupts;
use super::failure::Failure;
use super::session::Session;
use crate::api::{BackupPlan, routes};
use crate::deploy::backup::Watch;
use crate::deploy::restore::{Contents, Found, GoOn, Unrestored, find};
use serde_json::json;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

/// Ctrl-C, as a shell counts it: 128 and the signal's number.
const INTERRUPTED: u8 = 130;

/// What is restored, of which app.
struct Restoring {
    plan: BackupPlan,
    found: Found,
    contents: Contents,
    begun: Instant,
}

pub(crate) fn restore(session: &mut Session, options: &RestoreOptions) -> Result<u8, Failure> {
    let plan: BackupPlan = session.client()?.get(&routes::backup(&options.app))?;
    as_its_user(&plan, &format!("restore {} {}", plan.app, shell_words::quote(&options.backup)))?;
    let (begun, interrupts) = (clock::monotonic(), Interrupts::take());
    let found = find(&plan, &options.backup, options.force)?;
    let read = watched(session, &plan.app, &format!("reading {} through", found.name()), &interrupts, |go_on| {
        Contents::of(&found, go_on)
    });
    let app = plan.app.clone();
    let contents = match read {
        Ok(contents) => contents,
        Err(unrestored) => return not_restored(session, &app, unrestored),
    };
    let root = plan.root.clone().filter(|_| options.into.is_none());
    let restoring = Restoring { plan, found, contents, begun };
    match (root, options.dry_run) {
        (Some(root), true) => plan::of_root(session, &restoring, Path::new(&root)),
        (Some(root), false) => over::restore(session, &restoring, Path::new(&root), &interrupts),
        (None, dry_run) => {
            let dir = aside::dir(&restoring, options.into.as_deref());
            if dry_run {
                return plan::aside(session, &restoring, &dir);
            }
            aside::unpack(session, &restoring, &dir, &interrupts)
        }
    }
}

/// Does something that takes its time, and shows how far it is.
fn watched<T>(
    session: &mut Session,
    app: &str,
    doing: &str,
    interrupts: &Interrupts,
    work: impl FnOnce(GoOn<'_>) -> T,
) -> T {
    let mut show = Show::new(session, app);
    show.begin(doing.to_owned());
    work(&mut |figures| match show.goes_on(figures) && !interrupts.asked() {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    })
}

/// Before anything was touched.
fn not_restored(session: &mut Session, app: &str, unrestored: Unrestored) -> Result<u8, Failure> {
    match unrestored {
        Unrestored::Refused(refusal) => Err(refusal.into()),
        Unrestored::Stopped => interrupted(session, app, "nothing was touched"),
    }
}

fn interrupted(session: &mut Session, app: &str, left: &str) -> Result<u8, Failure> {
    if session.json {
        let message = format!("the restore of {app} was interrupted: {left}");
        session.print_json(&json!({ "error": { "code": "failed", "message": message, "hint": null } }))?;
    } else {
        session.out.flush()?;
        writeln!(session.err, "The restore of {app} was interrupted: {left}.")?;
    }
    Ok(INTERRUPTED)
}
