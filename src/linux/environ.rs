//! This process's own environment, made smaller before anything in it is believed.
#![expect(unsafe_code, reason = "the environment of a process belongs to all its threads at once")]

use std::ffi::{OsStr, OsString};
use std::io;

/// Removes every variable but those that `is_kept` by its name.
///
/// # Errors
/// Where this process has a second thread, which could be reading it; then nothing is removed.
pub fn keep_only(is_kept: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("another thread may be reading the environment"));
    }
    let kept: Vec<(OsString, OsString)> = std::env::vars_os().filter(|(name, _)| is_kept(name)).collect();
    // Entries that are no variable go, too: removing one by one would leave them.
    // SAFETY: no other thread is there, as just counted, so nobody holds a pointer into what goes.
    if unsafe { libc::clearenv() } != 0 {
        return Err(io::Error::other("the environment cannot be cleared"));
    }
    for (name, value) in kept {
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_thread_may_be_reading_is_left_alone() {
        // Tests have a thread each, beside the first one.
        let (tell, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert!(keep_only(|_| false).is_err());
        assert!(std::env::vars_os().next().is_some());
        drop(tell);
        assert!(other.join().unwrap().is_err());
    }
}
