//! `infissi-supervisord`: arguments → library → exit code.

use clap::Parser;
use infissi::daemon::arguments::Arguments;
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(infissi::daemon::run(&Arguments::parse()))
}
