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
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Pieces of a stream that wait for the client, 1 MiB together.
const PIECES: usize = 16;
const LARGEST_PIECE: usize = 64 * 1024;

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
    pub(super) async fn send_text(&self, text: impl Into<Bytes>) -> Result<(), Gone> {
        let mut text = text.into();
        while !text.is_empty() {
            self.0.send(piece(&mut text)).await.map_err(|_| Gone)?;
        }
        Ok(())
    }

    /// The same, but no longer than the client takes each piece within `patience`: then what is left stays in `text`.
    pub(super) async fn send_within(&self, text: &mut Bytes, patience: Duration) -> Result<(), Gone> {
        while !text.is_empty() {
            match timeout(patience, self.0.reserve()).await {
                Ok(Ok(permit)) => permit.send(piece(text)),
                Ok(Err(_)) => return Err(Gone),
                Err(_elapsed) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits until the client is gone.
    pub(super) async fn gone(&self) {
        self.0.closed().await;
    }
}

/// The next piece. Of a larger text a copy: a part that waits would keep all of it in memory.
fn piece(text: &mut Bytes) -> Bytes {
    if text.len() <= LARGEST_PIECE {
        return std::mem::take(text);
    }
    Bytes::copy_from_slice(&text.split_to(LARGEST_PIECE))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_stops_reading_gets_the_rest_once_it_reads_again() {
        let (sender, mut receiver) = mpsc::channel(PIECES);
        let lines = Lines(sender);
        let all: Vec<u8> = (0..40 * LARGEST_PIECE).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect();
        let mut text = Bytes::from(all.clone());
        assert!(lines.send_within(&mut text, Duration::from_millis(20)).await.is_ok());
        assert_eq!(text.len(), (40 - PIECES) * LARGEST_PIECE, "no more waits than may");
        let rest = tokio::spawn(async move { lines.send_text(text).await.is_ok() });
        let mut received = Vec::new();
        while let Some(piece) = receiver.recv().await {
            assert!(piece.len() <= LARGEST_PIECE);
            received.extend(piece);
        }
        assert!(rest.await.unwrap_or_default() && received == all);
    }

    #[tokio::test]
    async fn whoever_writes_hears_that_the_client_is_gone() {
        let (sender, receiver) = mpsc::channel(PIECES);
        let lines = Lines(sender);
        drop(receiver);
        assert!(lines.send_text("text").await.is_err());
        assert!(lines.send_within(&mut Bytes::from("text"), Duration::from_secs(30)).await.is_err());
    }
}
