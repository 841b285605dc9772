//! Commands → requests → tables or JSON: what `infissi-ctl` does.

mod act;
mod activation;
mod apply;
pub mod arguments;
mod backup;
mod by_hand;
mod check;
mod clock;
mod course;
mod deploy;
mod doctor;
mod events;
mod exec;
mod exits;
mod failure;
mod health;
mod instances;
mod list;
mod logs;
mod look;
mod place;
mod pm2;
mod progress;
mod prune;
mod releases;
mod restore;
mod restricted;
#[cfg(test)]
mod sample;
mod selector;
mod session;
mod show;
pub mod since;
mod slots;
mod stream;
mod supervisor;
mod table;
mod traffic;
mod units;
mod upgrade;
mod version;
mod watch;

use crate::deploy::Keep;
use act::Act;
use arguments::{ActOptions, Arguments, Command, GlobalOptions, Pm2Options, RestartOptions};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use failure::Failure;
use look::Look;
use session::Session;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

/// Runs one command line, the program's name first; the exit code.
pub fn run(words: impl IntoIterator<Item = OsString>) -> u8 {
    let words: Vec<OsString> = words.into_iter().collect();
    let arguments = match parse(&words) {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error, &words),
    };
    let look = Look::of_stdout(arguments.global.no_color);
    let mut session = Session::new(&arguments.global, look, buffered_stdout(), Box::new(io::stderr()));
    let code = match carry_out(arguments.command, &mut session) {
        Ok(code) => code,
        Err(failure) => session.print_failure(failure),
    };
    session.finish(code)
}

fn parse(words: &[OsString]) -> Result<Arguments, clap::Error> {
    let plain = says(words, "--no-color") || says(words, "--no-colour");
    let color = if plain { clap::ColorChoice::Never } else { clap::ColorChoice::Auto };
    let matches = match Arguments::command().color(color).try_get_matches_from(words) {
        // Only help needs the commands in their groups, and putting them there takes time.
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            Arguments::definition().color(color).try_get_matches_from(words)
        }
        matches => matches,
    };
    let arguments = Arguments::from_arg_matches(&matches?)?;
    let Some(Command::Other(other)) = &arguments.command else { return Ok(arguments) };
    let pm2::Meaning::Instead(instead) = pm2::meaning(other) else { return Ok(arguments) };
    let program = words.iter().take(1).cloned();
    let rest = other.iter().skip(1).cloned();
    let mut meant = parse(&program.chain(instead.iter().map(OsString::from)).chain(rest).collect::<Vec<_>>())?;
    meant.global = arguments.global.and(meant.global);
    Ok(meant)
}

/// Only the words before `--` are ours.
fn says(words: &[OsString], option: &str) -> bool {
    words.iter().take_while(|word| *word != "--").any(|word| word == option)
}

/// Help and version are no errors, and clap prints them; a mistake is told in the way that was asked for.
fn refuse(error: &clap::Error, words: &[OsString]) -> u8 {
    if !error.use_stderr() || !says(words, "--json") {
        let _nowhere_else = error.print();
        return u8::try_from(error.exit_code()).unwrap_or(2);
    }
    let text = error.to_string();
    let paragraph: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let message = paragraph.join(" ").trim_start_matches("error: ").to_owned();
    let global = GlobalOptions { json: true, ..GlobalOptions::default() };
    let mut session = Session::new(&global, Look::of_stdout(true), buffered_stdout(), Box::new(io::stderr()));
    let code = session.print_failure(Failure::usage(message, "infissi-ctl --help"));
    session.finish(code)
}

/// Whole blocks, not lines, as std's own would write them: logs are long.
fn buffered_stdout() -> Box<dyn Write> {
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(stdout) => Box::new(BufWriter::with_capacity(64 << 10, File::from(stdout))),
        Err(_) => Box::new(io::stdout()),
    }
}

fn carry_out(command: Option<Command>, session: &mut Session) -> Result<u8, Failure> {
    match command.unwrap_or(Command::List { watch: false, apps: Vec::new() }) {
        Command::List { apps, .. } if !apps.is_empty() => {
            Err(Failure::usage("the table is of all apps", format!("infissi-ctl show {}", apps.join(" "))))
        }
        Command::List { watch: false, .. } => list::list(session),
        Command::List { watch: true, .. } => watch::watch(session),
        Command::Show(named) => show::show(session, &named.apps),
        Command::Logs(options) => logs::logs(session, &options),
        Command::Events { follow } => events::events(session, follow),
        Command::Health(named) => health::health(session, &named.apps),
        Command::ByHand { apps } => by_hand::by_hand(session, &apps),
        Command::Start(options) => act(session, "start", "starting", &options, false),
        Command::Stop(options) => act(session, "stop", "stopping", &options, false),
        Command::Restart(RestartOptions { act: options, hard })
        | Command::Reload(RestartOptions { act: options, hard }) => {
            act(session, "restart", "restarting", &options, hard)
        }
        Command::Swap(options) => act(session, "swap", "swapping", &options, false),
        Command::Signal { app, signal } => act::signal(session, app, signal),
        Command::Reset(named) => {
            let apps = &named.apps;
            act::act(session, &Act { verb: "reset", doing: "resetting", apps, wait: true, hard: false })
        }
        Command::Flush { apps } => act::flush(session, &apps),
        Command::Deploy(options) => deploy::deploy(session, &options),
        Command::Releases { app, prune: Some(good), written } => {
            prune::prune(session, &app, Keep { good, failed: false, written })
        }
        Command::Releases { app, prune: None, .. } => releases::releases(session, &app),
        Command::Rollback { app, to, stop_first } => releases::rollback(session, &app, to.as_deref(), stop_first),
        Command::Exec { app, release, command } => exec::exec(session, &app, release.as_deref(), &command),
        Command::Backup { app } => backup::backup(session, &app),
        Command::Backups { app } => backup::backups(session, &app),
        Command::Restore(options) => restore::restore(session, &options),
        Command::Apply { dry_run } => apply::apply(session, dry_run),
        Command::Check { file } => check::check(session, file.as_deref()),
        Command::Init { dir, port } => check::init(session, &dir, port),
        Command::Doctor => doctor::doctor(session),
        Command::Ping => supervisor::ping(session),
        Command::Version => version::version(session),
        Command::Upgrade => upgrade::upgrade(session),
        Command::Shutdown { no_wait } => supervisor::shutdown(session, !no_wait),
        Command::Restricted(options) => restricted::restricted(session, &options),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::definition(), "infissi-ctl", &mut session.out);
            Ok(0)
        }
        Command::Other(words) => match pm2::meaning(&words) {
            pm2::Meaning::Nothing(why) => pm2::nothing_to_do(session, why),
            pm2::Meaning::Refused(failure) => Err(failure),
            // Replaced while the line was parsed.
            pm2::Meaning::Instead(_) => list::list(session),
        },
    }
}

fn act(
    session: &mut Session,
    verb: &'static str,
    doing: &'static str,
    options: &ActOptions,
    hard: bool,
) -> Result<u8, Failure> {
    let Pm2Options { update_env: _, name, only, env } = &options.pm2;
    let apps = &options.apps.apps;
    pm2::refuse_scripts(apps, name.is_some() || only.is_some() || env.is_some())?;
    act::act(session, &Act { verb, doing, apps, wait: !options.no_wait, hard })
}
