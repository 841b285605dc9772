//! The clock, the programs and the patience of these tests.

use std::ffi::OsStr;
use std::process::Command;
use std::time::Duration;

/// How long anything may take: machines are slow, and a test that passes does not wait for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "what the tests start, they start from outside, as a shell does")]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// As far as it is readable; long ones by their beginning and their length.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const ENOUGH: usize = 220;
    let more = if bytes.len() > ENOUGH { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    format!("\"{}\"{more}", bytes[..bytes.len().min(ENOUGH)].escape_ascii())
}
