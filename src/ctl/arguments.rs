//! The command line of `infissi-ctl`, as clap reads it, `--help` shows it and the man page prints it.

mod examples;

use super::restricted::RestrictedOptions;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use examples::{
    APPLY_EXAMPLES, BACKUP_EXAMPLES, COMPLETIONS_EXAMPLES, DEPLOY_EXAMPLES, EXAMPLES, EXEC_EXAMPLES, INIT_EXAMPLES,
    LIST_EXAMPLES, LOGS_EXAMPLES, RESTORE_EXAMPLES, RESTRICTED_EXAMPLES, SIGNAL_EXAMPLES, UPGRADE_EXAMPLES,
};
use std::ffi::OsString;
use std::path::PathBuf;

/// Looks after the apps of an infissi supervisor
///
/// Shows what runs, how it does and what it says; starts, stops and restarts it.
#[derive(Debug, Parser)]
#[command(name = "infissi-ctl", version, after_help = EXAMPLES, subcommand_required = false)]
pub struct Arguments {
    #[command(flatten)]
    pub global: GlobalOptions,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Clone, Default, Args)]
pub struct GlobalOptions {
    /// The supervisor's socket, or the directory it is in
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::AnyPath, help_heading = EVERYWHERE)]
    pub socket: Option<PathBuf>,
    /// The supervisor.toml whose supervisor is meant
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = EVERYWHERE)]
    pub config: Option<PathBuf>,
    /// Print JSON: one value, or one a line when following
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub json: bool,
    /// No colours
    #[arg(long, global = true, alias = "no-colour", help_heading = EVERYWHERE)]
    pub no_color: bool,
}

