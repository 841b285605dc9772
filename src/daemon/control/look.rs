//! Requests that change nothing: list, show, the supervisor itself, a probe, what `exec` needs.

use super::actions::{TAIL_PATIENCE, admit};
use super::admission::{Caller, Need};
use super::answer::{Answer, json};
use super::asking::{Selector, query};
use super::course;
use super::deploys::known;
use super::release::release_of_id;
use super::selector::select;
use super::{unprobed, upgrade};
use crate::api::{
    AppDetail, AppStatus, ConfigStatus, ExecPlan, ExecQuery, Health, HostStatus, LogFiles, Overview, ProbeReply,
    Refusal, RefusalCode, Slot, Status, SupervisorStatus, WorkerStatus,
};
use crate::config::{AppConfig, ProbeKind, Sources};
use crate::daemon::environment::InstanceName;
use crate::daemon::front::Serving;
use crate::daemon::launch::Setting;
use crate::daemon::log_place::log_files;
use crate::daemon::notice::{AppView, Ask};
use crate::daemon::shared::Shared;
use crate::daemon::{clock, probes};
use crate::linux::memory;
use crate::linux::proc::{MARK, ProcTable, statm};
use crate::supervisor::{Check, Release};
use axum::extract::{Extension, RawQuery, State};
use std::sync::Arc;
use std::time::Duration;
use sysinfo::{MemoryRefreshKind, RefreshKind, System};
use tokio::sync::oneshot;
use tokio::time::timeout;

pub(super) async fn list(State(shared): State<Arc<Shared>>, Extension(caller): Extension<Caller>) -> Answer {
    Ok(json(&visible(&shared, &caller).await?))
}

pub(super) async fn overview(State(shared): State<Arc<Shared>>, Extension(caller): Extension<Caller>) -> Answer {
    // The files are read on another thread while the apps are measured here.
    let (config, apps) = tokio::join!(config_status(&shared, &caller), visible(&shared, &caller));
    Ok(json(&Overview { apps: apps?, config, warnings: shared.warnings() }))
}

/// The apps that the caller may see.
async fn visible(shared: &Arc<Shared>, caller: &Caller) -> Result<Vec<AppStatus>, Refusal> {
    let config = shared.config();
    if !caller.may_look_at_something(&config, &shared.launcher.users) {
        admit(shared, caller, Need::Look, "the apps")?;
    }
    // What stands on the disk is looked for on another thread while the apps are measured here.
    let (apps, deploying) = tokio::join!(statuses(shared), course::deploying(shared, config.apps.clone()));
    let (mut apps, mut deploying) = (apps?, deploying);
    apps.retain(|status| {
        let app = config.app(&status.name);
        app.map_or(caller.may_everywhere(Need::Look), |app| caller.may(Need::Look, app, &shared.launcher.users))
    });
    for app in &mut apps {
        app.deploying = deploying.remove(&app.name);
    }
    Ok(apps)
}

/// Which configuration is in force, and whether the files still say the same.
async fn config_status(shared: &Shared, caller: &Caller) -> ConfigStatus {
    let applied = shared.applied();
    let path = applied.path.clone();
    let now = tokio::task::spawn_blocking(move || Sources::read(&path)).await;
    let same = matches!(now, Ok(Ok(ref sources)) if *sources == applied.sources);
    ConfigStatus {
        path: applied.path.display().to_string(),
        applied_at: applied.at,
        changed: !same && applied.faulty.is_none(),
        // The mistakes quote the file, other people's stanzas among it.
        faulty: applied.faulty.map(|mistakes| match caller.may_everywhere(Need::Look) {
            true => mistakes,
            false => "the configuration has mistakes".to_owned(),
        }),
    }
}

