//! Would another program do? It is started beside this one, in a role in which it reads what it would go on with, says
//! so, and changes nothing.

use super::Build;
use crate::config::Places;
use crate::daemon::launch::sentence;
use crate::daemon::run_records::RunRecords;
use crate::daemon::shared::Shared;
use crate::daemon::state::StateDir;
use crate::linux::exec::{LISTEN, nameless_file};
use crate::linux::exit::{Exit, ended};
use crate::linux::pidfd::pidfd_send_signal;
use crate::linux::signal::signal_number;
use crate::linux::spawn::{Launch, Launched};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The role, as an argument beside those that the supervisor was started with.
pub(in crate::daemon) const ROLE: &str = "check-succession";
/// It reads a few files.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of what it says, bytes.
const MOST_SAID: usize = 8 * 1024;
/// What is between a service manager and the supervisor is nobody else's.
const NOT_PASSED: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// What it says, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::daemon) struct Succession {
    pub(in crate::daemon) version: String,
    /// Where it would look for what is there.
    state_dir: PathBuf,
    runtime_dir: PathBuf,
    socket: PathBuf,
}

impl Succession {
    fn at(places: &Places) -> Succession {
        Succession {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state_dir: places.state_dir.clone(),
            runtime_dir: places.runtime_dir.clone(),
            socket: places.socket.clone(),
        }
    }
}

/// The role itself. Changes nothing.
///
/// # Errors
/// It would not go on with what is there: a sentence.
pub(in crate::daemon) fn tell(places: &Places) -> Result<(), String> {
    let state = StateDir::new(&places.state_dir);
    state.check()?;
    RunRecords::check(&places.runtime_dir)?;
    let said = serde_json::to_string(&Succession::at(places)).map_err(|error| error.to_string())?;
    writeln!(io::stdout(), "{said}").map_err(|error| error.to_string())
}

/// Asks the program at `path`.
///
/// # Errors
/// Why it would not do: a sentence.
pub(in crate::daemon) async fn ask(shared: &Arc<Shared>, path: &Path) -> Result<(Succession, Build), String> {
    let build = Build::at(path).map_err(|error| format!("it cannot be looked at: {error}"))?;
    let (starting, program) = (shared.clone(), path.to_owned());
    let started = tokio::task::spawn_blocking(move || start(&starting, program)).await;
    let (launched, [out, err]) = started.unwrap_or_else(|_| Err("the supervisor is ending".to_owned()))?;
    let in_time = timeout(PATIENCE, ended(&launched.pidfd)).await;
    if in_time.is_err() {
        let _gone = signal_number("KILL").map(|signal| pidfd_send_signal(launched.pidfd.as_fd(), signal));
        let _killed = ended(&launched.pidfd).await;
    }
    shared.launcher.children.forget(launched.pid);
    let exit = in_time.map_err(|_| format!("its check did not end within {} s", PATIENCE.as_secs()))?;
    let exit = exit.map_err(|error| format!("its check cannot be waited for: {error}"))?;
    let succession = judge(exit, &said(&out), &said(&err))?;
    let here = Succession { version: succession.version.clone(), ..Succession::at(&shared.places) };
    if succession != here {
        return Err(
            "supervisor.toml has moved the state, the runtime directory or the socket since the supervisor was started: \
             that takes a stop and a start"
                .to_owned(),
        );
    }
    Ok((succession, build))
}

fn start(shared: &Shared, program: PathBuf) -> Result<(Launched, [File; 2]), String> {
    let file = |called| nameless_file(called).map_err(|error| error.to_string());
    let (out, err) = (file("out")?, file("err")?);
    let copy = |file: &File| file.try_clone().map_err(|error| error.to_string());
    let role = OsString::from(format!("--{ROLE}"));
    let arguments = std::env::args_os().skip(1).chain([role]);
    let launched = shared.launcher.children.launch(Launch {
        command: std::iter::once(program.into_os_string()).chain(arguments).collect(),
        called: None,
        cwd: std::env::current_dir().map_err(|error| format!("no working directory: {error}"))?,
        env: std::env::vars_os()
            .filter(|(name, _)| !NOT_PASSED.iter().chain(&LISTEN).any(|not| *name == **not))
            .collect(),
        identity: None,
        stdin: None,
        stdout: copy(&out)?.into(),
        stderr: copy(&err)?.into(),
        cgroup: None,
        nofile: None,
    });
    Ok((launched.map_err(|error| sentence(&error))?, [out, err]))
}

fn judge(exit: Exit, out: &str, err: &str) -> Result<Succession, String> {
    if exit.code == Some(2) && err.contains(ROLE) {
        return Err("it is of a version that cannot take over".to_owned());
    }
    if exit.code != Some(0) {
        let why = err.trim().trim_start_matches("infissi-supervisord: ").to_owned();
        return Err(if why.is_empty() { format!("its check ended with {exit}") } else { why });
    }
    serde_json::from_str(out.trim()).map_err(|_| "it does not know the check: is it an infissi-supervisord?".to_owned())
}

fn said(file: &File) -> String {
    let mut bytes = vec![0; MOST_SAID];
    let length = file.read_at(&mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_would_not_do_is_told_in_its_own_words() {
        let exit = |code| Exit { code: Some(code), signal: None, core: false };
        let said = "infissi-supervisord: cannot use state.json: it is of version 2\n";
        assert_eq!(judge(exit(1), "", said).unwrap_err(), "cannot use state.json: it is of version 2");
        let older = "error: unexpected argument '--check-succession' found";
        assert_eq!(judge(exit(2), "", older).unwrap_err(), "it is of a version that cannot take over");
        assert_eq!(judge(exit(3), "", "").unwrap_err(), "its check ended with exit code 3");
        assert!(judge(exit(0), "hello", "").unwrap_err().contains("is it an infissi-supervisord?"));
        let succession = Succession {
            version: "9".to_owned(),
            state_dir: "/s".into(),
            runtime_dir: "/r".into(),
            socket: "/r/s".into(),
        };
        assert_eq!(judge(exit(0), &serde_json::to_string(&succession).unwrap(), "").unwrap(), succession);
    }
}
