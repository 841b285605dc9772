//! A picture of all processes, shared by whoever looks at several trees in one round.

use super::{ProcStat, ProcessId, mark, stat};
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

/// All processes at one moment, read when first asked for: whoever needs none pays nothing.
#[derive(Default)]
pub struct ProcTable {
    picture: OnceCell<Picture>,
    /// Runs by process. Kept over a refresh: the environment of a process is fixed when its program starts.
    marks: RefCell<HashMap<ProcessId, Option<Box<str>>>>,
}

struct Picture {
    /// By pid.
    processes: Vec<ProcStat>,
    /// (parent, place in `processes`), by parent.
    children: Vec<(i32, usize)>,
    /// The pid given out last when the picture was begun.
    newest: Option<i32>,
}

impl ProcTable {
    pub fn new() -> ProcTable {
        ProcTable::default()
    }

    /// Forgets the picture if a process or thread was born since it was taken. Processes that died since then may
    /// still be in it.
    pub fn refresh(&mut self) {
        if self.picture.get().is_none() || self.is_current() {
            return;
        }
        let mut marks = std::mem::take(self.marks.get_mut());
        // Without a mark is not for good: a child of ours has none until it has become its program.
        marks.retain(|process, mark| mark.is_some() && self.has(*process));
        *self = ProcTable { picture: OnceCell::new(), marks: marks.into() };
    }

    /// Whether nobody was born since the picture was begun. A walk that found nothing in a picture that is no longer
    /// current may have missed a child whose parent died while we were looking.
    pub fn is_current(&self) -> bool {
        let newest = self.picture().newest;
        newest.is_some() && newest == newest_pid()
    }

    /// All processes, zombies too, by pid.
    pub fn processes(&self) -> &[ProcStat] {
        &self.picture().processes
    }

    pub fn get(&self, pid: i32) -> Option<&ProcStat> {
        let processes = self.processes();
        processes.binary_search_by_key(&pid, |process| process.id.pid).ok().map(|at| &processes[at])
    }

    /// Whether exactly this process was there.
    pub fn has(&self, process: ProcessId) -> bool {
        self.get(process.pid).is_some_and(|found| found.id == process)
    }

    pub fn children(&self, pid: i32) -> impl Iterator<Item = &ProcStat> {
        let Picture { processes, children, .. } = self.picture();
        let first = children.partition_point(|(parent, _)| *parent < pid);
        children[first..].iter().take_while(move |(parent, _)| *parent == pid).map(|(_, at)| &processes[*at])
    }

    /// What the process's environment says of its run: none without a mark or where we may not look.
    pub fn mark(&self, process: ProcessId) -> Option<Box<str>> {
        self.marks.borrow_mut().entry(process).or_insert_with(|| read_mark(process)).clone()
    }

    /// Whether its environment says that it is of that run; none as above.
    pub fn is_marked(&self, process: ProcessId, run: &str) -> Option<bool> {
        let mut marks = self.marks.borrow_mut();
        marks.entry(process).or_insert_with(|| read_mark(process)).as_ref().map(|mark| **mark == *run)
    }

    fn picture(&self) -> &Picture {
        self.picture.get_or_init(Picture::take)
    }
}

impl Picture {
    fn take() -> Picture {
        let newest = newest_pid();
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut processes: Vec<ProcStat> = pids.filter_map(stat).collect();
        processes.sort_unstable_by_key(|process| process.id.pid);
        let mut children: Vec<_> = processes.iter().enumerate().map(|(at, process)| (process.ppid, at)).collect();
        children.sort_unstable();
        Picture { processes, children, newest }
    }
}

fn read_mark(process: ProcessId) -> Option<Box<str>> {
    mark(process.pid, &mut Vec::new()).map(Into::into)
}

/// The last field of /proc/loadavg (proc_loadavg(5)): it moves with every process and thread that is made.
fn newest_pid() -> Option<i32> {
    let line = std::fs::read("/proc/loadavg").ok()?;
    super::number(line.rsplit(|byte| *byte == b' ').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_our_parents_child() {
        let table = ProcTable::new();
        let own = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(table.has(own));
        assert!(!table.has(ProcessId { start_time: 1, ..own }));
        let parent = table.get(own.pid).unwrap().ppid;
        assert!(table.children(parent).any(|child| child.id == own));
        assert_eq!(table.children(own.pid).filter(|child| child.ppid != own.pid).count(), 0);
    }

    #[test]
    fn a_birth_makes_a_picture_old() {
        let mut table = ProcTable::new();
        let before = table.processes().len();
        assert!(before > 1);
        std::thread::spawn(|| ()).join().unwrap();
        assert!(!table.is_current());
        table.refresh();
        assert!(table.picture.get().is_none());
    }
}
