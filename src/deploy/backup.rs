//! A backup of an app: commands that dump what files do not hold → one archive, read back → its name → older ones go.

mod archive;
mod before;
mod choose;
mod error;
mod place;
mod shelf;
mod verify;

pub use error::BackupError;
pub use shelf::{Kept, list};

pub(super) use choose::{Choice, Standing, Verdict};
pub(super) use shelf::{is_of_backups, mark_in, marked_for};

use crate::api::{BackupPlan, ExecPlan};
use crate::linux::logfile::give_way;
use archive::Archive;
use jiff::{ToSpan, Zoned};
use place::Place;
use std::path::{Path, PathBuf};

/// Where the archive holds what the commands put into `{out}`.
pub const OUT: &str = "backup-out";
/// How many names are tried where others have ours: one a second.
const MOST_NAMES: i64 = 120;

/// Hears how far a backup is.
pub trait Watch {
    /// What is done now.
    fn step(&mut self, step: Step<'_>);

    /// Called at least a few times a second; false ends the backup.
    fn goes_on(&mut self, figures: Figures) -> bool;
}

/// What a backup does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// One of the commands that come before: which of how many, and its words.
    Before {
        number: usize,
        of: usize,
        words: &'a [String],
    },
    Archive,
    /// The archive is read back.
    Verify,
}

/// How much it is so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Files, directories and links.
    pub entries: u64,
    /// What the files hold.
    pub bytes: u64,
}

/// A backup that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub path: PathBuf,
    /// Of the archive.
    pub size: u64,
    pub figures: Figures,
    /// What was not as it should be, sentences.
    pub notes: Vec<String>,
    /// The names of the older ones that went.
    pub pruned: Vec<String>,
}

/// Makes one, as the user that this process is. `exec`: what the plan's commands run with. `now`: its name.
///
/// # Errors
/// Why there is none. Nothing of it is left then, and no older one has gone.
pub fn make(
    plan: &BackupPlan,
    exec: Option<&ExecPlan>,
    now: &Zoned,
    watch: &mut dyn Watch,
) -> Result<Made, BackupError> {
    let base = Path::new(&plan.base);
    let mut choice = Choice::of(plan)?;
    choice.refuse_missing(base)?;
    let place = Place::take(plan, now)?;
    if let Some(exec) = exec.filter(|_| !plan.before.is_empty()) {
        before::run(plan, exec, &place.make_out()?, watch)?;
    }
    watch.step(Step::Archive);
    // What serves is not to wait for what is kept.
    give_way();
    let mut archive = Archive::begin(&place, &plan.app, now)?;
    if place.has_out() {
        archive.add(place.out(), Some(Path::new(OUT)), &mut Choice::everything(), watch)?;
    }
    archive.add(base, None, &mut choice, watch)?;
    let (figures, mut notes) = archive.finish()?;
    if figures.entries == 0 {
        return Err(BackupError::Empty { app: plan.app.clone(), base: base.to_owned() });
    }
    notes.extend(choice.unmatched());
    watch.step(Step::Verify);
    let size = verify::read_back(place.draft(), figures, watch)?;
    let path = name(&place, plan, now)?;
    let (pruned, kept) = shelf::prune(place.dir(), &plan.app, plan.keep, &path);
    notes.extend(kept);
    Ok(Made { path, size, figures, notes, pruned })
}

/// The next free second: another app that keeps its backups here may have had the same idea.
fn name(place: &Place, plan: &BackupPlan, now: &Zoned) -> Result<PathBuf, BackupError> {
    let named = |later: i64| shelf::name(&now.checked_add(later.seconds()).unwrap_or_else(|_| now.clone()));
    // Names are in the order in which they were given: one that a prune has just freed is not given again. A backup of
    // a later day was made before the clock was set back.
    let newest = shelf::newest(place.dir(), &plan.app).filter(|newest| *newest < named(MOST_NAMES / 2));
    for name in (0..MOST_NAMES).map(named).filter(|name| newest.as_ref() < Some(name)) {
        let path = place.dir().join(name);
        match place.publish(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(BackupError::Write { dir: place.dir().to_owned(), source }),
            Ok(()) => return Ok(path),
        }
    }
    let source = std::io::ErrorKind::AlreadyExists.into();
    Err(BackupError::Write { dir: place.dir().to_owned(), source })
}

#[cfg(test)]
pub(in crate::deploy) mod tests;
