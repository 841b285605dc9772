//! The ports: public ones that only one app may have, and private ones that no app may have.

use super::addresses::collide;
use super::app_table::Draft;
use super::notes::{Notes, Place};
use super::proxy_table::Claim;
use super::table::{Found, View};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

/// Notes every address that two apps claim.
pub(super) fn refuse_shared(drafts: &[Draft<'_>], notes: &mut Notes<'_>) {
    // Only those on the same port can be in each other's way.
    let mut claimed: HashMap<u16, Vec<(&Claim<'_>, &Draft<'_>)>> = HashMap::new();
    for draft in drafts {
        for claim in &draft.claims {
            let (address, found) = claim;
            let on_port = claimed.entry(address.port()).or_default();
            let first = on_port.iter().find(|((first, _), owner)| owner.key != draft.key && collide(*first, *address));
            let Some(((first, first_found), owner)) = first else {
                on_port.push((claim, draft));
                continue;
            };
            let key = &owner.key;
            if of_port(draft, found) && of_port(owner, first_found) {
                notes.blame(found, format!("{} is already the port of {key}", address.port()), "choose another port");
            } else {
                let what = format!("{address} is within what {key} listens on, {first}");
                let what = if first == address { format!("{key} already listens on {address}") } else { what };
                notes.blame(found, what, "choose another address or port");
            }
        }
    }
}

/// Notes an address for `metrics` that is an app's.
pub(super) fn refuse_metrics(
    metrics: Option<SocketAddr>,
    written: &View<'_>,
    drafts: &[Draft<'_>],
    notes: &mut Notes<'_>,
) {
    let (Some(metrics), Some(found)) = (metrics, written.get("metrics")) else { return };
    let first = |draft: &Draft<'_>| draft.claims.iter().map(|(address, _)| *address).find(|at| collide(*at, metrics));
    if let Some((draft, address)) = drafts.iter().find_map(|draft| Some((draft, first(draft)?))) {
        let what = format!("{} already listens on {address}", draft.key);
        notes.blame(&found, what, "choose another port");
    }
}

/// Does the claim come from `port` alone?
fn of_port(draft: &Draft<'_>, found: &Found<'_>) -> bool {
    draft.port.as_ref().is_some_and(|port| port.key == found.key)
}

/// Notes a range too small for two slots of every app, and public ports within it. `written`: where it stands, if it does.
pub(super) fn check_range(
    range: &RangeInclusive<u16>,
    written: Option<&Found<'_>>,
    drafts: &[Draft<'_>],
    notes: &mut Notes<'_>,
) {
    let shown = format!("{}-{}", range.start(), range.end());
    for (address, found) in drafts.iter().flat_map(|draft| &draft.claims) {
        if range.contains(&address.port()) {
            let what = format!("{} is one of the private ports of instances, port_range = {shown:?}", address.port());
            notes.blame(found, what, "choose another port, or another port_range in [supervisor]");
        }
    }
    let proxied = drafts.iter().filter(|draft| draft.config.proxy.is_some());
    let needed: usize = proxied.map(|draft| 2 * usize::from(draft.config.instances)).sum();
    if range.len() < needed {
        let place = written.map_or(Place { file: 0, span: 0..0 }, Found::place);
        let what = format!("{shown:?} has {} ports, and two slots of all instances are {needed}", range.len());
        notes.blame_at(place, "supervisor.port_range", what, format!("give it at least {needed} ports"));
    }
}
