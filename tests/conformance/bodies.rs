//! Bodies on their way: as they come, announced, cut off, refused early, and by old clients.

use crate::client::{End, Pace};
use crate::stage::Stage;
use crate::wire::{self, Length};
use std::sync::atomic::{AtomicUsize, Ordering};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn a_client_that_waits_to_be_told_is_told_to_go_on() {
    let stage = Stage::answering(OK);
    let mut client = stage
        .says("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer("POST").unwrap().status, 100);
    client.send(b"hello", Pace::AtOnce);
    assert_eq!(client.answer("POST").unwrap().status, 200);
    assert_eq!(client.read_to_end(), End::Closed);
    assert_eq!(stage.requests()[0].body, b"hello");
}

#[test]
fn a_client_that_does_not_wait_is_heard() {
    let stage = Stage::answering(OK);
    let mut client = stage.says("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
    assert_eq!(client.final_answer("POST").status, 200);
    drop(client);
    assert_eq!(stage.requests()[0].body, b"hello");
}

#[test]
fn a_client_that_expects_something_else_is_refused() {
    let stage = Stage::answering(OK);
    let mut client = stage.says("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: wonders\r\n\r\nhello");
    assert_eq!(client.final_answer("POST").status, 417);
    assert_eq!((client.read_to_end(), client.seen()), (End::Closed, b"".as_slice()));
    assert_eq!(stage.record(), Vec::<Vec<u8>>::new());
}

#[test]
fn a_body_goes_on_as_it_comes_in_both_directions() {
    let stage = Stage::before(|upstream| {
        upstream.head()?;
        assert_eq!(upstream.take(8)?, b"3\r\none\r\n");
        upstream.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nONE\r\n")?;
        assert_eq!(upstream.take(8)?, b"3\r\ntwo\r\n");
        upstream.say(b"3\r\nTWO\r\n")?;
        assert_eq!(upstream.take(5)?, b"0\r\n\r\n");
        upstream.say(b"0\r\n\r\n")?;
        upstream.rest()
    });
    let mut client = stage.says("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    // Each piece is said only when the one before has been answered.
    client.until(b"\r\n\r\n3\r\nONE\r\n");
    client.send(b"3\r\ntwo\r\n", Pace::AtOnce);
    client.until(b"3\r\nTWO\r\n");
    client.send(b"0\r\n\r\n", Pace::AtOnce);
    assert_eq!(client.final_answer("POST").body, b"ONETWO");
    drop(client);
    assert_eq!(wire::request(&stage.record()[0]).unwrap().unwrap().0.body, b"onetwo");
}

#[test]
fn a_large_body_is_the_same_on_the_other_side() {
    let stage = Stage::before(|upstream| {
        while let Some(request) = upstream.request()? {
            let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for piece in request.body.chunks(7001) {
                answer.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
                answer.extend_from_slice(piece);
                answer.extend_from_slice(b"\r\n");
            }
            upstream.say(&[&answer, b"0\r\n\r\n".as_slice()].concat())?;
        }
        Ok(())
    });
    let body: Vec<u8> = (0..1_000_000_u32).map(|at| at.to_le_bytes()[at as usize % 3]).collect();
    let mut client = stage.says(&format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()));
    client.send(&body, Pace::AtOnce);
    let answer = client.final_answer("PUT");
    assert!(answer.body == body, "{} bytes came back", answer.body.len());
    drop(client);
    assert!(stage.requests()[0].body == body);
}

#[test]
fn announced_trailers_go_on_in_both_directions() {
    let stage = Stage::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n",
    );
    let mut client = stage.says(
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nTrailer: X-Sum\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n",
    );
    let answer = client.final_answer("POST");
    assert_eq!((answer.text().as_str(), wire::values(&answer.trailers, "x-sum")), ("ok", vec!["2"]));
    drop(client);
    let request = stage.requests().remove(0);
    assert_eq!((request.body.as_slice(), wire::values(&request.trailers, "x-sum")), (b"hello".as_slice(), vec!["5"]));
}

#[test]
fn a_client_that_says_no_more_gets_its_answer() {
    let stage = Stage::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let mut client = stage.says("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    client.half_close();
    assert_eq!(client.final_answer("GET").text(), "hello");
    assert_eq!(client.read_to_end(), End::Closed);
    // Its end may overtake the body on the way to the instance.
    for _ in 0..100 {
        let mut client =
            stage.says("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
        client.half_close();
        assert_eq!(client.final_answer("POST").text(), "hello");
        assert_eq!(client.read_to_end(), End::Closed);
    }
    assert_eq!(stage.requests().len(), 101);
}

#[test]
fn a_client_that_leaves_within_its_body_is_no_fault_of_the_instance() {
    let mut stage = Stage::before(|upstream| {
        while upstream.request()?.is_some() {
            upstream.say(OK.as_bytes())?;
        }
        Ok(())
    });
    for (framing, part) in [("Content-Length: 10", "hello"), ("Transfer-Encoding: chunked", "5\r\nhel")] {
        let mut client = stage.says(&format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n{part}"));
        client.half_close();
        client.read_to_end();
    }
    for bad in ["x\r\n", "5\r\nhello!", "1;\n\r\n"] {
        let mut client = stage.says(&format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{bad}"));
        assert_eq!(client.final_answer("POST").status, 400, "{bad:?}");
        assert_eq!(client.read_to_end(), End::Closed);
    }
    assert_eq!(stage.says("GET / HTTP/1.1\r\nHost: h\r\n\r\n").final_answer("GET").status, 200);
    let (app, target) = stage.worker.figures(|_, target| target.answered > 0);
    assert_eq!((target.errors, app.upstream_errors), (0, 0));
    assert!(app.refused >= 3, "{app:?}");
    // The one whole request is the last; what was cut off is never continued by another.
    let requests = stage.requests();
    assert_eq!(requests.iter().map(|request| request.method.as_str()).collect::<Vec<_>>(), ["GET"]);
}

#[test]
fn an_answer_may_come_before_the_body_is_whole() {
    let stage = Stage::before(|upstream| {
        upstream.head()?;
        upstream.say(b"HTTP/1.1 413 Too much\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch")?;
        upstream.close()
    });
    let mut client = stage.says("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nhello");
    let answer = client.final_answer("POST");
    assert_eq!((answer.status, answer.text().as_str()), (413, "much"));
    drop(client);
    drop(stage.record());
}

#[test]
fn a_request_that_may_have_been_executed_is_not_sent_twice() {
    let asked: &'static AtomicUsize = Box::leak(Box::default());
    let stage = Stage::before(move |upstream| {
        while upstream.request()?.is_some() {
            if asked.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
                return upstream.close();
            }
            upstream.say(OK.as_bytes())?;
        }
        Ok(())
    });
    let mut client = stage.client();
    // The second goes out on a connection that has answered before, and ends without a word.
    for (status, body) in [(200, "first"), (502, "again")] {
        let request = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n{body}");
        client.send(request.as_bytes(), Pace::AtOnce);
        assert_eq!(client.final_answer("POST").status, status);
    }
    drop(client);
    assert_eq!(stage.requests().len(), 2);
}

#[test]
fn hints_before_the_answer_do_not_stand_for_it() {
    let stage = Stage::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    );
    let mut client = stage.says("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    for _ in 0..2 {
        let answer = client.final_answer("GET");
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    }
    drop(client);
    drop(stage.record());
}

#[test]
fn an_old_client_gets_no_chunks_and_sees_where_it_ends() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let stage = Stage::answering(chunked);
    for lines in ["", "Connection: keep-alive\r\n"] {
        let mut client = stage.says(&format!("GET / HTTP/1.0\r\n{lines}\r\n"));
        client.read_to_end();
        let answer = client.answer("GET").unwrap();
        assert_eq!((answer.text().as_str(), answer.length), ("hello", Length::Close));
    }
    drop(stage.record());
    let stage = Stage::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let mut client = stage.says("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n");
    let answer = client.final_answer("GET");
    assert_eq!((answer.text().as_str(), answer.values("connection")), ("hello", vec!["keep-alive"]));
    assert_eq!(client.final_answer("GET").text(), "hello");
    assert_eq!(client.read_to_end(), End::Closed);
    drop(stage.record());
}

#[test]
fn an_old_client_sees_that_an_answer_is_broken() {
    let stage = Stage::before(|upstream| {
        upstream.request()?;
        upstream.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")?;
        upstream.close()
    });
    // Without chunks and without a length nothing but a reset tells.
    let mut client = stage.says("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.read_to_end(), End::Reset);
    drop(client);
    drop(stage.record());
}
