//! Who belongs to a tree, in one picture of all processes.

use super::Tree;
use crate::linux::proc::{ProcStat, ProcTable, ProcessId};
use std::collections::HashSet;

/// Whom we have seen in the tree: they stay its members wherever they go.
#[derive(Debug)]
pub(super) struct Seen {
    members: HashSet<ProcessId>,
    /// Session numbers. The kernel gives none of them away while one process is in that session.
    sessions: HashSet<i32>,
}

impl Seen {
    pub(super) fn of(leader: ProcessId) -> Seen {
        Seen { members: HashSet::from([leader]), sessions: HashSet::from([leader.pid]) }
    }

    pub(super) fn any_alive(&self) -> bool {
        self.members.iter().any(|member| member.is_alive())
    }

    fn remember(&mut self, leader: ProcessId, members: &[ProcStat]) {
        // An empty tree may still have somebody on the way: its last sessions are kept to know them by.
        if members.is_empty() {
            return;
        }
        self.members = members.iter().map(|member| member.id).collect();
        self.sessions = sessions(members);
        // It may be about to make its session.
        if self.members.contains(&leader) {
            self.sessions.insert(leader.pid);
        }
    }
}

impl Tree {
    /// The living members, each once, and remembers them.
    pub(super) fn walk(&self, table: &ProcTable) -> Vec<ProcStat> {
        let mut found = Found::default();
        let mut seen = self.seen();
        // The picture first, then the cgroup: a pid that is in both and was recycled in between has the old start
        // time here, and no signal will reach it.
        let processes = table.processes();
        for pid in self.cgroup.as_ref().and_then(|cgroup| cgroup.pids().ok()).unwrap_or_default() {
            found.extend(table.get(pid));
        }
        for member in &seen.members {
            found.extend(table.get(member.pid).filter(|process| process.id == *member));
        }
        // Only sessions with a member known to be alive: the number of another may be somebody else's by now.
        let sessions = sessions(&found.members);
        let own_pid = nix::unistd::getpid().as_raw();
        for process in processes {
            let orphan = process.ppid == own_pid || self.reaper == Some(process.ppid);
            if sessions.contains(&process.session) || orphan && self.claims_orphan(process, &seen, table) {
                found.extend([process]);
            }
        }
        let members = found.with_descendants(table);
        seen.remember(self.leader, &members);
        members
    }

    /// Whether a child of ours without a parent of its own is of this tree. The leaders of other trees never are: they
    /// have another mark, session and pipes.
    fn claims_orphan(&self, process: &ProcStat, seen: &Seen, table: &ProcTable) -> bool {
        if !process.is_alive() {
            return false;
        }
        if let Some(same) = table.is_marked(process.id, &self.mark) {
            return same;
        }
        seen.sessions.contains(&process.session) || self.pipes.is_some_and(|pipes| writes_to(process.id.pid, pipes))
    }
}

/// Living processes, each once.
#[derive(Default)]
pub(in crate::linux) struct Found {
    members: Vec<ProcStat>,
    pids: HashSet<i32>,
}

impl Found {
    pub(in crate::linux) fn extend<'a>(&mut self, processes: impl IntoIterator<Item = &'a ProcStat>) {
        for process in processes {
            if process.is_alive() && self.pids.insert(process.id.pid) {
                self.members.push(*process);
            }
        }
    }

    pub(in crate::linux) fn with_descendants(mut self, table: &ProcTable) -> Vec<ProcStat> {
        let mut next = 0;
        while let Some(parent) = self.members.get(next).copied() {
            // A child is never older than its parent: one that is has another parent by that pid.
            self.extend(table.children(parent.id.pid).filter(|child| child.id.start_time >= parent.id.start_time));
            next += 1;
        }
        self.members
    }
}

/// Whether its standard output or error is one of those pipes.
fn writes_to(pid: i32, pipes: [u64; 2]) -> bool {
    [1, 2].into_iter().any(|descriptor| {
        let target = std::fs::read_link(format!("/proc/{pid}/fd/{descriptor}"));
        target.is_ok_and(|target| pipes.iter().any(|inode| target.as_os_str() == format!("pipe:[{inode}]").as_str()))
    })
}

/// The members' sessions but our own, in which a leader still is before its setsid.
fn sessions(members: &[ProcStat]) -> HashSet<i32> {
    let ours = nix::unistd::getsid(None).map_or(0, nix::unistd::Pid::as_raw);
    members.iter().map(|member| member.session).filter(|session| *session != ours).collect()
}
