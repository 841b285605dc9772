use super::*;
use crate::proxy::channel::Warm;
use crate::proxy::wire::Wire;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

fn place(target: u64) -> TargetPlace {
    TargetPlace { target, address: SocketAddr::from(([127, 0, 0, 1], 21_000 + target as u16)) }
}

fn route(active: &[u64]) -> Route {
    Route {
        app: "shop".to_owned(),
        active: active.iter().map(|target| place(*target)).collect(),
        active_deployment: None,
        warm: None,
        hold_ms: 10_000,
        trusted: vec![Network { address: "10.0.0.0".parse().unwrap(), prefix: 8 }],
        limits: UNROUTED_LIMITS,
    }
}

fn routes() -> (Routes, Rc<AppRoute>, Rc<News>) {
    let news = Rc::new(News::default());
    let routes = Routes::new(news.clone());
    let app = routes.app("shop");
    (routes, app, news)
}

fn claimed(app: &AppRoute) -> u64 {
    app.claim(None, None).unwrap().target().id
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[test]
fn the_least_busy_instance_is_chosen_and_equals_take_turns() {
    let (routes, app, _) = routes();
    routes.publish(route(&[1, 2, 3]));
    let claims: Vec<Claim> = (0..6).map(|_| app.claim(None, None).unwrap()).collect();
    let of = |id: u64| claims.iter().filter(|claim| claim.target().id == id).count();
    assert_eq!([of(1), of(2), of(3)], [2, 2, 2]);
    let (of_two, _others): (Vec<Claim>, Vec<Claim>) = claims.into_iter().partition(|claim| claim.target().id == 2);
    drop(of_two);
    assert_eq!(claimed(&app), 2);
    let idle: Vec<u64> = (0..3).map(|_| claimed(&app)).collect();
    assert_eq!(idle, [2, 2, 2], "the others are busier");
}

#[test]
fn behind_a_busy_instance_nobody_gets_more_than_its_share() {
    let (routes, app, _) = routes();
    routes.publish(route(&[1, 2, 3]));
    let _slow = app.claim(None, None).unwrap();
    let others: Vec<u64> = (0..6).map(|_| claimed(&app)).collect();
    assert_eq!(others, [2, 3, 2, 3, 2, 3]);
}

#[test]
fn an_instance_that_has_just_failed_is_avoided() {
    let (routes, app, _) = routes();
    routes.publish(route(&[1, 2]));
    for _ in 0..4 {
        assert_eq!(app.claim(None, Some(1)).unwrap().target().id, 2);
    }
    routes.publish(route(&[1]));
    assert!(app.claim(None, Some(1)).is_none());
}

#[test]
fn a_page_of_the_old_deployment_stays_with_the_warm_slot() {
    let (routes, app, _) = routes();
    let warm = Warm { deployment: Some("old".to_owned()), targets: vec![place(1)] };
    routes.publish(Route { active_deployment: Some("new".to_owned()), warm: Some(warm), ..route(&[2]) });
    let of = |deployment: &str| app.claim(Some(deployment), None).unwrap().target().id;
    assert_eq!([of("old"), of("new"), of("older"), claimed(&app)], [1, 2, 2, 2]);
    assert_eq!(app.claim(Some("old"), Some(1)).unwrap().target().id, 2, "better another build than none");
    let warm = Warm { deployment: Some("same".to_owned()), targets: vec![place(1)] };
    routes.publish(Route { active_deployment: Some("same".to_owned()), warm: Some(warm), ..route(&[2]) });
    assert_eq!(of("same"), 2);
    let warm = Warm { deployment: None, targets: vec![place(1)] };
    routes.publish(Route { warm: Some(warm), ..route(&[2]) });
    assert_eq!(claimed(&app), 2, "no deployment is not the deployment of a slot that has none");
}

#[test]
fn every_claim_is_counted_until_it_is_dropped() {
    let (routes, app, _) = routes();
    routes.publish(route(&[1]));
    let mut first = app.claim(None, None).unwrap();
    let second = app.claim(None, None).unwrap();
    assert_eq!(routes.in_flight(1), (2, 0));
    first.becomes_stream();
    first.becomes_stream();
    assert_eq!(routes.in_flight(1), (1, 1));
    let figures = app.counters().figures("shop");
    assert_eq!((figures.requests, figures.streams), (1, 1));
    drop((first, second));
    assert_eq!(routes.in_flight(1), (0, 0));
    let figures = app.counters().figures("shop");
    assert_eq!((figures.requests, figures.streams), (0, 0));
}

#[test]
fn an_answer_counts_once_and_a_failure_as_an_error() {
    let (routes, app, _) = routes();
    routes.publish(route(&[1]));
    for words in [&[true, true][..], &[false, false], &[false, true], &[true, false, false]] {
        let mut claim = app.claim(None, None).unwrap();
        words.iter().for_each(|ok| claim.answered(*ok));
    }
    drop(app.claim(None, None));
    let figures = routes.known_targets()[0].figures();
    assert_eq!((figures.answered, figures.errors), (4, 3));
}

#[test]
fn a_retired_target_is_told_now_and_at_each_zero() {
    let (routes, app, news) = routes();
    routes.publish(route(&[1]));
    let mut stream = app.claim(None, None).unwrap();
    stream.becomes_stream();
    let requests = [app.claim(None, None).unwrap(), app.claim(None, None).unwrap()];
    routes.publish(route(&[2]));
    assert_eq!(news.take_drained(), None, "nobody asked yet");
    routes.retire(1);
    assert_eq!((news.take_drained(), routes.in_flight(1)), (Some(1), (2, 1)));
    let [first, second] = requests;
    drop(first);
    assert_eq!(news.take_drained(), None);
    drop(second);
    assert_eq!((news.take_drained(), routes.in_flight(1)), (Some(1), (0, 1)));
    drop(stream);
    assert_eq!((news.take_drained(), routes.in_flight(1)), (Some(1), (0, 0)));
    routes.forget_what_is_over();
    assert_eq!(routes.known_targets().len(), 1, "only what is routed is left");
    routes.retire(1);
    assert_eq!((news.take_drained(), routes.in_flight(1)), (Some(1), (0, 0)), "what is unknown has nothing");
}

#[test]
fn a_request_that_turns_into_a_stream_ends_the_requests() {
    let (routes, app, news) = routes();
    routes.publish(route(&[1]));
    let mut claim = app.claim(None, None).unwrap();
    routes.publish(route(&[]));
    routes.retire(1);
    news.take_drained();
    claim.becomes_stream();
    assert_eq!((news.take_drained(), routes.in_flight(1)), (Some(1), (0, 1)));
}

#[test]
fn a_target_comes_back_as_it_was_while_something_is_in_flight_and_as_a_new_one_later() {
    let (routes, app, news) = routes();
    routes.publish(route(&[1]));
    let claim = app.claim(None, None).unwrap();
    routes.publish(route(&[2]));
    routes.retire(1);
    news.take_drained();
    routes.publish(route(&[1]));
    assert!(Rc::ptr_eq(claim.target(), app.claim(None, None).unwrap().target()));
    assert_eq!(news.take_drained(), None, "it is retired no more");
    routes.publish(route(&[2]));
    let before = claim.target().clone();
    drop(claim);
    routes.publish(route(&[1]));
    assert!(!Rc::ptr_eq(&before, app.claim(None, None).unwrap().target()), "its pool was closed");
}

#[test]
fn an_instance_that_moved_is_another_one() {
    let (routes, app, _) = routes();
    routes.publish(route(&[1]));
    let before = app.claim(None, None).unwrap();
    let moved = TargetPlace { target: 1, address: "127.0.0.1:29999".parse().unwrap() };
    routes.publish(Route { active: vec![moved], ..route(&[]) });
    let after = app.claim(None, None).unwrap();
    assert!(!Rc::ptr_eq(before.target(), after.target()));
    assert_eq!(routes.in_flight(1), (1, 0), "the one that is routed");
}

#[test]
fn a_cut_wakes_whoever_is_connected_even_to_an_app_that_was_removed() {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Woken>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (routes, app, _) = routes();
    routes.publish(route(&[1]));
    let wire = Rc::new(Wire::new(Instant::now()));
    app.crowd().enter(&wire);
    let claim = app.claim(None, None).unwrap();
    let mut waits = pin!(claim.target().unless_cut(std::future::pending::<()>()));
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(woken.clone());
    wire.belongs_to(&waker);
    let mut context = Context::from_waker(&waker);
    assert!(waits.as_mut().poll(&mut context).is_pending());
    routes.remove("shop");
    woken.0.store(false, Ordering::Relaxed);
    routes.cut(7);
    assert!(!woken.0.load(Ordering::Relaxed), "another one's cut is nobody's business");
    routes.cut(1);
    assert!(woken.0.load(Ordering::Relaxed));
    assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(None));
}

