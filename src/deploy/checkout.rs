//! A checkout that an app runs in as it is: what stands there that its commit does not have, and whether somebody has
//! said what is to become of it.

use super::built::is_built;
use super::git::{environment, set};
use super::source::{Sourced, git_failed, has_submodules};
use super::step::{Step, StepError, Workshop};
use super::{cannot, failed};
use crate::api::Refusal;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Files of one directory that are told one by one; more are told as the directory.
const ONE_BY_ONE: usize = 3;
/// So many files are hashed at once.
const MOST_HASHED: usize = 100;
/// So many files are weighed of one entry.
const MOST_WEIGHED: u64 = 200_000;
/// What SQLite keeps beside a database, and what goes wherever that goes.
pub(super) const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

#[derive(Debug)]
pub struct Checkout {
    /// Its top.
    pub dir: PathBuf,
    /// What it is on; none where git has no hand in it.
    pub commit: Option<String>,
    /// What that commit does not have, sorted.
    pub entries: Vec<Entry>,
}

/// A file or a directory with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Relative to the checkout.
    pub path: String,
    pub kind: Kind,
    pub lot: Lot,
    /// Where it is a link.
    pub leads_to: Option<String>,
    pub is_dir: bool,
    pub files: u64,
    pub bytes: u64,
    /// None where nothing is there any more, or nobody looked.
    pub last_write: Option<Timestamp>,
}

/// What git says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Untracked,
    Ignored,
    /// It is in the commit, and is not what it was there.
    Changed,
    /// There is no git to ask.
    There,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lot {
    /// All releases have it in common.
    Shared,
    /// Left behind on purpose.
    Left,
    /// The steps make it anew.
    Rebuilt,
    /// Nobody has said.
    Open,
}

/// What was said beforehand: paths within the checkout.
#[derive(Debug, Clone, Copy)]
pub struct Said<'s> {
    pub shared: &'s [PathBuf],
    pub left: &'s [PathBuf],
}

impl Checkout {
    /// # Errors
    /// Git cannot tell, or the directory is only a part of a checkout.
    pub fn look(dir: &Path, said: Said<'_>, workshop: &mut Workshop<'_>) -> Result<Checkout, Sourced> {
        let dir = dir.canonicalize().map_err(cannot("read", dir))?;
        let git = Git { dir: &dir };
        let Some(top) = git.top(workshop)? else {
            let names = children(&dir, Path::new(""))?.into_iter().filter(|name| name != Path::new(".git"));
            let found = names.map(|name| (name, Kind::There)).collect();
            let entries = entries(&dir, found, said)?;
            return Ok(Checkout { dir, commit: None, entries });
        };
        if top != dir {
            let within = dir.strip_prefix(&top).unwrap_or(&dir).display().to_string();
            let message = format!("{} is a part of the checkout {}", dir.display(), top.display());
            let hint = format!("a release is a whole one: set cwd = {within:?}, and --init --from {}", top.display());
            return Err(failed(message).hint(hint).into());
        }
        let commit = git.ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], workshop)?;
        let commit = commit.map(|commit| commit.trim().to_owned()).filter(|commit| !commit.is_empty());
        let Some(commit) = commit else {
            return Err(failed(format!("the checkout {} has no commit yet", dir.display())).into());
        };
        if dir.join(".gitmodules").exists() {
            return Err(has_submodules().into());
        }
        let mut status = git.status(workshop)?;
        status.extend(git.hidden(workshop)?.into_iter().map(|path| (path, Kind::Changed)));
        let entries = entries(&dir, status, said)?;
        Ok(Checkout { dir, commit: Some(commit), entries })
    }

    pub fn of(&self, lot: Lot) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.lot == lot)
    }
}

struct Git<'g> {
    dir: &'g Path,
}

