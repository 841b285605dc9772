//! What is sent on: a request's body on its way to an instance, an answer's on its way to the client.

use super::routes::AppRoute;
use super::target::Claim;
use super::upstream::{Incomplete, Upstream};
use super::wire::Wire;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::time::Instant;

type Next<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

/// A client's body; empty when the request has none, or is sent again.
#[derive(Debug, Default)]
pub(super) struct RequestBody(Option<(Incoming, Rc<Wire>)>);

impl RequestBody {
    pub(super) fn new(body: Incoming, wire: Rc<Wire>) -> RequestBody {
        RequestBody((!body.is_end_stream()).then_some((body, wire)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Next<hyper::Error> {
        let Some((body, wire)) = &mut self.0 else { return Poll::Ready(None) };
        let next = Pin::new(&mut *body).poll_frame(cx);
        match &next {
            Poll::Pending => wire.waits_for_body(),
            Poll::Ready(None) => wire.request_is_whole(),
            Poll::Ready(Some(Err(_))) => wire.request_breaks(),
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() || body.is_end_stream() => wire.request_is_whole(),
            Poll::Ready(Some(Ok(_))) => {}
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

/// The instance's connection broke, or was cut, before the answer was complete: the client's is ended too, so that it can
/// tell.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(super) struct BrokeOff;

/// What a client is sent.
pub(super) struct AnswerBody {
    content: Content,
    /// Dropped with the body, which hyper does with its last byte.
    answering: Answering,
}

enum Content {
    Whole(Option<Bytes>),
    Stream(Box<Stream>),
}

impl AnswerBody {
    pub(super) fn whole(content: Bytes, answering: Answering) -> AnswerBody {
        let content = Content::Whole((!content.is_empty()).then_some(content));
        AnswerBody { content, answering }
    }

    /// An instance's answer, whose head is there. A body that came along with the head is taken at once, and the
    /// connection is free again.
    pub(super) fn of(mut upstream: Box<Upstream>, mut answering: Answering) -> AnswerBody {
        let first = match upstream.take_frame() {
            Ok(None) => None,
            Ok(Some(frame)) => Some(Ok(frame)),
            // It is told only once: after this the body would look as if it had ended well.
            Err(Incomplete) => Some(Err(answering.breaks_off())),
        };
        if upstream.is_complete() && first.as_ref().is_none_or(|first| first.as_ref().is_ok_and(Frame::is_data)) {
            answering.frees(upstream);
            let data = first.and_then(Result::ok).and_then(|frame| frame.into_data().ok());
            return AnswerBody::whole(data.unwrap_or_default(), answering);
        }
        if let Some(claim) = &answering.claim {
            answering.wire.answers_for(claim.target().clone());
        }
        let is_asked = upstream.is_asked();
        let upstream = Rc::new(RefCell::new(Some(upstream)));
        if !is_asked {
            answering.wire.asks_on(upstream.clone());
        }
        let stream = Stream { first, upstream };
        AnswerBody { content: Content::Stream(Box::new(stream)), answering }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Next<BrokeOff> {
        let AnswerBody { content, answering } = &mut *self;
        match content {
            Content::Whole(content) => Poll::Ready(content.take().map(|content| Ok(Frame::data(content)))),
            Content::Stream(stream) => stream.poll_frame(answering, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(content) => content.is_none(),
            Content::Stream(stream) => stream.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(content) => SizeHint::with_exact(content.as_ref().map_or(0, |content| content.len() as u64)),
            Content::Stream(stream) => stream.size_hint(),
        }
    }
}

/// The connection that a body comes on, until the body is complete or has broken off.
pub(super) type Coming = Rc<RefCell<Option<Box<Upstream>>>>;

/// A body that is still coming.
struct Stream {
    /// What came along with the head.
    first: Option<Result<Frame<Bytes>, BrokeOff>>,
    upstream: Coming,
}

impl Stream {
    fn poll_frame(&mut self, answering: &mut Answering, cx: &mut Context<'_>) -> Next<BrokeOff> {
        let mut coming = self.upstream.borrow_mut();
        let next = match (self.first.take(), &mut *coming) {
            (Some(first), _) => Some(first),
            (None, None) => return Poll::Ready(None),
            (None, Some(upstream)) => {
                let next = std::task::ready!(upstream.poll_frame(cx));
                next.map(|frame| frame.map_err(|Incomplete| answering.breaks_off()))
            }
        };
        let has_broken = matches!(next, Some(Err(BrokeOff)));
        if (has_broken || coming.as_ref().is_some_and(|upstream| upstream.is_complete()))
            && let Some(upstream) = coming.take()
            && !has_broken
        {
            answering.frees(upstream);
        }
        Poll::Ready(next)
    }

    fn is_over(&self) -> bool {
        self.first.is_none() && self.upstream.borrow().as_ref().is_none_or(|upstream| upstream.is_complete())
    }

    fn size_hint(&self) -> SizeHint {
        let first = match &self.first {
            None => 0,
            Some(Ok(frame)) if frame.is_data() => frame.data_ref().map_or(0, |data| data.len() as u64),
            // Trailers, which want chunks before them.
            Some(Ok(_) | Err(BrokeOff)) => return SizeHint::default(),
        };
        let rest = self.upstream.borrow().as_ref().map_or(Some(0), |upstream| upstream.left());
        rest.map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest + first))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Before the claim is given up, whoever else knows the connection.
        self.upstream.take();
    }
}

/// What ends with an answer: the count on the instance, the time it took.
pub(super) struct Answering {
    app: Rc<AppRoute>,
    wire: Rc<Wire>,
    since: Instant,
    /// None when it is our own answer.
    claim: Option<Claim>,
    is_timed: bool,
    /// The whole answer is there; it leaves in the same turn, or as fast as the client reads it.
    freed: Option<Instant>,
}

impl Answering {
    pub(super) fn new(app: Rc<AppRoute>, wire: Rc<Wire>, since: Instant) -> Answering {
        Answering { app, wire, since, claim: None, is_timed: true, freed: None }
    }

    pub(super) fn claimed(mut self, claim: Claim) -> Answering {
        self.claim = Some(claim);
        self
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    pub(super) fn answered(&mut self, ok: bool) {
        if let Some(claim) = &mut self.claim {
            claim.answered(ok);
        }
    }

    /// It has no end that could be waited for.
    pub(super) fn is_stream(&mut self) {
        self.is_timed = false;
        self.wire.becomes_stream();
        if let Some(claim) = &mut self.claim {
            claim.becomes_stream();
        }
    }

    fn frees(&mut self, upstream: Box<Upstream>) {
        let now = Instant::now();
        self.freed = Some(now);
        if let Some(claim) = &self.claim {
            claim.target().pool.put(upstream, now);
        }
    }

    fn breaks_off(&mut self) -> BrokeOff {
        self.is_timed = false;
        if !self.wire.is_request_broken() {
            self.app.counters().upstream_error();
            self.answered(false);
        }
        BrokeOff
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let now = self.freed.unwrap_or_else(Instant::now);
        self.wire.answer_is_over(now);
        if self.is_timed {
            self.app.counters().took(now.saturating_duration_since(self.since));
        }
    }
}
