//! One program in the place of another: the same process, with its children, its terminal and the descriptors that it is
//! to have. They are passed as sd_listen_fds(3) has it, for `inherited` to take up.
#![expect(unsafe_code, reason = "the environment and the descriptors of execve(2) are numbers and pointers")]

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::{CStr, CString, OsString, c_char};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The first that sd_listen_fds(3) counts.
const FIRST: RawFd = 3;
/// What tells of the descriptors: made anew at each exec.
pub const LISTEN: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// What is executed.
#[derive(Debug)]
pub enum Program {
    At(CString),
    /// Whatever its path leads to by now; [`spared`](Exec::spared).
    Open(OwnedFd),
}

impl Program {
    /// # Errors
    /// The path has a zero byte in it.
    pub fn at(path: &Path) -> io::Result<Program> {
        Ok(Program::At(CString::new(path.as_os_str().as_bytes())?))
    }
}

/// Everything that an exec takes, made ready: what is left to do allocates nothing, so that a signal handler may do it.
#[derive(Debug)]
pub struct Exec {
    arguments: Pointers,
    environment: Pointers,
    /// With the numbers that they are given in the end, or with others beyond those.
    descriptors: Vec<OwnedFd>,
}

impl Exec {
    /// With this command line, the environment of this process, and these descriptors by their names: printable ASCII
    /// without a colon.
    ///
    /// # Errors
    /// No descriptors left, or a word with a zero byte in it.
    pub fn new(arguments: impl IntoIterator<Item = OsString>, descriptors: Vec<(String, OwnedFd)>) -> io::Result<Exec> {
        let count = descriptors.len();
        let (names, descriptors): (Vec<String>, Vec<OwnedFd>) = descriptors.into_iter().unzip();
        let told = [std::process::id().to_string(), count.to_string(), names.join(":")];
        let told = LISTEN.iter().zip(told).map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let kept = std::env::vars_os().filter(|(name, _)| !LISTEN.iter().any(|listen| *name == **listen));
        let environment = kept.chain(told).map(|(mut line, value)| {
            line.push("=");
            line.push(value);
            line
        });
        let beyond = FIRST + RawFd::try_from(count).map_err(io::Error::other)?;
        let in_place =
            |(number, fd): (RawFd, OwnedFd)| if fd.as_raw_fd() == number { Ok(fd) } else { raised(fd, beyond) };
        Ok(Exec {
            arguments: Pointers::new(arguments)?,
            environment: Pointers::new(environment)?,
            descriptors: (FIRST..).zip(descriptors).map(in_place).collect::<io::Result<_>>()?,
        })
    }

    /// The same with a number that this exec gives to no other.
    ///
    /// # Errors
    /// No descriptors left.
    pub fn spared(&self, fd: OwnedFd) -> io::Result<OwnedFd> {
        raised(fd, FIRST + RawFd::try_from(self.descriptors.len()).map_err(io::Error::other)?)
    }

    /// Becomes that program. Returns only why it cannot be; the descriptors from 3 on are other ones then, but for
    /// those that were [`spared`](Exec::spared) or in their place. Calls nothing that is not async-signal-safe
    /// (signal-safety(7)).
    pub fn go(&self, program: &Program) -> io::Error {
        for (number, fd) in (FIRST..).zip(&self.descriptors) {
            let done = if fd.as_raw_fd() == number {
                // SAFETY: numbers. It is closed on exec no more.
                unsafe { libc::fcntl(number, libc::F_SETFD, 0) }
            } else {
                // SAFETY: two numbers. Whatever has the second one is not used by us again: what follows is another
                // program, or the end of this one.
                unsafe { libc::dup2(fd.as_raw_fd(), number) }
            };
            if done < 0 {
                return io::Error::last_os_error();
            }
        }
        let (arguments, environment) = (self.arguments.first(), self.environment.first());
        match program {
            // SAFETY: the path ends in a zero byte, both arrays in a null pointer, and all of it lives as long as `self`.
            Program::At(path) => unsafe { libc::execve(path.as_ptr(), arguments, environment) },
            // SAFETY: as above; an empty path and AT_EMPTY_PATH mean the descriptor itself (execveat(2)).
            Program::Open(fd) => unsafe {
                let flags = libc::AT_EMPTY_PATH;
                libc::syscall(libc::SYS_execveat, fd.as_raw_fd(), c"".as_ptr(), arguments, environment, flags) as i32
            },
        };
        io::Error::last_os_error()
    }
}

/// An array of strings as execve(2) takes it.
#[derive(Debug)]
struct Pointers {
    /// Into `_words`, and a null pointer behind them.
    first: Vec<*const c_char>,
    _words: Vec<CString>,
}

// SAFETY: the pointers lead to what the value owns itself and nobody changes.
unsafe impl Send for Pointers {}
// SAFETY: as above.
unsafe impl Sync for Pointers {}

impl Pointers {
    fn new(words: impl IntoIterator<Item = OsString>) -> io::Result<Pointers> {
        let words = words.into_iter().map(|word| CString::new(word.as_bytes()));
        let words: Vec<CString> = words.collect::<Result<_, _>>()?;
        let first = words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect();
        Ok(Pointers { first, _words: words })
    }

    fn first(&self) -> *const *const c_char {
        self.first.as_ptr()
    }
}

fn raised(fd: OwnedFd, beyond: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= beyond {
        return Ok(fd);
    }
    let higher = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(beyond))?;
    // SAFETY: fcntl has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(higher) })
}

/// Before Linux 6.14 a program that is executed where it is open is called by the number of that descriptor.
pub fn is_called(name: &CStr) {
    let _cannot_fail = nix::sys::prctl::set_name(name);
}

/// A file without a name, gone with its last descriptor: memfd_create(2), closed on exec.
///
/// # Errors
/// No descriptor or no memory left.
pub fn nameless_file(called: &str) -> io::Result<File> {
    Ok(memfd_create(called, MFdFlags::MFD_CLOEXEC)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::pidfd::pidfd_open;

    #[test]
    fn what_is_passed_on_has_the_numbers_and_names_of_sd_listen_fds() {
        let null = || OwnedFd::from(File::open("/dev/null").unwrap());
        let own = pidfd_open(std::process::id().cast_signed()).unwrap();
        let words = ["program", "--config", "x"].map(OsString::from);
        let exec = Exec::new(words, vec![("lock".to_owned(), null()), ("run.7.out".to_owned(), own)]).unwrap();
        let told: Vec<String> =
            exec.environment._words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let has = |line: &str| told.iter().filter(|word| *word == line).count() == 1;
        assert!(has("LISTEN_FDS=2") && has("LISTEN_FDNAMES=lock:run.7.out"), "{told:?}");
        assert!(has(&format!("LISTEN_PID={}", std::process::id())), "{told:?}");
        let is_safe = |(number, fd): (RawFd, &OwnedFd)| fd.as_raw_fd() == number || fd.as_raw_fd() >= FIRST + 2;
        assert!((FIRST..).zip(&exec.descriptors).all(is_safe));
        assert_eq!((exec.arguments.first.len(), exec.arguments.first.last()), (4, Some(&std::ptr::null())));
    }
}
