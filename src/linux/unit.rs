//! The unit of systemd that we are the main process of, if we are one.

use super::proc::{ProcTable, ProcessId};
use std::ffi::OsString;
use std::fmt;

/// A service of systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `infissi-supervisor.service`
    pub name: String,
    /// Of the system's manager, or of a user's.
    pub is_users: bool,
}

/// The words that do this to it.
impl Unit {
    pub fn systemctl(&self, verb: &str) -> String {
        format!("systemctl {}{verb} {self}", if self.is_users { "--user " } else { "" })
    }
}

/// Without the ending that systemctl puts there by itself.
impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name.strip_suffix(SERVICE).unwrap_or(&self.name))
    }
}

const SERVICE: &str = ".service";

/// None where something else started us: a shell of a unit passes the unit's environment on, but not its pid.
pub fn own() -> Option<Unit> {
    let cgroups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let pids = (std::process::id(), std::os::unix::process::parent_id());
    of(&|name| std::env::var_os(name), pids, &cgroups)
}

fn of(env: &dyn Fn(&str) -> Option<OsString>, (own, parent): (u32, u32), cgroups: &str) -> Option<Unit> {
    env("INVOCATION_ID")?;
    let is_main = match env("SYSTEMD_EXEC_PID") {
        Some(pid) => pid.to_str() == Some(own.to_string().as_str()),
        // systemd before 248.
        None => env("NOTIFY_SOCKET").is_some() && parent == 1,
    };
    is_main.then(|| named_by(cgroups)).flatten()
}

/// The living processes of our unit, or of cgroups below it, but ourselves. Empty where we are in no unit.
pub fn others() -> Vec<ProcessId> {
    let unit_of = |cgroups: String| paths(&cgroups).filter_map(unit_in).last().map(str::to_owned);
    let unit_at = |path: &str| std::fs::read_to_string(path).ok().and_then(unit_of);
    let Some(own) = unit_at("/proc/self/cgroup") else { return Vec::new() };
    let table = ProcTable::new();
    let others = table.processes().iter().filter(|process| process.is_alive());
    let others = others.map(|process| process.id).filter(|id| u32::try_from(id.pid) != Ok(std::process::id()));
    others.filter(|id| unit_at(&format!("/proc/{}/cgroup", id.pid)).as_deref() == Some(&*own)).collect()
}

/// The paths of /proc/PID/cgroup in systemd's own hierarchy (cgroups(7)), wherever that is.
fn paths(cgroups: &str) -> impl Iterator<Item = &str> {
    let is_systemds = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    cgroups.lines().filter(is_systemds).filter_map(|line| line.splitn(3, ':').nth(2))
}

/// A path as far as the innermost service in it: below that are only its own cgroups.
fn unit_in(path: &str) -> Option<&str> {
    let mut unit = path;
    while !unit.ends_with(SERVICE) {
        unit = unit.rsplit_once('/')?.0;
    }
    Some(unit)
}

fn named_by(cgroups: &str) -> Option<Unit> {
    let (above, name) = paths(cgroups).filter_map(unit_in).last()?.rsplit_once('/')?;
    let is_users = above.split('/').any(|part| part.starts_with("user@") && part.ends_with(SERVICE));
    Some(Unit { name: name.to_owned(), is_users })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(env: &[(&str, &str)], parent: u32, cgroups: &str) -> Option<String> {
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        of(&env, (812, parent), cgroups).map(|unit| unit.systemctl("stop"))
    }

    const UNIT: &str = "0::/system.slice/infissi-supervisor.service/supervisor\n";

    #[test]
    fn the_main_process_of_a_unit_knows_how_it_is_stopped() {
        let by_systemd = [("INVOCATION_ID", "1"), ("SYSTEMD_EXEC_PID", "812")];
        assert_eq!(found(&by_systemd, 1, UNIT).unwrap(), "systemctl stop infissi-supervisor");
        let template = "12:pids:/\n1:name=systemd:/system.slice/system-x.slice/infissi-supervisor@ann.service\n0::/\n";
        assert_eq!(found(&by_systemd, 1, template).unwrap(), "systemctl stop infissi-supervisor@ann");
        let users = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/apps.service\n";
        assert_eq!(found(&by_systemd, 600, users).unwrap(), "systemctl --user stop apps");
        let old = [("INVOCATION_ID", "1"), ("NOTIFY_SOCKET", "/run/systemd/notify")];
        assert_eq!(found(&old, 1, UNIT).unwrap(), "systemctl stop infissi-supervisor");
    }

    #[test]
    fn one_that_was_started_by_hand_or_by_a_program_of_a_unit_has_none() {
        let of_a_shell = [("INVOCATION_ID", "1"), ("SYSTEMD_EXEC_PID", "700")];
        assert_eq!(found(&of_a_shell, 700, UNIT), None);
        assert_eq!(found(&[], 1, UNIT), None);
        assert_eq!(found(&[("INVOCATION_ID", "1")], 700, UNIT), None);
        let by_systemd = [("INVOCATION_ID", "1"), ("SYSTEMD_EXEC_PID", "812")];
        assert_eq!(found(&by_systemd, 1, "0::/init.scope\n"), None);
    }
}
