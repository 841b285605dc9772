//! What goes through the proxy, in Prometheus' text format (version 0.0.4). Written here: the library's counters are of
//! OpenMetrics, whose names scrapers of the older format do not connect with their type.

use crate::api::{AppStatus, Traffic};
use std::fmt::Write;

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Every figure of every app that is behind the proxy, and how often its worker ended unasked.
pub(super) fn exposition(apps: &[AppStatus], worker_restarts: u64) -> String {
    let mut text = Text::default();
    text.family("requests_total", "counter", "Requests that were answered, by the class of their status");
    for (app, traffic) in proxied(apps) {
        for (class, count) in CLASSES.iter().zip(traffic.answers) {
            text.sample("requests_total", &[("app", &app.name), ("class", class)], count);
        }
    }
    for (name, kind, help, of) in FIGURES {
        text.family(name, kind, help);
        for (app, traffic) in proxied(apps) {
            text.sample(name, &[("app", &app.name)], of(traffic));
        }
    }
    text.family("request_duration_seconds", "histogram", "From a request's head to the last byte of its answer");
    for (app, traffic) in proxied(apps) {
        text.histogram("request_duration_seconds", &app.name, traffic);
    }
    text.family("swaps_total", "counter", "Swaps of the active slot");
    for (app, _) in proxied(apps) {
        text.sample("swaps_total", &[("app", &app.name)], app.swaps);
    }
    text.family(
        "last_drain_seconds",
        "gauge",
        "From when the last instance to drain got no more requests until it was asked to end",
    );
    for (app, _) in proxied(apps) {
        if let Some(millis) = app.last_drain_ms {
            text.sample("last_drain_seconds", &[("app", &app.name)], millis as f64 / 1e3);
        }
    }
    text.family("proxy_worker_restarts_total", "counter", "Proxy workers that ended unasked");
    text.sample("proxy_worker_restarts_total", &[], worker_restarts);
    text.0
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

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.add(format_args!("# HELP infissi_{name} {help}\n# TYPE infissi_{name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.add(format_args!("infissi_{name}"));
        for (at, (label, value)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            self.add(format_args!("{before}{label}=\"{}\"", escaped(value)));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.add(format_args!("{close} {value}\n"));
    }

    fn histogram(&mut self, name: &str, app: &str, traffic: &Traffic) {
        let (bucket, mut below) = (format!("{name}_bucket"), 0);
        for (bound, count) in traffic.latency_bounds_us.iter().zip(&traffic.latency) {
            below += count;
            let bound = (*bound as f64 / 1e6).to_string();
            self.sample(&bucket, &[("app", app), ("le", &bound)], below);
        }
        let all: u64 = traffic.latency.iter().sum();
        self.sample(&bucket, &[("app", app), ("le", "+Inf")], all);
        self.sample(&format!("{name}_sum"), &[("app", app)], traffic.latency_sum_us as f64 / 1e6);
        self.sample(&format!("{name}_count"), &[("app", app)], all);
    }

    fn add(&mut self, more: std::fmt::Arguments<'_>) {
        // A String takes everything.
        let _infallible = self.0.write_fmt(more);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
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
        let text = exposition(&[web, worker], 4);
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
