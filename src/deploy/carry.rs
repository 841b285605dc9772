//! What an app has in common with its releases is copied out of the checkout that it runs in: never moved, never over
//! anything, and again what the app has written meanwhile, for it goes on serving from there.

mod journal;

use super::checkout::COMPANIONS;
use super::root::Root;
use super::step::Audience;
use super::{cannot, failed};
use crate::api::{Refusal, SharedLink};
use crate::linux::disk::{room, sync};
use journal::{JOURNALS, beside_database, in_use, is_journal, together, with, without};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{File, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// So many files are named where something is wrong with more.
const MOST_NAMED: usize = 5;

/// Nothing by default.
#[derive(Debug, Default)]
pub struct Carry {
    items: Vec<Item>,
    /// What stays where it is, though it is within one of them.
    left: Vec<PathBuf>,
    /// What was copied, by its target.
    done: HashMap<PathBuf, Done>,
    /// What may not be as it should be, sentences.
    notes: Vec<String>,
}

/// One of the shared paths, or what SQLite keeps beside it.
#[derive(Debug, Clone)]
struct Item {
    from: PathBuf,
    to: PathBuf,
}

/// Whether a file was written to meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    written: Option<SystemTime>,
}

/// What both sides were like once it was copied.
#[derive(Debug, Clone, Copy)]
struct Done {
    source: Stamp,
    target: Option<Stamp>,
}

/// Why it was not done.
#[derive(Debug)]
pub enum NotCarried {
    Failed(Refusal),
    Interrupted,
}

impl From<Refusal> for NotCarried {
    fn from(refusal: Refusal) -> NotCarried {
        NotCarried::Failed(refusal)
    }
}

impl Stamp {
    fn of(there: &Metadata) -> Stamp {
        Stamp { bytes: there.len(), written: there.modified().ok() }
    }

    fn at(path: &Path) -> Option<Stamp> {
        path.symlink_metadata().ok().map(|there| Stamp::of(&there))
    }
}

/// A file of an item, a link or a directory, which comes before what is in it.
struct Found {
    from: PathBuf,
    to: PathBuf,
    there: Metadata,
}

