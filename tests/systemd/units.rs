//! The files of contrib beside the code: what systemd's own tools say of them.

use crate::booted::Booted;
use crate::machine::{Program, command, skip};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What `systemd-analyze security` may say, in tenths: an app may be anything, and so the units may do much.
const EXPOSURE: &str = "90";
/// The key that systemd before 254 does not know, says so, and goes on.
const NOT_YET: &str = "DelegateSubgroup";

fn contrib(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib").join(path)
}

fn has(program: &str) -> bool {
    let there = command(program).arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).status().is_ok();
    if !there {
        skip(&format!("there is no {program}"));
    }
    there
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let Some(machine) = Booted::with("", "", "") else { return };
    for unit in ["infissi-supervisor.service", "infissi-supervisor@.service"] {
        let unit = machine.shared("units").join(unit).display().to_string();
        let verified = machine.run(&["systemd-analyze", "verify", "--man=no", &unit]).ok();
        let said: Vec<&str> =
            verified.stderr.lines().filter(|line| !(line.contains(NOT_YET) && line.ends_with("ignoring."))).collect();
        assert!(said.is_empty(), "{unit}: {said:#?}");
        let threshold = format!("--threshold={EXPOSURE}");
        machine.run(&["systemd-analyze", "security", "--offline=true", &threshold, &unit]).ok();
    }
}

/// Newer versions of systemd run `ExecStop=` also where nobody wants a stop, and tell it of no main process then.
#[test]
fn a_stop_is_noted_only_where_there_is_one_to_be_stopped() {
    let Some(machine) = Booted::with("", "", "") else { return };
    let unit = fs::read_to_string(contrib("systemd/infissi-supervisor.service")).unwrap();
    let stop = unit.lines().find(|line| line.starts_with("ExecStop=")).unwrap();
    let note = machine.path("/run/noted/stopping");
    for (kind, start, is_noted) in [("oneshot", "true", false), ("exec", "sleep 600", true)] {
        let service = format!("[Unit]\nDefaultDependencies=no\n[Service]\nType={kind}\nExecStart={start}\n{stop}\n");
        let directory = "RuntimeDirectory=noted\nRuntimeDirectoryPreserve=yes\n";
        machine.write("units/noted.service", &format!("{service}{directory}"));
        for verb in ["daemon-reload", "start noted", "stop noted"] {
            machine.systemctl(&verb.split(' ').collect::<Vec<_>>()).ok();
        }
        assert_eq!(note.exists(), is_noted, "{kind}");
    }
}

#[test]
fn the_users_and_directories_of_a_package_are_made() {
    if !has("systemd-sysusers") || !has("systemd-tmpfiles") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let root_is = format!("--root={}", root.path().display());
    let users = contrib("systemd/infissi.sysusers.conf");
    Program::start(command("systemd-sysusers").arg(&root_is).arg(users)).end().ok();
    let [passwd, group] = ["etc/passwd", "etc/group"].map(|file| fs::read_to_string(root.path().join(file)).unwrap());
    assert!(passwd.contains("infissi-proxy:") && group.contains("infissi:"), "{passwd}{group}");
    fs::write(root.path().join("etc/passwd"), format!("root:x:0:0::/root:/bin/sh\n{passwd}")).unwrap();
    fs::write(root.path().join("etc/group"), format!("root:x:0:\n{group}")).unwrap();
    let directories = contrib("systemd/infissi.tmpfiles.conf");
    Program::start(command("systemd-tmpfiles").args([&root_is, "--create"]).arg(directories)).end().ok();
    assert!(root.path().join("var/lib/infissi").is_dir() && root.path().join("etc/infissi").is_dir());
}

#[test]
fn needrestart_takes_the_exclusion() {
    if !has("perl") {
        return;
    }
    let file = contrib("needrestart/infissi.conf");
    let asked = "our %nrconf = (override_rc => {}); do $ARGV[0]; my ($unit) = keys %{$nrconf{override_rc}}; \
                 print 'infissi-supervisor@ann.service' =~ /$unit/ ? $nrconf{override_rc}{$unit} : 'not'";
    let said = Program::start(command("perl").args(["-e", asked]).arg(file)).end().ok();
    assert_eq!(said.stdout, "0");
}
