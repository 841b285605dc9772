//! What a deploy asks before it begins: how a release of an app is made, and which of them run.

use super::admission::{Caller, Need};
use super::answer::{Answer, json};
use super::asking::Selector;
use super::look::{one, view};
use super::release::no_releases;
use crate::api::{DeployPlan, Refusal, Releases, SharedLink};
use crate::config::{AppConfig, DeployConfig, SharedPath};
use crate::daemon::notice::AppView;
use crate::daemon::room;
use crate::daemon::shared::Shared;
use axum::extract::{Extension, State};
use std::path::Path;
use std::sync::Arc;

pub(super) async fn releases(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Selector(name): Selector,
) -> Answer {
    let app = one(&shared, &caller, Need::Look, &name)?;
    let deploy = deployed(&app)?;
    Ok(json(&known(&app, deploy, &view(&shared, &app.name).await?)))
}

pub(super) async fn plan(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Selector(name): Selector,
) -> Answer {
    let app = one(&shared, &caller, Need::Change, &name)?;
    let deploy = deployed(&app)?;
    let releases = known(&app, deploy, &view(&shared, &app.name).await?);
    let (asking, of) = (shared.clone(), app.clone());
    // Whom it cannot be told yet, the release itself will tell.
    let slot = releases.slot;
    let look = move || (asking.launcher.users.find(&of).ok(), room::for_second_slot(&asking, &of, slot));
    let (user, memory) = tokio::task::spawn_blocking(look).await.unwrap_or_default();
    Ok(json(&DeployPlan {
        releases,
        repo: deploy.repo.clone(),
        branch: deploy.branch.clone(),
        shared: deploy.shared.iter().map(shared_link).collect(),
        steps: deploy.steps.clone(),
        migrate: deploy.migrate.clone(),
        bridge: deploy.bridge.iter().map(|path| text(path)).collect(),
        warm_ms: u64::try_from(deploy.warm.as_millis()).unwrap_or(u64::MAX),
        min_free_bytes: deploy.min_free,
        backup: deploy.backup,
        plain_dir: app.plain_dir().map(text),
        uid: user.as_ref().map(|user| user.uid),
        user: user.map(|user| user.name),
        memory,
    }))
}

pub(super) fn shared_link(shared: &SharedPath) -> SharedLink {
    SharedLink { path: text(&shared.path), target: text(&shared.target) }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn deployed(app: &AppConfig) -> Result<&DeployConfig, Refusal> {
    app.deploy.as_ref().ok_or_else(|| no_releases(app))
}

/// What the core says of the releases of an app.
pub(super) fn known(app: &AppConfig, deploy: &DeployConfig, view: &AppView) -> Releases {
    let AppView { status, bad, trying, setback, in_use, .. } = view;
    let (trying, active) = match trying.clone() {
        Some((trying, before)) => (Some(trying), before),
        None => (None, status.release.clone()),
    };
    Releases {
        app: app.name.clone(),
        root: deploy.root.to_string_lossy().into_owned(),
        keep: deploy.keep,
        slot: status.slot,
        active,
        trying,
        other: status.other.clone(),
        bad: bad.clone(),
        setback: setback.clone(),
        in_use: in_use.clone(),
    }
}
