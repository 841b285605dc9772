//! As whom each app runs. Asking may take long (LDAP, a hung disk), so it is done on threads that may wait; what was
//! learnt is remembered for those that may not.

use super::launch::sentence;
use crate::config::AppConfig;
use crate::linux::identity::Identity;
use crate::linux::owner::{OwnerError, believable_owner};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) struct Users {
    own: Identity,
    known: Mutex<HashMap<String, Identity>>,
}

impl Users {
    pub(super) fn new(own: Identity) -> Users {
        Users { own, known: Mutex::default() }
    }

    pub(super) fn own(&self) -> &Identity {
        &self.own
    }

    pub(super) fn are_roots(&self) -> bool {
        self.own.uid == 0
    }

    /// As whom an app runs: its `user`; else, when we are root, the owner of its directory; else ourselves. Blocks.
    ///
    /// # Errors
    /// There is no such user, we cannot become it, or somebody else could choose it: as a sentence.
    pub(super) fn find(&self, app: &AppConfig) -> Result<Identity, String> {
        let found = self.look_up(app);
        match &found {
            Ok(user) => self.known().insert(app.name.clone(), user.clone()),
            Err(_) => self.known().remove(&app.name),
        };
        found
    }

    /// What was found last, if anything was.
    pub(super) fn known_of(&self, app: &str) -> Option<Identity> {
        self.known().get(app).cloned()
    }

    /// The identity to take on, where it is not our own.
    pub(super) fn becomes(&self, user: Identity) -> Option<Identity> {
        self.are_roots().then_some(user)
    }

    fn look_up(&self, app: &AppConfig) -> Result<Identity, String> {
        let user = match &app.user {
            Some(name) => Identity::of_name(name).map_err(|error| sentence(&error))?,
            None if self.are_roots() => {
                let owner = owner(app)
                    .map_err(|error| format!("{}; or name its user in the configuration", sentence(&error)))?;
                Identity::of_uid(owner).map_err(|error| sentence(&error))?
            }
            None => self.own.clone(),
        };
        if !self.are_roots() && user.uid != self.own.uid {
            let own = &self.own.name;
            return Err(format!("it is to run as {}, and a supervisor of {own} cannot become that user", user.name));
        }
        Ok(user)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Identity>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose directory it runs in. Before an app has its first release, who is to deploy it is known by the root.
fn owner(app: &AppConfig) -> Result<u32, OwnerError> {
    match (believable_owner(&app.cwd), app.release_root()) {
        (Err(OwnerError::Missing { .. }), Some(root)) if app.live().is_some_and(|live| app.cwd.starts_with(live)) => {
            believable_owner(root)
        }
        (owner, _) => owner,
    }
}
