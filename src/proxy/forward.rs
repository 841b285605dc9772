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
use hyper::http::{HeaderMap, Request, Response, StatusCode, response};
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

impl Forward {
    pub(super) async fn request(self: Rc<Self>, request: Request<Incoming>) -> Response<AnswerBody> {
        let answering = Answering::new(self.app.clone(), self.wire.clone(), Instant::now());
        let (mut parts, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        let seen = Seen::of(&parts.headers);
        let is_sound = self.wire.request_begins(parts.version, has_body);
        let checked = match is_sound {
            true => head::check(&parts, seen, has_body),
            false => Err(Own::malformed("The request says two things about its length or has a fragment.")),
        };
        if let Err(own) = checked {
            self.app.counters().refused();
            return self.own(own, &parts.headers, answering);
        }
        let upgrade = head::upgrade(&parts, seen, has_body);
        let wants_upgrade = upgrade.is_some();
        let deployment = head::deployment(&parts, seen);
        head::to_origin(&mut parts, seen, &self.client, self.app.trusts(self.client.address), upgrade);
        let accept = parts.headers.get(ACCEPT).cloned();
        let request = Request::from_parts(parts, RequestBody::new(body, self.wire.clone()));
        match self.exchange(request, deployment.as_deref(), &answering).await {
            Ok(Answered { response, upstream, claim }) => {
                self.answer(response, upstream, answering.claimed(claim), wants_upgrade).await
            }
            Err(own) => {
                let accept = accept.map(|accept| HeaderMap::from_iter([(ACCEPT, accept)]));
                self.own(own, &accept.unwrap_or_default(), answering)
            }
        }
    }

    /// Finds an instance that answers. Whatever is tried again is known not to have been executed, or may be executed twice.
    async fn exchange(
        &self,
        mut request: Request<RequestBody>,
        deployment: Option<&str>,
        answering: &Answering,
    ) -> Result<Answered, Own> {
        let mut failed = Failed::default();
        let mut is_retry = false;
        loop {
            let mut claim = self.claim(deployment, failed, answering.since()).await?;
            let target = claim.target().clone();
            let pooled = match is_retry {
                true => None,
                false => target.pool.take(Instant::now(), is_repeatable(&request)),
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
            match or_cut(&target, upstream.exchange(request, &self.wire.hush)).await? {
                Ok(response) => return Ok(Answered { response, upstream, claim }),
                // A connection that ended while it rested.
                Err(Broken::Unsent(unsent)) => {
                    request = *unsent;
                    if !upstream.is_reused() {
                        self.app.counters().upstream_error();
                        failed.once_more(target.id);
                    }
                }
                Err(Broken::Sent(Some(again))) => {
                    self.app.counters().retry();
                    request = *again;
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
    async fn claim(&self, deployment: Option<&str>, failed: Failed, since: Instant) -> Result<Claim, Own> {
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

    async fn answer(
        &self,
        response: Response<Incoming>,
        upstream: Box<Upstream>,
        mut answering: Answering,
        wants_upgrade: bool,
    ) -> Response<AnswerBody> {
        let (mut parts, body) = response.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return match answering.take_claim() {
                Some(claim) if wants_upgrade => Box::pin(self.switch(parts, upstream, claim, answering)).await,
                Some(_) | None => {
                    self.app.counters().upstream_error();
                    self.own(Own::BROKEN, &HeaderMap::new(), answering)
                }
            };
        }
        self.app.counters().answer(parts.status.as_u16());
        answering.answered(!parts.status.is_server_error());
        if !body.is_end_stream() && head::is_event_stream(&parts) {
            answering.is_stream();
        }
        let mut upstream = upstream;
        upstream.announces(head::to_client(&mut parts));
        if self.app.is_leaving() {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Response::from_parts(parts, AnswerBody::of(body, upstream, answering))
    }

    /// The instance has agreed to another protocol: once the client knows, its bytes are the two's own.
    async fn switch(
        &self,
        mut parts: response::Parts,
        upstream: Box<Upstream>,
        mut claim: Claim,
        mut answering: Answering,
    ) -> Response<AnswerBody> {
        let target = claim.target().clone();
        let (origin, early) = match or_cut(&target, upstream.into_stream()).await {
            Ok(stream) => stream,
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