#[tokio::test]
async fn what_was_cut_does_not_come_back_and_what_is_done_is_done() {
    let (routes, app, _) = routes();
    routes.publish(route(&[1]));
    let claim = app.claim(None, None).unwrap();
    routes.cut(1);
    assert_eq!(claim.target().unless_cut(async { 7 }).await, Some(7));
    assert_eq!(claim.target().unless_cut(std::future::pending::<()>()).await, None);
    routes.publish(route(&[1]));
    let again = app.claim(None, None).unwrap();
    assert!(!Rc::ptr_eq(claim.target(), again.target()));
}

#[tokio::test]
async fn the_held_go_on_as_soon_as_somebody_can_answer() {
    let (routes, app, _) = routes();
    let held = app.hold(None, soon());
    let publish = async {
        tokio::task::yield_now().await;
        assert_eq!(app.counters().figures("shop").held, 1);
        routes.publish(route(&[]));
        tokio::task::yield_now().await;
        routes.publish(route(&[1]));
    };
    let (claim, ()) = tokio::join!(held, publish);
    assert_eq!(claim.unwrap().target().id, 1);
    assert_eq!(app.counters().figures("shop").held, 0);
}

#[tokio::test]
async fn a_request_that_all_refused_pauses_until_somebody_else_comes_or_its_time_is_over() {
    let (routes, app, _) = routes();
    routes.publish(route(&[1]));
    let hour = Duration::from_secs(3600);
    let (paused, ()) = tokio::join!(app.pause(hour, Instant::now() + hour), async { routes.publish(route(&[2])) });
    assert_eq!(paused, Ok(()));
    assert_eq!(app.pause(Duration::from_millis(1), Instant::now() + hour).await, Ok(()));
    assert_eq!(app.pause(hour, Instant::now() + Duration::from_millis(1)).await, Err(HeldInVain::TimedOut));
    let figures = app.counters().figures("shop");
    assert_eq!((figures.held, figures.hold_timeouts), (0, 1));
}

