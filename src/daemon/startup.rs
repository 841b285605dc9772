//! From a command line to a running loop, and the way out.

use super::apply::{Loaded, load, parse_sources};
use super::arguments::Arguments;
use super::children::Children;
use super::events::Events;
use super::launch::{Launcher, sentence};
use super::outputs::log_happening;
use super::shared::{AppliedConfig, Beginning, Shared};
use super::shell::Shell;
use super::signals::Signals;
use super::state::StateDir;
use super::users::Users;
use super::{clock, control, own_log, sampler};
use crate::api::EventKind;
use crate::config::{Caller, Mistakes, Places, Sources, find, supervisor_only};
use crate::linux::cgroup::Cgroups;
use crate::linux::dirs::own_directory;
use crate::linux::exit::become_subreaper;
use crate::linux::identity::Identity;
use crate::linux::limits::Nofile;
use crate::linux::lock::{DirLock, Purpose};
use crate::linux::strays;
use crate::logs::Capture;
use crate::supervisor::{Announcement, Supervisor};
use jiff::Timestamp;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::{info, warn};

/// Requests that wait for the loop.
const ASKS: usize = 256;
/// What an earlier supervisor left running has so long to end by itself.
const STRAY_GRACE: Duration = Duration::from_secs(5);
/// A thread that has nothing to do goes away after this.
const IDLE_THREAD: Duration = Duration::from_secs(5);
/// Launches, probes and searches at one time.
const MOST_THREADS: usize = 32;

/// Why the supervisor does not run: a sentence, and the exit code.
struct Stop {
    why: String,
    code: u8,
}

/// Runs a supervisor until it is told to end; the exit code.
pub fn run(arguments: &Arguments) -> u8 {
    match prepare_and_run(arguments) {
        Ok(()) => 0,
        Err(Stop { why, code }) => {
            // Nobody is left to tell when stderr is closed.
            let _ = writeln!(std::io::stderr(), "infissi-supervisord: {why}");
            code
        }
    }
}

fn prepare_and_run(arguments: &Arguments) -> Result<(), Stop> {
    let own = Identity::own();
    let path = config_path(arguments, &own)?;
    if arguments.check {
        return check(&path, &own);
    }
    let loaded = load(&path, own.uid == 0);
    let places = |config: &crate::config::Config| {
        let env = |name: &str| std::env::var_os(name);
        Places::resolve(&config.supervisor, &caller(&own, &env)?).map_err(|error| failed(error.to_string()))
    };
    let begun = match loaded {
        Ok(Loaded { sources, parsed }) => {
            let places = places(&parsed.config)?;
            let applied = AppliedConfig { path, at: clock::now().wall, sources, faulty: None };
            Begun { places, config: parsed.config, applied, warnings: texts(&parsed.warnings), fresh: true }
        }
        Err(mistakes) => last_applied(path, &own, mistakes)?,
    };
    supervise(own, begun)
}

/// A configuration to run, with what is to be said of it.
struct Begun {
    places: Places,
    config: crate::config::Config,
    applied: AppliedConfig,
    warnings: Vec<String>,
    /// Read from the file now, so that it becomes the last applied one.
    fresh: bool,
}

fn supervise(own: Identity, begun: Begun) -> Result<(), Stop> {
    let Begun { places, config, applied, mut warnings, fresh } = begun;
    for (dir, mode) in [(&places.runtime_dir, 0o755), (&places.state_dir, 0o700), (&places.log_dir, 0o755)] {
        own_directory(dir, mode).map_err(|error| failed(sentence(&error)))?;
    }
    let lock = |dir: &Path, purpose| DirLock::take(dir, purpose).map_err(|error| failed(sentence(&error)));
    let _locks = [lock(&places.state_dir, Purpose::State)?, lock(&places.runtime_dir, Purpose::Runtime)?];
    let log = own_log::start(&config.supervisor.log);
    info!("infissi-supervisord {} with {}", env!("CARGO_PKG_VERSION"), applied.path.display());
    let state = StateDir::new(&places.state_dir);
    let (saved, trouble) = state.load();
    warnings.extend(trouble);
    if let Some(mistakes) = &applied.faulty {
        warn!("the configuration has mistakes, the last applied one runs:\n{mistakes}");
    }
    if fresh && let Err(error) = state.save_applied(&applied.sources, applied.at) {
        warnings.push(format!("the applied configuration is not kept for the next start: {error}"));
    }
    let unsaved = state.save(&saved).map_err(|error| format!("the desired state is not saved: {error}")).err();
    let cgroups = Cgroups::discover(&saved.id).map_err(|why| info!("process trees are kept by session: {why}")).ok();
    become_subreaper().map_err(|error| failed(format!("cannot become the reaper of orphans: {error}")))?;
    end_strays(&saved.id, cgroups.as_ref());
    let nofile = Nofile::raise_own().ok();
    for warning in warnings.iter().chain(&unsaved) {
        warn!("{warning}");
    }
    let events = Arc::new(Events::new());
    let telling = events.clone();
    let logs = Capture::start(move |notice| telling.add(log_happening(&notice), clock::now().wall))
        .map_err(|error| failed(format!("cannot start the log thread: {error}")))?;
    let users = Users::new(own);
    let launcher = Launcher { state_id: saved.id.clone(), cgroups, nofile, users, children: Children::default() };
    let config = Arc::new(config);
    let beginning = Beginning { places, launcher, logs, events, state, saved, config, applied, warnings, unsaved };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(IDLE_THREAD)
        .max_blocking_threads(MOST_THREADS)
        .build()
        .map_err(|error| failed(format!("cannot start the event loop: {error}")))?;
    let ended = runtime.block_on(serve(beginning));
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(log);
    ended
}

