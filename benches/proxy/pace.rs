//! How much later an answer comes for the proxy in between, when it has half of what it can do.

use crate::figures::{Table, median};
use crate::load::{Body, Load};
use crate::yard::Yard;
use std::time::Duration;

const ROUNDS: usize = 9;
const WARM_UP: Duration = Duration::from_millis(300);
const SPAN: Duration = Duration::from_millis(1200);
const CONNECTIONS: usize = 64;

/// Of one proxy in one round, microseconds.
struct Added {
    p50: f64,
    more_p50: f64,
    more_p99: f64,
    cpu: f64,
}

pub(crate) fn measure(yard: &mut Yard) -> Vec<Table> {
    let running = yard.start_all();
    let load = |to, rate| Load {
        to,
        body: Body::Small,
        keep_alive: true,
        connections: CONNECTIONS,
        rate,
        warm_up: WARM_UP,
        span: SPAN,
    };
    let most = |proxy: &crate::proxy::Running, yard: &mut Yard| {
        yard.traffic.run(&load(proxy.address, None), || proxy.cpu_time()).requests_per_second()
    };
    let slowest = running.iter().map(|(_, proxy)| most(proxy, yard)).fold(f64::INFINITY, f64::min);
    let rate = slowest / 2.0;
    let mut rounds: Vec<Vec<Added>> = running.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        let direct = load(yard.traffic.origin(), Some(rate));
        let direct = yard.traffic.run(&direct, || Duration::ZERO);
        for ((_, proxy), rounds) in running.iter().zip(&mut rounds) {
            let outcome = yard.traffic.run(&load(proxy.address, Some(rate)), || proxy.cpu_time());
            rounds.push(Added {
                p50: outcome.latency(0.5),
                more_p50: outcome.latency(0.5) - direct.latency(0.5),
                more_p99: outcome.latency(0.99) - direct.latency(0.99),
                cpu: outcome.cpu_per_request(),
            });
        }
    }
    let mut table = Table::new(
        &format!(
            "{rate:.0} requests a second, half of what the slowest can, on {CONNECTIONS} kept connections; goal: added \
             p50 ≤ 100 µs"
        ),
        &["proxy", "p50, µs", "added p50, µs", "added p99, µs", "CPU, µs a request"],
    );
    for ((name, _), rounds) in running.iter().zip(&rounds) {
        let middle = |figure: fn(&Added) -> f64| format!("{:.0}", median(rounds.iter().map(figure).collect()));
        let cpu = median(rounds.iter().map(|round| round.cpu).collect());
        table.row([
            name.clone(),
            middle(|round| round.p50),
            middle(|round| round.more_p50),
            middle(|round| round.more_p99),
            format!("{cpu:.1}"),
        ]);
    }
    yard.missing().for_each(|name| table.absent(name));
    vec![table]
}
