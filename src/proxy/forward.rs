//! One request's way: claim an instance → its connection → the answer; and what is tried again when that fails.

use super::answers::Own;
use super::body::{AnswerBody, Answering, RequestBody};
use super::head::{self, Client, Seen};
use super::routes::AppRoute;
use super::target::{Claim, Target};
use super::upgrade::Tunnel;
use super::upstream::{AnswerHead, Broken, Question, Upstream};
use super::wire::Wire;
use hyper::body::{Body, Incoming};
use hyper::http::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::http::{HeaderMap, Request, Response, StatusCode};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Between two attempts to reach the only instance there is.
const PAUSE: Duration = Duration::from_millis(50);
/// A connection on this machine takes microseconds, unless nobody accepts and the queue is full.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// What the requests of one connection share.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) app: Rc<AppRoute>,
    pub(super) wire: Rc<Wire>,
    pub(super) client: Client,
}

/// A request whose head has been looked at.
struct Begun {
    question: Question,
    body: RequestBody,
    deployment: Option<String>,
    answering: Answering,
    checked: Result<(), Own>,
}

impl Forward {
    /// The service of the client's connection. What needs no waiting is done before the future is made, which so stays
    /// small: it is moved with each request, and its place is kept for the next one.
    pub(super) fn request(
        self: Rc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<AnswerBody>, Infallible>> {
        let mut begun = self.begin(request);
        async move {
            let answered = match begun.checked {
                Ok(()) => self.exchange(&mut begun).await,
                Err(own) => Err(own),
            };
            let Begun { question, answering, .. } = begun;
            Ok(match answered {
                Ok(answered) if answered.head.parts.status == StatusCode::SWITCHING_PROTOCOLS => {
                    self.switch(answered, answering, question.upgrade.is_some())
                }
                Ok(answered) => self.answer(answered, answering),
                Err(own) => self.own(own, &question.parts.headers, answering),
            })
        }
    }

    fn begin(&self, request: Request<Incoming>) -> Begun {
        let answering = Answering::new(self.app.clone(), self.wire.clone(), Instant::now());
        let (parts, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        let seen = Seen::of(&parts.headers);
        let checked = match self.wire.request_begins(parts.version, has_body, head::is_last(&parts, seen)) {
            true => head::check(&parts, seen, has_body),
            false => Err(Own::malformed("The request says two things about its length or has a fragment.")),
        };
        if checked.is_err() {
            self.app.counters().refused();
        }
        let upgrade = head::upgrade(&parts, seen, has_body);
        let deployment = head::deployment(&parts, seen);
        let is_trusted = self.app.trusts(self.client.address);
        let question = Question { parts, seen, upgrade, is_trusted, has_body };
        Begun { question, body: RequestBody::new(body, self.wire.clone()), deployment, answering, checked }
    }

    /// Finds an instance that answers. Whatever is tried again is known not to have been executed, or may be executed twice.
    async fn exchange(&self, begun: &mut Begun) -> Result<Answered, Own> {
        let Begun { question, body, .. } = begun;
        let (deployment, since) = (begun.deployment.as_deref(), begun.answering.since());
        let mut failed = Failed::default();
        let mut now = since;
        let mut is_retry = false;
        loop {
            let first = if failed.times == 0 { self.app.claim(deployment, None) } else { None };
            let mut claim = match first {
                Some(claim) => claim,
                None => {
                    let claim = Box::pin(self.wait(deployment, failed, since)).await?;
                    now = Instant::now();
                    claim
                }
            };
            let target = claim.target().clone();
            let pooled = if is_retry { None } else { target.pool.take(now) };
            let upstream = match pooled {
                Some(upstream) => Ok(upstream),
                None => match Box::pin(target.unless_cut(connect(&target))).await {
                    Some(upstream) => upstream,
                    None => return Err(self.breaks(&mut claim)),
                },
            };
            let Ok(mut upstream) = upstream else {
                self.app.counters().upstream_error();
                claim.answered(false);
                failed.once_more(target.id);
                continue;
            };
            upstream.ask(question, &self.client, body, now);
            match target.unless_cut(poll_fn(|cx| upstream.poll_head(cx))).await {
                Some(Ok(head)) => return Ok(Answered { head, upstream, claim }),
                // A connection that ended while it rested.
                Some(Err(Broken::Unsent(unsent))) => {
                    *body = unsent;
                    if !upstream.is_reused() {
                        self.app.counters().upstream_error();
                        failed.once_more(target.id);
                    }
                }
                // One that had been used before: its end may have nothing to do with this request (RFC 9112, 9.3.1).
                Some(Err(Broken::Silent)) if upstream.is_reused() && question.is_repeatable() => {
                    self.app.counters().retry();
                    is_retry = true;
                }
                Some(Err(Broken::Silent | Broken::Sent)) if self.wire.is_request_broken() => {
                    self.app.counters().refused();
                    return Err(Own::malformed("The body of the request is malformed or incomplete."));
                }
                Some(Err(Broken::Silent | Broken::Sent)) | None => return Err(self.breaks(&mut claim)),
            }
        }
    }

    /// The instance ended the request, or was cut.
    fn breaks(&self, claim: &mut Claim) -> Own {
        self.app.counters().upstream_error();
        claim.answered(false);
        Own::BROKEN
    }

    /// Claims an instance, or waits for one. After a first failure another one is asked at once; after that whoever is
    /// there, each time after a pause: they may all refuse for as long as the request is held.
    async fn wait(&self, deployment: Option<&str>, failed: Failed, since: Instant) -> Result<Claim, Own> {
        let deadline = since + self.app.hold_time();
        if failed.times == 1
            && let Some(claim) = self.app.claim(deployment, failed.last)
        {
            return Ok(claim);
        }
        if failed.times > 0 {
            self.app.pause(PAUSE, deadline).await.map_err(|_| Own::NOBODY)?;
        }
        match self.app.claim(deployment, failed.last) {
            Some(claim) => Ok(claim),
            None => self.app.hold(deployment, deadline).await.map_err(|_| Own::NOBODY),
        }
    }

    fn answer(&self, answered: Answered, answering: Answering) -> Response<AnswerBody> {
        let Answered { head, upstream, claim } = answered;
        let mut answering = answering.claimed(claim);
        let mut parts = head.parts;
        self.app.counters().answer(parts.status.as_u16());
        answering.answered(!parts.status.is_server_error());
        if !upstream.is_complete() && head::is_event_stream(&parts.headers) {
            answering.is_stream();
        }
        // What is left of the request is of no use to anybody.
        let is_enough = upstream.is_complete() && !upstream.is_asked();
        if self.is_last() || is_enough {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Response::from_parts(parts, AnswerBody::of(upstream, answering))
    }

    /// The instance has agreed to another protocol: once the client knows, its bytes are the two's own.
    fn switch(&self, answered: Answered, mut answering: Answering, wants_upgrade: bool) -> Response<AnswerBody> {
        let Answered { head, upstream, mut claim } = answered;
        if !wants_upgrade {
            let own = self.breaks(&mut claim);
            return self.own(own, &HeaderMap::new(), answering);
        }
        let (origin, early) = upstream.into_stream();
        let mut parts = head.parts;
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(upgrade) = head.upgrade {
            parts.headers.insert(UPGRADE, upgrade);
        }
        self.app.counters().answer(parts.status.as_u16());
        claim.answered(true);
        claim.becomes_stream();
        answering.is_stream();
        self.wire.becomes_tunnel(Tunnel::new(origin, early, claim));
        Response::from_parts(parts, AnswerBody::whole(bytes::Bytes::new(), answering))
    }

    /// Is this answer the connection's last?
    fn is_last(&self) -> bool {
        self.app.is_leaving() || self.wire.is_unwanted()
    }

    fn own(&self, own: Own, accept: &HeaderMap, answering: Answering) -> Response<AnswerBody> {
        self.app.counters().answer(own.status.as_u16());
        let mut response = own.answer(accept, answering);
        if self.is_last() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Instances that refused a connection for this request.
#[derive(Debug, Default, Clone, Copy)]
struct Failed {
    last: Option<u64>,
    times: u32,
}

impl Failed {
    fn once_more(&mut self, target: u64) {
        self.last = Some(target);
        self.times += 1;
    }
}

struct Answered {
    head: AnswerHead,
    upstream: Box<Upstream>,
    claim: Claim,
}

/// One that does not even take a connection gets nothing sent, so that another may be tried.
async fn connect(target: &Target) -> io::Result<Box<Upstream>> {
    timeout(CONNECT_PATIENCE, Upstream::connect(target.address)).await?
}
