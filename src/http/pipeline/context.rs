//! What a request carries on its way through the pipeline, and how a handler gets at it.

use std::sync::{Arc, OnceLock};

use poem::{Request, http::HeaderValue};

use crate::{
    http::{
        App,
        wire::error::{ApiError, Code},
    },
    limits::BodyShare,
    store::Caller,
};

/// Context of one request. Cheap to clone.
#[derive(Clone)]
pub(super) struct RequestContext {
    app: Arc<App>,
    /// The request's id.
    id: HeaderValue,
    found: Arc<Found>,
}

/// What is found out about a request while it is handled.
#[derive(Default)]
struct Found {
    /// The caller, once it was authenticated.
    admitted: OnceLock<Caller>,
    /// The share of its body in the replica's memory, held until the request is answered.
    body: OnceLock<BodyShare>,
}

impl RequestContext {
    pub(super) fn new(app: Arc<App>, id: HeaderValue) -> Self {
        Self { app, id, found: Arc::default() }
    }

    pub(super) fn id(&self) -> &HeaderValue {
        &self.id
    }

    /// The caller that was admitted while the request was handled, if one was.
    pub(super) fn admitted(&self) -> Option<&Caller> {
        self.found.admitted.get()
    }
}

/// The application that a request runs on.
///
/// # Errors
/// An internal error where the request did not come through the pipeline.
pub(in crate::http) fn app(request: &Request) -> Result<&Arc<App>, ApiError> {
    request
        .data::<RequestContext>()
        .map(|context| &context.app)
        .ok_or_else(|| ApiError::new(Code::Internal, "The application is not there."))
}

/// Records a request's caller, whose rate the response's headers show.
pub(in crate::http) fn set_admitted(request: &Request, caller: &Caller) {
    if let Some(context) = request.data::<RequestContext>() {
        // Set once: one credential decides a request.
        let _ = context.found.admitted.set(caller.clone());
    }
}

/// A request's caller, once it was recorded.
pub(in crate::http) fn admitted(request: &Request) -> Option<&Caller> {
    request.data::<RequestContext>()?.admitted()
}

/// Holds the share of a request's body until the request is answered.
pub(in crate::http) fn hold_body(request: &Request, share: BodyShare) {
    if let Some(context) = request.data::<RequestContext>() {
        // Set once: a request has one body.
        let _ = context.found.body.set(share);
    }
}
