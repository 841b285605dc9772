//! Signals by the names that operators type and read.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Child;

const NAMES: [(&str, i32); 31] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("STKFLT", libc::SIGSTKFLT),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
    ("SYS", libc::SIGSYS),
];

/// Asks a child of ours to end: SIGTERM. Its pid is nobody else's as long as it was not waited for.
pub fn ask_to_end(child: &Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    // One that has ended needs no asking.
    let _over = kill(Pid::from_raw(pid), Signal::SIGTERM);
}

/// The number of `HUP`, `SIGHUP`, `sighup`, `1`, `RTMIN`, `RTMIN+3` or `RTMAX-2`; none when there is no such signal.
pub fn signal_number(name: &str) -> Option<i32> {
    let upper = name.trim().to_ascii_uppercase();
    if let Ok(number) = upper.parse() {
        return (1..=libc::SIGRTMAX()).contains(&number).then_some(number);
    }
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == short) {
        return Some(*number);
    }
    real_time_number(short)
}

/// `SIGTERM`, or `SIGRTMIN+3` for a real-time signal.
pub fn signal_name(number: i32) -> String {
    if let Some((name, _)) = NAMES.iter().find(|(_, known)| *known == number) {
        return format!("SIG{name}");
    }
    match number - libc::SIGRTMIN() {
        0 => "SIGRTMIN".to_owned(),
        above if above > 0 && number <= libc::SIGRTMAX() => format!("SIGRTMIN+{above}"),
        _ => format!("signal {number}"),
    }
}

fn real_time_number(short: &str) -> Option<i32> {
    let offset = |text: &str, sign| if text.is_empty() { Some(0) } else { text.strip_prefix(sign)?.parse::<u8>().ok() };
    let number = if let Some(above) = short.strip_prefix("RTMIN") {
        libc::SIGRTMIN() + i32::from(offset(above, '+')?)
    } else {
        libc::SIGRTMAX() - i32::from(offset(short.strip_prefix("RTMAX")?, '-')?)
    };
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_known_by_every_name_people_type() {
        for name in ["HUP", "SIGHUP", "sighup", "1", " hup "] {
            assert_eq!(signal_number(name), Some(1), "{name}");
        }
        assert_eq!(signal_number("SIGUSR2"), Some(libc::SIGUSR2));
        assert_eq!(signal_number("RTMIN+3"), Some(libc::SIGRTMIN() + 3));
        assert_eq!(signal_number("SIGRTMAX-2"), Some(libc::SIGRTMAX() - 2));
    }

    #[test]
    fn what_is_no_signal_has_no_number() {
        for name in ["", "0", "-1", "65", "SIG", "TERMINATE", "RTMIN+31", "RTMIN3", "RTMIN+-1", "SIGSIGHUP"] {
            assert_eq!(signal_number(name), None, "{name}");
        }
    }

    #[test]
    fn every_number_has_the_name_that_leads_back_to_it() {
        for number in (1..=31).chain(libc::SIGRTMIN()..=libc::SIGRTMAX()) {
            assert_eq!(signal_number(&signal_name(number)), Some(number));
        }
        assert_eq!(signal_name(libc::SIGTERM), "SIGTERM");
        assert_eq!(signal_name(libc::SIGRTMIN() + 3), "SIGRTMIN+3");
        assert_eq!(signal_name(99), "signal 99");
    }
}
