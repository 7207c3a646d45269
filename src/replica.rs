//! Condition of this replica, shared by all its threads: draining, clock steps, metrics.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// Condition of this replica.
#[derive(Debug)]
pub struct Replica {
    /// Cancelled at SIGTERM: the replica is not ready any more, and its streams end.
    pub drain: CancellationToken,
    /// Whether Redis' clock stepped within the last minute; shown in `/readyz`.
    pub clock_stepped: AtomicBool,
    /// Number of open HTTP connections.
    pub connections: AtomicUsize,
    /// The metrics that `/metrics` shows.
    pub metrics: Metrics,
}

impl Replica {
    /// A replica that has just started.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            drain: CancellationToken::new(),
            clock_stepped: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            metrics: Metrics::start(),
        }
    }
}

/// Upper bounds of the buckets of durations, in seconds: from a fast script to a call that timed out.
const DURATION_BUCKETS_S: [f64; 12] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// The recorder of the process' metrics.
#[derive(Debug)]
pub struct Metrics(Option<PrometheusHandle>);

impl Metrics {
    /// Installs the recorder for the whole process. A second one in the same process records nothing.
    #[must_use]
    pub fn start() -> Self {
        let builder =
            PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS_S);
        Self(builder.and_then(PrometheusBuilder::install_recorder).ok())
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }

    /// Moves recorded durations into their buckets. Call every few seconds: until then they use memory.
    pub fn upkeep(&self) {
        self.0.iter().for_each(PrometheusHandle::run_upkeep);
    }
}
