//! `POST /v1/upgrade`: answered once it is certain that another program takes over, or why none does.

use super::actions::admit;
use super::admission::{Caller, Need};
use super::answer::{Answer, json};
use super::places::held_until_sent;
use crate::api::{ProgramStatus, Refusal, RefusalCode, UpgradeReply};
use crate::daemon::clock;
use crate::daemon::notice::Ask;
use crate::daemon::shared::Shared;
use crate::daemon::upgrade::{Build, Upgrade, Way, check};
use axum::extract::{Extension, State};
use std::sync::Arc;
use tokio::sync::oneshot;

pub(super) async fn upgrade(State(shared): State<Arc<Shared>>, Extension(caller): Extension<Caller>) -> Answer {
    admit(&shared, &caller, Need::Change, "the supervisor")?;
    let Ok(_checking) = shared.upgrades.checking.try_lock() else {
        let refusal = Refusal::new(RefusalCode::Busy, "an upgrade is under way already");
        return Err(refusal.hint("infissi-ctl version shows what came of it").into());
    };
    let (from, program) = (env!("CARGO_PKG_VERSION").to_owned(), shared.upgrades.program.clone());
    let path = program.display().to_string();
    // A task of its own: its process is waited for, whoever still waits for the answer.
    let (asking, of) = (shared.clone(), program.clone());
    let checked = tokio::spawn(async move { check::ask(&asking, &of).await }).await;
    let checked = checked.unwrap_or_else(|_| Err("the supervisor is ending".to_owned()));
    let (succession, build) = checked.map_err(|why| {
        let message = format!("{path} cannot take over: {why}");
        Refusal::new(RefusalCode::Failed, message).hint("nothing was changed: the program that runs goes on")
    })?;
    let id = u64::try_from(clock::now().mono.as_nanos()).unwrap_or(u64::MAX);
    let way = Way { program, build, id };
    let upgrade = Upgrade { way, to: succession.version.clone(), by: caller.name() };
    let (accepted, answer) = oneshot::channel();
    shared.ask(Ask::Upgrade { upgrade, accepted }).await;
    let sent = answer.await.map_err(|_| Refusal::new(RefusalCode::Busy, "the supervisor is ending"))??;
    let reply = json(&UpgradeReply { id, from, to: succession.version, program: path });
    Ok(reply.map(|body| held_until_sent(sent, body)))
}

/// What is to be found by now where this program was started from; none where that cannot be told.
pub(super) fn status(shared: &Shared) -> Option<ProgramStatus> {
    let path = &shared.upgrades.program;
    // One that is gone is another one, too: nothing could be started again from there.
    let replaced = Build::at(path).ok() != Some(Build::own().ok()?);
    Some(ProgramStatus { path: path.display().to_string(), replaced })
}
