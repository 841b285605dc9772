//! A PostgreSQL of the story's own: a cluster in a temporary directory, on loopback, gone with the story.

use crate::machine::{Program, command, eventually, free_port, signal, skip};
use crate::server::NOBODY;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use std::ffi::OsStr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const USER: &str = "crm";

pub(crate) struct Postgres {
    port: u16,
    /// Ended before its files go.
    server: Option<Program>,
    dir: TempDir,
}

impl Postgres {
    /// None where there is none on this machine.
    #[track_caller]
    pub(crate) fn start() -> Option<Postgres> {
        let Some(programs) = programs() else {
            skip(
                "there is no PostgreSQL here: apt-get install postgresql, or set PGBIN to the directory of its programs",
            );
            return None;
        };
        let dir = tempfile::Builder::new().prefix("infissi-postgres-").tempdir().unwrap();
        if geteuid().is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let (data, port) = (dir.path().join("data"), free_port());
        let mut initdb = unprivileged(programs.join("initdb"));
        initdb.args(["--username", USER, "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C"]);
        Program::start(initdb.arg("--pgdata").arg(&data).current_dir(dir.path())).end().ok();
        let mut postgres = unprivileged(programs.join("postgres"));
        postgres.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-p", &port.to_string()]);
        postgres.arg("-k").arg(dir.path()).arg("-D").arg(&data).current_dir(dir.path());
        let server = Some(Program::start(&mut postgres));
        let there = Postgres { port, server, dir };
        let ready = || {
            let mut asked = command(programs.join("pg_isready"));
            Program::start(asked.args(["--host", "127.0.0.1", "--port", &port.to_string()])).end().code == 0
        };
        assert!(eventually(ready), "PostgreSQL does not answer: {}", there.dir.path().display());
        Some(there)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(server) = self.server.take() else { return };
        // Its fast shutdown: whoever is connected is cut off.
        signal(server.pid(), Signal::SIGINT);
        server.end();
    }
}

/// It refuses to be run by root.
fn unprivileged(program: impl AsRef<OsStr>) -> Command {
    if !geteuid().is_root() {
        return command(program);
    }
    let mut setpriv = command("setpriv");
    let id = NOBODY.to_string();
    setpriv.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(program);
    setpriv
}

/// Where Debian has them, and on whose PATH they are elsewhere.
fn programs() -> Option<PathBuf> {
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let given = std::env::var_os("PGBIN").map(PathBuf::from);
    let dirs =
        given.into_iter().chain(debian.map(|entry| entry.path().join("bin"))).chain(std::env::split_paths(&path));
    dirs.into_iter().find(|dir: &PathBuf| is_there(dir))
}

fn is_there(dir: &Path) -> bool {
    ["initdb", "postgres", "pg_isready"].iter().all(|program| dir.join(program).exists())
}
