//! `list`: the table of all apps, the notes below it, and the same again every second.

use super::failure::Failure;
use super::look::{BOLD, DIM, Look};
use super::session::Session;
use super::table::table;
use super::units::{distance, printable, wrapped};
use super::{check, clock, course, slots};
use crate::api::{AppStatus, ConfigStatus, Overview, RefusalCode, Status, routes};
use jiff::Timestamp;

pub(crate) fn list(session: &mut Session) -> Result<u8, Failure> {
    if session.json {
        let mut apps: Vec<AppStatus> = session.client()?.get(routes::APPS)?;
        leave_out(&mut apps, &session.only)?;
        session.print_json(&apps)?;
        return Ok(0);
    }
    let mut overview: Overview = session.client()?.get(routes::OVERVIEW)?;
    if !session.only.is_empty() {
        leave_out(&mut overview.apps, &session.only)?;
        // Warnings and mistakes of the configuration name other apps, too.
        overview.warnings.clear();
        overview.config.faulty = None;
    }
    let text = text(&overview, clock::now(), &session.look);
    session.out.write_all(text.as_bytes())?;
    Ok(0)
}

/// What is none of those that may be seen; there has to be something left.
fn leave_out(apps: &mut Vec<AppStatus>, only: &[String]) -> Result<(), Failure> {
    if only.is_empty() {
        return Ok(());
    }
    apps.retain(|app| only.iter().any(|name| *name == app.name || app.aliases.contains(name)));
    match apps.is_empty() {
        true => {
            let message = format!("there is no app {}", only.join(", "));
            Err(Failure::new(RefusalCode::NoSuchApp, message, "is it in supervisor.toml, by that name?"))
        }
        false => Ok(()),
    }
}

/// The whole answer of `list`, lines with ends.
pub(crate) fn text(overview: &Overview, now: Timestamp, look: &Look) -> String {
    let mut text = if overview.apps.is_empty() { empty(&overview.config) } else { table(&overview.apps, look) };
    for note in notes(overview, now, look) {
        text.push_str(&wrapped(&note, look.width));
        text.push('\n');
    }
    text
}

fn empty(config: &ConfigStatus) -> String {
    format!(
        "No apps yet. `infissi-ctl init DIR` looks at a project and prints the lines for it;\n\
         put them into {} and run `infissi-ctl apply`.\n",
        config.path
    )
}

fn notes(overview: &Overview, now: Timestamp, look: &Look) -> Vec<String> {
    let Overview { apps, config, warnings } = overview;
    let mut notes: Vec<String> = apps
        .iter()
        .flat_map(|app| [about_app(app, now, look), about_deploy(app, now, look), about_other_slot(app, now, look)])
        .flatten()
        .collect();
    if let Some(mistakes) = &config.faulty {
        notes.push(format!("{} {} has mistakes; the last applied configuration runs.", look.warning(), config.path));
        notes.extend(mistakes.trim_end().lines().map(|line| format!("  {line}")));
        notes.push(format!("  next: correct it, then {}", look.paint(BOLD, "infissi-ctl apply")));
    } else if check::changed_for_the_worse(config) {
        notes.push(format!(
            "{} {} was changed and has mistakes; what was applied before runs on: {} shows them",
            look.warning(),
            config.path,
            look.paint(BOLD, "infissi-ctl check")
        ));
    } else if config.changed {
        notes.push(format!(
            "{} {} was changed and is not applied: run {} (--dry-run shows what it would do)",
            look.warning(),
            config.path,
            look.paint(BOLD, "infissi-ctl apply")
        ));
    }
    notes.extend(warnings.iter().map(|warning| format!("{} {}", look.warning(), printable(warning))));
    notes
}

/// `staging waits: port 3002 is held by pid 812 (node server.js)`.
fn about_app(app: &AppStatus, now: Timestamp, look: &Look) -> Option<String> {
    let reason = app.reason.as_deref()?;
    let does = does(app.status);
    let mark = match app.status {
        Status::Errored => look.failed(),
        Status::Backoff | Status::Waiting | Status::Online => look.warning(),
        Status::Stopped | Status::Starting | Status::Stopping => look.paint(DIM, look.sign("·", "-")),
    };
    let next =
        app.next_at.filter(|at| *at > now).map(|at| format!("; next try {}", distance(at, now))).unwrap_or_default();
    Some(format!("{mark} {} {does}: {}{next}", app.name, printable(reason)))
}

/// After its name.
pub(crate) fn does(status: Status) -> &'static str {
    match status {
        Status::Stopped => "is stopped",
        Status::Starting => "is starting",
        Status::Online => "is online",
        Status::Stopping => "is stopping",
        Status::Backoff => "backs off",
        Status::Errored => "is errored",
        Status::Waiting => "waits",
    }
}

/// `staging is being deployed by ann (pid 4711) since 5m, at npm ci`.
fn about_deploy(app: &AppStatus, now: Timestamp, look: &Look) -> Option<String> {
    let who = course::goes_on(app.deploying.as_ref()?, now);
    let mark = look.paint(DIM, look.sign("·", "-"));
    Some(format!("{mark} {} is being deployed by {}", app.name, printable(&who)))
}

