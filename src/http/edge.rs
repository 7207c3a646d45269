//! What happens to every request and every answer, whatever the route: one layer, in one place, because each layer of poem's copies
//! the request.

use std::sync::Arc;

use poem::{Endpoint, Request, Response};

use crate::http::{App, cors::Origin, failures, pace::LetIn, paths, trace::Trace};

/// Serves one request, from its head to the headers of its answer.
pub(super) async fn pass<E: Endpoint>(app: Arc<App>, next: Arc<E>, mut request: Request) -> Response {
    let trace = Trace::begin(&request);
    if let Some(refusal) = trace.refusal(&request) {
        return trace.end(refusal);
    }
    paths::keep_names_whole(&mut request);
    let origin = Origin::of(&request, &app.config.cors);
    if let Some(answer) = origin.preflight(&request) {
        return trace.end(origin.tell(answer));
    }
    let let_in = LetIn::default();
    request.set_data(app);
    request.set_data(let_in.clone());
    let answer = failures::answer(next.call(request).await, &trace);
    trace.end(origin.tell(let_in.tell_rate(answer)))
}
