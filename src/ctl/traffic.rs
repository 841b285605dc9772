//! What goes through the proxy for an app, as `show` prints it.

use super::show::add;
use crate::api::{AppStatus, Traffic};
use comfy_table::Table;

/// `table` with a row a figure; counts are since the supervisor's start.
pub(crate) fn rows(mut table: Table, traffic: &Traffic, app: &AppStatus) -> Table {
    add(&mut table, "now", &now(traffic));
    add(&mut table, "requests", &requests(traffic));
    add(&mut table, "latency", &format!("p50 {}, p99 {}", latency(traffic.p50_us), latency(traffic.p99_us)));
    add(
        &mut table,
        "trouble",
        &format!(
            "{}, {}, {} held in vain, {} refused",
            count(traffic.upstream_errors, "upstream error"),
            count(traffic.retries, "retried request"),
            traffic.hold_timeouts,
            traffic.refused
        ),
    );
    let drain = app.last_drain_ms.map(|ms| format!("; the last drain took {}", span(ms.saturating_mul(1000))));
    add(&mut table, "swaps", &format!("{}{}", app.swaps, drain.unwrap_or_default()));
    table
}

fn now(traffic: &Traffic) -> String {
    let Traffic { in_flight, streams, held, connections, .. } = traffic;
    let (streams, connections) = (count(*streams, "stream"), count(*connections, "connection"));
    format!("{in_flight} in flight, {streams}, {held} held, {connections}")
}

fn count(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// `1234: 2xx 1200, 4xx 30`.
fn requests(traffic: &Traffic) -> String {
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    let counted = traffic.answers.iter().zip(classes).filter(|(count, _)| **count > 0);
    let classes: Vec<String> = counted.map(|(count, class)| format!("{class} {count}")).collect();
    let separator = if classes.is_empty() { "" } else { ": " };
    format!("{}{separator}{}", traffic.requests, classes.join(", "))
}

fn latency(us: Option<u64>) -> String {
    us.map_or_else(|| "-".to_owned(), span)
}

/// `0.4 ms`, `12 ms`, `1.3 s`, from microseconds.
fn span(us: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let ms = us as f64 / 1000.0;
    match us {
        0..9_950 => format!("{ms:.1} ms"),
        9_950..999_500 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::sample;

    #[test]
    fn the_figures_are_told_in_words() {
        let traffic = Traffic {
            connections: 12,
            in_flight: 3,
            streams: 1,
            requests: 1234,
            answers: [0, 1200, 0, 30, 4],
            refused: 7,
            hold_timeouts: 2,
            upstream_errors: 5,
            retries: 6,
            p50_us: Some(1_240),
            p99_us: Some(48_000),
            ..Traffic::default()
        };
        let mut app = sample::app("web");
        app.swaps = 2;
        app.last_drain_ms = Some(1_300);
        let shown = rows(Table::new(), &traffic, &app).to_string();
        for expected in [
            "3 in flight, 1 stream, 0 held, 12 connections",
            "1234: 2xx 1200, 4xx 30, 5xx 4",
            "p50 1.2 ms, p99 48 ms",
            "5 upstream errors, 6 retried requests, 2 held in vain, 7 refused",
            "2; the last drain took 1.3 s",
        ] {
            assert!(shown.contains(expected), "{expected} is missing in\n{shown}");
        }
        let shown = rows(Table::new(), &Traffic::default(), &sample::app("web")).to_string();
        assert!(shown.contains("p50 -, p99 -"), "{shown}");
    }

    #[test]
    fn spans_keep_two_digits() {
        let shown: Vec<String> = [0, 400, 9_949, 9_950, 999_499, 999_500, 12_000_000].map(span).into();
        assert_eq!(shown, ["0.0 ms", "0.4 ms", "9.9 ms", "10 ms", "999 ms", "1.0 s", "12.0 s"]);
    }
}
