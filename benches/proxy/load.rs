//! What is asked of a proxy, and what came of it.

use std::net::SocketAddr;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Small,
    Large,
}

impl Body {
    pub(crate) const ALL: [Body; 2] = [Body::Small, Body::Large];

    pub(crate) fn path(self) -> &'static str {
        match self {
            Body::Small => "/small",
            Body::Large => "/large",
        }
    }

    /// Bytes.
    pub(crate) fn length(self) -> usize {
        match self {
            Body::Small => 1024,
            Body::Large => 1 << 20,
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) to: SocketAddr,
    pub(crate) body: Body,
    /// Else a connection for each request.
    pub(crate) keep_alive: bool,
    pub(crate) connections: usize,
    /// Requests a second, evenly spaced whatever becomes of the earlier ones; none: each connection asks again as soon
    /// as it has its answer.
    pub(crate) rate: Option<f64>,
    pub(crate) warm_up: Duration,
    pub(crate) span: Duration,
}

pub(crate) struct Outcome {
    pub(crate) requests: usize,
    pub(crate) span: Duration,
    /// The proxy's CPU time in that span.
    pub(crate) cpu: Duration,
    /// Nanoseconds, the shortest first.
    pub(crate) latencies: Vec<u32>,
}

impl Outcome {
    /// Microseconds.
    pub(crate) fn cpu_per_request(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests as f64
    }

    pub(crate) fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.span.as_secs_f64()
    }

    /// Microseconds; `share` is 0.5 for the median.
    pub(crate) fn latency(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at).map_or(f64::NAN, |nanos| f64::from(*nanos) / 1e3)
    }
}
