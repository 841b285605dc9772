//! A machine that has booted with systemd, ended when the story is over.

use crate::machine::{
    Output, PATIENCE, POLL, PrivatePorts, Program, command, copy_program, eventually, free_port, is_root, now, signal,
    skip,
};
use infissi::api::{Client, routes};
use infissi::linux::proc::{self, ProcTable};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use tempfile::TempDir;

const SUPERVISOR: &str = env!("CARGO_BIN_EXE_infissi-supervisord");
const CTL: &str = env!("CARGO_BIN_EXE_infissi-ctl");
const CONTRIB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/systemd/machine.sh");
/// The ones that any service has to do with; systemd's own would set the real machine up.
const TARGETS: [&str; 5] = ["sysinit.target", "basic.target", "network.target", "multi-user.target", "shutdown.target"];

pub(crate) struct Booted {
    dir: TempDir,
    /// Holds it as long as its standard input is open.
    guard: Option<Child>,
    cgroup: PathBuf,
    /// systemd, as the real machine sees it.
    pub(crate) init: i32,
    ports: PrivatePorts,
    pub(crate) port: u16,
}

/// A user of the story.
pub(crate) const ANN: u32 = 4711;
/// Writes four numbered lines each millisecond, and how many they were when it is told to leave; takes its time to end.
const TICKER: &str = "\
let line = 0;
setInterval(() => { for (let i = 0; i < 4; i += 1) process.stdout.write(`line ${line++}\\n`); }, 1);
process.on('SIGUSR2', () => process.stderr.write(`${line} lines\\n`, () => process.exit(7)));
process.on('SIGTERM', () => setTimeout(() => process.exit(0), Number(process.env.LINGER || 0)));
";

/// A unit on it.
pub(crate) struct Unit<'b> {
    pub(crate) machine: &'b Booted,
    pub(crate) name: &'static str,
    config: String,
    runtime_dir: &'static str,
}

impl Booted {
    /// With these configurations of root's supervisor, which comes up at boot unless that is empty, and of the user's,
    /// and more lines for `[Service]`; {port}, {range} and {dir} are put in. None where this machine does not let us, and
    /// then it is said why.
    pub(crate) fn with(roots: &str, users: &str, drop_in: &str) -> Option<Booted> {
        if !is_root() {
            return None;
        }
        let unified = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let Some(top) = unified.into_iter().find(|dir| dir.join("cgroup.procs").exists() && is_version_2(dir)) else {
            skip("cgroup version 2 is not mounted");
            return None;
        };
        if !["/lib/systemd/systemd", "/usr/lib/systemd/systemd"].iter().any(|path| Path::new(path).exists()) {
            skip("there is no systemd");
            return None;
        }
        let (ports, port) = (PrivatePorts::take(), free_port());
        let cgroup = top.join(format!("infissi-story-{}-{port}", std::process::id()));
        if let Err(error) = fs::create_dir(&cgroup) {
            skip(&format!("no cgroup can be made here: {error}"));
            return None;
        }
        let mut machine = Booted { dir: prepared(), guard: None, cgroup, init: 0, ports, port };
        machine.furnish(roots, users, drop_in);
        if !machine.boots() {
            let said = fs::read_to_string(machine.dir.path().join("boot.log")).unwrap_or_default();
            skip(&format!("no machine of its own can be made here: {said}"));
            return None;
        }
        let target = || machine.property("multi-user.target", "ActiveState");
        assert!(eventually(|| target() == "active"), "it does not boot: {}", machine.systemctl(&["list-units"]).said());
        Some(machine)
    }

