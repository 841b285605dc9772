//! What we answer ourselves: a malformed request, a slow one, an instance that broke, nobody there.

use super::body::{AnswerBody, Answering};
use bytes::Bytes;
use hyper::http::header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use hyper::http::{HeaderMap, HeaderValue, Response, StatusCode};

/// Seconds after which a client may come again.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// An answer of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) status: StatusCode,
    /// One sentence, for whoever reads the page.
    pub(super) says: &'static str,
}

impl Own {
    pub(super) const fn malformed(says: &'static str) -> Own {
        Own { status: StatusCode::BAD_REQUEST, says }
    }

    pub(super) const EXPECTATION: Own =
        Own { status: StatusCode::EXPECTATION_FAILED, says: "The request expects what is not done here." };
    pub(super) const BROKEN: Own =
        Own { status: StatusCode::BAD_GATEWAY, says: "The app ended the request without an answer." };
    pub(super) const NOBODY: Own =
        Own { status: StatusCode::SERVICE_UNAVAILABLE, says: "The app does not answer at the moment." };
    pub(super) const SLOW: Own =
        Own { status: StatusCode::REQUEST_TIMEOUT, says: "The head of the request did not arrive in time." };

    /// Does the fault lie with the client?
    fn is_refusal(self) -> bool {
        self.status.is_client_error()
    }

    /// The page, as HTML for those who would rather have that.
    fn page(self, accept: &HeaderMap) -> (Bytes, HeaderValue) {
        let wants_html = accept.get_all(ACCEPT).iter().any(|accept| {
            let accept = accept.as_bytes();
            accept.windows(b"text/html".len()).any(|part| part.eq_ignore_ascii_case(b"text/html"))
        });
        let Own { status, says } = self;
        match wants_html {
            true => (
                format!("<!doctype html>\n<title>{status}</title>\n<h1>{status}</h1>\n<p>{says}</p>\n").into(),
                HeaderValue::from_static("text/html; charset=utf-8"),
            ),
            false => (format!("{status}\n{says}\n").into(), HeaderValue::from_static("text/plain; charset=utf-8")),
        }
    }

    /// The answer to a request with these headers. A refusal ends the connection: what else comes on it means nothing.
    pub(super) fn answer(self, request: &HeaderMap, answering: Answering) -> Response<AnswerBody> {
        let (page, content_type) = self.page(request);
        let mut response = Response::new(AnswerBody::whole(page, answering));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        if self.is_refusal() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The whole answer as bytes, for a connection that hyper does not speak on. The connection ends with it.
    pub(super) fn bytes(self) -> Vec<u8> {
        let (page, _) = self.page(&HeaderMap::new());
        let mut bytes = format!(
            "HTTP/1.1 {}\r\ncontent-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.status,
            page.len(),
        )
        .into_bytes();
        bytes.extend_from_slice(&page);
        bytes
    }
}