impl Git<'_> {
    /// The top of the checkout; none where there is none.
    fn top(&self, workshop: &mut Workshop<'_>) -> Result<Option<PathBuf>, Sourced> {
        let words = ["rev-parse", "--show-toplevel"];
        if let Some(top) = self.ask(&words, workshop)? {
            return Ok(Some(PathBuf::from(top.trim_end_matches('\n'))));
        }
        if self.dir.join(".git").symlink_metadata().is_err() {
            return Ok(None);
        }
        // It knows why: other people's checkouts are not its own, above all.
        let said = self.run(&words, false, workshop);
        said.map(|top| Some(PathBuf::from(top))).map_err(|error| git_failed("cannot read the checkout", error))
    }

    fn status(&self, workshop: &mut Workshop<'_>) -> Result<BTreeMap<PathBuf, Kind>, Sourced> {
        let words =
            ["status", "--porcelain", "-z", "--untracked-files=normal", "--ignored=traditional", "--no-renames"];
        let said = self.run(&words, true, workshop).map_err(|error| git_failed("cannot read the checkout", error))?;
        let mut found = BTreeMap::new();
        for record in said.split('\0').filter(|record| !record.is_empty()) {
            let (kind, path) = parse(record).ok_or_else(|| {
                let message = format!("git cannot see everything in {}: {}", self.dir.display(), record.trim());
                failed(message).hint("what it does not see would be in no release: make it readable")
            })?;
            found.insert(PathBuf::from(path.trim_end_matches('/')), kind);
        }
        Ok(found)
    }

    /// What has changed of the files that git was told not to look at.
    fn hidden(&self, workshop: &mut Workshop<'_>) -> Result<Vec<PathBuf>, Sourced> {
        let mut said = |words: &[&str]| {
            let said = self.run(words, true, workshop);
            said.map_err(|error| git_failed("cannot read the checkout", error))
        };
        let listed = said(&["ls-files", "-v", "-s", "-z"])?;
        let hidden: Vec<Hidden<'_>> = listed.split('\0').filter_map(unlooked_at).collect();
        let is_there = |hidden: &&Hidden<'_>| self.dir.join(hidden.path).symlink_metadata().is_ok();
        // A sparse checkout lacks them on purpose, and the release has them.
        let (there, gone): (Vec<_>, Vec<_>) = hidden.iter().partition(is_there);
        let mut changed: Vec<&str> = gone.iter().filter(|gone| !gone.is_sparse).map(|gone| gone.path).collect();
        let is_plain = |hidden: &&Hidden<'_>| {
            hidden.is_file && self.dir.join(hidden.path).symlink_metadata().is_ok_and(|there| there.is_file())
        };
        let (plain, other): (Vec<_>, Vec<_>) = there.into_iter().partition(is_plain);
        // Links, above all: rather one too many than one too few.
        changed.extend(other.iter().map(|other| other.path));
        for some in plain.chunks(MOST_HASHED) {
            let paths: Vec<&str> = ["hash-object", "--"].into_iter().chain(some.iter().map(|one| one.path)).collect();
            let hashes = said(&paths)?;
            let is_other = some.iter().zip(hashes.lines()).filter(|(one, hash)| one.hash != *hash);
            changed.extend(is_other.map(|(one, _)| one.path));
        }
        Ok(changed.into_iter().map(PathBuf::from).collect())
    }

    /// None where git says no.
    fn ask(&self, words: &[&str], workshop: &mut Workshop<'_>) -> Result<Option<String>, Sourced> {
        match self.run(words, true, workshop) {
            Ok(said) => Ok(Some(said)),
            Err(StepError::Failed(_)) => Ok(None),
            Err(error @ (StepError::Interrupted | StepError::Output(_))) => Err(git_failed("cannot ask", error)),
        }
    }

    fn run(&self, words: &[&str], is_asked: bool, workshop: &mut Workshop<'_>) -> Result<String, StepError> {
        let mut command = vec!["git".to_owned(), "-C".to_owned(), self.dir.display().to_string()];
        command.extend(words.iter().map(|word| (*word).to_owned()));
        let mut env = environment(workshop.own_env.iter().cloned(), None);
        // An answer that is read, and an index that belongs to whoever works there.
        set(&mut env, "LC_ALL", "C");
        set(&mut env, "GIT_OPTIONAL_LOCKS", "0");
        workshop.run(Step { command: &command, called: None, cwd: self.dir, env, is_asked })
    }
}

