//! What the supervisor and the worker tell one another, and the routes that they speak of.
//!
//! A frame is its length as four bytes, the least significant first, and so many bytes of JSON; the descriptors that
//! belong to it travel with its first byte (SCM_RIGHTS, unix(7)).

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// The version of these words.
pub const PROTOCOL: u32 = 1;
/// A longer frame is a mistake, bytes.
pub const LONGEST_FRAME: usize = 4 << 20;
/// Upper bounds of the latency histogram's buckets in microseconds; what took longer counts beyond the last.
pub const LATENCY_BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000,
];

/// From the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The first order on a connection: from now on this one is obeyed and no other. Answered with `Hello`. A listening
    /// Unix socket may come along: whoever connects there with the supervisor's uid may attach, too.
    Attach { protocol: u32 },
    /// The descriptor that comes along is a listening socket of this app: accept on it.
    Listen { listener: u64, app: String },
    /// Accept what already waits there, then close it. Connections that are open go on.
    Unlisten { listener: u64 },
    /// From the next request on, this is where the app's requests go. Connections and counts stay.
    Route(Route),
    /// The app is gone, or has its port itself: what is held for it is answered 503, its idle connections end and each
    /// other one with its next answer, its figures are forgotten.
    Remove { app: String },
    /// This target is in no route any more: report its `InFlight` now and whenever one of the two becomes zero. When
    /// both are, close its pooled connections before the report. An unknown target has nothing in flight.
    Retire { target: u64 },
    /// Its time is over: close what is left of it, requests and streams.
    Cut { target: u64 },
    /// Another worker has the listeners: close them here, answer each connection's next request with
    /// `Connection: close`, and end when the last connection is gone.
    Leave,
    /// End now.
    Exit,
}

/// From the worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// Who is there; the listeners' descriptors come along, in this order.
    Hello { protocol: u32, version: String, pid: i32, listeners: Vec<Listener> },
    /// What a retired target still has.
    InFlight { target: u64, requests: u64, streams: u64 },
    /// At most four times a second, and only what changed since the last report. All counts are since the worker's start.
    Figures { apps: Vec<AppFigures>, targets: Vec<TargetFigures> },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub listener: u64,
    pub app: String,
    pub address: SocketAddr,
}

/// Where an app's requests go, and how its clients are treated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub app: String,
    /// The active slot's instances; none: requests are held.
    pub active: Vec<TargetPlace>,
    /// Next's deployment id of the active slot, where it has one.
    pub active_deployment: Option<String>,
    /// The old slot while it is warm.
    pub warm: Option<Warm>,
    /// How long a request is held while nothing can answer, milliseconds; then it gets 503.
    pub hold_ms: u64,
    /// Clients whose X-Forwarded headers are believed.
    pub trusted: Vec<Network>,
    pub limits: Limits,
}

/// Requests that carry this deployment id (`?dpl=`, `x-deployment-id`) go to these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warm {
    pub deployment: Option<String>,
    pub targets: Vec<TargetPlace>,
}

/// One instance. The id is its run's number and never used twice by one supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TargetPlace {
    pub target: u64,
    pub address: SocketAddr,
}

/// `127.0.0.0/8`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub address: IpAddr,
    /// Bits that count, 0 to 32 or 128.
    pub prefix: u8,
}

impl Network {
    /// Is the address in it? IPv4 and IPv6 are never in each other.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, other, width) = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (u128::from(u32::from(own)), u128::from(u32::from(other)), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => (u128::from(own), u128::from(other), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        // A shift by the whole width leaves nothing to differ.
        let free = u32::from(width - self.prefix.min(width));
        (own ^ other).checked_shr(free).unwrap_or(0) == 0
    }
}

/// Against slow and many clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Open connections of one app.
    pub connections: u32,
    /// From a request's first byte to the end of its head, milliseconds.
    pub header_timeout_ms: u64,
    /// The longest head, bytes.
    pub head: u32,
    /// Between two requests, and without any progress of a body that is being sent or read, milliseconds.
    pub idle_ms: u64,
}

/// Of one app, since the worker's start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppFigures {
    pub app: String,
    /// Open connections of clients, now.
    pub connections: u64,
    /// Requests that wait for somebody to answer, now.
    pub held: u64,
    /// Requests that wait for an answer or receive one, now.
    pub requests: u64,
    /// WebSockets, other upgrades and event streams, now.
    pub streams: u64,
    /// Answers by class: 1xx (101 alone), 2xx, 3xx, 4xx, 5xx; ours among them.
    pub answers: [u64; 5],
    /// Requests refused by the proxy itself: malformed, too large, too slow, over a limit.
    pub refused: u64,
    /// Held in vain.
    pub hold_timeouts: u64,
    /// Connections that an instance refused, reset or ended before an answer was complete.
    pub upstream_errors: u64,
    pub retries: u64,
    /// From the head of the request to the last byte of the answer; one more than [`LATENCY_BOUNDS`], not cumulative.
    pub latency: Vec<u64>,
    /// The sum of those times, microseconds.
    pub latency_sum_us: u64,
}

/// Of one instance, since the worker first heard of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFigures {
    pub target: u64,
    pub requests: u64,
    pub streams: u64,
    /// Requests that it answered or failed to.
    pub answered: u64,
    /// Of those: answered with 5xx, or failed.
    pub errors: u64,
}
