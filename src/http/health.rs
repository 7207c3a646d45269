//! Routes for operators: liveness, readiness, metrics.

use std::{fmt::Write, sync::atomic::Ordering, time::Duration};

use poem::{Request, Response, handler, http::StatusCode};
use serde_json::json;
use subtle::ConstantTimeEq;

use crate::{
    http::{
        pipeline::context::app,
        wire::error::{ApiError, Code},
    },
    redis::ConnectFailure,
};

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
    let key = app.config.metrics_key.as_ref();
    if key.is_some_and(|key| !presents(request, key.expose())) {
        return Err(ApiError::new(
            Code::Unauthorized,
            "The metrics need the key of HOLDFAST_METRICS_KEY: Authorization: Bearer.",
        )
        .into());
    }
    metrics::gauge!("holdfast_event_streams").set(app.feed.streams() as f64);
    let (credentials, tenants) = app.store.callers().count();
    metrics::gauge!("holdfast_known_credentials").set(credentials as f64);
    metrics::gauge!("holdfast_known_tenants").set(tenants as f64);
    metrics::gauge!("holdfast_connections").set(app.replica.connections.load(Ordering::Relaxed) as f64);
    metrics::gauge!("holdfast_ready").set(if app.redis.answered_within(READY_WITHIN) { 1.0 } else { 0.0 });
    let mut text = app.replica.metrics.render();
    if key.is_some() {
        text.push_str("# TYPE holdfast_tenant_stored_bytes gauge\n");
        for (tenant, bytes) in app.store.callers().stored_bytes(MAX_TENANTS_SHOWN) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "holdfast_tenant_stored_bytes{{tenant=\"{tenant}\"}} {bytes}");
        }
    }
    Ok(Response::builder().content_type("text/plain; version=0.0.4").body(text))
}

/// Most tenants of which `/metrics` shows what they store: those that store most.
const MAX_TENANTS_SHOWN: usize = 1_000;

/// Whether a request presents the key of the metrics.
fn presents(request: &Request, key: &str) -> bool {
    let presented = request.header("authorization").and_then(|header| header.strip_prefix("Bearer "));
    presented.is_some_and(|presented| presented.as_bytes().ct_eq(key.as_bytes()).into())
}

fn json_answer(status: StatusCode, body: serde_json::Value) -> Response {
    Response::builder()
        .status(status)
        .content_type("application/json")
        .header("Cache-Control", "no-store")
        .body(body.to_string())
}
