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
mod request_head;

use std::sync::Arc;

use poem::{Request, Response, endpoint::BoxEndpoint};

use crate::http::{
    App,
    pipeline::{access_log::AccessLog, context::RequestContext, cors::CrossOrigin},
};

/// The routes, and the steps before and after them. One per runtime.
pub struct Pipeline {
    app: Arc<App>,
    routes: BoxEndpoint<'static>,
}

impl Pipeline {
    pub(in crate::http) fn new(app: App, routes: BoxEndpoint<'static>) -> Self {
        Self { app: Arc::new(app), routes }
    }

    /// Serves one request, from its head to the headers of its response.
    pub(in crate::http) async fn serve(&self, mut request: Request) -> Response {
        let log = AccessLog::begin(&request);
        if let Some(refusal) = request_head::refuse_too_large(request.headers()) {
            return log.end(refusal);
        }
        path_rewrite::rewrite(&mut request);
        let origin = CrossOrigin::of(&request, &self.app.config.cors);
        if let Some(response) = origin.preflight(&request) {
            return log.end(origin.add_headers(response));
        }
        let context = RequestContext::new(self.app.clone());
        request.set_data(context.clone());
        let mut response = error_mapping::to_response(self.routes.call(request).await, log.method(), log.path());
        if let Some(caller) = context.admitted() {
            rate_limit_headers::add(response.headers_mut(), caller);
        }
        log.end(origin.add_headers(response))
    }
}
