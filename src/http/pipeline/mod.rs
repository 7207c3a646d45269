//! Middleware: what happens to every request and every response, whatever the route.
//!
//! The steps are called by name in [`Pipeline::serve`], instead of as poem's layers, each of which would copy the
//! request and everything that is still to be done with it.

mod access_log;
pub(super) mod context;
mod cors;
mod error_mapping;
mod path_rewrite;
mod rate_limit_headers;
pub(super) mod request_head;

use std::sync::Arc;

use poem::{
    Endpoint, PathPattern, Request, Response,
    endpoint::BoxEndpoint,
    error::ResponseError,
    http::{HeaderMap, HeaderValue, StatusCode, Version, header},
};

use crate::http::{
    App,
    pipeline::{access_log::AccessLog, context::RequestContext, cors::CrossOrigin},
    server::Place,
    wire::error::{ApiError, Code},
};

/// Value of `Strict-Transport-Security`: a year, this host alone.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");
/// Paths that are served also when all places for connections are taken.
const HEALTH_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// The routes, and the steps before and after them. One per runtime.
pub struct Pipeline {
    app: Arc<App>,
    routes: BoxEndpoint<'static>,
    /// Whether browsers are told to come by https only.
    has_hsts: bool,
}

impl Pipeline {
    pub(in crate::http) fn new(app: App, routes: BoxEndpoint<'static>) -> Self {
        Self { has_hsts: app.config.is_https(), app: Arc::new(app), routes }
    }

    /// Serves one request, from its head to the headers of its response; whether its caller proved a credential. `place` is its
    /// connection's: a call that is held back proves it before it is answered.
    pub(in crate::http) async fn serve(&self, request: Request, place: Option<Arc<Place>>) -> (Response, bool) {
        let (mut response, is_proved) = self.respond(request, place).await;
        if self.has_hsts {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
        }
        (response, is_proved)
    }

    async fn respond(&self, mut request: Request, place: Option<Arc<Place>>) -> (Response, bool) {
        let mut log = AccessLog::begin(&request);
        if let Some(refusal) = request_head::refuse_too_large(request.headers()) {
            return (log.end(refusal), false);
        }
        path_rewrite::rewrite(&mut request);
        let origin = CrossOrigin::of(&request, &self.app.config.cors);
        if let Some(response) = origin.preflight(&request) {
            return (log.end(origin.add_headers(response)), false);
        }
        let context = RequestContext::new(self.app.clone(), log.id().clone(), place);
        request.set_data(context.clone());
        let mut answered = self.routes.call(request).await;
        if let Some(late) = context.late(&answered) {
            answered = log.hold(late).await;
        }
        let mut response = error_mapping::to_response(answered, log.method(), log.path());
        if let Some(caller) = context.admitted() {
            rate_limit_headers::add(response.headers_mut(), caller);
        }
        let is_proved = context.admitted().is_some() && response.status() != StatusCode::TOO_MANY_REQUESTS;
        (log.end(origin.add_headers(response)), is_proved)
    }

    /// Serves a request on a connection for which there was no place: health checks alone.
    pub(in crate::http) async fn serve_health_only(&self, request: Request) -> (Response, bool) {
        if HEALTH_PATHS.contains(&request.uri().path()) {
            return self.serve(request, None).await;
        }
        let (log, version) = (AccessLog::begin(&request), request.version());
        let message =
            "Too many connections are open, in all or from this address without a valid credential. Try again.";
        let mut response = ApiError::unavailable(message).as_response();
        // HTTP/2 forbids the header; there the connection ends with its short life.
        if version <= Version::HTTP_11 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        (log.end(response), false)
    }
}

/// Serves a call that another request carries: with that request's caller and id, logged and counted under its own
/// route.
///
/// # Errors
/// What would be answered with a status of 400 or more.
pub(in crate::http) async fn serve_within(
    routes: &BoxEndpoint<'static>,
    outer: &Request,
    mut request: Request,
) -> Result<Response, ApiError> {
    let context = outer.data::<RequestContext>().cloned();
    let context = context.ok_or_else(|| ApiError::new(Code::Internal, "The application is not there."))?;
    let mut log = AccessLog::begin_as(context.id().clone(), &request);
    request.set_data(context.clone());
    let mut answered = routes.call(request).await;
    if let Some(late) = context.late(&answered) {
        answered = log.hold(late).await;
    }
    match answered {
        Ok(response) => Ok(log.end(response)),
        Err(error) => {
            let pattern = error.data::<PathPattern>().cloned();
            let error = error_mapping::to_api_error(error, log.method(), log.path());
            let mut response = error.as_response();
            pattern.into_iter().for_each(|pattern| response.set_data(pattern));
            log.end(response);
            Err(error)
        }
    }
}

/// What the HTTP library answers by itself to a request that it cannot read, with our body: the bytes on the wire.
pub(in crate::http) fn refusal(status: u16) -> Vec<u8> {
    let error = match status {
        414 | 431 => ApiError::new(Code::HeadersTooLarge, "The head of the request is too large."),
        408 => ApiError::new(Code::RequestTimeout, "The head of the request came too slowly."),
        _ => ApiError::field(
            "",
            "the request is not HTTP as it should be: its first line, a header or a length is wrong",
        ),
    };
    whole(&error)
}

/// The answer to plain HTTP on a port that speaks TLS: the bytes on the wire.
pub(in crate::http) fn https_refusal() -> Vec<u8> {
    whole(&ApiError::field("", "this port speaks HTTPS: write https:// instead of http:// in the URL"))
}

/// A refusal outside the HTTP library, after which the connection closes.
fn whole(error: &ApiError) -> Vec<u8> {
    let mut response = error.as_response();
    let id = request_head::request_id(&HeaderMap::new());
    request_head::add_common_headers(response.headers_mut(), id);
    access_log::count_unread(response.status());
    let body = error.body(false);
    let (status, length) = (response.status(), body.len());
    let mut bytes = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n").into_bytes();
    request_head::write_headers(response.headers(), &mut bytes);
    bytes.extend_from_slice(body.as_bytes());
    bytes
}
