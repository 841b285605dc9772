//! A cgroup (version 2) for each instance, so that the kernel itself knows what belongs to it (cgroup-v2.rst).

mod place;

pub use place::{NoCgroups, NoMemory};

use super::proc::{self, ProcessId, number};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// How often, and at what distance, a busy base is tried again.
const REMOVE_STEPS: u32 = 10;
const REMOVE_STEP: Duration = Duration::from_millis(20);

/// The cgroup below which those of the instances are made.
#[derive(Debug)]
pub struct Cgroups {
    base: PathBuf,
    memory: Result<(), NoMemory>,
}

/// One cgroup and what is below it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    directory: OwnedFd,
    /// These two are kept open: one of them is read at every sample.
    procs: Option<File>,
    memory: Option<File>,
}

/// Our own, where it can be seen.
pub fn own() -> Option<PathBuf> {
    place::own().ok()
}

impl Cgroups {
    /// Finds, makes and tries out the base: `apps` beside us in a delegated unit whose subgroup `supervisor` we are
    /// in, else `infissi-TAG` below our own cgroup. Controllers are switched on only where that cannot keep systemd
    /// from starting our unit again: in the first case, and in a root cgroup.
    ///
    /// # Errors
    ///
    /// A sentence that says why instances run without cgroups here.
    pub fn discover(tag: &str) -> Result<Cgroups, NoCgroups> {
        let (base, memory) = place::find(&place::own()?, tag)?;
        Ok(Cgroups { base, memory })
    }

    /// A base as it was found or recorded: nothing is made or tried out.
    pub fn at(base: PathBuf) -> Cgroups {
        let memory = place::hands_memory_on(&base);
        Cgroups { base, memory }
    }

    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Whether memory is counted and can be capped per instance.
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn memory(&self) -> Result<(), &NoMemory> {
        self.memory.as_ref().copied()
    }

