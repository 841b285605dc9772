//! From a command line to a running loop, and the way out.

use super::adoption;
use super::apply::{Loaded, load, parse_sources};
use super::arguments::Arguments;
use super::children::Children;
use super::events::Events;
use super::front::{self, Met, Stored, World};
use super::launch::{Launcher, sentence};
use super::outputs::start_logs;
use super::private_ports::PrivatePorts;
use super::run_records::RunRecords;
use super::service_manager::ServiceManager;
use super::shared::{AppliedConfig, Beginning, Shared};
use super::shell::Shell;
use super::signals::Signals;
use super::state::StateDir;
use super::upgrade::{self, Leaving, TakeOver, Upgrades};
use super::users::Users;
use super::{after_stop, clock, control, last_applied, leftovers, own_log, sampler, whereabouts};
use crate::api::EventKind;
use crate::config::{Caller, Config, Mistakes, NoConfig, Places, Tried, find};
use crate::linux::atomic::clear_unfinished;
use crate::linux::cgroup::Cgroups;
use crate::linux::dirs::own_directory;
use crate::linux::exit::become_subreaper;
use crate::linux::failpoint;
use crate::linux::fallback::{self, end_at_orders, let_orders_wait, take_orders};
use crate::linux::heap;
use crate::linux::identity::Identity;
use crate::linux::inherited::Inherited;
use crate::linux::limits::Nofile;
use crate::linux::lock::{DirLock, Purpose};
use crate::supervisor::{Announcement, Supervisor, plan};
use std::collections::BTreeSet;
use std::io::Write;
use std::os::fd::AsFd;
use std::panic::{catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

/// Requests that wait for the loop.
const ASKS: usize = 256;
/// What is left in the pipes at the end is written in this time, or a disk that hangs has it.
const LOGS_PATIENCE: Duration = Duration::from_secs(2);
/// A thread that has nothing to do goes away after this.
const IDLE_THREAD: Duration = Duration::from_secs(5);
/// Launches, probes and searches at one time.
const MOST_THREADS: usize = 32;

/// The exit code of one that cannot run now.
const FAILED: u8 = 1;
/// The exit code of one that no other try would help.
const UNFIT: u8 = 2;
/// Under a service manager, for which 100 ms are long.
const NEXT_TRY: Duration = Duration::from_secs(1);

/// Why the supervisor does not run: a sentence, and the exit code.
struct Stop {
    why: String,
    code: u8,
    /// Another supervisor has what we would have, and goes on.
    is_beside_another: bool,
}

/// Runs a supervisor until it is told to end; the exit code.
pub fn run(arguments: &Arguments) -> u8 {
    if !arguments.check {
        // Whoever wants a supervisor to end that is about to go on with what runs wants an end of that.
        let_orders_wait();
    }
    let Stop { why, code, is_beside_another } = match catch_unwind(|| prepare_and_run(arguments)) {
        Ok(Ok(())) => return 0,
        Ok(Err(stop)) => stop,
        Err(panic) => {
            end_at_orders();
            resume_unwind(panic)
        }
    };
    // Nobody is left to tell when stderr is closed.
    let _ = writeln!(std::io::stderr(), "infissi-supervisord: {why}");
    go_back(&why);
    // By that `after_stop` knows that what we have not gone on with is to end. What another one has is none of its business.
    if !is_beside_another {
        end_at_orders();
    }
    // It would be started again at once, and what is in its way still be there.
    if code == FAILED && std::env::var_os("NOTIFY_SOCKET").is_some() {
        std::thread::sleep(NEXT_TRY);
    }
    code
}

/// To the program that we have taken the place of and are no use for. Returns only where there is none.
fn go_back(why: &str) {
    if let Some(error) = fallback::go_back(why) {
        let _ = writeln!(std::io::stderr(), "infissi-supervisord: there is no way back: {error}");
    }
}

fn prepare_and_run(arguments: &Arguments) -> Result<(), Stop> {
    heap::keep_little();
    let mut inherited =
        Inherited::take_over().map_err(|error| failed(format!("what LISTEN_FDS names cannot be had: {error}")))?;
    let take_over = TakeOver::begin(&mut inherited).map_err(failed)?;
    let own = Identity::own();
    let path = config_path(arguments, &own)?;
    if arguments.check {
        return check(&path, &own);
    }
    let loaded = load(&path, own.uid == 0);
    let places = |config: &Config| {
        let env = |name: &str| std::env::var_os(name);
        Places::resolve(&config.supervisor, &caller(&own, &env)?).map_err(|error| failed(error.to_string()))
    };
    let begun = match loaded {
        Ok(read) => {
            let goes_on = take_over.is_some() || arguments.check_succession;
            let env = |name: &str| std::env::var_os(name);
            let before = caller(&own, &env)?;
            let before = goes_on.then(|| last_applied::goes_on(&path, &before)).flatten();
            let (fresh, edited) =
                (before.is_none(), before.as_ref().is_some_and(|(before, _)| before.sources != read.sources));
            let (Loaded { sources, parsed }, at) = before.unwrap_or_else(|| (read, clock::now().wall));
            let places = places(&parsed.config)?;
            let applied = AppliedConfig { path, at, sources, faulty: None };
            Begun { places, config: parsed.config, applied, warnings: texts(&parsed.warnings), fresh, edited }
        }
        Err(mistakes) => last_applied(path, &own, mistakes)?,
    };
    if arguments.check_succession {
        return upgrade::check::tell(&begun.places).map_err(failed);
    }
    supervise(own, begun, (inherited, take_over))
}

/// A configuration to run, with what is to be said of it.
struct Begun {
    places: Places,
    config: Config,
    applied: AppliedConfig,
    warnings: Vec<String>,
    /// Read from the file now, so that it becomes the last applied one.
    fresh: bool,
    /// What is in the file by now is not what runs.
    edited: bool,
}

fn supervise(
    own: Identity,
    begun: Begun,
    (mut inherited, take_over): (Inherited, Option<TakeOver>),
) -> Result<(), Stop> {
    let Begun { mut places, config, applied, mut warnings, fresh, edited } = begun;
    let directories = [
        ("runtime_dir", &places.runtime_dir, 0o755),
        ("state_dir", &places.state_dir, 0o700),
        ("log_dir", &places.log_dir, 0o755),
    ];
    for (key, dir, mode) in directories {
        own_directory(dir, mode)
            .map_err(|error| failed(format!("{} (it is the {key} of [supervisor])", sentence(&error))))?;
    }
    if take_over.is_none() {
        after_stop::forget();
    }
    let mut lock = |dir: &Path, purpose, name| {
        let passed_on = inherited.named(name).and_then(|lock| DirLock::passed_on(lock, dir, purpose));
        let lock = passed_on.map_or_else(|| DirLock::take(dir, purpose), Ok);
        lock.map_err(|error| Stop { is_beside_another: error.is_held(), ..failed(sentence(&error)) })
    };
    let state_lock = lock(&places.state_dir, Purpose::State, upgrade::STATE_LOCK)?;
    let state = StateDir::new(&places.state_dir);
    let runtime_lock = if let Some(there) = whereabouts::of_what_runs(&places, &state.id()) {
        warnings.push(there.warning);
        places = there.places;
        there.lock
    } else {
        lock(&places.runtime_dir, Purpose::Runtime, upgrade::RUNTIME_LOCK)?
    };
    let locks = [state_lock, runtime_lock];
    let before_us = take_over.as_ref().map(|take_over| &take_over.handover);
    let program = before_us.map_or_else(program_path, |handover| Ok(handover.program.clone()))?;
    let log = own_log::start(&config.supervisor.log);
    info!("infissi-supervisord {} with {}", env!("CARGO_PKG_VERSION"), applied.path.display());
    for dir in [&places.state_dir, &places.runtime_dir] {
        clear_unfinished(dir);
    }
    whereabouts::note(&places);
    let (saved, trouble) = state.load();
    warnings.extend(trouble);
    let before = before(&state, own.uid == 0);
    if let Some(mistakes) = &applied.faulty {
        warn!("the configuration has mistakes; the one that was applied last ({}) runs:\n{mistakes}", applied.at);
    }
    if edited {
        warn!("{} was edited since it was applied, and still is not: infissi-ctl apply", applied.path.display());
    }
    if fresh && let Err(error) = state.save_applied(&applied.sources, applied.at) {
        warnings.push(format!("the applied configuration is not kept for the next start: {error}"));
    }
    point_to_state(&applied.path, &places.state_dir, &own);
    // Whoever was before us is to find what it has left, where we fail.
    let save = || state.save(&saved).map_err(|error| format!("the desired state is not saved: {error}")).err();
    let unsaved = if fallback::is_armed() { None } else { save() };
    let cgroups = Cgroups::discover(&saved.id);
    let cgroups = cgroups.inspect_err(|why| info!("process trees are kept by session: {why}")).map(Arc::new);
    become_subreaper().map_err(|error| failed(format!("cannot become the reaper of orphans: {error}")))?;
    let raised = Nofile::raise_own().ok();
    // Ours was raised by the program before us.
    let nofile = before_us.and_then(|handover| handover.nofile).map(|(soft, hard)| Nofile { soft, hard }).or(raised);
    for warning in warnings.iter().chain(&unsaved) {
        warn!("{warning}");
    }
    let records = RunRecords::new(&places.runtime_dir, &saved.id)
        .map_err(|error| failed(format!("{}: {error}", places.runtime_dir.join("runs").display())))?;
    let events = Arc::new(before_us.map_or_else(Events::new, |handover| Events::after(handover.events())));
    let began = before_us.map_or_else(|| clock::now().mono, |handover| handover.began);
    let logs = start_logs(&places.runtime_dir, &saved.id, events.clone())
        .map_err(|error| failed(format!("cannot start the log thread: {error}")))?;
    let launcher = Arc::new(Launcher {
        state_id: saved.id.clone(),
        cgroups,
        nofile,
        users: Users::new(own),
        children: Children::default(),
        ports: PrivatePorts::new(&saved.id),
        records,
        manager: Arc::new(ServiceManager::found()),
    });
    let config = Arc::new(config);
    let upgrades = Upgrades::new(program, locks);
    let beginning = Beginning {
        places,
        launcher,
        logs,
        events,
        state,
        saved,
        config,
        before,
        applied,
        warnings,
        began,
        upgrades,
        unsaved,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .thread_keep_alive(IDLE_THREAD)
        .max_blocking_threads(MOST_THREADS)
        .build()
        .map_err(|error| failed(format!("cannot start the event loop: {error}")))?;
    let ended = runtime.block_on(serve(beginning, inherited, take_over));
    if let Ok(Some(leaving)) = ended {
        drop(log);
        return Err(failed(format!("no program can be executed: {}", leaving.go())));
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    drop(log);
    ended.map(drop)
}

fn program_path() -> Result<PathBuf, Stop> {
    upgrade::own_path().map_err(|error| failed(format!("it cannot be told which program this is: {error}")))
}

/// For a start after which this file is faulty.
fn point_to_state(path: &Path, state_dir: &Path, own: &Identity) {
    let env = |name: &str| std::env::var_os(name);
    if let Ok(caller) = caller(own, &env)
        && let Err(error) = last_applied::leave_pointer(path, state_dir, &caller)
    {
        debug!("no pointer to the state directory: {error}");
    }
}

/// The configuration that was applied last, by which what runs was started.
fn before(state: &StateDir, is_root: bool) -> Option<Arc<Config>> {
    let applied = state.load_applied().ok()??;
    Some(Arc::new(parse_sources(&applied.sources, is_root).ok()?.config))
}

/// Some: it is not over, another program is to go on.
async fn serve(
    mut beginning: Beginning,
    mut inherited: Inherited,
    take_over: Option<TakeOver>,
) -> Result<Option<Box<Leaving>>, Stop> {
    let (notices, notices_in) = mpsc::unbounded_channel();
    let (asks, asks_in) = mpsc::channel(ASKS);
    let mut kept = beginning.saved.kept();
    let world = World::new(
        &beginning.places.runtime_dir,
        beginning.launcher.clone(),
        beginning.events.clone(),
        notices.clone(),
    );
    adoption::know_children(&beginning.launcher);
    let passed_on = inherited.named(upgrade::CONTROL);
    let stored = inherited.listeners().into_iter().map(|(name, socket, address)| Stored { name, socket, address });
    let (front, met) = front::start(world, stored.collect()).await;
    let launcher = beginning.launcher.clone();
    let manager = launcher.manager.clone();
    let finding = tokio::task::spawn_blocking(move || adoption::find(&launcher, inherited));
    let found = finding.await.map_err(|_| failed("cannot look for what an earlier supervisor left".into()))?;
    let mut found = found.map_err(failed)?;
    failpoint::here("start.found");
    let config = beginning.config.clone();
    let ran_by = beginning.before.clone().filter(|_| !found.is_empty()).unwrap_or_else(|| config.clone());
    if found.memory.save > beginning.saved.save {
        warn!("the disk had not taken what was decided last: it is remembered");
        beginning.unsaved.get_or_insert_with(|| "the state of before is not saved yet".to_owned());
        kept.extend(found.memory.apps.iter().map(|(name, then)| (name.clone(), then.kept().clone())));
    }
    let steps = plan(&ran_by, &config).steps;
    let changed: BTreeSet<String> = steps.into_iter().map(|step| step.app).collect();
    let to_apply = (!changed.is_empty()).then(|| config.clone());
    let begun_by = if to_apply.is_some() { ran_by } else { config };
    let mut core = Supervisor::new(begun_by.clone(), &kept, 1, clock::now());
    let homeless = core.adopt(found.survivors(), &found.memory.apps, &changed, clock::now());
    found.leave(&beginning.launcher, &homeless).map_err(failed)?;
    let given_up = std::mem::take(&mut found.given_up);
    if met == Met::AWorker {
        found.hold_requests(&front, &begun_by, &kept).await;
    }
    let (launcher, spared) = (beginning.launcher.clone(), found.spared(&beginning.launcher.state_id));
    let leftovers_end = tokio::task::spawn_blocking(move || {
        leftovers::of_earlier(&launcher.state_id, launcher.cgroups.as_deref().ok(), &spared)
    });
    let first_run =
        leftovers_end.await.map_err(|_| failed("cannot look for what an earlier supervisor left".into()))?;
    failpoint::here("start.ended-leftovers");
    core.number_runs_from(found.first_free_run());
    let first_run = match met {
        Met::Nobody => first_run,
        // It knows the runs of earlier supervisors by their numbers, and no supervisor starts one each millisecond.
        Met::AWorker => first_run.max(u64::try_from(clock::now().mono.as_millis()).unwrap_or(first_run)),
    };
    core.number_runs_from(first_run);
    let shared = Arc::new(Shared::new(beginning, front, notices, asks));
    let (taking, taken_by) = (shared.clone(), begun_by);
    // Opening their logs waits for the disk.
    let going_on = tokio::task::spawn_blocking(move || found.go_on(&taking, &taken_by));
    going_on.await.map_err(|_| failed("cannot go on with what an earlier supervisor left".into()))?;
    failpoint::here("start.went-on");
    let signals = Signals::listen().map_err(|error| failed(format!("cannot listen for signals: {error}")))?;
    let socket = shared.places.socket.clone();
    let (listener, socket_file) = control::open(&socket, passed_on)
        .map_err(|error| failed(format!("cannot open the control socket {}: {error}", socket.display())))?;
    if let Ok(copy) = listener.as_fd().try_clone_to_owned() {
        shared.upgrades.listens_on(copy);
    }
    sampler::start(&shared).map_err(|error| failed(format!("cannot start the sampler: {error}")))?;
    tokio::spawn(control::serve(shared.clone(), listener));
    let config = shared.config();
    if let Some(address) = config.supervisor.metrics
        && let Err(error) = control::metrics::serve(shared.clone(), address).await
    {
        warn!("no metrics: cannot listen on {address}: {error}");
    }
    match take_over {
        None => announce_start(&shared),
        // Once the loop has gone round for the first time.
        Some(take_over) => drop(tokio::spawn(done(take_over, shared.clone(), given_up))),
    }
    failpoint::here("start.ready");
    manager.is_ready();
    if !fallback::is_armed() {
        // Nothing can fail from here on: those that were given during the start come now.
        take_orders();
    }
    let shell = Shell::new((core, to_apply), shared.clone(), notices_in, asks_in, signals);
    if let Some(leaving) = shell.run().await {
        return Ok(Some(Box::new(leaving)));
    }
    shared.forget().await;
    leftovers::of_ours(&shared.launcher.state_id, shared.launcher.cgroups.clone().ok()).await;
    shared.front.end().await;
    socket_file.remove();
    let stopping = shared.clone();
    let stopped = tokio::task::spawn_blocking(move || stopping.logs.stop_within(LOGS_PATIENCE));
    // Bounded here, too: launches that hang may have taken all threads.
    if !matches!(tokio::time::timeout(LOGS_PATIENCE, stopped).await, Ok(Ok(true))) {
        warn!("the disk takes no logs; what was still in the pipes is lost");
    }
    info!("everything is stopped");
    // The last answers are on their way.
    tokio::time::sleep(Duration::from_millis(50)).await;
    Ok(None)
}

async fn done(take_over: TakeOver, shared: Arc<Shared>, given_up: BTreeSet<String>) {
    failpoint::here("upgrade.first-round");
    take_over.complete(&shared, &given_up);
    // Those that were given while one program took the other's place, and that would be lost on a way back.
    take_orders();
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
    info!("to talk to it: infissi-ctl --socket {} list", shared.places.socket.display());
}

fn config_path(arguments: &Arguments, own: &Identity) -> Result<PathBuf, Stop> {
    let env = |name: &str| std::env::var_os(name);
    let caller = caller(own, &env)?;
    let located = match find(arguments.config.as_deref(), &caller) {
        Ok(located) => located,
        // One that is gone is as one that has mistakes.
        Err(error) => {
            let gone = applied_once(&error, &caller).filter(|_| !arguments.check);
            let has_run = |tried: &Tried| last_applied::has_run(&tried.path, &caller);
            let stop = if error.tried.iter().any(has_run) { failed } else { unfit };
            return gone.ok_or_else(|| stop(error.to_string()));
        }
    };
    for passed in &located.passed_over {
        let _ = writeln!(std::io::stderr(), "infissi-supervisord: {}: {}", passed.path.display(), passed.why);
    }
    std::path::absolute(&located.path).map_err(|error| failed(format!("{}: {error}", located.path.display())))
}

/// The usual file that is no longer there, if its configuration was applied once. Not the one in the working directory,
/// where anyone may leave one.
fn applied_once(nowhere: &NoConfig, caller: &Caller<'_>) -> Option<PathBuf> {
    let mut usual = nowhere.tried.iter().map(|tried| &tried.path).filter(|path| path.parent() != Some(&caller.cwd));
    // What cannot be read was applied, too.
    let was_applied = |path: &&PathBuf| last_applied::find(path, caller).map_or_else(|why| !why.is_empty(), |_| true);
    usual.find(was_applied).cloned()
}

fn caller<'e>(own: &Identity, env: &'e dyn Fn(&str) -> Option<std::ffi::OsString>) -> Result<Caller<'e>, Stop> {
    let cwd = std::env::current_dir().map_err(|error| failed(format!("cannot tell the working directory: {error}")))?;
    Ok(Caller { uid: own.uid, user: Some(own.name.clone()), home: Some(own.home.clone()), cwd, env })
}

/// `--check`: valid or every mistake.
fn check(path: &Path, own: &Identity) -> Result<(), Stop> {
    let loaded = load(path, own.uid == 0).map_err(|mistakes| unfit(faulty(&mistakes)))?;
    let mut out = std::io::stdout();
    for warning in texts(&loaded.parsed.warnings) {
        let _ = writeln!(out, "warning: {warning}");
    }
    let count = loaded.parsed.config.apps.len();
    let _ = writeln!(out, "{} is valid: {count} {}", path.display(), if count == 1 { "app" } else { "apps" });
    Ok(())
}

/// The file is faulty: the configuration that was applied last runs, if there is one, where it said that things are.
fn last_applied(path: PathBuf, own: &Identity, mistakes: Mistakes) -> Result<Begun, Stop> {
    let env = |name: &str| std::env::var_os(name);
    let caller = caller(own, &env)?;
    let last_applied::Found { applied, state_dir } = last_applied::find(&path, &caller).map_err(|troubles| {
        let has_run = !troubles.is_empty() || last_applied::has_run(&path, &caller);
        unusable(&mistakes, &troubles, has_run)
    })?;
    let parsed = parse_sources(&applied.sources, own.uid == 0).map_err(|error| {
        let trouble = format!("the configuration that was applied last is no longer valid:\n{error}");
        unusable(&mistakes, &[trouble], true)
    })?;
    let places = Places::resolve(&parsed.config.supervisor, &caller).map_err(|error| failed(error.to_string()))?;
    // Its own [supervisor] may have moved the state, for the start after.
    let fresh = places.state_dir != state_dir;
    let applied = AppliedConfig { path, at: applied.at, sources: applied.sources, faulty: Some(mistakes.to_string()) };
    Ok(Begun { places, config: parsed.config, applied, warnings: texts(&parsed.warnings), fresh, edited: false })
}

/// Where a supervisor has run before, apps may wait for the next one: another try is worth it.
fn unusable(mistakes: &Mistakes, troubles: &[String], has_run: bool) -> Stop {
    let why = troubles.iter().fold(faulty(mistakes), |why, trouble| format!("{why}\n{trouble}"));
    if has_run { failed(why) } else { unfit(why) }
}

fn faulty(mistakes: &Mistakes) -> String {
    format!("the configuration has mistakes:\n{mistakes}")
}

fn unfit(why: String) -> Stop {
    Stop { why, code: UNFIT, is_beside_another: false }
}

fn failed(why: String) -> Stop {
    Stop { why, code: FAILED, is_beside_another: false }
}

fn texts(warnings: &[crate::config::Mistake]) -> Vec<String> {
    warnings.iter().map(ToString::to_string).collect()
}
