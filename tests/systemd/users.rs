//! The supervisor of one user: the template unit.

use crate::booted::{ANN, Booted, is_empty};
use crate::machine::is_alive;
use crate::whole::refuses_to_shut_down;
use infissi::linux::proc;
use nix::sys::signal::Signal;

const APPS: &str = r#"
[apps.ticker]
command = "node {dir}/ticker.js"
cwd = "{dir}/demo"
"#;

/// What systemd does from 254 on by itself, for DelegateSubgroup=.
const SUBGROUP: &str = "\
own=/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)
unit=${own%/supervisor}
mkdir -p \"$unit/supervisor\"
echo $$ >\"$unit/supervisor/cgroup.procs\"
exec infissi-supervisord
";

#[test]
fn a_users_supervisor_dies_comes_back_reloads_and_stops() {
    let Some(machine) = Booted::with("", APPS, "ExecStart=\nExecStart=sh {dir}/subgroup.sh\n") else { return };
    machine.write("subgroup.sh", SUBGROUP);
    let unit = machine.anns();
    unit.systemctl("start").ok();
    let ticker = unit.wait_online("ticker");
    assert_eq!(machine.cgroup_of(unit.main()), unit.cgroup().join("supervisor"));
    assert!(machine.cgroup_of(ticker).starts_with(unit.cgroup().join("apps")), "beside the supervisor");
    let outside = machine.outside(ticker);
    assert_eq!((proc::uid(outside), proc::uid(machine.outside(unit.main()))), (Some(ANN), Some(ANN)));
    let main = unit.main();
    unit.signal_main(Signal::SIGKILL);
    unit.wait_for_another(main);
    assert_eq!(unit.wait_online("ticker"), ticker, "{}", unit.log());
    refuses_to_shut_down(&unit, "`systemctl stop infissi-supervisor@ann`");
    unit.configure(&format!("{APPS}[apps.added]\ncommand = \"node {{dir}}/ticker.js\"\ncwd = \"{{dir}}/demo\"\n"));
    unit.systemctl("reload").ok();
    assert_eq!(unit.app("added")["status"], "online", "{}", unit.log());
    let cgroup = unit.cgroup();
    unit.systemctl("stop").ok();
    assert!(is_empty(&cgroup) && !is_alive(outside), "{}", unit.log());
}
