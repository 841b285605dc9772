//! Where an app's log files lie, and with whose rights they are opened.
//!
//! Below a directory that only we (or root) can change, they are opened as ourselves and given to the app's user to
//! read. Anywhere else a root supervisor opens them with the rights of the app's user, so that a link planted there
//! leads nowhere that user could not go alone.

use crate::config::{AppConfig, LogFormat as ConfiguredFormat};
use crate::linux::identity::Identity;
use crate::logs::{LogFormat, LogSettings};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Group or others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// `user`: as whom the app runs, where we are root and know it. None where we are root, the directory is not ours
/// alone and the user is not known: nothing may be opened then.
pub(super) fn log_settings(
    app: &AppConfig,
    log_dir: &Path,
    (are_root, user): (bool, Option<&Identity>),
) -> Option<LogSettings> {
    let logs = &app.logs;
    let dir = logs.dir.as_ref().map_or_else(|| log_dir.to_owned(), |dir| log_dir.join(dir));
    let ours = is_root_owned(&dir);
    if are_root && !ours && user.is_none() {
        return None;
    }
    let user = user.filter(|_| are_root);
    Some(LogSettings {
        app: Arc::from(app.name.as_str()),
        name: logs.name.clone(),
        timestamps: logs.timestamps,
        format: match logs.format {
            ConfiguredFormat::Text => LogFormat::Text,
            ConfiguredFormat::Json => LogFormat::Json,
        },
        max_size: logs.max_size,
        keep: logs.keep,
        compress: logs.compress,
        max_total: logs.max_total,
        daily: logs.daily,
        owner: user.filter(|user| !ours && user.uid != 0).map(Identity::fs_owner),
        chown_to: user.filter(|_| ours).map(|user| (user.uid, user.gid)),
        dir,
    })
}

/// `NAME-combined.log` and its like.
pub(super) fn log_files(app: &AppConfig, log_dir: &Path) -> [PathBuf; 3] {
    let dir = app.logs.dir.as_ref().map_or_else(|| log_dir.to_owned(), |dir| log_dir.join(dir));
    ["combined", "out", "error"].map(|kind| dir.join(format!("{}-{kind}.log", app.logs.name)))
}

/// Every directory on the way to it belongs to root, nobody else may write there, and those still missing can be made
/// by nobody but us.
fn is_root_owned(dir: &Path) -> bool {
    let mut missing = false;
    dir.ancestors().all(|part| {
        let Ok(about) = std::fs::symlink_metadata(part) else {
            missing = true;
            return true;
        };
        // In a sticky directory nobody replaces what is root's; what is not there yet, anyone may make.
        let sticky = about.mode() & STICKY != 0 && !missing;
        missing = false;
        about.is_dir() && about.uid() == 0 && (sticky || about.mode() & WRITABLE_BY_OTHERS == 0)
    })
}
