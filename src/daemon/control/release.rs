//! Which directory may be activated as a release of an app: one of its own, with no link on the way.

use crate::api::{ActivateBody, Refusal, RefusalCode};
use crate::config::AppConfig;
use crate::daemon::launch::sentence;
use crate::daemon::users::Users;
use crate::linux::no_links::owner_of_directory;
use crate::supervisor::{Release, refuse_follower};
use std::path::Path;

/// A longer name is none that anybody reads, bytes.
const LONGEST_ID: usize = 128;

/// The release that a request names. Looks at the disk and the user database.
///
/// # Errors
/// Why it is not one, as an answer.
pub(super) fn release(app: &AppConfig, body: &ActivateBody, users: &Users) -> Result<Release, Refusal> {
    let refused = |message: String| Refusal::new(RefusalCode::Usage, message);
    let Some(deploy) = &app.deploy else {
        return Err(no_releases(app));
    };
    let releases = deploy.releases();
    let dir = Path::new(&body.release_dir);
    if dir.parent() != Some(&releases) {
        let message = format!("{} is no release of {}", dir.display(), app.name);
        return Err(refused(message).hint(format!("its releases stand in {}", releases.display())));
    }
    let owner = owner_of_directory(dir).map_err(|error| {
        refused(format!("{} cannot be a release: {}", dir.display(), sentence(&error)))
            .hint("give the directory itself, with no link on the way to it")
    })?;
    let user = users.find(&app.in_release(dir)).map_err(|why| Refusal::new(RefusalCode::Failed, why))?;
    if owner != user.uid && owner != 0 {
        let message =
            format!("{} belongs neither to root nor to {}, as whom {} runs", dir.display(), user.name, app.name);
        return Err(refused(message).hint(format!("chown -R {} {}", user.name, dir.display())));
    }
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let id = body.release_id.clone().unwrap_or(name);
    if !is_plain(&id) {
        let message = format!("{id:?} cannot be the id of a release");
        return Err(refused(message).hint("it is letters, digits, dots, hyphens and underscores"));
    }
    Ok(Release { id, dir: dir.to_owned() })
}

/// It may be another app that has them.
pub(super) fn no_releases(app: &AppConfig) -> Refusal {
    refuse_follower(app).unwrap_or_else(|| {
        Refusal::new(RefusalCode::Usage, format!("{} has no releases", app.name))
            .hint(format!("give [apps.{}.deploy] a root and apply", app.name))
    })
}

/// The release of that id, where it was asked for by its id alone.
///
/// # Errors
/// Why it is not one, as an answer.
pub(super) fn release_of_id(app: &AppConfig, id: &str, users: &Users) -> Result<Release, Refusal> {
    let releases = app.deploy.as_ref().ok_or_else(|| no_releases(app))?.releases();
    if !is_plain(id) {
        return Err(Refusal::new(RefusalCode::Usage, format!("{id:?} cannot be the id of a release")));
    }
    let release_dir = releases.join(id).display().to_string();
    release(app, &ActivateBody { release_dir, release_id: None, stage: false, stop_first: false }, users)
}

/// It stands in paths, environments and messages.
fn is_plain(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !id.is_empty() && id.len() <= LONGEST_ID && !id.starts_with(['.', '-']) && id.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_plain_name() {
        for id in ["20261122-235500", "v1.2.3_rc-1", "a"] {
            assert!(is_plain(id), "{id}");
        }
        for id in ["", ".", "..", "-rf", "a/b", "a b", "a\n", "ä", &"x".repeat(129)] {
            assert!(!is_plain(id), "{id}");
        }
    }
}
