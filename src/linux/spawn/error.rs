//! Why an app could not be started, in sentences that say what to mend.

use crate::linux::exit::Exit;
use std::io;
use std::path::PathBuf;

/// Why an app could not be started. No process is left behind.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    #[error("there is no command to run")]
    NoCommand,
    #[error("{place} contains a NUL byte")]
    NulByte { place: &'static str },
    #[error("{name:?} cannot be the name of an environment variable")]
    BadVariable { name: String },
    #[error("the directory {} does not exist", dir.display())]
    NoDirectory { dir: PathBuf },
    #[error("{} is not a directory", dir.display())]
    NotADirectory { dir: PathBuf },
    #[error("the directory {} may not be entered by {user}: permission denied", dir.display())]
    ClosedDirectory { dir: PathBuf, user: String },
    /// `closed`: an entry of the PATH that hides what is in it, and from whom.
    #[error("{program:?} is not in PATH ({path}){}", closed_entry(closed.as_ref()))]
    NotInPath { program: String, path: String, closed: Option<(PathBuf, String)> },
    #[error("{} does not exist", program.display())]
    NoProgram { program: PathBuf },
    #[error("{} may not be executed by {user}: permission denied", program.display())]
    NotExecutable { program: PathBuf, user: String },
    #[error("{} is a directory, not a program", program.display())]
    IsDirectory { program: PathBuf },
    /// `interpreter`: what the first line of a script asks for; none for a program whose loader is missing.
    #[error("{} cannot run: {}", program.display(), missing(interpreter.as_deref()))]
    NoInterpreter { program: PathBuf, interpreter: Option<String> },
    #[error("{} is neither a program for this machine nor a script that begins with a #! line", program.display())]
    NoFormat { program: PathBuf },
    #[error("{} cannot run while it is open for writing", program.display())]
    Busy { program: PathBuf },
    #[error("the command and its environment are longer than the kernel takes")]
    TooLong,
    #[error("no further process may be made: {user} or its cgroup has as many as allowed")]
    TooManyProcesses { user: String },
    #[error("there is not enough memory for another process")]
    OutOfMemory,
    #[error("cannot become the user {user}")]
    User { user: String, source: io::Error },
    /// Somebody killed it while it was being prepared; the kernel, when memory ran out.
    #[error("the process ended before it could run its program{}", how(exit.as_ref()))]
    Died { exit: Option<Exit> },
    /// A step that hardly ever fails; `operation` as in "cannot …".
    #[error("cannot {operation}")]
    Step { operation: String, source: io::Error },
}

impl LaunchError {
    pub(super) fn step(operation: &str, source: io::Error) -> LaunchError {
        LaunchError::Step { operation: operation.to_owned(), source }
    }
}

fn closed_entry(closed: Option<&(PathBuf, String)>) -> String {
    closed.map(|(dir, user)| format!("; {user} may not look into {}", dir.display())).unwrap_or_default()
}

fn missing(interpreter: Option<&str>) -> String {
    match interpreter {
        None => "the loader it was linked for does not exist".to_owned(),
        Some(path) if path.ends_with('\r') => {
            format!("its interpreter {path:?} does not exist; the script has Windows line ends")
        }
        Some(path) => format!("its interpreter {path} does not exist"),
    }
}

fn how(exit: Option<&Exit>) -> String {
    exit.map(|exit| format!(" ({exit})")).unwrap_or_default()
}