    /// Makes an empty cgroup named after `name`, with a number where that one is taken.
    ///
    /// # Errors
    ///
    /// The kernel's: mostly a limit on their number (`EAGAIN`) or a base that somebody removed (`ENOENT`).
    pub fn create(&self, name: &str) -> io::Result<Cgroup> {
        let name = sanitised(name);
        for number in 1..10_000 {
            let path = match number {
                1 => self.base.join(&name),
                _ => self.base.join(format!("{name}-{number}")),
            };
            match DirBuilder::new().mode(0o755).create(&path) {
                Ok(()) => return Cgroup::open(path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// Removes the base and the empty cgroups below it. Done when it is gone already. Blocks for 200 ms at most.
    ///
    /// # Errors
    ///
    /// `EBUSY` while a process is in one of them.
    pub fn remove(&self) -> io::Result<()> {
        let mut outcome = self.try_remove();
        for _ in 0..REMOVE_STEPS {
            if outcome.is_ok() {
                break;
            }
            // One whose last process has just died is busy for a moment.
            sleep(REMOVE_STEP);
            outcome = self.try_remove();
        }
        outcome
    }

    fn try_remove(&self) -> io::Result<()> {
        for path in descendants(&self.base).unwrap_or_default().iter().rev() {
            remove_directory(path)?;
        }
        remove_directory(&self.base)
    }

    /// What an earlier supervisor has left below the base.
    pub fn leftovers(&self) -> io::Result<Vec<Cgroup>> {
        Ok(subdirectories(&self.base)?.into_iter().filter_map(|path| Cgroup::open(path).ok()).collect())
    }
}

impl Cgroup {
    /// One that exists, by its path: recorded before a crash, or recorded files.
    pub fn open(path: PathBuf) -> io::Result<Cgroup> {
        let directory = nix::fcntl::open(&path, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut cgroup = Cgroup { path, directory, procs: None, memory: None };
        cgroup.procs = cgroup.file("cgroup.procs", OFlag::O_RDONLY).ok();
        cgroup.memory = cgroup.file("memory.stat", OFlag::O_RDONLY).ok();
        Ok(cgroup)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The living processes in it and below it. Empty when it is gone.
    pub fn pids(&self) -> io::Result<Vec<i32>> {
        let mut pids = Vec::new();
        if let Some(procs) = &self.procs {
            read_pids(procs, &mut pids)?;
        }
        if self.has_children()? {
            for child in descendants(&self.path)? {
                if let Ok(procs) = File::open(child.join("cgroup.procs")) {
                    read_pids(&procs, &mut pids)?;
                }
            }
        }
        Ok(pids)
    }

    /// Whether a living process is in it or below it; zombies do not count.
    pub fn populated(&self) -> io::Result<bool> {
        Ok(self.figure("cgroup.events", "populated")? == Some(1))
    }

    /// Kills all in it and below it at once, those being forked too, frozen or not (Linux 5.14). Before that, each
    /// one seen: call again while it is populated.
    pub fn kill(&self) -> io::Result<()> {
        match self.write("cgroup.kill", "1") {
            Err(error) if error.kind() == ErrorKind::NotFound => self.kill_each(),
            outcome => outcome,
        }
    }

    fn kill_each(&self) -> io::Result<()> {
        let seen: Vec<ProcessId> = self.pids()?.into_iter().filter_map(ProcessId::of).collect();
        // Still listed after its identity was taken: so that identity is not of somebody who has the pid of one that
        // died after the first list.
        let still = self.pids()?;
        for process in seen.into_iter().filter(|process| still.contains(&process.pid)) {
            // One that is gone by now is what we want.
            let _ = proc::send(process, libc::SIGKILL);
        }
        Ok(())
    }

    /// Memory that the processes themselves hold, in bytes: anonymous and shared memory, no page cache. None without
    /// the memory controller.
    pub fn memory(&self) -> Option<u64> {
        let mut buffer = [0; 4096];
        let length = self.memory.as_ref()?.read_at(&mut buffer, 0).ok()?;
        let text = &buffer[..length];
        Some(value(text, "anon")? + value(text, "shmem")?)
    }

    /// How many of its processes the kernel's OOM killer has ended so far. None without the memory controller.
    pub fn oom_kills(&self) -> Option<u64> {
        self.figure("memory.events", "oom_kill").ok()?
    }

    /// Caps its memory, in bytes. Over the cap the kernel ends the whole tree, not one process of it.
    ///
    /// # Errors
    ///
    /// `ENOENT` without the memory controller.
    pub fn set_memory_max(&self, bytes: u64) -> io::Result<()> {
        self.write("memory.oom.group", "1")?;
        self.write("memory.max", &bytes.to_string())
    }

    /// CPU time of all that ever ran in it, in microseconds. It needs no controller.
    pub fn cpu_usage_usec(&self) -> Option<u64> {
        self.figure("cpu.stat", "usage_usec").ok()?
    }

    /// Removes it and the cgroups that the app made in it. Done when it is gone already.
    ///
    /// # Errors
    ///
    /// `EBUSY` while a process is in it, also for a moment after the last one died: call again.
    pub fn remove(&self) -> io::Result<()> {
        for child in descendants(&self.path).unwrap_or_default().iter().rev() {
            remove_directory(child)?;
        }
        remove_directory(&self.path)
    }

    fn has_children(&self) -> io::Result<bool> {
        // A cgroup has two links and one for each child (kernfs); other file systems may not count.
        let stat = nix::sys::stat::fstat(&self.directory)?;
        Ok(stat.st_nlink != 2)
    }

    fn figure(&self, file: &str, key: &str) -> io::Result<Option<u64>> {
        let mut buffer = [0; 4096];
        Ok(value(self.read(file, &mut buffer)?, key))
    }

    fn read<'a>(&self, file: &str, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let length = self.file(file, OFlag::O_RDONLY)?.read(buffer)?;
        Ok(&buffer[..length])
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        self.file(file, OFlag::O_WRONLY)?.write_all(text.as_bytes())
    }

    fn file(&self, name: &str, access: OFlag) -> io::Result<File> {
        Ok(openat(&self.directory, name, access | OFlag::O_CLOEXEC, Mode::empty())?.into())
    }
}

/// The directory: what `clone3` takes to start a child inside.
impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// No dot (`cgroup.` and `memory.` begin the names of the kernel's own files), no slash, not empty, not too long.
fn sanitised(name: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
    let name: String =
        name.chars().map(|character| if allowed(character) { character } else { '_' }).take(200).collect();
    if name.is_empty() { "_".to_owned() } else { name }
}

/// Adds the pids that `cgroup.procs` lists from its beginning. Zeros (processes of another pid namespace) are left out.
fn read_pids(procs: &File, pids: &mut Vec<i32>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut carried = 0;
    let mut offset = 0;
    loop {
        let length = match procs.read_at(&mut buffer[carried..], offset) {
            Ok(length) => length,
            // The cgroup was removed, or the app made it a threaded one, whose processes its parent lists.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EOPNOTSUPP)) => return Ok(()),
            Err(error) => return Err(error),
        };
        offset += length as u64;
        let filled = carried + length;
        let whole = if length == 0 { filled } else { memchr::memrchr(b'\n', &buffer[..filled]).map_or(0, |at| at + 1) };
        let listed = buffer[..whole].split(|byte| *byte == b'\n').filter_map(number::<i32>);
        pids.extend(listed.filter(|pid| *pid > 0));
        if length == 0 {
            return Ok(());
        }
        buffer.copy_within(whole..filled, 0);
        carried = filled - whole;
    }
}

/// The number behind `key` in a file of `key number` lines.
fn value(text: &[u8], key: &str) -> Option<u64> {
    text.split(|byte| *byte == b'\n').find_map(|line| number(line.strip_prefix(key.as_bytes())?.strip_prefix(b" ")?))
}

/// All cgroups below, a parent before its children.
fn descendants(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = subdirectories(path)?;
    let mut next = 0;
    while let Some(path) = found.get(next) {
        // One that was removed meanwhile has none.
        let below = subdirectories(path).unwrap_or_default();
        found.extend(below);
        next += 1;
    }
    Ok(found)
}

fn subdirectories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path)?.flatten();
    Ok(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect())
}

fn remove_directory(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Whether the directory is the root of the whole hierarchy, where processes and controllers may stand side by side.
fn is_root(path: &Path) -> bool {
    !path.join("cgroup.type").exists()
}

#[cfg(test)]
mod tests;