/// Each command's own arguments are defined when it is meant, not at every start.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// The table of all apps
    #[command(visible_aliases = ["ls", "status", "ps"], after_help = LIST_EXAMPLES)]
    List {
        /// Again every second, until q or Ctrl-C
        #[arg(long, short)]
        watch: bool,
        #[arg(hide = true)]
        apps: Vec<String>,
    },
    /// Everything about an app: processes, last exits, paths, next steps
    #[command(visible_aliases = ["describe", "info"])]
    Show(Apps),
    /// Print the last log lines, then follow
    #[command(visible_alias = "log", after_help = LOGS_EXAMPLES)]
    Logs(LogsOptions),
    /// What happened: starts, exits, restarts, who asked
    Events {
        /// Go on with what happens from now
        #[arg(long, short)]
        follow: bool,
    },
    /// Probe an app now; exit 0 only if it is healthy
    Health(Apps),
    /// How to start the apps without infissi: a line for each, to copy before infissi is taken away
    ByHand {
        /// A name, an alias, a glob in quotes, or all, which is the default
        #[arg(value_name = "APP")]
        apps: Vec<String>,
    },
    /// Start what is stopped
    Start(ActOptions),
    /// Stop, and keep stopped
    Stop(ActOptions),
    /// Replace by new processes; behind the proxy, without losing a request
    Restart(RestartOptions),
    /// The same as restart
    Reload(RestartOptions),
    /// Make the other slot active: the staged one, or back to the one before while it is warm
    Swap(ActOptions),
    /// Make a release and go over to it, without losing a request
    #[command(after_help = DEPLOY_EXAMPLES)]
    Deploy(DeployOptions),
    /// The releases of an app, the newest first
    Releases {
        /// A name or an alias
        #[arg(value_name = "APP")]
        app: String,
        /// Remove all but the N newest good ones, failed ones too; never one that runs
        #[arg(long, value_name = "N")]
        prune: Option<u32>,
        /// With --prune: also those that the app has written into
        #[arg(long, requires = "prune")]
        written: bool,
    },
    /// Go back to the good release before: at once while it is warm, else it is started first
    Rollback {
        /// A name or an alias
        #[arg(value_name = "APP")]
        app: String,
        /// To this release instead
        #[arg(long, value_name = "ID")]
        to: Option<String>,
        /// Stop the active one before it starts, where there is no memory for both: requests are held meanwhile
        #[arg(long)]
        stop_first: bool,
    },
    /// Send a signal to an app's processes
    #[command(after_help = SIGNAL_EXAMPLES)]
    Signal {
        /// A name, an alias, a glob in quotes, or all
        #[arg(value_name = "APP")]
        app: String,
        /// HUP, SIGUSR2 or a number
        #[arg(value_name = "SIG")]
        signal: String,
    },
    /// Zero the restart counter and the backoff
    Reset(Apps),
    /// Empty an app's log files
    Flush {
        /// A name, an alias, a glob in quotes, or all
        #[arg(value_name = "APP")]
        apps: Vec<String>,
    },
    /// Run a command as an app's user, in its directory and environment
    #[command(after_help = EXEC_EXAMPLES)]
    Exec {
        /// A name or an alias
        #[arg(value_name = "APP")]
        app: String,
        /// As in that release, which need not be active
        #[arg(long, value_name = "ID")]
        release: Option<String>,
        /// The command and its arguments, best behind --; no shell
        #[arg(value_name = "CMD", required = true, trailing_var_arg = true, allow_hyphen_values = true,
              value_hint = ValueHint::CommandWithArguments)]
        command: Vec<OsString>,
    },
    /// Keep an app's files and dumps in an archive, as its backup table says
    #[command(after_help = BACKUP_EXAMPLES)]
    Backup {
        /// A name or an alias
        #[arg(value_name = "APP")]
        app: String,
    },
    /// The table of an app's backups
    Backups {
        /// A name or an alias
        #[arg(value_name = "APP")]
        app: String,
    },
    /// Bring back what a backup holds, through a rollover; what is there now is kept
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(RestoreOptions),
    /// Make the supervisor follow its changed supervisor.toml; touches only what differs
    ///
    /// While an app that it would give new processes is being rolled over, before the swap, all of it is refused.
    #[command(after_help = APPLY_EXAMPLES)]
    Apply {
        /// Show what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Check a supervisor.toml and show every mistake in it
    Check {
        /// The file [the one that infissi-supervisord would find]
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
    },
    /// Look at a project and print the lines for it to put into supervisor.toml
    #[command(after_help = INIT_EXAMPLES)]
    Init {
        /// The project's directory
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: PathBuf,
        /// The port that the app gets
        #[arg(long, value_name = "N")]
        port: Option<u16>,
    },
    /// Look for what is wrong with the supervisor, the machine and the apps
    Doctor,
    /// Does the supervisor answer?
    Ping,
    /// The versions of infissi-ctl, the supervisor and its proxy worker, and whether they differ
    Version,
    /// Let the new infissi-supervisord that was installed take over; no app is touched
    ///
    /// To be done after the program was replaced where the supervisor was started from. The new program is asked first
    /// whether it can go on with what runs; then it takes the place of the old one, in the same process. Apps keep their
    /// processes, their requests and their output. Where the new program does not start well, the old one goes on.
    #[command(after_help = UPGRADE_EXAMPLES)]
    Upgrade,
    /// Stop all apps and the supervisor; under systemd, systemctl does that
    Shutdown {
        /// Do not wait until it has stopped
        #[arg(long)]
        no_wait: bool,
    },
    /// Carry out only what is named here: for an SSH key, as command="…" in authorized_keys
    #[command(after_help = RESTRICTED_EXAMPLES)]
    Restricted(RestrictedOptions),
    /// Print the completions for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// bash, elvish, fish, powershell or zsh
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Words of PM2, and slips.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

// No doc comment: clap would take it for the help of every command that has these.
#[derive(Debug, Args)]
pub struct Apps {
    /// A name, an alias, a glob in quotes, or all
    #[arg(value_name = "APP", required = true)]
    pub apps: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ActOptions {
    #[command(flatten)]
    pub apps: Apps,
    /// Do not wait until it is done
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub pm2: Pm2Options,
}

#[derive(Debug, Args)]
pub struct DeployOptions {
    /// A name or an alias
    #[arg(value_name = "APP")]
    pub app: String,
    /// A branch, a tag or a commit [the branch of its deploy table]
    #[arg(long = "ref", value_name = "REF", conflicts_with = "from")]
    pub reference: Option<String>,
    /// A directory instead of the repository, or - for a tar archive on standard input; built by the steps, too
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub from: Option<PathBuf>,
    /// The release's name [the time and the short commit]
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Start it beside the active one and leave it to swap to make it active
    #[arg(long)]
    pub stage: bool,
    /// Stop the active one before the new one starts, where there is no memory for both: requests are held meanwhile
    #[arg(long, conflicts_with = "stage")]
    pub stop_first: bool,
    /// Wait so long for a deploy of the app that is under way
    #[arg(long, value_name = "T")]
    pub wait: Option<String>,
    /// End once it has the traffic, and not only with the warm time
    #[arg(long)]
    pub no_wait: bool,
    /// Make no backup before, although its deploy table asks for one
    #[arg(long)]
    pub no_backup: bool,
    /// Install and build from nothing: use no node_modules and no build cache of earlier deploys
    #[arg(long)]
    pub fresh: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The first release of an app that runs in a plain checkout: nothing that was written there may be forgotten
    #[arg(long, conflicts_with_all = ["reference", "stage", "abort"])]
    pub init: bool,
    /// With --init: leave that path of the checkout behind; may be given again
    #[arg(long, value_name = "PATH", requires = "init")]
    pub leave: Vec<PathBuf>,
    /// End the deploy of the app that is under way, and clear up what it has made
    #[arg(long, conflicts_with_all = ["reference", "from", "id", "stage", "wait", "no_wait", "dry_run"])]
    pub abort: bool,
}

#[derive(Debug, Args)]
pub struct RestoreOptions {
    /// A name or an alias
    #[arg(value_name = "APP")]
    pub app: String,
    /// A name from `backups`, a path, or latest
    #[arg(value_name = "BACKUP", value_hint = ValueHint::FilePath)]
    pub backup: String,
    /// Only unpack it, into this new directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub into: Option<PathBuf>,
    /// Even if it is a backup of another app
    #[arg(long)]
    pub force: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct RestartOptions {
    #[command(flatten)]
    pub act: ActOptions,
    /// Stop before the new one starts, even behind the proxy: requests are held meanwhile
    #[arg(long)]
    pub hard: bool,
}

// What PM2 knows beside these commands. `--update-env` asks for what always happens here; the others belong to
// PM2's way of telling what to run and are answered with ours.
#[derive(Debug, Default, Args)]
pub struct Pm2Options {
    #[arg(long, hide = true)]
    pub update_env: bool,
    #[arg(long, hide = true)]
    pub name: Option<String>,
    #[arg(long, hide = true)]
    pub only: Option<String>,
    #[arg(long, hide = true)]
    pub env: Option<String>,
}

#[derive(Debug, Args)]
pub struct LogsOptions {
    /// A name, an alias, a glob in quotes, or all
    #[arg(value_name = "APP")]
    pub apps: Vec<String>,
    /// The last so many lines [15, or all since --since]
    #[arg(long, short = 'n', value_name = "N")]
    pub lines: Option<usize>,
    /// Go on with new lines; the default on a terminal
    #[arg(long, short, conflicts_with = "no_follow")]
    pub follow: bool,
    /// End after the last lines
    #[arg(long, alias = "nostream")]
    pub no_follow: bool,
    /// Only standard output
    #[arg(long, conflicts_with = "err")]
    pub out: bool,
    /// Only standard error
    #[arg(long, alias = "error")]
    pub err: bool,
    /// From then on: 10m, "yesterday 02:00", RFC 3339
    #[arg(long, value_name = "T")]
    pub since: Option<String>,
    /// Up to then
    #[arg(long, value_name = "T")]
    pub until: Option<String>,
    /// Only lines that this regular expression matches
    #[arg(long, value_name = "RE")]
    pub grep: Option<String>,
    /// Only what the app wrote: no names, no times
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
}

impl GlobalOptions {
    /// Both together, where a line was read in two parts.
    #[must_use]
    pub fn and(self, other: GlobalOptions) -> GlobalOptions {
        GlobalOptions {
            socket: self.socket.or(other.socket),
            config: self.config.or(other.config),
            json: self.json || other.json,
            no_color: self.no_color || other.no_color,
        }
    }
}

impl Arguments {
    /// The definition, with the commands grouped for `--help`.
    pub fn definition() -> clap::Command {
        let definition = Arguments::command();
        let overview = overview(&definition);
        definition.help_template(format!(
            "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{overview}Options:\n{{options}}{{after-help}}"
        ))
    }
}

/// The commands in the groups in which people look for them.
pub const GROUPS: [(&str, &[&str]); 6] = [
    ("Look", &["list", "show", "logs", "events", "health", "by-hand"]),
    ("Act", &["start", "stop", "restart", "reload", "swap", "signal", "reset", "flush", "exec"]),
    ("Deploy", &["deploy", "releases", "rollback"]),
    ("Keep", &["backup", "backups", "restore"]),
    ("Configure", &["apply", "check", "init"]),
    ("The supervisor", &["doctor", "ping", "version", "upgrade", "shutdown", "restricted", "completions"]),
];

fn overview(definition: &clap::Command) -> String {
    let mut text = String::new();
    for (title, names) in GROUPS {
        text.push_str(title);
        text.push_str(":\n");
        for name in names {
            let about = definition.find_subcommand(name).and_then(clap::Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            text.push_str(&format!("  {name:<13}{about}\n"));
        }
        text.push('\n');
    }
    text
}

/// The heading of the options that every command takes.
const EVERYWHERE: &str = "Options of every command";
