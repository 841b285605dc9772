//! Many requests at once and slow ones: pipelines, trickles, silence.

use crate::client::{End, Pace};
use crate::origin::echo;
use crate::stage::Stage;

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let stage = Stage::before(|upstream| {
        while let Some(request) = upstream.request()? {
            upstream.say(&echo(&request))?;
        }
        Ok(())
    });
    let one = |nth: usize| match nth % 4 {
        0 => format!("GET /{nth} HTTP/1.1\r\nHost: h\r\n\r\n"),
        1 => format!("POST /{nth} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"),
        2 => format!("POST /{nth} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        _ => format!("HEAD /{nth} HTTP/1.1\r\nHost: h\r\n\r\n"),
    };
    let all: String = (0..200).map(one).collect();
    let mut client = stage.client();
    client.send(all.as_bytes(), Pace::AtOnce);
    for nth in 0..200 {
        let expected = match nth % 4 {
            0 => ("GET", format!("GET /{nth}\n")),
            3 => ("HEAD", String::new()),
            _ => ("POST", format!("POST /{nth}\nhello")),
        };
        let answer = client.final_answer(expected.0);
        assert_eq!((answer.status, answer.text()), (200, expected.1));
    }
    drop(client);
    let targets: Vec<String> = stage.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, (0..200).map(|nth| format!("/{nth}")).collect::<Vec<_>>());
}

#[test]
fn what_follows_a_refused_request_in_a_pipeline_is_not_looked_at() {
    let stage = Stage::before(|upstream| {
        while let Some(request) = upstream.request()? {
            upstream.say(&echo(&request))?;
        }
        Ok(())
    });
    let good = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    let bad = "POST /bad HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let mut client = stage.says(&format!("{}{bad}{}", good("/one"), good("/two").repeat(50)));
    assert_eq!(client.final_answer("GET").status, 200);
    assert_eq!(client.final_answer("POST").status, 400);
    assert_eq!((client.read_to_end(), client.seen()), (End::Closed, b"".as_slice()));
    let targets: Vec<String> = stage.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/one"]);
}

#[test]
fn a_head_that_never_ends_is_given_up() {
    let stage = Stage::with(|route| route.limits.header_timeout_ms = 300, |upstream| upstream.rest());
    for begun in ["G", "GET / HTTP/1.1\r\nHost: h\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX: ", "\r\nPOST / HTTP/1.1\r\n"] {
        let mut client = stage.says(begun);
        // A line now and then does not make it younger.
        while client.trickle(b"X: y\r\n") {}
        let answer = client.answer("GET").unwrap();
        assert_eq!((answer.status, answer.values("connection")), (408, vec!["close"]), "{begun:?}");
        assert_ne!(client.read_to_end(), End::Open);
    }
    assert_eq!(stage.record(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_client_that_wants_nothing_is_let_go_without_a_word() {
    let stage = Stage::with(|route| route.limits.idle_ms = 200, |upstream| upstream.rest());
    let mut client = stage.client();
    assert_eq!((client.read_to_end(), client.seen()), (End::Closed, b"".as_slice()));
}

#[test]
fn a_body_that_never_comes_is_given_up_and_is_no_fault_of_the_instance() {
    let mut stage = Stage::with(
        |route| route.limits.idle_ms = 300,
        |upstream| {
            while let Some(request) = upstream.request()? {
                upstream.say(&echo(&request))?;
            }
            Ok(())
        },
    );
    let mut client = stage.says("POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello");
    assert_ne!(client.read_to_end(), End::Open);
    assert_eq!(stage.says("GET / HTTP/1.1\r\nHost: h\r\n\r\n").final_answer("GET").status, 200);
    let (app, target) = stage.worker.figures(|_, target| target.answered > 0);
    assert_eq!((target.errors, app.upstream_errors), (0, 0));
    assert_eq!(stage.requests().len(), 1);
}