    /// Configurations, and what the units have beside what stands in contrib.
    fn furnish(&self, roots: &str, users: &str, drop_in: &str) {
        self.write("etc/infissi/supervisor.toml", &self.filled(roots));
        self.write("home/.config/infissi/supervisor.toml", &self.filled(users));
        for unit in ["infissi-supervisor", "infissi-supervisor@"] {
            let story = format!("[Service]\nStandardOutput=append:{{dir}}/{unit}.log\n{drop_in}");
            self.write(&format!("units/{unit}.service.d/story.conf"), &self.filled(&story));
        }
        if !roots.is_empty() {
            let wanted = self.shared("units/multi-user.target.wants");
            fs::create_dir(&wanted).unwrap();
            symlink("../infissi-supervisor.service", wanted.join("infissi-supervisor.service")).unwrap();
        }
    }

    /// Whether PID 1 there becomes systemd.
    fn boots(&mut self) -> bool {
        let said = fs::File::create(self.dir.path().join("boot.log")).unwrap();
        let mut booting = command("sh");
        booting.arg(SCRIPT).args([self.dir.path(), self.cgroup.as_path()]);
        let guard =
            self.guard.insert(booting.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(said).spawn().unwrap());
        let guard_pid = i32::try_from(guard.id()).unwrap();
        let until = now() + PATIENCE;
        while now() < until && guard.try_wait().unwrap().is_none() {
            let table = ProcTable::new();
            let unshared = table.children(guard_pid).flat_map(|child| table.children(child.id.pid));
            if let Some(init) = unshared.map(|init| init.id.pid).find(|pid| comm(*pid) == "systemd") {
                self.init = init;
                return true;
            }
            sleep(POLL);
        }
        false
    }

    /// A path on it, as seen from outside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.init.to_string()).join("root").join(path.trim_start_matches('/'))
    }

    /// A file that it and we have at the same place.
    pub(crate) fn shared(&self, path: &str) -> PathBuf {
        self.dir.path().join("shared").join(path)
    }

    /// A shared file.
    pub(crate) fn write(&self, path: &str, text: &str) {
        write(&self.shared(path), text);
    }

    fn filled(&self, text: &str) -> String {
        let dir = self.shared("").display().to_string();
        let text = text.replace("{port}", &self.port.to_string()).replace("{range}", &self.ports.range());
        text.replace("{dir}", dir.trim_end_matches('/'))
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut entering = command("nsenter");
        entering.arg("--target").arg(self.init.to_string()).args(["--mount", "--pid", "--uts", "--ipc", "--cgroup"]);
        entering.args(words).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        entering
    }

    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        Program::start(&mut self.command(words)).end()
    }

    #[track_caller]
    pub(crate) fn systemctl(&self, words: &[&str]) -> Output {
        self.run(&[&["systemctl"], words].concat())
    }

    #[track_caller]
    pub(crate) fn property(&self, unit: &str, property: &str) -> String {
        let shown = self.systemctl(&["show", "--value", "--property", property, unit]);
        shown.stdout.trim().to_owned()
    }

    /// The pid by which we know a process of it.
    #[track_caller]
    pub(crate) fn outside(&self, inside: i32) -> i32 {
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let its = namespace(self.init);
        let is_it = |pid: i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
            pids.split_whitespace().next_back() == Some(&inside.to_string()) && namespace(pid) == its
        };
        let table = ProcTable::new();
        let pid = table.processes().iter().map(|process| process.id.pid).find(|pid| is_it(*pid));
        pid.unwrap_or_else(|| panic!("no process has pid {inside} there"))
    }

    /// In which cgroup a process of it is.
    #[track_caller]
    pub(crate) fn cgroup_of(&self, inside: i32) -> PathBuf {
        let told = fs::read_to_string(format!("/proc/{}/cgroup", self.outside(inside))).unwrap();
        let path = told.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        let below = path.split_once("/infissi-story-").and_then(|(_, own)| own.split_once('/')).unwrap().1;
        self.cgroup.join(below)
    }

    /// Of a process of it: one line for each name.
    pub(crate) fn environment(&self, inside: i32) -> String {
        let environment = fs::read(format!("/proc/{}/environ", self.outside(inside))).unwrap();
        String::from_utf8_lossy(&environment).replace('\0', "\n")
    }

    /// Of root.
    pub(crate) fn roots(&self) -> Unit<'_> {
        let config = "/etc/infissi/supervisor.toml".to_owned();
        Unit { machine: self, name: "infissi-supervisor.service", config, runtime_dir: "/run/infissi" }
    }

    /// Of ann.
    pub(crate) fn anns(&self) -> Unit<'_> {
        let config = self.shared("home/.config/infissi/supervisor.toml").display().to_string();
        Unit { machine: self, name: "infissi-supervisor@ann.service", config, runtime_dir: "/run/infissi-ann" }
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // systemd ends with its guard, and everything else on its machine with systemd.
        if let Some(guard) = &mut self.guard {
            drop(guard.stdin.take());
            let _ended = guard.wait();
        }
        let mut cgroups = vec![self.cgroup.clone()];
        let mut next = 0;
        while let Some(cgroup) = cgroups.get(next) {
            let below = fs::read_dir(cgroup).into_iter().flatten().flatten().map(|entry| entry.path());
            let below: Vec<PathBuf> = below.filter(|path| path.is_dir()).collect();
            cgroups.extend(below);
            next += 1;
        }
        // What has just died is in its cgroup for a moment.
        let gone = eventually(|| cgroups.iter().rev().all(|cgroup| fs::remove_dir(cgroup).is_ok() || !cgroup.exists()));
        assert!(gone || std::thread::panicking(), "left behind: {}", self.cgroup.display());
    }
}

