//! `exec`: this process becomes a command as an app's instance would be: its user, directory, environment.

use super::failure::Failure;
use super::session::Session;
use crate::api::{ExecPlan, RefusalCode, routes};
use crate::linux::become_user::become_user;
use crate::linux::user::own_uid;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Does not return when it works: the exit code is the command's.
pub(crate) fn exec(session: &mut Session, app: &str, release: Option<&str>, words: &[OsString]) -> Result<u8, Failure> {
    let path = release.map_or_else(|| routes::exec(app), |release| routes::exec_in(app, release));
    let plan: ExecPlan = session.client()?.get(&path)?;
    let own = own_uid();
    if own != 0 && own != plan.uid {
        return Err(Failure::new(
            RefusalCode::NotAllowed,
            format!("{app} runs as {}, and only root and {0} can run a command as {0}", plan.user),
            format!("sudo -u {} infissi-ctl exec {app} -- {}", plan.user, quoted(words)),
        ));
    }
    if own == 0 {
        become_user(plan.uid, plan.gid, &plan.groups).map_err(|error| {
            Failure::from(crate::api::Refusal::new(
                RefusalCode::Failed,
                format!("cannot become {}: {error}", plan.user),
            ))
        })?;
    }
    let Some((program, arguments)) = words.split_first() else { return Ok(RefusalCode::Usage.exit_code()) };
    // The directory first, and by itself: an error there must not be taken for one of the command.
    std::env::set_current_dir(&plan.cwd).map_err(|error| {
        failed(&format!("cannot enter {}", plan.cwd), &error, "is it there, and may the user enter it?")
    })?;
    let error = replace_this_process(program, arguments, &plan.env);
    let hint = match find(program, path_of(&plan.env)) {
        Some(file) => format!("is {} executable for {}?", file.display(), plan.user),
        None => format!("looked in PATH={}", path_of(&plan.env)),
    };
    let program = program.to_string_lossy();
    Err(failed(&format!("cannot run {program}"), &error, &hint))
}

#[expect(clippy::disallowed_methods, reason = "no child: this process becomes the command, at its user's own terminal")]
fn replace_this_process(program: &OsString, arguments: &[OsString], env: &[(String, String)]) -> io::Error {
    let env = env.iter().map(|(name, value)| (name, value));
    Command::new(program).args(arguments).env_clear().envs(env).exec()
}

fn failed(what: &str, error: &io::Error, hint: &str) -> Failure {
    Failure::new(RefusalCode::Failed, format!("{what}: {error}"), hint)
}

fn path_of(env: &[(String, String)]) -> &str {
    env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value)
}

/// Directories on the way that the user may not enter make the kernel's answer "permission denied", found or not.
fn find(program: &OsString, path: &str) -> Option<PathBuf> {
    let mut files = std::env::split_paths(path).map(|directory| directory.join(program));
    files.find(|file| file.exists())
}

fn quoted(words: &[OsString]) -> String {
    shell_words::join(words.iter().map(|word| word.to_string_lossy()))
}
