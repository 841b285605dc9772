//! With whose rights a deploy works: those of the owner of the root, and nobody else's.

use crate::api::{DeployPlan, Refusal, RefusalCode};
use crate::ctl::failure::Failure;
use crate::deploy::Root;
use crate::linux::become_user::become_user;
use crate::linux::identity::Identity;
use crate::linux::owner::{OwnerError, believable_owner};
use crate::linux::user::own_uid;
use std::ffi::OsString;

/// Who deploys, and with which environment of their own.
pub(crate) struct Whose {
    pub(crate) by: String,
    pub(crate) env: Vec<(OsString, OsString)>,
}

/// Becomes the owner of the root where we are root; refuses anybody else. The environment for what works with the
/// caller's own things, git above all.
pub(crate) fn settle(root: &Root, plan: &DeployPlan) -> Result<Vec<(OsString, OsString)>, Failure> {
    let own = own_uid();
    let owner = if own == 0 { believed_owner(root, plan)? } else { root.owner()? };
    let name = Root::owner_name(owner);
    let app = &plan.releases.app;
    if own != 0 && own != owner {
        let message = format!("{} belongs to {name}, and only they and root can deploy there", root.dir().display());
        return Err(Failure::new(RefusalCode::NotAllowed, message, format!("sudo -u {name} {}", this_command())));
    }
    if let (Some(uid), Some(user)) = (plan.uid, &plan.user)
        && uid != owner
    {
        let message = format!("{app} runs as {user}, and its releases in {} belong to {name}", root.dir().display());
        let hint = format!("chown -R {user} {}, or set user = \"{name}\" in [apps.{app}]", root.dir().display());
        return Err(Failure::new(RefusalCode::Failed, message, hint));
    }
    let mut env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    if own == 0 && owner != 0 {
        let failed = |why: String| Refusal::new(RefusalCode::Failed, format!("cannot become {name}: {why}"));
        let user = Identity::of_uid(owner).map_err(|error| failed(error.to_string()))?;
        become_user(user.uid, user.gid, &user.groups).map_err(|error| failed(error.to_string()))?;
        // The rest of root's is not for the eyes of that user, who sees the environment of its processes.
        env.retain(|(variable, _)| variable.to_str().is_some_and(is_for_others));
        env.extend([
            (OsString::from("HOME"), user.home.into_os_string()),
            (OsString::from("USER"), OsString::from(&user.name)),
            (OsString::from("LOGNAME"), OsString::from(&user.name)),
        ]);
    }
    Ok(env)
}

/// The owner whom root becomes: told only where nobody else could have led the path there, for with root's rights a link
/// would choose whose files are written to.
fn believed_owner(root: &Root, plan: &DeployPlan) -> Result<u32, Failure> {
    let (dir, app) = (root.dir().display(), &plan.releases.app);
    match believable_owner(root.dir()) {
        Ok(owner) => Ok(owner),
        Err(OwnerError::Missing { .. }) => {
            let user = plan.user.as_deref().unwrap_or("USER");
            let message = format!("there is no {dir} yet, and whoever owns it is whom {app} runs as");
            let hint = format!("install -d -o {user} {}", shell_words::quote(&dir.to_string()));
            Err(Failure::new(RefusalCode::Failed, message, hint))
        }
        Err(error) => {
            let message = format!("root cannot tell whose {dir} is: {error}");
            let hint = format!("deploy as the user whom {app} runs as: sudo -u USER {}", this_command());
            Err(Failure::new(RefusalCode::NotAllowed, message, hint))
        }
    }
}

/// May whom root becomes have this variable of root's?
fn is_for_others(variable: &str) -> bool {
    const SHARED: [&str; 10] = [
        "PATH",
        "LANG",
        "TZ",
        "TERM",
        "NO_COLOR",
        "SSH_AUTH_SOCK",
        "GIT_SSH_COMMAND",
        "GIT_SSH",
        "CI",
        "INFISSI_COMMIT",
    ];
    let lower = variable.to_ascii_lowercase();
    SHARED.contains(&variable) || variable.starts_with("LC_") || lower.ends_with("_proxy")
}

/// As it was typed.
fn this_command() -> String {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    format!("infissi-ctl {}", shell_words::join(words))
}
