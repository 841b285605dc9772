//! `deploy --init`: the first release of an app that runs in a plain checkout. Whatever stands there that its commit does
//! not have is shared with every release, or left behind on purpose: nothing is forgotten. The checkout itself, in which
//! the app goes on serving, is not touched.

use super::plan::show;
use super::teller::Teller;
use super::{Interrupts, Work, carry_out, interrupted, settle};
use crate::api::{DeployPlan, Refusal, RefusalCode};
use crate::ctl::arguments::DeployOptions;
use crate::ctl::clock;
use crate::ctl::failure::Failure;
use crate::ctl::session::Session;
use crate::ctl::units::{distance, printable, size};
use crate::deploy::{Carry, Checkout, Entry, Kind, Lot, Root, Said, Source, Sourced, Workshop, spelled};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// So many entries of one kind are listed.
const MOST_LISTED: usize = 30;

/// A deploy like any other would leave behind what the app has written in its checkout.
///
/// # Errors
/// The app still runs in one.
pub(super) fn refuse_plain(plan: &DeployPlan) -> Result<(), Failure> {
    let app = &plan.releases.app;
    let Some(dir) = plan.plain_dir.as_ref().filter(|_| plan.releases.active.is_none()) else { return Ok(()) };
    let is_checkout = [".git", "package.json"].iter().any(|sign| Path::new(dir).join(sign).exists());
    if !is_checkout {
        return Ok(());
    }
    let message = format!("{app} runs in {dir} and in no release, and what it has written there would be in none");
    Err(Failure::new(RefusalCode::Failed, message, format!("infissi-ctl deploy {app} --init")))
}

pub(super) fn init(
    session: &mut Session,
    options: &DeployOptions,
    (plan, root): (&DeployPlan, &Root),
    patience: Duration,
) -> Result<u8, Failure> {
    let app = plan.releases.app.clone();
    if let Some(active) = &plan.releases.active {
        let message = format!("{app} runs in release {active}, and --init makes the first");
        return Err(Failure::usage(message, format!("infissi-ctl deploy {app}")));
    }
    let dir = directory(options, plan)?;
    let own_env = settle(root, plan)?;
    let shared: Vec<PathBuf> = plan.shared.iter().map(|link| PathBuf::from(&link.path)).collect();
    let real = dir.canonicalize().unwrap_or_else(|_| dir.clone());
    let left: Vec<PathBuf> = options.leave.iter().map(|path| within(&[&dir, &real], path)).collect();
    let said = Said { shared: &shared, left: &left };
    let checkout = match look(session, (&dir, root), said, &own_env) {
        Ok(checkout) => checkout,
        Err(Sourced::Failed(refusal)) => return Err(refusal.into()),
        Err(Sourced::Interrupted) => return interrupted(session, &app, "nothing was begun"),
        Err(Sourced::Output(error)) => return Err(error.into()),
    };
    if root.dir().starts_with(&checkout.dir) {
        let message = format!("the releases would be in the checkout itself, in {}", root.dir().display());
        let hint = format!("set root in [apps.{app}.deploy] to a directory outside of {}", checkout.dir.display());
        return Err(Failure::new(RefusalCode::Failed, message, hint));
    }
    if checkout.of(Lot::Open).next().is_some() {
        return unaccounted(session, options, plan, &checkout);
    }
    let carry = Carry::new(&checkout.dir, &plan.shared, &left)?;
    let (paths, bytes) = carry.plan()?;
    let source = match &checkout.commit {
        Some(commit) => Source::Ref { repo: checkout.dir.display().to_string(), name: Some(commit.clone()) },
        None => Source::Directory(checkout.dir.clone()),
    };
    if !session.json {
        accounted(session, &checkout, &paths, bytes)?;
    }
    if options.dry_run && session.json {
        session.print_json(&json!({
            "app": app, "dry_run": true, "source": source.in_words(), "copied": paths, "bytes": bytes,
            "checkout": described(&checkout),
        }))?;
        return Ok(0);
    }
    if options.dry_run {
        return show(session, options, plan, &source, root);
    }
    carry_out(session, options, Work { plan: plan.clone(), source, root: root.clone(), own_env, carry }, patience)
}

