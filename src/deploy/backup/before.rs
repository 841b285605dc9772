//! The commands that come before: as `exec` runs one, with `{out}` put in, and their output on our standard error.

use super::error::BackupError;
use super::{Figures, Step, Watch};
use crate::api::{BackupPlan, ExecPlan};
use crate::linux::signal::ask_to_end;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

const PLACEHOLDER: &str = "{out}";
/// How often it is asked whether one has ended.
const POLL: Duration = Duration::from_millis(20);
/// How many times after it was asked to end, before it is killed.
const POLLS_OF_GRACE: u32 = 250;

/// Runs them one after another, until one fails.
pub(super) fn run(plan: &BackupPlan, exec: &ExecPlan, out: &Path, watch: &mut dyn Watch) -> Result<(), BackupError> {
    for (index, words) in plan.before.iter().enumerate() {
        watch.step(Step::Before { number: index + 1, of: plan.before.len(), words });
        let filled: Vec<String> = words.iter().map(|word| word.replace(PLACEHOLDER, &out.to_string_lossy())).collect();
        let status = run_one(plan, exec, &filled, watch)?;
        // Ctrl-C reaches the command by itself, and it may have been quicker than we.
        if !watch.goes_on(Figures::default()) {
            return Err(BackupError::Stopped);
        }
        if !status.success() {
            let how = match (status.code(), status.signal()) {
                (Some(code), _) => format!("it exited with code {code}"),
                (None, signal) => format!("it was ended by signal {}", signal.unwrap_or(0)),
            };
            return Err(BackupError::Before { app: plan.app.clone(), command: shell_words::join(words), how });
        }
    }
    Ok(())
}

fn run_one(
    plan: &BackupPlan,
    exec: &ExecPlan,
    words: &[String],
    watch: &mut dyn Watch,
) -> Result<ExitStatus, BackupError> {
    let Some((program, arguments)) = words.split_first() else { return Ok(ExitStatus::default()) };
    let failed = |source| {
        let path = exec.env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
        BackupError::Run { app: plan.app.clone(), program: program.clone(), path: path.to_owned(), source }
    };
    // Looked at by itself: an error there must not be taken for one of the command.
    std::fs::read_dir(&exec.cwd).map_err(|source| BackupError::Read { path: exec.cwd.clone().into(), source })?;
    let mut child = spawn(program, arguments, exec).map_err(failed)?;
    loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        if !watch.goes_on(Figures::default()) {
            end(&mut child);
            return Err(BackupError::Stopped);
        }
        sleep(POLL);
    }
}

#[expect(clippy::disallowed_methods, reason = "no app: a command of the caller's own, which ends with this one")]
fn spawn(program: &str, arguments: &[String], exec: &ExecPlan) -> io::Result<Child> {
    let env = exec.env.iter().map(|(name, value)| (name, value));
    // Nobody is there to answer its questions, and standard output is for what we have to say.
    let output = Stdio::from(io::stderr().as_fd().try_clone_to_owned()?);
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&exec.cwd).env_clear().envs(env);
    command.stdin(Stdio::null()).stdout(output).spawn()
}

fn end(child: &mut Child) {
    ask_to_end(child);
    for _ in 0..POLLS_OF_GRACE {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        sleep(POLL);
    }
    // Over by now: then there is nobody to kill.
    let _over = child.kill();
    let _reaped = child.wait();
}
