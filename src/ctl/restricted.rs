//! `restricted`: what an SSH key may do whose line in `authorized_keys` forces this command.
//!
//! The client's words are read as a command line of ours, without a shell, and it is the command they mean that is
//! judged, never their spelling: [`wish`] names every command there is, so that a new one is refused until somebody has
//! decided about it.

use super::arguments::{ActOptions, Apps, Arguments, Command, DeployOptions, LogsOptions, Pm2Options, RestartOptions};
use super::failure::Failure;
use super::session::Session;
use crate::api::RefusalCode;
use crate::deploy::is_id;
use crate::linux::environ;
use clap::{Args, ValueEnum};
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Where sshd puts what the client asked for (sshd(8), `command="…"`).
const ASKED: &str = "SSH_ORIGINAL_COMMAND";

#[derive(Debug, Args)]
pub struct RestrictedOptions {
    /// What may be done, with commas in between
    #[arg(long, required = true, value_delimiter = ',', value_name = "COMMAND")]
    pub allow: Vec<Verb>,
    /// With which apps, by the names that will be used, with commas in between; no globs
    #[arg(long = "app", required = true, value_delimiter = ',', value_name = "APP")]
    pub apps: Vec<String>,
}

/// What can be allowed. The other commands look at files, or are about more than the apps that are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Verb {
    List,
    Show,
    Logs,
    Health,
    Start,
    Stop,
    Restart,
    Swap,
    Deploy,
    Releases,
    Rollback,
    Signal,
    Reset,
    Flush,
    Exec,
    Backup,
    Backups,
    Ping,
    Version,
}

impl Verb {
    fn word(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Is it about all apps, or about none, when none is named?
    fn needs_no_app(self) -> bool {
        matches!(self, Verb::List | Verb::Ping | Verb::Version)
    }
}

/// What a command would do, and with which apps.
#[derive(Debug)]
struct Wish<'a> {
    verb: Verb,
    apps: Vec<&'a str>,
}

/// Carries out what the client of an SSH connection asked for, if its key may.
pub(crate) fn restricted(session: &mut Session, options: &RestrictedOptions) -> Result<u8, Failure> {
    refuse_patterns(options)?;
    let asked = std::env::var_os(ASKED).unwrap_or_default();
    // What sshd lets a client set must choose neither the supervisor nor what git runs.
    environ::keep_only(is_kept).map_err(|error| refused(options, format!("cannot clear the environment: {error}")))?;
    let words = words(&asked, options)?;
    let arguments = match super::parse(&words) {
        Ok(arguments) => arguments,
        Err(error) => return Ok(super::refuse(&error, &words)),
    };
    session.is_told(arguments.global.json, arguments.global.no_color);
    let command = decide(arguments, options)?;
    session.only = options.apps.clone();
    super::carry_out(Some(command), session)
}

/// The line of the key itself: `web-*` would grow with the next app.
fn refuse_patterns(options: &RestrictedOptions) -> Result<(), Failure> {
    match options.apps.iter().find(|app| super::selector::is_several(app) || app.is_empty()) {
        Some(app) => Err(Failure::usage(
            format!("--app {app:?}: each app that a key is for is named"),
            "correct the line of the key in authorized_keys: --app current,staging",
        )),
        None => Ok(()),
    }
}

fn is_kept(variable: &OsStr) -> bool {
    const KEPT: [&str; 10] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TERM", "CI", "SSH_AUTH_SOCK"];
    variable.to_str().is_some_and(|name| KEPT.contains(&name) || name.starts_with("LC_"))
}

/// The words of a command line, our own name first.
fn words(asked: &OsStr, options: &RestrictedOptions) -> Result<Vec<OsString>, Failure> {
    let no_words = |why: &str| refused(options, format!("what was asked for is no command of ours: {why}"));
    let asked = asked.to_str().ok_or_else(|| no_words("it is not UTF-8"))?;
    if asked.chars().any(char::is_control) {
        return Err(no_words("it has a line break or another control character in it"));
    }
    let mut words = shell_words::split(asked).map_err(|_| no_words("a quotation mark is missing"))?;
    if words.is_empty() {
        return Err(Failure::usage("this key carries out single commands, and none was given", allowed(options)));
    }
    if words[0] != "infissi-ctl" {
        words.insert(0, "infissi-ctl".to_owned());
    }
    Ok(words.into_iter().map(OsString::from).collect())
}

/// The command, if it may be carried out.
fn decide(arguments: Arguments, options: &RestrictedOptions) -> Result<Command, Failure> {
    let Arguments { global, command } = arguments;
    if global.socket.is_some() || global.config.is_some() {
        return Err(refused(options, "which supervisor is meant is not for this key to say".to_owned()));
    }
    let command = command.unwrap_or(Command::List { watch: false, apps: Vec::new() });
    let Wish { verb, apps } = wish(&command).map_err(|why| refused(options, why))?;
    if !options.allow.contains(&verb) {
        return Err(refused(options, format!("`{}` is not allowed with this key", verb.word())));
    }
    if apps.is_empty() && !verb.needs_no_app() {
        return Err(refused(
            options,
            format!("with this key, `{}` names its app: {0} {}", verb.word(), options.apps[0]),
        ));
    }
    // Word for word: a name leads to one app, whatever globs, lists and aliases are made of.
    if let Some(other) = apps.iter().find(|app| !options.apps.iter().any(|own| own == *app)) {
        return Err(refused(options, format!("`{} {other:?}` is not allowed with this key", verb.word())));
    }
    Ok(command)
}

