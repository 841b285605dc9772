//! The restart by the calendar is a rollover like any other, and the first to give way.

use crate::configs::{With, cron, proxied, secs};
use crate::script::Script;
use crate::world::World;
use infissi::api::{EventKind, Slot};
use infissi::config::AppConfig;

fn nightly() -> AppConfig {
    proxied("current", 3000).with(|app| app.cron_restart = Some(cron("0 4 * * *", "UTC")))
}

#[test]
fn cron_restart_is_a_rollover() {
    let mut world = World::at("2026-06-01T03:59:00Z", [nightly()]);
    world.advance(secs(120));
    assert_eq!((world.app("current").slot, world.spawns.len(), world.living("current")), (Slot::Green, 2, 1));
    assert_eq!(world.gaps, []);
}

#[test]
fn cron_restart_is_skipped_while_a_rollover_is_under_way() {
    let mut world = World::at("2026-06-01T03:59:00Z", [nightly()]);
    world.advance(secs(50));
    world.script("current", [Script { ready: Some(secs(30)), ..Script::good() }]);
    let id = world.restart("current");
    world.done(id);
    assert_eq!(world.said("current", EventKind::Skipped).len(), 1, "{}", world.story());
    world.advance(secs(60));
    assert_eq!(world.spawns.len(), 2);
}

#[test]
fn cron_restart_lets_a_drain_finish_and_says_that_it_was_skipped() {
    for colour in [Slot::Green, Slot::Blue] {
        let mut world = World::at("2026-06-01T03:59:00Z", [nightly()]);
        world.advance(secs(3));
        if colour == Slot::Blue {
            let id = world.restart("current");
            world.done(id);
        }
        world.rescript(world.run("current"), |script| script.streams = secs(200));
        world.restart("current");
        world.advance(secs(60));
        let old = opposite(colour);
        assert_eq!((world.app("current").slot, world.cuts.len()), (colour, 0), "{}", world.story());
        let said = format!("cron_restart is skipped: current has just been replaced, and {old} is not gone yet");
        assert_eq!(world.said("current", EventKind::Skipped), [said]);
    }
}

#[test]
fn cron_restart_of_an_app_that_is_not_up_says_that_it_was_skipped() {
    let mut world = World::at("2026-06-01T03:59:00Z", [nightly()]);
    world.script("current", [Script::never_ready()]);
    world.advance(secs(65));
    assert_eq!(world.said("current", EventKind::Skipped), ["cron_restart is skipped: current is not up"]);
}

fn opposite(slot: Slot) -> Slot {
    if slot == Slot::Blue { Slot::Green } else { Slot::Blue }
}
