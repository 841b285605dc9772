//! `ExecStopPost=` of the unit: what is left of a supervisor that was told to stop and did not come to its end is ended,
//! what a supervisor that died leaves goes on.
//!
//! systemd says how the main process ended, not whether that was wanted: one that is killed because it does not stop in
//! time looks like one that is killed by hand. So `ExecStop=`, which runs only where a stop is wanted, leaves a file.

use crate::linux::proc;
use crate::linux::unit;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
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
    let Some(file) = file().filter(|file| file.exists()) else { return 0 };
    let is_empty = end_the_rest();
    let _removed_by_the_next_start = std::fs::remove_file(file);
    u8::from(!is_empty)
}

/// Of an earlier stop. A supervisor that starts is not being stopped.
pub(super) fn forget() {
    let _not_there = file().map(std::fs::remove_file);
}

fn file() -> Option<PathBuf> {
    let directories = std::env::var_os("RUNTIME_DIRECTORY")?;
    let first = directories.to_str()?.split(':').next()?;
    Some(Path::new(first).join(STOPPING))
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