impl Carry {
    /// From the checkout `dir`, but for what is `left` there.
    ///
    /// # Errors
    /// Something is a link to elsewhere, or cannot be looked at.
    pub fn new(dir: &Path, links: &[SharedLink], left: &[PathBuf]) -> Result<Carry, Refusal> {
        let mut items = Vec::new();
        for SharedLink { path, target } in links {
            let (from, to) = (dir.join(path), PathBuf::from(target));
            // It may be shared where it is.
            if same(&from, &to) {
                continue;
            }
            if let Ok(leads_to) = std::fs::read_link(&from) {
                let leads_to = from.parent().unwrap_or(dir).join(leads_to);
                let message = format!("{} is a link to {}", from.display(), leads_to.display());
                let hint = format!(
                    "share what it leads to: {{ path = {path:?}, target = {:?} }}",
                    leads_to.display().to_string()
                );
                return Err(failed(message).hint(hint));
            }
            items.extend(companions(&from, &to));
            items.push(Item { from, to });
        }
        let left = left.iter().map(|path| dir.join(path)).collect();
        Ok(Carry { items, left, ..Carry::default() })
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The paths that are copied, and how many bytes that is.
    ///
    /// # Errors
    /// Something cannot be looked at, or stands at its target already and is not the same.
    pub fn plan(&self) -> Result<(Vec<PathBuf>, u64), Refusal> {
        let (mut bytes, mut others) = (0, Vec::new());
        for found in self.found()? {
            match found.to.symlink_metadata() {
                Err(_) => bytes += found.there.len(),
                Ok(there) if there.is_dir() && found.there.is_dir() => {}
                Ok(there) if there.is_symlink() && found.there.is_symlink() => {}
                Ok(there) if there.is_file() && Stamp::of(&there) == Stamp::of(&found.there) => {}
                Ok(_) => others.push(found),
            }
        }
        if let Some(first) = others.first() {
            let message = format!(
                "{} is there already, and is not the same as {}{}",
                first.to.display(),
                first.from.display(),
                and_more(others.len() - 1)
            );
            let hint = format!(
                "remove the first, and it is copied anew; or keep it as it is: --leave {}",
                shell_words::quote(&first.from.display().to_string())
            );
            return Err(failed(message).hint(hint));
        }
        self.refuse_old_journals()?;
        self.refuse_astray()?;
        let there = self.items.iter().map(|item| item.from.clone()).filter(|from| from.exists());
        Ok((there.collect(), bytes))
    }

    /// What an earlier attempt has left beside a database: it would be taken for a part of that.
    fn refuse_old_journals(&self) -> Result<(), Refusal> {
        for found in self.found()?.iter().filter(|found| found.there.is_file()) {
            for end in JOURNALS {
                let (own, old) = (with(&found.from, end), with(&found.to, end));
                if Stamp::at(&own).is_none() && Stamp::at(&old).is_some() {
                    let message = format!(
                        "{} is there already, and {} has no such journal: it would do harm to its copy",
                        old.display(),
                        found.from.display()
                    );
                    let hint = format!("remove it: rm {}", shell_words::quote(&old.display().to_string()));
                    return Err(failed(message).hint(hint));
                }
            }
        }
        Ok(())
    }

    fn refuse_astray(&self) -> Result<(), Refusal> {
        let all = self.found()?;
        let mut astray = all.iter().filter_map(|found| Some((found, self.astray(found)?)));
        let Some((Found { from, .. }, leads_to)) = astray.next() else { return Ok(()) };
        let message = format!(
            "{} is a link to {}, and its copy would not lead there{}",
            from.display(),
            leads_to.display(),
            and_more(astray.count())
        );
        let from = shell_words::quote(&from.display().to_string()).into_owned();
        let hint = format!("share what it leads to as well, make the link absolute, or leave it: --leave {from}");
        Err(failed(message).hint(hint))
    }

    /// Where a link leads that is relative, and would lead elsewhere as a copy. One that leads nowhere loses nothing.
    fn astray(&self, Found { from, to, there }: &Found) -> Option<PathBuf> {
        let link = std::fs::read_link(from).ok().filter(|link| there.is_symlink() && link.is_relative())?;
        let end = |path: &Path| folded(&path.parent().unwrap_or(path).join(&link));
        let (leads_to, copy_leads_to) = (end(from), end(to));
        let within = |path: &Path, dir: &Path| path.strip_prefix(dir).ok().map(Path::to_owned);
        let comes_along = self.items.iter().any(|item| {
            let place = within(&leads_to, &item.from);
            place.is_some() && place == within(&copy_leads_to, &item.to)
        });
        let is_well = comes_along || from.metadata().is_err() || same(&leads_to, &copy_leads_to);
        (!is_well).then_some(leads_to)
    }

    /// Copies what is not there yet.
    ///
    /// # Errors
    /// As [`Carry::plan`]'s; there is too little room, beyond `min_free` bytes; the disk says no.
    pub fn begin(&mut self, root: &Root, min_free: u64, audience: &mut dyn Audience) -> Result<(), NotCarried> {
        let (_, bytes) = self.plan()?;
        let left = room(root.dir()).map_err(cannot("look at the disk of", root.dir()))?.bytes;
        if bytes.saturating_add(min_free) > left {
            let message = format!(
                "what is shared has {} MB, and {} MB are left on the disk of {}, {} MB of them min_free",
                bytes >> 20,
                left >> 20,
                root.dir().display(),
                min_free >> 20
            );
            return Err(failed(message).hint("make room, or share it where it is, with target = \"…\"").into());
        }
        let all = self.found()?;
        for found in &all {
            if audience.tick().is_break() {
                return Err(NotCarried::Interrupted);
            }
            self.bring(found)?;
        }
        self.notes.extend(all.iter().filter_map(|found| in_use(&found.from)));
        Ok(())
    }

    /// Right before the release is started: what was written or removed since, too. Nobody else writes at the targets but
    /// the steps.
    ///
    /// # Errors
    /// The steps have written to what the app has written to as well; the disk says no.
    pub fn again(&mut self) -> Result<(), Refusal> {
        let all = self.found()?;
        let news = |found: &&Found| self.done.get(&found.to).map(|done| done.source) != Some(Stamp::of(&found.there));
        let changed: Vec<&Found> = all.iter().filter(|found| !found.there.is_dir()).filter(news).collect();
        self.refuse_torn(&changed)?;
        // A journal above all: with a newer database it would do harm.
        let still: HashSet<&Path> = all.iter().map(|found| found.to.as_path()).collect();
        let gone: Vec<PathBuf> = self.done.keys().filter(|to| !still.contains(to.as_path())).cloned().collect();
        for to in gone {
            if !self.is_of_the_steps(&to) && Stamp::at(&to).is_some() {
                std::fs::remove_file(&to).map_err(cannot("remove", &to))?;
            }
            self.done.remove(&to);
        }
        for found in all.iter().filter(|found| found.there.is_dir()) {
            self.bring(found)?;
        }
        for found in changed {
            match self.done.contains_key(&found.to) {
                true => std::fs::remove_file(&found.to).map_err(cannot("replace", &found.to))?,
                false => self.notes.extend(in_use(&found.from)),
            }
            self.bring(found)?;
        }
        for item in self.items.iter().filter(|item| item.to.exists()) {
            sync(&item.to).map_err(cannot("write", &item.to))?;
        }
        Ok(())
    }

    /// Neither of the two may be lost, and a journal of the one would do harm to the database of the other.
    fn refuse_torn(&self, changed: &[&Found]) -> Result<(), Refusal> {
        let torn = |found: &Found| together(&found.to).into_iter().find(|to| self.is_of_the_steps(to));
        let mut torn = changed.iter().filter_map(|found| Some((found, torn(found)?)));
        let Some((Found { from, .. }, to)) = torn.next() else { return Ok(()) };
        let from = beside_database(from, &JOURNALS).unwrap_or_else(|| from.clone());
        let message = format!(
            "{} was written to by the steps, and {} by the app meanwhile{}",
            to.display(),
            from.display(),
            and_more(torn.count())
        );
        let hint = format!(
            "stop the app, remove the first, and deploy again: it is copied anew; or keep the first as it is: --leave {}",
            shell_words::quote(&from.display().to_string())
        );
        Err(failed(message).hint(hint))
    }

    /// Written there, removed or changed since it was copied.
    fn is_of_the_steps(&self, to: &Path) -> bool {
        Stamp::at(to) != self.done.get(to).and_then(|done| done.target)
    }

    /// With the release live: what the app wrote into the checkout until then. New files still come along.
    ///
    /// # Errors
    /// The disk says no.
    pub fn end(&mut self) -> Result<(), Refusal> {
        let mut late = Vec::new();
        for found in self.found()? {
            match self.done.get(&found.to) {
                Some(done) if done.source == Stamp::of(&found.there) => {}
                None if found.there.is_dir() => self.bring(&found)?,
                // Beside the database of the release it would do harm.
                None if Stamp::at(&found.to).is_none() && !is_journal(&found.from) => self.bring(&found)?,
                None | Some(_) => late.push(found.from.display().to_string()),
            }
        }
        if !late.is_empty() {
            let more = and_more(late.len().saturating_sub(MOST_NAMED));
            late.truncate(MOST_NAMED);
            let named = late.join(", ");
            self.notes.push(format!("written to after it was copied, and not as in the release: {named}{more}"));
        }
        Ok(())
    }

    /// What may not be as it should be, since the last time.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn is_left(&self, from: &Path) -> bool {
        let database = without(from, &COMPANIONS);
        self.left.iter().any(|left| left == from || Some(left) == database.as_ref())
    }

