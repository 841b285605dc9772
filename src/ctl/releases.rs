//! `releases`: which releases an app has; `rollback`: back to one of them.

use super::activation::{Activated, Activation, activate};
use super::deploy::{Interrupts, held, span};
use super::failure::Failure;
use super::look::{BOLD, DIM, GREEN, RED, YELLOW};
use super::session::Session;
use super::units::{distance, local_time, printable};
use super::{act, clock, list};
use crate::api::{ActionReply, OtherPhase, RefusalCode, Releases, Way, routes};
use crate::deploy::{Lock, Record, Root, State, previous};
use crate::linux::user::own_uid;
use anstyle::Style;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, json};
use std::io::Write;

/// Ctrl-C, as a shell counts it.
const INTERRUPTED: u8 = 130;

/// A release as it is shown.
#[derive(Debug, Clone, Serialize)]
struct Row {
    release: String,
    /// `active`, `warm`, `staged`, `starting`, `draining`, `bad`, `in use`, `good`, `failed`, `unfinished`, `by hand`.
    state: &'static str,
    at: Option<Timestamp>,
    by: Option<String>,
    source: Option<String>,
    commit: Option<String>,
    dir: String,
}

pub(crate) fn releases(session: &mut Session, app: &str) -> Result<u8, Failure> {
    let known: Releases = session.client()?.get(&routes::releases(app))?;
    let rows = rows(&known);
    if session.json {
        session.print_json(&rows)?;
        return Ok(0);
    }
    // Who may not see it is told of the releases all the same.
    if let Ok(Some(holder)) = Lock::look(&Root::new(&known.root).lock()) {
        writeln!(session.out, "{} {}", session.look.warning(), held(&known.app, holder.as_ref()))?;
    }
    if rows.is_empty() {
        writeln!(session.out, "{} has no release yet: infissi-ctl deploy {0} makes the first", known.app)?;
        return Ok(0);
    }
    let width = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let (ids, states) = (width(|row| row.release.len()), width(|row| row.state.len()));
    let (now, look) = (clock::now(), session.look);
    for row in &rows {
        // What a journal says is anybody's text.
        let state = look.paint(style(row.state), &format!("{:<states$}", row.state));
        let id = look.paint(BOLD, &format!("{:<ids$}", printable(&row.release)));
        let when = row.at.map(|at| format!("{} ({})", local_time(at), distance(at, now))).unwrap_or_default();
        let by = row.by.as_ref().map(|by| format!("by {}", printable(by))).unwrap_or_default();
        let source = printable(row.source.as_deref().unwrap_or_default());
        let line = format!("{id}  {state}  {when:<31}  {by:<12}  {source}");
        writeln!(session.out, "{}", line.trim_end())?;
    }
    Ok(0)
}

fn style(state: &str) -> Style {
    match state {
        "active" => GREEN,
        "bad" | "failed" => RED,
        "warm" | "staged" | "starting" | "in use" | "unfinished" => YELLOW,
        _ => DIM,
    }
}

/// The newest first, and behind them those of which nothing is known.
fn rows(known: &Releases) -> Vec<Row> {
    let root = Root::new(&known.root);
    let mut rows: Vec<Row> = Record::all(&root)
        .into_iter()
        .map(|record| Row {
            state: state(known, &record.id, Some(record.state)),
            dir: root.release(&record.id).display().to_string(),
            release: record.id,
            at: Some(record.at),
            by: Some(record.by),
            source: Some(record.source),
            commit: record.commit,
        })
        .collect();
    let there = std::fs::read_dir(root.dir().join("releases")).into_iter().flatten().flatten();
    let mut names: Vec<String> = there.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !rows.iter().any(|row| row.release == *name));
    names.sort();
    rows.extend(names.into_iter().map(|name| Row {
        state: state(known, &name, None),
        dir: root.release(&name).display().to_string(),
        release: name,
        at: None,
        by: None,
        source: None,
        commit: None,
    }));
    rows
}

