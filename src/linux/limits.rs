//! How many descriptors the supervisor and its apps may open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;

/// `RLIMIT_NOFILE`: the soft limit in force and the hard one up to which a process may raise it, getrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nofile {
    pub soft: u64,
    pub hard: u64,
}

impl Nofile {
    /// What this process has now.
    ///
    /// # Errors
    /// None that a Linux of today gives.
    pub fn own() -> io::Result<Nofile> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        Ok(Nofile { soft, hard })
    }

    /// Raises this process's soft limit to the hard one: every app costs the supervisor a handful of descriptors.
    /// Returns what was before, which is what an app should get: a program that uses select(2) breaks above 1024,
    /// and one that can do with more raises the limit by itself, as Node does.
    ///
    /// # Errors
    /// None that a Linux of today gives.
    pub fn raise_own() -> io::Result<Nofile> {
        let before = Nofile::own()?;
        setrlimit(Resource::RLIMIT_NOFILE, before.hard, before.hard)?;
        Ok(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_tells_what_was_before() {
        let before = Nofile::own().unwrap();
        assert_eq!(Nofile::raise_own().unwrap(), before);
        assert_eq!(Nofile::own().unwrap(), Nofile { soft: before.hard, hard: before.hard });
        setrlimit(Resource::RLIMIT_NOFILE, before.soft, before.hard).unwrap();
    }
}
