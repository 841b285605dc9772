//! The ledger sees what goes wrong: each kind of loss, made on purpose, is found and called by its name.

use crate::broken::{Fault, Forwarder, Origin};
use crate::ledger::{Kind, Ledger, Outcome};
use crate::load::{ALL_KINDS, Load, Plan};
use crate::machine::{eventually, free_port};
use crate::story::after_some;
use std::time::Duration;
use tempfile::TempDir;

/// A forwarder before the demo app, and clients.
struct Control {
    dir: TempDir,
    public: u16,
    forwarder: Forwarder,
    origin: Origin,
}

impl Control {
    fn start() -> Control {
        let dir = tempfile::Builder::new().prefix("infissi-").tempdir().unwrap();
        let public = free_port();
        let origin = Origin::start(free_port(), "old", &dir.path().join("nonces"));
        Control { public, forwarder: Forwarder::start(public, origin.port), origin, dir }
    }

    fn plan(&self, kinds: &[Kind]) -> Plan {
        Plan::new(self.public, &self.dir.path().join("nonces")).kinds(kinds).span(Duration::from_millis(500))
    }

    fn another_origin(&self) -> Origin {
        Origin::start(free_port(), "new", &self.dir.path().join("nonces"))
    }

    /// What the clients see of this fault, after a time without it.
    fn with_fault(&self, fault: Fault, plan: Plan, failures: usize) -> Ledger {
        let load = Load::start(plan);
        after_some(&load, 20);
        assert_eq!(load.failed(), 0);
        self.forwarder.fault(fault);
        assert!(eventually(|| load.failed() >= failures), "{fault:?} was not seen: {}", load.end());
        load.end()
    }
}

#[test]
fn nothing_is_wrong_where_nothing_is_lost() {
    let control = Control::start();
    let load = Load::start(control.plan(ALL_KINDS));
    after_some(&load, 300);
    // Connections that are open stay with the old one, which goes on.
    let new = control.another_origin();
    control.forwarder.route(new.port);
    after_some(&load, 300);
    load.wait_for_each(3);
    let ledger = load.end();
    ledger.assert_nothing_lost(ALL_KINDS);
    let releases: Vec<&str> = ledger.answers().keys().map(|by| by.release.as_str()).collect();
    assert_eq!(releases, ["new", "old"], "{ledger}");
}

#[test]
fn a_swap_that_stops_first_is_seen_as_refused_and_broken_off() {
    let mut control = Control::start();
    let load = Load::start(control.plan(ALL_KINDS));
    after_some(&load, 200);
    control.forwarder.close();
    control.origin.kill();
    control.forwarder.drop_connections();
    let new = control.another_origin();
    control.forwarder.route(new.port);
    control.forwarder.open();
    after_some(&load, 100);
    let ledger = load.end();
    assert!(ledger.with(&Outcome::Refused) > 0, "{ledger}");
    let broken_off = [Outcome::ResetAfterSend, Outcome::EarlyEof, Outcome::Truncated];
    assert!(broken_off.iter().map(|outcome| ledger.with(outcome)).sum::<usize>() > 0, "{ledger}");
    assert!(ledger.with(&Outcome::ResetBeforeSend) > 0, "idle connections were closed, too: {ledger}");
    assert!(
        ledger.count(|row| row.outcome == Outcome::Ok && row.by.as_ref().unwrap().release == "new") > 0,
        "{ledger}"
    );
}

#[test]
fn an_origin_that_is_killed_before_it_is_drained_is_seen() {
    let mut control = Control::start();
    let kinds = [Kind::Kept, Kind::Slow, Kind::Upload, Kind::Chunked, Kind::Events, Kind::WebSocket];
    let load = Load::start(control.plan(&kinds));
    after_some(&load, 100);
    let new = control.another_origin();
    control.forwarder.route(new.port);
    control.origin.kill();
    after_some(&load, 100);
    let ledger = load.end();
    assert_eq!(ledger.with(&Outcome::Refused), 0, "the port was open all the time: {ledger}");
    assert!(ledger.count(|row| row.kind == Kind::Slow && row.outcome == Outcome::EarlyEof) > 0, "{ledger}");
    for kind in [Kind::Chunked, Kind::Events, Kind::WebSocket] {
        assert!(ledger.count(|row| row.kind == kind && row.outcome == Outcome::Truncated) > 0, "{kind:?}: {ledger}");
    }
}

