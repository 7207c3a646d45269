//! What all parts of one replica share of its condition: whether it is about to leave, what it has noticed, what it has counted.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

/// A replica's condition.
#[derive(Debug)]
pub struct Replica {
    /// Cancelled at SIGTERM: not ready, and streams end.
    pub drain: CancellationToken,
    /// Whether Redis' clock jumped lately; named in `/readyz`.
    pub clock_stepped: AtomicBool,
    /// Connections that are open.
    pub connections: AtomicUsize,
    /// The numbers for `/metrics`.
    pub metrics: Metrics,
}

impl Replica {
    /// A replica that has just begun.
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

/// Upper bounds in seconds: from a quick script to a call that waited for Redis in vain.
const SECONDS: [f64; 12] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// The numbers for `/metrics`.
#[derive(Debug)]
pub struct Metrics(Option<PrometheusHandle>);

impl Metrics {
    /// Starts counting for the whole process. A second start in one process counts nothing.
    #[must_use]
    pub fn start() -> Self {
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
        Self(builder.and_then(PrometheusBuilder::install_recorder).ok())
    }

    /// Everything that was counted, in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.as_ref().map(PrometheusHandle::render).unwrap_or_default()
    }

    /// Folds what was counted into its buckets; without it memory would grow until somebody looks. Call every few seconds.
    pub fn upkeep(&self) {
        self.0.iter().for_each(PrometheusHandle::run_upkeep);
    }
}
