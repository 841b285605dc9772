//! One request's way: claim an instance → its connection → the answer; and what is tried again when that fails.

use super::answers::Own;
use super::body::{AnswerBody, Answering, RequestBody};
use super::head::{self, Client, Seen};
use super::routes::AppRoute;
use super::target::{Claim, Target};
use super::upgrade::Tunnel;
use super::upstream::{Broken, Upstream, is_repeatable};
use super::wire::Wire;
use hyper::body::{Body, Incoming};
use hyper::http::header::{ACCEPT, CONNECTION, HeaderValue, UPGRADE};
use hyper::http::{HeaderMap, Request, Response, StatusCode};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two attempts to reach the only instance there is.
const PAUSE: Duration = Duration::from_millis(50);

/// What the requests of one connection share.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) app: Rc<AppRoute>,
    pub(super) wire: Rc<Wire>,
    pub(super) client: Client,
}

/// A request whose head has been looked at.
struct Begun {
    request: Request<RequestBody>,
    deployment: Option<String>,
    wants_upgrade: bool,
    accept: Option<HeaderValue>,
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
            Ok(match answered {
                Ok(answered) if answered.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    Box::pin(self.switch(answered, begun.answering, begun.wants_upgrade)).await
                }
                Ok(answered) => self.answer(answered, begun.answering),
                Err(own) => {
                    let accept = begun.accept.map(|accept| (ACCEPT, accept));
                    self.own(own, &HeaderMap::from_iter(accept), begun.answering)
                }
            })
        }
    }

    fn begin(&self, request: Request<Incoming>) -> Begun {
        let answering = Answering::new(self.app.clone(), self.wire.clone(), Instant::now());
        let (mut parts, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        let seen = Seen::of(&parts.headers);
        let checked = match self.wire.request_begins(parts.version, has_body) {
            true => head::check(&parts, seen, has_body),
            false => Err(Own::malformed("The request says two things about its length or has a fragment.")),
        };
        let (mut deployment, mut wants_upgrade) = (None, false);
        match checked {
            Ok(()) => {
                let upgrade = head::upgrade(&parts, seen, has_body);
                wants_upgrade = upgrade.is_some();
                deployment = head::deployment(&parts, seen);
                head::to_origin(&mut parts, seen, &self.client, self.app.trusts(self.client.address), upgrade);
            }
            Err(_) => self.app.counters().refused(),
        }
        let accept = parts.headers.get(ACCEPT).cloned();
        let request = Request::from_parts(parts, RequestBody::new(body, self.wire.clone()));
        Begun { request, deployment, wants_upgrade, accept, answering, checked }
    }

    /// Finds an instance that answers. Whatever is tried again is known not to have been executed, or may be executed twice.
    async fn exchange(&self, begun: &mut Begun) -> Result<Answered, Own> {
        let (request, deployment, since) = (&mut begun.request, begun.deployment.as_deref(), begun.answering.since());
        let mut failed = Failed::default();
        let mut is_retry = false;
        loop {
            let first = if failed.times == 0 { self.app.claim(deployment, None) } else { None };
            let mut claim = match first {
                Some(claim) => claim,
                None => Box::pin(self.wait(deployment, failed, since)).await?,
            };
            let target = claim.target().clone();
            let pooled = match is_retry {
                true => None,
                false => target.pool.take(Instant::now(), is_repeatable(request)),
            };
            let upstream = match pooled {
                Some(upstream) => Ok(upstream),
                None => Box::pin(or_cut(&target, Upstream::connect(target.address))).await?,
            };
            let Ok(mut upstream) = upstream else {
                self.app.counters().upstream_error();
                claim.answered(false);
                failed.once_more(target.id);
                continue;
            };
            match or_cut(&target, upstream.exchange(std::mem::take(request), &self.wire.hush)).await? {
                Ok(response) => return Ok(Answered { response, upstream, claim }),
                // A connection that ended while it rested.
                Err(Broken::Unsent(unsent)) => {
                    *request = *unsent;
                    if !upstream.is_reused() {
                        self.app.counters().upstream_error();
                        failed.once_more(target.id);
                    }
                }
                Err(Broken::Sent(Some(again))) => {
                    self.app.counters().retry();
                    *request = *again;
                    is_retry = true;
                }
                Err(Broken::Sent(None)) if self.wire.is_request_broken() => {
                    self.app.counters().refused();
                    return Err(Own::malformed("The body of the request is malformed or incomplete."));
                }
                Err(Broken::Sent(None)) => {
                    self.app.counters().upstream_error();
                    claim.answered(false);
                    return Err(Own::BROKEN);
                }
            }
        }
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
        let Answered { response, mut upstream, claim } = answered;
        let mut answering = answering.claimed(claim);
        let (mut parts, body) = response.into_parts();
        self.app.counters().answer(parts.status.as_u16());
        answering.answered(!parts.status.is_server_error());
        if !body.is_end_stream() && head::is_event_stream(&parts) {
            answering.is_stream();
        }
        upstream.announces(head::to_client(&mut parts));
        if self.app.is_leaving() {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Response::from_parts(parts, AnswerBody::of(body, upstream, answering))
    }

    /// The instance has agreed to another protocol: once the client knows, its bytes are the two's own.
    async fn switch(&self, answered: Answered, mut answering: Answering, wants_upgrade: bool) -> Response<AnswerBody> {
        let Answered { response, upstream, mut claim } = answered;
        let (mut parts, _) = response.into_parts();
        if !wants_upgrade {
            self.app.counters().upstream_error();
            claim.answered(false);
            return self.own(Own::BROKEN, &HeaderMap::new(), answering);
        }
        let target = claim.target().clone();
        let (origin, early) = match or_cut(&target, upstream.into_stream()).await {
            Ok(Some(stream)) => stream,
            Ok(None) => return self.own(Own::BROKEN, &HeaderMap::new(), answering),
            Err(own) => return self.own(own, &HeaderMap::new(), answering),
        };
        let upgrade = parts.headers.remove(UPGRADE);
        head::to_client(&mut parts);
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        if let Some(upgrade) = upgrade {
            parts.headers.insert(UPGRADE, upgrade);
        }
        self.app.counters().answer(parts.status.as_u16());
        claim.answered(true);
        claim.becomes_stream();
        answering.is_stream();
        self.wire.becomes_tunnel(Tunnel::new(origin, early, claim));
        Response::from_parts(parts, AnswerBody::whole(bytes::Bytes::new(), answering))
    }

    fn own(&self, own: Own, accept: &HeaderMap, answering: Answering) -> Response<AnswerBody> {
        self.app.counters().answer(own.status.as_u16());
        let mut response = own.answer(accept, answering);
        if self.app.is_leaving() {
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
    response: Response<Incoming>,
    upstream: Box<Upstream>,
    claim: Claim,
}

/// Whatever the order to cut the instance leaves unanswered is broken.
async fn or_cut<T>(target: &Target, future: impl Future<Output = T>) -> Result<T, Own> {
    tokio::select! {
        biased;
        done = future => Ok(done),
        () = target.cut() => Err(Own::BROKEN),
    }
}
