//! Work that yields to what serves: niced, and the first to go when memory runs out.
#![expect(unsafe_code, reason = "setpriority has no safe wrapper in nix")]

use std::io;

/// As `nice` gives it by default.
const NICE: i32 = 10;
/// Of -1000 to 1000, proc_pid_oom_score_adj(5): any app of the same size is spared before it.
const OOM_SCORE_ADJ: &str = "800";

/// Makes a process, and what it will start, yield. Anybody may do this to their own.
///
/// # Errors
/// The process is gone or somebody else's, or /proc is missing.
pub fn lower(pid: i32) -> io::Result<()> {
    let who = libc::id_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: setpriority(2) takes three numbers and touches no memory of ours.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, who, NICE) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE_ADJ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any process will do")]
    fn a_process_yields_and_what_it_starts_with_it() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        lower(pid).unwrap();
        assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), OOM_SCORE_ADJ);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // Field 19 of proc_pid_stat(5), the 17th behind the command.
        assert_eq!(stat.rsplit(") ").next().unwrap().split(' ').nth(16), Some("10"));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
