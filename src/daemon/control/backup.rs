//! What `infissi-ctl backup` and `restore` have to know: what is kept of an app, where, and as whom.

use super::admission::{Caller, Need};
use super::answer::{Answer, json};
use super::asking::Selector;
use super::deploys::shared_link;
use super::look::{one, view};
use crate::api::{BackupPlan, Refusal, RefusalCode, SharedLink, Slot};
use crate::config::{AppConfig, DeployConfig, Pattern};
use crate::daemon::shared::Shared;
use crate::linux::identity::Identity;
use axum::extract::{Extension, State};
use std::path::Path;
use std::sync::Arc;

pub(super) async fn plan(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Selector(name): Selector,
) -> Answer {
    let app = one(&shared, &caller, Need::Change, &name)?;
    let Some(backup) = &app.backup else {
        let refusal = Refusal::new(RefusalCode::Usage, format!("it is nowhere said what to keep of {}", app.name));
        let hint = format!("write [apps.{}.backup] with dir = \"DIRECTORY\" and run `infissi-ctl apply`", app.name);
        return Err(refusal.hint(hint).into());
    };
    let slot = view(&shared, &app.name).await?.status.slot;
    let user = user(&shared, &app, slot).await.map_err(|reason| Refusal::new(RefusalCode::Failed, reason))?;
    let texts = |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    Ok(json(&BackupPlan {
        app: app.name.clone(),
        user: user.name,
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
        base: backup.base.display().to_string(),
        outside: app.deploy.as_ref().map(|deploy| outside(deploy, &backup.base)).unwrap_or_default(),
        root: app.deploy.as_ref().map(|deploy| deploy.root.display().to_string()),
        dir: backup.dir.display().to_string(),
        include: texts(&backup.include),
        exclude: texts(&backup.exclude),
        before: backup.before.clone(),
        keep: backup.keep,
    }))
}

fn outside(deploy: &DeployConfig, base: &Path) -> Vec<SharedLink> {
    let outside = deploy.shared.iter().filter(|shared| !shared.target.starts_with(base));
    outside.map(shared_link).collect()
}

/// As whom the app's active slot runs.
async fn user(shared: &Arc<Shared>, app: &Arc<AppConfig>, slot: Slot) -> Result<Identity, String> {
    let (shared, app) = (shared.clone(), app.clone());
    let user = tokio::task::spawn_blocking(move || {
        let run = shared.runs.of(&app.name).into_iter().rfind(|run| run.slot == slot);
        let release = run.as_ref().and_then(|run| run.release.as_ref());
        let released = release.map(|release| app.in_release(&release.dir));
        shared.launcher.users.find(released.as_ref().unwrap_or(&app))
    });
    user.await.unwrap_or_else(|_| Err("the supervisor is ending".to_owned()))
}