fn state(known: &Releases, id: &str, state: Option<State>) -> &'static str {
    if known.active.as_deref() == Some(id) {
        return "active";
    }
    if known.trying.as_deref() == Some(id) {
        return "starting";
    }
    if let Some(other) = known.other.as_ref().filter(|other| other.release.as_deref() == Some(id)) {
        return match other.phase {
            OtherPhase::Starting => "starting",
            OtherPhase::Staged => "staged",
            OtherPhase::Warm => "warm",
            OtherPhase::Draining | OtherPhase::Stopping => "draining",
        };
    }
    if known.bad.iter().any(|bad| bad == id) {
        return "bad";
    }
    if known.in_use.iter().any(|used| used == id) {
        return "in use";
    }
    match state {
        Some(State::Live | State::Staged) => "good",
        Some(State::Failed) => "failed",
        Some(State::Building | State::Activating) => "unfinished",
        None => "by hand",
    }
}

pub(crate) fn rollback(session: &mut Session, app: &str, to: Option<&str>, stop_first: bool) -> Result<u8, Failure> {
    let known: Releases = session.client()?.get(&routes::releases(app))?;
    let root = Root::new(&known.root);
    let target = target(&known, &root, to)?;
    let began = clock::monotonic();
    let warm = known.other.as_ref().filter(|other| other.phase == OtherPhase::Warm);
    if warm.is_some_and(|other| other.release.as_deref() == Some(target.as_str())) {
        let reply: ActionReply =
            session.client()?.post(&routes::act(&known.app, "swap", true, false), &Map::<String, _>::new())?;
        if let Some(failed) = reply.results.into_iter().find_map(|result| result.error) {
            return Err(failed.into());
        }
        went_live(&root, &target);
        return done(session, &known, &target, "at once", began.elapsed().as_secs_f64());
    }
    let dir = root.release(&target);
    let interrupts = Interrupts::take();
    let way = if stop_first { Way::StopFirst } else { Way::Beside };
    let asked = Activation { app: &known.app, dir: &dir, id: &target, way, to_the_end: false };
    match activate(session, &asked, &interrupts) {
        Ok(Activated::Done | Activated::Warm) => {
            went_live(&root, &target);
            done(session, &known, &target, "started anew", began.elapsed().as_secs_f64())
        }
        Ok(Activated::Interrupted) => {
            const LEFT: &str = "The supervisor goes on with it: see `infissi-ctl list`.";
            if session.json {
                let message = format!("not waiting any longer. {LEFT}");
                session.print_json(&json!({ "error": { "code": "failed", "message": message, "hint": null } }))?;
            } else {
                writeln!(session.err, "Not waiting any longer. {LEFT}")?;
            }
            Ok(INTERRUPTED)
        }
        Err(Failure::Answered(body)) if !session.json && !body.results.is_empty() => {
            act::print_results(session, &body.results)?;
            Ok(body.error.code.exit_code())
        }
        Err(failure) => Err(failure),
    }
}

/// What had failed or was left is good now. The next deploy sees to what cannot be written here; root writes nothing, for
/// in the directory of somebody else a link would choose where.
fn went_live(root: &Root, id: &str) {
    if root.owner().ok() != Some(own_uid()) {
        return;
    }
    let record = Record::all(root).into_iter().find(|record| record.id == id && record.state != State::Live);
    if let Some(record) = record {
        let went_live = record.went_live.or_else(|| Some(clock::now()));
        let _next_time = Record { state: State::Live, why: None, went_live, ..record }.save(root);
    }
}

