//! One app of the configuration, every default filled in.

use super::cron::Cron;
use super::pattern::Pattern;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `[apps.NAME]`, with `[defaults]` and the built-in defaults merged in.
#[derive(Clone, PartialEq)]
pub struct AppConfig {
    pub name: String,
    pub aliases: Vec<String>,
    /// The argument vector, `{port}` and its like not yet put in. Never empty.
    pub command: Vec<String>,
    /// Absolute; with `deploy` or `release_of`, below [`AppConfig::live`] unless written absolute: beside `deploy`, that is
    /// where the app runs until it has a release.
    pub cwd: PathBuf,
    /// As written, or the owner of a file that root reads and does not own; when absent and the supervisor is root, the
    /// owner of `cwd`.
    pub user: Option<String>,
    /// Put before PATH. Absolute.
    pub path: Vec<PathBuf>,
    /// Never PORT, HOST, HOSTNAME or INFISSI_…, which the supervisor sets.
    pub env: BTreeMap<String, String>,
    pub env_file: Option<EnvFile>,
    pub inherit_env: Vec<String>,
    /// The public port; without it the app is a worker.
    pub port: Option<u16>,
    /// None: the app binds its port itself, or has none.
    pub proxy: Option<ProxyConfig>,
    pub instances: u16,
    pub autostart: bool,
    pub autorestart: Autorestart,
    pub stop_exit_codes: Vec<i32>,
    /// Names of other apps of the configuration (their aliases resolved), without cycles.
    pub depends_on: Vec<String>,
    /// Never beside `port` or `deploy`.
    pub release_of: Option<ReleaseOf>,
    /// A job: runs at these times, exit 0 is done.
    pub schedule: Option<Cron>,
    /// How long one run of a job may take.
    pub timeout: Option<Duration>,
    pub cron_restart: Option<Cron>,
    /// Bytes; the whole process tree.
    pub max_memory_restart: Option<u64>,
    /// Bytes; a hard cap by cgroup.
    pub memory_max: Option<u64>,
    /// The signal's number.
    pub stop_signal: i32,
    pub kill_timeout: Duration,
    pub min_uptime: Duration,
    /// Unplanned restarts in a row before it gives up; 0: never.
    pub max_restarts: u32,
    pub backoff: Backoff,
    pub health: HealthConfig,
    pub logs: LogsConfig,
    pub deploy: Option<DeployConfig>,
    pub backup: Option<BackupConfig>,
}

/// The name alone: the supervisor's log tells with which app a thing happens, and its environment is a secret.
impl fmt::Debug for AppConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)
    }
}

/// How the public reaches an app through the proxy worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// The public addresses, never empty; `[::]` takes IPv4 too.
    pub listen: Vec<SocketAddr>,
    pub strategy: Strategy,
    /// How long requests wait while nothing can answer.
    pub hold: Duration,
    /// Clients whose X-Forwarded headers are believed.
    pub trusted_proxies: Vec<Network>,
    pub limits: LimitsConfig,
    pub drain: DrainConfig,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The new slot is healthy before the old one ends.
    BlueGreen,
    /// For what cannot run twice at one time.
    StopFirst,
}

/// `127.0.0.0/8` or `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub address: IpAddr,
    /// Bits that count, 0 to 32 or 128.
    pub prefix: u8,
}

/// `limits`: towards clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsConfig {
    pub connections: u32,
    pub header_timeout: Duration,
    /// Bytes.
    pub head: u32,
    pub idle: Duration,
}

/// `[apps.NAME.drain]`: how long what an old instance has claimed may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainConfig {
    pub requests: Duration,
    /// WebSockets, other upgrades and event streams.
    pub upgrades: Duration,
}

/// `[apps.NAME.deploy]`: where the releases are, what they are made from, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeployConfig {
    /// Absolute; `releases/ID` stand below it.
    pub root: PathBuf,
    /// As git takes it; a local directory is absolute.
    pub repo: Option<String>,
    /// None: the one that the repository itself is on.
    pub branch: Option<String>,
    pub shared: Vec<SharedPath>,
    /// Argument vectors, none of them empty; none: what the lock file in the release says.
    pub steps: Option<Vec<Vec<String>>>,
    /// After the steps, as the last.
    pub migrate: Vec<Vec<String>>,
    /// Directories within a release whose files the next ones go on serving.
    pub bridge: Vec<PathBuf>,
    /// How many good releases stay on the disk, the active one among them.
    pub keep: u32,
    /// How long the old slot is kept after a swap to another release.
    pub warm: Duration,
    /// Bytes that have to be free before anything is begun.
    pub min_free: u64,
    /// Is a backup made before each deploy? Then the app has a [`BackupConfig`].
    pub backup: bool,
}

