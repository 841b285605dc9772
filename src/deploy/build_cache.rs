//! What a build has found out once: the next one begins with a copy of it.
//!
//! Of `.next/cache` only what `next build` writes, by its version 16: what the running app keeps beside it (images,
//! answers of other servers) is of its own release, and may be written to at this moment.

use super::copy::{copy_file, copy_tree};
use super::record::Record;
use super::root::Root;
use super::step::Audience;
use super::{Sourced, cannot};
use std::fs::DirBuilder;
use std::path::Path;

const CACHE: &str = ".next/cache";
/// Directories: compiled modules, by one bundler or the other. The files: type checks, and the keys by which pages of
/// one release are understood by the next (previews, server actions).
const OF_BUILDS: [&str; 6] = ["turbopack", "webpack", "swc", ".tsbuildinfo", ".previewinfo", ".rscinfo"];
/// One that has grown beyond it begins anew, bytes.
const LARGEST: u64 = 2 << 30;

/// Copies it from the newest good release that has one into the release `id`, where nothing is built yet; the id of the
/// release that it is from.
///
/// # Errors
/// The disk does not take it, or the audience has had enough. What is there of it then has to go: half of it is none.
pub fn carry_build_cache(root: &Root, id: &str, audience: &mut dyn Audience) -> Result<Option<String>, Sourced> {
    let release = root.release(id);
    // What comes with the source was built elsewhere, and is not ours to add to.
    if release.join(".next").symlink_metadata().is_ok() {
        return Ok(None);
    }
    let records = Record::all(root);
    let earlier = records.iter().filter(|record| record.is_good() && record.id != id);
    let Some((earlier, cache)) = earlier.map(|record| (record, root.release(&record.id).join(CACHE))).find(has_some)
    else {
        return Ok(None);
    };
    if OF_BUILDS.iter().map(|name| size(&cache.join(name))).sum::<u64>() > LARGEST {
        return Ok(None);
    }
    let target = release.join(CACHE);
    DirBuilder::new().recursive(true).create(&target).map_err(cannot("make", &target))?;
    for name in OF_BUILDS {
        let (from, to) = (cache.join(name), target.join(name));
        match from.symlink_metadata() {
            Ok(there) if there.is_dir() => drop(copy_tree(&from, &to, &[], audience)?),
            Ok(there) if there.is_file() => drop(copy_file(&from, &to, audience)?),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(Some(earlier.id.clone()))
}

/// In the release itself, and not where a link leads.
fn has_some((_, cache): &(&Record, std::path::PathBuf)) -> bool {
    let is_own = |dir: &Path| dir.symlink_metadata().is_ok_and(|there| there.is_dir());
    is_own(cache) && cache.parent().is_some_and(is_own) && OF_BUILDS.iter().any(|name| cache.join(name).exists())
}

/// Of everything below it, bytes.
fn size(path: &Path) -> u64 {
    match path.symlink_metadata() {
        Ok(there) if there.is_dir() => {
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| size(&entry.path())).sum()
        }
        Ok(there) => there.len(),
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::record::State;
    use crate::deploy::record::tests::made;
    use crate::deploy::step::tests::Ear;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_the_build_wrote_comes_along_and_what_the_app_wrote_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::new(dir.path());
        let put = |id: &str, file: &str| {
            let path = root.release(id).join(CACHE).join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, id).unwrap();
        };
        made(&root, "one", 1, State::Live);
        for file in ["turbopack/v16/1.sst", ".rscinfo", "images/a", "fetch-cache/b"] {
            put("one", file);
        }
        // Failed, without a build, led elsewhere.
        made(&root, "two", 2, State::Failed);
        put("two", "turbopack/v16/2.sst");
        made(&root, "three", 3, State::Live);
        made(&root, "four", 4, State::Live);
        symlink(root.release("two").join(".next"), root.release("four").join(".next")).unwrap();
        made(&root, "five", 5, State::Building);
        assert_eq!(carry_build_cache(&root, "five", &mut Ear::patient()).unwrap().as_deref(), Some("one"));
        let cache = root.release("five").join(CACHE);
        assert_eq!(std::fs::read_to_string(cache.join("turbopack/v16/1.sst")).unwrap(), "one");
        assert!(cache.join(".rscinfo").exists() && !cache.join("images").exists());
        assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 2);
        assert_eq!(carry_build_cache(&root, "five", &mut Ear::patient()).unwrap(), None, "it has its own");
        made(&root, "six", 6, State::Building);
        let interrupted = carry_build_cache(&root, "six", &mut Ear::until(2));
        assert!(matches!(interrupted, Err(Sourced::Interrupted)), "{interrupted:?}");
    }
}
