//! Figures in Prometheus' text format: over the control socket, and over TCP where `metrics` is set.

use super::accepting::Accepting;
use super::actions::admit;
use super::admission::{Caller, Need};
use super::answer::Answer;
use super::http;
use super::look::statuses;
use super::traffic;
use crate::api::{AppStatus, Health, Refusal, RefusalCode, Status};
use crate::daemon::clock;
use crate::daemon::shared::Shared;
use crate::linux::memory;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

/// Those who scrape are few.
const CONNECTIONS: usize = 16;
/// From the accept to the last byte of the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Figures are no older than this.
const FRESH: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    app: String,
}

type Gauges = Family<Of, Gauge>;
type Ratios = Family<Of, Gauge<f64, AtomicU64>>;

pub(super) async fn metrics(State(shared): State<Arc<Shared>>, Extension(caller): Extension<Caller>) -> Answer {
    admit(&shared, &caller, Need::Look, "the figures")?;
    Ok(figures(measure(&shared).await?))
}

/// Serves `/metrics`, and nothing else, to whoever can reach the address.
///
/// # Errors
/// The address cannot be bound.
pub(crate) async fn serve(shared: Arc<Shared>, address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let public = Arc::new(Public { shared, fresh: Mutex::default() });
    let get = get(|State(public): State<Arc<Public>>| async move { public.answer().await });
    let router = Router::new().route("/metrics", get).fallback(elsewhere).with_state(public);
    tokio::spawn(accept(listener, router));
    Ok(())
}

async fn accept(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut accepting = Accepting::on("the address of the metrics");
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                accepting.failed(&error).await;
                continue;
            }
        };
        // Nobody waits here: they would wait for those who are in no hurry.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let service = TowerToHyperService::new(router.clone());
        // A connection is for one answer: that is what a limit of time for the whole of it allows.
        let served = http().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Ok(Err(error)) = timeout(CONNECTION_TIMEOUT, served).await {
                tracing::trace!("a connection for metrics ended: {error}");
            }
            drop(place);
        });
    }
}

async fn elsewhere() -> Answer {
    Err(Refusal::new(RefusalCode::NotFound, "here is only /metrics").hint("GET /metrics").into())
}

/// What is served to anybody: measured at most once in [`FRESH`], however often it is asked for.
struct Public {
    shared: Arc<Shared>,
    fresh: Mutex<Option<(Duration, Bytes)>>,
}

impl Public {
    async fn answer(&self) -> Answer {
        let mut fresh = self.fresh.lock().await;
        let now = clock::now().mono;
        if let Some((at, text)) = &*fresh
            && now.saturating_sub(*at) < FRESH
        {
            return Ok(figures(text.clone()));
        }
        let text = measure(&self.shared).await?;
        *fresh = Some((now, text.clone()));
        Ok(figures(text))
    }
}

async fn measure(shared: &Arc<Shared>) -> Result<Bytes, Refusal> {
    let apps = statuses(shared).await?;
    let text = text(shared, &apps).map_err(|error| Refusal::new(RefusalCode::Failed, error.to_string()))?;
    Ok(Bytes::from(text))
}

fn figures(text: Bytes) -> Response {
    // Gauges read alike in the older format and in OpenMetrics: every scraper takes the older one.
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

fn text(shared: &Shared, apps: &[AppStatus]) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("infissi");
    let (up, healthy, memory) = (Gauges::default(), Gauges::default(), Gauges::default());
    let (uptime, restarts, cpu) = (Ratios::default(), Gauges::default(), Ratios::default());
    for app in apps {
        let of = Of { app: app.name.clone() };
        up.get_or_create(&of).set(i64::from(app.status == Status::Online));
        match app.health {
            Health::Healthy | Health::Unhealthy => {
                healthy.get_or_create(&of).set(i64::from(app.health == Health::Healthy));
            }
            // Without a word about its health, it is not ill.
            Health::Unknown => {}
        }
        memory.get_or_create(&of).set(whole(app.memory_bytes.unwrap_or(0)));
        restarts.get_or_create(&of).set(whole(app.restarts));
        uptime.get_or_create(&of).set(app.uptime_ms.map_or(0.0, |uptime| uptime as f64 / 1000.0));
        cpu.get_or_create(&of).set(app.cpu_percent.unwrap_or(0.0) / 100.0);
    }
    registry.register("app_online", "Whether the app is online", up);
    registry.register(
        "app_healthy",
        "Whether the app's probe says that it is well, where it has said anything",
        healthy,
    );
    registry.register("app_memory_bytes", "Memory of the app's whole process tree", memory);
    registry.register("app_restarts", "Unplanned restarts since the app was first started, or since a reset", restarts);
    registry.register("app_uptime_seconds", "Time since the app became online", uptime);
    registry.register("app_cpu_ratio", "CPU use over the last seconds, of one core", cpu);
    let own = Gauge::<i64>::default();
    own.set(whole(memory::own().unwrap_or_default()));
    registry.register("supervisor_memory_bytes", "The supervisor's own proportional set size", own);
    let since = Gauge::<i64>::default();
    since.set(whole(clock::now().mono.saturating_sub(shared.began).as_secs()));
    registry.register("supervisor_uptime_seconds", "Time since the supervisor started", since);
    let mut text = String::new();
    encode_registry(&mut text, &registry)?;
    text.push_str(&traffic::exposition(apps, shared.front.figures().restarts()));
    Ok(text)
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
