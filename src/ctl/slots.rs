//! What goes on in the slot of an app that is not active, as a sentence.

use super::units::uptime;
use crate::api::{AppStatus, OtherPhase, OtherSlot, Status};
use jiff::Timestamp;

/// `green is starting (4s, by ann)`, `blue is warm for 50s more: infissi-ctl swap current goes back`.
pub(crate) fn sentence(app: &str, other: &OtherSlot, now: Timestamp) -> String {
    let OtherSlot { slot, phase, release, by, since, until, in_flight } = other;
    let release = release.as_ref().map(|release| format!(" (release {release})")).unwrap_or_default();
    let by = if by == "supervisor" { "the supervisor" } else { by };
    let so_far = format!("({}, by {by})", span(*since, now));
    match phase {
        OtherPhase::Starting => format!("{slot}{release} is starting {so_far}"),
        OtherPhase::Staged => {
            format!("{slot}{release} is staged {so_far}: infissi-ctl swap {app} makes it active")
        }
        OtherPhase::Warm => {
            let left = until.map(|until| format!(" for {} more", span(now, until))).unwrap_or_default();
            format!("{slot}{release} is warm{left}: infissi-ctl swap {app} goes back")
        }
        OtherPhase::Draining => {
            let left = in_flight.map(|count| format!(": {count} in flight")).unwrap_or_default();
            format!("{slot}{release} is draining ({}){left}", span(*since, now))
        }
        OtherPhase::Stopping => format!("{slot}{release} is stopping"),
    }
}

/// `starting green`, `swapped to green, draining blue: 3 in flight`: how far a rollover is; none where there is none.
pub(crate) fn step(app: &AppStatus) -> Option<String> {
    let OtherSlot { slot, phase, in_flight, .. } = app.other.as_ref()?;
    let mut rising = app.instances.iter().filter(|instance| instance.slot == *slot).peekable();
    let is_up = rising.peek().is_some() && rising.all(|instance| instance.status == Status::Online);
    let active = app.slot;
    Some(match phase {
        OtherPhase::Starting if is_up => format!("{slot} is healthy"),
        OtherPhase::Starting => format!("starting {slot}"),
        OtherPhase::Staged => format!("{slot} is staged"),
        OtherPhase::Warm => format!("swapped to {active}, {slot} is warm"),
        OtherPhase::Draining => {
            let left = in_flight.map(|count| format!(": {count} in flight")).unwrap_or_default();
            format!("swapped to {active}, draining {slot}{left}")
        }
        OtherPhase::Stopping => format!("stopping {slot}"),
    })
}

fn span(from: Timestamp, to: Timestamp) -> String {
    uptime(u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Health, InstanceStatus, Slot};
    use crate::ctl::sample::{self, at};

    fn other(phase: OtherPhase) -> OtherSlot {
        OtherSlot {
            slot: Slot::Green,
            phase,
            release: None,
            by: "ann".to_owned(),
            since: at("2026-01-02T03:04:01Z"),
            until: None,
            in_flight: None,
        }
    }

    #[test]
    fn each_phase_says_what_it_is_and_what_can_be_done() {
        let told = |other: OtherSlot| sentence("web", &other, at("2026-01-02T03:04:05Z"));
        assert_eq!(told(other(OtherPhase::Starting)), "green is starting (4s, by ann)");
        let by = "supervisor".to_owned();
        assert_eq!(told(OtherSlot { by, ..other(OtherPhase::Starting) }), "green is starting (4s, by the supervisor)");
        assert_eq!(
            told(OtherSlot { release: Some("r2".to_owned()), ..other(OtherPhase::Staged) }),
            "green (release r2) is staged (4s, by ann): infissi-ctl swap web makes it active"
        );
        let until = Some(at("2026-01-02T03:04:55Z"));
        assert_eq!(
            told(OtherSlot { until, ..other(OtherPhase::Warm) }),
            "green is warm for 50s more: infissi-ctl swap web goes back"
        );
        let in_flight = Some(3);
        assert_eq!(told(OtherSlot { in_flight, ..other(OtherPhase::Draining) }), "green is draining (4s): 3 in flight");
        assert_eq!(told(other(OtherPhase::Stopping)), "green is stopping");
    }

    #[test]
    fn a_rollover_goes_from_starting_to_stopping() {
        let mut app = sample::app("web");
        assert_eq!(step(&app), None);
        app.other = Some(other(OtherPhase::Starting));
        assert_eq!(step(&app).as_deref(), Some("starting green"));
        app.instances.push(InstanceStatus {
            slot: Slot::Green,
            index: 0,
            pid: Some(1),
            port: Some(21_000),
            status: Status::Online,
            health: Health::Healthy,
            memory_bytes: None,
            cpu_percent: None,
            uptime_ms: None,
            in_flight: None,
        });
        assert_eq!(step(&app).as_deref(), Some("green is healthy"));
        app.slot = Slot::Green;
        app.other = Some(OtherSlot { slot: Slot::Blue, in_flight: Some(3), ..other(OtherPhase::Draining) });
        assert_eq!(step(&app).as_deref(), Some("swapped to green, draining blue: 3 in flight"));
        app.other = Some(OtherSlot { slot: Slot::Blue, ..other(OtherPhase::Stopping) });
        assert_eq!(step(&app).as_deref(), Some("stopping blue"));
    }
}