fn described(checkout: &Checkout) -> Value {
    json!({ "dir": checkout.dir, "commit": checkout.commit, "entries": checkout.entries })
}

fn directory(options: &DeployOptions, plan: &DeployPlan) -> Result<PathBuf, Failure> {
    let app = &plan.releases.app;
    let Some(dir) = options.from.clone().or_else(|| plan.plain_dir.as_ref().map(PathBuf::from)) else {
        let message = format!("nothing says in which checkout {app} runs: its cwd leads into a release");
        return Err(Failure::usage(message, format!("infissi-ctl deploy {app} --init --from DIR")));
    };
    let dir = std::path::absolute(&dir).unwrap_or(dir);
    if !dir.is_dir() {
        let message = format!("{} is no directory", dir.display());
        return Err(Failure::usage(message, format!("infissi-ctl deploy {app} --init --from DIR")));
    }
    Ok(dir)
}

/// A path of the checkout, however it was written: as it stands in the list, with `./`, or absolute.
fn within(dirs: &[&Path], path: &Path) -> PathBuf {
    let path = dirs.iter().find_map(|dir| path.strip_prefix(dir).ok()).unwrap_or(path);
    path.components().filter(|part| *part != Component::CurDir).collect()
}

fn look(
    session: &mut Session,
    (dir, root): (&Path, &Root),
    said: Said<'_>,
    own_env: &[(OsString, OsString)],
) -> Result<Checkout, Sourced> {
    // Nothing is made before it is known that anything is to be made.
    let log = OpenOptions::new().write(true).open("/dev/null").map_err(Sourced::Output)?;
    let interrupts = Interrupts::take();
    let mut teller = Teller::new(session, &interrupts);
    let mut workshop = Workshop::without_lock(root, log, own_env.to_vec(), &mut teller);
    Checkout::look(dir, said, &mut workshop)
}

/// The list, and what to write so that it is empty.
fn unaccounted(
    session: &mut Session,
    options: &DeployOptions,
    plan: &DeployPlan,
    checkout: &Checkout,
) -> Result<u8, Failure> {
    let app = &plan.releases.app;
    let count = checkout.of(Lot::Open).count();
    let are = if count == 1 { "1 thing is".to_owned() } else { format!("{count} things are") };
    let message = format!("{app} gets no release yet: {are} in {} and would be in none", checkout.dir.display());
    let share = share(plan, checkout);
    let leave = leave(options, app, checkout);
    if session.json {
        let refusal = Refusal::new(RefusalCode::Failed, message).hint(format!("{share} or {leave}"));
        session.print_json(&json!({
            "error": refusal,
            "checkout": described(checkout),
            "shared": share, "leave": leave,
        }))?;
        return Ok(RefusalCode::Failed.exit_code());
    }
    session.out.flush()?;
    writeln!(session.err, "{} {}", session.look.failed(), printable(&message))?;
    list(&mut session.err, checkout, Lot::Open)?;
    writeln!(session.err, "What the app writes or reads there is shared with every release, in [apps.{app}.deploy]:")?;
    writeln!(session.err, "  {}", printable(&share))?;
    writeln!(session.err, "  then: infissi-ctl apply && infissi-ctl deploy {app} --init")?;
    match &checkout.commit {
        Some(_) => writeln!(session.err, "What no release needs is left behind:")?,
        None => writeln!(session.err, "What is source is in the first release as it is:")?,
    }
    writeln!(session.err, "  {}", printable(&leave))?;
    if checkout.of(Lot::Open).any(|entry| entry.kind == Kind::Changed) {
        writeln!(session.err, "What was changed since the commit is in the release once it is committed.")?;
    }
    let rebuilt = names(checkout, Lot::Rebuilt);
    if !rebuilt.is_empty() {
        writeln!(session.err, "Left by itself, for the steps make it anew: {}", printable(&rebuilt))?;
    }
    Ok(RefusalCode::Failed.exit_code())
}

