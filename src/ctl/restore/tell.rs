//! What a restore says: what came back, what was there before, what did not come back and how it would.

use super::Restoring;
use crate::api::BackupPlan;
use crate::ctl::deploy::span;
use crate::ctl::units::size;
use crate::deploy::restore::{Paths, Whose};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;

/// So many paths stand in a line.
const MOST_TOLD: usize = 5;

/// Something that is in the archive or belongs to the app, and was not put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NotRestored {
    pub(super) what: String,
    pub(super) why: String,
    pub(super) next: Option<String>,
}

impl NotRestored {
    pub(super) fn new(what: impl Into<String>, why: impl Into<String>) -> NotRestored {
        NotRestored { what: what.into(), why: why.into(), next: None }
    }

    pub(super) fn next(mut self, next: String) -> NotRestored {
        self.next = Some(next);
        self
    }

    pub(super) fn line(&self) -> String {
        let next = self.next.as_ref().map(|next| format!(": {next}")).unwrap_or_default();
        format!("not restored: {} ({}){next}", self.what, self.why)
    }
}

/// The dumps that lie in `out`, each with how it is loaded.
pub(super) fn dumps(plan: &BackupPlan, out: &Path) -> Vec<NotRestored> {
    let entries = std::fs::read_dir(out).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    let told = |name: String| {
        let path = out.join(&name).display().to_string();
        let dump = NotRestored::new(&path, "a dump, which nothing loads by itself");
        match loaded(plan, &name, &path) {
            Some(command) => dump.next(command),
            None => dump,
        }
    };
    names.into_iter().map(told).collect()
}

/// The command that takes what the one that dumped it has written.
fn loaded(plan: &BackupPlan, name: &str, path: &str) -> Option<String> {
    let place = format!("{{out}}/{name}");
    let mut dumping = plan.before.iter().filter(|words| words.iter().any(|word| word.contains(&place)));
    let words = dumping.next().or(plan.before.first().filter(|_| plan.before.len() == 1))?;
    let line = words.join(" ");
    let (app, path) = (&plan.app, shell_words::quote(path));
    let is_custom = ["-Fc", "-Fd", "-Ft", "-F c", "-F d", "-F t", "--format"].iter().any(|form| line.contains(form));
    let of = |program: &str| line.split(['/', ' ', '\'', '"']).any(|word| word == program);
    if of("pg_dump") && is_custom {
        Some(format!("infissi-ctl exec {app} -- pg_restore --clean --if-exists -d DATABASE {path}"))
    } else if of("pg_dump") {
        Some(format!("infissi-ctl exec {app} -- psql -d DATABASE -f {path}"))
    } else if of("mysqldump") || of("mariadb-dump") {
        Some(format!("infissi-ctl exec {app} -- mysql DATABASE < {path}"))
    } else {
        None
    }
}

/// `backup-20261126-180000.tar.gz (1.2G in 345 entries)`
pub(super) fn of_what(restoring: &Restoring) -> String {
    let figures = restoring.contents.figures;
    let whose = match &restoring.found.whose {
        Whose::Own => String::new(),
        Whose::Unsaid => ", which does not say whose backup it is".to_owned(),
        Whose::Anothers(app) => format!(", of {app}"),
    };
    format!("{} ({} in {} entries{whose})", restoring.found.name(), size(figures.bytes), figures.entries)
}

pub(super) fn how_long(begun: Instant) -> String {
    span(begun.elapsed().as_secs_f64())
}

/// `a, b and 3 more`
pub(super) fn some_of(paths: &Paths) -> String {
    let first: Vec<String> = paths.first.iter().map(|path| path.display().to_string()).collect();
    with_rest(&first, paths.count)
}

pub(super) fn some(texts: &[String]) -> String {
    with_rest(texts, texts.len() as u64)
}

fn with_rest(first: &[String], count: u64) -> String {
    let told = &first[..first.len().min(MOST_TOLD)];
    match count.saturating_sub(told.len() as u64) {
        0 => told.join(", "),
        more => format!("{} and {more} more", told.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(before: &[&str]) -> BackupPlan {
        let split = |line: &&str| shell_words::split(line).unwrap();
        BackupPlan {
            app: "crm".to_owned(),
            user: "ann".to_owned(),
            uid: 1,
            gid: 1,
            groups: Vec::new(),
            base: "/srv/crm".to_owned(),
            root: None,
            outside: Vec::new(),
            dir: "/backups".to_owned(),
            include: Vec::new(),
            exclude: Vec::new(),
            before: before.iter().map(split).collect(),
            keep: 1,
        }
    }

    #[test]
    fn a_dump_is_told_with_what_takes_it() {
        let of = |before: &[&str], name| loaded(&plan(before), name, "/x/db");
        let psql = Some("infissi-ctl exec crm -- psql -d DATABASE -f /x/db".to_owned());
        assert_eq!(of(&["pg_dump crm -f {out}/db.sql"], "db.sql"), psql);
        assert_eq!(of(&["sh -c 'pg_dump \"$DATABASE_URL\" > {out}/db.sql'", "x {out}/other"], "db.sql"), psql);
        assert!(of(&["/usr/bin/pg_dump -Fc -f {out}/db"], "db").unwrap().contains("pg_restore"));
        assert!(of(&["mysqldump -r {out}/db crm"], "db").unwrap().contains("mysql DATABASE < "));
        assert_eq!(of(&["cp a {out}/db"], "db"), None);
        assert_eq!(of(&["pg_dump -f {out}/a", "pg_dump -f {out}/b"], "c"), None);
    }
}