    /// All that the items hold, as far as it is there.
    fn found(&self) -> Result<Vec<Found>, Refusal> {
        let mut all = Vec::new();
        for item in &self.items {
            let mut open = vec![item.clone()];
            while let Some(Item { from, to }) = open.pop() {
                if self.is_left(&from) {
                    continue;
                }
                let there = match from.symlink_metadata() {
                    Ok(there) => there,
                    // It has been removed since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(cannot("look at", &from)(error)),
                };
                if there.is_dir() {
                    let entries = std::fs::read_dir(&from).and_then(Iterator::collect::<io::Result<Vec<_>>>);
                    for entry in entries.map_err(cannot("read", &from))? {
                        open.push(Item { from: entry.path(), to: to.join(entry.file_name()) });
                    }
                }
                // SQLite makes that anew.
                if there.is_file() && beside_database(&from, &["-shm"]).is_some() {
                    continue;
                }
                // A socket or a pipe is made anew by whoever listens there.
                if there.is_dir() || there.is_file() || there.is_symlink() {
                    all.push(Found { from, to, there });
                }
            }
        }
        Ok(all)
    }

    /// What is at the target stays.
    fn bring(&mut self, found: &Found) -> Result<(), Refusal> {
        let Found { from, to, there } = found;
        if there.is_dir() {
            if !to.is_dir() {
                std::fs::create_dir_all(to).map_err(cannot("make", to))?;
                give_group(to, there);
                // Whatever its mode, it is to be filled.
                let mode = Permissions::from_mode(there.mode() & 0o3777 | 0o700);
                std::fs::set_permissions(to, mode).map_err(cannot("set the mode of", to))?;
            }
            return Ok(());
        }
        if let target @ Some(_) = Stamp::at(to) {
            self.done.insert(to.clone(), Done { source: Stamp::of(there), target });
            return Ok(());
        }
        let parent = to.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).map_err(cannot("make", parent))?;
        if there.is_symlink() {
            if let Some(leads_to) = self.astray(found) {
                let (from, leads_to) = (from.display(), leads_to.display());
                self.notes.push(format!("{from} is a link to {leads_to}, and its copy does not lead there"));
            }
            let leads_to = std::fs::read_link(from).map_err(cannot("read", from))?;
            symlink(leads_to, to).map_err(cannot("make the link", to))?;
            self.done.insert(to.clone(), Done { source: Stamp::of(there), target: Stamp::at(to) });
            return Ok(());
        }
        let draft = beside(to);
        let _left_by_a_crash = std::fs::remove_file(&draft);
        let copied = copy(from, &draft).and_then(|stamp| give_name(&draft, to).map(|()| stamp));
        let stamp = match copied.inspect_err(|_| drop(std::fs::remove_file(&draft))) {
            Ok(stamp) => stamp,
            // The app has removed it meanwhile.
            Err(_) if Stamp::at(from).is_none() => return Ok(()),
            Err(error) => return Err(cannot("copy to", to)(error)),
        };
        // It may have grown while it was copied.
        self.done.insert(to.clone(), Done { source: stamp, target: Stamp::at(to) });
        if Stamp::at(from).is_some_and(|now| now != stamp) {
            self.notes.push(format!(
                "{} was written to while it was copied; a database is copied exactly by its own means, with the app stopped",
                from.display()
            ));
        }
        Ok(())
    }
}

