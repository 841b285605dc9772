//! A stop's signal: each process once, wrappers only when they are left behind alone.

use crate::linux::proc::{self, ProcStat, ProcessId};
use std::collections::HashMap;

/// Who was there when a stop began, and who of them still waits for its signal.
#[derive(Debug, Default)]
pub struct Signalled {
    /// Wrappers that were left out, and for how many calls they have been alone.
    waiting: HashMap<ProcessId, u8>,
}

/// Calls that a wrapper must be seen alone before it is signalled: npm needs a moment to end after its child has.
const ALONE_CALLS: u8 = 2;

impl Signalled {
    pub fn new() -> Signalled {
        Signalled::default()
    }

    /// Whether a wrapper that was left out has not been signalled so far.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

pub(in crate::linux) fn signal_politely(members: &[ProcStat], signal: i32, signalled: &mut Signalled) -> usize {
    let mut count = 0;
    for member in members {
        if has_child(members, member) && is_wrapper(member.comm(), &proc::arguments(member.id.pid)) {
            signalled.waiting.insert(member.id, 0);
        } else {
            count += usize::from(signal_awake(member, signal));
        }
    }
    count
}

pub(in crate::linux) fn signal_left_behind(members: &[ProcStat], signal: i32, signalled: &mut Signalled) -> usize {
    let mut count = 0;
    signalled.waiting.retain(|wrapper, alone| {
        let Some(member) = members.iter().find(|member| member.id == *wrapper) else { return false };
        if has_child(members, member) {
            *alone = 0;
            return true;
        }
        *alone += 1;
        if *alone < ALONE_CALLS {
            return true;
        }
        count += usize::from(signal_awake(member, signal));
        false
    });
    count
}

/// A process stopped by job control would keep the signal pending until its kill: it is woken to take it.
fn signal_awake(member: &ProcStat, signal: i32) -> bool {
    let sent = proc::send(member.id, signal).is_ok();
    if sent && member.is_stopped() {
        // It has the signal; when it cannot be woken the kill will come.
        let _ = proc::send(member.id, libc::SIGCONT);
    }
    sent
}

fn has_child(members: &[ProcStat], parent: &ProcStat) -> bool {
    members.iter().any(|member| member.ppid == parent.id.pid)
}

/// Whether the program only runs another one and ends with it: a package manager or a shell.
fn is_wrapper(comm: &[u8], arguments: &[String]) -> bool {
    if std::str::from_utf8(comm).is_ok_and(is_shell) {
        return true;
    }
    let Some(program) = arguments.first() else { return false };
    // npm shows a title instead of its arguments: "npm start", "npm exec next".
    let program = basename(program.split(' ').next().unwrap_or_default());
    let script = || script(&arguments[1..]).map(basename);
    match program.trim_start_matches('-') {
        "node" | "nodejs" => script().is_some_and(is_package_manager),
        // Some of them run in a shell's place: `busybox sh -c …`.
        "busybox" => arguments.get(1).is_some_and(|applet| is_shell(applet)),
        name => is_shell(name) || is_package_manager(name),
    }
}

fn is_shell(name: &str) -> bool {
    matches!(name, "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh")
}

/// `npm`, `npm-cli.js`, `yarn.cjs`, `yarn-4.1.0.cjs`, and what corepack puts in their place.
fn is_package_manager(name: &str) -> bool {
    let stem = [".js", ".cjs", ".mjs"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    let stem = stem.strip_suffix("-cli").unwrap_or(stem);
    let release = |version: &str| version.starts_with(|first: char| first.is_ascii_digit());
    matches!(stem, "npm" | "npx" | "yarn" | "yarnpkg" | "pnpm" | "pnpx" | "corepack")
        || stem.strip_prefix("yarn-").is_some_and(release)
}

/// The script among Node's arguments: the first that is no option, nor the value of one that takes it separately.
fn script(arguments: &[String]) -> Option<&str> {
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        match argument {
            "-r" | "--require" | "--import" | "--loader" | "--experimental-loader" | "-C" | "--conditions" => {
                arguments.next();
            }
            // Then there is no script: the code stands here.
            "-e" | "--eval" | "-p" | "--print" => return None,
            option if option.starts_with('-') => {}
            script => return Some(script),
        }
    }
    None
}

fn basename(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::is_wrapper;

    fn wrapper(comm: &str, line: &[&str]) -> bool {
        is_wrapper(comm.as_bytes(), &line.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn package_managers_and_shells_are_wrappers() {
        let wrappers: [(&str, &[&str]); 16] = [
            ("npm start", &["npm start"]),
            ("npm exec next s", &["npm exec next start -p 3000"]),
            ("node", &["node", "/usr/bin/npm", "start"]),
            (
                "node",
                &["/usr/bin/node", "--max-old-space-size=200", "-r", "./npm", "/usr/lib/npm/bin/npm-cli.js", "start"],
            ),
            ("node", &["node", "/usr/bin/npx", "next"]),
            ("node-MainThread", &["/opt/node/bin/node", "/app/.yarn/releases/yarn-4.1.0.cjs", "start"]),
            ("node", &["node", "/usr/local/bin/pnpm", "start"]),
            ("node", &["node", "/usr/lib/node_modules/corepack/dist/pnpm.js", "start"]),
            ("node", &["node", "/usr/lib/node_modules/corepack/dist/yarn.js", "start"]),
            ("yarn", &["yarn"]),
            ("sh", &["sh", "-c", "next start"]),
            ("bash", &["-bash"]),
            ("start.sh", &["/bin/bash", "./start.sh"]),
            ("busybox", &["busybox", "sh", "-c", "next start"]),
            ("ash", &["/bin/sh"]),
            ("zsh", &["zsh"]),
        ];
        for (comm, line) in wrappers {
            assert!(wrapper(comm, line), "{comm} {line:?}");
        }
    }

    #[test]
    fn what_does_the_work_itself_is_none() {
        let workers: [(&str, &[&str]); 10] = [
            ("node", &["node", "server.js"]),
            ("next-server", &["next-server (v16.4.0)"]),
            ("node", &["node", "/app/node_modules/.bin/next", "start"]),
            ("node", &["node", "server.js", "npm"]),
            ("node", &["node", "-e", "npm"]),
            ("node", &["node", "./yarn-worker.js"]),
            ("node", &["node", "-r", "npm"]),
            ("busybox", &["busybox", "httpd"]),
            ("python3", &["python3", "sh"]),
            ("kworker", &[]),
        ];
        for (comm, line) in workers {
            assert!(!wrapper(comm, line), "{comm} {line:?}");
        }
    }
}