/// Every app, measured.
///
/// # Errors
/// The supervisor is ending.
pub(super) async fn statuses(shared: &Arc<Shared>) -> Result<Vec<AppStatus>, Refusal> {
    let (reply, answer) = oneshot::channel();
    shared.ask(Ask::List { reply }).await;
    let mut apps = answer.await.map_err(|_| ending())?;
    let (now, table) = (clock::now().mono, ProcTable::new());
    for app in &mut apps {
        fill_in(shared, app, now, &table);
    }
    Ok(apps)
}

/// What others than the core know of an app.
fn fill_in(shared: &Shared, status: &mut AppStatus, now: Duration, table: &ProcTable) {
    let figures = shared.front.figures();
    shared.runs.fill_in(status, figures, now, table);
    let is_proxied = shared.config().app(&status.name).is_some_and(|app| app.proxy.is_some());
    status.traffic = is_proxied.then(|| figures.of_app(&status.name));
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Selector(name): Selector,
) -> Answer {
    let app = one(&shared, &caller, Need::Look, &name)?;
    let view = view(&shared, &app.name).await?;
    let known = app.deploy.as_ref().map(|deploy| known(&app, deploy, &view));
    let AppView { mut status, exits, probe_failure, release, .. } = view;
    status.deploying = course::deploying(&shared, vec![app.clone()]).await.remove(&app.name);
    let last_deploy = match known.filter(|_| status.deploying.is_none()) {
        Some(known) => course::last_of(&shared, &app, &known).await,
        None => None,
    };
    fill_in(&shared, &mut status, clock::now().mono, &ProcTable::new());
    let [combined, out, error] = log_files(&app, &shared.places.log_dir).map(|path| path.display().to_string());
    let (done, stats) = oneshot::channel();
    shared.logs.stats(Arc::from(app.name.as_str()), move |stats| drop(done.send(stats)));
    let stats = timeout(TAIL_PATIENCE, stats).await;
    let dropped = stats.ok().and_then(Result::ok).flatten().map_or(0, |stats| stats.dropped_lines);
    let setting = setting(&shared, (&app, status.slot, release), String::new()).await;
    let detail = AppDetail {
        command: app.command.clone(),
        cwd: app.cwd.display().to_string(),
        user: shared.launcher.users.known_of(&app.name).map(|user| user.name),
        env_names: setting
            .map(|setting| setting.env.keys().map(|name| name.to_string_lossy().into_owned()).collect())
            .unwrap_or_default(),
        log_files: LogFiles { combined, out, error },
        listen: app.proxy.iter().flat_map(|proxy| &proxy.listen).map(ToString::to_string).collect(),
        depends_on: app.depends_on.clone(),
        release_of: app.release_of.as_ref().map(|of| of.app.clone()),
        probe: probe_in_words(&app),
        schedule: app.schedule.as_ref().map(|cron| cron.text().to_owned()),
        probe_failure,
        exits,
        last_lines: shared.outputs.tail(&app.name),
        processes: shared.runs.processes(&app.name),
        memory_max_bytes: app.memory_max,
        no_memory_max: shared.launcher.no_memory_max().filter(|_| app.memory_max.is_some()),
        log_lines_dropped: dropped,
        next_steps: next_steps(&app, &status),
        last_deploy,
        status,
    };
    Ok(json(&detail))
}

pub(super) async fn supervisor(State(shared): State<Arc<Shared>>, Extension(caller): Extension<Caller>) -> Answer {
    if !caller.may_look_at_something(&shared.config(), &shared.launcher.users) {
        admit(&shared, &caller, Need::Look, "the supervisor")?;
    }
    let config = config_status(&shared, &caller).await;
    let private_ports = shared.config().supervisor.port_range.clone();
    let host = System::new_with_specifics(RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram()));
    let uptime = clock::now().mono.saturating_sub(shared.began);
    Ok(json(&SupervisorStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: i32::try_from(std::process::id()).unwrap_or_default(),
        uptime_ms: u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        memory_bytes: memory::own().unwrap_or_default(),
        config,
        socket: shared.places.socket.display().to_string(),
        state_dir: shared.places.state_dir.display().to_string(),
        log_dir: shared.places.log_dir.display().to_string(),
        host: HostStatus {
            memory_total_bytes: host.as_ref().map_or(0, System::total_memory),
            memory_available_bytes: host.as_ref().map_or(0, System::available_memory),
            load_1: System::load_average().map_or(0.0, |load| load.one),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
        },
        port_range: Some([*private_ports.start(), *private_ports.end()]),
        worker: worker(&shared),
        trees: if shared.launcher.cgroups.is_ok() { "cgroup" } else { "session" }.to_owned(),
        program: upgrade::status(&shared),
        upgrade: shared.upgrades.last(),
        warnings: shared.warnings(),
    }))
}

