//! Routes for operators: liveness, readiness, metrics.

use std::{sync::atomic::Ordering, time::Duration};

use poem::{Request, Response, handler, http::StatusCode};
use serde_json::json;

use crate::{http::pipeline::context::app, redis::ConnectFailure};

/// Longest time since Redis last answered with which the replica counts as ready.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// Liveness: the process answers.
#[handler]
pub(super) fn healthz() -> Response {
    json_answer(StatusCode::OK, json!({"status": "ok"}))
}

/// Readiness: Redis can be used and answered within 2 s, and the replica is not draining.
#[handler]
pub(super) fn readyz(request: &Request) -> poem::Result<Response> {
    let app = app(request)?;
    let draining = app.replica.drain.is_cancelled();
    let redis = app.redis.answered_within(READY_WITHIN);
    let stepped = app.replica.clock_stepped.load(Ordering::Relaxed);
    let failure = app.redis.failure();
    let ready = redis && failure.is_none() && !draining;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = json!({
        "status": if ready { "ready" } else { "not ready" },
        "redis": redis && failure.is_none(),
        "draining": draining,
        "redisClockStepped": stepped,
    });
    if let Some(failure) = failure {
        // What is wrong with the server says how to mend it; why it is not reached is for the log, since that names the inner network.
        let reason =
            if matches!(failure, ConnectFailure::Unfit(_)) { failure.to_string() } else { "it is not reached".into() };
        body["reason"] = format!("Redis cannot be used: {reason}").into();
    }
    Ok(json_answer(status, body))
}

/// Metrics in Prometheus' text format.
#[handler]
pub(super) fn metrics_text(request: &Request) -> poem::Result<Response> {
    let app = app(request)?;
    metrics::gauge!("holdfast_event_streams").set(app.feed.streams() as f64);
    let (credentials, tenants) = app.store.callers().count();
    metrics::gauge!("holdfast_known_credentials").set(credentials as f64);
    metrics::gauge!("holdfast_known_tenants").set(tenants as f64);
    metrics::gauge!("holdfast_connections").set(app.replica.connections.load(Ordering::Relaxed) as f64);
    metrics::gauge!("holdfast_ready").set(if app.redis.answered_within(READY_WITHIN) { 1.0 } else { 0.0 });
    let text = app.replica.metrics.render();
    Ok(Response::builder().content_type("text/plain; version=0.0.4").body(text))
}

fn json_answer(status: StatusCode, body: serde_json::Value) -> Response {
    Response::builder()
        .status(status)
        .content_type("application/json")
        .header("Cache-Control", "no-store")
        .body(body.to_string())
}
