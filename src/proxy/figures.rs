//! Which figures one supervisor has not been told yet.

use super::channel::{AppFigures, Report, TargetFigures};
use super::routes::Routes;
use std::collections::HashMap;

/// What was told last. A supervisor that has just attached knows nothing.
#[derive(Debug, Default)]
pub(super) struct Figures {
    apps: HashMap<String, AppFigures>,
    targets: HashMap<u64, TargetFigures>,
}

impl Figures {
    /// What changed since the last call; none when nothing did. What is gone by now is forgotten.
    pub(super) fn changes(&mut self, routes: &Routes) -> Option<Report> {
        let apps: HashMap<String, AppFigures> =
            routes.apps().iter().map(|app| (app.name().to_owned(), app.counters().figures(app.name()))).collect();
        let targets: HashMap<u64, TargetFigures> =
            routes.known_targets().iter().map(|target| (target.id, target.figures())).collect();
        let (new_of_apps, new_of_targets) = (changed(&self.apps, &apps), changed(&self.targets, &targets));
        (self.apps, self.targets) = (apps, targets);
        let is_nothing = new_of_apps.is_empty() && new_of_targets.is_empty();
        (!is_nothing).then_some(Report::Figures { apps: new_of_apps, targets: new_of_targets })
    }

    /// Requests that were being answered at the last call.
    pub(super) fn in_flight(&self) -> u64 {
        self.apps.values().map(|app| app.requests).sum()
    }
}

fn changed<K: Eq + std::hash::Hash, V: PartialEq + Clone>(before: &HashMap<K, V>, now: &HashMap<K, V>) -> Vec<V> {
    now.iter().filter(|(key, value)| before.get(key) != Some(value)).map(|(_, value)| value.clone()).collect()
}
