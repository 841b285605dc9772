//! Where things are: the configuration file, the supervisor's directories and its socket.
//!
//! | | root | a plain user |
//! |---|---|---|
//! | configuration | /etc/infissi/ | ~/.config/infissi/ |
//! | socket | /run/infissi/ | ~/.local/state/infissi/run/ |
//! | state, lock | /var/lib/infissi/ | ~/.local/state/infissi/ |
//! | logs | /var/log/infissi/ | ~/.local/state/infissi/logs/ |
//!
//! The template unit `infissi-supervisor@USER` is a plain user's with its socket in /run/infissi-USER/, by systemd's
//! RUNTIME_DIRECTORY.

use super::SupervisorConfig;
use super::mistake::Mistakes;
use super::parse::supervisor_only;
use super::sources::{Sources, others_may_write};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What any process may hold in `sun_path` beside the closing NUL, bytes (unix(7)).
const LONGEST_SOCKET: usize = 107;
const SOCKET: &str = "supervisor.sock";
const FILE: &str = "supervisor.toml";

/// Who looks, and from where.
pub struct Caller<'c> {
    /// The effective uid.
    pub uid: u32,
    /// Its name; without one there is no row of the template unit.
    pub user: Option<String>,
    /// By the user database rather than by HOME, which `su` and `sudo` may leave at another user's.
    pub home: Option<PathBuf>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The environment.
    pub env: &'c dyn Fn(&str) -> Option<OsString>,
}

/// A place that was looked at, and why it is not the one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    pub path: PathBuf,
    pub why: String,
}

/// A configuration file and what was passed over on the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub path: PathBuf,
    /// A `./supervisor.toml` that is there and not to be trusted, mostly nothing.
    pub passed_over: Vec<Tried>,
}

/// No configuration file is anywhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NoConfig {
    pub tried: Vec<Tried>,
}

impl fmt::Display for NoConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no configuration file")?;
        for Tried { path, why } in &self.tried {
            write!(f, "\n  {}: {why}", path.display())?;
        }
        f.write_str("\nwrite one (infissi-ctl init DIR prints a start) or name one with --config")
    }
}

/// The configuration file of infissi-supervisord: `option` (`--config`), `INFISSI_CONFIG`, `./supervisor.toml` where it is
/// the caller's own and nobody else may write it, systemd's directory, the table. What is named is not looked at.
///
/// # Errors
/// When none is named and none is there.
pub fn find(option: Option<&Path>, caller: &Caller<'_>) -> Result<Located, NoConfig> {
    if let Some(path) = option.map(Path::to_owned).or_else(|| caller.path_in("INFISSI_CONFIG")) {
        return Ok(Located { path, passed_over: Vec::new() });
    }
    let mut tried = Vec::new();
    let here = caller.cwd.join(FILE);
    match distrust(&here, caller.uid) {
        None => return Ok(Located { path: here, passed_over: tried }),
        Some(why) => tried.push(Tried { path: here, why }),
    }
    let systemd = caller.systemd("CONFIGURATION_DIRECTORY").map(|directory| directory.join(FILE));
    for path in systemd.into_iter().chain(caller.config_file()) {
        match path.metadata() {
            Ok(_) => {
                tried.retain(|tried| tried.path.exists());
                return Ok(Located { path, passed_over: tried });
            }
            Err(error) => tried.push(Tried { path, why: error.to_string() }),
        }
    }
    Err(NoConfig { tried })
}

/// Why a file in the working directory is not taken: anyone may leave one where others work.
fn distrust(path: &Path, uid: u32) -> Option<String> {
    match path.metadata() {
        Err(error) => Some(error.to_string()),
        Ok(about) if about.uid() != uid => {
            Some(format!("passed over, it belongs to uid {} and not to you", about.uid()))
        }
        Ok(about) if others_may_write(&about) => Some("passed over, others may write it (chmod go-w)".to_owned()),
        Ok(_) => None,
    }
}

/// The supervisor's directories, absolute where the configuration's path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Gone after a boot: the socket and what is meaningful only within this boot.
    pub runtime_dir: PathBuf,
    /// What survives: the lock, the state, the last applied configuration.
    pub state_dir: PathBuf,
    /// The default for the apps' logs.
    pub log_dir: PathBuf,
    /// In the runtime directory.
    pub socket: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacesError {
    #[error(
        "the socket's path {} is {} bytes long, and a socket's may be at most {LONGEST_SOCKET}: \
         name a shorter [supervisor] runtime_dir", .socket.display(), .socket.as_os_str().len()
    )]
    SocketTooLong { socket: PathBuf },
    #[error("this user has no home directory: name {key} in [supervisor]")]
    NoHome { key: &'static str },
}

impl Places {
    /// By the configuration's keys, else by systemd's directories, else by the table.
    ///
    /// # Errors
    /// A runtime directory too long for a socket; no home directory where the table needs one.
    pub fn resolve(config: &SupervisorConfig, caller: &Caller<'_>) -> Result<Places, PlacesError> {
        let table = caller.table();
        let place = |key, configured: &Option<PathBuf>, variable: &str, row: Option<PathBuf>| {
            let place = configured.clone().or_else(|| caller.systemd(variable)).or(row);
            place.ok_or(PlacesError::NoHome { key })
        };
        let row = |directory: fn(&Row) -> &PathBuf| table.as_ref().map(|row| directory(row).clone());
        let runtime_dir = place("runtime_dir", &config.runtime_dir, "RUNTIME_DIRECTORY", row(|row| &row.runtime_dir))?;
        let state_dir = place("state_dir", &config.state_dir, "STATE_DIRECTORY", row(|row| &row.state_dir))?;
        let log_dir = place("log_dir", &config.log_dir, "LOGS_DIRECTORY", row(|row| &row.log_dir))?;
        let socket = socket_in(&runtime_dir)?;
        Ok(Places { runtime_dir, state_dir, log_dir, socket })
    }