async fn serve(beginning: Beginning) -> Result<(), Stop> {
    let (notices, notices_in) = mpsc::unbounded_channel();
    let (asks, asks_in) = mpsc::channel(ASKS);
    let desired = beginning.saved.desired.clone();
    let shared = Arc::new(Shared::new(beginning, notices, asks));
    let signals = Signals::listen().map_err(|error| failed(format!("cannot listen for signals: {error}")))?;
    let socket = shared.places.socket.clone();
    let (listener, socket_file) = control::bind(&socket)
        .map_err(|error| failed(format!("cannot open the control socket {}: {error}", socket.display())))?;
    sampler::start(&shared).map_err(|error| failed(format!("cannot start the sampler: {error}")))?;
    tokio::spawn(control::serve(shared.clone(), listener));
    let config = shared.config();
    if let Some(address) = config.supervisor.metrics
        && let Err(error) = control::metrics::serve(shared.clone(), address).await
    {
        warn!("no metrics: cannot listen on {address}: {error}");
    }
    announce_start(&shared);
    // Only systemd listens; without it there is nothing to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let core = Supervisor::new(config, &desired, 1, clock::now());
    Shell::new(core, shared.clone(), notices_in, asks_in, signals).run().await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    end_strays(&shared.launcher.state_id, shared.launcher.cgroups.as_ref());
    if let Some(cgroups) = &shared.launcher.cgroups {
        // One that a stuck process keeps is found again at the next start.
        let _ = cgroups.remove_base();
    }
    socket_file.remove();
    shared.logs.stop();
    info!("everything is stopped");
    // The last answers are on their way.
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok(())
}

fn announce_start(shared: &Shared) {
    let apps = shared.config().apps.len();
    let message = match apps {
        0 => "started; no apps yet: infissi-ctl init DIR prints a stanza for supervisor.toml".to_owned(),
        1 => "started with 1 app".to_owned(),
        _ => format!("started with {apps} apps"),
    };
    let announcement =
        Announcement { app: None, kind: EventKind::Supervisor, by: None, slot: None, pid: None, message };
    shared.events.add(announcement, clock::now().wall);
    info!("infissi-ctl --socket {} list", shared.places.socket.display());
}

/// No process that an earlier supervisor of this state directory started may hold a port or a file.
fn end_strays(state_id: &str, cgroups: Option<&Cgroups>) {
    for ended in strays::end(state_id, cgroups, STRAY_GRACE) {
        warn!("ended pid {} ({}), left by an earlier supervisor: {:?}", ended.process.pid, ended.command, ended.how);
    }
}

fn config_path(arguments: &Arguments, own: &Identity) -> Result<PathBuf, Stop> {
    let env = |name: &str| std::env::var_os(name);
    let located = find(arguments.config.as_deref(), &caller(own, &env)?)
        .map_err(|error| Stop { why: error.to_string(), code: 2 })?;
    for passed in &located.passed_over {
        let _ = writeln!(std::io::stderr(), "infissi-supervisord: {}: {}", passed.path.display(), passed.why);
    }
    std::path::absolute(&located.path).map_err(|error| failed(format!("{}: {error}", located.path.display())))
}

fn caller<'e>(own: &Identity, env: &'e dyn Fn(&str) -> Option<std::ffi::OsString>) -> Result<Caller<'e>, Stop> {
    let cwd = std::env::current_dir().map_err(|error| failed(format!("cannot tell the working directory: {error}")))?;
    Ok(Caller { uid: own.uid, user: Some(own.name.clone()), home: Some(own.home.clone()), cwd, env })
}

/// `--check`: valid or every mistake.
fn check(path: &Path, own: &Identity) -> Result<(), Stop> {
    let loaded = load(path, own.uid == 0).map_err(|mistakes| faulty(&mistakes))?;
    let mut out = std::io::stdout();
    for warning in texts(&loaded.parsed.warnings) {
        let _ = writeln!(out, "warning: {warning}");
    }
    let _ = writeln!(out, "{} is valid: {} apps", path.display(), loaded.parsed.config.apps.len());
    Ok(())
}

/// The file is faulty: the configuration that was applied last runs, if there is one.
fn last_applied(path: PathBuf, own: &Identity, mistakes: Mistakes) -> Result<Begun, Stop> {
    let env = |name: &str| std::env::var_os(name);
    // Where the state lies is read from as much of the file as makes sense.
    let sources = Sources::read(&path).unwrap_or_else(|_| Sources::from_text(&path, "", own.uid));
    let places = Places::resolve(&supervisor_only(&sources), &caller(own, &env)?);
    let places = places.map_err(|error| failed(error.to_string()))?;
    let (applied, mut warnings) = StateDir::new(&places.state_dir).load_applied();
    let Some(applied) = applied.filter(|applied| applied.sources.paths().next() == Some(path.as_path())) else {
        return Err(faulty(&mistakes));
    };
    let parsed = parse_sources(&applied.sources, own.uid == 0).map_err(|_| faulty(&mistakes))?;
    warnings.extend(texts(&parsed.warnings));
    let at: Timestamp = applied.at;
    let applied = AppliedConfig { path, at, sources: applied.sources, faulty: Some(mistakes.to_string()) };
    Ok(Begun { places, config: parsed.config, applied, warnings, fresh: false })
}

fn faulty(mistakes: &Mistakes) -> Stop {
    Stop { why: format!("the configuration has mistakes:\n{mistakes}"), code: 2 }
}

fn failed(why: String) -> Stop {
    Stop { why, code: 1 }
}

fn texts(warnings: &[crate::config::Mistake]) -> Vec<String> {
    warnings.iter().map(ToString::to_string).collect()
}
