//! What a request carries on its way through the pipeline, and how a handler gets at it.

use std::sync::{Arc, Mutex, OnceLock};

use futures_util::future::BoxFuture;
use poem::{PathPattern, Request, Response, http::HeaderValue};

use crate::{
    http::{
        App,
        server::{HeldOnConnection, Place},
        wire::error::{ApiError, Code},
    },
    limits::BodyShare,
    store::Caller,
    sync::lock,
};

/// A response that is made once the route's own work is over.
pub(in crate::http) type LateResponse = BoxFuture<'static, poem::Result<Response>>;

/// Context of one request. Cheap to clone.
#[derive(Clone)]
pub(in crate::http) struct RequestContext(Arc<Context>);

struct Context {
    app: Arc<App>,
    /// The request's id.
    id: HeaderValue,
    /// The place of its connection; `None` where it is served for health checks alone.
    place: Option<Arc<Place>>,
    /// The caller, once it was authenticated.
    admitted: OnceLock<Caller>,
    /// The share of its body in the replica's memory, until the request is answered.
    body: Mutex<Option<BodyShare>>,
    /// What takes the place of the route's answer.
    late: Mutex<Option<LateResponse>>,
}

impl RequestContext {
    pub(super) fn new(app: Arc<App>, id: HeaderValue, place: Option<Arc<Place>>) -> Self {
        let (admitted, body, late) = (OnceLock::new(), Mutex::default(), Mutex::default());
        Self(Arc::new(Context { app, id, place, admitted, body, late }))
    }

    /// The application that the request runs on.
    pub(in crate::http) fn app(&self) -> &Arc<App> {
        &self.0.app
    }

    /// Records that the call was admitted and is held: its connection counts against its address no longer, and carries one held call more.
    pub(in crate::http) fn hold_on_connection(&self) -> Option<HeldOnConnection> {
        let place = self.0.place.as_ref()?;
        place.prove();
        Some(place.hold())
    }

    /// Moves the share of its body to the budget of held calls; `false`: there is no room for it.
    pub(in crate::http) fn hold_body(&self) -> bool {
        lock(&self.0.body).as_mut().is_none_or(BodyShare::hold)
    }

    /// Has another response made once the route has answered.
    pub(in crate::http) fn respond_later(&self, response: LateResponse) {
        *lock(&self.0.late) = Some(response);
    }

    /// What takes the place of a route's answer, if something does; counted under the same route.
    pub(super) fn late(&self, answered: &poem::Result<Response>) -> Option<LateResponse> {
        let late = lock(&self.0.late).take()?;
        let pattern = answered.as_ref().ok().and_then(|response| response.data::<PathPattern>().cloned());
        Some(Box::pin(async move {
            let mut result = late.await;
            match (pattern, &mut result) {
                (Some(pattern), Ok(response)) => response.set_data(pattern),
                (Some(pattern), Err(error)) => error.set_data(pattern),
                (None, _) => {}
            }
            result
        }))
    }

    pub(super) fn id(&self) -> &HeaderValue {
        &self.0.id
    }

    /// The caller that was admitted while the request was handled, if one was.
    pub(super) fn admitted(&self) -> Option<&Caller> {
        self.0.admitted.get()
    }
}

/// A request's context.
///
/// # Errors
/// An internal error where the request did not come through the pipeline.
pub(in crate::http) fn context(request: &Request) -> Result<&RequestContext, ApiError> {
    request.data().ok_or_else(|| ApiError::new(Code::Internal, "The application is not there."))
}

/// The application that a request runs on.
///
/// # Errors
/// As [`context`].
pub(in crate::http) fn app(request: &Request) -> Result<&Arc<App>, ApiError> {
    context(request).map(RequestContext::app)
}

/// Records a request's caller, whose rate the response's headers show.
pub(in crate::http) fn set_admitted(request: &Request, caller: &Caller) {
    if let Some(context) = request.data::<RequestContext>() {
        // Set once: one credential decides a request.
        let _ = context.0.admitted.set(caller.clone());
    }
}

/// A request's caller, once it was recorded.
pub(in crate::http) fn admitted(request: &Request) -> Option<&Caller> {
    request.data::<RequestContext>()?.admitted()
}

/// Keeps the share of a request's body until the request is answered.
pub(in crate::http) fn keep_body_share(request: &Request, share: BodyShare) {
    if let Some(context) = request.data::<RequestContext>() {
        *lock(&context.0.body) = Some(share);
    }
}
