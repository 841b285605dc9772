//! Every route once: what is served, and what `GET /v1/openapi.json` says is served.

use super::{actions, backup, deploys, look, metrics, streams, upgrade};
use crate::api::{EventsQuery, ExecQuery, LogsQuery, Refusal, RefusalCode};
use crate::daemon::control::answer::{Answer, Refused, json};
use crate::daemon::control::asking::{Asked, HARD, OPENAPI, Parameter, WAIT, no_body};
use crate::daemon::shared::Shared;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use serde_json::{Value, json as value};
use std::sync::Arc;

/// No request needs more, bytes.
const LARGEST_BODY: usize = 64 * 1024;

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    Supervisor,
    List,
    Overview,
    Show,
    Start,
    Stop,
    Restart,
    Swap,
    Activate,
    Cancel,
    Reset,
    Flush,
    Probe,
    Signal,
    Exec,
    Backup,
    Releases,
    DeployPlan,
    AppLogs,
    AllLogs,
    Events,
    Apply,
    Shutdown,
    Upgrade,
    OpenApi,
    Metrics,
}

struct Route {
    method: &'static str,
    path: &'static str,
    serves: Serves,
    summary: &'static str,
    query: &'static [Parameter],
    body: &'static [&'static str],
}

const fn route(method: &'static str, path: &'static str, serves: Serves, summary: &'static str) -> Route {
    Route { method, path, serves, summary, query: &[], body: &[] }
}

const ACTION: &[Parameter] = &[WAIT];
const LOGS: &[Parameter] = LogsQuery::PARAMETERS;

const ROUTES: &[Route] = &[
    route("get", "/v1/supervisor", Serves::Supervisor, "version, pid, uptime, configuration, own memory"),
    route("get", "/v1/apps", Serves::List, "every app the caller may see"),
    route("get", "/v1/overview", Serves::Overview, "every app the caller may see, and what to know beside them"),
    route("get", "/v1/apps/{app}", Serves::Show, "everything about one app"),
    Route { query: ACTION, ..route("post", "/v1/apps/{app}/start", Serves::Start, "start it and what it depends on") },
    Route {
        query: ACTION,
        ..route("post", "/v1/apps/{app}/stop", Serves::Stop, "stop it; done when its tree is empty")
    },
    Route {
        query: &[WAIT, HARD],
        ..route("post", "/v1/apps/{app}/restart", Serves::Restart, "replace its processes by new ones")
    },
    Route {
        query: ACTION,
        ..route("post", "/v1/apps/{app}/swap", Serves::Swap, "make its staged or its warm slot the active one")
    },
    Route {
        query: ACTION,
        body: &["release_dir", "release_id", "stage", "stop_first"],
        ..route("post", "/v1/apps/{app}/activate", Serves::Activate, "go over to one of its releases")
    },
    route("post", "/v1/apps/{app}/cancel", Serves::Cancel, "end the release that is being started or is staged"),
    route("post", "/v1/apps/{app}/reset", Serves::Reset, "zero its counters and its backoff"),
    route("post", "/v1/apps/{app}/flush", Serves::Flush, "empty its logs"),
    route("post", "/v1/apps/{app}/probe", Serves::Probe, "probe it now"),
    Route {
        body: &["signal"],
        ..route("post", "/v1/apps/{app}/signal", Serves::Signal, "send a signal to each of its processes")
    },
    route("get", "/v1/apps/{app}/backup", Serves::Backup, "what belongs to a backup of it, and where that goes"),
    Route {
        query: ExecQuery::PARAMETERS,
        ..route("get", "/v1/apps/{app}/exec", Serves::Exec, "as whom, where and with what environment its commands run")
    },
    route("get", "/v1/apps/{app}/releases", Serves::Releases, "where its releases are, and which of them run"),
    route("get", "/v1/apps/{app}/deploy", Serves::DeployPlan, "how a release of it is made"),
    Route {
        query: LOGS,
        ..route("get", "/v1/apps/{app}/logs", Serves::AppLogs, "its log lines, one JSON value a line")
    },
    Route { query: LOGS, ..route("get", "/v1/logs", Serves::AllLogs, "the log lines of every app") },
    Route {
        query: EventsQuery::PARAMETERS,
        ..route("get", "/v1/events", Serves::Events, "what happened, one JSON value a line")
    },
    Route {
        body: &["dry_run"],
        query: ACTION,
        ..route("post", "/v1/apply", Serves::Apply, "read the configuration again and do what changed")
    },
    route("post", "/v1/shutdown", Serves::Shutdown, "stop every app and end the supervisor"),
    route(
        "post",
        "/v1/upgrade",
        Serves::Upgrade,
        "let the program that stands where this one was started from take its place; no app is touched",
    ),
    route("get", "/v1/openapi.json", Serves::OpenApi, "this table"),
    route("get", "/metrics", Serves::Metrics, "figures in Prometheus' text format"),
];

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let takes_none = route.method == "post" && route.body.is_empty();
        let handler = handler(route);
        let handler = if takes_none { handler.layer(from_fn(no_body)) } else { handler };
        router = router.route(route.path, handler);
    }
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(shared)
}

