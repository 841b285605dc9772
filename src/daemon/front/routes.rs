//! An app's runs as the worker's targets: where each is reached, and how its clients are treated.

use crate::config::{AppConfig, ProxyConfig};
use crate::daemon::runs::Run;
use crate::proxy::channel::{Limits, Network, Route, TargetPlace, Warm};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What the public is to find at an app from now on.
pub(in crate::daemon) struct Publication {
    /// Its public addresses are listened on.
    pub open: bool,
    pub listen: Vec<SocketAddr>,
    pub route: Route,
}

impl Publication {
    /// None for an app that is not behind the proxy.
    pub(in crate::daemon) fn new(
        app: &AppConfig,
        open: bool,
        active: &[Arc<Run>],
        warm: &[Arc<Run>],
    ) -> Option<Publication> {
        let proxy = app.proxy.as_ref()?;
        let warm = (!warm.is_empty()).then(|| Warm { deployment: deployment(warm), targets: targets(warm) });
        let route = Route {
            app: app.name.clone(),
            active: targets(active),
            active_deployment: deployment(active),
            warm,
            // What has come in before a stop closes the port has nobody to wait for.
            hold_ms: if open { millis(proxy.hold) } else { 0 },
            trusted: trusted(proxy),
            limits: limits(proxy),
        };
        Some(Publication { open, listen: proxy.listen.clone(), route })
    }
}

fn targets(runs: &[Arc<Run>]) -> Vec<TargetPlace> {
    runs.iter().filter_map(|run| Some(TargetPlace { target: run.id.0, address: place(run)? })).collect()
}

/// Where it was seen to listen, else where it was told to.
fn place(run: &Run) -> Option<SocketAddr> {
    let told = || run.port().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    run.address().or_else(told)
}

/// All instances of a slot are of one release.
fn deployment(runs: &[Arc<Run>]) -> Option<String> {
    runs.iter().find_map(|run| run.deployment.clone())
}

fn trusted(proxy: &ProxyConfig) -> Vec<Network> {
    let network = |network: &crate::config::Network| Network { address: network.address, prefix: network.prefix };
    proxy.trusted_proxies.iter().map(network).collect()
}

fn limits(proxy: &ProxyConfig) -> Limits {
    let limits = &proxy.limits;
    Limits {
        connections: limits.connections,
        header_timeout_ms: millis(limits.header_timeout),
        head: limits.head,
        idle_ms: millis(limits.idle),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
