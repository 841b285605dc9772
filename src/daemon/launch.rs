//! From an app's configuration to a process: whose it is, what it finds, where it lives; every refusal in words.

use super::children::Children;
use super::environment::{DEPLOYMENT_ID, InstanceName, command_line, environment};
use super::kept_pipes;
use super::private_ports::PrivatePorts;
use super::run_records::{RunRecord, RunRecords};
use super::runs::{Run, RunPort};
use super::service_manager::ServiceManager;
use super::users::Users;
use crate::api::Slot;
use crate::config::{AppConfig, parse_dotenv};
use crate::linux::cgroup::{Cgroup, Cgroups, NoCgroups};
use crate::linux::failpoint;
use crate::linux::identity::{Identity, read_file_as};
use crate::linux::limits::Nofile;
use crate::linux::pipe::OutputPipe;
use crate::linux::ports::{self, Holder};
use crate::linux::proc::{MARK, ProcessId};
use crate::linux::spawn::Launch;
use crate::linux::tree::Tree;
use crate::supervisor::{Release, RunId, SpawnRefusal};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use tracing::warn;

/// A larger `env_file` is a mistake, bytes.
const LARGEST_ENV_FILE: u64 = 1 << 20;
/// The app's part of a cgroup's name, characters.
const LONGEST_NAME: usize = 40;

/// What every launch needs of the supervisor.
pub(super) struct Launcher {
    /// Names the state directory in the mark of every process.
    pub state_id: String,
    /// Or why they cannot be made.
    pub cgroups: Result<Arc<Cgroups>, NoCgroups>,
    /// The limit of descriptors that apps get.
    pub nofile: Option<Nofile>,
    pub users: Users,
    pub children: Children,
    pub ports: Arc<PrivatePorts>,
    pub records: RunRecords,
    pub manager: Arc<ServiceManager>,
}

/// One launch.
pub(super) struct Order {
    pub run: RunId,
    pub app: Arc<AppConfig>,
    pub slot: Slot,
    pub index: u16,
    pub release: Option<Release>,
    /// The private ports to choose from, for an app behind the proxy.
    pub port_range: RangeInclusive<u16>,
}

/// A process that runs.
pub(super) struct Landing {
    pub run: Run,
    /// Becomes readable when the leader has ended.
    pub pidfd: OwnedFd,
}

/// As whom, with what and where a command of an app runs.
pub(super) struct Setting {
    pub user: Identity,
    pub env: BTreeMap<OsString, OsString>,
    pub cwd: PathBuf,
}

