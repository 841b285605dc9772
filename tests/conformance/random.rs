//! What holds for any bytes that a client may send.

use crate::client::{Client, End, Pace};
use crate::machine::shown;
use crate::origin::Origin;
use crate::proxy::Proxy;
use crate::wire;

/// Sends them, says that nothing more comes, and looks at both sides.
///
/// # Errors
/// What is not as it has to be: a request at the origin that can be read in two ways, or that the proxy has not written
/// itself; an answer to the client that no client understands, or one more than there were requests.
pub(crate) fn check(proxy: &mut dyn Proxy, sent: &[u8]) -> Result<(), String> {
    let origin = Origin::start(|upstream| {
        while let Some(request) = upstream.request()? {
            let length = if request.method == "HEAD" { 5 } else { 0 };
            let head = format!("HTTP/1.1 200 OK\r\nX-Method: {}\r\nContent-Length: {length}\r\n\r\n", request.method);
            upstream.say(head.as_bytes())?;
        }
        Ok(())
    });
    proxy.point_at(origin.address);
    let mut client = Client::connect(proxy.address());
    client.send(sent, Pace::AtOnce);
    client.half_close();
    let end = client.read_to_end();
    let seen = client.seen().to_vec();
    drop(client);
    proxy.let_go();
    let record = origin.end();
    let passed = passed(&record, &proxy.address().port().to_string())?;
    told(&seen, end, passed)
}

/// How many whole requests the origin has; each with the marks of the proxy, so that none was hidden in another.
fn passed(record: &[Vec<u8>], port: &str) -> Result<usize, String> {
    let mut passed = 0;
    for bytes in record {
        let (requests, rest) = wire::requests(bytes).map_err(|fault| format!("{fault} in {}", shown(bytes)))?;
        let unwritten = requests.iter().find(|request| {
            request.values("x-forwarded-for") != ["127.0.0.1"] || request.values("x-forwarded-port") != [port]
        });
        if unwritten.is_some() {
            return Err(format!("a request that the proxy has not written in {}", shown(bytes)));
        }
        // What is left is the beginning of one, and of one that can be read in one way alone.
        wire::request_head(rest).map_err(|fault| format!("{fault} at the end of {}", shown(bytes)))?;
        passed += requests.len();
    }
    Ok(passed)
}

/// Whole answers alone, refused once at most and then last.
fn told(seen: &[u8], end: End, passed: usize) -> Result<(), String> {
    let (mut rest, mut answered, mut refused) = (seen, 0, 0);
    while !rest.is_empty() {
        let wrong = |what: String| format!("{what} in the answers {}", shown(seen));
        let head = wire::answer_head(rest, "GET").map_err(&wrong)?;
        let method = head.iter().flat_map(|(head, _)| head.values("x-method")).next().unwrap_or("GET");
        let (answer, used) = match (wire::answer(rest, method, end == End::Closed).map_err(&wrong)?, head) {
            (Some(whole), _) => whole,
            // Our own answer to HEAD, which ends the connection.
            (None, Some((refusal, used))) if refusal.status >= 400 && used == rest.len() => (refusal, used),
            (None, _) if end == End::Reset => break,
            (None, _) => return Err(wrong("a part of one".to_owned())),
        };
        rest = &rest[used..];
        match answer.status {
            100..200 => {}
            _ if refused > 0 => return Err(format!("an answer behind a refusal: {}", shown(seen))),
            200 => answered += 1,
            400..=499 => refused += 1,
            status => return Err(format!("told {status}: {}", shown(seen))),
        }
    }
    match (end, answered <= passed) {
        (End::Open, _) => Err("the connection stays open".to_owned()),
        (End::Closed | End::Reset, true) => Ok(()),
        (End::Closed | End::Reset, false) => Err(format!("{answered} answers to {passed} requests")),
    }
}
