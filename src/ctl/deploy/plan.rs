//! What a deploy would do: from where, and with `--dry-run` all of it, with what is found.

use super::{held, memory, safety, way};
use crate::api::{DeployPlan, RefusalCode, Way};
use crate::config::units;
use crate::ctl::arguments::DeployOptions;
use crate::ctl::failure::Failure;
use crate::ctl::session::Session;
use crate::ctl::units::size;
use crate::deploy::{Lock, Root, Source, kept_bytes, spelled, usual_steps};
use crate::linux::disk::room;
use serde_json::json;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// # Errors
/// Nothing says where the source is.
pub(crate) fn source_of(options: &DeployOptions, plan: &DeployPlan) -> Result<Source, Failure> {
    let app = &plan.releases.app;
    if let Some(from) = &options.from {
        if from.as_os_str() == "-" {
            if io::stdin().is_terminal() && !options.dry_run {
                let message = "--from - reads an archive from standard input, which is a terminal here";
                return Err(Failure::usage(
                    message,
                    format!("git archive HEAD | ssh HOST infissi-ctl deploy {app} --from -"),
                ));
            }
            return Ok(Source::Stream);
        }
        let dir = std::path::absolute(from).unwrap_or_else(|_| PathBuf::from(from));
        if !dir.is_dir() {
            return Err(Failure::usage(
                format!("{} is no directory", dir.display()),
                "--from takes a directory that can be read here, or - for a tar archive on standard input",
            ));
        }
        return Ok(Source::Directory(dir));
    }
    let Some(repo) = &plan.repo else {
        return Err(Failure::new(
            RefusalCode::Usage,
            format!("nothing says where the source of {app} is"),
            format!("set repo = \"…\" in [apps.{app}.deploy] and apply, or: infissi-ctl deploy {app} --from DIR"),
        ));
    };
    if let Some(name) = options.reference.as_ref().filter(|name| name.is_empty() || name.starts_with('-')) {
        let message = format!("{name:?} cannot be a branch, a tag or a commit");
        return Err(Failure::usage(message, "infissi-ctl deploy APP --ref main"));
    }
    if let Some(name) = options.reference.as_ref().filter(|name| is_relative_to_head(name)) {
        let message = format!("{name:?} goes by a checkout, and a deploy has none");
        return Err(Failure::usage(message, "name the branch, the tag or the commit: git rev-parse HEAD"));
    }
    // Whatever a mirror's own HEAD leads to, it is not what anybody means.
    let named = options.reference.clone().filter(|name| !is_head(name));
    Ok(Source::Ref { repo: repo.clone(), name: named.or_else(|| plan.branch.clone()) })
}

fn is_head(name: &str) -> bool {
    name == "HEAD" || name == "@"
}

/// `HEAD~1`, `@^`: gitrevisions(7).
fn is_relative_to_head(name: &str) -> bool {
    let from_head = |head: &str| name.strip_prefix(head).is_some_and(|rest| rest.starts_with(['~', '^', '@', '{']));
    from_head("HEAD") || from_head("@")
}

/// Prints it, and does nothing.
pub(crate) fn show(
    session: &mut Session,
    options: &DeployOptions,
    plan: &DeployPlan,
    source: &Source,
    root: &Root,
) -> Result<u8, Failure> {
    let rows = rows(options, plan, source, root)?;
    if session.json {
        let rows: serde_json::Map<String, serde_json::Value> =
            rows.into_iter().map(|(name, what)| (name.to_owned(), json!(what))).collect();
        session.print_json(&json!({ "app": plan.releases.app, "dry_run": true, "plan": rows }))?;
        return Ok(0);
    }
    writeln!(session.out, "Would deploy {}:", plan.releases.app)?;
    for (name, what) in rows {
        for (at, line) in what.iter().enumerate() {
            writeln!(session.out, "  {:<10} {line}", if at == 0 { name } else { "" })?;
        }
    }
    writeln!(session.out, "Nothing was done.")?;
    Ok(0)
}

fn rows(
    options: &DeployOptions,
    plan: &DeployPlan,
    source: &Source,
    root: &Root,
) -> Result<Vec<(&'static str, Vec<String>)>, Failure> {
    let owner = Root::owner_name(root.owner()?);
    let join = |commands: &[Vec<String>]| -> Vec<String> { commands.iter().map(|command| spelled(command)).collect() };
    let release = options.id.clone().unwrap_or_else(|| "TIME-COMMIT".to_owned());
    let mut rows = vec![
        ("source", vec![source.in_words()]),
        ("release", vec![format!("{} (of {owner})", root.release(&release).display())]),
        ("disk", vec![disk(root, plan.min_free_bytes)]),
        ("memory", memory::in_words(options, plan).into_iter().collect()),
        ("lock", vec![lock(root, &plan.releases.app)]),
    ];
    match (plan.backup, options.no_backup, &plan.releases.active) {
        (false, ..) => {}
        (true, true, _) => rows.push(("backup", vec!["none, as --no-backup says".to_owned()])),
        (true, false, Some(_)) => rows.push(("backup", vec!["made first; without one nothing goes on".to_owned()])),
        (true, false, None) => rows.push(("backup", vec![safety::NOTHING_YET.to_owned()])),
    }
    let shared = plan.shared.iter().map(|link| {
        let missing = if Path::new(&link.target).exists() { "" } else { " (not there yet)" };
        format!("{} → {}{missing}", link.path, link.target)
    });
    rows.push(("shared", shared.collect()));
    let steps = match (&plan.steps, source) {
        (Some(steps), _) => join(steps),
        (None, Source::Directory(dir)) => join(&usual_steps(dir)?),
        (None, Source::Ref { .. } | Source::Stream) => {
            vec!["by the lock file in the release, and its build script".to_owned()]
        }
    };
    rows.push(("steps", steps));
    rows.push(("migrate", join(&plan.migrate)));
    rows.push(("bridge", plan.bridge.clone()));
    let active = plan.releases.active.as_ref().map(|id| format!("release {id} serves now"));
    let warm = units::show_duration(Duration::from_millis(plan.warm_ms));
    let then = match way(options) {
        Way::Staged => "staged, until swap".to_owned(),
        Way::Beside => format!("the one before warm for {warm}"),
        Way::StopFirst => "stopped before the new one starts, requests held".to_owned(),
    };
    let active = active.unwrap_or_else(|| "no release serves yet".to_owned());
    rows.push(("activate", vec![format!("{active}; then {then}")]));
    rows.push(("prune", vec![format!("keeps {} good releases", plan.releases.keep)]));
    rows.retain(|(_, what)| !what.is_empty());
    Ok(rows)
}

fn disk(root: &Root, min_free: u64) -> String {
    let there = root.dir().ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match room(there) {
        Ok(room) => {
            let kept = match kept_bytes(root) {
                0 => String::new(),
                kept => format!("; {} of node_modules are kept, and go where room is short", size(kept)),
            };
            format!("{} free, min_free {}{kept}", size(room.bytes), size(min_free))
        }
        Err(error) => format!("cannot be looked at: {error}"),
    }
}

fn lock(root: &Root, app: &str) -> String {
    match Lock::look(&root.lock()) {
        Ok(None) => "free".to_owned(),
        Ok(Some(holder)) => held(app, holder.as_ref()),
        Err(error) => format!("cannot be looked at: {error}"),
    }
}