/// Every option is named, too: a new one is nobody's before it has been thought of here.
fn wish(command: &Command) -> Result<Wish<'_>, String> {
    let (verb, apps) = match command {
        Command::List { watch: false, apps } => (Verb::List, names(apps)),
        Command::List { watch: true, apps: _ } => return Err("this key has no terminal to watch on".to_owned()),
        Command::Show(Apps { apps }) => (Verb::Show, names(apps)),
        Command::Logs(options) => (Verb::Logs, of_logs(options)),
        Command::Health(Apps { apps }) => (Verb::Health, names(apps)),
        Command::Start(options) => (Verb::Start, of_act(options)?),
        Command::Stop(options) => (Verb::Stop, of_act(options)?),
        Command::Restart(RestartOptions { act, hard: _ }) | Command::Reload(RestartOptions { act, hard: _ }) => {
            (Verb::Restart, of_act(act)?)
        }
        Command::Swap(options) => (Verb::Swap, of_act(options)?),
        Command::Deploy(options) => (Verb::Deploy, of_deploy(options)?),
        Command::Releases { app, prune: None, written: _ } => (Verb::Releases, vec![app.as_str()]),
        Command::Rollback { app, to, stop_first: _ } => {
            only_an_id(to.as_deref())?;
            (Verb::Rollback, vec![app.as_str()])
        }
        Command::Signal { app, signal: _ } => (Verb::Signal, vec![app.as_str()]),
        Command::Reset(Apps { apps }) => (Verb::Reset, names(apps)),
        Command::Flush { apps } => (Verb::Flush, names(apps)),
        Command::Exec { app, release, command: _ } => {
            only_an_id(release.as_deref())?;
            (Verb::Exec, vec![app.as_str()])
        }
        Command::Backup { app } => (Verb::Backup, vec![app.as_str()]),
        Command::Backups { app } => (Verb::Backups, vec![app.as_str()]),
        Command::Ping => (Verb::Ping, Vec::new()),
        Command::Version => (Verb::Version, Vec::new()),
        Command::Releases { prune: Some(_), .. } => return Err(never("releases --prune")),
        Command::Restore(_) => return Err(never("restore")),
        Command::Events { .. } => return Err(never("events")),
        Command::ByHand { .. } => return Err(never("by-hand")),
        Command::Apply { .. } => return Err(never("apply")),
        Command::Check { .. } => return Err(never("check")),
        Command::Init { .. } => return Err(never("init")),
        Command::Doctor => return Err(never("doctor")),
        Command::Shutdown { .. } => return Err(never("shutdown")),
        Command::Upgrade => return Err(never("upgrade")),
        Command::Completions { .. } => return Err(never("completions")),
        Command::Restricted(_) => return Err(never("restricted")),
        Command::Other(words) => {
            return Err(never(&words.first().map(|word| word.to_string_lossy()).unwrap_or_default()));
        }
    };
    Ok(Wish { verb, apps })
}

fn never(what: &str) -> String {
    format!("{what:?} is nothing that such a key can be allowed")
}

fn names(apps: &[String]) -> Vec<&str> {
    apps.iter().map(String::as_str).collect()
}

fn of_act(options: &ActOptions) -> Result<Vec<&str>, String> {
    let ActOptions { apps: Apps { apps }, no_wait: _, pm2: Pm2Options { update_env: _, name, only, env } } = options;
    match name.as_ref().or(only.as_ref()).or(env.as_ref()) {
        Some(_) => Err("this key starts what supervisor.toml names, and nothing else".to_owned()),
        None => Ok(names(apps)),
    }
}

fn of_logs(options: &LogsOptions) -> Vec<&str> {
    let LogsOptions { apps, lines: _, follow: _, no_follow: _, out: _, err: _, since: _, until: _, grep: _, raw: _ } =
        options;
    names(apps)
}

fn of_deploy(options: &DeployOptions) -> Result<Vec<&str>, String> {
    let DeployOptions {
        app,
        reference,
        from,
        id,
        stage: _,
        wait: _,
        no_wait: _,
        dry_run: _,
        init,
        leave: _,
        abort: _,
        stop_first: _,
        fresh: _,
        no_backup,
    } = options;
    if from.as_ref().is_some_and(|from| from != Path::new("-")) {
        return Err("this key may not deploy directories of this machine: --from - takes a tar stream".to_owned());
    }
    if let Some(reference) = reference.as_ref().filter(|reference| reference.starts_with('-') || reference.is_empty()) {
        return Err(format!("{reference:?} is no branch, tag or commit"));
    }
    only_an_id(id.as_deref())?;
    if *init {
        return Err(never("deploy --init"));
    }
    if *no_backup {
        return Err("what is backed up before a deploy is not for this key to say".to_owned());
    }
    Ok(vec![app])
}

fn only_an_id(id: Option<&str>) -> Result<(), String> {
    match id.filter(|id| !is_id(id)) {
        Some(id) => Err(format!("{id:?} cannot be the id of a release")),
        None => Ok(()),
    }
}

fn refused(options: &RestrictedOptions, message: String) -> Failure {
    Failure::new(RefusalCode::NotAllowed, message, allowed(options))
}

/// `allowed: infissi-ctl deploy|logs with current`
fn allowed(options: &RestrictedOptions) -> String {
    let words: Vec<String> = options.allow.iter().map(|verb| verb.word()).collect();
    format!("allowed: infissi-ctl {} with {}", words.join("|"), options.apps.join(", "))
}

#[cfg(test)]
mod tests;
