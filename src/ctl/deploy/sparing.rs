//! What a deploy is spared because an earlier one has done it: an install, and what a build has found out.

use super::making::Unmade;
use super::teller::{Teller, span};
use crate::ctl::units::size;
use crate::deploy::{Installation, Root, Sourced, carry_build_cache};
use std::path::Path;

/// Puts the build cache of an earlier release into this one; a line for the log.
pub(super) fn carry(teller: &mut Teller<'_>, (root, id): (&Root, &str)) -> Result<Option<String>, Unmade> {
    let cache = root.release(id).join(".next");
    match carry_build_cache(root, id, teller) {
        Ok(None) => Ok(None),
        Ok(Some(from)) => {
            let line = format!("the build begins with what that of {from} has found out");
            teller.say(&format!("  {line}"))?;
            Ok(Some(line))
        }
        Err(Sourced::Failed(refusal)) => {
            // It goes without; half of one would be worse.
            let _half = std::fs::remove_dir_all(&cache);
            let line = format!("the build begins anew: {}", refusal.message);
            teller.say(&format!("  {line}"))?;
            Ok(Some(line))
        }
        Err(over @ (Sourced::Interrupted | Sourced::Output(_))) => Err(over.into()),
    }
}

/// Puts what an earlier install has made into the release: what is told of it, and what it took; none where there is
/// none that would be the same.
pub(super) fn reuse(
    teller: &mut Teller<'_>,
    installation: &Installation,
    (root, release): (&Root, &Path),
    name: &str,
) -> Result<Option<(String, u64)>, Unmade> {
    match installation.reuse(root, release, teller) {
        Ok(Some(kept)) => {
            #[expect(clippy::cast_precision_loss, reason = "a span of a deploy")]
            let took = span(kept.took_ms as f64 / 1000.0);
            let (files, bytes) = (kept.entries, size(kept.bytes));
            let line = format!("{name}: node_modules copied ({files} files, {bytes}), which took {took} to install");
            let took_ms = teller.end(&line)?;
            Ok(Some((line, took_ms)))
        }
        Ok(None) => Ok(None),
        Err(Sourced::Failed(refusal)) => {
            teller.say(&format!("  what is kept could not be copied, so it is installed: {}", refusal.message))?;
            Ok(None)
        }
        Err(over @ (Sourced::Interrupted | Sourced::Output(_))) => Err(over.into()),
    }
}

/// Keeps what an install has made for the next release; a line for the log.
pub(super) fn keep(
    teller: &mut Teller<'_>,
    installation: Installation,
    (root, release): (&Root, &Path),
    (took_ms, min_free): (u64, u64),
) -> Result<String, Unmade> {
    let line = match installation.keep(root, release, (took_ms, min_free), teller).or_else(|sourced| match sourced {
        Sourced::Failed(refusal) => Ok(Err(refusal.message)),
        over @ (Sourced::Interrupted | Sourced::Output(_)) => Err(Unmade::from(over)),
    })? {
        Ok(()) => "node_modules is kept for releases that would install the same".to_owned(),
        Err(why) => format!("node_modules is not kept for later releases: {why}"),
    };
    teller.say(&format!("  {line}"))?;
    Ok(line)
}
