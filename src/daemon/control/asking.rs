//! What a request says: its query and its body, or what is wrong with them.

use super::answer::Refused;
use crate::api::{Refusal, RefusalCode};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

/// The next step for whoever guesses.
pub(super) const OPENAPI: &str = "GET /v1/openapi.json lists what there is";

/// # Errors
/// A parameter that is not known, or has a value that it cannot have.
pub(super) fn query<T: DeserializeOwned>(text: Option<&str>) -> Result<T, Refusal> {
    let wrong =
        |what: String| Refusal::new(RefusalCode::Usage, format!("the query makes no sense: {what}")).hint(OPENAPI);
    let uri: Uri = format!("/?{}", text.unwrap_or_default()).parse().map_err(|error| wrong(format!("{error}")))?;
    let Query(asked) = Query::try_from_uri(&uri).map_err(|error| wrong(error.body_text()))?;
    Ok(asked)
}

/// JSON; nothing at all stands for `{}`.
///
/// # Errors
/// Too large, not JSON, or not the JSON that is asked for.
pub(super) fn body<T: DeserializeOwned>(sent: Result<Bytes, BytesRejection>) -> Result<T, Refusal> {
    let sent = sent.map_err(|rejection| {
        let code = if rejection.status().as_u16() == 413 { RefusalCode::TooLarge } else { RefusalCode::Usage };
        Refusal::new(code, format!("the body cannot be read: {}", rejection.body_text())).hint(OPENAPI)
    })?;
    let wrong = |what: &str| {
        Refusal::new(RefusalCode::Usage, format!("the body is not the JSON that is asked for: {what}")).hint(OPENAPI)
    };
    let text: &[u8] = if sent.is_empty() { b"{}" } else { &sent };
    // serde would take an array's elements for the fields, in their order.
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err(wrong("an array instead of an object"));
    }
    serde_json::from_slice(text).map_err(|error| wrong(&error.to_string()))
}

/// The apps that a path names.
pub(super) struct Selector(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Selector {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Selector, Refused> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(selector) = path.map_err(|rejection| {
            Refusal::new(RefusalCode::Usage, format!("the path makes no sense: {}", rejection.body_text()))
                .hint("a name is UTF-8, percent-encoded")
        })?;
        Ok(Selector(selector))
    }
}
