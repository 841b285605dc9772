//! `check`: is a supervisor.toml right? `init`: the lines for a project.

use super::failure::Failure;
use super::place;
use super::session::Session;
use crate::api::{ConfigStatus, Refusal, RefusalCode, with_causes};
use crate::config::{self, Facts, Mistakes, Parsed, Sources};
use crate::linux::user::{name_and_home, own_uid};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

pub(crate) fn check(session: &mut Session, file: Option<&Path>) -> Result<u8, Failure> {
    let path = which(session, file)?;
    match read(&path) {
        Ok(parsed) => right(session, &path, &parsed),
        Err(mistakes) => wrong(session, &path, &mistakes),
    }
}

/// The file that is meant: named, or found as infissi-supervisord finds it.
pub(crate) fn which(session: &Session, file: Option<&Path>) -> Result<PathBuf, Failure> {
    let named = file.or(session.config());
    let located = config::find(named, &place::caller());
    located.map(|located| located.path).map_err(|none| Refusal::new(RefusalCode::Usage, none.to_string()).into())
}

pub(crate) fn read(path: &Path) -> Result<Parsed, Mistakes> {
    let name_of = |uid| name_and_home(uid).map(|(name, _)| name);
    let facts = Facts { is_root: own_uid() == 0, user_name: &name_of, log_dir: place::caller().log_dir() };
    config::parse(&Sources::read(path)?, &facts)
}

/// Whether a changed file that the caller may read has mistakes.
pub(crate) fn changed_for_the_worse(config: &ConfigStatus) -> bool {
    let path = Path::new(&config.path);
    config.changed && std::fs::File::open(path).is_ok() && read(path).is_err()
}

fn right(session: &mut Session, path: &Path, parsed: &Parsed) -> Result<u8, Failure> {
    let names: Vec<&str> = parsed.config.apps.iter().map(|app| app.name.as_str()).collect();
    if session.json {
        session.print_json(&json!({ "path": path, "apps": names, "warnings": parsed.warnings }))?;
        return Ok(0);
    }
    for warning in &parsed.warnings {
        writeln!(session.err, "{}\n", warning.render_warning(session.look.color))?;
    }
    let apps = match names.as_slice() {
        [] => "no apps".to_owned(),
        [one] => format!("1 app, {one}"),
        several => format!("{} apps: {}", several.len(), several.join(", ")),
    };
    writeln!(session.out, "{} {} is right: {apps}", session.look.done(), path.display())?;
    Ok(0)
}

fn wrong(session: &mut Session, path: &Path, mistakes: &Mistakes) -> Result<u8, Failure> {
    let count = mistakes.mistakes.len() + mistakes.left_out;
    let summary = format!("{} has {count} mistake{}", path.display(), if count == 1 { "" } else { "s" });
    let code = RefusalCode::BadConfig;
    if session.json {
        let error = Refusal::new(code, mistakes.to_string());
        session.print_json(&json!({ "error": error, "mistakes": mistakes.mistakes }))?;
    } else {
        writeln!(session.err, "{}\n", mistakes.render(session.look.color))?;
        writeln!(session.err, "{} {summary}", session.look.failed())?;
    }
    Ok(code.exit_code())
}

pub(crate) fn init(session: &mut Session, dir: &Path, port: Option<u16>) -> Result<u8, Failure> {
    let stanza = config::init(dir, port).map_err(|error| {
        Refusal::new(RefusalCode::Failed, with_causes(&error))
            .hint("infissi-ctl init DIR, where DIR/package.json has a start script")
    })?;
    if session.json {
        session.print_json(&json!({ "stanza": stanza }))?;
    } else {
        session.out.write_all(stanza.as_bytes())?;
    }
    Ok(0)
}
