//! What happens to every request and every answer, whatever the route: one layer, in one place, and called by its name, because each
//! layer of poem's copies the request and everything that is still to be done with it.

use std::sync::Arc;

use poem::{Request, Response, endpoint::BoxEndpoint};

use crate::http::{App, cors::Origin, failures, pace::LetIn, paths, trace::Trace};

/// Everything that is served, from a request's first byte to its answer's last.
pub struct Edge {
    app: Arc<App>,
    routes: BoxEndpoint<'static>,
}

/// What a request takes along to whoever answers it.
#[derive(Clone)]
pub(super) struct Luggage {
    pub(super) app: Arc<App>,
    pub(super) let_in: LetIn,
}

impl Edge {
    pub(super) fn new(app: App, routes: BoxEndpoint<'static>) -> Self {
        Self { app: Arc::new(app), routes }
    }

    /// Serves one request, from its head to the headers of its answer.
    pub(super) async fn serve(&self, mut request: Request) -> Response {
        let trace = Trace::begin(&request);
        if let Some(refusal) = trace.refusal(&request) {
            return trace.end(refusal);
        }
        paths::keep_names_whole(&mut request);
        let origin = Origin::of(&request, &self.app.config.cors);
        if let Some(answer) = origin.preflight(&request) {
            return trace.end(origin.tell(answer));
        }
        let let_in = LetIn::default();
        request.set_data(Luggage { app: self.app.clone(), let_in: let_in.clone() });
        let answer = failures::answer(self.routes.call(request).await, &trace);
        trace.end(origin.tell(let_in.tell_rate(answer)))
    }
}