/// `staging: green is starting (4s, by ann)`.
fn about_other_slot(app: &AppStatus, now: Timestamp, look: &Look) -> Option<String> {
    let other = app.other.as_ref()?;
    let mark = look.paint(DIM, look.sign("·", "-"));
    Some(format!("{mark} {}: {}", app.name, printable(&slots::sentence(&app.name, other, now))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Deploying, OtherPhase, OtherSlot, Slot, SupervisorStatus};
    use crate::ctl::sample;

    const PLAIN: Look = Look { terminal: false, color: false, unicode: true, width: None, height: None };

    fn shown(apps: &[AppStatus], supervisor: &SupervisorStatus) -> String {
        let SupervisorStatus { config, warnings, .. } = supervisor.clone();
        text(&Overview { apps: apps.to_vec(), config, warnings }, sample::at("2026-01-02T03:04:05Z"), &PLAIN)
    }

    #[test]
    fn each_app_in_trouble_has_its_reason_below_the_table() {
        insta::assert_snapshot!(shown(&sample::apps(), &sample::supervisor()));
    }

    #[test]
    fn a_deploy_that_goes_on_stands_below_the_table() {
        let mut app = sample::app("web");
        app.deploying = Some(Deploying {
            by: "ann".to_owned(),
            pid: 4711,
            since: sample::at("2026-01-02T02:59:05Z"),
            release: None,
            step: "npm\u{1b}[2J ci".to_owned(),
        });
        let shown = shown(&[app], &sample::supervisor());
        assert!(
            shown.ends_with("· web is being deployed by ann (pid 4711) since 5m, at npm\u{fffd}[2J ci\n"),
            "{shown}"
        );
    }

    #[test]
    fn what_goes_on_in_the_other_slot_stands_below_the_table() {
        let mut app = sample::app("web");
        app.other = Some(OtherSlot {
            slot: Slot::Green,
            phase: OtherPhase::Warm,
            release: Some("20251020-010000".to_owned()),
            by: "ann".to_owned(),
            since: sample::at("2026-01-02T03:03:55Z"),
            until: Some(sample::at("2026-01-02T03:04:55Z")),
            in_flight: None,
        });
        let shown = shown(&[app], &sample::supervisor());
        let note = "· web: green (release 20251020-010000) is warm for 50s more: infissi-ctl swap web goes back\n";
        assert!(shown.ends_with(note), "{shown}");
    }

    #[test]
    fn a_note_is_broken_between_its_words_where_the_terminal_ends() {
        let mut app = sample::app("web");
        app.status = Status::Waiting;
        app.reason =
            Some("port 3000 is held by pid 812 (node /srv/www/shop/server.js), which is not of this app".into());
        let SupervisorStatus { config, warnings, .. } = sample::supervisor();
        let look = Look { terminal: true, width: Some(60), ..PLAIN };
        let overview = Overview { apps: vec![app], config, warnings };
        let shown = text(&overview, sample::at("2026-01-02T03:04:05Z"), &look);
        let note =
            "! web waits: port 3000 is held by pid 812 (node\n  /srv/www/shop/server.js), which is not of this app\n";
        assert!(shown.ends_with(note), "{shown}");
    }

    #[test]
    fn an_empty_list_says_how_to_begin() {
        let shown = shown(&[], &sample::supervisor());
        assert!(shown.contains("infissi-ctl init") && shown.contains("/etc/infissi/supervisor.toml"), "{shown}");
    }

    #[test]
    fn a_changed_configuration_is_announced_until_it_is_applied() {
        let mut supervisor = sample::supervisor();
        supervisor.config.changed = true;
        assert!(shown(&[], &supervisor).contains("run infissi-ctl apply"));
        supervisor.config.faulty = Some("supervisor.toml:3: apps.web.port: 0 is no port\n".to_owned());
        let shown = shown(&[], &supervisor);
        assert!(shown.contains("has mistakes") && shown.contains("  supervisor.toml:3:"), "{shown}");
        assert!(!shown.contains("was changed"), "{shown}");
    }

    #[test]
    fn a_changed_configuration_with_mistakes_is_not_offered_for_applying() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("supervisor.toml");
        std::fs::write(&path, "[apps.web]\nprot = 3000\n").unwrap();
        let mut supervisor = sample::supervisor();
        supervisor.config.changed = true;
        supervisor.config.path = path.display().to_string();
        let shown = shown(&[], &supervisor);
        assert!(shown.contains("has mistakes") && shown.contains("infissi-ctl check"), "{shown}");
    }

    #[test]
    fn a_reason_cannot_steer_the_terminal() {
        let mut app = sample::app("web");
        app.status = Status::Errored;
        app.reason = Some("\u{1b}[2J".to_owned());
        assert!(!shown(&[app], &sample::supervisor()).contains('\u{1b}'));
    }
}