/// The release that was named, or the good one before.
fn target(known: &Releases, root: &Root, to: Option<&str>) -> Result<String, Failure> {
    let app = &known.app;
    let hint = format!("infissi-ctl releases {app} shows what there is");
    if let Some(id) = to {
        // While another one is started in its place, the supervisor says what is to be done.
        if known.active.as_deref() == Some(id) && known.trying.is_none() {
            return Err(Failure::new(RefusalCode::Usage, format!("{id} is the active release of {app} already"), hint));
        }
        if !crate::deploy::is_id(id) || !root.release(id).is_dir() {
            return Err(Failure::new(RefusalCode::Failed, format!("{app} has no release {id}"), hint));
        }
        let record = Record::all(root).into_iter().find(|record| record.id == id);
        if let Some(record) = record.filter(|record| !record.is_built()) {
            let message = format!("release {id} of {app} was never built: it came as far as {}", record.step);
            return Err(Failure::new(RefusalCode::Failed, message, hint));
        }
        return Ok(id.to_owned());
    }
    let warm = known.other.as_ref().filter(|other| other.phase == OtherPhase::Warm);
    if let Some(id) = warm.and_then(|other| other.release.clone()).filter(|id| !known.bad.contains(id)) {
        return Ok(id);
    }
    let records = Record::all(root);
    let before = previous(&records, root, known.active.as_deref(), &known.bad);
    before.map(|record| record.id.clone()).ok_or_else(|| {
        Failure::new(RefusalCode::Failed, format!("{app} has no good release before the active one"), hint)
    })
}

fn done(session: &mut Session, known: &Releases, target: &str, how: &str, took: f64) -> Result<u8, Failure> {
    let from = known.active.as_deref().unwrap_or("nothing");
    if session.json {
        let took_ms = (took * 1000.0).round();
        session.print_json(&json!({ "app": known.app, "release": target, "from": from, "took_ms": took_ms }))?;
        return Ok(0);
    }
    let took = if took < 1.0 { format!("{:.0} ms", took * 1000.0) } else { span(took) };
    let line = format!("{}: release {target} has the traffic again, {how}, in {took}; before it was {from}", known.app);
    writeln!(session.out, "{} {}", session.look.done(), printable(&line))?;
    writeln!(session.out, "  Migrations are not undone: the database is as {from} left it.")?;
    if session.look.terminal {
        list::list(session)?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{OtherSlot, Slot};
    use crate::ctl::sample;

    fn known(active: Option<&str>, other: Option<(OtherPhase, &str)>, bad: &[&str]) -> Releases {
        Releases {
            active: active.map(str::to_owned),
            other: other.map(|(phase, release)| OtherSlot {
                slot: Slot::Green,
                phase,
                release: Some(release.to_owned()),
                by: "ann".to_owned(),
                since: Timestamp::UNIX_EPOCH,
                until: None,
                in_flight: None,
            }),
            bad: bad.iter().map(|id| (*id).to_owned()).collect(),
            in_use: vec!["u".to_owned()],
            ..sample::releases()
        }
    }

    #[test]
    fn what_the_supervisor_does_with_a_release_goes_before_what_its_journal_says() {
        let known = known(Some("a"), Some((OtherPhase::Warm, "w")), &["b", "w"]);
        let shown = |id, journal| state(&known, id, journal);
        assert_eq!(shown("a", Some(State::Activating)), "active");
        assert_eq!(shown("w", Some(State::Live)), "warm");
        assert_eq!(shown("b", Some(State::Live)), "bad");
        assert_eq!(shown("u", Some(State::Live)), "in use");
        assert_eq!(shown("x", Some(State::Live)), "good");
        assert_eq!(shown("x", Some(State::Building)), "unfinished");
        assert_eq!(shown("x", None), "by hand");
    }

    #[test]
    fn one_goes_back_to_the_warm_release_unless_it_is_bad_or_another_is_named() {
        let root = Root::new("/nowhere");
        let warm = known(Some("a"), Some((OtherPhase::Warm, "w")), &[]);
        assert_eq!(target(&warm, &root, None).unwrap(), "w");
        let refused = |known: &Releases, to| match target(known, &root, to) {
            Err(Failure::Answered(body)) => body.error.message,
            other => panic!("{other:?}"),
        };
        let bad = known(Some("a"), Some((OtherPhase::Warm, "w")), &["w"]);
        assert_eq!(refused(&bad, None), "web has no good release before the active one");
        assert_eq!(refused(&warm, Some("a")), "a is the active release of web already");
        assert_eq!(refused(&warm, Some("../x")), "web has no release ../x");
    }
}
