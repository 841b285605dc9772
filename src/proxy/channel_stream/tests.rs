use super::*;
use crate::proxy::channel::{AppFigures, Limits, TargetFigures};
use crate::proxy::channel::{Listener, Network, Order, Report, Route, TargetPlace, Warm};
use proptest::collection::vec;
use proptest::prelude::*;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

fn place() -> impl Strategy<Value = TargetPlace> {
    (any::<u64>(), address()).prop_map(|(target, address)| TargetPlace { target, address })
}

fn limits() -> impl Strategy<Value = Limits> {
    (any::<u32>(), any::<u64>(), any::<u32>(), any::<u64>()).prop_map(
        |(connections, header_timeout_ms, head, idle_ms)| Limits { connections, header_timeout_ms, head, idle_ms },
    )
}

fn route() -> impl Strategy<Value = Route> {
    let warm =
        (proptest::option::of(".*"), vec(place(), 0..3)).prop_map(|(deployment, targets)| Warm { deployment, targets });
    let network = (any::<IpAddr>(), 0..=32_u8).prop_map(|(address, prefix)| Network { address, prefix });
    let slots = (vec(place(), 0..4), proptest::option::of(".*"), proptest::option::of(warm));
    (".*", slots, any::<u64>(), vec(network, 0..3), limits()).prop_map(
        |(app, (active, active_deployment, warm), hold_ms, trusted, limits)| Route {
            app,
            active,
            active_deployment,
            warm,
            hold_ms,
            trusted,
            limits,
        },
    )
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        any::<u32>().prop_map(|protocol| Order::Attach { protocol }),
        (any::<u64>(), ".*").prop_map(|(listener, app)| Order::Listen { listener, app }),
        any::<u64>().prop_map(|listener| Order::Unlisten { listener }),
        route().prop_map(Order::Route),
        ".*".prop_map(|app| Order::Remove { app }),
        any::<u64>().prop_map(|target| Order::Retire { target }),
        any::<u64>().prop_map(|target| Order::Cut { target }),
        Just(Order::Leave),
        Just(Order::Exit),
    ]
}

fn report() -> impl Strategy<Value = Report> {
    let listener =
        (any::<u64>(), ".*", address()).prop_map(|(listener, app, address)| Listener { listener, app, address });
    let app = (".*", any::<[u64; 5]>(), vec(any::<u64>(), 15)).prop_map(|(app, answers, latency)| AppFigures {
        app,
        answers,
        latency,
        ..AppFigures::default()
    });
    let target = any::<[u64; 5]>().prop_map(|[target, requests, streams, answered, errors]| TargetFigures {
        target,
        requests,
        streams,
        answered,
        errors,
    });
    prop_oneof![
        (any::<u32>(), ".*", any::<i32>(), vec(listener, 0..3))
            .prop_map(|(protocol, version, pid, listeners)| { Report::Hello { protocol, version, pid, listeners } }),
        any::<[u64; 3]>().prop_map(|[target, requests, streams]| Report::InFlight { target, requests, streams }),
        (vec(app, 0..3), vec(target, 0..3)).prop_map(|(apps, targets)| Report::Figures { apps, targets }),
    ]
}

proptest! {
    #[test]
    fn what_is_said_is_what_is_heard(order in order(), report in report(), after in vec(any::<u8>(), 0..9)) {
        let mut frame = encode(&order).unwrap();
        let length = frame.len();
        frame.extend(&after);
        prop_assert_eq!(decode::<Order>(&frame).unwrap(), Some((order, length)));
        let frame = encode(&report).unwrap();
        prop_assert_eq!(decode::<Report>(&frame).unwrap(), Some((report, frame.len())));
    }

    #[test]
    fn every_beginning_of_a_frame_is_incomplete_and_no_mistake(order in order(), part in 0.0..1.0) {
        let frame = encode(&order).unwrap();
        let cut = (frame.len() as f64 * part) as usize;
        prop_assert!(decode::<Order>(&frame[..cut]).unwrap().is_none());
    }

    #[test]
    fn no_bytes_whatever_are_a_reason_to_panic(bytes in vec(any::<u8>(), 0..64), length in 0..64_u32) {
        let _any_answer = decode::<Order>(&bytes);
        let framed = [&length.to_le_bytes()[..], &bytes].concat();
        let _any_answer = decode::<Order>(&framed);
    }

    #[test]
    fn an_announcement_alone_is_judged(length in any::<u32>()) {
        let judged = decode::<Order>(&length.to_le_bytes());
        match judged {
            Ok(frame) => prop_assert!(frame.is_none() && length as usize <= LONGEST_FRAME),
            Err(Malformed::TooLong(told)) => prop_assert_eq!(told, length as usize),
            // Nothing at all is no words.
            Err(mistake) => prop_assert!(length == 0 && matches!(mistake, Malformed::Words(_))),
        }
    }
}

