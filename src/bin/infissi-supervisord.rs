//! `infissi-supervisord`: arguments → library → exit code.

use clap::Parser;
use infissi::daemon::arguments::Arguments;
use std::process::ExitCode;

/// The role in which the supervisor starts itself again; not in `--help`, for it is of no use by hand.
const PROXY: &str = "proxy";

fn main() -> ExitCode {
    if std::env::args_os().skip(1).eq([PROXY]) {
        return ExitCode::from(infissi::proxy::run());
    }
    ExitCode::from(infissi::daemon::run(&Arguments::parse()))
}
