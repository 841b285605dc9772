//! Where the measuring is done, and what it is done with: our release build, the peers' programs, an empty one.

use crate::bare::{self, Bare};
use crate::infissi::Infissi;
use crate::peer::Peer;
use crate::pm2::Pm2;
use crate::supervisord::Supervisord;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) struct Workshop {
    /// Emptied at the start and the end of a run.
    dir: tempfile::TempDir,
    /// An empty Rust program, built as ours is.
    pub(crate) empty: PathBuf,
    /// Those that supervise, ourselves first; the name of what is not installed.
    pub(crate) supervisors: Vec<Result<Box<dyn Peer>, &'static str>>,
    /// Those that only write what they are piped.
    pub(crate) bare: Vec<&'static Bare>,
}

impl Workshop {
    /// Installs what npm and pip offer below `target`, once. With `named`, only those peers.
    pub(crate) fn set_up(named: &[String]) -> Workshop {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers");
        fs::create_dir_all(&target).unwrap();
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(&target).unwrap();
        let wanted = |name: &str| named.is_empty() || named.iter().any(|word| word.eq_ignore_ascii_case(name));
        let mut supervisors: Vec<Result<Box<dyn Peer>, &str>> = vec![Ok(Box::new(Infissi))];
        if wanted("PM2") {
            supervisors.push(Pm2::install(&target).map(|peer| Box::new(peer) as Box<dyn Peer>).ok_or("PM2"));
        }
        if wanted("supervisord") {
            let installed = Supervisord::install(&target);
            supervisors.push(installed.map(|peer| Box::new(peer) as Box<dyn Peer>).ok_or("supervisord"));
        }
        let bare = bare::ALL.iter().filter(|bare| bare.program == "tee" || wanted(bare.program)).collect();
        Workshop { empty: empty_program(dir.path()), dir, supervisors, bare }
    }

    /// A fresh directory.
    pub(crate) fn room(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(self.dir.path()).unwrap()
    }
}

/// Built with the release profile's flags, so that the two differ in what they do only.
fn empty_program(dir: &Path) -> PathBuf {
    let (source, program) = (dir.join("empty.rs"), dir.join("empty"));
    fs::write(&source, "fn main() {}\n").unwrap();
    let flags = ["--edition=2024", "-Copt-level=s", "-Clto=fat", "-Ccodegen-units=1", "-Cstrip=debuginfo", "-o"];
    assert!(succeeds(Command::new("rustc").args(flags).arg(&program).arg(&source)), "rustc builds an empty program");
    program
}

/// Runs it unseen. False also when there is no such program.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Looks a program up in PATH.
pub(crate) fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