/// What there is already, and all that is open but for what git knows.
fn share(plan: &DeployPlan, checkout: &Checkout) -> String {
    let of_plan = plan.shared.iter().map(|link| {
        let plain = Path::new(&plan.releases.root).join("shared").join(&link.path);
        match Path::new(&link.target) == plain {
            true => format!("{:?}", link.path),
            false => format!("{{ path = {:?}, target = {:?} }}", link.path, link.target),
        }
    });
    let open =
        checkout.of(Lot::Open).filter(|entry| matches!(entry.kind, Kind::Untracked | Kind::Ignored | Kind::There));
    let open = open.map(|entry| match &entry.leads_to {
        None => format!("{:?}", entry.path),
        Some(to) => {
            let to = checkout.dir.join(&entry.path).parent().unwrap_or(&checkout.dir).join(to);
            format!("{{ path = {:?}, target = {:?} }}", entry.path, to.display().to_string())
        }
    });
    format!("shared = [{}]", of_plan.chain(open).collect::<Vec<_>>().join(", "))
}

fn leave(options: &DeployOptions, app: &str, checkout: &Checkout) -> String {
    let mut words: Vec<String> = ["infissi-ctl", "deploy", app, "--init"].map(str::to_owned).into();
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    if let Some(from) = &options.from {
        add("--from", from.display().to_string());
    }
    for path in &options.leave {
        add("--leave", path.display().to_string());
    }
    for entry in checkout.of(Lot::Open) {
        add("--leave", entry.path.clone());
    }
    spelled(&words)
}

fn accounted(session: &mut Session, checkout: &Checkout, copied: &[PathBuf], bytes: u64) -> Result<(), Failure> {
    let left = if checkout.commit.is_some() { "Left behind" } else { "In the release as it is" };
    for (lot, what) in [(Lot::Shared, "Shared with every release"), (Lot::Left, left)] {
        if checkout.of(lot).next().is_some() {
            writeln!(session.out, "{what}:")?;
            list(&mut session.out, checkout, lot)?;
        }
    }
    let rebuilt = names(checkout, Lot::Rebuilt);
    if !rebuilt.is_empty() {
        writeln!(session.out, "Made anew by the steps: {}", printable(&rebuilt))?;
    }
    if !copied.is_empty() {
        let paths: Vec<String> = copied.iter().map(|path| path.display().to_string()).collect();
        writeln!(session.out, "To be copied, {}: {}", size(bytes), printable(&paths.join(", ")))?;
    }
    Ok(())
}

fn list(out: &mut dyn Write, checkout: &Checkout, lot: Lot) -> Result<(), Failure> {
    let all: Vec<&Entry> = checkout.of(lot).collect();
    let shown = |entry: &Entry| printable(&entry.path) + if entry.is_dir { "/" } else { "" };
    let width = all.iter().take(MOST_LISTED).map(|entry| shown(entry).chars().count()).max().unwrap_or(0);
    for entry in all.iter().take(MOST_LISTED) {
        writeln!(out, "  {:<width$}  {}", shown(entry), printable(&about(entry)))?;
    }
    if all.len() > MOST_LISTED {
        writeln!(out, "  and {} more (--json has them all)", all.len() - MOST_LISTED)?;
    }
    Ok(())
}

/// `ignored, 12.4M in 321 files, written 5m ago`
fn about(entry: &Entry) -> String {
    let kind = match entry.kind {
        Kind::Untracked => "untracked",
        Kind::Ignored => "ignored",
        Kind::Changed => "changed since the commit",
        Kind::There => "not in git",
    };
    let much = match (&entry.leads_to, entry.is_dir) {
        (Some(to), _) => format!(", a link to {to}"),
        (None, true) if entry.files == 1 => format!(", {} in 1 file", size(entry.bytes)),
        (None, true) => format!(", {} in {} files", size(entry.bytes), entry.files),
        (None, false) => format!(", {}", size(entry.bytes)),
    };
    let when = entry.last_write.map(|at| format!(", written {}", distance(at, clock::now()))).unwrap_or_default();
    format!("{kind}{much}{when}")
}

fn names(checkout: &Checkout, lot: Lot) -> String {
    let names: Vec<&str> = checkout.of(lot).take(MOST_LISTED).map(|entry| entry.path.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_to_leave_may_be_written_in_any_way() {
        for path in ["up/a", "./up/a/", "/srv/crm/up/a"] {
            assert_eq!(within(&[Path::new("/srv/crm")], Path::new(path)), Path::new("up/a"), "{path}");
        }
    }
}