impl Unit<'_> {
    #[track_caller]
    pub(crate) fn property(&self, property: &str) -> String {
        self.machine.property(self.name, property)
    }

    #[track_caller]
    pub(crate) fn systemctl(&self, verb: &str) -> Output {
        self.machine.systemctl(&[verb, self.name])
    }

    /// The pid of the supervisor on its machine.
    #[track_caller]
    pub(crate) fn main(&self) -> i32 {
        self.property("MainPID").parse().unwrap()
    }

    /// Nothing that it is told, but a kill, reaches the supervisor from here on. (systemd would wake up one that was stopped by
    /// a signal.)
    pub(crate) fn freeze_main(&self) {
        let cold = self.cgroup().join(format!("cold-{}", self.main()));
        fs::create_dir(&cold).unwrap();
        fs::write(cold.join("cgroup.procs"), self.machine.outside(self.main()).to_string()).unwrap();
        fs::write(cold.join("cgroup.freeze"), "1").unwrap();
    }

    /// To the supervisor alone.
    #[track_caller]
    pub(crate) fn signal_main(&self, sent: Signal) {
        signal(self.machine.outside(self.main()), sent);
    }

    #[track_caller]
    pub(crate) fn ctl(&self, words: &[&str]) -> Output {
        let socket = format!("{}/supervisor.sock", self.runtime_dir);
        self.machine.run(&[&["infissi-ctl", "--socket", &socket], words].concat())
    }

    fn try_get(&self, path: &str) -> Option<Value> {
        let socket = self.machine.path(self.runtime_dir).join("supervisor.sock");
        Client::new(socket).ok()?.get(path).ok()
    }

    /// The row of `list`; null where nobody answers.
    pub(crate) fn app(&self, name: &str) -> Value {
        let apps = self.try_get(routes::APPS).unwrap_or_default();
        let app = apps.as_array().and_then(|apps| apps.iter().find(|app| app["name"] == name));
        app.cloned().unwrap_or_default()
    }

    pub(crate) fn show(&self, name: &str) -> Value {
        self.try_get(&routes::app(name)).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn wait_online(&self, name: &str) -> i32 {
        let mut app = Value::Null;
        let online = eventually(|| {
            app = self.app(name);
            app["status"] == "online"
        });
        assert!(online, "{name} is not online: {app:#}\n{}", self.log());
        i32::try_from(app["pid"].as_i64().unwrap()).unwrap()
    }

    /// The pid of the proxy worker on its machine.
    #[track_caller]
    pub(crate) fn worker(&self) -> i32 {
        let supervisor = self.try_get(routes::SUPERVISOR).unwrap();
        i32::try_from(supervisor["worker"]["pid"].as_i64().unwrap()).unwrap()
    }

    pub(crate) fn config(&self) -> String {
        fs::read_to_string(self.machine.path(&self.config)).unwrap()
    }

    pub(crate) fn configure(&self, config: &str) {
        fs::write(self.machine.path(&self.config), self.machine.filled(config)).unwrap();
    }

    /// Waits for another supervisor than this one, which is ready.
    #[track_caller]
    pub(crate) fn wait_for_another(&self, than: i32) -> i32 {
        let mut main = 0;
        let is_there = eventually(|| {
            main = self.property("MainPID").parse().unwrap();
            main != than && main != 0 && self.property("SubState") == "running"
        });
        assert!(is_there, "nobody comes after pid {than}: {}\n{}", self.systemctl("status").said(), self.log());
        main
    }

    /// Its cgroup, while it has one.
    #[track_caller]
    pub(crate) fn cgroup(&self) -> PathBuf {
        let cgroup = self.property("ControlGroup");
        assert!(cgroup.ends_with(self.name), "{cgroup}");
        self.machine.cgroup.join(cgroup.trim_start_matches('/'))
    }

    pub(crate) fn log(&self) -> String {
        let name = self.name.split(['@', '.']).next().unwrap();
        let kind = if self.name.contains('@') { "@" } else { "" };
        fs::read_to_string(self.machine.shared(&format!("{name}{kind}.log"))).unwrap_or_default()
    }
}

