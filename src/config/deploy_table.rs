//! `[apps.NAME.deploy]`: where the releases are and how long the one before is kept at hand.

use super::app::DeployConfig;
use super::app_table::wait;
use super::keys;
use super::notes::Notes;
use super::table::{Setting, View};
use super::values;
use std::path::Path;
use std::time::Duration;

/// None without a table of the app's own. `base`: the directory that a relative `root` begins at.
pub(super) fn deploy(view: &View<'_>, base: &Path, notes: &mut Notes<'_>) -> Option<DeployConfig> {
    let table = view.sub("deploy", notes);
    table.refuse_unknown(&keys::DEPLOY, notes);
    let warm = wait(&table, "warm", Duration::ZERO, notes).or(Duration::from_secs(60));
    let root = table.read("root", notes, |found, notes| {
        if !found.own {
            notes.blame(found, "apps cannot share it", "write it into each app's own [deploy] table");
            return None;
        }
        values::path(found, notes)
    });
    let own = view.own().get("deploy").filter(|found| found.value.is_table());
    if let (Some(own), Setting::Absent) = (&own, &root) {
        notes.blame(own, "it does not say where the releases are", "add root = \"DIRECTORY\"");
    }
    root.value().map(|root| DeployConfig { root: values::resolve(base, &root), warm })
}
