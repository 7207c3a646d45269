//! Pages of other origins: those that are listed may call the API with a key, never with a cookie.
//!
//! No answer allows credentials to go along by themselves, so a browser gives no such page what a session could see.

use std::sync::Arc;

use poem::{
    Endpoint, IntoResponse, Request, Response,
    http::{HeaderValue, Method, StatusCode, header},
};

use crate::{config::Origins, http::credentials::app};

const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
const HEADERS: &str = "Authorization, Content-Type, Last-Event-ID, X-Api-Key, X-Request-Id";
const EXPOSED: &str = "Holdfast-Position, Holdfast-Time, RateLimit, RateLimit-Policy, Retry-After, X-Request-Id";
/// How long a browser may remember what a preflight said, in seconds.
const REMEMBERED_S: &str = "600";

pub(super) async fn answer_other_origins<E: Endpoint>(next: Arc<E>, request: Request) -> poem::Result<Response> {
    let path = request.uri().path();
    let governed = (path.starts_with("/api/") || path.starts_with("/auth/")) && !path.starts_with("/api/v1/admin/");
    let origins = app(&request)?.config.cors.clone();
    let asks = request.headers().contains_key(header::ORIGIN);
    let allowed = match (&origins, request.headers().get(header::ORIGIN)) {
        (Origins::Any, Some(_)) => Some(HeaderValue::from_static("*")),
        (Origins::Listed(listed), Some(origin)) => listed.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone()),
        (_, None) => None,
    };
    let Some(allowed) = allowed.filter(|_| governed) else {
        let mut answer = next.call(request).await?.into_response();
        if asks && governed && origins != Origins::Any {
            answer.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
        }
        return Ok(answer);
    };
    let preflight = request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut answer = if preflight {
        Response::builder()
            .status(StatusCode::NO_CONTENT)
            .header(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS)
            .header(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS)
            .header(header::ACCESS_CONTROL_MAX_AGE, REMEMBERED_S)
            .finish()
    } else {
        next.call(request).await?.into_response()
    };
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    if origins != Origins::Any {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    Ok(answer)
}
