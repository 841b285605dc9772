//! Reading the configuration again and going over to it.

use super::clock;
use super::notice::Ask;
use super::shared::Shared;
use super::shell::SAVE_PATIENCE;
use crate::api::{ApplyReply, Refusal, RefusalCode};
use crate::config::{Caller, Config, Facts, Mistakes, Parsed, Sources, parse};
use crate::linux::identity::Identity;
use crate::linux::peer::user_name;
use crate::supervisor::{Reply, RequestId};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// A configuration with the text it came from.
pub(super) struct Loaded {
    pub sources: Sources,
    pub parsed: Parsed,
}

/// Reads and parses; blocks.
///
/// # Errors
/// Every mistake.
pub(super) fn load(path: &Path, is_root: bool) -> Result<Loaded, Mistakes> {
    let sources = Sources::read(path)?;
    let parsed = parse_sources(&sources, is_root)?;
    Ok(Loaded { sources, parsed })
}

/// # Errors
/// Every mistake.
pub(super) fn parse_sources(sources: &Sources, is_root: bool) -> Result<Parsed, Mistakes> {
    parse(sources, &Facts { is_root, user_name: &user_name, log_dir: usual_log_dir() })
}

fn usual_log_dir() -> Option<PathBuf> {
    let own = Identity::own();
    let env = |name: &str| std::env::var_os(name);
    Caller { uid: own.uid, user: None, home: Some(own.home), cwd: PathBuf::new(), env: &env }.log_dir()
}

/// What `apply` would do.
///
/// # Errors
/// The configuration has mistakes, or the supervisor is ending.
pub(super) async fn dry_run(shared: &Arc<Shared>) -> Result<ApplyReply, Refusal> {
    let loaded = load_again(shared).await?;
    let (reply, answer) = oneshot::channel();
    shared.ask(Ask::Plan { config: Arc::new(loaded.parsed.config), reply }).await;
    let (plan, busy) = answer.await.map_err(|_| ending())?;
    let refused = busy.map(|refusal| refusal.message);
    Ok(ApplyReply { plan, dry_run: true, refused, results: Vec::new() })
}

/// Goes over to what the files say now. A configuration with mistakes changes nothing.
///
/// # Errors
/// The mistakes; an app is being rolled over; the supervisor is shutting down.
pub(super) async fn apply(shared: &Arc<Shared>, id: RequestId, by: String, wait: bool) -> Result<ApplyReply, Refusal> {
    // A task of its own: who asked may leave in the middle, and nothing must be left half done then.
    let task = tokio::spawn(carry_out(shared.clone(), id, by, wait));
    task.await.unwrap_or_else(|_| Err(ending()))
}

async fn carry_out(shared: Arc<Shared>, id: RequestId, by: String, wait: bool) -> Result<ApplyReply, Refusal> {
    let _reloading = shared.launcher.manager.reload();
    let one_at_a_time = shared.applying.lock().await;
    let Loaded { sources, parsed } = load_again(&shared).await?;
    let before = shared.applied();
    let at = clock::now().wall;
    keep(&shared, &sources, at).await;
    let (taken, is_taken) = oneshot::channel();
    let (reply, answer) = oneshot::channel();
    let config: Arc<Config> = Arc::new(parsed.config);
    shared.ask(Ask::Apply { id, by, config, wait, taken, reply }).await;
    if is_taken.await == Ok(true) {
        shared.set_applied(sources, at);
    } else {
        // What is kept is what runs.
        keep(&shared, &before.sources, before.at).await;
    }
    drop(one_at_a_time);
    match answer.await {
        Ok(Reply::Applied { plan, results }) => Ok(ApplyReply { plan, dry_run: false, refused: None, results }),
        Ok(Reply::Refused(refusal)) => Err(refusal),
        Ok(Reply::Actions(_)) | Err(_) => Err(ending()),
    }
}

/// For the next start, before it is acted on. A disk that does not take it holds nobody up.
async fn keep(shared: &Shared, sources: &Sources, at: Timestamp) {
    let (done, kept) = oneshot::channel();
    shared.applied_file.put((sources.clone(), at), move |result| drop(done.send(result)));
    let why = match timeout(SAVE_PATIENCE, kept).await {
        Ok(Ok(Ok(()))) => return,
        Ok(Ok(Err(error))) => error.to_string(),
        Ok(Err(_)) | Err(_) => format!("the disk has not taken it in {} s", SAVE_PATIENCE.as_secs()),
    };
    tracing::warn!("the applied configuration is not kept for the next start: {why}");
}

/// On SIGHUP: there is nobody to answer to, so the log gets the answer.
pub(super) fn by_signal(shared: Arc<Shared>) {
    tokio::spawn(async move {
        let id = shared.next_request();
        if let Err(refusal) = apply(&shared, id, "a signal".to_owned(), false).await {
            tracing::warn!("the configuration is not applied: {refusal}");
        }
    });
}

async fn load_again(shared: &Arc<Shared>) -> Result<Loaded, Refusal> {
    let (path, is_root) = (shared.applied().path, shared.launcher.users.are_roots());
    let loaded = tokio::task::spawn_blocking(move || load(&path, is_root)).await;
    let loaded = loaded.map_err(|_| ending())?;
    loaded.map_err(|mistakes| {
        Refusal::new(RefusalCode::BadConfig, mistakes.to_string())
            .hint("nothing was changed; mend the file, then infissi-ctl check and infissi-ctl apply")
    })
}

fn ending() -> Refusal {
    Refusal::new(RefusalCode::Failed, "the supervisor is ending")
}
