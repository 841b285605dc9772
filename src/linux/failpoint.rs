//! Points at which a supervisor dies as by `kill -9`, or fails in another way, where a test says so. A release build has
//! nothing of them.
//!
//! `INFISSI_FAILPOINT` names a file. While it is there and holds the name of a point, whoever comes to that point removes
//! the file and kills its own process: the next one passes. Behind the name may stand another way to fail: `panic`,
//! `abort` or `hang`; of these, one that takes another's place has its patience at an end in a second.

use std::path::Path;

/// A place between two steps.
#[inline(always)]
pub fn here(name: &str) {
    #[cfg(debug_assertions)]
    armed::at(name);
    #[cfg(not(debug_assertions))]
    let _passed = name;
}

/// A place between two steps of something that is done to many.
#[inline(always)]
pub fn step(of: &str, step: &str) {
    #[cfg(debug_assertions)]
    armed::at(&format!("{of}.{step}"));
    #[cfg(not(debug_assertions))]
    let _passed = (of, step);
}

/// Does something not work here that works elsewhere? Where a test says so, the first time.
#[inline(always)]
pub fn refuses(name: &str) -> bool {
    #[cfg(debug_assertions)]
    return armed::refuses(name);
    #[cfg(not(debug_assertions))]
    {
        let _passed = name;
        false
    }
}

/// A step in the writing of a file, named by it: `state.json.written`. A name that is a number is `N`.
#[inline(always)]
pub fn file(path: &Path, step: &str) {
    #[cfg(debug_assertions)]
    armed::at(&format!("{}.{step}", armed::name_of(path)));
    #[cfg(not(debug_assertions))]
    let _passed = (path, step);
}

#[cfg(debug_assertions)]
mod armed {
    use std::path::{Path, PathBuf};
    use std::sync::OnceLock;

    pub(super) fn at(name: &str) {
        #[cfg(test)]
        super::trap::at(name);
        if let Some(how) = taken(name) {
            fail(&how);
        }
    }

    pub(super) fn refuses(name: &str) -> bool {
        taken(name).is_some()
    }

    /// How to fail here.
    fn taken(name: &str) -> Option<String> {
        static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
        let file = FILE.get_or_init(|| std::env::var_os("INFISSI_FAILPOINT").map(PathBuf::from)).as_ref()?;
        let armed = std::fs::read_to_string(file).ok()?;
        let (point, how) = armed.trim().split_once(' ').unwrap_or((armed.trim(), "kill"));
        // Whoever removes it is the one that dies here; another thread may be at the same point.
        (point == name && std::fs::remove_file(file).is_ok()).then(|| how.to_owned())
    }

    fn fail(how: &str) {
        if how == "kill" {
            let _delivered = nix::sys::signal::raise(nix::sys::signal::SIGKILL);
        }
        crate::linux::fallback::hurry();
        match how {
            "panic" => panic!("told to"),
            "abort" => std::process::abort(),
            _ => std::thread::sleep(std::time::Duration::MAX),
        }
    }

    pub(super) fn name_of(path: &Path) -> String {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.split('.').next().unwrap_or_default();
        match stem.parse::<u64>() {
            Ok(_) => name.replacen(stem, "N", 1),
            Err(_) => name.into_owned(),
        }
    }
}

/// For unit tests: a kill of this thread alone, as a panic that nobody handles on its way out.
#[cfg(test)]
pub mod trap {
    use std::cell::RefCell;

    type Kills = Box<dyn FnMut(&str) -> bool>;

    thread_local! {
        static KILLS: RefCell<Option<Kills>> = const { RefCell::new(None) };
    }

    /// What the panic carries.
    pub struct Killed;

    /// Asks `kills` at each point that this thread comes to.
    pub fn set(kills: impl FnMut(&str) -> bool + 'static) {
        KILLS.with(|trap| *trap.borrow_mut() = Some(Box::new(kills)));
    }

    pub(super) fn at(name: &str) {
        let killed = KILLS.with(|trap| {
            let mut trap = trap.borrow_mut();
            let killed = trap.as_mut().is_some_and(|kills| kills(name));
            if killed {
                *trap = None;
            }
            killed
        });
        if killed {
            std::panic::resume_unwind(Box::new(Killed));
        }
    }
}