/// The app from whose active release another one runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseOf {
    /// Its name (its alias resolved): another app of the configuration, one with `deploy`.
    pub app: String,
    /// Absolute: the root of its releases.
    pub root: PathBuf,
}

/// A path that all releases share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedPath {
    /// Within the release.
    pub path: PathBuf,
    /// Where it leads. Absolute.
    pub target: PathBuf,
}

/// `[apps.NAME.backup]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupConfig {
    /// Absolute: where the backups go.
    pub dir: PathBuf,
    /// What `include` and `exclude` are relative to: the app's cwd, or the root of its deploys, for a release comes and
    /// goes.
    pub base: PathBuf,
    /// Never empty.
    pub include: Vec<Pattern>,
    pub exclude: Vec<Pattern>,
    /// Argument vectors, `{out}` not yet put in.
    pub before: Vec<Vec<String>>,
    /// At least 1.
    pub keep: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFile {
    /// Absolute.
    pub path: PathBuf,
    /// Written with `?` at its end: it may be missing.
    pub optional: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autorestart {
    Always,
    /// Only after an exit that is not 0 and not in `stop_exit_codes`.
    OnFailure,
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub initial: Duration,
    pub max: Duration,
}

/// `[apps.NAME.health]`. Without the table, `probe` is `None`: online when its own tree accepts on its port,
/// a worker when it has run for a second.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthConfig {
    pub probe: Option<ProbeKind>,
    pub interval: Duration,
    pub timeout: Duration,
    pub start_timeout: Duration,
    /// Good probes in a row before it is online, or healthy again.
    pub healthy: u32,
    /// Bad probes in a row before it is unhealthy.
    pub unhealthy: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    Http {
        /// The path with its query, `/api/health`.
        path: String,
        expect_status: StatusRange,
        /// A part that the body must contain.
        expect_body: Option<String>,
        headers: BTreeMap<String, String>,
    },
    Tcp,
    Command(Vec<String>),
}

/// `"200-299"` or `"204"`: HTTP statuses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRange {
    pub first: u16,
    pub last: u16,
}

/// `[apps.NAME.logs]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogsConfig {
    /// As written, relative to the supervisor's log directory; none is that directory itself.
    pub dir: Option<PathBuf>,
    /// `NAME-combined.log`, `NAME-out.log`, `NAME-error.log`; the app's name by default.
    pub name: String,
    pub timestamps: bool,
    pub format: LogFormat,
    /// Bytes; a file is rotated before it would grow beyond.
    pub max_size: u64,
    /// Rotated files kept of each.
    pub keep: u32,
    pub compress: bool,
    /// Bytes; all files of the app together.
    pub max_total: u64,
    pub daily: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// In a root: the link to the active release.
pub(super) fn live_in(root: &Path) -> PathBuf {
    root.join("live")
}

impl DeployConfig {
    /// The link to the active release.
    pub fn live(&self) -> PathBuf {
        live_in(&self.root)
    }

    /// The directory of all releases.
    pub fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }
}

impl AppConfig {
    /// Is a restart a rollover to the other slot?
    pub fn rolls_over(&self) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.strategy == Strategy::BlueGreen)
    }

    /// Where the releases are that it runs from, its own or those of another app.
    pub fn release_root(&self) -> Option<&Path> {
        let own = self.deploy.as_ref().map(|deploy| deploy.root.as_path());
        own.or_else(|| self.release_of.as_ref().map(|of| of.root.as_path()))
    }

    /// The link to the release that it runs from.
    pub fn live(&self) -> Option<PathBuf> {
        self.release_root().map(live_in)
    }

    /// The directory in which it runs as long as it has no release: a `cwd` that does not lead into one.
    pub fn plain_dir(&self) -> Option<&Path> {
        let deploy = self.deploy.as_ref()?;
        Some(self.cwd.as_path()).filter(|cwd| !cwd.starts_with(live_in(&deploy.root)))
    }

    /// As it is in that release: where its paths lead through the link to the active one, or into the directory that
    /// it ran in before it had any, they lead into this one.
    #[must_use]
    pub fn in_release(&self, release: &Path) -> AppConfig {
        let live = self.live();
        let within = |path: &Path| {
            let from = [live.as_deref(), self.plain_dir()];
            from.into_iter().flatten().find_map(|from| path.strip_prefix(from).ok().map(Path::to_owned))
        };
        let moved = |path: &PathBuf| match within(path) {
            Some(within) => release.join(within).components().collect(),
            None => path.clone(),
        };
        let env_file = self.env_file.as_ref().map(|file| EnvFile { path: moved(&file.path), optional: file.optional });
        AppConfig { cwd: moved(&self.cwd), path: self.path.iter().map(moved).collect(), env_file, ..self.clone() }
    }

    /// Does its process come and go by a schedule?
    pub fn is_job(&self) -> bool {
        self.schedule.is_some()
    }
}
