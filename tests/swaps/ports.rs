//! The public port: held by a stranger, moved by `apply`.

use crate::ledger::Kind;
use crate::load::Load;
use crate::machine::{accepts, eventually, free_port, get};
use crate::story::{LONG_DRAIN, Story, after_some, tell};
use std::net::{Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

#[test]
fn a_public_port_that_a_stranger_holds_is_waited_for_with_the_slot_healthy() {
    let mut story = Story::prepare();
    let stranger = TcpListener::bind((Ipv6Addr::UNSPECIFIED, story.port)).unwrap();
    story.configure(LONG_DRAIN);
    story.server.run();
    story.server.wait_until("its instance to be healthy", || story.app()["health"] == "healthy");
    let reason = story.server.wait_reason("web", "waiting");
    let (port, own) = (story.port.to_string(), std::process::id().to_string());
    assert!(reason.contains(&port) && reason.contains(&own), "{reason}");
    let pid = story.app()["instances"][0]["pid"].clone();
    drop(stranger);
    story.server.wait_status("web", "online");
    story.wait_public();
    assert_eq!(story.app()["instances"][0]["pid"], pid, "the instance that was healthy all the time answers");
    assert_eq!(story.app()["restarts"], 0);
}

#[test]
fn apply_moves_the_public_port_without_a_gap_and_without_a_restart() {
    let story = Story::start(LONG_DRAIN);
    let pid = story.server.pid("web");
    let other = free_port();
    // Those who are connected stay so.
    let load = Load::start(story.plan().kinds(&[Kind::Kept]));
    after_some(&load, 200);
    let (over, gaps, looks) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                // In this order: the new one is there before the old one goes.
                let served = accepts(story.port) || accepts(other);
                gaps.fetch_add(usize::from(!served), Ordering::SeqCst);
                looks.fetch_add(1, Ordering::SeqCst);
            }
        });
        assert!(eventually(|| looks.load(Ordering::SeqCst) > 20));
        story.server.configure(&story.table(other, LONG_DRAIN));
        story.server.ctl(&["apply"]).ok();
        let seen = looks.load(Ordering::SeqCst);
        assert!(eventually(|| looks.load(Ordering::SeqCst) > seen + 20));
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(gaps.load(Ordering::SeqCst), 0, "of {looks:?} looks");
    story.server.wait_until("the new port to answer", || get(other, "/api/health").is_some());
    story.server.wait_until("the old one to be closed", || !accepts(story.port));
    after_some(&load, 100);
    let ledger = load.end();
    tell("a port that moves", &ledger);
    ledger.assert_nothing_lost(&[Kind::Kept]);
    assert_eq!((story.server.pid("web"), story.app()["restarts"].as_u64()), (pid, Some(0)));
    assert_eq!(story.app()["port"], other);
}
