//! Whether there is memory for more: what can still be had, and what a second slot of an app would need of it.

use super::runs::Run;
use super::shared::Shared;
use crate::api::{MemoryPlan, Slot};
use crate::config::AppConfig;
use crate::linux::cgroup;
use crate::linux::headroom::headroom;
use crate::supervisor::second_copy;
use std::sync::Arc;

/// Bytes that the machine, and the cgroups that the apps are in, can still give.
pub(super) fn available(shared: &Shared) -> u64 {
    let base = shared.launcher.cgroups.as_ref().ok().map(|cgroups| cgroups.base().to_owned());
    headroom(base.or_else(cgroup::own).as_deref())
}

/// None: nothing would run beside it. Looks at every process of the app.
pub(super) fn for_second_slot(shared: &Shared, app: &AppConfig, slot: Slot) -> Option<MemoryPlan> {
    let (active, other): (Vec<Arc<Run>>, Vec<Arc<Run>>) =
        shared.runs.of(&app.name).into_iter().partition(|run| run.slot == slot);
    if active.is_empty() || !app.rolls_over() {
        return None;
    }
    let uses = |run: &Arc<Run>| run.tree.confirm_memory().bytes;
    let used: Vec<u64> = active.iter().map(uses).collect();
    Some(MemoryPlan {
        // What is in the other slot goes before anything starts there.
        available: available(shared).saturating_add(other.iter().map(uses).sum()),
        used: used.iter().sum(),
        needed: used.iter().map(|used| second_copy(*used, app.max_memory_restart)).sum(),
        is_limited: app.max_memory_restart.is_some(),
    })
}
