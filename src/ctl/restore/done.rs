//! The end of a restore: what is kept gets its name, and what came of it is told.

use super::over::Over;
use super::ready::Ready;
use super::tell::{NotRestored, dumps, how_long, of_what, some, some_of};
use super::{Restoring, interrupted};
use crate::ctl::failure::Failure;
use crate::ctl::list;
use crate::ctl::session::Session;
use crate::ctl::units::printable;
use crate::deploy::backup::OUT;
use crate::deploy::restore::kept;
use crate::deploy::{Record, Root, State};
use crate::linux::proc::{command, with_open_below};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) fn finish(
    session: &mut Session,
    restoring: &Restoring,
    root: &Root,
    ready: Ready,
    over: &Over,
) -> Result<u8, Failure> {
    let Ready { mut staging, parts, release, not_restored: left } = ready;
    let app = &restoring.plan.app;
    let release = release.map(|record| Record { state: State::Live, ..record });
    let is_interrupted = matches!(over, Over::Interrupted);
    // It is in place, whatever becomes of this.
    let saved = release.iter().filter(|_| !is_interrupted).try_for_each(|record| record.save(root));
    let complaints: Vec<String> =
        [saved, staging.finish()].into_iter().filter_map(Result::err).map(|refusal| refusal.message).collect();
    let mut not_restored = dumps(&restoring.plan, &staging.kept().join(OUT));
    not_restored.extend(left);
    let before = Some(staging.before()).filter(|before| before.exists());
    if is_interrupted {
        let kept =
            before.map(|before| format!("; what was there before is in {}", before.display())).unwrap_or_default();
        let left = format!(
            "what is restored is in its place, and the supervisor goes on by itself: see `infissi-ctl list`{kept}"
        );
        return interrupted(session, app, &left);
    }
    let open_by = match (&before, over) {
        (Some(before), Over::Replaced) => others_with_open(before),
        _ => Vec::new(),
    };
    let restored: Vec<String> = parts.parts.iter().map(|part| part.path.display().to_string()).collect();
    let release = release.map(|record| record.id);
    if session.json {
        let earlier: Vec<PathBuf> = kept(root).into_iter().filter(|dir| dir != staging.kept()).collect();
        session.print_json(&json!({
            "app": app,
            "backup": restoring.found.path,
            "restored": restored,
            "release": release,
            "replaced": matches!(over, Over::Replaced),
            "before": before,
            "newer": parts.newer.first,
            "newer_count": parts.newer.count,
            "not_restored": not_restored,
            "open_by": open_by,
            "kept_earlier": earlier,
            "complaints": complaints,
            "entries": restoring.contents.figures.entries,
            "content_bytes": restoring.contents.figures.bytes,
            "took_ms": u64::try_from(restoring.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }))?;
        return Ok(0);
    }
    let how = match over {
        Over::Replaced => "runs with it".to_owned(),
        Over::NotRunning(why) => format!("was not started anew: {why}"),
        Over::Interrupted => String::new(),
    };
    let verb = if restored.is_empty() && release.is_none() { "unpacked" } else { "restored" };
    let line = format!("{app}: {verb} {} in {}; {app} {how}", of_what(restoring), how_long(restoring.begun));
    writeln!(session.out, "{} {}", session.look.done(), printable(&line))?;
    for complaint in complaints {
        writeln!(session.out, "{} {}", session.look.warning(), printable(&complaint))?;
    }
    let mut lines = Vec::new();
    if !restored.is_empty() {
        lines.push(format!("put back: {}", some(&restored)));
    }
    lines.extend(release.map(|id| format!("release: {id}")));
    if let Some(before) = &before {
        lines.push(format!("what was there before: {}", before.display()));
    }
    if parts.newer.count > 0 {
        lines.push(format!("newer than the backup, and only in there now: {}", some_of(&parts.newer)));
    }
    lines.extend(not_restored.iter().map(NotRestored::line));
    for pid in open_by {
        lines.push(format!("pid {pid} ({}) has something of that open still, and writes there", command(pid, 60)));
    }
    if staging.left().exists() {
        lines.push(format!("what has not found its place: {}", staging.left().display()));
    }
    let restores = kept(root).len();
    if restores > 0 {
        lines.push(format!("{} keeps {restores} of these: remove what nobody misses", root.restores().display()));
    }
    for line in lines {
        writeln!(session.out, "  {}", printable(&line))?;
    }
    if session.look.terminal {
        list::list(session)?;
    }
    Ok(0)
}

/// We ourselves have the archive open, which may have been there.
fn others_with_open(dir: &Path) -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    with_open_below(dir).into_iter().filter(|pid| *pid != own).collect()
}
