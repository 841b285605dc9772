//! Prometheus' text format (version 0.0.4): each family once, with its help and its type, in the order of their names.
//! Written here: the libraries there are write OpenMetrics, whose names of counters scrapers of the older format do not
//! connect with their type.

use std::fmt::{Arguments, Display, Write};

/// Families as they are collected. Their samples stand in the order in which they were given.
#[derive(Default)]
pub(super) struct Exposition(Vec<Family>);

pub(super) struct Family {
    name: &'static str,
    text: String,
}

impl Exposition {
    /// The samples of one name, which is written with `infissi_` before it.
    pub(super) fn family(&mut self, name: &'static str, kind: &str, help: &str) -> &mut Family {
        let text = format!("# HELP infissi_{name} {help}\n# TYPE infissi_{name} {kind}\n");
        self.0.push(Family { name, text });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    pub(super) fn text(mut self) -> String {
        self.0.sort_by_key(|family| family.name);
        self.0.into_iter().map(|family| family.text).collect()
    }
}

impl Family {
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    /// `buckets`: the upper bounds in seconds, with the count in each; the last one is beyond all bounds.
    pub(super) fn histogram(&mut self, app: &str, buckets: impl Iterator<Item = (Option<f64>, u64)>, sum: f64) {
        let mut below = 0;
        for (bound, count) in buckets {
            below += count;
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
            self.line("_bucket", &[("app", app), ("le", &bound)], below);
        }
        self.line("_sum", &[("app", app)], sum);
        self.line("_count", &[("app", app)], below);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let name = self.name;
        self.add(format_args!("infissi_{name}{suffix}"));
        for (at, (label, value)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            self.add(format_args!("{before}{label}=\"{}\"", escaped(value)));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        self.add(format_args!("{close} {value}\n"));
    }

    fn add(&mut self, more: Arguments<'_>) {
        // A String takes everything.
        let _infallible = self.text.write_fmt(more);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stand_in_the_order_of_their_names_and_their_samples_as_they_came() {
        let mut figures = Exposition::default();
        figures.family("swaps_total", "counter", "Swaps").sample(&[], 3);
        let held = figures.family("held", "gauge", "Held");
        held.sample(&[("app", "web")], 1);
        held.sample(&[("app", "a\"b\\c\n")], 0.5);
        assert_eq!(
            figures.text(),
            "# HELP infissi_held Held\n# TYPE infissi_held gauge\ninfissi_held{app=\"web\"} 1\n\
             infissi_held{app=\"a\\\"b\\\\c\\n\"} 0.5\n\
             # HELP infissi_swaps_total Swaps\n# TYPE infissi_swaps_total counter\ninfissi_swaps_total 3\n"
        );
    }
}
