//! What goes through the proxy, as figures.

use super::exposition::Exposition;
use crate::api::{AppStatus, Traffic};

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Every figure of every app that is behind the proxy, and how often its worker ended unasked.
pub(super) fn add(figures: &mut Exposition, apps: &[AppStatus], worker_restarts: u64) {
    let requests =
        figures.family("requests_total", "counter", "Requests that were answered, by the class of their status");
    for (app, traffic) in proxied(apps) {
        for (class, count) in CLASSES.iter().zip(traffic.answers) {
            requests.sample(&[("app", &app.name), ("class", class)], count);
        }
    }
    for (name, kind, help, of) in FIGURES {
        let family = figures.family(name, kind, help);
        for (app, traffic) in proxied(apps) {
            family.sample(&[("app", &app.name)], of(traffic));
        }
    }
    let durations =
        figures.family("request_duration_seconds", "histogram", "From a request's head to the last byte of its answer");
    for (app, traffic) in proxied(apps) {
        let bounds = traffic.latency_bounds_us.iter().map(|bound| Some(*bound as f64 / 1e6));
        let buckets = bounds.chain([None]).zip(traffic.latency.iter().copied().chain(std::iter::repeat(0)));
        durations.histogram(&app.name, buckets, traffic.latency_sum_us as f64 / 1e6);
    }
    let swaps = figures.family("swaps_total", "counter", "Swaps of the active slot");
    for (app, _) in proxied(apps) {
        swaps.sample(&[("app", &app.name)], app.swaps);
    }
    let drains = figures.family(
        "last_drain_seconds",
        "gauge",
        "From when the last instance to drain got no more requests until it was asked to end",
    );
    for (app, _) in proxied(apps) {
        if let Some(millis) = app.last_drain_ms {
            drains.sample(&[("app", &app.name)], millis as f64 / 1e3);
        }
    }
    let restarts = figures.family("proxy_worker_restarts_total", "counter", "Proxy workers that ended unasked");
    restarts.sample(&[], worker_restarts);
}

type Figure = (&'static str, &'static str, &'static str, fn(&Traffic) -> u64);

const FIGURES: [Figure; 8] = [
    ("requests_in_flight", "gauge", "Requests that wait for an answer or receive one", |traffic| traffic.in_flight),
    ("streams", "gauge", "WebSockets, other upgrades and event streams", |traffic| traffic.streams),
    ("held", "gauge", "Requests that wait because nobody can answer", |traffic| traffic.held),
    ("client_connections", "gauge", "Open connections of clients", |traffic| traffic.connections),
    (
        "upstream_errors_total",
        "counter",
        "Connections that an instance refused, reset or ended before an answer was complete",
        |traffic| traffic.upstream_errors,
    ),
    ("refused_total", "counter", "Requests that the proxy refused: malformed, too large, too slow", |traffic| {
        traffic.refused
    }),
    ("retries_total", "counter", "Requests that were sent to an instance once more", |traffic| traffic.retries),
    ("hold_timeouts_total", "counter", "Requests that were held in vain", |traffic| traffic.hold_timeouts),
];

fn proxied(apps: &[AppStatus]) -> impl Iterator<Item = (&AppStatus, &Traffic)> {
    apps.iter().filter_map(|app| Some((app, app.traffic.as_ref()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Health, Status};
    use crate::daemon::control::unprobed::tests::app;

    #[test]
    fn what_goes_through_the_proxy_is_told_by_app_and_the_histogram_is_cumulative() {
        let traffic = Traffic {
            connections: 3,
            held: 1,
            answers: [0, 7, 0, 2, 1],
            latency_bounds_us: vec![500, 1_000, 2_500_000],
            latency: vec![4, 0, 5, 1],
            latency_sum_us: 1_500_000,
            ..Traffic::default()
        };
        let web = AppStatus { traffic: Some(traffic), swaps: 2, ..app(Status::Online, Health::Healthy) };
        let worker = AppStatus { name: "worker".to_owned(), ..app(Status::Online, Health::Healthy) };
        let mut figures = Exposition::default();
        add(&mut figures, &[web, worker], 4);
        let text = figures.text();
        for line in [
            "# TYPE infissi_requests_total counter",
            "infissi_requests_total{app=\"app\",class=\"2xx\"} 7",
            "infissi_requests_total{app=\"app\",class=\"5xx\"} 1",
            "infissi_client_connections{app=\"app\"} 3",
            "infissi_held{app=\"app\"} 1",
            "# TYPE infissi_request_duration_seconds histogram",
            "infissi_request_duration_seconds_bucket{app=\"app\",le=\"0.0005\"} 4",
            "infissi_request_duration_seconds_bucket{app=\"app\",le=\"0.001\"} 4",
            "infissi_request_duration_seconds_bucket{app=\"app\",le=\"2.5\"} 9",
            "infissi_request_duration_seconds_bucket{app=\"app\",le=\"+Inf\"} 10",
            "infissi_request_duration_seconds_sum{app=\"app\"} 1.5",
            "infissi_request_duration_seconds_count{app=\"app\"} 10",
            "infissi_swaps_total{app=\"app\"} 2",
            "infissi_proxy_worker_restarts_total 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("worker\""), "{text}");
        assert!(!text.contains("last_drain_seconds{"), "nothing was drained yet");
    }
}