fn worker(shared: &Shared) -> Option<WorkerStatus> {
    let figures = shared.front.figures();
    let Serving { pid, version } = figures.serving()?;
    // Only root may see the shares of a process that has laid down its rights.
    let memory = memory::shares(pid).map(|shares| shares.total).or_else(|| statm(pid).map(|statm| statm.private()));
    Some(WorkerStatus { pid, version, memory_bytes: memory.unwrap_or(0), connections: figures.connections() })
}

/// One probe of each instance, now; its answer changes nothing.
pub(super) async fn probe(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Selector(selector): Selector,
) -> Answer {
    let mut replies = Vec::new();
    for app in select(&shared, &caller, Need::Look, &selector)? {
        let began = clock::now().mono;
        let (health, message) = health(&shared, &app).await?;
        let took = clock::now().mono.saturating_sub(began);
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        replies.push(ProbeReply { app: app.name.clone(), health, message, took_ms });
    }
    Ok(json(&replies))
}

async fn health(shared: &Arc<Shared>, app: &Arc<AppConfig>) -> Result<(Health, String), Refusal> {
    let Some(check) = Check::of(app) else {
        let status = view(shared, &app.name).await?.status;
        return Ok(unprobed::health(app.is_job(), &status));
    };
    // Of the other slot nothing is asked: it rises, or it has served.
    let slot = view(shared, &app.name).await?.status.slot;
    let mut runs = shared.runs.of(&app.name).into_iter().filter(|run| run.slot == slot).peekable();
    if runs.peek().is_none() {
        return Ok((Health::Unhealthy, "it does not run".to_owned()));
    }
    for run in runs {
        if let Err(failure) = probes::ask(shared, run.id, &check).await {
            return Ok((Health::Unhealthy, failure));
        }
    }
    Ok((Health::Healthy, format!("{} is well", probe_in_words(app))))
}

/// What `infissi-ctl exec` needs to run a command as the app would.
pub(super) async fn exec(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Selector(name): Selector,
    RawQuery(asked): RawQuery,
) -> Answer {
    let ExecQuery { release: asked_for } = query(asked.as_deref())?;
    let app = one(&shared, &caller, Need::Change, &name)?;
    let AppView { status, release, .. } = view(&shared, &app.name).await?;
    let slot = status.slot;
    let mark = format!("{}.exec", shared.launcher.state_id);
    let setting = match asked_for {
        Some(id) => setting_in_release(&shared, (&app, slot), id, mark).await?,
        None => {
            let setting = setting(&shared, (&app, slot, release), mark).await;
            setting.map_err(|reason| Refusal::new(RefusalCode::Failed, reason))?
        }
    };
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    Ok(json(&ExecPlan {
        cwd: setting.cwd.display().to_string(),
        user: setting.user.name,
        uid: setting.user.uid,
        gid: setting.user.gid,
        groups: setting.user.groups,
        env: setting
            .env
            .into_iter()
            // The command is the caller's, not the supervisor's: it is not to be ended as a stray.
            .filter(|(name, _)| name != MARK)
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
    }))
}