/// A file that git was told to take for unchanged.
#[derive(Debug, PartialEq, Eq)]
struct Hidden<'h> {
    path: &'h str,
    /// What its content is in the index.
    hash: &'h str,
    /// And no link.
    is_file: bool,
    /// It need not be there.
    is_sparse: bool,
}

/// `h 100644 HASH 0\tpath`: git-ls-files(1), with `-v` and `-s`. None where git looks at it.
fn unlooked_at(record: &str) -> Option<Hidden<'_>> {
    let (about, path) = record.split_once('\t')?;
    let mut words = about.split(' ');
    let (tag, mode, hash) = (words.next()?, words.next()?, words.next()?);
    let is_hidden = tag == "S" || tag.bytes().all(|byte| byte.is_ascii_lowercase());
    is_hidden.then(|| Hidden { path, hash, is_file: mode.starts_with("100"), is_sparse: tag.eq_ignore_ascii_case("s") })
}

/// `?? path`, `!! path`, ` M path`: git-status(1), porcelain format version 1.
fn parse(record: &str) -> Option<(Kind, &str)> {
    let (state, path) = (record.get(..2)?, record.get(3..)?);
    let is_state = state.bytes().all(|byte| b" MTADRCU?!".contains(&byte)) && record.as_bytes()[2] == b' ';
    let kind = match state {
        "??" => Kind::Untracked,
        "!!" => Kind::Ignored,
        _ => Kind::Changed,
    };
    (is_state && !path.is_empty()).then_some((kind, path))
}

fn entries(dir: &Path, found: BTreeMap<PathBuf, Kind>, said: Said<'_>) -> Result<Vec<Entry>, Refusal> {
    let found = gathered(dir, found);
    let mut entries = Vec::new();
    let mut open: Vec<(PathBuf, Kind)> = found.into_iter().rev().collect();
    while let Some((path, kind)) = open.pop() {
        let lot = said.lot(&path);
        // Only a part of it was spoken of: what of the rest?
        if lot == Lot::Open && said.is_about_something_in(&path) && is_directory(&dir.join(&path)) {
            open.extend(children(dir, &path)?.into_iter().rev().map(|child| (child, kind)));
            continue;
        }
        entries.push(weighed(dir, &path, kind, lot));
    }
    entries.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(entries)
}

/// Many files in a directory that has nothing else are told as that directory.
fn gathered(dir: &Path, found: BTreeMap<PathBuf, Kind>) -> BTreeMap<PathBuf, Kind> {
    let mut of_directory: BTreeMap<PathBuf, Vec<Kind>> = BTreeMap::new();
    for (path, kind) in &found {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            of_directory.entry(parent.to_owned()).or_default().push(*kind);
        }
    }
    of_directory.retain(|parent, kinds| {
        let is_alone = |child: &PathBuf| {
            let hidden = child.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            hidden || found.contains_key(child)
        };
        let kept_new = kinds.iter().all(|kind| *kind != Kind::Changed);
        kinds.len() > ONE_BY_ONE && kept_new && children(dir, parent).is_ok_and(|all| all.iter().all(is_alone))
    });
    let mut gathered: BTreeMap<PathBuf, Kind> =
        of_directory.iter().map(|(parent, kinds)| (parent.clone(), kinds[0])).collect();
    gathered
        .extend(found.into_iter().filter(|(path, _)| path.parent().is_none_or(|up| !of_directory.contains_key(up))));
    gathered
}

