//! Who may: root and the supervisor's own user everything; `control` names more; an app's user all about that app.

use crate::api::{Refusal, RefusalCode};
use crate::config::{AppConfig, Config, ControlConfig};
use crate::daemon::shared::Shared;
use crate::daemon::users::Users;
use crate::linux::peer::{Peer, user_in_group, user_name};
use std::sync::{Arc, Mutex, PoisonError};

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Look,
    Change,
}

/// The one who asks, with what the configuration grants.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) uid: u32,
    /// The login name, or the number of one without.
    name: String,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Admin,
    Looker,
    /// No more than their own apps.
    Nobody,
}

/// Whoever is at the other end of one connection; judged anew when the configuration has changed.
pub(super) struct Visitor {
    peer: Peer,
    judged: Mutex<Option<(Arc<Config>, Caller)>>,
}

impl Visitor {
    pub(super) fn new(peer: Peer) -> Visitor {
        Visitor { peer, judged: Mutex::default() }
    }

    /// What this one may do now. The user database is asked on a thread that may wait for it.
    pub(super) async fn caller(&self, shared: &Shared) -> Caller {
        let config = shared.config();
        let judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, caller)) = judged.filter(|(by, _)| Arc::ptr_eq(by, &config)) {
            return caller;
        }
        let own = shared.launcher.users.own();
        let caller = if self.peer.uid == 0 || self.peer.uid == own.uid {
            let name = if self.peer.uid == own.uid { own.name.clone() } else { "root".to_owned() };
            Caller { uid: self.peer.uid, name, standing: Standing::Admin }
        } else {
            let (peer, control) = (self.peer.clone(), config.supervisor.control.clone());
            let asking = tokio::task::spawn_blocking(move || Caller::ask(&peer, &control));
            let nobody = Caller { uid: self.peer.uid, name: self.peer.uid.to_string(), standing: Standing::Nobody };
            asking.await.unwrap_or(nobody)
        };
        *self.judged.lock().unwrap_or_else(PoisonError::into_inner) = Some((config, caller.clone()));
        caller
    }
}

impl Caller {
    /// By the user database; blocks.
    fn ask(peer: &Peer, control: &ControlConfig) -> Caller {
        let standing = if is_admin(peer, control) {
            Standing::Admin
        } else if control.group.as_ref().is_some_and(|group| in_group(peer, group)) {
            Standing::Looker
        } else {
            Standing::Nobody
        };
        let name = user_name(peer.uid).unwrap_or_else(|| peer.uid.to_string());
        Caller { uid: peer.uid, name, standing }
    }

    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    /// May they do this with that app?
    pub(super) fn may(&self, need: Need, app: &AppConfig, users: &Users) -> bool {
        self.may_everywhere(need) || users.known_of(&app.name).is_some_and(|user| user.uid == self.uid)
    }

    /// May they do this with the supervisor as a whole?
    pub(super) fn may_everywhere(&self, need: Need) -> bool {
        match (self.standing, need) {
            (Standing::Admin, _) | (Standing::Looker, Need::Look) => true,
            (Standing::Looker, Need::Change) | (Standing::Nobody, _) => false,
        }
    }

    /// May they at least see that there is a supervisor? Whoever owns an app has to reach it.
    pub(super) fn may_look_at_something(&self, config: &Config, users: &Users) -> bool {
        self.may_everywhere(Need::Look) || config.apps.iter().any(|app| self.may(Need::Look, app, users))
    }

    /// Why not, and what would make it possible.
    pub(crate) fn refusal(&self, need: Need, what: &str, control: &ControlConfig) -> Refusal {
        let name = &self.name;
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
