//! The signals that a process may be asked to stop with.

/// Names with their numbers (signal(7)); not those that stop, continue or report, which end nothing.
const SIGNALS: &[(&str, i32)] = &[
    ("SIGTERM", libc::SIGTERM),
    ("SIGINT", libc::SIGINT),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGHUP", libc::SIGHUP),
    ("SIGKILL", libc::SIGKILL),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGABRT", libc::SIGABRT),
    ("SIGALRM", libc::SIGALRM),
    ("SIGWINCH", libc::SIGWINCH),
    ("SIGPWR", libc::SIGPWR),
];

/// `SIGTERM`, `TERM` or `term` → its number.
pub(super) fn number(name: &str) -> Option<i32> {
    let name = name.to_ascii_uppercase();
    let bare = name.strip_prefix("SIG").unwrap_or(&name);
    SIGNALS.iter().find(|(known, _)| &known[3..] == bare).map(|(_, number)| *number)
}

/// The name a mistyped one most likely meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let whole = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    super::keys::nearest(&whole, SIGNALS.iter().map(|(known, _)| *known))
}