/// Is nobody left in this cgroup?
pub(crate) fn is_empty(cgroup: &Path) -> bool {
    let events = fs::read_to_string(cgroup.join("cgroup.events"));
    events.is_err() || events.is_ok_and(|events| events.lines().any(|line| line == "populated 0"))
}

/// What the script needs: programs, units, users, apps.
fn prepared() -> TempDir {
    let dir = tempfile::Builder::new().prefix("infissi-systemd-").tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (program, name) in [(SUPERVISOR, "infissi-supervisord"), (CTL, "infissi-ctl")] {
        let there = dir.path().join(name);
        if fs::hard_link(program, &there).is_err() {
            copy_program(program, &there);
        }
    }
    let shared = dir.path().join("shared");
    let contrib = Path::new(CONTRIB);
    for file in ["infissi-supervisor.service", "infissi-supervisor@.service"] {
        let unit = fs::read_to_string(contrib.join("systemd").join(file)).unwrap();
        write(&shared.join("units").join(file), &unit);
    }
    for target in TARGETS {
        write(&shared.join("units").join(target), "[Unit]\nDescription=of a story\nDefaultDependencies=no\n");
    }
    for file in ["server.js", "websocket.js", "package.json"] {
        write(&shared.join("demo").join(file), &fs::read_to_string(contrib.join("demo").join(file)).unwrap());
    }
    write(&shared.join("ticker.js"), TICKER);
    write(&shared.join("passwd"), &format!("ann:x:{ANN}:{ANN}::{}:/bin/sh\n", shared.join("home").display()));
    write(&shared.join("etc/infissi/supervisor.toml"), "");
    write(&shared.join("home/.config/infissi/supervisor.toml"), "");
    for path in ["home", "home/.config", "home/.config/infissi", "home/.config/infissi/supervisor.toml"] {
        chown(shared.join(path), Some(ANN), Some(ANN)).unwrap();
    }
    dir
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn is_version_2(dir: &Path) -> bool {
    dir.join("cgroup.controllers").exists()
}

fn comm(pid: i32) -> String {
    proc::stat(pid).map(|stat| String::from_utf8_lossy(stat.comm()).into_owned()).unwrap_or_default()
}
