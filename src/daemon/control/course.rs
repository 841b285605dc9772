//! Whether a deploy goes on, and how the last one ended: what stands beside the releases, read with the rights of the
//! app's user, for everybody who may look at the app.

use crate::api::{Deploying, LastDeploy, Releases};
use crate::config::AppConfig;
use crate::daemon::shared::Shared;
use crate::deploy::{Lock, Root, last};
use crate::linux::identity::with_fs_identity;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A disk that does not answer so long is not waited for: nothing of it is told then.
const PATIENCE: Duration = Duration::from_millis(500);

/// The deploys that go on, by app.
pub(super) async fn deploying(shared: &Arc<Shared>, mut apps: Vec<Arc<AppConfig>>) -> HashMap<String, Deploying> {
    apps.retain(|app| app.deploy.is_some());
    if apps.is_empty() {
        return HashMap::new();
    }
    let shared = shared.clone();
    looked(move || {
        let goes_on = |app: &Arc<AppConfig>| Some((app.name.clone(), as_its_user(&shared, app, holder)??));
        apps.iter().filter_map(goes_on).collect()
    })
    .await
}

/// How the last one ended, while none goes on.
pub(super) async fn last_of(shared: &Arc<Shared>, app: &Arc<AppConfig>, known: &Releases) -> Option<LastDeploy> {
    let (shared, app) = (shared.clone(), app.clone());
    let found = looked(move || as_its_user(&shared, &app, last)?).await?;
    Some(found.told_by(known))
}

fn as_its_user<T>(shared: &Shared, app: &AppConfig, look: impl FnOnce(&Root) -> T) -> Option<T> {
    let root = Root::new(&app.deploy.as_ref()?.root);
    let users = &shared.launcher.users;
    let user = users.known_of(&app.name).or_else(|| users.find(app).ok())?;
    with_fs_identity(&user, || look(&root)).ok()
}

fn holder(root: &Root) -> Option<Deploying> {
    Lock::look(&root.lock()).ok()??.map(Deploying::from)
}

async fn looked<T: Default + Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> T {
    let found = timeout(PATIENCE, tokio::task::spawn_blocking(look)).await;
    found.ok().and_then(Result::ok).unwrap_or_default()
}
