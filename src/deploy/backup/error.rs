//! Why there is no backup, and what to do about it.

use crate::api::{Refusal, RefusalCode, with_causes};
use crate::config::PatternError;
use crate::linux::disk;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The watcher wanted no more of it.
    #[error("the backup was stopped; nothing of it is left")]
    Stopped,
    #[error("a backup of {app} is under way{}", shown(*pid, *since_ms))]
    Busy { app: String, pid: Option<i32>, since_ms: Option<u64> },
    #[error("{user} may not keep backups in {}", .dir.display())]
    NotAllowed { user: String, dir: PathBuf, source: io::Error },
    #[error("cannot keep backups in {}", .dir.display())]
    Dir { dir: PathBuf, source: io::Error },
    #[error("{text:?} is no path or glob of a backup")]
    Pattern { text: String, source: PatternError },
    #[error("cannot find {include:?} of include in {}", .base.display())]
    Missing { include: String, base: PathBuf, source: io::Error },
    #[error("{} is a link, and the backup follows none to {include:?} of include", .link.display())]
    BehindLink { include: String, link: PathBuf },
    #[error("nothing in {} is meant by include", .base.display())]
    Empty { app: String, base: PathBuf },
    #[error("cannot run {program} before the backup")]
    Run { app: String, program: String, path: String, source: io::Error },
    #[error("`{command}` failed before the backup: {how}")]
    Before { app: String, command: String, how: String },
    #[error("cannot read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write the backup into {}", .dir.display())]
    Write { dir: PathBuf, source: io::Error },
    #[error("the archive does not read back as it was written: {why}")]
    Unsound { dir: PathBuf, why: String },
}

impl BackupError {
    /// As an answer: what, why, and the next step.
    pub fn refusal(&self) -> Refusal {
        let (code, hint) = match self {
            BackupError::Stopped => (RefusalCode::Failed, "run it again when it suits".to_owned()),
            BackupError::Busy { app, .. } => {
                (RefusalCode::Busy, format!("wait for it; `infissi-ctl backups {app}` shows what is there"))
            }
            BackupError::NotAllowed { user, dir, .. } => (RefusalCode::NotAllowed, make_it_theirs(user, dir)),
            BackupError::Dir { dir, .. } => {
                (RefusalCode::Failed, format!("is {} a directory? `dir` of its [backup] table names it", dir.display()))
            }
            BackupError::Pattern { .. } => (
                RefusalCode::Failed,
                "supervisor and infissi-ctl may be of different versions: `infissi-ctl version`".to_owned(),
            ),
            BackupError::Missing { include, .. } => (
                RefusalCode::Failed,
                format!(
                    "make it, take it out of include, or write a glob such as \"{include}*\", which may mean nothing"
                ),
            ),
            BackupError::BehindLink { .. } => {
                (RefusalCode::Failed, "name where it leads to, below the app's directory".to_owned())
            }
            BackupError::Empty { app, .. } => {
                (RefusalCode::Failed, format!("correct include and exclude of [apps.{app}.backup] and apply"))
            }
            BackupError::Run { app, program, path, .. } => (
                RefusalCode::Failed,
                format!("install {program}, or write its whole path into before of [apps.{app}.backup]; PATH={path}"),
            ),
            BackupError::Before { app, command, .. } => (
                RefusalCode::Failed,
                format!(
                    "what it said stands above, and no backup was made; try it: infissi-ctl exec {app} -- {command}"
                ),
            ),
            BackupError::Read { path, .. } => (
                RefusalCode::Failed,
                format!("let the app's user read it, or name it in exclude: ls -ld {}", path.display()),
            ),
            BackupError::Write { dir, source } if is_full(source) => (RefusalCode::Failed, make_room(dir)),
            BackupError::Write { dir, .. } => (RefusalCode::Failed, format!("look at the disk: df {}", dir.display())),
            BackupError::Unsound { dir, .. } => {
                (RefusalCode::Failed, format!("it was thrown away; look after the disk below {}: dmesg", dir.display()))
            }
        };
        Refusal::new(code, with_causes(self)).hint(hint)
    }
}

pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn make_it_theirs(user: &str, dir: &Path) -> String {
    format!("sudo install -d -o {user} -m 700 {}", dir.display())
}

fn make_room(dir: &Path) -> String {
    let room = disk::room(dir).map(|room| format!(", where {} KiB are free now", room.bytes >> 10)).unwrap_or_default();
    format!("nothing of it is left; make room in {}{room}, or keep fewer backups", dir.display())
}

fn shown(pid: Option<i32>, since_ms: Option<u64>) -> String {
    let pid = pid.map(|pid| format!("pid {pid}"));
    let since = since_ms.map(|ms| format!("for {} s", ms / 1000));
    match (pid, since) {
        (None, None) => String::new(),
        (pid, since) => format!(" ({})", [pid, since].into_iter().flatten().collect::<Vec<_>>().join(", ")),
    }
}
