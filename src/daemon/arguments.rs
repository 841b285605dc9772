//! The command line of `infissi-supervisord`, as clap reads it, `--help` shows it and the man page prints it.

use clap::{Parser, ValueHint};
use std::path::PathBuf;

/// Runs the apps of a supervisor.toml, keeps them up and within memory, and keeps their logs
///
/// It stays in the foreground, as systemd wants it, and writes its own log to standard error or the journal.
/// infissi-ctl talks to it.
#[derive(Debug, Parser)]
#[command(name = "infissi-supervisord", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// The configuration; without it INFISSI_CONFIG, ./supervisor.toml, then the usual place
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Check the configuration, show every mistake in it, and exit
    #[arg(long)]
    pub check: bool,
    /// Say whether it could go on with what the supervisor that runs has; nothing for the command line.
    #[arg(long, hide = true)]
    pub check_succession: bool,
}

const EXAMPLES: &str = "\
Examples:
  infissi-supervisord --check --config supervisor.toml
  infissi-supervisord --config /etc/infissi/supervisor.toml

Exit status: 0 stopped as asked or nothing wrong, 1 it failed, 2 wrong usage or
bad configuration.";
