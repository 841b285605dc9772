//! Whether the machine has memory for a second slot beside the active one.

use crate::api::{DeployPlan, MemoryPlan, Refusal, RefusalCode, Way};
use crate::ctl::arguments::DeployOptions;
use crate::ctl::units::size;

/// # Errors
/// It has not, with the figures and the way out.
pub(super) fn check(options: &DeployOptions, plan: &DeployPlan) -> Result<(), Refusal> {
    let Some(memory) = short(options, plan) else { return Ok(()) };
    let MemoryPlan { available, needed, is_limited, .. } = memory;
    let (app, available, needed) = (&plan.releases.app, size(available), size(needed));
    let message = format!("{app} needs {needed} for a second slot beside the active one, and {available} can be had");
    let hint = match super::way(options) {
        Way::Staged => "make room in memory: what is staged runs beside what serves".to_owned(),
        Way::Beside | Way::StopFirst => {
            format!("make room in memory, or stop what serves first: infissi-ctl deploy {app} --stop-first")
        }
    };
    // A fresh copy is reckoned as half of the limit at most: without one, as all that the old one has grown to.
    let limit = if is_limited {
        String::new()
    } else {
        format!("; a max_memory_restart in [apps.{app}] tells how much less a fresh slot needs")
    };
    Err(Refusal::new(RefusalCode::Failed, message).hint(format!("{hint}{limit}")))
}

/// The same once the release is there.
pub(super) fn built(refusal: Refusal, app: &str, id: &str) -> Refusal {
    let how = format!("infissi-ctl rollback {app} --to {id} --stop-first");
    refusal.hint(format!("{id} is built: make room in memory, or start it in the place of what serves: {how}"))
}

fn short(options: &DeployOptions, plan: &DeployPlan) -> Option<MemoryPlan> {
    plan.memory.filter(|memory| !options.stop_first && memory.available < memory.needed)
}

/// For `--dry-run`.
pub(super) fn in_words(options: &DeployOptions, plan: &DeployPlan) -> Option<String> {
    let MemoryPlan { available, used, needed, .. } = plan.memory?;
    let figures = format!("{} can be had, the active slot uses {}", size(available), size(used));
    Some(match short(options, plan) {
        _ if options.stop_first => format!("{figures}; it is stopped first"),
        Some(_) => format!("{figures}: too little for a second one, which needs {} (--stop-first)", size(needed)),
        None if used == needed => figures,
        None => format!("{figures}, a second one needs {}", size(needed)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::sample;
    use clap::Parser;

    fn told(more: &[&str], (available, is_limited): (u64, bool)) -> (Result<(), Refusal>, Option<String>) {
        let words = [&["infissi-ctl", "deploy", "web"], more].concat();
        let arguments = crate::ctl::arguments::Arguments::try_parse_from(words).unwrap();
        let Some(crate::ctl::arguments::Command::Deploy(options)) = arguments.command else { panic!("a deploy") };
        let memory = Some(MemoryPlan { available, used: 300 << 20, needed: 200 << 20, is_limited });
        let plan = DeployPlan { memory, ..sample::deploy_plan() };
        (check(&options, &plan), in_words(&options, &plan))
    }

    #[test]
    fn what_is_short_is_told_in_figures_with_the_way_out() {
        let (refused, shown) = told(&[], (100 << 20, true));
        let refusal = refused.unwrap_err();
        assert_eq!(refusal.message, "web needs 200M for a second slot beside the active one, and 100M can be had");
        assert!(refusal.hint.unwrap().ends_with("infissi-ctl deploy web --stop-first"));
        let too_little = "100M can be had, the active slot uses 300M: too little for a second one, which needs 200M";
        assert!(shown.unwrap().starts_with(too_little));
        let hint = told(&[], (1, false)).0.unwrap_err().hint.unwrap();
        assert!(hint.contains("--stop-first; a max_memory_restart in [apps.web] tells"), "{hint}");
        assert!(told(&["--stage"], (1, true)).0.unwrap_err().hint.unwrap().contains("what is staged runs beside"));
    }

    #[test]
    fn who_stops_first_needs_no_room_and_what_fits_is_let_through() {
        let (checked, shown) = told(&["--stop-first"], (1 << 20, true));
        assert!(checked.is_ok() && shown.unwrap().ends_with("it is stopped first"));
        let (checked, shown) = told(&[], (200 << 20, true));
        assert!(checked.is_ok() && shown.unwrap().ends_with("uses 300M, a second one needs 200M"));
    }
}