    /// With another runtime directory.
    ///
    /// # Errors
    /// It is too long for a socket.
    pub fn within(self, runtime_dir: PathBuf) -> Result<Places, PlacesError> {
        Ok(Places { socket: socket_in(&runtime_dir)?, runtime_dir, ..self })
    }
}

fn socket_in(runtime_dir: &Path) -> Result<PathBuf, PlacesError> {
    let socket = runtime_dir.join(SOCKET);
    match socket.as_os_str().len() > LONGEST_SOCKET {
        true => Err(PlacesError::SocketTooLong { socket }),
        false => Ok(socket),
    }
}

struct Row {
    runtime_dir: PathBuf,
    state_dir: PathBuf,
    log_dir: PathBuf,
}

impl Caller<'_> {
    /// Where the apps' logs are when no configuration says so; none without a home directory.
    pub fn log_dir(&self) -> Option<PathBuf> {
        self.systemd("LOGS_DIRECTORY").or_else(|| self.table().map(|row| row.log_dir))
    }

    fn path_in(&self, variable: &str) -> Option<PathBuf> {
        (self.env)(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// systemd separates several directories by colons (systemd.exec(5)); the first is ours.
    fn systemd(&self, variable: &str) -> Option<PathBuf> {
        let value = self.path_in(variable)?;
        let text = value.to_str()?;
        Some(PathBuf::from(text.split(':').next().unwrap_or(text)))
    }

    fn config_file(&self) -> Option<PathBuf> {
        match self.uid {
            0 => Some(Path::new("/etc/infissi").join(FILE)),
            _ => self.home.as_ref().map(|home| home.join(".config/infissi").join(FILE)),
        }
    }

    fn table(&self) -> Option<Row> {
        if self.uid == 0 {
            return Some(Row {
                runtime_dir: PathBuf::from("/run/infissi"),
                state_dir: PathBuf::from("/var/lib/infissi"),
                log_dir: PathBuf::from("/var/log/infissi"),
            });
        }
        let state_dir = self.home.as_ref()?.join(".local/state/infissi");
        Some(Row { runtime_dir: state_dir.join("run"), log_dir: state_dir.join("logs"), state_dir })
    }
}

/// A socket at which a supervisor may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketCandidate {
    pub socket: PathBuf,
    /// Where the path comes from, as said to a person: `--socket`, `the system's supervisor`.
    pub from: String,
}

/// The sockets that infissi-ctl tries, in order. `socket` is `--socket`, `config` is `--config`; what is named is the only
/// one.
///
/// # Errors
/// When a named configuration cannot be read.
pub fn sockets(
    socket: Option<&Path>,
    config: Option<&Path>,
    caller: &Caller<'_>,
) -> Result<Vec<SocketCandidate>, SocketsError> {
    let only = |socket: PathBuf, from: String| Ok(vec![SocketCandidate { socket, from }]);
    if let Some(socket) = socket {
        return only(socket.to_owned(), "--socket".to_owned());
    }
    // A named configuration goes before a variable that the shell happens to carry.
    if let Some(config) = config {
        return only(named_by(config, caller)?, format!("--config {}", config.display()));
    }
    if let Some(socket) = caller.path_in("INFISSI_SOCKET") {
        return only(socket, "INFISSI_SOCKET".to_owned());
    }
    if let Some(config) = caller.path_in("INFISSI_CONFIG") {
        return only(named_by(&config, caller)?, format!("INFISSI_CONFIG={}", config.display()));
    }
    let mut candidates: Vec<SocketCandidate> = Vec::new();
    let mut add = |runtime_dir: PathBuf, from: &str| {
        let socket = runtime_dir.join(SOCKET);
        if !candidates.iter().any(|known| known.socket == socket) {
            candidates.push(SocketCandidate { socket, from: from.to_owned() });
        }
    };
    let system = Path::new("/etc/infissi").join(FILE);
    add(runtime_dir_in(&system).unwrap_or_else(|| PathBuf::from("/run/infissi")), "the system's supervisor");
    if caller.uid != 0 {
        let own = caller.config_file().and_then(|file| runtime_dir_in(&file));
        if let Some(user) = &caller.user {
            add(PathBuf::from(format!("/run/infissi-{user}")), "your supervisor under systemd");
        }
        if let Some(runtime_dir) = own.or_else(|| caller.table().map(|row| row.runtime_dir)) {
            add(runtime_dir, "your own supervisor");
        }
    }
    let here = caller.cwd.join(FILE);
    if distrust(&here, caller.uid).is_none()
        && let Some(runtime_dir) = runtime_dir_in(&here)
    {
        add(runtime_dir, "./supervisor.toml");
    }
    Ok(candidates)
}

/// Why there is no socket to try.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    #[error(transparent)]
    Config(#[from] Mistakes),
    #[error(transparent)]
    Places(#[from] PlacesError),
}

fn named_by(config: &Path, caller: &Caller<'_>) -> Result<PathBuf, SocketsError> {
    let config = supervisor_only(&Sources::read(&caller.cwd.join(config))?);
    Ok(Places::resolve(&config, caller)?.socket)
}

/// The runtime directory that a file names, if it can be read and names one.
fn runtime_dir_in(config: &Path) -> Option<PathBuf> {
    supervisor_only(&Sources::read(config).ok()?).runtime_dir
}
