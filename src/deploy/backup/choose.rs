//! What goes into a backup: `include` without `exclude`, decided name by name on the way down.

use super::error::BackupError;
use crate::api::BackupPlan;
use crate::config::{Pattern, Reached};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

pub(in crate::deploy) struct Choice {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    /// Which of `include` meant something.
    met: Vec<bool>,
}

/// Where a directory stands towards the patterns.
#[derive(Debug, Clone)]
pub(in crate::deploy) struct Standing {
    include: Vec<Reached>,
    exclude: Vec<Reached>,
    taken: bool,
}

/// What becomes of a name.
#[derive(Debug)]
pub(in crate::deploy) enum Verdict {
    /// Nothing of it.
    Leave,
    /// Something may be meant below it.
    Way(Standing),
    /// It, and what is in it.
    Take(Standing),
}

impl Standing {
    /// Is it in the backup?
    pub(in crate::deploy) fn is_taken(&self) -> bool {
        self.taken
    }
}

impl Choice {
    pub(in crate::deploy) fn of(plan: &BackupPlan) -> Result<Choice, BackupError> {
        let parse =
            |text: &String| Pattern::parse(text).map_err(|source| BackupError::Pattern { text: text.clone(), source });
        let include: Vec<Pattern> = plan.include.iter().map(parse).collect::<Result<_, _>>()?;
        let exclude = plan.exclude.iter().map(|text| parse(text).map(Pattern::at_any_level));
        Ok(Choice { met: vec![false; include.len()], include, exclude: exclude.collect::<Result<_, _>>()? })
    }

    pub(in crate::deploy) fn everything() -> Choice {
        Choice { include: Vec::new(), exclude: Vec::new(), met: Vec::new() }
    }

    /// A path that was named and is not there, or lies behind a link, would be missing in every backup.
    pub(in crate::deploy) fn refuse_missing(&self, base: &Path) -> Result<(), BackupError> {
        for pattern in self.include.iter().filter(|pattern| pattern.is_plain() && pattern.as_str() != ".") {
            let mut at = PathBuf::new();
            for part in Path::new(pattern.as_str()).components() {
                // A link at the end is kept as one; in the middle it would have to be followed.
                let behind = |at: &Path| !at.as_os_str().is_empty() && base.join(at).is_symlink();
                if behind(&at) {
                    return Err(BackupError::BehindLink { include: pattern.as_str().to_owned(), link: base.join(at) });
                }
                at.push(part);
            }
            if let Err(source) = std::fs::symlink_metadata(base.join(pattern.as_str())) {
                let include = pattern.as_str().to_owned();
                return Err(BackupError::Missing { include, base: base.to_owned(), source });
            }
        }
        Ok(())
    }

    pub(in crate::deploy) fn start(&mut self) -> Standing {
        let include: Vec<Reached> = self.include.iter().map(Pattern::start).collect();
        let whole = self.note_met(&include);
        let exclude = self.exclude.iter().map(Pattern::start).collect();
        Standing { taken: whole || self.include.is_empty(), include, exclude }
    }

    pub(in crate::deploy) fn judge(&mut self, within: &Standing, name: &OsStr) -> Verdict {
        let step = |patterns: &[Pattern], from: &[Reached]| -> Vec<Reached> {
            patterns.iter().zip(from).map(|(pattern, from)| pattern.step(from, name)).collect()
        };
        let exclude = step(&self.exclude, &within.exclude);
        if self.exclude.iter().zip(&exclude).any(|(pattern, at)| pattern.is_whole(at)) {
            return Verdict::Leave;
        }
        let include = step(&self.include, &within.include);
        let taken = self.note_met(&include) || within.taken;
        let nowhere = include.iter().all(Reached::is_nowhere);
        let standing = Standing { include, exclude, taken };
        match (taken, nowhere) {
            (true, _) => Verdict::Take(standing),
            (false, false) => Verdict::Way(standing),
            (false, true) => Verdict::Leave,
        }
    }

    fn note_met(&mut self, at: &[Reached]) -> bool {
        let mut any = false;
        for ((pattern, at), met) in self.include.iter().zip(at).zip(&mut self.met) {
            let whole = pattern.is_whole(at);
            *met |= whole;
            any |= whole;
        }
        any
    }

    /// A sentence for each of `include` that meant nothing.
    pub(in crate::deploy) fn unmatched(&self) -> Vec<String> {
        let unmet = self.include.iter().zip(&self.met).filter(|(_, met)| !**met);
        unmet.map(|(pattern, _)| format!("nothing was there for include {:?}", pattern.as_str())).collect()
    }
}
