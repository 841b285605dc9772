//! Where an app's log files lie, and with whose rights they are opened.
//!
//! Below a directory that only we (or root) can change, they are opened as ourselves and given to the app's user to
//! read. Anywhere else a root supervisor opens them with the rights of the app's user, so that a link planted there
//! leads nowhere that user could not go alone.

use super::launch::Launcher;
use crate::config::{AppConfig, LogFormat as ConfiguredFormat};
use crate::linux::identity::Identity;
use crate::logs::{LogFormat, LogSettings};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Group or others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

pub(super) fn log_settings(app: &AppConfig, log_dir: &Path, launcher: &Launcher) -> LogSettings {
    let logs = &app.logs;
    let dir = logs.dir.as_ref().map_or_else(|| log_dir.to_owned(), |dir| log_dir.join(dir));
    let user = launcher.user_of(app).ok().filter(|_| launcher.own.uid == 0);
    let ours = is_root_owned(&dir);
    LogSettings {
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
        owner: user.as_ref().filter(|user| !ours && user.uid != 0).map(Identity::fs_owner),
        chown_to: user.filter(|_| ours).map(|user| (user.uid, user.gid)),
        dir,
    }
}

/// `NAME-combined.log` and its like.
pub(super) fn log_files(settings: &LogSettings) -> [PathBuf; 3] {
    ["combined", "out", "error"].map(|kind| settings.dir.join(format!("{}-{kind}.log", settings.name)))
}

/// Every directory on the way to it belongs to root and nobody else may write there; those still missing are made by
/// us.
fn is_root_owned(dir: &Path) -> bool {
    dir.ancestors().filter_map(|part| std::fs::symlink_metadata(part).ok()).all(|part| {
        let sticky = part.mode() & 0o1000 != 0;
        part.is_dir() && part.uid() == 0 && (sticky || part.mode() & WRITABLE_BY_OTHERS == 0)
    })
}