/// Those beside a database, which any file may be, and which come and go with each transaction.
fn companions(from: &Path, to: &Path) -> Vec<Item> {
    if from.is_dir() {
        return Vec::new();
    }
    JOURNALS.map(|end| Item { from: with(from, end), to: with(to, end) }).into()
}

/// Without `.` and `..`.
fn folded(path: &Path) -> PathBuf {
    let mut folded = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(folded.pop()),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => folded.push(part),
        }
    }
    folded
}

/// Do both lead to one file or directory?
fn same(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| path.metadata().ok().map(|there| (there.dev(), there.ino()));
    inode(one).is_some_and(|one| inode(other) == Some(one))
}

/// Hidden, and in the same directory.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".half-copied");
    path.with_file_name(name)
}

/// With its mode, its group, and the time of its last write, by which it is compared later. What it was like when it was
/// begun.
fn copy(from: &Path, to: &Path) -> io::Result<Stamp> {
    let there = from.metadata()?;
    std::fs::copy(from, to)?;
    give_group(to, &there);
    File::open(to)?.set_times(FileTimes::new().set_modified(there.modified()?))?;
    Ok(Stamp::of(&there))
}

/// A web server may read it by its group. Whoever is not in that cannot give it, and then nobody could.
fn give_group(to: &Path, there: &Metadata) {
    let _as_far_as_we_may = chown(to, None, Some(there.gid()));
}

/// What has the name already keeps it.
fn give_name(draft: &Path, name: &Path) -> io::Result<()> {
    match std::fs::hard_link(draft, name) {
        Ok(()) => std::fs::remove_file(draft),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // There are file systems without hard links.
        Err(_) => std::fs::rename(draft, name),
    }
}

/// ` (and 3 more)`
fn and_more(count: usize) -> String {
    if count == 0 { String::new() } else { format!(" (and {count} more)") }
}

#[cfg(test)]
mod tests;
