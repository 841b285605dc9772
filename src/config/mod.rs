//! `supervisor.toml` → [`Config`], valid by construction; every mistake with its key and line.

mod addresses;
mod app;
mod app_table;
mod backup_table;
mod claims;
mod command;
mod cron;
mod dependencies;
mod deploy_table;
mod diff;
mod dotenv;
mod doubles;
mod health_table;
mod include;
mod init;
mod keys;
mod locate;
mod logs_table;
mod mistake;
mod notes;
mod parse;
mod pattern;
mod proxy_table;
mod release_of;
mod signals;
mod sources;
mod supervisor_table;
mod table;
pub mod units;
mod values;

pub use app::{
    AppConfig, Autorestart, Backoff, BackupConfig, DeployConfig, DrainConfig, EnvFile, HealthConfig, LimitsConfig,
    LogFormat, LogsConfig, Network, ProbeKind, ProxyConfig, ReleaseOf, SharedPath, StatusRange, Strategy,
};
pub use cron::Cron;
pub use diff::{Diff, diff};
pub use dotenv::{DotenvError, parse_dotenv};
pub use init::{InitError, init, own_port};
pub use locate::{Caller, Located, NoConfig, Places, PlacesError, SocketCandidate, SocketsError, Tried, find, sockets};
pub use mistake::{Mistake, Mistakes};
pub use parse::{Facts, Parsed, parse, supervisor_only};
pub use pattern::{Pattern, PatternError, Reached};
pub use sources::Sources;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole valid configuration: the apps in the order of their files.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub supervisor: SupervisorConfig,
    pub apps: Vec<Arc<AppConfig>>,
}

/// `port_range` where it is not set: below the ports that the kernel gives to clients (ip(7), ip_local_port_range).
pub const PORT_RANGE: RangeInclusive<u16> = 21_000..=21_999;

/// `[supervisor]`. Paths are absolute; none where the key is absent and the place decides.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisorConfig {
    pub runtime_dir: Option<PathBuf>,
    pub state_dir: Option<PathBuf>,
    pub log_dir: Option<PathBuf>,
    /// Private loopback ports of instances behind the proxy.
    pub port_range: RangeInclusive<u16>,
    pub control: ControlConfig,
    /// Where `/metrics` is also served over TCP: an address and port.
    pub metrics: Option<std::net::SocketAddr>,
    /// Caps everything at shutdown.
    pub shutdown_timeout: Duration,
    pub log: OwnLogConfig,
}

/// Who may look and who may change, beside root, the supervisor's own user and an app's own user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlConfig {
    /// Members may look.
    pub group: Option<String>,
    /// Users, or groups as `@name`, who may change.
    pub admins: Vec<String>,
}

/// The supervisor's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnLogConfig {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    pub format: LogFormat,
}

impl Config {
    /// The app of that name or alias.
    pub fn app(&self, name: &str) -> Option<&Arc<AppConfig>> {
        self.apps.iter().find(|app| app.name == name || app.aliases.iter().any(|alias| alias == name))
    }
}
