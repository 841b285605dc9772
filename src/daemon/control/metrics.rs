//! Figures in Prometheus' text format: over the control socket, and over TCP where `metrics` is set.

use super::actions::admit;
use super::admission::{Caller, Need};
use super::answer::Answer;
use super::look::statuses;
use crate::api::{AppStatus, Health, Refusal, RefusalCode, Status};
use crate::daemon::clock;
use crate::daemon::shared::Shared;
use crate::linux::memory;
use axum::Router;
use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::net::TcpListener;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    app: String,
}

type Gauges = Family<Of, Gauge>;
type Ratios = Family<Of, Gauge<f64, AtomicU64>>;

pub(super) async fn metrics(State(shared): State<Arc<Shared>>, Extension(caller): Extension<Caller>) -> Answer {
    admit(&shared, &caller, Need::Look, "the figures")?;
    answer(&shared).await
}

/// Serves `/metrics`, and nothing else, to whoever can reach the address.
///
/// # Errors
/// The address cannot be bound.
pub(crate) async fn serve(shared: Arc<Shared>, address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let get = get(|State(shared): State<Arc<Shared>>| async move { answer(&shared).await });
    let router = Router::new().route("/metrics", get).with_state(shared);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(())
}

async fn answer(shared: &Arc<Shared>) -> Answer {
    let apps = statuses(shared).await?;
    let text = text(shared, &apps).map_err(|error| Refusal::new(RefusalCode::Failed, error.to_string()))?;
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    Ok((kind, text).into_response())
}

fn text(shared: &Shared, apps: &[AppStatus]) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("infissi");
    let (up, healthy, memory) = (Gauges::default(), Gauges::default(), Gauges::default());
    let (uptime, restarts, cpu) = (Ratios::default(), Gauges::default(), Ratios::default());
    for app in apps {
        let of = Of { app: app.name.clone() };
        up.get_or_create(&of).set(i64::from(app.status == Status::Online));
        healthy.get_or_create(&of).set(i64::from(app.health == Health::Healthy));
        memory.get_or_create(&of).set(whole(app.memory_bytes.unwrap_or(0)));
        restarts.get_or_create(&of).set(whole(app.restarts));
        uptime.get_or_create(&of).set(app.uptime_ms.map_or(0.0, |uptime| uptime as f64 / 1000.0));
        cpu.get_or_create(&of).set(app.cpu_percent.unwrap_or(0.0) / 100.0);
    }
    registry.register("app_online", "Whether the app is online", up);
    registry.register("app_healthy", "Whether the app's probe says that it is well", healthy);
    registry.register("app_memory_bytes", "Memory of the app's whole process tree", memory);
    registry.register("app_restarts", "Unplanned restarts since the app was first started, or since a reset", restarts);
    registry.register("app_uptime_seconds", "Time since the app became online", uptime);
    registry.register("app_cpu_ratio", "CPU use over the last seconds, of one core", cpu);
    let own = Gauge::<i64>::default();
    own.set(whole(memory::own().unwrap_or_default()));
    registry.register("supervisor_memory_bytes", "The supervisor's own proportional set size", own);
    let began = clock::now().mono.saturating_sub(shared.began);
    registry.register(
        "supervisor_uptime_seconds",
        "Time since the supervisor started",
        ConstCounter::new(began.as_secs()),
    );
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