#[test]
fn a_request_that_is_sent_twice_is_seen() {
    let control = Control::start();
    let load = Load::start(control.plan(&[Kind::Post]));
    after_some(&load, 10);
    control.forwarder.fault(Fault::SendTwice);
    after_some(&load, 10);
    let ledger = load.end();
    assert!(ledger.with(&Outcome::ExecutedTwice) >= 8, "{ledger}");
    assert_eq!(ledger.failed().count(), ledger.with(&Outcome::ExecutedTwice), "{ledger}");
}

#[test]
fn a_request_that_is_sent_to_two_instances_is_seen() {
    let control = Control::start();
    let new = control.another_origin();
    let load = Load::start(control.plan(&[Kind::Post]));
    after_some(&load, 10);
    control.forwarder.fault(Fault::SendTwiceTo(new.port));
    after_some(&load, 10);
    let ledger = load.end();
    assert!(ledger.with(&Outcome::ExecutedTwice) >= 8, "{ledger}");
}

#[test]
fn an_answer_that_is_cut_off_or_changed_by_a_byte_is_seen() {
    let control = Control::start();
    let quick = [Kind::Fresh, Kind::Kept, Kind::Chunked, Kind::Events];
    let ledger = control.with_fault(Fault::Truncate(220), control.plan(&quick), 5);
    assert_eq!(ledger.failed().count(), ledger.with(&Outcome::Truncated), "{ledger}");
    control.forwarder.fault(Fault::None);
    let ledger = control.with_fault(Fault::Garble, control.plan(&[Kind::Fresh, Kind::Kept]), 5);
    ledger.assert_only(|row| matches!(row.outcome, Outcome::Wrong(_)));
}

#[test]
fn an_error_page_is_told_from_an_error_of_the_app() {
    let control = Control::start();
    let ledger = control.with_fault(Fault::Page, control.plan(&[Kind::Fresh, Kind::Kept]), 5);
    ledger.assert_only(|row| row.outcome == Outcome::ByProxy(502));
    control.forwarder.fault(Fault::None);

    let load = Load::start(control.plan(&[Kind::Fresh]));
    after_some(&load, 10);
    let failing = Origin::start_with(free_port(), "failing", &control.dir.path().join("nonces"), "errors-after=0");
    control.forwarder.route(failing.port);
    assert!(eventually(|| load.failed() > 5), "it was not seen");
    load.end().assert_only(|row| row.outcome == Outcome::ByApp(500));
}

#[test]
fn silence_and_a_connection_that_is_closed_while_it_is_idle_are_seen() {
    let control = Control::start();
    let plan = control.plan(&[Kind::Fresh]).patience(Duration::from_secs(2));
    let ledger = control.with_fault(Fault::Silence, plan, 3);
    ledger.assert_only(|row| row.outcome == Outcome::Timeout);

    control.forwarder.fault(Fault::CloseIdle);
    let load = Load::start(control.plan(&[Kind::Thinking]));
    assert!(eventually(|| load.failed() > 0), "it was not seen");
    load.end().assert_only(|row| {
        matches!(row.outcome, Outcome::ResetBeforeSend | Outcome::EarlyEof | Outcome::ResetAfterSend)
    });
}

#[test]
fn an_answer_from_a_release_that_is_no_longer_live_is_seen() {
    let control = Control::start();
    let load = Load::start(control.plan(&[Kind::Fresh, Kind::Kept]));
    load.releases().expect(&["old"]);
    after_some(&load, 50);
    assert_eq!(load.failed(), 0);
    // New connections go to the new one; those that are kept still to the old one.
    let new = control.another_origin();
    load.releases().expect(&["old", "new"]);
    control.forwarder.route(new.port);
    after_some(&load, 50);
    assert_eq!(load.failed(), 0);
    load.releases().expect(&["new"]);
    after_some(&load, 50);
    let ledger = load.end();
    ledger.assert_only(|row| row.outcome == Outcome::WrongRelease && row.kind == Kind::Kept);
    assert!(ledger.failed().count() > 5, "{ledger}");
}
