//! `ExecStopPost=` of the unit: what is left of a supervisor that was told to stop and did not come to its end is ended,
//! what a supervisor that died leaves goes on.
//!
//! systemd says how the main process ended, not whether that was wanted: one that is killed because it does not stop in
//! time looks like one that is killed by hand. So `ExecStop=`, which runs only where a stop of one that runs is wanted,
//! leaves a file. One that is still being started, reloaded or aborted is told to end by a signal alone.

use crate::linux::lock::{DirLock, LockError, Purpose};
use crate::linux::proc;
use crate::linux::unit;
use std::env;
use std::io::{Write, stderr};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// In the runtime directory of the unit; `ExecStop=` makes it.
const STOPPING: &str = "stopping";
/// What has been killed is gone within this time, or cannot be.
const LOOKS: u32 = 250;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A process's name in the journal, characters.
const LONGEST_NAME: usize = 100;

/// Ends what runs in the unit beside us, if a stop was wanted; the exit code.
pub fn run() -> u8 {
    let Some(directory) = directory() else { return 0 };
    let note = directory.join(STOPPING);
    if !note.exists() && !is_told_by_its_end(&|name| env::var(name).ok()) {
        return 0;
    }
    let lock = DirLock::take(&directory, Purpose::Runtime);
    // One that was started by hand goes on with what the one of the unit has left.
    let is_empty = lock.as_ref().is_err_and(LockError::is_held) || end_the_rest();
    let _removed_by_the_next_start = std::fs::remove_file(note);
    u8::from(!is_empty)
}

/// By what `ExecStopPost=` has in its environment (systemd.exec(5)). A supervisor ends by a SIGTERM only before it listens
/// to signals and when it has failed to start. The unit has no time limit but the one of a stop.
fn is_told_by_its_end(env: &dyn Fn(&str) -> Option<String>) -> bool {
    let is = |name: &str, value: &str| env(name).is_some_and(|set| set == value);
    is("SERVICE_RESULT", "timeout") || is("EXIT_CODE", "killed") && is("EXIT_STATUS", "TERM")
}

/// Of an earlier stop. A supervisor that starts is not being stopped.
pub(super) fn forget() {
    let _not_there = directory().map(|directory| std::fs::remove_file(directory.join(STOPPING)));
}

fn directory() -> Option<PathBuf> {
    let directories = env::var_os("RUNTIME_DIRECTORY")?;
    Some(PathBuf::from(directories.to_str()?.split(':').next()?))
}

fn end_the_rest() -> bool {
    let mut told = Vec::new();
    for _ in 0..LOOKS {
        let others = unit::others();
        if others.is_empty() {
            return true;
        }
        for process in others {
            if !told.contains(&process) {
                told.push(process);
                let name = proc::command(process.pid, LONGEST_NAME);
                // Nobody hears it where the journal is gone.
                let _heard = writeln!(stderr(), "pid {} ({name}) is left after the stop: it is killed", process.pid);
            }
            // One that has ended meanwhile is what is wanted.
            let _gone = proc::send(process, libc::SIGKILL);
        }
        sleep(LOOK_EVERY);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_told(result: &str, code: &str, status: &str) -> bool {
        let env = [("SERVICE_RESULT", result), ("EXIT_CODE", code), ("EXIT_STATUS", status)];
        is_told_by_its_end(&|name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn a_stop_that_systemd_runs_no_command_for_is_known_by_how_the_supervisor_ended() {
        assert!(is_told("success", "killed", "TERM"));
        assert!(is_told("timeout", "killed", "KILL"));
        for (result, code, status) in [
            ("signal", "killed", "KILL"),
            ("watchdog", "dumped", "ABRT"),
            ("exit-code", "exited", "1"),
            ("success", "exited", "0"),
        ] {
            assert!(!is_told(result, code, status), "{result} {code} {status}");
        }
    }
}
