//! `backup`: an app's files and dumps into an archive, as the app's user. `backups`: which there are.

use super::clock;
use super::failure::Failure;
use super::progress::{Line, TICK};
use super::session::Session;
use super::table::boxed;
use super::units::{distance, printable, size};
use crate::api::{BackupPlan, ExecPlan, Refusal, RefusalCode, SharedLink, routes};
use crate::deploy::backup::{self, BackupError, Figures, Kept, Made, Step, Watch};
use crate::linux::become_user::become_user;
use crate::linux::user::own_uid;
use comfy_table::CellAlignment;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Ctrl-C, as a shell counts it: 128 and the signal's number.
const INTERRUPTED: u8 = 130;
/// How often a log is told that it goes on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

pub(crate) fn backup(session: &mut Session, app: &str) -> Result<u8, Failure> {
    let plan: BackupPlan = session.client()?.get(&routes::backup(app))?;
    // The commands alone need the environment, and a backup without any is made also where that cannot be had.
    let exec: Option<ExecPlan> = match plan.before.is_empty() {
        true => None,
        false => Some(session.client()?.get(&routes::exec(app))?),
    };
    as_its_user(&plan, &format!("backup {app}"))?;
    let begun = clock::monotonic();
    let mut show = Show::new(session, &plan.app);
    let made = backup::make(&plan, exec.as_ref(), &clock::here_and_now(), &mut show);
    let was_stopped = show.stopped();
    drop(show);
    match made {
        Ok(made) => tell(session, &plan, &made, begun.elapsed()),
        Err(error @ BackupError::Stopped) if was_stopped => {
            session.print_failure(error.refusal().into());
            Ok(INTERRUPTED)
        }
        Err(error) => Err(error.refusal().into()),
    }
}

/// Root takes the app's user's rights, for good: what is read and written is judged as that user's.
pub(super) fn as_its_user(plan: &BackupPlan, words: &str) -> Result<(), Failure> {
    let BackupPlan { app, user, uid, gid, groups, .. } = plan;
    let own = own_uid();
    if own == 0 {
        return become_user(*uid, *gid, groups)
            .map_err(|error| Refusal::new(RefusalCode::Failed, format!("cannot become {user}: {error}")).into());
    }
    if own != *uid {
        return Err(Failure::new(
            RefusalCode::NotAllowed,
            format!("{app} runs as {user}, and its backups are for that user and root"),
            format!("sudo -u {user} infissi-ctl {words}"),
        ));
    }
    Ok(())
}

