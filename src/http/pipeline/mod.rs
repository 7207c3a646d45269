//! What happens to every request and every answer, whatever the route: one layer, in one place, and called by its name, because each
//! layer of poem's copies the request and everything that is still to be done with it.

pub(super) mod access_log;
pub(super) mod cors;
pub(super) mod error_mapping;
pub(super) mod path_rewrite;
pub(super) mod rate_limit_headers;

use std::sync::Arc;

use poem::{Request, Response, endpoint::BoxEndpoint};

use crate::http::{
    App,
    pipeline::{access_log::Trace, cors::Origin, rate_limit_headers::AdmittedCaller},
};

/// Everything that is served, from a request's first byte to its answer's last.
pub struct Pipeline {
    app: Arc<App>,
    routes: BoxEndpoint<'static>,
}

/// What a request takes along to whoever answers it.
#[derive(Clone)]
pub(in crate::http) struct RequestContext {
    pub(in crate::http) app: Arc<App>,
    pub(in crate::http) let_in: AdmittedCaller,
}

impl Pipeline {
    pub(in crate::http) fn new(app: App, routes: BoxEndpoint<'static>) -> Self {
        Self { app: Arc::new(app), routes }
    }

    /// Serves one request, from its head to the headers of its answer.
    pub(in crate::http) async fn serve(&self, mut request: Request) -> Response {
        let trace = Trace::begin(&request);
        if let Some(refusal) = trace.refusal(&request) {
            return trace.end(refusal);
        }
        path_rewrite::keep_names_whole(&mut request);
        let origin = Origin::of(&request, &self.app.config.cors);
        if let Some(answer) = origin.preflight(&request) {
            return trace.end(origin.tell(answer));
        }
        let let_in = AdmittedCaller::default();
        request.set_data(RequestContext { app: self.app.clone(), let_in: let_in.clone() });
        let answer = error_mapping::answer(self.routes.call(request).await, &trace);
        trace.end(origin.tell(let_in.tell_rate(answer)))
    }
}
