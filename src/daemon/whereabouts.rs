//! Which runtime directory a state directory has in this boot: what runs is known by what is noted there.
//!
//! Another one comes about without anybody's intent: by hand and under the unit a user's supervisor has the same state, and
//! not the same runtime directory. Begun there, it would know nothing of what runs and end all of it.

use super::front;
use super::outputs::JOURNAL;
use super::run_records::RunRecords;
use crate::config::Places;
use crate::linux::atomic::replace_file;
use crate::linux::boot::boot_id;
use crate::linux::dirs::own_directory;
use crate::linux::lock::{DirLock, Purpose};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use tracing::debug;

/// In the state directory.
const FILE: &str = "runtime.json";

#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    boot: String,
    runtime_dir: PathBuf,
}

/// Where an earlier supervisor has left what runs.
pub(super) struct There {
    pub(super) places: Places,
    /// Of its runtime directory.
    pub(super) lock: DirLock,
    /// A sentence for whoever looks elsewhere.
    pub(super) warning: String,
}

/// The runtime directory of an earlier supervisor, where that is another one and something runs that is noted there. What
/// is noted in one that is left is not to be believed by who comes back to it. To be called by whoever has the lock of the
/// state.
pub(super) fn of_what_runs(places: &Places, state_id: &str) -> Option<There> {
    let noted: Noted = serde_json::from_slice(&std::fs::read(places.state_dir.join(FILE)).ok()?).ok()?;
    let dir = noted.runtime_dir;
    let is_another = boot_id().is_ok_and(|boot| boot == noted.boot) && !is_same(&dir, &places.runtime_dir);
    if !is_another || !dir.is_dir() || own_directory(&dir, 0o755).is_err() {
        return None;
    }
    // Somebody else has it by now, and it holds nothing of ours.
    let lock = DirLock::take(&dir, Purpose::Runtime).ok()?;
    let records = RunRecords::at(&dir, state_id).ok()?;
    if records.have_a_living_one() || front::has_worker(&dir) {
        let warning = format!(
            "the runtime directory is {}, and not {}: an earlier supervisor had that one, and what it has left runs. A \
             stop and a start change it",
            dir.display(),
            places.runtime_dir.display()
        );
        return Some(There { places: places.clone().within(dir).ok()?, lock, warning });
    }
    if records.were_written_last() {
        records.clear();
        let _not_there = std::fs::remove_file(dir.join(JOURNAL));
    }
    None
}

/// For the next one. Where the disk does not take it, one that is begun as this one finds what runs all the same.
pub(super) fn note(places: &Places) {
    if let Err(error) = write(places) {
        debug!("the runtime directory is not noted: {error}");
    }
}

fn write(places: &Places) -> io::Result<()> {
    let noted = Noted { boot: boot_id()?, runtime_dir: places.runtime_dir.clone() };
    replace_file(&places.state_dir.join(FILE), &serde_json::to_vec_pretty(&noted)?, 0o600, false)
}

fn is_same(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    resolved(one) == resolved(other)
}
