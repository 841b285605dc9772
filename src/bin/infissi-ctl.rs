//! `infissi-ctl`: arguments → library → exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(infissi::ctl::run(std::env::args_os()))
}
