//! What a restore would do, with what was found.

use super::Restoring;
use super::tell::of_what;
use crate::api::{BackupPlan, DeployPlan, routes};
use crate::ctl::deploy::held;
use crate::ctl::failure::Failure;
use crate::ctl::session::Session;
use crate::ctl::units::{printable, size};
use crate::deploy::backup::OUT;
use crate::deploy::restore::{Code, Parts, needed};
use crate::deploy::{Lock, Root};
use crate::linux::disk::room;
use serde_json::json;
use std::io::Write;
use std::path::Path;

type Rows = Vec<(&'static str, Vec<String>)>;

pub(super) fn of_root(session: &mut Session, restoring: &Restoring, root: &Path) -> Result<u8, Failure> {
    let (plan, contents) = (&restoring.plan, &restoring.contents);
    let deploy: DeployPlan = session.client()?.get(&routes::deploy(&plan.app))?;
    let root = Root::new(root);
    let code = contents.code();
    let (mut back, mut left) = (Vec::new(), Vec::new());
    for top in &contents.tops {
        let path = top.to_string_lossy().into_owned();
        let is_meant = code != Code::Project && Parts::means(plan, top)?;
        if is_meant { &mut back } else { &mut left }.push(path);
    }
    let release = match &code {
        Code::None => Vec::new(),
        Code::Project => vec!["a new one of the project in it".to_owned()],
        Code::Release(id) if deploy.releases.active.as_ref() == Some(id) => vec![format!("{id} runs, and stays")],
        Code::Release(id) => vec![format!("a new one of {id} in it")],
        Code::Unclear(ids) => vec![format!("none of the {} in it: nothing says which was live", ids.len())],
    };
    left.retain(|name| name != "live" && name != "releases" && code != Code::Project);
    if contents.has_dumps {
        left.push(format!("{OUT}: dumps, which nothing loads by itself"));
    }
    let mut rows = common(restoring, root.dir());
    rows.extend([
        ("lock", vec![lock(&root, plan)]),
        ("put back", back),
        ("release", release),
        ("left", left),
        ("kept", vec![format!("what is replaced, below {}", root.restores().display())]),
    ]);
    show(session, plan, rows)
}

pub(super) fn aside(session: &mut Session, restoring: &Restoring, dir: &Path) -> Result<u8, Failure> {
    let mut rows = common(restoring, dir);
    rows.push(("unpack", vec![format!("into {}; nothing else is touched", dir.display())]));
    show(session, &restoring.plan, rows)
}

fn common(restoring: &Restoring, place: &Path) -> Rows {
    let there = place.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let needed = size(needed(restoring.contents.figures));
    let disk = match room(there) {
        Ok(room) => format!("{} free, {needed} needed", size(room.bytes)),
        Err(error) => format!("cannot be looked at: {error}"),
    };
    vec![("backup", vec![of_what(restoring), restoring.found.path.display().to_string()]), ("disk", vec![disk])]
}

fn lock(root: &Root, plan: &BackupPlan) -> String {
    match Lock::look(&root.lock()) {
        Ok(None) => "free".to_owned(),
        Ok(Some(holder)) => held(&plan.app, holder.as_ref()),
        Err(error) => format!("cannot be looked at: {error}"),
    }
}

fn show(session: &mut Session, plan: &BackupPlan, mut rows: Rows) -> Result<u8, Failure> {
    rows.retain(|(_, what)| !what.is_empty());
    if session.json {
        let rows: serde_json::Map<String, serde_json::Value> =
            rows.into_iter().map(|(name, what)| (name.to_owned(), json!(what))).collect();
        session.print_json(&json!({ "app": plan.app, "dry_run": true, "plan": rows }))?;
        return Ok(0);
    }
    writeln!(session.out, "Would restore {}:", plan.app)?;
    for (name, what) in rows {
        for (at, line) in what.iter().enumerate() {
            writeln!(session.out, "  {:<10} {}", if at == 0 { name } else { "" }, printable(line))?;
        }
    }
    writeln!(session.out, "Nothing was done.")?;
    Ok(0)
}
