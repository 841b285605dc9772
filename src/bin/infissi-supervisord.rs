//! `infissi-supervisord`: arguments → library → exit code.

use clap::Parser;
use infissi::daemon::arguments::Arguments;
use std::process::ExitCode;

/// The role in which the supervisor starts itself again; not in `--help`, for it is of no use by hand.
const PROXY: &str = "proxy";
/// What the unit runs when it has stopped; not in `--help` either.
const AFTER_STOP: &str = "after-stop";

fn main() -> ExitCode {
    if std::env::args_os().skip(1).eq([PROXY]) {
        return ExitCode::from(infissi::proxy::run());
    }
    if std::env::args_os().skip(1).eq([AFTER_STOP]) {
        return ExitCode::from(infissi::daemon::after_stop());
    }
    ExitCode::from(infissi::daemon::run(&Arguments::parse()))
}