fn tell(session: &mut Session, plan: &BackupPlan, made: &Made, took: Duration) -> Result<u8, Failure> {
    let app = &plan.app;
    let Made { path, size: bytes, figures, notes, pruned } = made;
    if session.json {
        session.print_json(&json!({
            "app": app,
            "name": name_of(path),
            "path": path,
            "size_bytes": bytes,
            "entries": figures.entries,
            "content_bytes": figures.bytes,
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "outside": plan.outside,
            "notes": notes,
            "pruned": pruned,
        }))?;
        return Ok(0);
    }
    for note in notes {
        writeln!(session.err, "{} {app}: {}", session.look.warning(), printable(note))?;
    }
    let gone = match pruned.as_slice() {
        [] => String::new(),
        [one] => format!(", and {one} is gone"),
        several => format!(", and the {} oldest are gone", several.len()),
    };
    writeln!(
        session.out,
        "{} {app}: backed up {} ({} entries) in {:.1} s{gone}\n  {}, {}",
        session.look.done(),
        size(figures.bytes),
        figures.entries,
        took.as_secs_f64(),
        path.display(),
        size(*bytes),
    )?;
    for SharedLink { path, target } in &plan.outside {
        let line = format!("not in it: {target}, to which {path} leads: that is outside of {}", plan.base);
        writeln!(session.out, "  {}", printable(&line))?;
    }
    Ok(0)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

pub(crate) fn backups(session: &mut Session, app: &str) -> Result<u8, Failure> {
    let plan: BackupPlan = session.client()?.get(&routes::backup(app))?;
    as_its_user(&plan, &format!("backups {app}"))?;
    // As people copy it: a relative `dir` has `..` in it.
    let dir = &std::fs::canonicalize(&plan.dir).unwrap_or_else(|_| Path::new(&plan.dir).to_owned());
    let kept = backup::list(dir, &plan.app).map_err(|error| {
        Failure::new(
            RefusalCode::Failed,
            format!("cannot read {}: {error}", dir.display()),
            format!("it has to be {}'s: ls -ld {}", plan.user, dir.display()),
        )
    })?;
    if session.json {
        session.print_json(&kept.iter().map(as_json).collect::<Vec<_>>())?;
        return Ok(0);
    }
    let text = shown(session, &plan, dir, &kept);
    session.out.write_all(text.as_bytes())?;
    Ok(0)
}

fn as_json(kept: &Kept) -> serde_json::Value {
    json!({
        "name": kept.name,
        "path": kept.path,
        "size_bytes": kept.size,
        "at": begun(kept),
        "own": kept.is_own,
    })
}

fn begun(kept: &Kept) -> Option<Timestamp> {
    kept.at.to_zoned(TimeZone::system()).ok().map(|at| at.timestamp())
}

fn shown(session: &Session, plan: &BackupPlan, dir: &Path, kept: &[Kept]) -> String {
    let (BackupPlan { app, keep, .. }, dir) = (plan, dir.display());
    if kept.is_empty() {
        return format!("No backups of {app} in {dir} yet: infissi-ctl backup {app}\n");
    }
    let mut table = boxed(&session.look);
    table.set_header(["name", "size", "age"]);
    let now = clock::now();
    for kept in kept {
        let mark = if kept.is_own { "" } else { " *" };
        let age = begun(kept).map_or_else(|| "-".to_owned(), |at| distance(at, now));
        table.add_row([format!("{}{mark}", kept.name), size(kept.size), age]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let total = size(kept.iter().map(|kept| kept.size).sum());
    let mut text = format!("{table}\n{total} in {dir}; the newest {keep} are kept\n");
    if kept.iter().any(|kept| !kept.is_own) {
        text.push_str(&format!("* not made by infissi-ctl for {app}: never removed\n"));
    }
    text
}

/// How far it is: one line on a terminal, else a line for each step and now and then a sign of life.
pub(super) struct Show<'s> {
    app: String,
    doing: String,
    line: Option<Line>,
    /// Where there is no terminal; nothing with `--json`.
    log: Option<&'s mut dyn Write>,
    /// When the line moves next, or the next sign of life is due.
    next: Instant,
    /// One of the commands has the terminal.
    is_before: bool,
    is_stopped: Arc<AtomicBool>,
    hooks: Vec<signal_hook::SigId>,
}

impl Show<'_> {
    pub(super) fn new<'s>(session: &'s mut Session, app: &str) -> Show<'s> {
        let line = if session.json { None } else { Line::on_stderr(&session.look) };
        let log: Option<&mut dyn Write> =
            if session.json || line.is_some() { None } else { Some(session.err.as_mut()) };
        let is_stopped = Arc::new(AtomicBool::new(false));
        let hook = |signal| signal_hook::flag::register(signal, Arc::clone(&is_stopped)).ok();
        let hooks = [SIGINT, SIGTERM, SIGHUP].into_iter().filter_map(hook).collect();
        let next = clock::monotonic();
        Show { app: app.to_owned(), doing: String::new(), line, log, next, is_before: false, is_stopped, hooks }
    }

    fn stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// From now on this is what is done.
    pub(super) fn begin(&mut self, doing: String) {
        self.doing = doing;
        let now = clock::monotonic();
        self.next = if self.line.is_some() { now } else { now + SIGN_OF_LIFE };
        let said = format!("{}: {}", self.app, self.doing);
        match (&self.line, &mut self.log) {
            (Some(line), _) if self.is_before => {
                line.clear();
                let _unheard = writeln!(std::io::stderr(), "{said}");
            }
            (Some(_), _) | (None, None) => {}
            (None, Some(log)) => {
                let _unheard = writeln!(log, "{said}");
            }
        }
    }

    fn say(&mut self, figures: Figures) {
        let so_far = format!("{}: {}, {} entries, {}", self.app, self.doing, figures.entries, size(figures.bytes));
        if let Some(line) = &mut self.line {
            line.draw(&so_far);
        } else if let Some(log) = &mut self.log {
            // Nobody listens: the backup is made all the same.
            let _unheard = writeln!(log, "{so_far}");
        }
    }
}

impl Watch for Show<'_> {
    fn step(&mut self, step: Step<'_>) {
        self.is_before = matches!(step, Step::Before { .. });
        self.begin(match step {
            Step::Before { number, of, words } => {
                format!("running {} ({number} of {of})", printable(&shell_words::join(words)))
            }
            Step::Archive => "archiving".to_owned(),
            Step::Verify => "reading it back".to_owned(),
        });
    }

    fn goes_on(&mut self, figures: Figures) -> bool {
        let now = clock::monotonic();
        // What a command writes is not to be drawn over.
        if now >= self.next && !self.is_before {
            self.say(figures);
            self.next = now + if self.line.is_some() { TICK } else { SIGN_OF_LIFE };
        }
        !self.stopped()
    }
}

impl Drop for Show<'_> {
    fn drop(&mut self) {
        for hook in self.hooks.drain(..) {
            signal_hook::low_level::unregister(hook);
        }
    }
}