fn handler(route: &Route) -> MethodRouter<Arc<Shared>> {
    match route.serves {
        Serves::Supervisor => get(look::supervisor),
        Serves::List => get(look::list),
        Serves::Overview => get(look::overview),
        Serves::Show => get(look::show),
        Serves::Start => post(actions::start),
        Serves::Stop => post(actions::stop),
        Serves::Restart => post(actions::restart),
        Serves::Swap => post(actions::swap),
        Serves::Activate => post(actions::activate),
        Serves::Cancel => post(actions::cancel),
        Serves::Reset => post(actions::reset),
        Serves::Flush => post(actions::flush),
        Serves::Probe => post(look::probe),
        Serves::Signal => post(actions::signal),
        Serves::Exec => get(look::exec),
        Serves::Backup => get(backup::plan),
        Serves::Releases => get(deploys::releases),
        Serves::DeployPlan => get(deploys::plan),
        Serves::AppLogs => get(streams::app_logs),
        Serves::AllLogs => get(streams::all_logs),
        Serves::Events => get(streams::events),
        Serves::Apply => post(actions::apply),
        Serves::Shutdown => post(actions::shutdown),
        Serves::Upgrade => post(upgrade::upgrade),
        Serves::OpenApi => get(openapi),
        Serves::Metrics => get(metrics::metrics),
    }
}

async fn no_such_route(uri: Uri) -> Answer {
    let refusal = Refusal::new(RefusalCode::NotFound, format!("there is no {}", uri.path()));
    Err(refusal.hint(OPENAPI).into())
}

async fn no_such_method(method: Method, uri: Uri) -> Response {
    let refusal = Refusal::new(RefusalCode::Usage, format!("{} does not take {method}", uri.path())).hint(OPENAPI);
    let mut response = Refused::from(refusal).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

async fn openapi() -> Answer {
    let mut paths = serde_json::Map::new();
    for route in ROUTES {
        let entry = paths.entry(route.path).or_insert_with(|| value!({}));
        entry[route.method] = operation(route);
    }
    Ok(json(&value!({
        "openapi": "3.1.0",
        "info": { "title": "infissi-supervisord", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
    })))
}

fn operation(route: &Route) -> Value {
    let in_path = route.path.contains("{app}").then(|| {
        value!({
            "name": "app", "in": "path", "required": true, "schema": { "type": "string" },
            "description": "a name or alias; for actions and logs also several with commas between, a glob, or all",
        })
    });
    let in_query = route.query.iter().map(|Parameter { name, schema, form }| {
        value!({ "name": name, "in": "query", "schema": { "type": schema }, "description": form })
    });
    let parameters: Vec<Value> = in_path.into_iter().chain(in_query).collect();
    let mut operation = value!({
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            "200": { "description": "done" },
            "default": { "description": "{\"error\": {\"code\", \"message\", \"hint\"}}" },
        },
    });
    if !route.body.is_empty() {
        let properties: serde_json::Map<String, Value> =
            route.body.iter().map(|name| ((*name).to_owned(), value!({}))).collect();
        operation["requestBody"] =
            value!({ "content": { "application/json": { "schema": { "type": "object", "properties": properties } } } });
    }
    operation
}
