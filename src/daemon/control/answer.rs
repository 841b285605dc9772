//! How an answer travels: JSON, one value; a refusal with its status; a stream as one value a line.

use crate::api::{ActionReply, ActionResult, ErrorBody, Refusal, RefusalCode};
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use serde::Serialize;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// Pieces of a stream that wait for the client.
const PIECES: usize = 2;

/// What a handler gives: an answer, or a refusal.
pub(super) type Answer = Result<Response, Refused>;

/// A refusal, and each app's own result where the request was about several.
pub(crate) struct Refused {
    refusal: Refusal,
    results: Vec<ActionResult>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused { refusal, results: Vec::new() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.refusal.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ErrorBody { error: self.refusal, results: self.results };
        (status, json(&body)).into_response()
    }
}

/// One JSON value and a newline: whoever types curl has a terminal.
pub(super) fn json<T: Serialize>(value: &T) -> Response {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// What became of each app; not well for one is not well for the request.
pub(super) fn actions(results: Vec<ActionResult>) -> Answer {
    let failed: Vec<&ActionResult> = results.iter().filter(|result| result.error.is_some()).collect();
    let refusal = match failed.as_slice() {
        [] => return Ok(json(&ActionReply { results })),
        [one] => one.error.clone(),
        [first, ..] => first.error.clone().map(|first| Refusal {
            message: format!("{} of {} apps failed; the first: {}", failed.len(), results.len(), first.message),
            ..first
        }),
    };
    let refusal = refusal.unwrap_or_else(|| Refusal::new(RefusalCode::Failed, "it failed"));
    Err(Refused { refusal, results })
}

/// The far end of a stream of JSON lines.
#[derive(Clone)]
pub(super) struct Lines(mpsc::Sender<Bytes>);

/// The client is gone.
pub(super) struct Gone;

/// A stream and its far end. At most a few pieces wait for the client; whoever writes waits with them.
pub(super) fn lines() -> (Lines, Response) {
    let (sender, receiver) = mpsc::channel(PIECES);
    let body = Body::new(Receiving(receiver));
    (Lines(sender), ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

impl Lines {
    pub(super) async fn send<T: Serialize>(&self, value: &T) -> Result<(), Gone> {
        self.send_text(line(value)).await
    }

    /// Several whole lines at once.
    pub(super) async fn send_text(&self, text: Vec<u8>) -> Result<(), Gone> {
        self.0.send(Bytes::from(text)).await.map_err(|_| Gone)
    }

    /// Waits until the client is gone.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}

/// One value as a line.
pub(super) fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text
}

struct Receiving(mpsc::Receiver<Bytes>);

impl HttpBody for Receiving {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
