//! An instance behind the proxy ends gently: out of the routes first, then what it has claimed, then the signal.

use super::Now;
use super::app::App;
use super::core::{Place, Supervisor};
use super::effect::Effect;
use super::event::RunId;
use super::instance::{Cause, Drain, State};
use super::roles::Role;
use super::view::seconds;
use crate::api::EventKind;
use std::time::Duration;

/// How patient a drain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Another slot serves meanwhile: requests and streams get their times.
    Full,
    /// New requests wait for it and for its successor: it has half of `hold`, and streams are not waited for.
    WhileHeld,
    /// It is stopped: streams are not waited for.
    Requests,
}

impl Supervisor {
    /// Ask it to end: behind the proxy only when what it has claimed is through.
    pub(super) fn leave(&mut self, place: Place, cause: Cause, patience: Patience, now: Now) {
        let State::Online { live, since, .. } = self.instance_mut(place).state.clone() else {
            return self.end(place, cause, None, now);
        };
        let Some(proxy) = self.apps[place.0].served_by().filter(|_| live.proxied).and_then(|app| app.proxy.clone())
        else {
            return self.end(place, cause, None, now);
        };
        let (requests, streams) = match patience {
            Patience::Full => (proxy.drain.requests, proxy.drain.upgrades),
            Patience::WhileHeld => (proxy.drain.requests.min(proxy.hold / 2), Duration::ZERO),
            Patience::Requests => (proxy.drain.requests, Duration::ZERO),
        };
        let online_for = now.mono.saturating_sub(since);
        let drain = Drain {
            cause,
            since: now.mono,
            requests_by: now.mono + requests,
            streams_by: now.mono + streams,
            left: None,
            told: false,
            online_for,
        };
        self.instance_mut(place).state = State::Draining { live, drain };
    }

    pub(super) fn in_flight(&mut self, run: RunId, requests: u64, streams: u64) {
        let Some(place) = self.place_of(run) else { return };
        if let State::Draining { drain, .. } = &mut self.instance_mut(place).state {
            drain.left = Some((requests, streams));
        }
    }

    /// One step of a drain; did it move?
    pub(super) fn advance_draining(&mut self, place: Place, now: Now) -> bool {
        let wanted = self.wanted(place.0);
        let out_of_time = self.is_out_of_time(now);
        let held_until = self.is_waited_for(place).then(|| now.mono + self.hold(place.0) / 2);
        let State::Draining { drain, .. } = &mut self.instance_mut(place).state else { return false };
        if !wanted || held_until.is_some() {
            drain.streams_by = drain.streams_by.min(now.mono);
        }
        if let Some(until) = held_until {
            drain.requests_by = drain.requests_by.min(until);
        }
        let is_through = drain.told && drain.is_through(now.mono);
        if !is_through && !out_of_time {
            return false;
        }
        let cause = drain.cause.clone();
        self.cut_and_end(place, cause, now);
        true
    }

    /// New requests are held until it has made room.
    fn is_waited_for(&self, place: Place) -> bool {
        let app = &self.apps[place.0];
        let makes_room = self.role(place) == Role::Active || app.runs_alone();
        self.wanted(place.0) && !app.serves() && makes_room
    }

    pub(super) fn hold(&self, i: usize) -> Duration {
        let config = self.apps[i].served_by();
        config.and_then(|config| config.proxy.as_ref()).map(|proxy| proxy.hold).unwrap_or_default()
    }

    /// What the proxy still has with it is closed, and told where it is known, then it is asked to end.
    pub(super) fn cut_and_end(&mut self, place: Place, cause: Cause, now: Now) {
        if let State::Draining { drain, .. } = &self.instance_mut(place).state
            && let Some(left) = drain.left.and_then(counted)
        {
            let after = seconds(now.mono.saturating_sub(drain.since));
            self.announce(Some(place), EventKind::Killed, None, format!("{left} cut off after {after}"));
        }
        if let Some(live) = self.instance_mut(place).live().filter(|live| live.proxied) {
            let run = live.run;
            self.push(Effect::Cut { run });
        }
        self.end(place, cause, None, now);
    }
}

impl App {
    /// What a rollover that begins now cuts off, in words: the slot it needs still drains.
    pub(super) fn would_be_cut(&self) -> Option<String> {
        let of_old = self.instances.iter().filter(|instance| instance.slot != self.slot);
        let left = of_old.filter_map(|instance| match &instance.state {
            State::Draining { drain, .. } => drain.left,
            State::Resting { .. }
            | State::Waiting { .. }
            | State::Spawning { .. }
            | State::Starting { .. }
            | State::Online { .. }
            | State::Ending { .. }
            | State::Backoff { .. }
            | State::Errored { .. } => None,
        });
        let left = counted(left.fold((0, 0), |sum, left| (sum.0 + left.0, sum.1 + left.1)))?;
        Some(format!("{left} of the slot before cut off"))
    }
}

impl Drain {
    /// Why it is not gone yet.
    pub(super) fn said(&self) -> String {
        match self.left {
            Some(left) => format!("drains: {} in flight", counted(left).unwrap_or_else(|| "nothing".to_owned())),
            None => "drains".to_owned(),
        }
    }

    /// Nothing is in flight, or its time is over.
    pub(super) fn is_through(&self, now: Duration) -> bool {
        let (requests, streams) = self.left.map_or((true, true), |(requests, streams)| (requests > 0, streams > 0));
        (!requests || self.requests_by <= now) && (!streams || self.streams_by <= now)
    }

    pub(super) fn deadline(&self) -> Duration {
        let (requests, streams) = self.left.map_or((true, true), |(requests, streams)| (requests > 0, streams > 0));
        let requests = if requests { self.requests_by } else { Duration::ZERO };
        let streams = if streams { self.streams_by } else { Duration::ZERO };
        requests.max(streams)
    }
}

/// `3 requests`, `1 request and 2 streams`; none where nothing is in flight.
fn counted((requests, streams): (u64, u64)) -> Option<String> {
    let some = |count: u64, what: &str| match count {
        0 => None,
        1 => Some(format!("1 {what}")),
        _ => Some(format!("{count} {what}s")),
    };
    match (some(requests, "request"), some(streams, "stream")) {
        (Some(requests), Some(streams)) => Some(format!("{requests} and {streams}")),
        (requests, streams) => requests.or(streams),
    }
}