/// What the app's active slot runs with, or would.
async fn setting(
    shared: &Arc<Shared>,
    (app, slot, release): (&Arc<AppConfig>, Slot, Option<Release>),
    mark: String,
) -> Result<Setting, String> {
    let (shared, app) = (shared.clone(), app.clone());
    let setting = tokio::task::spawn_blocking(move || {
        let run = shared.runs.of(&app.name).into_iter().rfind(|run| run.slot == slot);
        let instance = run.as_ref().map_or_else(|| InstanceName::at_rest(&app, slot), |run| run.as_instance(&app));
        // A run may still be of the release before.
        shared.launcher.setting(InstanceName { release: release.as_ref(), ..instance }, &mark)
    });
    setting.await.unwrap_or_else(|_| Err("the supervisor is ending".to_owned()))
}

/// What the app would run with in that release, which nobody runs in.
async fn setting_in_release(
    shared: &Arc<Shared>,
    (app, slot): (&Arc<AppConfig>, Slot),
    id: String,
    mark: String,
) -> Result<Setting, Refusal> {
    let (shared, app) = (shared.clone(), app.clone());
    let setting = tokio::task::spawn_blocking(move || {
        let config = shared.config();
        let leader = app.release_of.as_ref().and_then(|of| config.app(&of.app));
        let release = release_of_id(leader.unwrap_or(&app), &id, &shared.launcher.users)?;
        let instance = InstanceName { release: Some(&release), ..InstanceName::at_rest(&app, slot) };
        let setting = shared.launcher.setting(instance, &mark);
        setting.map_err(|reason| Refusal::new(RefusalCode::Failed, reason))
    });
    setting.await.unwrap_or_else(|_| Err(ending()))
}

/// The one app of that name or alias.
pub(super) fn one(shared: &Shared, caller: &Caller, need: Need, name: &str) -> Result<Arc<AppConfig>, Refusal> {
    let mut apps = select(shared, caller, need, name)?;
    if apps.len() > 1 {
        return Err(Refusal::new(RefusalCode::Usage, format!("{name} means {} apps", apps.len())).hint("name one"));
    }
    apps.pop().ok_or_else(ending)
}

pub(super) async fn view(shared: &Shared, name: &str) -> Result<AppView, Refusal> {
    let (reply, answer) = oneshot::channel();
    shared.ask(Ask::App { name: name.to_owned(), reply }).await;
    answer.await.ok().flatten().ok_or_else(ending)
}

fn ending() -> Refusal {
    Refusal::new(RefusalCode::Failed, "the supervisor is ending")
}

fn probe_in_words(app: &AppConfig) -> String {
    match (&app.health.probe, app.port) {
        (Some(ProbeKind::Http { path, .. }), _) => format!("GET {path}"),
        (Some(ProbeKind::Tcp), _) => "tcp".to_owned(),
        (Some(ProbeKind::Command(command)), _) => shell_words::join(command),
        (None, Some(port)) => format!("its own processes accept on port {port}"),
        (None, None) => "no probe".to_owned(),
    }
}

fn next_steps(app: &AppConfig, status: &AppStatus) -> Vec<String> {
    let name = &status.name;
    if status.release.is_none() && status.status != Status::Online {
        if let Some(of) = &app.release_of {
            return vec![format!("infissi-ctl deploy {0}         makes the release that {name} waits for", of.app)];
        }
        if app.deploy.is_some() {
            return vec![format!("infissi-ctl deploy {name}         makes its first release")];
        }
    }
    match status.status {
        Status::Errored => vec![
            format!("infissi-ctl logs {name} -n 50     what it said"),
            format!("infissi-ctl restart {name}        try again, once the cause is mended"),
        ],
        Status::Backoff => vec![
            format!("infissi-ctl logs {name} --err     what it said before it ended"),
            format!("infissi-ctl reset {name}          try at once instead of after the delay"),
        ],
        Status::Stopped => vec![format!("infissi-ctl start {name}")],
        Status::Online if status.health == Health::Unhealthy => vec![format!("infissi-ctl health {name}")],
        Status::Online | Status::Starting | Status::Stopping | Status::Waiting => Vec::new(),
    }
}
