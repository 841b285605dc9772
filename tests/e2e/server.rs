//! A supervisor of the story's own: the real binary in a temporary directory, ended and looked after when the story is over.

use crate::machine::{
    Output, PATIENCE, POLL, PrivatePorts, Program, cgroups_of, command, copy_program, eventually, marked, now, signal,
};
use infissi::api::{Client, routes};
use infissi::linux::proc;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

const SUPERVISOR: &str = env!("CARGO_BIN_EXE_infissi-supervisord");
const CTL: &str = env!("CARGO_BIN_EXE_infissi-ctl");
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/demo");
/// The user without rights: `nobody` and `nogroup` on every Linux.
pub(crate) const NOBODY: u32 = 65534;
/// How long an orderly end may take before it is a fault of the supervisor.
const LAST_PATIENCE: Duration = Duration::from_secs(60);

/// The demo app by `npm start` on a port that it binds itself.
pub(crate) fn demo(name: &str, port: u16, more: &str) -> String {
    format!(
        "[apps.{name}]\ncommand = \"npm start\"\ncwd = \"demo\"\nport = {port}\nproxy = \"off\"\nhealth = {{ http = \"/api/health\" }}\n{more}\n"
    )
}

pub(crate) struct Server {
    dir: TempDir,
    setup: Setup,
    private_ports: PrivatePorts,
    child: Option<Child>,
    /// Where it is not the one that was built.
    program: Option<PathBuf>,
    /// The proxy worker of a supervisor that was killed.
    worker: Option<i32>,
}

/// What is not as usual.
#[derive(Default)]
pub(crate) struct Setup {
    /// Lines of `[supervisor]`.
    keys: String,
    /// Whose supervisor it is: none is ours.
    uid: Option<u32>,
    env: Vec<(String, String)>,
    /// Files beside the configuration.
    files: Vec<(String, String)>,
    /// What a shell does before it becomes the supervisor.
    shell: Option<String>,
}

impl Setup {
    #[must_use]
    pub(crate) fn keys(mut self, keys: &str) -> Setup {
        self.keys = format!("{keys}\n");
        self
    }

    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub(crate) fn file(mut self, path: &str, text: &str) -> Setup {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    #[must_use]
    pub(crate) fn shell(mut self, before: &str) -> Setup {
        self.shell = Some(before.to_owned());
        self
    }

    /// The whole supervisor runs as `nobody`: no cgroups, no other users.
    #[must_use]
    pub(crate) fn by_nobody(mut self) -> Setup {
        self.uid = Some(NOBODY);
        self
    }

    /// The directory with a configuration and the demo app, nothing started yet.
    pub(crate) fn prepare(self, apps: &str) -> Server {
        let dir = tempfile::Builder::new().prefix("infissi-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let private_ports = PrivatePorts::take();
        let mut server = Server { dir, setup: self, private_ports, child: None, program: None, worker: None };
        let demo = server.path("demo");
        fs::create_dir(&demo).unwrap();
        for file in fs::read_dir(DEMO).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
            fs::copy(file.path(), demo.join(file.file_name())).unwrap();
        }
        for (path, text) in &server.setup.files {
            server.write(path, text);
        }
        server.configure(apps);
        if let Some(uid) = server.setup.uid {
            // The checkout may be where this user cannot go.
            server.update();
            for path in [server.path(""), demo.clone(), server.path("supervisor.toml")] {
                chown(path, Some(uid), Some(uid)).unwrap();
            }
            for (file, _) in &server.setup.files {
                for path in server.path(file).ancestors().take_while(|path| *path != server.dir.path()) {
                    chown(path, Some(uid), Some(uid)).unwrap();
                }
            }
        }
        server
    }

    pub(crate) fn start(self, apps: &str) -> Server {
        let mut server = self.prepare(apps);
        server.run();
        server
    }
}

impl Server {
    /// A supervisor with these `[apps.…]`, `[defaults]`, ready to answer.
    pub(crate) fn start(apps: &str) -> Server {
        Setup::default().start(apps)
    }

