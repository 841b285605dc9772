//! A backup is unpacked into a directory of its own, and nothing else is touched: where there are no releases to go
//! through, or somebody only wants to look at it.

use super::tell::{dumps, how_long, of_what};
use super::{Restoring, not_restored, watched};
use crate::ctl::deploy::Interrupts;
use crate::ctl::failure::Failure;
use crate::ctl::session::Session;
use crate::ctl::units::printable;
use crate::deploy::restore::{check_room, unpack_into};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The one that was named, else beside the app's.
pub(super) fn dir(restoring: &Restoring, named: Option<&Path>) -> PathBuf {
    if let Some(named) = named {
        return std::path::absolute(named).unwrap_or_else(|_| named.to_owned());
    }
    let base = Path::new(&restoring.plan.base);
    let base = std::fs::canonicalize(base).unwrap_or_else(|_| base.to_owned());
    let name = restoring.found.name();
    let stamp = name.trim_end_matches(".gz").trim_end_matches(".tar").trim_start_matches("backup-");
    let mut beside = base.file_name().unwrap_or_default().to_owned();
    beside.push(format!("-restored-{stamp}"));
    base.with_file_name(beside)
}

pub(super) fn unpack(
    session: &mut Session,
    restoring: &Restoring,
    dir: &Path,
    interrupts: &Interrupts,
) -> Result<u8, Failure> {
    let Restoring { plan, found, contents, begun } = restoring;
    let app = &plan.app;
    check_room(dir, contents.figures)?;
    let like = std::fs::metadata(&plan.base).ok();
    let doing = format!("unpacking into {}", dir.display());
    let unpacked = watched(session, app, &doing, interrupts, |go_on| unpack_into(found, dir, like.as_ref(), go_on));
    if let Err(unrestored) = unpacked {
        return not_restored(session, app, unrestored);
    }
    let dumps = dumps(plan, &dir.join(crate::deploy::backup::OUT));
    if session.json {
        session.print_json(&json!({
            "app": app,
            "backup": found.path,
            "unpacked_into": dir,
            "restored": [],
            "not_restored": dumps,
            "entries": contents.figures.entries,
            "content_bytes": contents.figures.bytes,
            "took_ms": u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        }))?;
        return Ok(0);
    }
    let line = format!("{app}: unpacked {} in {}; nothing that runs was touched", of_what(restoring), how_long(*begun));
    writeln!(session.out, "{} {}\n  {}", session.look.done(), printable(&line), dir.display())?;
    for dump in &dumps {
        writeln!(session.out, "  {}", printable(&dump.line()))?;
    }
    for step in next_steps(restoring, dir) {
        writeln!(session.out, "  next: {step}")?;
    }
    Ok(0)
}

fn next_steps(restoring: &Restoring, dir: &Path) -> Vec<String> {
    let plan = &restoring.plan;
    let quoted = |path: &Path| shell_words::quote(&path.to_string_lossy()).into_owned();
    let (app, base, new) = (&plan.app, quoted(Path::new(&plan.base)), quoted(dir));
    if plan.root.is_some() {
        return vec![format!(
            "diff -rq {new} {base} shows what differs; infissi-ctl restore {app} without --into puts it back"
        )];
    }
    let is_whole = plan.include.iter().any(|include| include == ".") && plan.exclude.is_empty();
    let swap = match is_whole {
        true => format!("mv {base} {base}.before && mv {new} {base} && infissi-ctl restart {app}"),
        false => format!("infissi-ctl stop {app} && cp -a {new}/. {base}/ && infissi-ctl start {app}"),
    };
    vec![format!("diff -rq {new} {base} shows what differs"), swap]
}