impl Said<'_> {
    fn lot(&self, path: &Path) -> Lot {
        let within = |said: &[PathBuf]| said.iter().any(|said| path.starts_with(said) || is_companion(path, said));
        if within(self.shared) {
            return Lot::Shared;
        }
        if within(self.left) {
            return Lot::Left;
        }
        if is_built(path) { Lot::Rebuilt } else { Lot::Open }
    }

    fn is_about_something_in(&self, path: &Path) -> bool {
        self.shared.iter().chain(self.left).any(|said| said.starts_with(path) && said != path)
    }
}

/// `dev.db-wal` beside `dev.db`.
fn is_companion(path: &Path, database: &Path) -> bool {
    let path = path.as_os_str().as_encoded_bytes();
    let rest = path.strip_prefix(database.as_os_str().as_encoded_bytes());
    rest.is_some_and(|rest| COMPANIONS.iter().any(|companion| companion.as_bytes() == rest))
}

fn weighed(dir: &Path, path: &Path, kind: Kind, lot: Lot) -> Entry {
    let at = dir.join(path);
    let mut entry = Entry {
        path: path.to_string_lossy().into_owned(),
        kind,
        lot,
        leads_to: std::fs::read_link(&at).ok().map(|to| to.to_string_lossy().into_owned()),
        is_dir: is_directory(&at),
        files: 0,
        bytes: 0,
        last_write: None,
    };
    // Of what can be made again nobody wants to know how much it is.
    if lot == Lot::Rebuilt {
        return entry;
    }
    let mut open = vec![at];
    while let Some(path) = open.pop().filter(|_| entry.files < MOST_WEIGHED) {
        let Ok(there) = path.symlink_metadata() else { continue };
        if there.is_dir() {
            open.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|child| child.path()));
            continue;
        }
        entry.files += 1;
        entry.bytes += there.len();
        let written = there.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
        entry.last_write = entry.last_write.max(written);
    }
    entry
}

/// What is in a directory of the checkout, relative to that, sorted.
fn children(dir: &Path, within: &Path) -> Result<Vec<PathBuf>, Refusal> {
    let at = dir.join(within);
    let entries = std::fs::read_dir(&at).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(cannot("read", &at))?;
    let mut names: Vec<PathBuf> = entries.into_iter().map(|entry| within.join(entry.file_name())).collect();
    names.sort();
    Ok(names)
}

