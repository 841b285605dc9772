//! What a request costs when the proxy has all it can do: CPU time, requests a second, latency.

use crate::figures::{Table, median};
use crate::load::{Body, Load, Outcome};
use crate::yard::Yard;
use std::time::Duration;

const ROUNDS: usize = 7;
const WARM_UP: Duration = Duration::from_millis(300);
const SPAN: Duration = Duration::from_millis(1200);
/// Kept connections or one for each request, and how many at a time.
const CASES: [(bool, usize); 4] = [(true, 64), (true, 1000), (false, 64), (false, 1000)];

pub(crate) fn small(yard: &mut Yard) -> Vec<Table> {
    measure(yard, Body::Small, "Answers of 1 KB; goal: CPU a request with kept connections ≤ nginx's")
}

pub(crate) fn large(yard: &mut Yard) -> Vec<Table> {
    measure(yard, Body::Large, "Answers of 1 MB")
}

fn measure(yard: &mut Yard, body: Body, title: &str) -> Vec<Table> {
    let mut table = Table::new(
        title,
        &["connections", "proxy", "CPU, µs a request", "the least", "× nginx", "requests/s", "p50, ms", "p99, ms"],
    );
    let running = yard.start_all();
    let mut outcomes: Vec<Vec<Vec<Outcome>>> = (0..CASES.len()).map(|_| vec_of(running.len() + 1)).collect();
    for _ in 0..ROUNDS {
        for (case, (keep_alive, connections)) in CASES.into_iter().enumerate() {
            let load = |to| Load { to, body, keep_alive, connections, rate: None, warm_up: WARM_UP, span: SPAN };
            for (who, (_, proxy)) in running.iter().enumerate() {
                outcomes[case][who].push(yard.traffic.run(&load(proxy.address), || proxy.cpu_time()));
            }
            let origin = load(yard.traffic.origin());
            if keep_alive {
                outcomes[case][running.len()].push(yard.traffic.run(&origin, || Duration::ZERO));
            }
        }
    }
    let names: Vec<&str> = running.iter().map(|(name, _)| name.as_str()).collect();
    let nginx = names.iter().position(|name| *name == "nginx");
    for ((keep_alive, connections), by_proxy) in CASES.into_iter().zip(&outcomes) {
        let load = format!("{connections} {}", if keep_alive { "kept" } else { "closed each time" });
        for (name, rounds) in names.iter().zip(by_proxy) {
            // Within a round both had the same machine.
            let ratio = nginx.map(|nginx| {
                let pairs = rounds.iter().zip(&by_proxy[nginx]);
                median(pairs.map(|(one, nginx)| one.cpu_per_request() / nginx.cpu_per_request()).collect())
            });
            let least = rounds.iter().map(Outcome::cpu_per_request).fold(f64::INFINITY, f64::min);
            table.row([
                load.clone(),
                (*name).to_owned(),
                format!("{:.1}", middle(rounds, Outcome::cpu_per_request)),
                format!("{least:.1}"),
                ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
                format!("{:.0}", middle(rounds, Outcome::requests_per_second)),
                format!("{:.2}", middle(rounds, |outcome| outcome.latency(0.5)) / 1e3),
                format!("{:.2}", middle(rounds, |outcome| outcome.latency(0.99)) / 1e3),
            ]);
        }
        let direct = &by_proxy[names.len()];
        if keep_alive {
            table.row([
                load,
                "none, the origin".to_owned(),
                String::new(),
                String::new(),
                String::new(),
                format!("{:.0}", middle(direct, Outcome::requests_per_second)),
                format!("{:.2}", middle(direct, |outcome| outcome.latency(0.5)) / 1e3),
                format!("{:.2}", middle(direct, |outcome| outcome.latency(0.99)) / 1e3),
            ]);
        }
    }
    yard.missing().for_each(|name| table.absent(name));
    vec![table]
}

fn vec_of(length: usize) -> Vec<Vec<Outcome>> {
    (0..length).map(|_| Vec::new()).collect()
}

fn middle(outcomes: &[Outcome], figure: impl Fn(&Outcome) -> f64) -> f64 {
    median(outcomes.iter().map(figure).collect())
}