    /// A path in the story's directory; the configuration's relative paths begin there, too.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Writes the configuration; nothing else happens.
    pub(crate) fn configure(&self, apps: &str) {
        let keys = &self.setup.keys;
        let directories = [("runtime_dir", "run"), ("state_dir", "state"), ("log_dir", "logs")];
        let directories = directories.iter().filter(|(key, _)| !keys.contains(key));
        let directories: String = directories.map(|(key, dir)| format!("{key} = \"{dir}\"\n")).collect();
        let log = if keys.contains("log =") { "" } else { "log = { level = \"debug\" }\n" };
        let ports = match keys.contains("port_range") {
            true => String::new(),
            false => format!("port_range = \"{}\"\n", self.private_ports.range()),
        };
        self.write("supervisor.toml", &format!("[supervisor]\n{directories}{log}{ports}{keys}\n{apps}"));
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The next supervisor is another file of the same version, which takes the place of one that may run.
    pub(crate) fn update(&mut self) {
        let (program, new) = (self.path("infissi-supervisord"), self.path("infissi-supervisord.new"));
        copy_program(SUPERVISOR, &new);
        fs::rename(new, &program).unwrap();
        self.program = Some(program);
    }

    /// Starts a supervisor on what is there and waits until it answers.
    #[track_caller]
    pub(crate) fn run(&mut self) {
        self.begin();
        let until = now() + PATIENCE;
        while self.try_get(routes::SUPERVISOR).is_none() {
            let over = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(over.is_none() && now() < until, "the supervisor did not start ({over:?}):\n{}", self.own_log());
            sleep(POLL);
        }
    }

    /// Starts a supervisor and waits for nothing.
    pub(crate) fn begin(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("supervisor.log")).unwrap();
        let mut supervisor = self.supervisor_command();
        supervisor.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(supervisor.spawn().unwrap());
    }

    /// A supervisor that is expected to end by itself.
    #[track_caller]
    pub(crate) fn supervisor(&self, arguments: &[&str]) -> Output {
        Program::start(self.supervisor_command().args(arguments)).end()
    }

    fn supervisor_command(&self) -> Command {
        let program = self.program.as_deref().unwrap_or(Path::new(SUPERVISOR));
        let mut supervisor = match &self.setup.shell {
            Some(before) => {
                let mut shell = command("sh");
                shell.args(["-c", &format!("{before}\nexec \"$0\" \"$@\"")]).arg(program);
                shell
            }
            None => command(program),
        };
        if let Some(uid) = self.setup.uid {
            supervisor.uid(uid).gid(uid);
        }
        supervisor.arg("--config").arg(self.path("supervisor.toml")).current_dir(self.dir.path());
        for name in ["INFISSI_CONFIG", "INFISSI_SOCKET", "NOTIFY_SOCKET", "NO_COLOR"] {
            supervisor.env_remove(name);
        }
        supervisor.envs(self.setup.env.iter().map(|(name, value)| (name, value)));
        supervisor
    }

    pub(crate) fn supervisor_pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    /// Its exit code, once it has ended by itself.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> i32 {
        let mut child = self.child.take().unwrap();
        let mut status = None;
        let ended = eventually(|| {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        if !ended {
            self.child = Some(child);
            self.fail("the supervisor to end");
        }
        status.unwrap().code().unwrap_or(-1)
    }

    /// `kill -9`.
    pub(crate) fn kill_supervisor(&mut self) {
        self.worker = self.worker();
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/supervisor.sock")
    }

    /// `infissi-ctl` of this supervisor, with these words.
    pub(crate) fn ctl_command(&self, words: &[&str]) -> Command {
        let mut ctl = command(CTL);
        ctl.arg("--socket").arg(self.socket()).args(words).current_dir(self.dir.path());
        for name in ["INFISSI_CONFIG", "INFISSI_SOCKET"] {
            ctl.env_remove(name);
        }
        ctl
    }

    #[track_caller]
    pub(crate) fn ctl(&self, words: &[&str]) -> Output {
        Program::start(&mut self.ctl_command(words)).end()
    }

    /// What `--json` gives for these words.
    #[track_caller]
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(words);
        self.ctl(&all).json()
    }

