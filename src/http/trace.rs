//! One log line and one count per request, and the headers that every answer has.
//!
//! Neither says anything of keys, tokens, bodies or query strings: the path alone names what was asked.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use poem::{
    Endpoint, IntoResponse, PathPattern, Request, Response,
    http::{HeaderMap, HeaderValue, header},
};
use uuid::Uuid;

const REQUEST_ID: &str = "x-request-id";
/// A client's own request id is taken over up to this length.
const REQUEST_ID_BYTES: usize = 64;
/// The most bytes of all headers together, and the most of them.
const HEADER_BYTES: usize = 32 << 10;
const HEADERS: usize = 100;
/// A request that took longer is worth a line at level `info` even if it went well.
const SLOW: Duration = Duration::from_millis(500);

pub(super) async fn observe<E: Endpoint>(next: Arc<E>, request: Request) -> poem::Result<Response> {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let mut answer = if too_large(request.headers()) {
        headers_too_large()
    } else {
        match next.call(request).await {
            Ok(answer) => answer.into_response(),
            Err(error) => error.into_response(),
        }
    };
    let status = answer.status();
    let took = begun.elapsed();
    // The pattern, not the path: names in paths would make as many time series.
    let route = answer.data::<PathPattern>().map_or_else(|| "unknown".to_owned(), |pattern| pattern.0.to_string());
    metrics::counter!("holdfast_requests_total", "route" => route.clone(), "method" => method.to_string(), "status" => status.as_u16().to_string())
        .increment(1);
    metrics::histogram!("holdfast_request_seconds", "route" => route).record(took.as_secs_f64());
    let (status_code, took_us) = (status.as_u16(), took.as_micros() as u64);
    if status.is_server_error() {
        tracing::warn!(%id, %method, path, status = status_code, took_us, "request");
    } else if took > SLOW {
        tracing::info!(%id, %method, path, status = status_code, took_us, "slow request");
    } else {
        tracing::debug!(%id, %method, path, status = status_code, took_us, "request");
    }
    dress(answer.headers_mut(), &id);
    Ok(answer)
}

/// The headers that every answer has.
fn dress(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Answers hold release tokens and keys: nobody on the way keeps them.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
}

/// The client's own id where it is plain, so that its log and ours can be laid beside each other; else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |text: &&str| (1..=REQUEST_ID_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(plain).map_or_else(|| Uuid::new_v4().to_string(), Into::into)
}

fn too_large(headers: &HeaderMap) -> bool {
    headers.len() > HEADERS || headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>() > HEADER_BYTES
}

fn headers_too_large() -> Response {
    use poem::error::ResponseError;
    super::error::ApiError::new(super::error::Code::HeadersTooLarge, format!("The headers are larger than {HEADER_BYTES} bytes, or more than {HEADERS}."))
        .as_response()
}
