//! Requests that change something.

use super::admission::{Caller, Need};
use super::answer::{Answer, actions as answer_actions, json};
use super::asking::{Selector, body, query};
use super::look::{one, view};
use super::release::release;
use super::selector::select;
use crate::api::{
    ActionQuery, ActionResult, ActivateBody, ApplyBody, InstanceStatus, OutputLine, Refusal, RefusalCode, SignalBody,
    Status,
};
use crate::config::AppConfig;
use crate::daemon::apply;
use crate::daemon::notice::{AppView, Ask};
use crate::daemon::outputs::output_line;
use crate::daemon::runs::Run;
use crate::daemon::shared::Shared;
use crate::linux::signal::{signal_name, signal_number};
use crate::linux::unit;
use crate::logs::SourceId;
use crate::supervisor::{Reply, Request, RequestId};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Extension, RawQuery, State};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;
use tokio::time::sleep;

/// How long an answer waits for the log thread, which waits for the disk.
pub(super) const TAIL_PATIENCE: Duration = Duration::from_secs(2);

type Of = (State<Arc<Shared>>, Extension<Caller>, Selector, RawQuery);

pub(super) async fn start((State(shared), Extension(caller), Selector(selector), RawQuery(asked)): Of) -> Answer {
    let ActionQuery { wait, .. } = query(asked.as_deref())?;
    let apps = names(&select(&shared, &caller, Need::Change, &selector)?);
    act(&shared, &caller, Request::Start { apps, wait }).await
}

pub(super) async fn stop((State(shared), Extension(caller), Selector(selector), RawQuery(asked)): Of) -> Answer {
    let ActionQuery { wait, .. } = query(asked.as_deref())?;
    let apps = names(&select(&shared, &caller, Need::Change, &selector)?);
    act(&shared, &caller, Request::Stop { apps, wait }).await
}

pub(super) async fn restart((State(shared), Extension(caller), Selector(selector), RawQuery(asked)): Of) -> Answer {
    let ActionQuery { wait, hard } = query(asked.as_deref())?;
    let apps = names(&select(&shared, &caller, Need::Change, &selector)?);
    act(&shared, &caller, Request::Restart { apps, wait, hard }).await
}

pub(super) async fn reset((State(shared), Extension(caller), Selector(selector), RawQuery(asked)): Of) -> Answer {
    let ActionQuery { .. } = query(asked.as_deref())?;
    let apps = names(&select(&shared, &caller, Need::Change, &selector)?);
    act(&shared, &caller, Request::Reset { apps }).await
}

/// To the staged or the warm slot.
pub(super) async fn swap((State(shared), Extension(caller), Selector(selector), RawQuery(asked)): Of) -> Answer {
    let ActionQuery { wait, .. } = query(asked.as_deref())?;
    let apps = names(&select(&shared, &caller, Need::Change, &selector)?);
    act(&shared, &caller, Request::Swap { apps, wait }).await
}

/// A release that is being started or is staged.
pub(super) async fn cancel((State(shared), Extension(caller), Selector(selector), RawQuery(asked)): Of) -> Answer {
    let ActionQuery { .. } = query(asked.as_deref())?;
    let apps = names(&select(&shared, &caller, Need::Change, &selector)?);
    act(&shared, &caller, Request::Cancel { apps }).await
}

pub(super) async fn activate(
    (State(shared), Extension(caller), Selector(name), RawQuery(asked)): Of,
    sent: Result<Bytes, BytesRejection>,
) -> Answer {
    let ActionQuery { wait, .. } = query(asked.as_deref())?;
    let body: ActivateBody = body(sent)?;
    let app = one(&shared, &caller, Need::Change, &name)?;
    let way = body.way().ok_or_else(|| {
        Refusal::new(RefusalCode::Usage, "what is staged runs beside what serves")
            .hint("leave out stage, or leave out stop_first")
    })?;
    let (looking, of) = (shared.clone(), app.clone());
    let release = tokio::task::spawn_blocking(move || release(&of, &body, &looking.launcher.users));
    let release = release.await.map_err(|_| Refusal::new(RefusalCode::Failed, "the supervisor is ending"))??;
    act(&shared, &caller, Request::Activate { app: app.name.clone(), release, way, wait }).await
}

pub(super) async fn signal(
    (State(shared), Extension(caller), Selector(selector), RawQuery(asked)): Of,
    sent: Result<Bytes, BytesRejection>,
) -> Answer {
    let ActionQuery { .. } = query(asked.as_deref())?;
    let SignalBody { signal } = body(sent)?;
    let number = signal_number(&signal).ok_or_else(|| {
        Refusal::new(RefusalCode::Usage, format!("{signal:?} is no signal")).hint("write HUP, SIGUSR2 or a number")
    })?;
    let apps = names(&select(&shared, &caller, Need::Change, &selector)?);
    act(&shared, &caller, Request::Signal { apps, signal: number, name: signal_name(number) }).await
}

pub(super) async fn flush((State(shared), Extension(caller), Selector(selector), RawQuery(asked)): Of) -> Answer {
    let ActionQuery { .. } = query(asked.as_deref())?;
    let flushing = select(&shared, &caller, Need::Change, &selector)?.into_iter().map(|app| {
        let (done, flushed) = oneshot::channel();
        shared.logs.flush(Arc::from(app.name.as_str()), move |result| drop(done.send(result)));
        (app, flushed)
    });
    let flushing: Vec<_> = flushing.collect();
    let patience = sleep(TAIL_PATIENCE);
    tokio::pin!(patience);
    let mut results = Vec::new();
    for (app, flushed) in flushing {
        let error = tokio::select! {
            biased;
            flushed = flushed => flush_error(&app.name, flushed),
            () = &mut patience => Some(unflushed(&app.name)),
        };
        let message = error.as_ref().map_or_else(|| "logs emptied".to_owned(), |error| error.message.clone());
        results.push(ActionResult { app: app.name.clone(), message, error, last_lines: Vec::new() });
    }
    answer_actions(results)
}

