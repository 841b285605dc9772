//! The wall clock is set while the supervisor runs: whatever does not go by the calendar does not mind.

use crate::configs::{config, secs};
use crate::random::{Act, Play, acts, configs, kept, scripts};
use infissi::config::Config;
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

/// The same apps, none of which is started or restarted at a time of day.
fn without_a_calendar(configs: &[Arc<Config>]) -> Vec<Arc<Config>> {
    let timeless = |one: &Arc<Config>| {
        let apps = one.apps.iter().map(|app| app.as_ref().clone()).map(|mut app| {
            (app.cron_restart, app.schedule, app.timeout) = (None, None, None);
            app
        });
        config(apps.collect::<Vec<_>>())
    };
    configs.iter().map(timeless).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_jump_of_the_wall_clock_changes_no_timer(
        configs in vec(configs(), 3),
        kept in kept(),
        first in vec(scripts(), 4),
        acts in vec((acts(), prop_oneof![-100..100i64, -200_000..200_000i64]), 1..40),
    ) {
        let configs = without_a_calendar(&configs);
        let plays = [false, true].map(|jumps| {
            let mut play = Play::begin(configs.clone(), &kept, first.clone());
            for (act, by) in &acts {
                if jumps {
                    play.act(Act::Wall(*by));
                }
                if !matches!(act, Act::Wall(_)) {
                    play.act(act.clone());
                }
            }
            play.world.advance(secs(300));
            play.world
        });
        let [still, jumped] = &plays;
        prop_assert_eq!(&still.spawns, &jumped.spawns, "{}", jumped.story());
        prop_assert_eq!((&still.stops, &still.kills), (&jumped.stops, &jumped.kills), "{}", jumped.story());
        prop_assert_eq!((&still.publishes, &still.drains), (&jumped.publishes, &jumped.drains), "{}", jumped.story());
        prop_assert_eq!((&still.probes, &still.cuts), (&jumped.probes, &jumped.cuts), "{}", jumped.story());
    }
}