    /// A program of ours that goes on beside the story, as `logs -f`.
    pub(crate) fn follow(&self, words: &[&str]) -> Program {
        Program::start(&mut self.ctl_command(words))
    }

    fn try_get(&self, path: &str) -> Option<Value> {
        Client::new(self.socket()).ok()?.get(path).ok()
    }

    /// The pid of the proxy worker, if there is one.
    pub(crate) fn worker(&self) -> Option<i32> {
        let pid = self.try_get(routes::SUPERVISOR)?["worker"]["pid"].as_i64()?;
        i32::try_from(pid).ok()
    }

    /// What the socket answers.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        let client = Client::new(self.socket());
        let answer = client.and_then(|mut client| client.get(path));
        answer.unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.own_log()))
    }

    /// The row of `list`.
    #[track_caller]
    pub(crate) fn app(&self, name: &str) -> Value {
        let apps = self.get(routes::APPS);
        apps.as_array().unwrap().iter().find(|app| app["name"] == name).cloned().unwrap_or(Value::Null)
    }

    #[track_caller]
    pub(crate) fn show(&self, name: &str) -> Value {
        self.get(&routes::app(name))
    }

    #[track_caller]
    pub(crate) fn status(&self, name: &str) -> String {
        self.app(name)["status"].as_str().unwrap_or("absent").to_owned()
    }

    #[track_caller]
    pub(crate) fn pid(&self, name: &str) -> i32 {
        let app = self.app(name);
        let pid = app["pid"].as_i64().unwrap_or_else(|| panic!("{name} does not run: {app:#}"));
        i32::try_from(pid).unwrap()
    }

    /// The pids of the app's tree.
    #[track_caller]
    pub(crate) fn tree(&self, name: &str) -> Vec<(i32, String)> {
        let shown = self.show(name);
        let row = |row: &Value| {
            let pid = i32::try_from(row["pid"].as_i64().unwrap()).unwrap();
            (pid, row["command"].as_str().unwrap().to_owned())
        };
        shown["processes"].as_array().unwrap().iter().map(row).collect()
    }

    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let events = self.json(&["events"]);
        events.as_array().unwrap().clone()
    }

    /// The events of one kind about one app.
    #[track_caller]
    pub(crate) fn events_of(&self, app: &str, kind: &str) -> Vec<Value> {
        let mut events = self.events();
        events.retain(|event| event["app"] == app && event["kind"] == kind);
        events
    }

    /// The text of a log file: `web-combined.log`.
    pub(crate) fn log(&self, file: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.log_dir().join(file)).unwrap_or_default()).into_owned()
    }

    /// The lines of a file that an app writes beside the configuration.
    pub(crate) fn lines_of(&self, file: &str) -> usize {
        fs::read_to_string(self.path(file)).unwrap_or_default().lines().count()
    }

    pub(crate) fn own_log(&self) -> String {
        fs::read_to_string(self.path("supervisor.log")).unwrap_or_default()
    }

    pub(crate) fn has_warned(&self, of: &str) -> bool {
        self.own_log().lines().any(|line| line.contains(" WARN ") && line.contains(of))
    }

    /// Waits; when it does not come about, shows what there is instead.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl FnMut() -> bool) {
        if !eventually(condition) {
            self.fail(what);
        }
    }

    /// Waits for something to be there, and gives it.
    #[track_caller]
    pub(crate) fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let mut found = None;
        self.wait_until(what, || {
            found = look();
            found.is_some()
        });
        found.unwrap()
    }

    /// Why the app is in this status. While it is tried again there is none for a moment.
    #[track_caller]
    pub(crate) fn wait_reason(&self, name: &str, status: &str) -> String {
        let there = |app: &Value| app["status"] == status && app["reason"].is_string();
        let app = self.wait_for(&format!("{name} to be {status}"), || Some(self.app(name)).filter(there));
        app["reason"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn wait_status(&self, name: &str, status: &str) {
        self.wait_until(&format!("{name} to be {status}"), || self.status(name) == status);
    }

    /// Waits until the app is online with another process than this one.
    #[track_caller]
    pub(crate) fn wait_for_another(&self, name: &str, pid: i32) -> i32 {
        let online = |app: &Value| app["status"] == "online" && app["pid"] != pid;
        let app =
            self.wait_for(&format!("{name} to be online after pid {pid}"), || Some(self.app(name)).filter(online));
        i32::try_from(app["pid"].as_i64().unwrap()).unwrap()
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        let apps = self.try_get(routes::APPS).map(|apps| format!("{apps:#}")).unwrap_or_default();
        let log = self.own_log();
        let last = log.lines().count().saturating_sub(80);
        let last: Vec<&str> = log.lines().skip(last).collect();
        panic!("waited in vain for {what}\n--- apps\n{apps}\n--- the supervisor's log\n{}", last.join("\n"));
    }

    /// `infissi-ctl` as another user of the machine, in these groups.
    #[track_caller]
    pub(crate) fn ctl_as(&self, uid: u32, groups: &[u32], words: &[&str]) -> Output {
        Program::start(&mut self.ctl_command_as(uid, groups, words)).end()
    }

    pub(crate) fn ctl_command_as(&self, uid: u32, groups: &[u32], words: &[&str]) -> Command {
        let ctl = self.path("infissi-ctl");
        if !ctl.exists() {
            // The checkout may be where this user cannot go.
            copy_program(CTL, &ctl);
        }
        let mut setpriv = command("setpriv");
        setpriv.args([format!("--reuid={uid}"), format!("--regid={uid}")]);
        match groups {
            [] => setpriv.arg("--clear-groups"),
            groups => {
                setpriv.arg(format!("--groups={}", groups.iter().map(u32::to_string).collect::<Vec<_>>().join(",")))
            }
        };
        setpriv.arg(ctl).arg("--socket").arg(self.socket()).args(words);
        setpriv
    }

    /// Where a key of `[supervisor]` says, else where every story has it.
    fn place(&self, key: &str, usual: &str) -> PathBuf {
        let said =
            self.setup.keys.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'));
        self.path(said.unwrap_or(usual))
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.place("state_dir", "state")
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.place("log_dir", "logs")
    }

    /// Names the state directory in the mark of every process.
    pub(crate) fn state_id(&self) -> String {
        let state = fs::read_to_string(self.state_dir().join("state.json")).unwrap_or_default();
        let state: Value = serde_json::from_str(&state).unwrap_or_default();
        state["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Ends the supervisor as systemd would; whether it did so in time.
    fn stop(&mut self) -> bool {
        let Some(mut child) = self.child.take() else { return true };
        if child.try_wait().unwrap().is_none() {
            signal(i32::try_from(child.id()).unwrap(), Signal::SIGTERM);
        }
        let until = now() + LAST_PATIENCE;
        while now() < until {
            if child.try_wait().unwrap().is_some() {
                return true;
            }
            sleep(POLL);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }
}

impl Drop for Server {
    /// Every story ends with this: an orderly end leaves nothing behind.
    fn drop(&mut self) {
        let id = self.state_id();
        // Of a supervisor that was killed and had no successor, it is the story's to end.
        let (orderly, worker) = (self.child.is_some(), self.worker().or(self.worker));
        let in_time = self.stop();
        let mut left = if id.is_empty() { Vec::new() } else { marked(&id) };
        let worker = worker.map(|pid| (pid, proc::command(pid, 200)));
        let worker = worker.filter(|(_, command)| command.ends_with(" proxy"));
        left.extend(worker);
        for (pid, _) in &left {
            // Gone by now: so much the better.
            let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), Signal::SIGKILL);
        }
        if !std::thread::panicking() {
            assert!(in_time, "the supervisor did not end on SIGTERM:\n{}", self.own_log());
            assert!(left.is_empty() || !orderly, "left behind: {left:#?}\n{}", self.own_log());
            let cgroups = if id.is_empty() { Vec::new() } else { cgroups_of(&id) };
            assert!(cgroups.is_empty(), "left behind: {cgroups:?}\n{}", self.own_log());
        }
    }
}