fn flush_error(app: &str, flushed: Result<io::Result<()>, RecvError>) -> Option<Refusal> {
    match flushed {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(Refusal::new(RefusalCode::Failed, format!("cannot empty the logs of {app}: {error}"))),
        Err(_) => Some(Refusal::new(RefusalCode::Failed, "the supervisor is ending")),
    }
}

fn unflushed(app: &str) -> Refusal {
    let message = format!("the logs of {app} are not emptied yet: the disk they are on is slow");
    Refusal::new(RefusalCode::Failed, message).hint("it is done once the disk answers")
}

pub(super) async fn apply(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    RawQuery(asked): RawQuery,
    sent: Result<Bytes, BytesRejection>,
) -> Answer {
    let ActionQuery { wait, .. } = query(asked.as_deref())?;
    let ApplyBody { dry_run } = body(sent)?;
    admit(&shared, &caller, Need::Change, "the supervisor")?;
    if dry_run {
        return Ok(json(&apply::dry_run(&shared).await?));
    }
    let id = shared.next_request();
    let _abandon = AbandonOnDrop { shared: shared.clone(), id };
    let mut reply = apply::apply(&shared, id, caller.name(), wait).await?;
    reply.results = with_last_lines(&shared, reply.results).await;
    Ok(json(&reply))
}

pub(super) async fn shutdown(State(shared): State<Arc<Shared>>, Extension(caller): Extension<Caller>) -> Answer {
    admit(&shared, &caller, Need::Change, "the supervisor")?;
    if let Some(unit) = unit::own() {
        let why = format!("systemd runs this supervisor as {unit}, and may start it again");
        let stop = unit.systemctl("stop");
        let hint = format!("`{stop}` stops it and its apps, `infissi-ctl stop all` the apps alone");
        return Err(Refusal::new(RefusalCode::NotAllowed, why).hint(hint).into());
    }
    // It may take longer than anybody waits for an answer; when it is done there is nobody to answer any more.
    let (reply, _at_the_end) = oneshot::channel();
    let (id, request) = (shared.next_request(), Request::Shutdown { hurry: false });
    shared.ask(Ask::Request { id, by: caller.name(), request, reply }).await;
    answer_actions(Vec::new())
}

/// # Errors
/// Not allowed, in words.
pub(super) fn admit(shared: &Shared, caller: &Caller, need: Need, what: &str) -> Result<(), Refusal> {
    if caller.may_everywhere(need) {
        return Ok(());
    }
    Err(caller.refusal(need, what, &shared.config().supervisor.control))
}

async fn act(shared: &Arc<Shared>, caller: &Caller, request: Request) -> Answer {
    let id = shared.next_request();
    let _abandon = AbandonOnDrop { shared: shared.clone(), id };
    let (reply, answer) = oneshot::channel();
    shared.ask(Ask::Request { id, by: caller.name(), request, reply }).await;
    match answer.await {
        Ok(Reply::Actions(results)) => answer_actions(with_last_lines(shared, results).await),
        Ok(Reply::Refused(refusal)) => Err(refusal.into()),
        Ok(Reply::Applied { .. }) | Err(_) => Err(Refusal::new(RefusalCode::Failed, "the supervisor is ending").into()),
    }
}

/// What an app that failed wrote last.
async fn with_last_lines(shared: &Shared, mut results: Vec<ActionResult>) -> Vec<ActionResult> {
    for result in &mut results {
        if result.error.as_ref().is_some_and(|error| error.code == RefusalCode::Failed) {
            result.last_lines = last_lines(shared, &result.app).await;
        }
    }
    results
}

/// The last lines of an app's runs; those kept already when the log thread is slow. What serves has not failed and may
/// have much to say meanwhile: it is left out.
pub(super) async fn last_lines(shared: &Shared, app: &str) -> Vec<OutputLine> {
    let (done, lines) = oneshot::channel();
    let serving = serving(shared, app).await;
    shared.logs.tail(Arc::from(app), serving, move |lines| drop(done.send(lines)));
    match tokio::time::timeout(TAIL_PATIENCE, lines).await {
        Ok(Ok(lines)) => lines.into_iter().map(output_line).collect(),
        Ok(Err(_)) | Err(_) => shared.outputs.tail(app),
    }
}

async fn serving(shared: &Shared, app: &str) -> Vec<SourceId> {
    let Ok(AppView { status, .. }) = view(shared, app).await else { return Vec::new() };
    let serves = |run: &Arc<Run>| {
        let of_run = |instance: &&InstanceStatus| instance.pid == Some(run.pid) && instance.slot == run.slot;
        let instance = status.instances.iter().find(of_run);
        run.slot == status.slot && instance.is_some_and(|instance| instance.status == Status::Online)
    };
    shared.runs.of(app).iter().filter(|run| serves(run)).map(|run| SourceId(run.id.0)).collect()
}

fn names(apps: &[Arc<AppConfig>]) -> Vec<String> {
    apps.iter().map(|app| app.name.clone()).collect()
}

/// A client that goes away is no longer waited for; the work goes on.
struct AbandonOnDrop {
    shared: Arc<Shared>,
    id: RequestId,
}

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.shared.try_ask(Ask::Abandoned { id: self.id });
    }
}