impl Launcher {
    /// Starts the process of an instance; `take_output` gets its user and the read ends of its stdout and stderr. May
    /// block on a hung disk.
    ///
    /// # Errors
    /// Why there is no process.
    pub(super) fn launch(
        &self,
        order: &Order,
        take_output: impl FnOnce(&Identity, [OwnedFd; 2]),
    ) -> Result<Landing, SpawnRefusal> {
        let failed = |reason: String| SpawnRefusal::Failed { reason };
        let port = self.port(order)?;
        failpoint::here("launch.port");
        let instance = InstanceName {
            app: &order.app,
            slot: order.slot,
            index: order.index,
            port: port.as_ref().map(RunPort::number),
            release: order.release.as_ref(),
        };
        let mark = format!("{}.{}", self.state_id, order.run);
        let setting = self.setting(instance, &mark).map_err(failed)?;
        let owner = Some((setting.user.uid, setting.user.gid));
        let pipe = |what: &str| OutputPipe::new(owner).map_err(|error| failed(format!("cannot make {what}: {error}")));
        let (out, err) = (pipe("the pipe for its output")?, pipe("the pipe for its errors")?);
        let cgroup = self.cgroup(order);
        let deployment = setting.env.get(OsStr::new(DEPLOYMENT_ID)).map(|id| id.to_string_lossy().into_owned());
        let spawned = super::clock::now().mono;
        let mut record = RunRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            made_by: Some(order.app.fingerprint()),
            run: order.run.0,
            app: order.app.name.clone(),
            slot: order.slot,
            index: order.index,
            pid: 0,
            start_time: 0,
            cgroup: cgroup.as_ref().map(|cgroup| cgroup.path().to_owned()),
            pipes: [out.inode, err.inode],
            port: port.as_ref().map(RunPort::record),
            deployment: deployment.clone(),
            release: order.release.clone(),
            spawned,
        };
        let what = Launch {
            command: command_line(instance, &order.app.command),
            cwd: setting.cwd,
            env: setting.env.into_iter().collect(),
            identity: self.users.becomes(setting.user.clone()),
            called: None,
            stdin: None,
            stdout: out.write,
            stderr: err.write,
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
            nofile: self.nofile,
        };
        failpoint::here("launch.prepared");
        let launched = self.children.launch_noted(what, |launched| {
            (record.pid, record.start_time) = (launched.pid, launched.start_time);
            if let Err(error) = self.records.note(&record) {
                warn!("{} will not outlive this supervisor: it cannot be noted: {error}", order.app.name);
            }
            kept_pipes::keep(&self.manager, order.run, &order.app.name, [&out.read, &err.read]);
        });
        let launched = launched.map_err(|error| {
            self.records.forget(order.run);
            kept_pipes::let_go(&self.manager, order.run, &order.app.name);
            if let Some(cgroup) = &cgroup {
                let _removed = cgroup.remove();
            }
            failed(sentence(&error))
        })?;
        failpoint::here("launch.landed");
        take_output(&setting.user, [out.read, err.read]);
        failpoint::here("launch.attached");
        let leader = ProcessId { pid: launched.pid, start_time: launched.start_time };
        let tree = Tree::new(leader, mark, cgroup).with_pipes([out.inode, err.inode]);
        let run = Run::new(order.run, &order.app.name, (order.slot, order.index), tree, spawned);
        Ok(Landing { run: run.told(port, deployment, order.release.clone()), pidfd: launched.pidfd })
    }

    /// Where the instance is to listen: a private port behind the proxy, else the app's own, which has to be free.
    fn port(&self, order: &Order) -> Result<Option<RunPort>, SpawnRefusal> {
        if order.app.proxy.is_some() {
            let port = self.ports.take(&order.port_range).map_err(|reason| SpawnRefusal::Failed { reason })?;
            return Ok(Some(RunPort::Private(port)));
        }
        let Some(port) = order.app.port else { return Ok(None) };
        if !ports::is_free(port) {
            return Err(SpawnRefusal::PortHeld { holder: held(port) });
        }
        Ok(Some(RunPort::Public(port)))
    }

    /// What an app's process, probe or `exec` runs with.
    ///
    /// # Errors
    /// A fact of the machine that is against it, as a sentence.
    pub(super) fn setting(&self, instance: InstanceName<'_>, mark: &str) -> Result<Setting, String> {
        let released = instance.release.map(|release| instance.app.in_release(&release.dir));
        let app = released.as_ref().unwrap_or(instance.app);
        let user = self.users.find(app)?;
        let env_file = self.env_file(app, &user)?;
        let instance = InstanceName { app, ..instance };
        let mut env = environment(instance, &user, &|name| std::env::var_os(name), env_file);
        env.insert(OsString::from(MARK), OsString::from(mark));
        Ok(Setting { user, env, cwd: app.cwd.clone() })
    }

    /// A cgroup of its own, with its memory cap. An app runs without one rather than not at all.
    fn cgroup(&self, order: &Order) -> Option<Cgroup> {
        let name: String = order.app.name.chars().take(LONGEST_NAME).collect();
        let name = format!("{name}.{}.{}.{}", order.slot, order.index, order.run);
        let cgroups = self.cgroups.as_ref().ok()?;
        let made = cgroups.create(&name);
        let cgroup = made.inspect_err(|error| warn!("{name} runs without a cgroup: {error}")).ok()?;
        if let Some(max) = order.app.memory_max {
            let not = |why: String| warn!("{}: memory_max is not in force: {why}", order.app.name);
            match cgroups.memory() {
                Ok(()) => cgroup.set_memory_max(max).unwrap_or_else(|error| not(error.to_string())),
                Err(why) => not(why.to_string()),
            }
        }
        Some(cgroup)
    }

    /// Why `memory_max` is of no effect here, if it is of none.
    pub(super) fn no_memory_max(&self) -> Option<String> {
        match &self.cgroups {
            Ok(cgroups) => cgroups.memory().err().map(ToString::to_string),
            Err(why) => Some(why.to_string()),
        }
    }

    fn env_file(&self, app: &AppConfig, user: &Identity) -> Result<Vec<(String, String)>, String> {
        let Some(file) = &app.env_file else { return Ok(Vec::new()) };
        let path = file.path.display();
        match read_file_as(user, &file.path, LARGEST_ENV_FILE) {
            Ok(text) => parse_dotenv(&text).map_err(|error| format!("env_file {path}: {error}")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.optional => Ok(Vec::new()),
            Err(error) => Err(format!("cannot read env_file {path}: {error}")),
        }
    }
}

/// `port 3000 is held by pid 812 (node server.js)`
pub(super) fn held(port: u16) -> String {
    let holders = ports::holders(port);
    let Some(holder) = holders.first() else {
        return format!("port {port} is held by somebody who cannot be seen from here");
    };
    format!("port {port} is held by {}", who(holder))
}

pub(super) fn who(holder: &Holder) -> String {
    match &holder.process {
        Some((pid, command)) => format!("pid {pid} ({command})"),
        None => format!("a process of {}", crate::linux::peer::user_name(holder.uid).unwrap_or(holder.uid.to_string())),
    }
}

/// An error and its causes, each once.
pub(super) fn sentence(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        cause = error.source();
    }
    said
}
