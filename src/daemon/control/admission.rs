//! Who may: root and the supervisor's own user everything; `control` names more; an app's user all about that app.

use crate::api::{Refusal, RefusalCode};
use crate::config::{AppConfig, Config, ControlConfig};
use crate::daemon::launch::Launcher;
use crate::linux::peer::{Peer, user_in_group, user_name};

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Look,
    Change,
}

/// The one who asks, with what the configuration grants.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub peer: Peer,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Admin,
    Looker,
    /// No more than their own apps.
    Nobody,
}

impl Caller {
    pub(crate) fn new(peer: Peer, control: &ControlConfig, own_uid: u32) -> Caller {
        let standing = if peer.uid == 0 || peer.uid == own_uid || is_admin(&peer, control) {
            Standing::Admin
        } else if control.group.as_ref().is_some_and(|group| in_group(&peer, group)) {
            Standing::Looker
        } else {
            Standing::Nobody
        };
        Caller { peer, standing }
    }

    /// The login name, or the number of one without.
    pub(crate) fn name(&self) -> String {
        user_name(self.peer.uid).unwrap_or_else(|| self.peer.uid.to_string())
    }

    /// May they do this with that app?
    pub(crate) fn may(&self, need: Need, app: &AppConfig, launcher: &Launcher) -> bool {
        self.may_everywhere(need) || launcher.user_of(app).is_ok_and(|user| user.uid == self.peer.uid)
    }

    /// May they do this with the supervisor as a whole?
    pub(crate) fn may_everywhere(&self, need: Need) -> bool {
        match (self.standing, need) {
            (Standing::Admin, _) | (Standing::Looker, Need::Look) => true,
            (Standing::Looker, Need::Change) | (Standing::Nobody, _) => false,
        }
    }

    /// May they at least see that there is a supervisor? Whoever owns an app has to reach it.
    pub(crate) fn owns_an_app(&self, config: &Config, launcher: &Launcher) -> bool {
        config.apps.iter().any(|app| self.may(Need::Look, app, launcher))
    }

    /// Why not, and what would make it possible.
    pub(crate) fn refusal(&self, need: Need, what: &str, control: &ControlConfig) -> Refusal {
        let name = self.name();
        let group = control.group.as_deref();
        let hint = match (need, group) {
            (Need::Look, Some(group)) => format!("ask root to add {name} to the group {group}"),
            (Need::Look, None) => {
                format!("ask root to set control = {{ group = \"…\" }} under [supervisor] and add {name} to that group")
            }
            (Need::Change, _) => {
                format!("ask root to add \"{name}\" to control.admins under [supervisor], or use sudo")
            }
        };
        let verb = match need {
            Need::Look => "look at",
            Need::Change => "change",
        };
        Refusal::new(RefusalCode::NotAllowed, format!("{name} may not {verb} {what}")).hint(hint)
    }
}

fn is_admin(peer: &Peer, control: &ControlConfig) -> bool {
    if control.admins.is_empty() {
        return false;
    }
    let name = user_name(peer.uid);
    control.admins.iter().any(|admin| match admin.strip_prefix('@') {
        Some(group) => in_group(peer, group),
        None => name.as_deref() == Some(admin),
    })
}

fn in_group(peer: &Peer, group: &str) -> bool {
    user_in_group(peer, group).unwrap_or_else(|error| {
        tracing::warn!("cannot tell who is in the group {group}: {error}");
        false
    })
}