#[test]
fn a_frame_that_would_be_too_long_is_never_sent() {
    let order = Order::Remove { app: "x".repeat(LONGEST_FRAME) };
    assert!(matches!(encode(&order), Err(Malformed::TooLong(_))));
}

/// Two ends: the first says orders to the second.
fn channel() -> (Outgoing<Order>, Incoming<Order>) {
    let (here, there) = UnixStream::pair().unwrap();
    let (_, outgoing) = both_ways::<Report, Order>(here);
    let (incoming, _) = both_ways::<Order, Report>(there);
    (outgoing, incoming)
}

#[tokio::test]
async fn descriptors_belong_to_the_frame_they_came_with() {
    let (mut outgoing, mut incoming) = channel();
    let file = tempfile::tempfile().unwrap();
    for listener in 0..3 {
        outgoing.send(&Order::Unlisten { listener }, &[]).await.unwrap();
        let app = "shop".to_owned();
        outgoing.send(&Order::Listen { listener, app }, &vec![file.as_fd(); 1 + listener as usize]).await.unwrap();
    }
    drop(outgoing);
    for listener in 0..3 {
        let plain = incoming.next().await.unwrap().unwrap();
        assert_eq!((plain.words, plain.descriptors.len()), (Order::Unlisten { listener }, 0));
        let with = incoming.next().await.unwrap().unwrap();
        assert_eq!(with.words, Order::Listen { listener, app: "shop".to_owned() });
        assert_eq!(with.descriptors.len(), 1 + listener as usize);
        File::from(with.descriptors.into_iter().next().unwrap()).read_to_end(&mut Vec::new()).unwrap();
    }
    assert!(incoming.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_frame_larger_than_any_buffer_comes_through_to_a_slow_reader() {
    let (mut outgoing, mut incoming) = channel();
    let order = Order::Remove { app: "long ".repeat(400_000) };
    let said = order.clone();
    let saying = tokio::spawn(async move { outgoing.send(&said, &[]).await });
    // Given up while it waits, nothing is lost.
    for _ in 0..50 {
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            heard = incoming.next() => {
                assert_eq!(heard.unwrap().unwrap().words, order);
                return;
            }
        }
    }
    assert_eq!(incoming.next().await.unwrap().unwrap().words, order);
    saying.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_makes_no_frame_ends_the_connection_with_its_reason() {
    for (bytes, reason) in [
        (&u32::MAX.to_le_bytes()[..], "longer than"),
        (b"\x04\0\0\0nope", "not known"),
        (b"\x09\0\0\0\"explode\"", "not known"),
        (b"\x09\0\0\0\"lea", "within a frame"),
        (b"\x09", "within a frame"),
    ] {
        let (here, there) = UnixStream::pair().unwrap();
        here.try_write(bytes).unwrap();
        drop(here);
        let (mut incoming, _) = both_ways::<Order, Report>(there);
        let Err(ChannelError::Malformed(mistake)) = incoming.next().await else { panic!("{bytes:?}") };
        assert!(mistake.to_string().contains(reason), "{mistake}");
    }
}

#[tokio::test]
async fn nobody_reads_any_more() {
    let (mut outgoing, incoming) = channel();
    drop(incoming);
    assert!(matches!(outgoing.send(&Order::Leave, &[]).await, Err(ChannelError::Broken(_))));
}
