//! Figures in Prometheus' text format: over the control socket, and over TCP where `metrics` is set.

use super::accepting::Accepting;
use super::actions::admit;
use super::admission::{Caller, Need};
use super::answer::Answer;
use super::exposition::Exposition;
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
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
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
    let own = Own {
        memory_bytes: memory::own().unwrap_or_default(),
        uptime: clock::now().mono.saturating_sub(shared.began),
        worker_restarts: shared.front.figures().restarts(),
    };
    Ok(Bytes::from(text(&apps, own)))
}

/// What is to be told beside the apps.
struct Own {
    memory_bytes: u64,
    uptime: Duration,
    worker_restarts: u64,
}

fn text(apps: &[AppStatus], own: Own) -> String {
    let mut figures = Exposition::default();
    of_apps(&mut figures, apps);
    traffic::add(&mut figures, apps, own.worker_restarts);
    figures
        .family("supervisor_memory_bytes", "gauge", "The supervisor's own proportional set size")
        .sample(&[], own.memory_bytes);
    figures
        .family("supervisor_uptime_seconds", "gauge", "Time since the supervisor started")
        .sample(&[], own.uptime.as_secs());
    figures.text()
}

fn figures(text: Bytes) -> Response {
    // Every scraper takes the older format.
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

type Figure = (&'static str, &'static str, &'static str, fn(&AppStatus) -> Option<f64>);

const OF_APPS: [Figure; 6] = [
    ("app_online", "gauge", "Whether the app is online", |app| Some(f64::from(app.status == Status::Online))),
    ("app_healthy", "gauge", "Whether the app's probe says that it is well, where it has said anything", |app| {
        match app.health {
            Health::Healthy => Some(1.0),
            Health::Unhealthy => Some(0.0),
            // Without a word about its health, it is not ill.
            Health::Unknown => None,
        }
    }),
    ("app_memory_bytes", "gauge", "Memory of the app's whole process tree", |app| {
        Some(app.memory_bytes.unwrap_or(0) as f64)
    }),
    ("app_restarts_total", "counter", "Unplanned restarts since the supervisor's start, or since a reset", |app| {
        Some(app.restarts as f64)
    }),
    ("app_uptime_seconds", "gauge", "Time since the app became online", |app| {
        Some(app.uptime_ms.map_or(0.0, |uptime| uptime as f64 / 1000.0))
    }),
    ("app_cpu_ratio", "gauge", "CPU use over the last seconds, of one core", |app| {
        Some(app.cpu_percent.unwrap_or(0.0) / 100.0)
    }),
];

fn of_apps(figures: &mut Exposition, apps: &[AppStatus]) {
    for (name, kind, help, of) in OF_APPS {
        let family = figures.family(name, kind, help);
        for app in apps {
            if let Some(value) = of(app) {
                family.sample(&[("app", &app.name)], value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Traffic;
    use crate::daemon::control::unprobed::tests::app;
    use std::collections::HashSet;

    /// What `promtool check metrics` would say, and that the families are sorted.
    fn rules(text: &str) {
        let mut names: Vec<&str> = Vec::new();
        let mut kind = "";
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(name.starts_with("infissi_") && !help.is_empty(), "{line}");
                let typed = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
                kind = typed.strip_prefix(name).unwrap().trim_start();
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                assert!(!["_ms", "_us", "_millis", "_kb", "_percent"].iter().any(|unit| name.contains(unit)), "{line}");
                names.push(name);
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let suffix = name.strip_prefix(names.last().unwrap()).unwrap_or_else(|| panic!("whose is {line}?"));
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
    }

    #[test]
    fn every_family_is_told_once_in_order_with_its_help_its_type_and_its_unit() {
        let traffic = Traffic { latency_bounds_us: vec![500], latency: vec![1, 2], ..Traffic::default() };
        let web = AppStatus { traffic: Some(traffic), ..app(Status::Online, Health::Healthy) };
        let job = AppStatus { name: "job".to_owned(), restarts: 2, ..app(Status::Waiting, Health::Unknown) };
        let own = || Own { memory_bytes: 5, uptime: Duration::from_secs(7), worker_restarts: 0 };
        let told = text(&[web, job], own());
        rules(&told);
        rules(&text(&[], own()));
        for line in [
            "infissi_app_online{app=\"app\"} 1",
            "infissi_app_healthy{app=\"app\"} 1",
            "infissi_app_restarts_total{app=\"job\"} 2",
            "infissi_supervisor_uptime_seconds 7",
        ] {
            assert!(told.lines().any(|found| found == line), "{line} is missing in\n{told}");
        }
        assert!(!told.contains("infissi_app_healthy{app=\"job\"}"), "nothing is known of it:\n{told}");
    }
}
