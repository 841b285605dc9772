//! What the public finds at each app: derived from where its instances are, told when it changes.

use super::app::App;
use super::core::Supervisor;
use super::effect::Effect;
use super::event::RunId;
use super::instance::{Held, State};
use super::rollover::opposite;
use super::{Now, instance::Instance};
use crate::api::{EventKind, Health, Slot};
use crate::config::AppConfig;
use std::sync::Arc;

/// What was told last.
#[derive(Debug, Clone)]
pub(super) struct Published {
    config: Arc<AppConfig>,
    open: bool,
    active: Vec<RunId>,
    warm: Vec<RunId>,
}

impl Supervisor {
    /// Tell what changed; then who left the routes is drained.
    pub(super) fn publish(&mut self) {
        for i in 0..self.apps.len() {
            self.publish_app(i);
            for k in 0..self.apps[i].instances.len() {
                let State::Draining { live, drain } = &mut self.apps[i].instances[k].state else { continue };
                if !std::mem::replace(&mut drain.told, true) {
                    let run = live.run;
                    self.push(Effect::Drain { run });
                }
            }
        }
    }

    pub(super) fn publish_app(&mut self, i: usize) {
        let app = &self.apps[i];
        if app.has_left_the_proxy() {
            let (app, none) = (app.config.clone(), Vec::new());
            (self.apps[i].published, self.apps[i].port_held) = (None, None);
            return self.push(Effect::Publish { app, open: false, active: none.clone(), warm: none });
        }
        let Some(config) = app.served_by().cloned() else { return };
        // What is to end serves until those who need it have ended.
        let needed = app.serves_by_proxy() || (self.wanted(i) && app.config.proxy.is_some());
        let open = needed && !app.binds_itself();
        let active = app.routed(app.slot);
        let warm = if app.retreat().is_some_and(|retreat| retreat.warm_until.is_some()) {
            app.routed(opposite(app.slot))
        } else {
            Vec::new()
        };
        let published = Published { config, open, active, warm };
        let before = app.published.as_ref();
        if before.is_none() && !open || before.is_some_and(|before| before.says_the_same(&published)) {
            return;
        }
        if !open {
            self.apps[i].port_held = None;
        }
        self.apps[i].published = Some(published.clone());
        let Published { config, open, active, warm } = published;
        self.push(Effect::Publish { app: config, open, active, warm });
    }

    pub(super) fn port_held_by(&mut self, name: &str, holder: String, now: Now) {
        let Some(i) = self.apps.iter().position(|app| app.config.name == name && app.is_open()) else { return };
        let since = self.apps[i].port_held.as_ref().map_or(now.mono, |held| held.since);
        let news = self.apps[i].port_held.as_ref().is_none_or(|held| held.holder != holder);
        self.apps[i].port_held = Some(Held { holder: holder.clone(), since });
        if news {
            self.announce(Some((i, 0)), EventKind::PortHeld, None, holder);
        }
    }

    pub(super) fn port_open(&mut self, name: &str) {
        let Some(i) = self.apps.iter().position(|app| app.config.name == name) else { return };
        if self.apps[i].port_held.take().is_some() {
            self.announce(Some((i, 0)), EventKind::Online, None, "has its public port".to_owned());
        }
    }
}

impl Published {
    fn says_the_same(&self, other: &Published) -> bool {
        let same_config = Arc::ptr_eq(&self.config, &other.config) || (!self.open && !other.open);
        same_config && self.open == other.open && self.active == other.active && self.warm == other.warm
    }
}

impl App {
    /// The configuration by which the proxy treats its clients. What is behind the proxy until it ends keeps that by
    /// which it was published.
    pub(super) fn served_by(&self) -> Option<&Arc<AppConfig>> {
        let now = Some(&self.config).filter(|config| config.proxy.is_some());
        now.or_else(|| self.published.as_ref().map(|published| &published.config))
    }

    /// Its public addresses are listened on, as far as they are ours.
    pub(super) fn is_open(&self) -> bool {
        self.published.as_ref().is_some_and(|published| published.open)
    }

    fn serves_by_proxy(&self) -> bool {
        let online = |state: &State| matches!(state, State::Online { live, .. } if live.proxied);
        self.active().any(|instance| online(&instance.state))
    }

    /// It was behind the proxy, and neither is nor will be.
    fn has_left_the_proxy(&self) -> bool {
        let proxied = self.instances.iter().filter_map(Instance::live).any(|live| live.proxied);
        self.published.is_some() && self.config.proxy.is_none() && !proxied
    }

    /// A tree of it has the public port: from when it was not behind the proxy.
    fn binds_itself(&self) -> bool {
        self.instances.iter().filter_map(Instance::live).any(|live| !live.proxied)
    }

    /// Who may answer in this slot. Who is sick only where nobody is well.
    fn routed(&self, slot: Slot) -> Vec<RunId> {
        let online = |instance: &&Instance| {
            instance.slot == slot && matches!(&instance.state, State::Online { live, .. } if live.proxied)
        };
        let run = |instance: &Instance| instance.live().map(|live| live.run);
        let well = |instance: &&Instance| instance.health() != Health::Unhealthy;
        let of_slot = || self.instances.iter().filter(online);
        let healthy: Vec<RunId> = of_slot().filter(well).filter_map(run).collect();
        if healthy.is_empty() { of_slot().filter_map(run).collect() } else { healthy }
    }
}