fn is_directory(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|there| there.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::root::Root;
    use crate::deploy::step::tests::Ear;
    use std::fs::File;

    fn found(dir: &Path, paths: &[(&str, Kind)], shared: &[&str], left: &[&str]) -> Vec<(String, Lot)> {
        for (path, _) in paths {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let own = |paths: &[&str]| -> Vec<PathBuf> { paths.iter().map(PathBuf::from).collect() };
        let (shared, left) = (own(shared), own(left));
        let found = paths.iter().map(|(path, kind)| (PathBuf::from(path), *kind)).collect();
        let entries = entries(dir, found, Said { shared: &shared, left: &left }).unwrap();
        entries.into_iter().map(|entry| (entry.path, entry.lot)).collect()
    }

    #[test]
    fn whatever_nobody_spoke_of_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [
            (".env", Kind::Ignored),
            ("data/dev.db", Kind::Ignored),
            ("data/dev.db-wal", Kind::Ignored),
            ("notes.txt", Kind::Untracked),
            ("package-lock.json", Kind::Changed),
            ("tsconfig.tsbuildinfo", Kind::Ignored),
        ];
        let said = found(dir.path(), &paths, &[".env", "data/dev.db"], &["package-lock.json"]);
        let said: Vec<(&str, Lot)> = said.iter().map(|(path, lot)| (path.as_str(), *lot)).collect();
        let lots = [
            (".env", Lot::Shared),
            ("data/dev.db", Lot::Shared),
            ("data/dev.db-wal", Lot::Shared),
            ("notes.txt", Lot::Open),
            ("package-lock.json", Lot::Left),
            ("tsconfig.tsbuildinfo", Lot::Rebuilt),
        ];
        assert_eq!(said, lots);
    }

    #[test]
    fn a_directory_of_which_a_part_was_spoken_of_is_looked_into() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("var/uploads")).unwrap();
        std::fs::write(dir.path().join("var/state.json"), "{}").unwrap();
        let own = [PathBuf::from("var/uploads")];
        let found = BTreeMap::from([(PathBuf::from("var"), Kind::Untracked)]);
        let entries = entries(dir.path(), found, Said { shared: &own, left: &[] }).unwrap();
        let said: Vec<(&str, Lot)> = entries.iter().map(|entry| (entry.path.as_str(), entry.lot)).collect();
        assert_eq!(said, [("var/state.json", Lot::Open), ("var/uploads", Lot::Shared)]);
    }

    #[test]
    fn many_files_are_told_as_their_directory_unless_it_has_others() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("src")).unwrap();
        std::fs::write(dir.path().join("src/tracked.js"), "").unwrap();
        let paths: Vec<String> = ["up", "src"]
            .iter()
            .flat_map(|dir| (0..5).map(move |n| format!("{dir}/{n}.png")))
            .chain(["up/.gitkeep".to_owned()])
            .collect();
        let paths: Vec<(&str, Kind)> = paths.iter().map(|path| (path.as_str(), Kind::Ignored)).collect();
        let said = found(dir.path(), &paths, &[], &[]);
        assert_eq!(said.iter().filter(|(path, _)| path.starts_with("src/")).count(), 5);
        assert_eq!(said.last().unwrap(), &("up".to_owned(), Lot::Open));
    }

    /// What has changed of a checkout some files of which are hidden in this manner.
    fn looked_at(dir: &Path, hide: &[(&str, &str)]) -> Vec<(String, Kind)> {
        let (root, mut ear) = (Root::new(dir.join("root")), Ear::patient());
        let log = File::create(dir.join("log")).unwrap();
        let live = dir.join("live");
        std::fs::create_dir_all(&live).unwrap();
        for name in ["a plain", "gone", "same", "sparse", "unhidden"] {
            std::fs::write(live.join(name), "x").unwrap();
        }
        let mut workshop = Workshop::without_lock(&root, log, std::env::vars_os().collect(), &mut ear);
        let git = Git { dir: &live };
        let mut run = |words: &[&str]| drop(git.run(words, true, &mut workshop).unwrap());
        run(&["init", "--quiet"]);
        run(&["add", "--all"]);
        run(&["-c", "user.name=ann", "-c", "user.email=ann@example.org", "commit", "--quiet", "-m", "1"]);
        for (name, how) in hide {
            run(&["update-index", how, name]);
        }
        for name in ["a plain", "unhidden"] {
            std::fs::write(live.join(name), "changed").unwrap();
        }
        for name in ["gone", "sparse"] {
            std::fs::remove_file(live.join(name)).unwrap();
        }
        let checkout = Checkout::look(&live, Said { shared: &[], left: &[] }, &mut workshop).unwrap();
        checkout.entries.into_iter().map(|entry| (entry.path, entry.kind)).collect()
    }

    #[test]
    fn what_git_was_told_not_to_look_at_is_looked_at() {
        let hide = [
            ("a plain", "--skip-worktree"),
            ("gone", "--assume-unchanged"),
            ("same", "--assume-unchanged"),
            ("sparse", "--skip-worktree"),
        ];
        let dir = tempfile::tempdir().unwrap();
        let changed = ["a plain", "gone", "unhidden"].map(|name| (name.to_owned(), Kind::Changed));
        assert_eq!(looked_at(dir.path(), &hide), changed);
    }

    #[test]
    fn what_git_says_is_understood_or_refused() {
        assert_eq!(parse("?? a b"), Some((Kind::Untracked, "a b")));
        assert_eq!(parse("!! .env"), Some((Kind::Ignored, ".env")));
        assert_eq!(parse(" M src/ä.js"), Some((Kind::Changed, "src/ä.js")));
        assert_eq!(parse("MM x"), Some((Kind::Changed, "x")));
        assert_eq!(parse("warning: could not open directory 'up/'"), None);
    }
}
