//! What a request says: its query and its body, or what is wrong with them.

use crate::api::{Refusal, RefusalCode};
use axum::body::Bytes;
use axum::extract::Query;
use axum::extract::rejection::BytesRejection;
use axum::http::Uri;
use serde::de::DeserializeOwned;

/// # Errors
/// A parameter that is not known, or has a value that it cannot have.
pub(super) fn query<T: DeserializeOwned>(text: Option<&str>) -> Result<T, Refusal> {
    let wrong = |what: String| Refusal::new(RefusalCode::Usage, format!("the query makes no sense: {what}"));
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
        Refusal::new(code, format!("the body cannot be read: {}", rejection.body_text()))
    })?;
    let text: &[u8] = if sent.is_empty() { b"{}" } else { &sent };
    serde_json::from_slice(text).map_err(|error| {
        Refusal::new(RefusalCode::Usage, format!("the body is not the JSON that is asked for: {error}"))
    })
}
