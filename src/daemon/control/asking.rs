//! What a request says: its query and its body, or what is wrong with them.

use super::answer::Refused;
use crate::api::{ActionQuery, EventsQuery, ExecQuery, LogsQuery, Refusal, RefusalCode};
use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The next step for whoever guesses.
pub(super) const OPENAPI: &str = "GET /v1/openapi.json lists what there is";

/// A parameter of a query.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    /// Of JSON Schema.
    pub(super) schema: &'static str,
    /// What it takes, in words.
    pub(super) form: &'static str,
}

const fn flag(name: &'static str) -> Parameter {
    Parameter { name, schema: "boolean", form: "true or false" }
}

const fn moment(name: &'static str) -> Parameter {
    let form = "a moment in RFC 3339, such as 2026-11-22T20:00:00Z (a + in it is written %2B)";
    Parameter { name, schema: "string", form }
}

pub(super) const WAIT: Parameter = flag("wait");
/// Means something only to a restart.
pub(super) const HARD: Parameter = flag("hard");

/// What a request can ask for, each parameter at most once and none of them required.
pub(super) trait Asked: DeserializeOwned {
    const PARAMETERS: &'static [Parameter];
}

impl Asked for ActionQuery {
    const PARAMETERS: &'static [Parameter] = &[WAIT, HARD];
}

impl Asked for LogsQuery {
    const PARAMETERS: &'static [Parameter] = &[
        Parameter { name: "lines", schema: "integer", form: "a number of lines, such as 100" },
        flag("follow"),
        Parameter { name: "stream", schema: "string", form: "out or err" },
        moment("since"),
        moment("until"),
        Parameter { name: "grep", schema: "string", form: "a regular expression" },
    ];
}

impl Asked for EventsQuery {
    const PARAMETERS: &'static [Parameter] = &[
        flag("follow"),
        Parameter { name: "after", schema: "integer", form: "the number of an event (its seq), such as 42" },
    ];
}

impl Asked for ExecQuery {
    const PARAMETERS: &'static [Parameter] =
        &[Parameter { name: "release", schema: "string", form: "the id of one of the app's releases" }];
}

/// # Errors
/// A parameter that is not known, is there twice, or has a value that it cannot have.
pub(super) fn query<T: Asked>(text: Option<&str>) -> Result<T, Refusal> {
    let text = text.unwrap_or_default();
    parse(text).map_err(|rejection| {
        wrong_parameter::<T>(text).unwrap_or_else(|| {
            let message = format!("the query makes no sense: {}", rejection.body_text());
            Refusal::new(RefusalCode::Usage, message).hint(OPENAPI)
        })
    })
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, QueryRejection> {
    // What stands in a request's URI makes one again.
    let uri: Uri = format!("/?{text}").parse().unwrap_or_default();
    Query::try_from_uri(&uri).map(|Query(asked)| asked)
}

/// Which of them it is that cannot be.
fn wrong_parameter<T: Asked>(text: &str) -> Option<Refusal> {
    let refusal = |message: String, hint: String| Some(Refusal::new(RefusalCode::Usage, message).hint(hint));
    let mut met = Vec::new();
    for part in text.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = parse::<Vec<(String, String)>>(part).ok()?.pop()?;
        let Some(parameter) = T::PARAMETERS.iter().find(|parameter| parameter.name == name) else {
            let known: Vec<&str> = T::PARAMETERS.iter().map(|parameter| parameter.name).collect();
            return refusal(format!("there is no parameter {name:?} here"), format!("there are {}", known.join(", ")));
        };
        if met.contains(&name) {
            return refusal(format!("the parameter {name} is there twice"), "give it once".to_owned());
        }
        if parse::<T>(part).is_err() {
            let message = format!("the parameter {name} cannot be {value:?}");
            return refusal(message, format!("it takes {}", parameter.form));
        }
        met.push(name);
    }
    None
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

/// Of a request that says everything in its path and query. What stands in its body would be meant, and not done.
pub(super) async fn no_body(request: Request, next: Next) -> Response {
    let (parts, sent) = request.into_parts();
    let sent = Bytes::from_request(Request::from_parts(parts.clone(), sent), &()).await;
    match body::<Nothing>(sent) {
        Ok(Nothing {}) => next.run(Request::from_parts(parts, Body::empty())).await,
        Err(refusal) => Refused::from(refusal).into_response(),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused<T: Asked>(text: &str) -> String {
        let refusal = query::<T>(Some(text)).err().unwrap();
        assert_eq!(refusal.code, RefusalCode::Usage);
        format!("{}; {}", refusal.message, refusal.hint.unwrap())
    }

    #[test]
    fn a_query_that_is_wrong_is_told_which_parameter_and_what_would_be_right() {
        let moment = "it takes a moment in RFC 3339, such as 2026-11-22T20:00:00Z (a + in it is written %2B)";
        for (text, says) in [
            ("lines=5&since=yesterday", &*format!("the parameter since cannot be \"yesterday\"; {moment}")),
            (
                "until=2026-11-22T20:00:00+02:00",
                &format!("the parameter until cannot be \"2026-11-22T20:00:00 02:00\"; {moment}"),
            ),
            ("lines=-1", "the parameter lines cannot be \"-1\"; it takes a number of lines, such as 100"),
            ("lines", "the parameter lines cannot be \"\"; it takes a number of lines, such as 100"),
            ("follow=1", "the parameter follow cannot be \"1\"; it takes true or false"),
            ("stream=both", "the parameter stream cannot be \"both\"; it takes out or err"),
            ("lines=1&follow=true&lines=2", "the parameter lines is there twice; give it once"),
            ("line=5", "there is no parameter \"line\" here; there are lines, follow, stream, since, until, grep"),
        ] {
            assert_eq!(refused::<LogsQuery>(text), says, "{text}");
        }
        assert!(refused::<ActionQuery>("wait=yes").ends_with("it takes true or false"));
        assert!(refused::<EventsQuery>("after=first").contains("such as 42"));
    }

    #[test]
    fn every_parameter_takes_what_its_form_says() {
        let asked: LogsQuery =
            query(Some("lines=100&follow=true&stream=err&since=2026-11-22T20:00:00%2B02:00&grep=a%20b&")).unwrap();
        assert_eq!((asked.lines, asked.follow, asked.grep.as_deref()), (Some(100), true, Some("a b")));
        assert_eq!(asked.since, "2026-11-22T18:00:00Z".parse().ok());
        assert_eq!(query::<LogsQuery>(None).unwrap(), LogsQuery::default());
        assert_eq!(query::<EventsQuery>(Some("after=42")).unwrap().after, Some(42));
        assert!(query::<ActionQuery>(Some("wait=true&hard=false")).unwrap().wait);
    }
}