#[tokio::test]
async fn held_in_vain_they_are_told_why() {
    let (routes, app, _) = routes();
    assert_eq!(app.hold(None, Instant::now()).await.unwrap_err(), HeldInVain::TimedOut);
    let figures = app.counters().figures("shop");
    assert_eq!((figures.held, figures.hold_timeouts), (0, 1));
    let held = app.hold(None, soon());
    let stop = async { routes.publish(Route { hold_ms: 0, ..route(&[]) }) };
    let stopped = timeout_at(Instant::now() + Duration::from_secs(5), async { tokio::join!(held, stop).0 });
    let told = stopped.await.expect("nobody is waited for any longer");
    assert_eq!(told.unwrap_err(), HeldInVain::TimedOut);
    let held = app.hold(None, soon());
    routes.publish(route(&[]));
    let (removed, ()) = tokio::join!(held, async { routes.remove("shop") });
    assert_eq!(removed.unwrap_err(), HeldInVain::Removed);
    assert_eq!(app.hold(None, soon()).await.unwrap_err(), HeldInVain::Removed);
    assert!(app.is_leaving() && !routes.app("shop").is_leaving());
}

#[test]
fn a_removed_app_ends_its_targets_and_is_forgotten() {
    let (routes, app, _) = routes();
    routes.publish(route(&[1, 2]));
    let claim = app.claim(None, None).unwrap();
    let claimed = claim.target().id;
    routes.remove("shop");
    routes.remove("shop");
    assert!(app.claim(None, None).is_none() && routes.apps().is_empty());
    assert_eq!(routes.known_targets().iter().map(|target| target.id).collect::<Vec<_>>(), [claimed]);
    drop(claim);
    routes.forget_what_is_over();
    assert!(routes.known_targets().is_empty());
}

#[test]
fn whoever_leaves_tells_every_app() {
    let (routes, app, _) = routes();
    assert!(!app.is_leaving());
    routes.leave();
    assert!(app.is_leaving() && routes.app("other").is_leaving());
}

#[test]
fn trust_is_given_to_networks_in_either_spelling_of_an_address() {
    let (routes, app, _) = routes();
    assert!(!app.trusts("10.1.2.3".parse().unwrap()), "nothing is published yet");
    routes.publish(route(&[]));
    for (peer, trusted) in [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("11.0.0.1", false), ("::1", false)] {
        assert_eq!(app.trusts(peer.parse().unwrap()), trusted, "{peer}");
    }
    let network = |text: &str, prefix| Network { address: text.parse().unwrap(), prefix };
    let everything = [network("0.0.0.0", 0), network("::", 0)];
    assert!(
        everything[0].contains("255.1.2.3".parse().unwrap()) && everything[1].contains("2001:db8::1".parse().unwrap())
    );
    assert!(!everything[0].contains("::1".parse().unwrap()));
    let single = network("::1", 128);
    assert!(single.contains("::1".parse().unwrap()) && !single.contains("::2".parse().unwrap()));
    assert!(network("192.168.1.0", 99).contains("192.168.1.0".parse().unwrap()), "a prefix too long is the address");
}

#[test]
fn what_took_exactly_a_bound_is_within_it() {
    let (_, app, _) = routes();
    for us in [0, 500, 501, 10_000_000, 10_000_001] {
        app.counters().took(Duration::from_micros(us));
    }
    let figures = app.counters().figures("shop");
    assert_eq!((figures.latency[0], figures.latency[1], figures.latency[13], figures.latency[14]), (2, 1, 1, 1));
    assert_eq!((figures.latency.len(), figures.latency_sum_us), (15, 20_001_002));
}
